//! The control record that begins each epoch of the metadata log: LeaderChange, as a KRaft leader writes it.
//!
//! Only the writer calls this, and only Kafka's tools read it: replay skips control batches. The bytes are golden in the
//! test below.

use crate::record::build::{BatchBuilder, NewRecord};
use crate::types::Offset;

use super::wire::{Tagged, Writer};

/// Attribute bit 5: a control batch.
const CONTROL: i16 = 0x20;
/// `ControlRecordType.LEADER_CHANGE`.
const LEADER_CHANGE: i16 = 2;

/// A batch that says that `leader` leads from `offset` on, elected by itself alone.
pub(super) fn leader_change(offset: Offset, epoch: i32, leader: i32, now_ms: i64) -> Vec<u8> {
    let mut key = Writer::default();
    key.i16(0);
    key.i16(LEADER_CHANGE);
    let mut value = Writer::default();
    value.i16(0);
    value.i32(leader);
    for _voters_then_granting in 0..2 {
        value.array_of(&[leader], |writer, voter| {
            writer.i32(*voter);
            writer.tagged(&Tagged::default());
        });
    }
    value.tagged(&Tagged::default());
    let record = NewRecord {
        timestamp: now_ms,
        key: Some(key.into_bytes()),
        value: Some(value.into_bytes()),
        headers: Vec::new(),
    };
    BatchBuilder { base_offset: offset, leader_epoch: epoch, flags: CONTROL, ..BatchBuilder::default() }
        .build(&[record])
}

#[cfg(test)]
mod tests {
    use super::leader_change;
    use crate::types::Offset;

    #[test]
    fn it_is_what_kafka_writes() {
        // MemoryRecords.withLeaderChangeMessage(0, 1700000000000, 1, ...) of the jars 4.3.1.
        let golden = "00000000000000000000004f00000001021154eaf90020000000000000018bcfe568000000018bcfe56800ffffffffffffffffffffffffffff000000013a0000000800000002260000000000010200000001000200000001000000";
        let bytes = leader_change(Offset(0), 1, 1, 1_700_000_000_000);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }
}
