//! The commit journal of one shard: where each log ends, and the bytes after its last full block.
//!
//! A circular, pre-written file; `record` is the format, this is the space. A record's *place* is its logical position,
//! which grows for ever; modulo the file's length it is where the record lies. No record wraps: one that does not fit
//! before the end of the file begins the next lap.
//!
//! ```text
//!   lap n    [ record | record | record ......................... | gap ]
//!   lap n+1  [ record | record | head -> free ... | floor: oldest record still needed ......... ]
//!                                                  | <- urgent: carried forward before -> |
//! ```
//!
//! A record is **needed** while some log has no newer *flushed* record: its tail is nowhere else. What is needed is never
//! lapped (invariant 3 of the module above, asserted in `Journal::place`); so a log that stays idle while the journal
//! goes round is **carried forward**: it takes part in a window again, without new bytes, when its record comes within
//! the urgent stretch.

pub mod record;

use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use super::log::Log;
use super::writer::JournalStart;
use crate::io::{AppendBuf, Env};
use crate::types::ShardId;

/// The space of the journal and the numbers of its records.
pub(super) struct Journal<E: Env> {
    file: E::File,
    bytes: u64,
    generation: u64,
    shard: ShardId,
    block_bytes: usize,
    record_bytes_max: usize,
    /// Where the next record goes.
    head: u64,
    /// Sequence of the next record.
    sequence: u64,
    /// The highest sequence below which every window is durable.
    flushed_sequence: u64,
    /// Windows with a failed write, each with the log that it poisoned, until a flushed record says where that log ends:
    /// were one of them said to be flushed before, recovery would look for bytes that were never written.
    unfrozen: Vec<(u64, Weak<Log<E>>)>,
    /// Which log is in which record, oldest first.
    places: VecDeque<Place<E>>,
    /// Places at which the stale ones were dropped last: they are dropped again at twice as many.
    places_kept: usize,
    spares: Vec<AppendBuf>,
}

struct Place<E: Env> {
    position: u64,
    log: Weak<Log<E>>,
}

impl<E: Env> Place<E> {
    /// The log, if its newest flushed record is this one or an older one.
    fn needed(&self) -> Option<Rc<Log<E>>> {
        self.log.upgrade().filter(|log| !log.is_closed() && log.flushed_place.get() <= self.position)
    }
}

impl<E: Env> Journal<E> {
    /// The journal as recovery hands it over. `record_bytes_max` bounds every record, padding included.
    pub(super) fn new(start: JournalStart<E>, shard: ShardId, block_bytes: usize, record_bytes_max: usize) -> Self {
        assert!(start.bytes >= LAP_RECORDS_MIN * record_bytes_max as u64, "the journal is too small for its records");
        assert!(start.position.is_multiple_of(block_bytes as u64), "a record begins at a block boundary");
        Self {
            file: start.file,
            bytes: start.bytes,
            generation: start.generation,
            shard,
            block_bytes,
            record_bytes_max,
            head: start.position,
            sequence: start.sequence,
            flushed_sequence: start.sequence.saturating_sub(1),
            unfrozen: Vec::new(),
            places: VecDeque::new(),
            places_kept: PLACES_MIN,
            spares: Vec::new(),
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &E::File {
        &self.file
    }

    /// The most bytes that a record may have.
    pub(super) fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    /// Whether the largest record fits before the oldest record that is still needed.
    pub(super) fn has_room(&mut self) -> bool {
        let bytes = self.record_bytes_max as u64;
        self.begin_of(bytes) + bytes <= self.floor() + self.bytes
    }

    /// Logs whose newest record would soon be lapped, oldest first, at most `max`.
    pub(super) fn urgent(&mut self, max: usize) -> Vec<Rc<Log<E>>> {
        self.floor();
        let stretch = (self.bytes / 4).max(URGENT_RECORDS * self.record_bytes_max as u64);
        let bound = (self.head + stretch).saturating_sub(self.bytes);
        let near = self.places.iter().take_while(|place| place.position < bound);
        let logs = near.filter_map(|place| place.needed().filter(|log| log.newest_place.get() == place.position));
        logs.take(max).collect()
    }

    /// A buffer that holds the largest record.
    pub(super) fn buffer(&mut self) -> AppendBuf {
        self.spares.pop().unwrap_or_else(|| AppendBuf::with_capacity(self.record_bytes_max))
    }

    /// Takes a record's buffer back once its write has ended.
    pub(super) fn give_back(&mut self, mut buf: AppendBuf) {
        if buf.reset() {
            self.spares.push(buf);
        }
    }

    /// Ends a record and says where in the file it goes: its bytes, its header, its position in the file.
    pub(super) fn place(&mut self, record: record::Encoder) -> (AppendBuf, record::Header, u64) {
        let padded = record.record_bytes().next_multiple_of(self.block_bytes) as u64;
        let position = self.begin_of(padded);
        assert!(
            position + padded <= self.floor() + self.bytes,
            "a journal record that is still needed was to be lapped"
        );
        let header = record::Header {
            generation: self.generation,
            sequence: self.sequence,
            flushed_sequence: self.stated_sequence(),
            position,
            record_bytes: record.record_bytes(),
            entries: record.entries(),
        };
        self.head = position + padded;
        self.sequence += 1;
        (record.finish(header, self.shard, self.block_bytes), header, position % self.bytes)
    }

    /// Notes that the record at `position` names `log`.
    pub(super) fn note(&mut self, position: u64, log: &Rc<Log<E>>) {
        log.newest_place.set(position);
        self.places.push_back(Place { position, log: Rc::downgrade(log) });
        if self.places.len() >= 2 * self.places_kept {
            self.places.retain(|place| place.needed().is_some());
            self.places_kept = self.places.len().max(PLACES_MIN);
        }
    }

    /// Notes that every window up to `sequence` is durable.
    pub(super) fn flushed(&mut self, sequence: u64) {
        assert!(sequence > self.flushed_sequence, "windows become durable in order");
        self.flushed_sequence = sequence;
    }

    /// Notes that a write of window `sequence` failed, which poisoned `log`.
    pub(super) fn failed(&mut self, sequence: u64, log: &Rc<Log<E>>) {
        self.unfrozen.push((sequence, Rc::downgrade(log)));
    }

    /// Notes that a flushed record says where a poisoned log ends.
    pub(super) fn frozen(&mut self, log: &Rc<Log<E>>) {
        self.unfrozen.retain(|(_, other)| !std::ptr::eq(other.as_ptr(), Rc::as_ptr(log)));
    }

    /// Up to where windows may be said to be flushed. A log that is gone takes its bytes along.
    fn stated_sequence(&mut self) -> u64 {
        self.unfrozen.retain(|(_, log)| log.strong_count() > 0);
        let first = self.unfrozen.iter().map(|(sequence, _)| sequence - 1).min();
        first.map_or(self.flushed_sequence, |first| first.min(self.flushed_sequence))
    }

    /// Position of the oldest record that is still needed; the head where none is.
    fn floor(&mut self) -> u64 {
        while self.places.front().is_some_and(|place| place.needed().is_none()) {
            self.places.pop_front();
        }
        self.places.front().map_or(self.head, |place| place.position)
    }

    /// Where a record of so many bytes begins: at the head, or at the next lap where it would wrap.
    fn begin_of(&self, bytes: u64) -> u64 {
        let left = self.bytes - self.head % self.bytes;
        if bytes <= left { self.head } else { self.head + left }
    }
}

/// Records of the largest size that a lap holds at the least: the urgent stretch and as much again.
pub(super) const LAP_RECORDS_MIN: u64 = 16;
/// The urgent stretch in records of the largest size: those of the windows under way, and the gap at a lap's end.
const URGENT_RECORDS: u64 = 6;
/// Below it, stale places are not worth dropping.
const PLACES_MIN: usize = 1024;
