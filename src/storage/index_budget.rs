//! What the indexes of one shard's segments hold in memory, counted while it is held.
//!
//! A segment carries its own [`Counted`]: whatever ends it (retention, a deleted log, memory that is short) ends the count
//! too. `log` counts active segments, `read` those that were rolled or loaded, and drops those where both are over the
//! budget; where the active ones alone are, their entries are farther apart (`segment_index::interval`).

use std::cell::Cell;
use std::rc::Rc;

/// The budget of one shard.
pub(super) struct IndexBudget {
    bytes_max: usize,
    active_bytes: Rc<Cell<usize>>,
    rolled_bytes: Rc<Cell<usize>>,
}

/// Bytes of one segment's indexes that count.
pub(super) struct Counted {
    total: Rc<Cell<usize>>,
    bytes: usize,
}

impl IndexBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, active_bytes: Rc::default(), rolled_bytes: Rc::default() }
    }

    /// Counts the indexes of an active segment.
    pub(super) fn active(&self, bytes: usize) -> Counted {
        Counted::new(&self.active_bytes, bytes)
    }

    /// Counts the indexes of a rolled segment, which can be loaded again.
    pub(super) fn rolled(&self, bytes: usize) -> Counted {
        Counted::new(&self.rolled_bytes, bytes)
    }

    /// Whether indexes that can be loaded again must go.
    pub(super) fn is_short(&self) -> bool {
        self.active_bytes.get() + self.rolled_bytes.get() > self.bytes_max
    }

    /// Whether those of the active segments alone are over the budget.
    pub(super) fn is_over(&self) -> bool {
        self.active_bytes.get() > self.bytes_max
    }

    /// Bytes of active and of rolled segments.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> (usize, usize) {
        (self.active_bytes.get(), self.rolled_bytes.get())
    }
}

impl Counted {
    fn new(total: &Rc<Cell<usize>>, bytes: usize) -> Self {
        total.set(total.get() + bytes);
        Self { total: Rc::clone(total), bytes }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}
