//! Reading the metadata log back, at start.

use std::rc::Rc;
use std::sync::Arc;

use crate::io::{AppendBuf, Env, Runtime};
use crate::record::{self, Batches, RecordError as BatchError};
use crate::storage::{self, Log, Part, ReadPlan};
use crate::types::Offset;

use super::image::{ApplyError, Image};
use super::records::{Record, RecordError};
use super::topic_config::TopicDefaults;

/// Why the metadata log cannot be used. The node must not start.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The log or the disk.
    #[error("the metadata log: {0}")]
    Storage(#[from] storage::Error),
    /// A file of it.
    #[error("cannot read the metadata log: {0}")]
    Io(#[from] std::io::Error),
    /// Bytes that are no batch.
    #[error("the metadata log at offset {offset}: {cause}")]
    Batch {
        /// Where.
        offset: Offset,
        /// What is wrong.
        cause: BatchError,
    },
    /// A record that is unknown or damaged.
    #[error("the metadata log at offset {offset}: {cause}")]
    Record {
        /// Where.
        offset: Offset,
        /// What is wrong.
        cause: RecordError,
    },
    /// A record that contradicts those before it.
    #[error("the metadata log at offset {offset}: {cause}")]
    Apply {
        /// Where.
        offset: Offset,
        /// What is wrong.
        cause: ApplyError,
    },
}

/// What a log says.
pub(super) struct Replay {
    /// All of it.
    pub(super) image: Image,
    /// The newest epoch in it; 0 in an empty one.
    pub(super) epoch: i32,
}

impl Replay {
    /// Reads a whole log.
    pub(super) async fn read<E: Env>(
        rt: &Rc<Runtime<E>>,
        log: &Rc<Log<E>>,
        defaults: Arc<TopicDefaults>,
    ) -> Result<Self, MetadataError> {
        let mut replay = Self { image: Image::new(defaults), epoch: 0 };
        let end = log.log_end_offset();
        let mut from = log.log_start_offset();
        while from < end {
            let bytes = read_some(rt, log, from, end).await?;
            let next = replay.apply(&bytes, from)?;
            if next <= from {
                let cause = BatchError::Truncated { needed: record::HEADER_BYTES, available: bytes.len() };
                return Err(MetadataError::Batch { offset: from, cause });
            }
            from = next;
        }
        Ok(replay)
    }

    /// Applies whole batches; answers the offset after them.
    fn apply(&mut self, bytes: &[u8], from: Offset) -> Result<Offset, MetadataError> {
        let mut offset = from;
        for batch in Batches::new(bytes) {
            let fault = |cause| MetadataError::Batch { offset, cause };
            let batch = batch.map_err(fault)?;
            batch.verify().map_err(fault)?;
            let next_offset = batch.header.next_offset();
            self.epoch = self.epoch.max(batch.header.partition_leader_epoch);
            let mut records = Vec::new();
            if !batch.header.is_control() {
                for one in record::decode(batch.bytes).map_err(fault)?.records() {
                    let one = one.map_err(fault)?;
                    let value = one.value.unwrap_or_default();
                    let decoded = Record::decode(value);
                    records.push(decoded.map_err(|cause| MetadataError::Record { offset: one.offset, cause })?);
                }
            }
            let applied = self.image.apply(&records, next_offset);
            applied.map_err(|cause| MetadataError::Apply { offset, cause })?;
            offset = next_offset;
        }
        Ok(offset)
    }
}

/// The image as a whole metadata log says it, before any log is open: it says which shard opens which.
///
/// # Errors
/// Bytes that are not the batches of a metadata log.
pub fn stored_image(bytes: &[u8], from: Offset, defaults: Arc<TopicDefaults>) -> Result<Image, MetadataError> {
    let mut replay = Replay { image: Image::new(defaults), epoch: 0 };
    replay.apply(bytes, from)?;
    Ok(replay.image)
}

async fn read_some<E: Env>(
    rt: &Rc<Runtime<E>>,
    log: &Rc<Log<E>>,
    from: Offset,
    end: Offset,
) -> Result<Vec<u8>, MetadataError> {
    let parts = match log.plan_read(from, end, PIECE_BYTES, true)? {
        ReadPlan::Ready(parts) => parts,
        ReadPlan::NeedsIo(parts) => parts.await?,
    };
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(slice) => bytes.extend_from_slice(&slice),
            Part::File { file, position, len, keep } => {
                let (read, buf) = rt.read(&file, position, len, AppendBuf::with_capacity(len)).await;
                read?;
                drop(keep);
                bytes.extend_from_slice(buf.filled());
            }
        }
    }
    Ok(bytes)
}

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 1 << 20;
