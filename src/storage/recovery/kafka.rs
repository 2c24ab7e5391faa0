//! One log of a directory that Kafka (or `log close`) stopped cleanly: Kafka's rule.
//!
//! A rolled segment is what its file says; the last one is read from its beginning, because its indexes, the leader epochs
//! and the producers of its batches are needed anyway. Everything in a cleanly stopped directory was durable, so bytes that
//! are no batch are damage, except zeros at the end, which are room that was never used.
//!
//! Where a log begins within its first segment, or without any, `log-start-offset-checkpoint` says, and after a crash our
//! own checkpoint.
//!
//! With `salvage` nothing is known to be durable: every segment is read, and the log ends where its batches do.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::decide::segment_files;
use super::scan::{Cursor, SegmentReader, Step, Stop};
use super::{FoundLog, FoundSegment};
use crate::io::{Entry, Env, Job, Output, Runtime};
use crate::storage::checkpoint::{LeaderEpochEntry, PartitionState};
use crate::storage::kafka_files::{
    LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA, leader_epochs, partition_metadata, segment_file_name,
};
use crate::storage::time_index::TimeIndex;
use crate::types::{Offset, PartitionId, TopicId, TopicPartition};

/// Reads logs by their files alone.
pub(super) struct Scan<'a, E: Env> {
    pub(super) rt: &'a Rc<Runtime<E>>,
    pub(super) log_dir: &'a Path,
    pub(super) block_bytes: usize,
    pub(super) salvage: bool,
    /// Where logs begin, of those that do not begin with their first segment: as the last clean stop said.
    pub(super) starts: BTreeMap<TopicPartition, Offset>,
    /// The same as our own checkpoints say.
    pub(super) own_starts: BTreeMap<PartitionId, Offset>,
}

impl<E: Env> Scan<'_, E> {
    /// Reads one log.
    pub(super) async fn read(&self, name: TopicPartition) -> FoundLog {
        let dir = self.log_dir.join(name.to_string());
        let partition = name.partition;
        let mut found = FoundLog::new(PartitionId { topic_id: TopicId::ZERO, partition }, name, dir);
        if let Err(reason) = self.log(&mut found).await {
            found.quarantined = Some(reason);
        }
        found
    }

    async fn log(&self, found: &mut FoundLog) -> Result<(), Arc<str>> {
        let text = self.text(&found.dir, PARTITION_METADATA).await?.unwrap_or_default();
        found.id.topic_id = partition_metadata::decode(&text).map_err(|error| reason(PARTITION_METADATA, &error))?;
        if let Some(text) = self.text(&found.dir, LEADER_EPOCH_CHECKPOINT).await? {
            let epochs = leader_epochs::decode(&text).map_err(|error| reason(LEADER_EPOCH_CHECKPOINT, &error))?;
            let entry = |start: leader_epochs::EpochStart| LeaderEpochEntry {
                epoch: start.epoch,
                start_offset: start.start_offset.0,
            };
            found.state.leader_epochs = epochs.into_iter().map(entry).collect();
        }
        let files = segment_files(&self.list(&found.dir).await?);
        let said = self.starts.get(&found.name).or_else(|| self.own_starts.get(&found.id)).copied();
        found.log_start = said.unwrap_or(Offset::ZERO);
        let Some(first) = files.keys().next() else {
            (found.log_end, found.state.up_to) = (found.log_start, found.log_start.0);
            return Ok(());
        };
        found.log_start = found.log_start.max(*first);
        self.segments(found, &files).await?;
        found.log_end = found.segments.last().map_or(*first, |last| last.end_offset);
        // Of another log of this name, perhaps: it would hide records.
        found.log_start = if found.log_start > found.log_end { *first } else { found.log_start };
        found.state.up_to = found.log_end.0;
        found.state.leader_epochs.retain(|entry| entry.start_offset <= found.log_end.0);
        Ok(())
    }

    async fn segments(&self, found: &mut FoundLog, files: &BTreeMap<Offset, u64>) -> Result<(), Arc<str>> {
        let mut bases = files.iter().peekable();
        while let Some((base, len)) = bases.next() {
            let next = bases.peek().map(|(next, _)| **next);
            let mut segment = FoundSegment { file_bytes: Some(*len), ..FoundSegment::empty(*base) };
            match next {
                Some(next) if !self.salvage => {
                    (segment.bytes, segment.end_offset, segment.sealed) = (*len, next, true);
                    self.largest_timestamp(&found.dir, &mut segment).await;
                }
                _ => {
                    self.walk(&found.dir, &mut segment, &mut found.state, next).await?;
                    segment.sealed = next.is_some();
                }
            }
            found.segments.push(segment);
        }
        Ok(())
    }

    /// Reads a segment to where its batches end.
    async fn walk(
        &self,
        dir: &Path,
        segment: &mut FoundSegment,
        state: &mut PartitionState,
        next: Option<Offset>,
    ) -> Result<(), Arc<str>> {
        let path = dir.join(segment_file_name(segment.base_offset, "log"));
        let failed = |error: io::Error| reason(&path.to_string_lossy(), &error);
        let len = segment.file_bytes.unwrap_or(0);
        let opened = SegmentReader::open(self.rt, &path, segment.base_offset, self.block_bytes, Vec::new()).await;
        let mut reader = opened.map_err(failed)?;
        let mut cursor = Cursor { position: 0, offset: segment.base_offset };
        let walked = reader.walk(&mut cursor, len, true, |position, batch| {
            segment.take(position, &batch.header, state);
            if next.is_some_and(|next| batch.header.next_offset() >= next) { Step::Stop } else { Step::On }
        });
        let stop = walked.await.map_err(failed)?;
        match (stop, next) {
            (Stop::Told, Some(next)) if cursor.offset != next => {
                Err(format!("segment {next} begins within the one before it").into())
            }
            (Stop::AtLimit | Stop::Told, _) => Ok(()),
            (Stop::Bad(why), None)
                if self.salvage || only_zeros(&mut reader, cursor.position, len).await.map_err(failed)? =>
            {
                let _ = why;
                Ok(())
            }
            (Stop::Bad(why), _) => Err(format!("segment {}: {why}", segment.base_offset).into()),
        }
    }

    /// A rolled segment's largest timestamp: the last entry of its time index. Without it retention by time spares the segment
    /// until `read` has rebuilt the index.
    async fn largest_timestamp(&self, dir: &Path, segment: &mut FoundSegment) {
        let path = dir.join(segment_file_name(segment.base_offset, "timeindex"));
        let Ok(Output::Bytes(bytes)) = self.rt.job(Job::ReadFile(path, INDEX_BYTES_MAX)).await else { return };
        let index = TimeIndex::from_bytes(segment.base_offset, bytes);
        if let Some(last) = index.ok().and_then(|index| index.last_entry()) {
            (segment.max_timestamp, segment.max_timestamp_offset) = (last.timestamp, last.offset);
        }
    }

    async fn text(&self, dir: &Path, name: &str) -> Result<Option<String>, Arc<str>> {
        match self.rt.job(Job::ReadFile(dir.join(name), TEXT_BYTES_MAX)).await {
            Ok(Output::Bytes(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(reason(name, &error)),
        }
    }

    async fn list(&self, dir: &Path) -> Result<Vec<Entry>, Arc<str>> {
        match self.rt.job(Job::List(dir.into())).await {
            Ok(Output::Entries(entries)) => Ok(entries),
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(reason(&dir.to_string_lossy(), &error)),
        }
    }
}

/// Whether nothing but room is left in a file.
async fn only_zeros<E: Env>(reader: &mut SegmentReader<E>, from: u64, to: u64) -> io::Result<bool> {
    let mut at = from;
    while at < to {
        let end = to.min(at + PIECE_BYTES);
        if reader.load(at..end).await?.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}

fn reason(what: &str, error: &dyn std::fmt::Display) -> Arc<str> {
    format!("{what}: {error}").into()
}

const PIECE_BYTES: u64 = 1 << 20;
const TEXT_BYTES_MAX: usize = 16 << 20;
const INDEX_BYTES_MAX: usize = 64 << 20;
