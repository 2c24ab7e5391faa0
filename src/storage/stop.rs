//! The end of a clean stop: the files by which Kafka, and our own next start, know that it was clean.
//!
//! Each shard's [`Store::close`](super::Store::close) answers with a [`Stopped`]; one shard gathers them all and calls
//! [`finish`]. The mark itself is written last.

use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use super::checkpoint::LogCheckpoint;
use super::error::Error;
use super::kafka_files::leader_epochs::EpochStart;
use super::kafka_files::{
    CLEAN_SHUTDOWN, CLEANER_CHECKPOINT, LEADER_EPOCH_CHECKPOINT, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    REPLICATION_CHECKPOINT, clean_shutdown, leader_epochs, offsets,
};
use super::log::{Log, NO_PLACE};
use super::read::index_files;
use super::segment::Segment;
use super::store::Store;
use crate::io::{Env, Job, Op, Runtime, Slice};
use crate::types::{Offset, TopicPartition};

/// What one shard's stop came to. Plain data: it goes to the shard that ends the stop.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Log, its first offset, the one that its segments' names say, its end.
    logs: Vec<(TopicPartition, Offset, Offset, Offset)>,
    /// Why the stop was not clean, if so: then the next start recovers.
    pub failed: Option<Error>,
}

impl Stopped {
    pub(super) fn of<'a>(logs: impl Iterator<Item = &'a LogCheckpoint>) -> Self {
        let entry = |log: &LogCheckpoint| {
            // Without a segment only the checkpoint file says where the log goes on.
            let first = log.segments.first().map_or(0, |first| first.base_offset);
            (log.name(), Offset(log.log_start), Offset(first), log.end())
        };
        Self { logs: logs.map(entry).collect(), failed: None }
    }
}

/// Writes Kafka's files of the directory, the mark of a clean stop last. `number` is the one that the stores were closed
/// with. Answers whether the stop was clean.
///
/// # Errors
/// A file could not be written: the stop is not clean.
pub async fn finish<E: Env>(rt: &Rc<Runtime<E>>, dir: &Path, number: i64, shards: &[Stopped]) -> Result<bool, Error> {
    if shards.iter().any(|shard| shard.failed.is_some()) {
        return Ok(false);
    }
    let all = || shards.iter().flat_map(|shard| &shard.logs);
    let ends: Vec<(TopicPartition, Offset)> = all().map(|(name, _, _, end)| (name.clone(), *end)).collect();
    let starts = all().filter(|(_, start, first, _)| start > first);
    let starts: Vec<(TopicPartition, Offset)> = starts.map(|(name, start, ..)| (name.clone(), *start)).collect();
    let files = [
        (RECOVERY_POINT_CHECKPOINT, offsets::encode(&ends)),
        (REPLICATION_CHECKPOINT, offsets::encode(&ends)),
        (LOG_START_CHECKPOINT, offsets::encode(&starts)),
        (CLEANER_CHECKPOINT, offsets::encode(&[])),
        (CLEAN_SHUTDOWN, clean_shutdown::encode(number)),
    ];
    for (name, text) in files {
        write(rt, dir, name, text).await?;
    }
    Ok(true)
}

impl<E: Env> Store<E> {
    /// The files that Kafka expects beside the segments of closed logs; durable with what closing has written.
    pub(super) async fn close_files(&self, logs: &[(Rc<Log<E>>, LogCheckpoint)]) -> Result<(), Error> {
        let rt = &self.writer().rt;
        for some in logs.chunks(LOGS_AT_ONCE) {
            let jobs: Vec<_> = some.iter().map(|(log, entry)| rt.submit(Op::Job(last_files(log, entry)))).collect();
            for (job, (log, _)) in jobs.into_iter().zip(some) {
                job.await.result.map_err(|error| Error::io("cannot write files of", log.dir(), error))?;
            }
        }
        Ok(())
    }
}

fn last_files<E: Env>(log: &Log<E>, entry: &LogCheckpoint) -> Job<E> {
    let mut files = Vec::new();
    let active: Option<Rc<Segment<E>>> = log.segments.borrow().values().next_back().cloned();
    // Where nothing was appended, the files are as they were.
    if let Some(segment) = active
        && !segment.sealed.get()
        && segment.end_position.get() > 0
        && log.newest_place.get() != NO_PLACE
        && let Some(mut index) = segment.index.borrow().clone()
    {
        index.seal();
        files.extend(index_files(&segment.path, &index));
    }
    let start = |entry: &super::checkpoint::LeaderEpochEntry| EpochStart {
        epoch: entry.epoch,
        start_offset: Offset(entry.start_offset),
    };
    let epochs: Vec<EpochStart> = entry.state.leader_epochs.iter().map(start).collect();
    files.push((log.dir().join(LEADER_EPOCH_CHECKPOINT), leader_epochs::encode(&epochs).into_bytes()));
    let write = |(path, bytes)| Job::WriteEnd(path, 0, vec![Slice::from(Bytes::from(bytes))]);
    Job::Sequence(files.into_iter().map(write).collect())
}

async fn write<E: Env>(rt: &Rc<Runtime<E>>, dir: &Path, name: &str, text: String) -> Result<(), Error> {
    let path = dir.join(name);
    let written = rt.job(Job::WriteFile(path.clone(), text.into_bytes())).await;
    written.map(drop).map_err(|error| Error::io("cannot write", path, error))
}

/// Logs whose files are written at a time: jobs on their way to housekeeping.
const LOGS_AT_ONCE: usize = 256;
