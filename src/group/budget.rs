//! The memory of all groups of one shard: one number that its coordinators share.
//!
//! What is loaded from the log is always taken, so that no committed offset is lost: only what would be new is refused.

use std::cell::Cell;
use std::rc::Rc;

/// What groups, members and offsets may take, and what they take. Shared by the coordinators of a shard.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    used_bytes: Cell<usize>,
    refused: Cell<u64>,
}

impl Budget {
    /// A budget of so many bytes, none taken.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Rc<Self> {
        Rc::new(Self { limit_bytes, used_bytes: Cell::new(0), refused: Cell::new(0) })
    }

    /// Bytes that are taken, about.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// Bytes that may be taken.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Requests refused for want of room since the last call. Where it is not 0 the operator should hear of it.
    #[must_use]
    pub fn take_refused(&self) -> u64 {
        self.refused.take()
    }

    /// Whether so many bytes more may be taken. A no is counted.
    pub(super) fn has_room(&self, more_bytes: usize) -> bool {
        let room = self.used_bytes.get().saturating_add(more_bytes) <= self.limit_bytes;
        if !room {
            self.refused.set(self.refused.get() + 1);
        }
        room
    }
}

/// The part of a [`Budget`] that one thing takes; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(budget: &Rc<Budget>) -> Self {
        Self { budget: Rc::clone(budget), bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.used_bytes.set(self.budget.used_bytes.get() + bytes);
    }

    pub(super) fn sub(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes, "what is given back was taken: {bytes} of {}", self.bytes);
        self.bytes -= bytes;
        self.budget.used_bytes.set(self.budget.used_bytes.get() - bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Charge};

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = Budget::new(100);
        let mut charge = Charge::new(&budget);
        charge.add(60);
        assert!(budget.has_room(40));
        assert!(!budget.has_room(41));
        assert_eq!((budget.take_refused(), budget.take_refused()), (1, 0));
        charge.sub(10);
        assert_eq!(budget.used_bytes(), 50);
        drop(charge);
        assert_eq!(budget.used_bytes(), 0);
    }
}
