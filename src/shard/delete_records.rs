//! DeleteRecords: raises the log start of partitions of one shard, durably.

use std::rc::Rc;

use super::{Error, Shard};
use crate::io::Env;
use crate::partition;
use crate::storage::Log;
use crate::types::{Offset, PartitionId};

/// Records of one partition to delete.
#[derive(Clone, Copy, Debug)]
pub struct DeleteQuery {
    /// The partition.
    pub id: PartitionId,
    /// The first offset to keep; -1: the high watermark.
    pub before: Offset,
}

/// A log and where it shall start.
type Raise<E> = (Rc<Log<E>>, Offset);

impl<E: Env> Shard<E> {
    /// Deletes records; answers where each log starts then. All queries share what makes them durable.
    pub async fn delete_records(&self, queries: &[DeleteQuery]) -> Vec<Result<Offset, Error>> {
        let checked: Vec<Result<Raise<E>, Error>> = queries.iter().map(|query| self.deletable(query)).collect();
        let wanted: Vec<Raise<E>> = checked.iter().filter_map(|checked| checked.as_ref().ok().cloned()).collect();
        let mut raised = self.store().raise_log_starts(&wanted).await.into_iter();
        let answer = |checked: Result<_, Error>| {
            checked?;
            let raised = raised.next().expect("an answer for each");
            raised.map_err(|error| partition::Error::from(error).into())
        };
        checked.into_iter().map(answer).collect()
    }

    fn deletable(&self, query: &DeleteQuery) -> Result<Raise<E>, Error> {
        let partition = self.partition(query.id).ok_or(Error::NotHere)?;
        let offset = partition.deletable(query.before)?;
        Ok((Rc::clone(partition.log()), offset))
    }
}
