//! The one place where errors of ours become Kafka's codes, and the texts that go with them.

use crate::partition;
use crate::partition::producer_state::SequenceError;
use crate::protocol::ErrorCode;
use crate::record::RecordError;
use crate::shard;
use crate::storage;

/// Kafka's code of a refusal.
pub(super) fn code(error: &shard::Error) -> ErrorCode {
    match error {
        // Retriable, and the client asks for metadata first: by then the partition is open or gone.
        shard::Error::NotHere | shard::Error::Ended => ErrorCode::NotLeaderOrFollower,
        shard::Error::Partition(error) => of_partition(error),
    }
}

fn of_partition(error: &partition::Error) -> ErrorCode {
    match error {
        partition::Error::Record { cause, .. } => of_record(cause),
        partition::Error::Sequence { cause, .. } => match cause {
            SequenceError::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            SequenceError::NewEpoch { .. } | SequenceError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
        },
        partition::Error::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        partition::Error::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        partition::Error::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        partition::Error::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        partition::Error::Storage(error) => of_storage(error),
        partition::Error::Closed { .. } => ErrorCode::NotLeaderOrFollower,
    }
}

fn of_record(error: &RecordError) -> ErrorCode {
    match error {
        RecordError::Truncated { .. }
        | RecordError::BadLength { .. }
        | RecordError::BadCrc { .. }
        | RecordError::Codec { .. }
        | RecordError::Malformed { .. }
        | RecordError::CountBeyondBytes { .. } => ErrorCode::CorruptMessage,
        RecordError::TooLarge { .. } | RecordError::Inflated { .. } => ErrorCode::MessageTooLarge,
        RecordError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        RecordError::ZstdTooEarly { .. } | RecordError::UnknownCodec { .. } => ErrorCode::UnsupportedCompressionType,
        RecordError::TimestampType | RecordError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
        RecordError::Empty
        | RecordError::BadMagic { .. }
        | RecordError::NotOneBatch { .. }
        | RecordError::BaseOffset { .. }
        | RecordError::BadCount { .. }
        | RecordError::Control
        | RecordError::Transactional
        | RecordError::DeleteHorizon
        | RecordError::BadSequence { .. } => ErrorCode::InvalidRecord,
    }
}

fn of_storage(error: &storage::Error) -> ErrorCode {
    match error {
        storage::Error::Corrupt { .. } => ErrorCode::CorruptMessage,
        storage::Error::TooLarge { .. } => ErrorCode::RecordListTooLarge,
        storage::Error::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        // No memory for a moment: the client tries again.
        storage::Error::NotReady { .. } | storage::Error::ReadsBusy { .. } => ErrorCode::RequestTimedOut,
        storage::Error::Closed { .. } => ErrorCode::NotLeaderOrFollower,
        storage::Error::Poisoned { .. }
        | storage::Error::Offline { .. }
        | storage::Error::DiskFull { .. }
        | storage::Error::JournalFull { .. }
        | storage::Error::Quarantined { .. }
        | storage::Error::Io { .. } => ErrorCode::KafkaStorageError,
    }
}
