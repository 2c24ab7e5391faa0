//! ListOffsets: an offset by its place in the log, or by time.

use super::{Error, Partition};
use crate::io::Env;
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
    pub async fn find_offset(&self, target: OffsetTarget, leader_epoch: i32) -> Result<FoundOffset, Error> {
        self.check_readable()?;
        self.check_leader_epoch(leader_epoch)?;
        let _ = target;
        unimplemented!("ListOffsets")
    }
}
