//! `ringmain log dump`: one file of a partition, line by line.
//!
//! Reads one batch at a time, so that a segment of any size takes the memory of its largest batch.

use std::path::Path;

use serde::Serialize;

use super::super::Ended;
use super::super::output::Output;
use crate::io::files::{self, Reader};
use crate::record::{BatchHeader, Batches, HEADER_BYTES, Record, TimestampType, decode};
use crate::storage::kafka_files::parse_segment_file_name;
use crate::storage::offset_index::OffsetIndex;
use crate::storage::time_index::TimeIndex;
use crate::types::Offset;

pub(super) fn run(path: &Path, records: bool, json: bool, output: &mut Output) -> Result<(), Ended> {
    let failed = |error: std::io::Error| Ended::Failed(format!("{}: {error}", path.display()));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("log") => segment(path, records, json, output),
        Some("index") => {
            let index =
                OffsetIndex::from_bytes(base_offset(path, "index")?, files::read(path).map_err(failed)?, u64::MAX);
            let index = index.map_err(|error| Ended::Failed(format!("{}: {error}", path.display())))?;
            for entry in 0..index.entry_count() {
                let (offset, position) = index.entry(entry);
                let shown = IndexEntry { offset: offset.0, position };
                if json {
                    output.json(&shown)
                } else {
                    output.line(format_args!("offset {offset} position {position}"))
                }
            }
            Ok(())
        }
        Some("timeindex") => {
            let index = TimeIndex::from_bytes(base_offset(path, "timeindex")?, files::read(path).map_err(failed)?);
            let index = index.map_err(|error| Ended::Failed(format!("{}: {error}", path.display())))?;
            for entry in 0..index.entry_count() {
                let entry = index.entry(entry);
                let (timestamp, offset) = (entry.timestamp, entry.offset);
                let shown = TimeIndexEntry { timestamp, offset: offset.0 };
                if json {
                    output.json(&shown)
                } else {
                    output.line(format_args!("timestamp {timestamp} offset {offset}"))
                }
            }
            Ok(())
        }
        _ => Err(Ended::Usage(format!("{}: is none of .log, .index and .timeindex", path.display()))),
    }
}

#[derive(Serialize)]
struct IndexEntry {
    offset: i64,
    position: u64,
}

#[derive(Serialize)]
struct TimeIndexEntry {
    timestamp: i64,
    offset: i64,
}

#[derive(Serialize)]
struct ShownBatch {
    position: u64,
    base_offset: i64,
    last_offset: i64,
    records: i32,
    bytes: usize,
    leader_epoch: i32,
    compression: &'static str,
    timestamp_type: &'static str,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    crc: u32,
    valid: bool,
}

impl ShownBatch {
    fn new(position: u64, header: &BatchHeader, valid: bool) -> Self {
        Self {
            position,
            base_offset: header.base_offset.0,
            last_offset: header.last_offset().0,
            records: header.record_count,
            bytes: header.size_bytes(),
            leader_epoch: header.partition_leader_epoch,
            compression: header.compression().map_or("unknown", |codec| codec.name()),
            timestamp_type: match header.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            max_timestamp: header.max_timestamp,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            crc: header.crc,
            valid,
        }
    }

    fn print(&self, output: &mut Output) {
        output.line(format_args!(
            "position {} offsets {} to {} ({} records, {} bytes) epoch {} {} {} {} producer {} epoch {} sequence {} {}",
            self.position,
            self.base_offset,
            self.last_offset,
            self.records,
            self.bytes,
            self.leader_epoch,
            self.compression,
            self.timestamp_type,
            self.max_timestamp,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            if self.valid { "ok" } else { "WRONG CHECKSUM" },
        ));
    }
}

#[derive(Serialize)]
struct ShownRecord {
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

impl ShownRecord {
    fn new(record: &Record<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            offset: record.offset.0,
            timestamp: record.timestamp,
            key: record.key.map(text),
            value: record.value.map(text),
            headers: record.headers.map(|(name, value)| (text(name), value.map(text))).collect(),
        }
    }

    fn print(&self, output: &mut Output) {
        let shown = |text: &Option<String>| text.as_ref().map_or_else(|| "null".to_owned(), |text| format!("{text:?}"));
        let headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!(" {name}={}", shown(value))).collect();
        let (key, value) = (shown(&self.key), shown(&self.value));
        let (offset, timestamp) = (self.offset, self.timestamp);
        output.line(format_args!("  {offset} {timestamp} key {key} value {value}{}", headers.concat()));
    }
}

fn segment(path: &Path, records: bool, json: bool, output: &mut Output) -> Result<(), Ended> {
    let failed = |error: std::io::Error| Ended::Failed(format!("{}: {error}", path.display()));
    let reader = Reader::open(path).map_err(failed)?;
    let mut position = 0;
    let mut damaged = false;
    while let Some(bytes) = next_batch(&reader, position).map_err(failed)? {
        let Some(Ok(batch)) = Batches::new(&bytes).next() else { break };
        let valid = batch.verify().is_ok();
        damaged |= !valid;
        let shown = ShownBatch::new(position, &batch.header, valid);
        if json {
            output.json(&shown)
        } else {
            shown.print(output)
        }
        if records && valid {
            damaged |= !print_records(&bytes, json, output);
        }
        position += u64::try_from(bytes.len()).expect("a length fits");
    }
    if position < reader.len() {
        output.note(format_args!("{}: batches end at {position} of {} bytes", path.display(), reader.len()));
    }
    if damaged { Err(Ended::Unwell) } else { Ok(()) }
}

/// The whole batch at a position, or nothing where none begins: at the end, in prepared room, in stale bytes.
pub(super) fn next_batch(reader: &Reader, position: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER_BYTES];
    if reader.read_at(position, &mut header)? < HEADER_BYTES {
        return Ok(None);
    }
    let Ok(size) = BatchHeader::parse(&header).map(|header| header.size_bytes()) else { return Ok(None) };
    // Nothing is allocated by what a length says, only by bytes that are there.
    let left = reader.len().saturating_sub(position);
    if u64::try_from(size).map_or(true, |size| size > left) {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let read = reader.read_at(position, &mut bytes)?;
    Ok((read == size).then_some(bytes))
}

/// Whether every record could be read.
fn print_records(batch: &[u8], json: bool, output: &mut Output) -> bool {
    let decoded = match decode(batch) {
        Ok(decoded) => decoded,
        Err(error) => {
            output.note(format_args!("  {error}"));
            return false;
        }
    };
    for record in decoded.records() {
        match record {
            Ok(record) => {
                let shown = ShownRecord::new(&record);
                if json { output.json(&shown) } else { shown.print(output) }
            }
            Err(error) => {
                output.note(format_args!("  {error}"));
                return false;
            }
        }
    }
    true
}

fn base_offset(path: &Path, suffix: &str) -> Result<Offset, Ended> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    parse_segment_file_name(name, suffix)
        .ok_or_else(|| Ended::Usage(format!("{}: is not named by a base offset of 20 digits", path.display())))
}
