//! Reading: where the bytes of a read are, decided in one go.
//!
//! `partition/` calls [`Log::plan_read`] for a Fetch and sends the parts on; `by_time` serves ListOffsets.
//!
//! ```text
//!   what the read needs                              what it gets
//!   all in the log's tail in memory                  Ready: counted views of the segment buffers
//!   a rolled segment's bytes, in the page cache      a range of its buffered file, for sendfile
//!   a rolled segment's, read in order near the end   read ahead into the page cache, then the same
//!   anything else                                    O_DIRECT ring reads into the shard's read buffers, plus the tail
//! ```
//!
//! **Invariants.** 1. Whole batches only, none that ends at or above `upto`, and the first one holds `from` or is the first
//! behind it. 2. Buffered reads touch rolled segments only, all of whose bytes are stored: nothing there is ever written
//! again. 3. A file that a part names is not recycled while the part lives ([`SegmentRef`]). 4. The shard's thread never
//! waits for a disk.
//!
//! **Cancellation.** Dropping the future of a plan gives its buffers back once the kernel is done with them.

mod again;
mod by_time;
mod cut;
mod index_files;
mod load;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};

pub use again::Place;
pub use by_time::FoundBatch;
use cut::{Bounds, Cut, Misplaced, Piece, Wanted, boundary};
pub(super) use index_files::index_files;
use load::{Short, Source};

use super::error::Error;
use super::index_budget::IndexBudget;
use super::log::Log;
use super::segment::{Segment, SegmentRef};
use crate::io::{Env, Pool, Slice};
use crate::types::Offset;

/// Where bytes are: in memory, or in a file.
pub enum Part<E: Env> {
    /// In memory.
    Bytes(Slice),
    /// In a file opened without O_DIRECT, none of whose bytes there is ever written again.
    File {
        /// The file.
        file: E::File,
        /// Where in the file.
        position: u64,
        /// How many bytes.
        len: usize,
        /// Keeps the file from being recycled.
        keep: SegmentRef,
    },
}

impl<E: Env> Part<E> {
    /// Bytes of this part.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(slice) => slice.len(),
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whole batches, decided in one go.
pub enum ReadPlan<E: Env> {
    /// The parts are at hand.
    Ready(ReadParts<E>),
    /// They must be read first.
    NeedsIo(Reading<E>),
}

/// What a read found: whole batches of one segment, back to back.
pub struct ReadParts<E: Env> {
    /// Their bytes, in order; empty where nothing may be given.
    pub parts: Vec<Part<E>>,
    /// Where they begin, to read them again.
    pub place: Option<Place>,
}

impl<E: Env> ReadParts<E> {
    fn none() -> Self {
        Self { parts: Vec::new(), place: None }
    }

    /// The bytes of a piece of the segment between two positions.
    fn of_piece(segment: &Segment<E>, piece: &Piece, start: u64, end: u64) -> Self {
        let parts = piece.bytes(start, end).into_iter().map(Part::Bytes).collect();
        Self { parts, place: Some(Place::new(segment, start)) }
    }
}

impl<E: Env> IntoIterator for ReadParts<E> {
    type Item = Part<E>;
    type IntoIter = std::vec::IntoIter<Part<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.parts.into_iter()
    }
}

/// A read under way.
pub type Reading<E> = Pin<Box<dyn Future<Output = Result<ReadParts<E>, Error>>>>;

/// What the reads of one shard share: buffers, and which segments have descriptors and indexes open.
pub(super) struct Reads<E: Env> {
    /// Buffers of cold reads.
    pub(super) pool: Pool,
    /// Memory of the segments' indexes.
    pub(super) indexes: IndexBudget,
    descriptors_max: usize,
    /// Rolled segments with open descriptors, in the order of opening.
    open: RefCell<VecDeque<Weak<Segment<E>>>>,
    /// Rolled segments with indexes in memory, in the order of loading.
    indexed: RefCell<VecDeque<Weak<Segment<E>>>>,
    /// Read-ahead jobs under way.
    ahead: Cell<usize>,
}

impl<E: Env> Reads<E> {
    pub(super) fn new(read_bytes: usize, index_bytes_max: usize, descriptors_max: usize) -> Self {
        Self {
            pool: Pool::new(read_bytes),
            indexes: IndexBudget::new(index_bytes_max),
            descriptors_max: descriptors_max.max(1),
            open: RefCell::default(),
            indexed: RefCell::default(),
            ahead: Cell::new(0),
        }
    }

    /// Notes a descriptor that was opened, and closes the oldest ones beyond the bound. A read under way keeps its own.
    fn note_open(&self, segment: &Rc<Segment<E>>) {
        let mut open = self.open.borrow_mut();
        forget_gone(&mut open);
        open.push_back(Rc::downgrade(segment));
        while open.len() > self.descriptors_max {
            if let Some(oldest) = open.pop_front().and_then(|oldest| oldest.upgrade()) {
                oldest.reader.take();
                if oldest.sealed.get() && oldest.submitted.get() >= oldest.end_position.get() {
                    oldest.file.take();
                }
            }
        }
    }

    /// Notes a loaded index, and drops the oldest ones beyond the bound.
    fn note_index(&self, segment: &Rc<Segment<E>>, bytes: usize) {
        // What it counted as an active one's ends first.
        segment.counted.take();
        segment.counted.replace(Some(self.indexes.rolled(bytes)));
        let mut indexed = self.indexed.borrow_mut();
        forget_gone(&mut indexed);
        indexed.push_back(Rc::downgrade(segment));
        while self.indexes.is_short() && indexed.len() > 1 {
            let oldest = indexed.pop_front().and_then(|oldest| oldest.upgrade());
            // It may be on the list twice: the newer place counts.
            if let Some(oldest) = oldest.filter(|oldest| !Rc::ptr_eq(oldest, segment)) {
                oldest.index.take();
                oldest.counted.take();
            }
        }
    }

    /// Bytes that one read takes of the buffers at the most, but for a first batch that is larger: some go on at once.
    fn bytes_at_once(&self) -> usize {
        self.pool.cap_bytes() / READ_SHARE
    }
}

/// Forgets the oldest segments that are gone.
fn forget_gone<E: Env>(segments: &mut VecDeque<Weak<Segment<E>>>) {
    while segments.front().is_some_and(|oldest| oldest.strong_count() == 0) {
        segments.pop_front();
    }
}

/// A cold read's share of the buffers. What it takes is rounded up to a size that the pool keeps, four times as much at the
/// most: so two find some at once at the least.
const READ_SHARE: usize = 8;

impl<E: Env> Log<E> {
    /// Says where the batches are that a reader of `from` gets: at most `max_bytes` of whole batches below `upto`, which must be
    /// a batch's end; with `at_least_one` the first of them even where it is larger.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `from` is not within the log; later, from the future, what reading met, and
    /// [`Error::ReadsBusy`] where no buffers came free.
    pub fn plan_read(
        self: &Rc<Self>,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<ReadPlan<E>, Error> {
        let (start, end) = (self.log_start_offset(), self.log_end_offset());
        if from < start || from > end {
            return Err(Error::OutOfRange { requested: from, start, end });
        }
        let wanted = Wanted { from, upto, max_bytes, at_least_one };
        let Some(segment) = self.segment_of(from).filter(|_| from < upto) else {
            return Ok(ReadPlan::Ready(ReadParts::none()));
        };
        if let Some(parts) = self.read_memory(&segment, &wanted) {
            return Ok(ReadPlan::Ready(parts));
        }
        let log = Rc::clone(self);
        Ok(ReadPlan::NeedsIo(Box::pin(async move { log.read_stored(segment, wanted).await })))
    }

    /// The segment that holds `offset`, or the first one behind it where compaction took it.
    pub(super) fn segment_of(&self, offset: Offset) -> Option<Rc<Segment<E>>> {
        let segments = self.segments.borrow();
        let at = segments
            .range(..=offset)
            .next_back()
            .map(|(_, segment)| segment)
            .filter(|segment| offset < segment.end_offset.get());
        at.or_else(|| segments.range(offset..).next().map(|(_, segment)| segment)).cloned()
    }

    /// The whole read from the log's tail, where it is all there.
    fn read_memory(&self, segment: &Rc<Segment<E>>, wanted: &Wanted) -> Option<ReadParts<E>> {
        let index = segment.index.borrow();
        let offsets = &index.as_ref()?.offsets;
        let tail = self.tail.borrow();
        let first = tail.first_position(segment.base_offset)?;
        // The index may begin below what memory holds although the batch is in memory: only its entries tell where batches begin.
        let from = offsets.lookup(wanted.from);
        if from < first {
            return None;
        }
        let end = segment.end_position.get();
        let mut to = end.min(load::enough(offsets, from, wanted));
        loop {
            let piece = Piece::new(from, tail.slices(segment.base_offset, from..to)?, segment.bounds());
            match piece.cut(wanted, offsets).ok()? {
                Cut::Whole(start, end) => return Some(ReadParts::of_piece(segment, &piece, start, end)),
                Cut::Short(_) if to == end => return None,
                Cut::Short(needed) => to = needed.max(to + 1).min(end),
            }
        }
    }

    /// A read that memory alone does not answer.
    async fn read_stored(self: Rc<Self>, segment: Rc<Segment<E>>, wanted: Wanted) -> Result<ReadParts<E>, Error> {
        self.ensure_index(&segment).await?;
        if segment.sealed.get()
            && let Some(parts) = self.read_resident(&segment, &wanted).await?
        {
            return Ok(parts);
        }
        let wanted = Wanted { max_bytes: wanted.max_bytes.min(self.writer.reads.bytes_at_once()), ..wanted };
        let from = self.lookup(&segment, |index| index.offsets.lookup(wanted.from)).await?;
        let mut to = self.lookup(&segment, |index| load::enough(&index.offsets, from, &wanted)).await?;
        loop {
            let end = segment.end_position.get();
            to = to.min(end);
            let piece = self.load(&segment, from..to, Source::Direct, Short::GiveUp).await?;
            let cut = self.lookup(&segment, |index| piece.cut(&wanted, &index.offsets)).await?;
            match cut.map_err(|error| self.unreadable(&segment, &error))? {
                Cut::Whole(start, end) => return Ok(ReadParts::of_piece(&segment, &piece, start, end)),
                Cut::Short(_) if to == end => break,
                Cut::Short(needed) => to = needed.max(to + 1),
            }
        }
        // Compaction took the segment's last batches.
        let next = self.segment_of(segment.end_offset.get()).filter(|next| next.base_offset < wanted.upto);
        match next {
            Some(next) => {
                Box::pin(self.read_stored(Rc::clone(&next), Wanted { from: next.base_offset, ..wanted })).await
            }
            None => Ok(ReadParts::none()),
        }
    }

    /// A read of a rolled segment as a range of its file, where that is in the page cache or worth bringing there.
    async fn read_resident(
        self: &Rc<Self>,
        segment: &Rc<Segment<E>>,
        wanted: &Wanted,
    ) -> Result<Option<ReadParts<E>>, Error> {
        if !self.is_stored(segment) || wanted.upto < segment.end_offset.get() {
            return Ok(None);
        }
        let keep = segment.hold();
        let file = self.buffered(segment).await?;
        let (from, window, limit) =
            self.lookup(segment, |index| load::location(&index.offsets, wanted, segment.end_position.get())).await?;
        let enough = self.lookup(segment, |index| load::enough(&index.offsets, from, wanted)).await?.min(limit);
        let len = usize::try_from(enough - from).unwrap_or(usize::MAX);
        if self.writer.rt.env().resident(&file, from, len) < len && !self.read_ahead(segment, &file, from..enough).await
        {
            return Ok(None);
        }
        let piece = self.load(segment, from..window.min(limit), Source::Buffered, Short::GiveUp).await?;
        let found = self.lookup(segment, |index| piece.find(wanted.from, &index.offsets)).await?;
        let Ok(start) = found.map_err(|error| self.unreadable(segment, &error))? else {
            return Ok(None);
        };
        let whole = limit - start <= wanted.max_bytes as u64;
        let end = if whole {
            Some(limit)
        } else {
            self.lookup(segment, |index| boundary(&index.offsets, start, wanted)).await?
        };
        // No index entry within the bytes wanted: the batches are large, and reading them says where they end.
        let Some(end) = end.filter(|end| *end > start) else { return Ok(None) };
        let len = usize::try_from(end - start).expect("at most what was asked for");
        let place = Some(Place::new(segment, start));
        Ok(Some(ReadParts { parts: vec![Part::File { file, position: start, len, keep }], place }))
    }

    /// Whether every byte of a rolled segment is in its file for good.
    pub(super) fn is_stored(&self, segment: &Segment<E>) -> bool {
        segment.sealed.get() && (segment.base_offset, segment.end_position.get()) <= self.stored.get()
    }

    fn unreadable(&self, segment: &Segment<E>, error: &Misplaced) -> Error {
        Error::io(
            "cannot read batches of",
            &segment.path,
            io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        )
    }
}

impl<E: Env> Segment<E> {
    /// What is known of it now, whatever its bytes say.
    fn bounds(&self) -> Bounds {
        Bounds { base: self.base_offset, end_offset: self.end_offset.get(), end: self.end_position.get() }
    }
}
