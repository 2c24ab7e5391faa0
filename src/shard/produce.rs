//! Appends to the partitions of one shard, for its own connections and for those of others.

use super::{Error, Shard};
use crate::io::Env;
use crate::partition::{AppendInfo, AppendJob, AppendTicket};
use crate::types::PartitionId;

/// One batch for one partition.
#[derive(Debug)]
pub struct ProduceItem {
    /// The partition.
    pub id: PartitionId,
    /// The batch and what it waits for.
    pub job: AppendJob,
}

/// What became of one batch.
pub type Produced = Result<AppendInfo, Error>;

impl<E: Env> Shard<E> {
    /// Phase 1 of one batch: decided when this returns, in the order of the calls.
    pub fn append(&self, id: PartitionId, job: AppendJob) -> Result<AppendTicket<E>, Error> {
        Ok(self.partition(id).ok_or(Error::NotHere)?.append(job))
    }

    /// Phase 1 of a call's batches. The answers, in the same order, are given by [`done`].
    pub fn append_all(&self, items: Vec<ProduceItem>) -> Vec<Result<AppendTicket<E>, Error>> {
        items.into_iter().map(|item| self.append(item.id, item.job)).collect()
    }
}

/// Phase 2 of batches: ends when each is as safe as its request asks.
pub async fn done<E: Env>(tickets: Vec<Result<AppendTicket<E>, Error>>) -> Vec<Produced> {
    let mut answers = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        answers.push(match ticket {
            Ok(ticket) => ticket.done().await.map_err(Error::from),
            Err(error) => Err(error),
        });
    }
    answers
}
