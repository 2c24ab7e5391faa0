//! All journals of a directory, taken apart by log: what each log's records said, in their order.
//!
//! Records lie at block boundaries and never wrap, so a journal is read block by block: where a record begins it is
//! taken whole and skipped, anything else is a gap, a torn record or a remnant of an earlier lap.
//!
//! **A damaged record.** A record that cannot be read though later ones say that it was flushed is below the durable mark:
//! it may have been the only one to name some log's end. One flipped bit is put right (the checksum says which it
//! was); otherwise the logs that it still names are reported as [`Journals::damaged`], and so is every log of that
//! journal without a newer record where not even the names can be read ([`Journals::unreadable`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

use super::mend;
use crate::io::Slice;
use crate::storage::journal::record::{self, DecodeError, HEADER_BYTES, Kind};
use crate::types::{Offset, PartitionId};

/// One entry of one record.
#[derive(Clone, Debug)]
pub(super) struct LogEntry {
    /// Which journal.
    pub(super) shard: u16,
    pub(super) generation: u64,
    pub(super) sequence: u64,
    /// The record's window is known to have been flushed.
    pub(super) flushed: bool,
    pub(super) kind: Kind,
    pub(super) segment: Offset,
    pub(super) tail_position: u64,
    pub(super) end_offset: Offset,
    pub(super) chain: u32,
    pub(super) tail: Slice,
}

impl LogEntry {
    /// Where in the segment the entry ends.
    pub(super) fn end_position(&self) -> u64 {
        self.tail_position + self.tail.len() as u64
    }

    /// Orders ends of one log.
    pub(super) fn end(&self) -> (Offset, u64) {
        (self.segment, self.end_position())
    }
}

/// What all journals say.
#[derive(Debug, Default)]
pub(super) struct Journals {
    /// Entries by log, in the order of (generation, sequence).
    pub(super) entries: BTreeMap<PartitionId, Vec<LogEntry>>,
    /// Logs that a damaged record below the durable mark names, with the (generation, sequence) of it.
    pub(super) damaged: BTreeMap<PartitionId, (u64, u64)>,
    /// (journal, generation, sequence) of damaged records not all of whose names can be read.
    pub(super) unreadable: BTreeSet<(u16, u64, u64)>,
    /// The highest generation of any record.
    pub(super) generation: u64,
}

struct Found {
    header: record::Header,
    at: usize,
}

impl Journals {
    /// Takes in the journal file of a shard's start. Records of other starts are what its file held before (`carry`).
    pub(super) fn add(&mut self, shard: u16, generation: u64, file: Vec<u8>, block_bytes: usize) {
        let mut file = file;
        let mut found = scan(&file, generation, block_bytes);
        if mend(&mut file, &found, block_bytes) {
            found = scan(&file, generation, block_bytes);
        }
        for (gap, sequence) in gaps(&found) {
            self.note_damage(shard, &file, gap, sequence, block_bytes);
        }
        let mut flushed: BTreeMap<u64, u64> = BTreeMap::new();
        for record in &found {
            let mark = flushed.entry(record.header.generation).or_default();
            *mark = (*mark).max(record.header.flushed_sequence);
        }
        let bytes = Slice::from(Bytes::from(file));
        for record in &found {
            self.generation = self.generation.max(record.header.generation);
            let durable = record.header.sequence <= flushed[&record.header.generation];
            self.take(shard, &bytes, record, durable);
        }
        for entries in self.entries.values_mut() {
            entries.sort_by_key(|entry| (entry.generation, entry.sequence, entry.segment));
        }
    }

    fn take(&mut self, shard: u16, bytes: &Slice, found: &Found, flushed: bool) {
        let Ok((header, entries)) = record::decode(&bytes[found.at..]) else { return };
        for entry in entries.map_while(Result::ok) {
            let from = entry.tail.as_ptr() as usize - bytes.as_ptr() as usize;
            let taken = LogEntry {
                shard,
                generation: header.generation,
                sequence: header.sequence,
                flushed,
                kind: entry.kind,
                segment: entry.segment,
                tail_position: entry.tail_position,
                end_offset: entry.end_offset,
                chain: entry.chain,
                tail: bytes.slice(from..from + entry.tail.len()),
            };
            self.entries.entry(entry.id).or_default().push(taken);
        }
    }

    fn note_damage(
        &mut self,
        shard: u16,
        file: &[u8],
        gap: Range<usize>,
        (generation, sequence): (u64, u64),
        block_bytes: usize,
    ) {
        let mut at = gap.start.next_multiple_of(block_bytes);
        let mut whole = at < gap.end;
        while at < gap.end {
            let (names, bytes, all) = mend::names(&file[at..gap.end]);
            self.damaged.extend(names.into_iter().map(|id| (id, (generation, sequence))));
            whole &= all;
            at += bytes.next_multiple_of(block_bytes).max(block_bytes);
        }
        if !whole {
            self.unreadable.insert((shard, generation, sequence));
        }
    }

    /// Whether a damaged record may have said more of a log than its newest intact entry: (generation, sequence) of it.
    pub(super) fn lost_end(&self, id: PartitionId, newest: Option<&LogEntry>) -> Option<(u64, u64)> {
        let numbers = newest.map(|entry| (entry.generation, entry.sequence));
        let named = self.damaged.get(&id).copied().filter(|damaged| numbers.is_none_or(|newest| newest < *damaged));
        let any = newest.and_then(|newest| {
            let same = self
                .unreadable
                .iter()
                .filter(|(shard, generation, _)| (*shard, *generation) == (newest.shard, newest.generation));
            same.map(|(_, generation, sequence)| (*generation, *sequence))
                .find(|(_, sequence)| *sequence > newest.sequence)
        });
        named.or(any)
    }
}

/// Every intact record of a start, in the order of their sequence.
fn scan(file: &[u8], generation: u64, block_bytes: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER_BYTES <= file.len() {
        match record::decode(&file[at..]) {
            Ok((header, _)) => {
                if header.generation == generation {
                    found.push(Found { header, at });
                }
                at += header.record_bytes.next_multiple_of(block_bytes);
            }
            Err(_) => at += block_bytes,
        }
    }
    found.sort_by_key(|record| (record.header.generation, record.header.sequence));
    found
}

/// The places of flushed records that are missing between two intact ones of the newest generation of the journal.
fn gaps(found: &[Found]) -> Vec<(Range<usize>, (u64, u64))> {
    let Some(newest) = found.last().map(|record| record.header.generation) else { return Vec::new() };
    let flushed = found.iter().filter(|record| record.header.generation == newest);
    let flushed = flushed.map(|record| record.header.flushed_sequence).max().unwrap_or(0);
    let pairs = found.iter().zip(found.iter().skip(1));
    let missing = pairs.filter(|(before, after)| {
        let (one, next) = (&before.header, &after.header);
        let adjacent = next.position > one.position && after.at > before.at;
        one.generation == newest && one.sequence + 1 < next.sequence && one.sequence < flushed && adjacent
    });
    let place = |(before, after): (&Found, &Found)| {
        let from = before.at + before.header.record_bytes;
        (from..after.at, (newest, before.header.sequence + 1))
    };
    missing.map(place).collect()
}

/// Puts single flipped bits in missing records right. Answers whether there was one.
fn mend(file: &mut [u8], found: &[Found], block_bytes: usize) -> bool {
    let mut mended = false;
    for (gap, _) in gaps(found) {
        for at in (gap.start.next_multiple_of(block_bytes)..gap.end).step_by(block_bytes) {
            let end = gap.end;
            if let Err(DecodeError::Crc { .. }) = record::decode(&file[at..end]) {
                mended |= mend::flipped_bit(&mut file[at..end]);
            }
        }
    }
    mended
}
