//! What can go wrong with a log, with the facts that an operator or a client needs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::types::{Offset, TopicPartition};

/// An error of the log. `handlers/error.rs` maps each to a Kafka code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No memory, or the log was not read since the start: wait for `Log::make_ready` and append again.
    #[error("{log} is not ready to take {bytes} bytes")]
    NotReady {
        /// The log.
        log: TopicPartition,
        /// Bytes of the batch.
        bytes: usize,
    },
    /// All buffers for cold reads are on their way to sockets: try again.
    #[error("{log}: all {read_bytes} bytes of read buffers are in use")]
    ReadsBusy {
        /// The log.
        log: TopicPartition,
        /// The buffers.
        read_bytes: usize,
    },
    /// The batch's checksum does not fit its bytes. Nothing was appended.
    #[error("{log}: batch checksum {stated:08x}, computed {computed:08x}")]
    Corrupt {
        /// The log.
        log: TopicPartition,
        /// What the header says.
        stated: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A batch larger than a segment may be.
    #[error("{log}: a batch of {bytes} bytes is larger than segment.bytes={segment_bytes}")]
    TooLarge {
        /// The log.
        log: TopicPartition,
        /// Bytes of the batch.
        bytes: usize,
        /// The limit.
        segment_bytes: u32,
    },
    /// A write of this log failed: it takes no more appends until the node is started again. Reads below the durable offset go on.
    #[error("{log} is read-only since a write failed: {cause}")]
    Poisoned {
        /// The log.
        log: TopicPartition,
        /// What the write answered.
        cause: Arc<io::Error>,
    },
    /// A flush failed: nothing of the directory can be promised until the node is started again.
    #[error("log directory {} is offline: {cause}", dir.display())]
    Offline {
        /// The directory.
        dir: PathBuf,
        /// What the flush answered, and on which shard.
        cause: Arc<str>,
    },
    /// The file system has less left than the reserve. Clears when space returns.
    #[error("log directory {} has {free_bytes} bytes left, {reserve_bytes} are kept in reserve", dir.display())]
    DiskFull {
        /// The directory.
        dir: PathBuf,
        /// What the file system said last.
        free_bytes: u64,
        /// The reserve.
        reserve_bytes: u64,
    },
    /// More logs than the journal can hold the tails of.
    #[error("the journal of {journal_bytes} bytes holds the tails of {logs} logs and cannot hold more")]
    JournalFull {
        /// Bytes of the journal.
        journal_bytes: u64,
        /// Logs that have a tail in it.
        logs: usize,
    },
    /// The partition's evidence is kept and nothing of it is served (see `recovery`).
    #[error("{log} is quarantined: {reason}")]
    Quarantined {
        /// The log.
        log: TopicPartition,
        /// What recovery found.
        reason: Arc<str>,
    },
    /// An offset that the log does not hold.
    #[error("offset {requested} is not within [{start}, {end}]")]
    OutOfRange {
        /// What was asked for.
        requested: Offset,
        /// The log's start.
        start: Offset,
        /// The log's end.
        end: Offset,
    },
    /// The log was closed or deleted.
    #[error("{log} is closed")]
    Closed {
        /// The log.
        log: TopicPartition,
    },
    /// A file operation failed; nothing was acknowledged because of it.
    #[error("{what} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel answered.
        cause: Arc<io::Error>,
    },
}

impl Error {
    /// A failed file operation.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        Self::Io { what, path: path.into(), cause: Arc::new(cause) }
    }
}
