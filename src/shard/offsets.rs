//! Offsets by place, by time and by leader epoch, of the partitions of one shard.

use super::message::{EpochQuery, OffsetQuery};
use super::{Error, Shard};
use crate::io::Env;
use crate::partition::{EpochEnd, FoundOffset};

impl<E: Env> Shard<E> {
    /// Answers ListOffsets queries, one after the other.
    pub async fn find_offsets(&self, queries: &[OffsetQuery]) -> Vec<Result<FoundOffset, Error>> {
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(match self.partition(query.id) {
                Some(partition) => partition.find_offset(query.target, query.leader_epoch).await.map_err(Error::from),
                None => Err(Error::NotHere),
            });
        }
        answers
    }

    /// Answers OffsetForLeaderEpoch queries.
    #[must_use]
    pub fn ends_of_epochs(&self, queries: &[EpochQuery]) -> Vec<Result<EpochEnd, Error>> {
        let answer = |query: &EpochQuery| {
            let partition = self.partition(query.id).ok_or(Error::NotHere)?;
            partition.check_leader_epoch(query.leader_epoch)?;
            Ok(partition.end_of_epoch(query.epoch))
        };
        queries.iter().map(answer).collect()
    }
}
