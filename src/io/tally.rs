//! Numbers that one shard writes and any thread may read at any time: nobody waits for anybody.
//!
//! Used by `handlers::figures` and by whatever else a shard shows of itself. A write is a plain load and store, as cheap as
//! of an ordinary number; several of them read together may be of slightly different moments.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number. **Invariant:** one thread alone writes it.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// A zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts so many more.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Says what it is now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it was at some moment not long ago.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
