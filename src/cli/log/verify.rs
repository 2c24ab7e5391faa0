//! `ringmain log verify`: every batch of every partition of a directory at rest, read and checked. Changes nothing.
//!
//! After a clean stop everything must fit: batches, offsets, leader epochs, indexes, and where Kafka's checkpoint files say
//! that each log begins and ends. After a crash the last bytes of a log may be in the journal alone, and what lies behind
//! them in a segment is room, or the bytes of an earlier use: there only what is certainly wrong is called damage, which is
//! a batch that does not check out before one that goes on behind it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::super::Ended;
use super::super::checks;
use super::super::output::Output;
use super::dump::next_batch;
use crate::io::files::{self, Reader};
use crate::io::lock::{self, Lock};
use crate::record::{BatchHeader, Batches};
use crate::storage::kafka_files::leader_epochs::{self, EpochStart};
use crate::storage::kafka_files::{
    CLEAN_SHUTDOWN, LEADER_EPOCH_CHECKPOINT, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, offsets,
    parse_partition_dir, parse_segment_file_name,
};
use crate::storage::offset_index::OffsetIndex;
use crate::storage::time_index::{NO_TIMESTAMP, TimeIndex};
use crate::types::{Offset, TopicPartition};

pub(super) fn run(dir: &Path, json: bool, output: &mut Output) -> Result<(), Ended> {
    let failed = |error: std::io::Error| Ended::Failed(format!("{}: {error}", dir.display()));
    let entries = files::list(dir).map_err(failed)?;
    let _lock = keep_others_out(dir)?;
    let clean = entries.iter().any(|entry| entry.name == CLEAN_SHUTDOWN);
    if !clean {
        output.note(format_args!(
            "{}: was not stopped cleanly. The last records of a log may be in the journal alone and are not looked at; \
             `ringmain log close {}` recovers them",
            dir.display(),
            dir.display()
        ));
    }
    let stop = if clean { Stop::read(dir)? } else { Stop::default() };
    let mut damaged = false;
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let Some(name) = parse_partition_dir(&entry.name) else { continue };
        let mut partition = Partition { partition: entry.name.clone(), clean, ..Partition::default() };
        partition.verify(&dir.join(&entry.name), &name, &stop).map_err(failed)?;
        damaged |= !partition.problems.is_empty();
        if json { output.json(&partition) } else { partition.print(output) }
    }
    if damaged { Err(Ended::Unwell) } else { Ok(()) }
}

/// Locks the directory, where a node has ever locked it. Where the lock file cannot be written to, nobody else can.
fn keep_others_out(dir: &Path) -> Result<Option<Lock>, Ended> {
    if !dir.join(lock::NAME).exists() {
        return Ok(None);
    }
    match lock::acquire(dir, LOCK_WAIT, |_| ()) {
        Ok(lock) => Ok(Some(lock)),
        Err(in_use @ lock::Error::InUse { .. }) => Err(Ended::Failed(checks::locked(&in_use).to_string())),
        Err(lock::Error::Io { .. }) => Ok(None),
    }
}

/// What Kafka's files of a clean stop say of all partitions.
#[derive(Default)]
struct Stop {
    starts: BTreeMap<TopicPartition, Offset>,
    ends: BTreeMap<TopicPartition, Offset>,
}

impl Stop {
    fn read(dir: &Path) -> Result<Self, Ended> {
        let read = |name: &str| {
            let failed = |why: &dyn std::fmt::Display| Ended::Failed(format!("{}: {why}", dir.join(name).display()));
            let bytes = read_if_there(&dir.join(name)).map_err(|error| failed(&error))?.unwrap_or_default();
            if bytes.is_empty() {
                return Ok::<_, Ended>(BTreeMap::new());
            }
            let entries = offsets::decode(&String::from_utf8_lossy(&bytes)).map_err(|error| failed(&error))?;
            Ok(entries.into_iter().collect())
        };
        Ok(Self { starts: read(LOG_START_CHECKPOINT)?, ends: read(RECOVERY_POINT_CHECKPOINT)? })
    }
}

/// What was found of one partition.
#[derive(Default, Serialize)]
struct Partition {
    partition: String,
    clean: bool,
    segments: usize,
    batches: u64,
    records: i64,
    bytes: u64,
    log_start_offset: i64,
    log_end_offset: i64,
    problems: Vec<String>,
    #[serde(skip)]
    epochs: Vec<EpochStart>,
}

/// One batch of a segment, for what its indexes say.
struct Place {
    position: u64,
    base_offset: Offset,
    last_offset: Offset,
    max_timestamp: i64,
}

impl Partition {
    fn verify(&mut self, dir: &Path, name: &TopicPartition, stop: &Stop) -> std::io::Result<()> {
        self.read_epochs(dir)?;
        let mut next = None;
        for entry in files::list(dir)? {
            let Some(base) = parse_segment_file_name(&entry.name, "log") else { continue };
            match next {
                None => self.log_start_offset = base.0,
                // After compaction a gap would be legal; there is none yet. After a crash the journal may have what is missing.
                Some(end) if end != base && (self.clean || end > base) => {
                    self.problem(&entry.name, format_args!("starts at {base}, the one before ends at {end}"));
                }
                Some(_) => {}
            }
            next = Some(self.segment(&dir.join(&entry.name), &entry.name, base)?);
        }
        // A log without a segment ends where it begins.
        let nowhere = stop.starts.get(name).copied().unwrap_or(Offset::ZERO);
        self.log_end_offset = next.unwrap_or(nowhere).0;
        if let Some(first) = self.epochs.first().filter(|first| first.start_offset.0 < self.log_start_offset) {
            let (begins, first) = (first.start_offset, self.log_start_offset);
            self.problem(LEADER_EPOCH_CHECKPOINT, format_args!("begins at {begins}, the first segment at {first}"));
        }
        if let Some(start) = stop.starts.get(name) {
            if start.0 < self.log_start_offset {
                let first = self.log_start_offset;
                self.problem(LOG_START_CHECKPOINT, format_args!("begins at {start}, the first segment at {first}"));
            }
            if start.0 > self.log_end_offset {
                let end = self.log_end_offset;
                self.problem(LOG_START_CHECKPOINT, format_args!("begins at {start}, the last segment ends at {end}"));
            }
            self.log_start_offset = self.log_start_offset.max(start.0);
        }
        if let Some(end) = stop.ends.get(name).filter(|end| end.0 != self.log_end_offset) {
            let found = self.log_end_offset;
            self.problem(RECOVERY_POINT_CHECKPOINT, format_args!("ended at {end}, the segments end at {found}"));
        }
        Ok(())
    }

    /// Which leader epoch each batch must name; only after a clean stop is the file up to date.
    fn read_epochs(&mut self, dir: &Path) -> std::io::Result<()> {
        let Some(bytes) = read_if_there(&dir.join(LEADER_EPOCH_CHECKPOINT))?.filter(|_| self.clean) else {
            return Ok(());
        };
        match leader_epochs::decode(&String::from_utf8_lossy(&bytes)) {
            Ok(epochs) => self.epochs = epochs,
            Err(error) => self.problem(LEADER_EPOCH_CHECKPOINT, error),
        }
        Ok(())
    }

    /// Reads one segment and its indexes; answers the offset after its last batch.
    fn segment(&mut self, path: &Path, name: &str, base: Offset) -> std::io::Result<Offset> {
        let reader = Reader::open(path)?;
        let (mut next, mut position) = (base, 0);
        let mut places = Vec::new();
        while let Some(bytes) = next_batch(&reader, position)? {
            let Some(Ok(batch)) = Batches::new(&bytes).next() else { break };
            let behind = position + batch.bytes.len() as u64;
            let problems = self.problems_of(&batch.header, batch.verify().err().map(|error| error.to_string()), next);
            let expected = next.plus(i64::from(batch.header.last_offset_delta) + 1);
            if !problems.is_empty() && !self.clean && !goes_on(&reader, behind, expected)? {
                break;
            }
            for problem in problems {
                self.problem(name, format_args!("position {position}: {problem}"));
            }
            next = if self.clean { batch.header.next_offset() } else { expected };
            places.push(Place {
                position,
                base_offset: batch.header.base_offset,
                last_offset: batch.header.last_offset(),
                max_timestamp: batch.header.largest_timestamp(),
            });
            self.batches += 1;
            self.records += i64::from(batch.header.record_count);
            position = behind;
        }
        if position < reader.len() && self.clean {
            self.problem(name, format_args!("batches end at {position} of {} bytes", reader.len()));
        }
        self.segments += 1;
        self.bytes += position;
        self.offset_index(path, name, base, &places)?;
        self.time_index(path, name, base, &places)?;
        Ok(next)
    }

    /// What is wrong with one batch where `due` is the next offset.
    fn problems_of(&self, header: &BatchHeader, checksum: Option<String>, due: Offset) -> Vec<String> {
        let mut problems = Vec::from_iter(checksum);
        let (found, epoch) = (header.base_offset, header.partition_leader_epoch);
        if found != due {
            problems.push(format!("a batch at offset {found} where {due} is due"));
        }
        let at = self.epochs.iter().rfind(|entry| entry.start_offset <= found);
        if let Some(expected) = at.map(|entry| entry.epoch).filter(|expected| *expected != epoch) {
            problems.push(format!("leader epoch {epoch}, {LEADER_EPOCH_CHECKPOINT} says {expected}"));
        }
        problems
    }

    /// An entry names the last offset of a batch, and where that one, or one before it, begins.
    fn offset_index(&mut self, path: &Path, name: &str, base: Offset, places: &[Place]) -> std::io::Result<()> {
        let Some(bytes) = read_if_there(&path.with_extension("index"))? else { return Ok(()) };
        let index = match OffsetIndex::from_bytes(base, bytes, Reader::open(path)?.len()) {
            Err(error) => {
                self.problem(name, format_args!("offset index: {error}"));
                return Ok(());
            }
            Ok(index) => index,
        };
        let wrong = |(offset, position): &(Offset, u64)| {
            let named = places.binary_search_by_key(offset, |place| place.last_offset);
            let begins = places.binary_search_by_key(position, |place| place.position);
            !matches!((named, begins), (Ok(named), Ok(begins)) if begins <= named)
        };
        let entries = (0..index.entry_count()).map(|entry| index.entry(entry));
        if let Some((offset, position)) = entries.filter(|entry| self.covers(entry.0, places)).find(wrong) {
            self.problem(name, format_args!("offset index: no batch for offset {offset} at {position}"));
        }
        Ok(())
    }

    /// An entry names an offset of a batch and that batch's largest timestamp.
    fn time_index(&mut self, path: &Path, name: &str, base: Offset, places: &[Place]) -> std::io::Result<()> {
        let Some(bytes) = read_if_there(&path.with_extension("timeindex"))? else { return Ok(()) };
        let index = match TimeIndex::from_bytes(base, bytes) {
            Err(error) => {
                self.problem(name, format_args!("time index: {error}"));
                return Ok(());
            }
            Ok(index) => index,
        };
        for entry in (0..index.entry_count()).map(|entry| index.entry(entry)) {
            let at = places.partition_point(|place| place.last_offset < entry.offset);
            let batch = places.get(at).filter(|place| place.base_offset <= entry.offset);
            let right = batch.is_some_and(|place| place.max_timestamp == entry.timestamp);
            if !right && entry.timestamp != NO_TIMESTAMP && self.covers(entry.offset, places) {
                let (timestamp, offset) = (entry.timestamp, entry.offset);
                self.problem(name, format_args!("time index: offset {offset} has not timestamp {timestamp}"));
                break;
            }
        }
        Ok(())
    }

    /// Whether an index entry for `offset` can be judged by the batches that were read.
    fn covers(&self, offset: Offset, places: &[Place]) -> bool {
        self.clean || places.last().is_some_and(|last| offset <= last.last_offset)
    }

    fn problem(&mut self, segment: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{segment}: {what}"));
    }

    fn print(&self, output: &mut Output) {
        let state = if self.problems.is_empty() { "ok" } else { "DAMAGED" };
        output.line(format_args!(
            "{state:<8} {}  offsets {} to {}, {} records in {} batches, {} bytes in {} segments",
            self.partition,
            self.log_start_offset,
            self.log_end_offset,
            self.records,
            self.batches,
            self.bytes,
            self.segments,
        ));
        for problem in &self.problems {
            output.line(format_args!("         {problem}"));
        }
    }
}

/// Whether an intact batch at `position` begins with the offset that is due there.
fn goes_on(reader: &Reader, position: u64, due: Offset) -> std::io::Result<bool> {
    let Some(bytes) = next_batch(reader, position)? else { return Ok(false) };
    let batch = Batches::new(&bytes).next();
    Ok(matches!(batch, Some(Ok(batch)) if batch.header.base_offset == due && batch.verify().is_ok()))
}

fn read_if_there(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match files::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel frees the lock of a process that has ended a moment after it, when its rings are gone.
const LOCK_WAIT: Duration = Duration::from_secs(2);
