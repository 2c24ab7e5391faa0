//! Which flushes make a window durable, and sharing them between shards.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one flush of one file makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushScope {
    /// Every completed overwrite on the device: proven for this mount (see `io::device`).
    Device,
    /// That file alone.
    File,
}

/// The flushes of one device, numbered in the order of their beginning: the only state that shards share.
#[derive(Debug, Default)]
pub struct DeviceFlush {
    begun: AtomicU64,
    /// The highest number among the flushes that ended well.
    ended: AtomicU64,
}

impl DeviceFlush {
    /// Taken after one's writes have completed: any flush that begins from now on covers them.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Numbers a flush that is about to begin.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Reports that the flush with this number ended well.
    pub fn end(&self, number: u64) {
        self.ended.fetch_max(number, Ordering::SeqCst);
    }

    /// Whether some flush that began after `ticket` was taken has ended well.
    #[must_use]
    pub fn covers(&self, ticket: u64) -> bool {
        self.ended.load(Ordering::SeqCst) > ticket
    }
}
