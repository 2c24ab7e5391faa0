//! Paths of one batch: its check, its checksum, the copy into a buffer, the stamp of its header.

use std::hint::black_box;

use super::Path;
use crate::io::{AppendBuf, copy};
use crate::record::build::{BatchBuilder, NewRecord};
use crate::record::crc::{self, HeaderStamp};
use crate::record::{CheckRules, HEADER_BYTES, Records, TimestampType, check};
use crate::types::Offset;

/// Sizes of a batch: one small record, and 16 and 64 KiB of records of 1 KiB: (name, records, bytes of each).
pub(super) const SIZES: [(&str, usize, usize); 3] = [("100B", 1, 100), ("16KiB", 16, 1024), ("64KiB", 64, 1024)];

pub(super) const NOW_MS: i64 = 1_700_000_000_000;

/// A batch of records whose bytes look like nothing in particular, the same every time.
pub(super) fn batch(records: usize, record_bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut value = || {
        let bytes = (0..record_bytes).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        NewRecord::value(NOW_MS, bytes.collect::<Vec<u8>>())
    };
    BatchBuilder::default().build(&(0..records).map(|_| value()).collect::<Vec<_>>())
}

fn rules() -> CheckRules {
    CheckRules {
        produce_version: 7,
        max_message_bytes: 1_048_588,
        segment_bytes: 1 << 30,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        now_ms: NOW_MS,
    }
}

pub(super) fn all() -> Vec<Path> {
    let mut paths = Vec::new();
    // Its header alone is looked at, whatever its size.
    paths.push(Path::new("batch/check", || {
        let (batch, rules) = (Records::from(batch(64, 1024)), rules());
        move || {
            black_box(check(black_box(&batch), &rules).expect("a batch"));
        }
    }));
    for (name, records, record_bytes) in SIZES {
        let batch = move || batch(records, record_bytes);
        let bytes = batch().len();
        paths.push(Path::new(format!("batch/copy-and-crc/{name}"), move || copy_and_crc(batch())).of_bytes(bytes));
    }
    let batch = batch(64, 1024);
    let header: [u8; HEADER_BYTES] = *batch.first_chunk().expect("a header");
    for (name, log_append_time_ms) in [("create-time", None), ("log-append-time", Some(NOW_MS))] {
        let stamp = HeaderStamp { base_offset: Offset(1_000_000), leader_epoch: 3, log_append_time_ms };
        paths.push(Path::new(format!("batch/stamp/{name}"), move || {
            move || {
                let mut header = black_box(header);
                crc::stamp(&mut header, &stamp);
                black_box(header);
            }
        }));
    }
    paths
}

/// The one pass over the payload, always to the same place: nothing is published.
fn copy_and_crc(batch: Vec<u8>) -> impl FnMut() {
    let mut into = AppendBuf::with_capacity(batch.len());
    move || {
        black_box(copy::stage_records(&mut into, 0, black_box(&batch), 0));
    }
}
