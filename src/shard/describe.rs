//! What the partitions of one shard are on the disk, and whom they remember.

use super::{Error, Shard};
use crate::io::Env;
use crate::storage::checkpoint::ProducerEntry;
use crate::types::PartitionId;

impl<E: Env> Shard<E> {
    /// Bytes of the batches of each partition.
    #[must_use]
    pub fn sizes(&self, ids: &[PartitionId]) -> Vec<Result<u64, Error>> {
        ids.iter().map(|id| Ok(self.partition(*id).ok_or(Error::NotHere)?.log().size_bytes())).collect()
    }

    /// The idempotent producers of each partition.
    #[must_use]
    pub fn producers(&self, ids: &[PartitionId]) -> Vec<Result<Vec<ProducerEntry>, Error>> {
        ids.iter().map(|id| Ok(self.partition(*id).ok_or(Error::NotHere)?.active_producers())).collect()
    }
}
