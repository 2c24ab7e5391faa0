//! Why a partition refuses a request. `handlers/error.rs` maps each to a Kafka code.

use super::producer_state::SequenceError;
use crate::record::RecordError;
use crate::storage;
use crate::types::{Offset, TopicPartition};

/// A refusal, with its facts. Nothing was appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The batch is not one that may be stored.
    #[error("{partition}: {cause}")]
    Record {
        /// The partition.
        partition: TopicPartition,
        /// What is wrong.
        cause: RecordError,
    },
    /// The batch does not continue its producer's sequence.
    #[error("{partition}: {cause}")]
    Sequence {
        /// The partition.
        partition: TopicPartition,
        /// What is wrong.
        cause: SequenceError,
    },
    /// acks=all with `min.insync.replicas` above 1.
    #[error(
        "the size of the current ISR : 1 is insufficient to satisfy the min.isr requirement of {required} for partition {partition}"
    )]
    NotEnoughReplicas {
        /// The partition.
        partition: TopicPartition,
        /// `min.insync.replicas`.
        required: i32,
    },
    /// The request names an older leader epoch.
    #[error("{partition}: leader epoch {requested} is older than {current}")]
    FencedLeaderEpoch {
        /// The partition.
        partition: TopicPartition,
        /// What the request says.
        requested: i32,
        /// What it is.
        current: i32,
    },
    /// The request names a newer leader epoch.
    #[error("{partition}: leader epoch {requested} is newer than {current}")]
    UnknownLeaderEpoch {
        /// The partition.
        partition: TopicPartition,
        /// What the request says.
        requested: i32,
        /// What it is.
        current: i32,
    },
    /// An offset that cannot be fetched.
    #[error("{partition}: offset {requested} is not within [{start}, {end}]")]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// What the request says.
        requested: Offset,
        /// The log's start.
        start: Offset,
        /// The log's end.
        end: Offset,
    },
    /// The log refuses: not corrupt data of the client's, but the state of the log or the disk.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The partition was closed or deleted while the request waited.
    #[error("{partition} is closed")]
    Closed {
        /// The partition.
        partition: TopicPartition,
    },
}
