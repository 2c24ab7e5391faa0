//! `ringmain log verify`: every batch of every partition of a directory at rest, read and checked.

use std::path::Path;

use serde::Serialize;

use super::super::Ended;
use super::super::output::Output;
use super::dump::next_batch;
use crate::io::files::{self, Reader};
use crate::record::Batches;
use crate::storage::kafka_files::{parse_partition_dir, parse_segment_file_name};
use crate::storage::offset_index::OffsetIndex;
use crate::storage::time_index::TimeIndex;
use crate::types::Offset;

pub(super) fn run(dir: &Path, json: bool, output: &mut Output) -> Result<(), Ended> {
    let failed = |error: std::io::Error| Ended::Failed(format!("{}: {error}", dir.display()));
    let entries = files::list(dir).map_err(failed)?;
    if !entries.iter().any(|entry| entry.name == CLEAN_SHUTDOWN) {
        let dir = dir.display();
        return Err(Ended::Failed(format!(
            "{dir}: was not stopped cleanly, or a node has it open. After a crash, run: ringmain log close {dir}"
        )));
    }
    let mut damaged = false;
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        if parse_partition_dir(&entry.name).is_none() {
            continue;
        }
        let partition = Partition::verify(&dir.join(&entry.name), &entry.name).map_err(failed)?;
        damaged |= !partition.problems.is_empty();
        if json { output.json(&partition) } else { partition.print(output) }
    }
    if damaged { Err(Ended::Unwell) } else { Ok(()) }
}

/// What was found of one partition.
#[derive(Default, Serialize)]
struct Partition {
    partition: String,
    segments: usize,
    batches: u64,
    records: i64,
    bytes: u64,
    log_start_offset: i64,
    log_end_offset: i64,
    problems: Vec<String>,
}

impl Partition {
    fn verify(dir: &Path, name: &str) -> std::io::Result<Self> {
        let mut found = Self { partition: name.to_owned(), ..Self::default() };
        let mut next = None;
        for entry in files::list(dir)? {
            let Some(base) = parse_segment_file_name(&entry.name, "log") else { continue };
            if next.is_none() {
                found.log_start_offset = base.0;
            } else if next != Some(base) {
                // After compaction this would be legal; there is none yet.
                found.problem(&entry.name, format_args!("starts at {base}, the one before ends at {next:?}"));
            }
            next = Some(found.segment(&dir.join(&entry.name), &entry.name, base)?);
        }
        found.log_end_offset = next.map_or(0, |offset| offset.0);
        Ok(found)
    }

    /// Reads one segment and its indexes; answers the offset after its last batch.
    fn segment(&mut self, path: &Path, name: &str, base: Offset) -> std::io::Result<Offset> {
        let reader = Reader::open(path)?;
        let mut next = base;
        let mut position = 0;
        let mut starts = Vec::new();
        while let Some(bytes) = next_batch(&reader, position)? {
            let Some(Ok(batch)) = Batches::new(&bytes).next() else { break };
            if let Err(error) = batch.verify() {
                self.problem(name, format_args!("position {position}: {error}"));
            }
            if batch.header.base_offset != next {
                let found = batch.header.base_offset;
                self.problem(name, format_args!("position {position}: a batch at offset {found} where {next} is due"));
            }
            next = batch.header.next_offset();
            starts.push((batch.header.last_offset(), position));
            self.batches += 1;
            self.records += i64::from(batch.header.record_count);
            position += u64::try_from(bytes.len()).expect("a length fits");
        }
        if position < reader.len() {
            self.problem(name, format_args!("batches end at {position} of {} bytes", reader.len()));
        }
        self.segments += 1;
        self.bytes += position;
        self.indexes(path, name, base, &starts)?;
        Ok(next)
    }

    /// An offset index names the last offset of a batch and where it begins; a time index must read back.
    fn indexes(&mut self, path: &Path, name: &str, base: Offset, starts: &[(Offset, u64)]) -> std::io::Result<()> {
        let segment_bytes = Reader::open(path)?.len();
        if let Some(bytes) = read_if_there(&path.with_extension("index"))? {
            match OffsetIndex::from_bytes(base, bytes, segment_bytes) {
                Err(error) => self.problem(name, format_args!("offset index: {error}")),
                Ok(index) => {
                    let wrong = (0..index.entry_count())
                        .map(|entry| index.entry(entry))
                        .find(|(_, position)| starts.binary_search_by_key(position, |(_, start)| *start).is_err());
                    if let Some((offset, position)) = wrong {
                        self.problem(name, format_args!("offset index: no batch for offset {offset} at {position}"));
                    }
                }
            }
        }
        if let Some(bytes) = read_if_there(&path.with_extension("timeindex"))?
            && let Err(error) = TimeIndex::from_bytes(base, bytes)
        {
            self.problem(name, format_args!("time index: {error}"));
        }
        Ok(())
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

fn read_if_there(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match files::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Kafka's mark of a clean stop.
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
