//! Why a shard could not do what was asked of a partition.

use crate::partition;

/// A refusal for one partition.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The partition is not open here: it is being made or deleted.
    #[error("the partition is not served here now")]
    NotHere,
    /// The shard that serves it has ended.
    #[error("the shard that serves the partition has ended")]
    Ended,
    /// The partition refuses.
    #[error(transparent)]
    Partition(#[from] partition::Error),
}
