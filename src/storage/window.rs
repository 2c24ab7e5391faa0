//! What one commit window takes from each dirty log.
//!
//! ```text
//!            submitted        end of the last window        end
//!   normal      |== full blocks: Op::Write ==============|--tail: journal--|
//!   guarded     |------- all of it: journal, no block written -------------|      (first window after opening)
//!   no room     |------- all of it: journal, if it is little --------------|      (until the file is made)
//!   carried     |--the last window's tail again--|                               (idle, before the journal laps it)
//!   frozen      |--tail of the last written window--|                            (poisoned log, once)
//! ```
//!
//! Adding a log submits its block writes at once; its journal entry goes out with the window's record. A log whose next
//! blocks have no room yet puts them into the journal too, so that nobody waits for a file to be made; if they are too
//! many it is left out, and the task that makes room puts it on the dirty list again.

use std::rc::Rc;

use super::error::Error;
use super::flush::Touched;
use super::journal::Journal;
use super::journal::record::{ENTRY_BYTES, Encoder, Entry, Kind};
use super::log::{Guard, Log, Mark, NO_PLACE};
use super::sabotage;
use super::segment::Segment;
use crate::io::runtime::Pending;
use crate::io::{AppendBuf, Env, Op};
use crate::types::Offset;

/// One window, from its first log until it is durable.
pub(super) struct Window<E: Env> {
    record: Encoder,
    /// Bytes that the record may have.
    record_bytes_max: usize,
    /// Block writes under way, each with its part.
    writes: Vec<(usize, Pending<E>)>,
    /// Bytes of them.
    segment_bytes: usize,
    parts: Vec<Part<E>>,
}

/// One log in a window.
pub(super) struct Part<E: Env> {
    pub(super) log: Rc<Log<E>>,
    /// Where the log ends, once the window is written.
    pub(super) mark: Mark,
    /// Below it everything is in the segments, once the window is durable. `None` where the window wrote no block.
    pub(super) stored: Option<(Offset, u64)>,
    /// It lowers the log's guard.
    pub(super) guards: bool,
    /// It says where a poisoned log ends.
    pub(super) freezes: bool,
    /// Segments that the window wrote to; the first `sealed` of them got their last block.
    pub(super) touched: Vec<Rc<Segment<E>>>,
    pub(super) sealed: usize,
}

/// A window whose record is placed: all its writes are under way.
pub(super) struct Sent<E: Env> {
    pub(super) sequence: u64,
    /// Place of its record.
    pub(super) place: u64,
    pub(super) parts: Vec<Part<E>>,
    pub(super) writes: Vec<(usize, Pending<E>)>,
    pub(super) journal: Pending<E>,
    pub(super) record: AppendBuf,
}

/// Whether a log found its place in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in, or has nothing to add at present.
    Yes,
    /// The window is full: the log belongs to the next one.
    Full,
}

impl<E: Env> Window<E> {
    /// An empty window that keeps to the journal's bound.
    pub(super) fn new(journal: &mut Journal<E>) -> Self {
        Self {
            record: Encoder::new(journal.buffer()),
            record_bytes_max: journal.record_bytes_max(),
            writes: Vec::new(),
            segment_bytes: 0,
            parts: Vec::new(),
        }
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes of block writes so far.
    pub(super) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Adds what is new of a log.
    pub(super) fn add(&mut self, log: &Rc<Log<E>>) -> Added {
        if log.progress.has_failed() {
            return self.add_frozen(log);
        }
        if log.is_closed() || log.guard.get() == Guard::Held || !log.has_news() {
            return Added::Yes;
        }
        if log.guard.get() == Guard::Up { self.add_guarded(log) } else { self.add_blocks(log, false) }
    }

    /// Adds a log whose journal record would soon be lapped, with or without news.
    pub(super) fn carry(&mut self, log: &Rc<Log<E>>) -> Added {
        if log.progress.has_failed() {
            return self.add_frozen(log);
        }
        match log.guard.get() {
            Guard::Down => self.add_blocks(log, true),
            Guard::Up => self.add_guarded(log),
            Guard::Held => Added::Yes,
        }
    }

    /// Full blocks to the segments, the rest to the journal.
    fn add_blocks(&mut self, log: &Rc<Log<E>>, carried: bool) -> Added {
        let sealing = log.sealing.borrow().len();
        if !self.fits((sealing + 1) * ENTRY_BYTES + log.writer.config.disk.block_bytes) {
            return Added::Full;
        }
        if !log.find_room() {
            return self.add_roomless(log, carried);
        }
        let mut touched = Vec::new();
        while let Some(segment) = log.sealing.borrow_mut().pop_front() {
            let end_position = segment.end_position.get();
            self.write(log, &segment, log.writer.config.block_ceil(end_position), &mut touched);
            self.sealed_entry(log, &segment);
            // Also without a write of this window: what follows its sealing waits for this window.
            if !touched.iter().any(|other| Rc::ptr_eq(other, &segment)) {
                touched.push(segment);
            }
        }
        let sealed = touched.len();
        if let Some(segment) = &*log.active.borrow() {
            self.write(log, segment, log.writer.config.block_floor(segment.end_position.get()), &mut touched);
        }
        let mark = log.end_mark();
        if let Some(write) = sabotage::rewrite_block(log, mark, &mut touched) {
            self.writes.push((self.parts.len(), write));
            self.entry_from(log, Kind::End, mark, mark.position);
        } else {
            self.entry(log, Kind::End, mark);
        }
        // A rolled last segment is given whole.
        let open = log.active.borrow().is_some();
        let stored = if open { log.writer.config.block_floor(mark.position) } else { mark.position };
        let part = self.part(log, mark);
        part.stored = Some((mark.segment, stored));
        part.touched = touched;
        part.sealed = sealed;
        Added::Yes
    }

    /// Everything that no segment was given, to the journal: as long as it is little, or was there before.
    fn add_roomless(&mut self, log: &Rc<Log<E>>, carried: bool) -> Added {
        let (before, end) = (log.window_mark.get(), log.end_mark());
        let mark = if self.is_little(log, before, end) { end } else { before };
        if mark == before && !carried {
            return Added::Yes;
        }
        if !self.fits(ENTRY_BYTES + log.tail_bytes(mark)) {
            return Added::Full;
        }
        self.entry(log, Kind::End, mark);
        self.part(log, mark);
        Added::Yes
    }

    /// The whole tail to the journal, with what was appended behind it if that is little.
    fn add_guarded(&mut self, log: &Rc<Log<E>>) -> Added {
        let (before, end) = (log.window_mark.get(), log.end_mark());
        let mark = if self.is_little(log, before, end) { end } else { before };
        if !self.fits(ENTRY_BYTES + log.tail_bytes(mark)) {
            return Added::Full;
        }
        log.guard.set(Guard::Held);
        self.entry(log, Kind::End, mark);
        self.part(log, mark).guards = true;
        Added::Yes
    }

    /// Whether all up to `end` may go to the journal, blocks included.
    fn is_little(&self, log: &Log<E>, before: Mark, end: Mark) -> bool {
        let limit = (self.record_bytes_max / 4).min(TAIL_BYTES_MAX);
        let tail_bytes = log.tail_bytes(end);
        end.segment == before.segment && tail_bytes <= limit && log.writer.may_journal(tail_bytes)
    }

    /// The end of a poisoned log: what its last written window said.
    fn add_frozen(&mut self, log: &Rc<Log<E>>) -> Added {
        if !matches!(log.failure(), Some(Error::Poisoned { .. })) || log.newest_place.get() == NO_PLACE {
            return Added::Yes;
        }
        if !self.fits(ENTRY_BYTES + log.writer.config.disk.block_bytes) {
            return Added::Full;
        }
        let mark = log.written_mark.get();
        self.entry(log, Kind::Frozen, mark);
        self.part(log, mark).freezes = true;
        Added::Yes
    }

    fn fits(&self, bytes: usize) -> bool {
        self.record.record_bytes() + bytes <= self.record_bytes_max
    }

    /// Hands the blocks of a segment up to `position` to the kernel.
    fn write(&mut self, log: &Rc<Log<E>>, segment: &Rc<Segment<E>>, position: u64, touched: &mut Vec<Rc<Segment<E>>>) {
        let from = segment.submitted.get();
        if position <= from {
            return;
        }
        assert!(position <= segment.prepared.get(), "a block is written only where there is room for it");
        let slices = log.tail.borrow().slices(segment.base_offset, from..position);
        let slices = slices.expect("what is not stored is in memory");
        let file = segment.file.borrow().clone().expect("a segment with room has a file");
        let write = log.writer.rt.submit(Op::Write { file, position: from, slices });
        self.writes.push((self.parts.len(), write));
        self.segment_bytes += usize::try_from(position - from).unwrap_or(usize::MAX);
        segment.submitted.set(position);
        touched.push(Rc::clone(segment));
    }

    fn sealed_entry(&mut self, log: &Log<E>, segment: &Segment<E>) {
        let entry = Entry {
            id: log.id,
            kind: Kind::Sealed,
            segment: segment.base_offset,
            tail_position: segment.end_position.get(),
            end_offset: segment.end_offset.get(),
            chain: 0,
            tail: &[],
        };
        self.record.entry(&entry, &[]);
    }

    /// Says that the log ends at `mark`, with the bytes after the last block that its segment was given.
    fn entry(&mut self, log: &Log<E>, kind: Kind, mark: Mark) {
        let block = log.writer.config.block_floor(mark.position);
        let given = log.segments.borrow().get(&mark.segment).map_or(u64::MAX, |segment| segment.submitted.get());
        // A segment that retention removed has no tail. A sealed segment, or a frozen one, may have been given more than the block that the mark lies in.
        let tail_position = given.min(if kind == Kind::Frozen { block } else { mark.position });
        self.entry_from(log, kind, mark, tail_position);
    }

    fn entry_from(&mut self, log: &Log<E>, kind: Kind, mark: Mark, tail_position: u64) {
        let tail_bytes = usize::try_from(mark.position - tail_position).expect("bounded by the window");
        let entry = Entry {
            id: log.id,
            kind,
            segment: mark.segment,
            tail_position,
            end_offset: mark.offset,
            chain: mark.chain,
            tail: &[],
        };
        self.record.begin_entry(&entry, tail_bytes);
        log.tail.borrow().show(mark.segment, tail_position..mark.position, |bytes| self.record.tail(bytes));
        log.note_tail_bytes(tail_bytes);
    }

    fn part(&mut self, log: &Rc<Log<E>>, mark: Mark) -> &mut Part<E> {
        log.window_mark.set(mark);
        log.forced.set(false);
        let log = Rc::clone(log);
        self.parts.push(Part {
            log,
            mark,
            stored: None,
            guards: false,
            freezes: false,
            touched: Vec::new(),
            sealed: 0,
        });
        self.parts.last_mut().expect("pushed above")
    }

    /// Ends the window: its record gets its place in the journal and goes out.
    pub(super) fn send(self, journal: &mut Journal<E>, submit: impl FnOnce(Op<E>) -> Pending<E>) -> Sent<E> {
        let (record, header, position) = journal.place(self.record);
        let slices = vec![record.slice(0..record.len())];
        let write = submit(Op::Write { file: journal.file().clone(), position, slices });
        for part in &self.parts {
            journal.note(header.position, &part.log);
        }
        Sent {
            sequence: header.sequence,
            place: header.position,
            parts: self.parts,
            writes: self.writes,
            journal: write,
            record,
        }
    }

    /// Gives an empty window's buffer back.
    pub(super) fn discard(self, journal: &mut Journal<E>) {
        journal.give_back(self.record.abandon());
    }
}

impl<E: Env> Sent<E> {
    /// The files that the window wrote to.
    pub(super) fn touched(&self, journal: &E::File) -> Touched<E> {
        let mut touched = Touched { journal: journal.clone(), alone: Vec::new(), others: Vec::new() };
        for segment in self.parts.iter().flat_map(|part| &part.touched) {
            let Some(file) = segment.file.borrow().clone() else { continue };
            if segment.flush_alone.get() { touched.alone.push(file) } else { touched.others.push(file) }
        }
        sabotage::flush_less(&self.parts, &mut touched);
        touched
    }
}

impl<E: Env> Log<E> {
    /// Whether a window could take anything that none has taken yet.
    pub(super) fn has_news(&self) -> bool {
        let window = self.window_mark.get();
        self.forced.get()
            || self.log_end_offset() != window.offset
            || !self.sealing.borrow().is_empty()
            || self.active.borrow().as_ref().is_some_and(|active| {
                self.newest_place.get() != NO_PLACE
                    && self.guard.get() == Guard::Down
                    && active.submitted.get() < self.writer.config.block_floor(active.end_position.get())
            })
    }

    /// Bytes up to `mark` that its segment was not given yet.
    fn tail_bytes(&self, mark: Mark) -> usize {
        let segments = self.segments.borrow();
        let given = segments.get(&mark.segment).map_or(u64::MAX, |segment| segment.submitted.get());
        usize::try_from(mark.position.saturating_sub(given)).unwrap_or(usize::MAX)
    }

    /// Notes how many bytes of the log its newest journal record holds, beyond the block that every log may have there.
    fn note_tail_bytes(&self, tail_bytes: usize) {
        let long = tail_bytes.saturating_sub(self.writer.config.disk.block_bytes) as u64;
        let before = self.long_tail_bytes.replace(long);
        self.writer.long_tails_bytes.set(self.writer.long_tails_bytes.get() + long - before);
    }

    /// Whether all blocks that are due have room; asks for what is missing, and ahead for what comes next.
    fn find_room(self: &Rc<Self>) -> bool {
        let config = &self.writer.config;
        let mut found = true;
        for segment in &*self.sealing.borrow() {
            let position = config.block_ceil(segment.end_position.get());
            if !segment.has_room(position) {
                self.writer.request_room(self, segment, position);
                found = false;
            }
        }
        if let Some(segment) = &*self.active.borrow() {
            let position = config.block_floor(segment.end_position.get());
            let step = self.room_bytes.get();
            if !segment.has_room(position) {
                self.writer.request_room(self, segment, position);
                found = false;
            } else if position > 0 && segment.prepared.get() < position + step / 2 {
                self.writer.request_room(self, segment, position + step);
            }
        }
        found
    }
}

/// Blocks pass through the journal up to here; beyond it they wait for their segment.
const TAIL_BYTES_MAX: usize = 64 << 10;
