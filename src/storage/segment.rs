//! One segment of a log: a file of batches back to back, and what is known of it.
//!
//! The last segment of a log is **active** and grows; the others are **sealed**. A segment's file is opened, and room
//! in it prepared, only when its first full block is about to be written (`prepare`): until then all its bytes are in the
//! journal, and there may be no file of its name yet. Recovery takes a missing active file as an empty one.
//!
//! **Invariants.** 1. `submitted` is a multiple of the block while the segment is active; every block below it was handed
//! to the kernel once. 2. `submitted <= prepared <= file_bytes`. 3. `end_position` only grows.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::index_budget::{Counted, IndexBudget};
use super::segment_index::{BatchPlace, SegmentIndex, interval};
use crate::io::Env;
use crate::io::local::Notify;
use crate::types::Offset;

/// Keeps a segment's file from being recycled while a reply that names it is not sent yet. May cross shards.
#[derive(Clone, Debug)]
pub struct SegmentRef(#[expect(dead_code, reason = "held for its count")] Arc<()>);

/// One file of a log. Lives on the log's shard.
pub(super) struct Segment<E: Env> {
    /// Offset of its first record; names the file.
    pub(super) base_offset: Offset,
    /// `<log dir>/<20-digit base offset>.log`.
    pub(super) path: PathBuf,
    /// The O_DIRECT descriptor: written while active, read when cold. `None` until needed.
    pub(super) file: RefCell<Option<E::File>>,
    /// A buffered read-only descriptor for sendfile, opened at the first cold read (`read`).
    pub(super) reader: RefCell<Option<E::File>>,
    /// Both indexes: [`Segment::note_batch`] fills them while the segment is active. `None` for a sealed segment whose index
    /// files were not needed yet (`read` loads them).
    pub(super) index: RefCell<Option<SegmentIndex>>,
    /// What they count in the shard's budget.
    pub(super) counted: RefCell<Option<Counted>>,
    /// End of the appended bytes.
    pub(super) end_position: Cell<u64>,
    /// Offset after its last record.
    pub(super) end_offset: Cell<Offset>,
    /// Largest timestamp of its batches, -1 while empty.
    pub(super) max_timestamp: Cell<i64>,
    /// Wall clock of its first append since it was made or opened: what `segment.ms` counts from. -1 before it.
    pub(super) first_append_ms: Cell<i64>,
    /// Grows no more.
    pub(super) sealed: Cell<bool>,
    /// Blocks below were handed to the kernel.
    pub(super) submitted: Cell<u64>,
    /// Bytes that are ready for overwrites, and were looked at (`prepare`).
    pub(super) prepared: Cell<u64>,
    /// Length of the file, all of it written or allocated.
    pub(super) file_bytes: Cell<u64>,
    /// Bytes that shall be prepared.
    pub(super) wanted: Cell<u64>,
    /// A task makes room.
    pub(super) preparing: Cell<bool>,
    /// The file has its name, durably. Until then no window that wrote to it is acknowledged.
    pub(super) placed: Cell<bool>,
    /// It never gets its name, or never gets room: its log is poisoned.
    pub(super) broken: Cell<bool>,
    /// One flush of the device is not enough for it (FIEMAP): its file is flushed by itself.
    pub(super) flush_alone: Cell<bool>,
    /// Told when `prepared`, `placed` or `broken` changes.
    pub(super) news: Notify,
    keep: Arc<()>,
}

impl<E: Env> Segment<E> {
    /// A segment without a file yet.
    pub(super) fn new(base_offset: Offset, path: PathBuf) -> Rc<Self> {
        Rc::new(Self {
            base_offset,
            path,
            file: RefCell::default(),
            reader: RefCell::default(),
            index: RefCell::new(Some(SegmentIndex::new(base_offset))),
            counted: RefCell::default(),
            end_position: Cell::new(0),
            end_offset: Cell::new(base_offset),
            max_timestamp: Cell::new(-1),
            first_append_ms: Cell::new(-1),
            sealed: Cell::new(false),
            submitted: Cell::new(0),
            prepared: Cell::new(0),
            file_bytes: Cell::new(0),
            wanted: Cell::new(0),
            preparing: Cell::new(false),
            placed: Cell::new(false),
            broken: Cell::new(false),
            flush_alone: Cell::new(false),
            news: Notify::default(),
            keep: Arc::default(),
        })
    }

    /// Takes an appended batch into the indexes. Called once per batch, in their order.
    pub(super) fn note_batch(&self, batch: BatchPlace, index_interval_bytes: u64, budget: &IndexBudget) {
        if let Some(index) = &mut *self.index.borrow_mut() {
            index.note(batch, interval(index_interval_bytes, budget.is_over()));
            let bytes = index.resident_bytes();
            let mut counted = self.counted.borrow_mut();
            if counted.as_ref().is_none_or(|counted| counted.bytes() != bytes) {
                *counted = Some(budget.active(bytes));
            }
        }
    }

    /// Whether blocks up to `position` can be written now.
    pub(super) fn has_room(&self, position: u64) -> bool {
        position <= self.submitted.get() || (position <= self.prepared.get() && self.file.borrow().is_some())
    }

    /// A hold on the file: while it lives, the file is not recycled.
    pub(super) fn hold(&self) -> SegmentRef {
        SegmentRef(Arc::clone(&self.keep))
    }

    /// Whether some reply may still read the file.
    pub(super) fn is_held(&self) -> bool {
        Arc::strong_count(&self.keep) > 1
    }
}
