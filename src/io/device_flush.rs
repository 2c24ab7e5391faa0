//! Flushes of one device, shared by the shards whose journals lie on it: the only state that shards share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
/// The flushes of one device, shared by the shards that write to it: any flush that *began* after a write completed has
/// made it durable, whoever asked for it. This pair of counters is the only thing that shards share.
#[derive(Clone, Debug, Default)]
pub struct DeviceFlush(Arc<Flushes>);

#[derive(Debug, Default)]
struct Flushes {
    started: AtomicU64,
    finished: AtomicU64,
}

/// A flush under way: give it back to [`DeviceFlush::finish`] if it succeeded, drop it if not.
#[derive(Debug)]
#[must_use]
pub struct FlushTicket(u64);

/// A moment between flushes: taken after writes completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlushMark(u64);

impl DeviceFlush {
    /// Call after the writes completed: flushes that begin from now on cover them.
    #[must_use]
    pub fn mark(&self) -> FlushMark {
        FlushMark(self.0.started.load(Ordering::SeqCst))
    }

    /// Call right before submitting a flush.
    pub fn begin(&self) -> FlushTicket {
        FlushTicket(self.0.started.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Call when the flush of `ticket` has completed without error.
    #[expect(clippy::needless_pass_by_value, reason = "a flush finishes once")]
    pub fn finish(&self, ticket: FlushTicket) {
        self.0.finished.fetch_max(ticket.0, Ordering::SeqCst);
    }

    /// Whether a flush that began after `mark` has finished.
    #[must_use]
    pub fn covers(&self, mark: FlushMark) -> bool {
        self.0.finished.load(Ordering::SeqCst) > mark.0
    }

    /// Whether a flush that began after `mark` was started, by whichever shard; it may still fail.
    #[must_use]
    pub fn began_after(&self, mark: FlushMark) -> bool {
        self.0.started.load(Ordering::SeqCst) > mark.0
    }
}
