//! The memory of all groups of one shard: one number that its coordinators share.

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
}
