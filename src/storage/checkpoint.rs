//! What one shard knew of its logs at a moment when all of it was durable, so that a start need not read the logs.
//!
//! Written by `store` at a roll, every minute and at a clean stop; read by `recovery`. After a clean stop it says all
//! that a start needs, and no segment is opened. After a crash it says from where each log must be read.
//!
//! ```text
//!   <log.dir>/.ringmain/checkpoint-<shard>-<generation>
//!   0  "rgmnckpt"   8  version u32   12  crc u32 (CRC-32C of the archive)   16  archive bytes u64   24  rkyv archive
//! ```
//!
//! Each start writes files of its own, as it does journals: a start that dies before all of its shards have opened leaves
//! those before it as they were. They go when its own cover every log (`recovery::Found::finish`).
//!
//! **Invariants.** 1. Everything in a checkpoint was durable before its file was written (`store` waits for it). 2. A
//! checkpoint is a hint that saves reading: no acknowledged record depends on it alone, except after a clean stop, which
//! [`Checkpoint::clean_stop`] and `.kafka_cleanshutdown` prove together. Where a log starts within its first segment no other
//! file says: whoever deletes records waits for the checkpoint that does (`log_start`). 3. A file that fails its checks is as good as none:
//! access is checked (bytecheck) after the checksum, so that no byte of it is trusted before.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use thiserror::Error;

use crate::record::BatchHeader;
use crate::types::{Offset, PartitionId, ShardId, TopicId, TopicPartition};

/// One shard's checkpoint.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The start of the node that wrote it.
    pub generation: u64,
    /// The shard that wrote it.
    pub shard: u16,
    /// The number that `.kafka_cleanshutdown` of the same stop carries; `None` while the node runs.
    pub clean_stop: Option<i64>,
    /// The shard's logs.
    pub logs: Vec<LogCheckpoint>,
}

/// One log.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCheckpoint {
    /// The topic's id.
    pub topic_id: [u8; 16],
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// First offset that may be read.
    pub log_start: i64,
    /// The recovery point: records below were durable, and are all that this checkpoint speaks of.
    pub log_end: i64,
    /// `Log::chain` at the recovery point, in the generation of the checkpoint (see `journal::record`).
    pub chain: u32,
    /// All segments, ascending, as they were up to the recovery point.
    pub segments: Vec<SegmentCheckpoint>,
    /// A thinned copy of the last segment's offset index: contents of an `.index` file.
    pub offset_index: Vec<u8>,
    /// The same of its time index.
    pub time_index: Vec<u8>,
    /// What `partition/` keeps beside the log.
    pub state: PartitionState,
    /// Why the log is not served, if so: a quarantine outlives its start, until an operator has looked.
    pub quarantined: Option<String>,
}

/// One segment.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentCheckpoint {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset after its last record.
    pub end_offset: i64,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Largest timestamp, or -1.
    pub max_timestamp: i64,
    /// Last offset of the batch that holds it.
    pub max_timestamp_offset: i64,
    /// When its first record was appended, wall clock, or -1: what `segment.ms` counts from.
    pub first_append_ms: i64,
    /// Whether it had been rolled.
    pub sealed: bool,
}

/// What `partition/` keeps beside a log, as plain data. Storage stores it, and moves it forward over the batches that
/// recovery finds behind it ([`PartitionState::apply`]).
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// Batches below have been applied.
    pub up_to: i64,
    /// Where each leader epoch began, ascending.
    pub leader_epochs: Vec<LeaderEpochEntry>,
    /// Idempotent producers, ascending by id.
    pub producers: Vec<ProducerEntry>,
}

/// Where a leader epoch began.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochEntry {
    /// The epoch.
    pub epoch: i32,
    /// Offset of its first record.
    pub start_offset: i64,
}

/// One idempotent producer.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Its id.
    pub producer_id: i64,
    /// Its current epoch.
    pub epoch: i16,
    /// Its last batches, oldest first, at most [`PRODUCER_BATCHES_MAX`].
    pub batches: Vec<ProducerBatch>,
}

/// One batch of a producer.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence number of its first record.
    pub base_sequence: i32,
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its largest timestamp.
    pub timestamp: i64,
}

/// Why bytes are not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// No checkpoint, or cut within its header.
    #[error("no checkpoint begins here")]
    NoMagic,
    /// Written by another version of the node.
    #[error("checkpoint of version {version}, known is {VERSION}")]
    Version {
        /// What it says.
        version: u32,
    },
    /// Cut, or longer than it says.
    #[error("checkpoint of {stated} bytes, {present} present")]
    Length {
        /// What it says.
        stated: u64,
        /// What is there.
        present: usize,
    },
    /// Its bytes are not what was written.
    #[error("checkpoint with checksum {stated:08x}, computed {computed:08x}")]
    Crc {
        /// What it says.
        stated: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// An archive that contradicts itself under an intact checksum.
    #[error("checkpoint whose archive is not valid")]
    Archive,
}

impl Checkpoint {
    /// The file's contents.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let archive = rkyv::to_bytes::<rancor::Error>(self).expect("memory is the only bound of an archive");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + archive.len());
        // copies: a checkpoint's header and archive
        bytes.extend_from_slice(MAGIC);
        // copies: the version
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        // copies: the checksum
        bytes.extend_from_slice(&crc32c::crc32c(&archive).to_be_bytes());
        // copies: the length
        bytes.extend_from_slice(&(archive.len() as u64).to_be_bytes());
        // copies: the archive
        bytes.extend_from_slice(&archive);
        bytes
    }

    /// Reads a file's contents, checked before any of it is believed.
    ///
    /// # Errors
    /// [`CheckpointError`]: the caller goes on without.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(CheckpointError::NoMagic)?;
        if header[..8] != *MAGIC {
            return Err(CheckpointError::NoMagic);
        }
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (version, stated) = (word(8), word(12));
        if version != VERSION {
            return Err(CheckpointError::Version { version });
        }
        let length = u64::from(word(16)) << 32 | u64::from(word(20));
        let archive = &bytes[HEADER_BYTES..];
        if length != archive.len() as u64 {
            return Err(CheckpointError::Length { stated: length, present: archive.len() });
        }
        let computed = crc32c::crc32c(archive);
        if computed != stated {
            return Err(CheckpointError::Crc { stated, computed });
        }
        let mut aligned: AlignedVec = AlignedVec::with_capacity(archive.len());
        // copies: the archive, to where it is aligned
        aligned.extend_from_slice(archive);
        rkyv::from_bytes::<Self, rancor::Error>(&aligned).map_err(|_cause| CheckpointError::Archive)
    }

    /// The name of a shard's file of one start.
    #[must_use]
    pub fn file_name(shard: ShardId, generation: u64) -> String {
        format!("{FILE_PREFIX}{}-{generation}", shard.0)
    }
}

impl LogCheckpoint {
    /// The log by identity.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        PartitionId { topic_id: TopicId(self.topic_id), partition: self.partition }
    }

    /// The log by name.
    #[must_use]
    pub fn name(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.as_str().into(), partition: self.partition }
    }

    /// Offset after the last record.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.log_end)
    }
}

impl PartitionState {
    /// Moves the state over the next batch of the log. Batches below [`Self::up_to`] change nothing, so that a scan may
    /// begin too early.
    pub fn apply(&mut self, header: &BatchHeader) {
        if header.base_offset.0 < self.up_to {
            return;
        }
        self.up_to = header.next_offset().0;
        let epoch = header.partition_leader_epoch;
        if epoch >= 0 && self.leader_epochs.last().is_none_or(|last| last.epoch < epoch) {
            self.leader_epochs.push(LeaderEpochEntry { epoch, start_offset: header.base_offset.0 });
        }
        if header.has_producer_id() && !header.is_control() {
            self.apply_producer(header);
        }
    }

    fn apply_producer(&mut self, header: &BatchHeader) {
        let batch = ProducerBatch {
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset.0,
            last_offset: header.last_offset().0,
            timestamp: header.largest_timestamp(),
        };
        let at = self.producers.binary_search_by_key(&header.producer_id, |entry| entry.producer_id);
        let at = at.unwrap_or_else(|at| {
            let entry =
                ProducerEntry { producer_id: header.producer_id, epoch: header.producer_epoch, batches: Vec::new() };
            self.producers.insert(at, entry);
            at
        });
        let entry = &mut self.producers[at];
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        if entry.batches.len() == PRODUCER_BATCHES_MAX {
            entry.batches.remove(0);
        }
        entry.batches.push(batch);
    }
}

/// Batches that are remembered of a producer (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const PRODUCER_BATCHES_MAX: usize = 5;

/// What checkpoint files are named by, before the shard's number and the start's.
pub const FILE_PREFIX: &str = "checkpoint-";

const MAGIC: &[u8; 8] = b"rgmnckpt";
/// Raised with every change of the archived types.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let batch = ProducerBatch { base_sequence: 1, last_sequence: 2, base_offset: 3, last_offset: 4, timestamp: 5 };
        let segment =
            SegmentCheckpoint { base_offset: 0, end_offset: 77, bytes: 4711, max_timestamp: 9, ..Default::default() };
        let state = PartitionState {
            up_to: 77,
            leader_epochs: vec![LeaderEpochEntry { epoch: 2, start_offset: 5 }],
            producers: vec![ProducerEntry { producer_id: 1000, epoch: 1, batches: vec![batch] }],
        };
        let log = LogCheckpoint {
            topic_id: [7; 16],
            topic: "orders".into(),
            partition: 3,
            log_end: 77,
            chain: 0xdead_beef,
            segments: vec![segment],
            offset_index: vec![1, 2, 3],
            state,
            ..Default::default()
        };
        Checkpoint { generation: 12, shard: 1, clean_stop: Some(99), logs: vec![log] }
    }

    #[test]
    fn a_checkpoint_reads_back() {
        assert_eq!(Checkpoint::decode(&sample().encode()), Ok(sample()));
        assert_eq!(Checkpoint::decode(&Checkpoint::default().encode()), Ok(Checkpoint::default()));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_believed() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(Checkpoint::decode(&flipped).is_err(), "byte {at}");
            assert!(Checkpoint::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_archive_that_lies_under_a_good_checksum_is_refused() {
        let mut refused = 0;
        let good = sample().encode();
        for at in HEADER_BYTES..good.len() {
            let mut bytes = good.clone();
            bytes[at] = !bytes[at];
            let crc = crc32c::crc32c(&bytes[HEADER_BYTES..]);
            bytes[12..16].copy_from_slice(&crc.to_be_bytes());
            refused += usize::from(Checkpoint::decode(&bytes) == Err(CheckpointError::Archive));
        }
        assert!(refused > 0, "lengths and pointers out of bounds are found; plain numbers cannot be");
    }

    fn header(offset: i64, producer_id: i64, epoch: i16, base_sequence: i32) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(offset),
            batch_length: 49,
            partition_leader_epoch: i32::from(epoch),
            crc: 0,
            attributes: 0,
            last_offset_delta: 9,
            base_timestamp: 5,
            max_timestamp: 6,
            producer_id,
            producer_epoch: epoch,
            base_sequence,
            record_count: 10,
        }
    }

    #[test]
    fn the_last_five_batches_of_a_producer_are_kept() {
        let mut state = PartitionState::default();
        for batch in 0..7 {
            state.apply(&header(i64::from(batch) * 10, 8, 0, batch * 10));
        }
        state.apply(&header(60, 8, 0, 60));
        let bases: Vec<i32> = state.producers[0].batches.iter().map(|batch| batch.base_sequence).collect();
        assert_eq!((state.up_to, bases), (70, vec![20, 30, 40, 50, 60]), "a batch seen twice changes nothing");
        state.apply(&header(70, 8, 1, 0));
        state.apply(&header(80, 5, 0, 0));
        state.apply(&header(90, -1, -1, -1));
        assert_eq!(state.producers.iter().map(|entry| entry.producer_id).collect::<Vec<_>>(), [5, 8]);
        assert_eq!((state.producers[1].epoch, state.producers[1].batches.len()), (1, 1));
        let epochs: Vec<(i32, i64)> =
            state.leader_epochs.iter().map(|entry| (entry.epoch, entry.start_offset)).collect();
        assert_eq!(epochs, [(0, 0), (1, 70)]);
    }
}
