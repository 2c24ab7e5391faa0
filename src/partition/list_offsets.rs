//! ListOffsets: an offset by its place in the log, or by time.

use std::sync::Arc;

use super::{Error, Partition, UNDEFINED_EPOCH};
use crate::io::Env;
use crate::record::{self, RecordError};
use crate::storage::{self, FoundBatch, Goal};
use crate::types::Offset;

/// What is asked for, as the wire encodes it in a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetTarget {
    /// -1: the high watermark.
    Latest,
    /// -2: the first offset that may be read.
    Earliest,
    /// -3: the record with the largest timestamp.
    MaxTimestamp,
    /// -4: the first offset on local disk: the log start, as nothing is tiered.
    EarliestLocal,
    /// -5: the last tiered offset: none.
    LatestTiered,
    /// -6: the first offset that is to be tiered: none.
    EarliestPendingUpload,
    /// The first record of this time or later.
    Timestamp(i64),
}

impl OffsetTarget {
    /// The meaning of a timestamp on the wire; `None` for a negative one without meaning.
    #[must_use]
    pub fn from_timestamp(timestamp: i64) -> Option<Self> {
        match timestamp {
            -1 => Some(Self::Latest),
            -2 => Some(Self::Earliest),
            -3 => Some(Self::MaxTimestamp),
            -4 => Some(Self::EarliestLocal),
            -5 => Some(Self::LatestTiered),
            -6 => Some(Self::EarliestPendingUpload),
            0.. => Some(Self::Timestamp(timestamp)),
            _ => None,
        }
    }
}

/// An answer. An offset of -1 says that there is no such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset, or -1.
    pub offset: Offset,
    /// The record's timestamp, or -1 where the target names no record.
    pub timestamp: i64,
    /// The leader epoch of the offset, or -1.
    pub leader_epoch: i32,
}

impl FoundOffset {
    /// There is no such record.
    pub const NONE: Self = Self { offset: Offset(-1), timestamp: -1, leader_epoch: -1 };
}

impl<E: Env> Partition<E> {
    /// Answers one ListOffsets target under the leader epoch that the client knows (-1: none).
    ///
    /// What a client has been told at acks=1 it finds: where the answer depends on records that are appended and not yet
    /// visible, this waits for them, one or two windows. A log that will never make them visible (poisoned) is not waited
    /// for.
    pub async fn find_offset(&self, target: OffsetTarget, leader_epoch: i32) -> Result<FoundOffset, Error> {
        self.check_readable()?;
        self.check_leader_epoch(leader_epoch)?;
        match target {
            OffsetTarget::Latest => {
                self.wait_visible(self.log.log_end_offset()).await;
                let (offset, leader_epoch) = (self.high_watermark(), self.leader_epoch.get());
                Ok(FoundOffset { offset, timestamp: -1, leader_epoch })
            }
            OffsetTarget::Earliest | OffsetTarget::EarliestLocal => {
                Ok(self.found(self.log.log_start_offset(), record::batch::NO_TIMESTAMP))
            }
            OffsetTarget::LatestTiered | OffsetTarget::EarliestPendingUpload => Ok(FoundOffset::NONE),
            OffsetTarget::MaxTimestamp => self.find_max_timestamp().await,
            OffsetTarget::Timestamp(timestamp) => self.find_by_time(timestamp).await,
        }
    }

    /// Waits until records below `offset` are visible, or never will be.
    async fn wait_visible(&self, offset: Offset) {
        if offset <= self.high_watermark() {
            return;
        }
        let strict = self.config.borrow().log.flush_every_window;
        let goal = if strict { Goal::Durable } else { Goal::Written };
        // An error says that the log goes no further: then the high watermark is all there is.
        let _stays_below = self.log.wait_for_ack(goal, offset).await;
    }

    async fn find_max_timestamp(&self) -> Result<FoundOffset, Error> {
        self.wait_visible(self.log.log_end_offset()).await;
        let Some(batch) = self.log.batch_of_max_timestamp(self.high_watermark()).await? else {
            return Ok(FoundOffset::NONE);
        };
        let log_start = self.log.log_start_offset();
        let found = self.decode(batch, move |bytes| record::find_max_timestamp(bytes, log_start)).await?;
        Ok(found.map_or(FoundOffset::NONE, |(offset, timestamp)| self.found(offset, timestamp)))
    }

    async fn find_by_time(&self, target: i64) -> Result<FoundOffset, Error> {
        let log_end = self.log.log_end_offset();
        let mut from = self.log.log_start_offset();
        loop {
            let visible = self.high_watermark();
            while let Some(batch) = self.log.batch_by_time(from, visible, target).await? {
                from = batch.header.next_offset();
                // A header may promise a time that none of its records has, or only one that was deleted.
                let log_start = self.log.log_start_offset();
                let found = self.decode(batch, move |bytes| record::find_by_time(bytes, log_start, target)).await?;
                if let Some((offset, timestamp)) = found {
                    return Ok(self.found(offset, timestamp));
                }
            }
            from = from.max(visible);
            if visible >= log_end {
                return Ok(FoundOffset::NONE);
            }
            self.wait_visible(log_end).await;
            if self.high_watermark() == visible {
                return Ok(FoundOffset::NONE);
            }
        }
    }

    /// Looks into one batch, away from the shard: decompressing may take long.
    async fn decode(&self, batch: FoundBatch, look: impl Look) -> Result<Option<(Offset, i64)>, Error> {
        let looked = self.rt.compute(move || match batch.records.contiguous() {
            Some(bytes) => look(bytes),
            // copies: one batch in several chunks, to look for a timestamp
            None => look(&batch.records.parts().iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>().concat()),
        });
        let looked = looked.await.map_err(|cause| {
            let (what, path, cause) = ("look for a timestamp in", self.log.dir().to_owned(), Arc::new(cause));
            storage::Error::Io { what, path, cause }
        })?;
        looked.map_err(|cause| Error::Record { partition: self.name().clone(), cause })
    }

    fn found(&self, offset: Offset, timestamp: i64) -> FoundOffset {
        let leader_epoch = self.epochs.borrow().epoch_at(offset).unwrap_or(UNDEFINED_EPOCH);
        FoundOffset { offset, timestamp, leader_epoch }
    }
}

/// A search in the bytes of one batch.
trait Look: FnOnce(&[u8]) -> Result<Option<(Offset, i64)>, RecordError> + Send + 'static {}

impl<F: FnOnce(&[u8]) -> Result<Option<(Offset, i64)>, RecordError> + Send + 'static> Look for F {}
