//! The clocks of a load: one beginning for all its threads and runs, and the window in which things count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What the threads of one load share: no more than this.
#[derive(Debug)]
pub(super) struct Shared {
    begin: Instant,
    /// When the warm-up of this run was over, in nanoseconds after the beginning; `u64::MAX` before.
    from_ns: AtomicU64,
    window_ns: AtomicU64,
    /// Payload bytes and requests answered so far: for progress, and for a warm-up by bytes.
    pub(super) bytes: AtomicU64,
    pub(super) requests: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            from_ns: AtomicU64::new(u64::MAX),
            window_ns: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the beginning.
    pub(super) fn now_ns(&self) -> u64 {
        ns(self.begin.elapsed())
    }

    /// A run with a window of this length is about to begin; no thread is at work.
    pub(super) fn prepare(&self, window: Duration) {
        self.from_ns.store(u64::MAX, Ordering::Relaxed);
        self.window_ns.store(ns(window), Ordering::Relaxed);
    }

    /// From now on things count.
    pub(super) fn start_window(&self) {
        self.from_ns.store(self.now_ns(), Ordering::Relaxed);
    }

    /// Something went wrong elsewhere: every thread ends.
    pub(super) fn give_up(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn given_up(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The window, as far as it is known: it lies ahead of everything while the warm-up goes on.
    pub(super) fn window(&self) -> Window {
        let from = self.from_ns.load(Ordering::Relaxed);
        Window { from, to: from.saturating_add(self.window_ns.load(Ordering::Relaxed)) }
    }
}

/// From when to when things count, in nanoseconds after the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Window {
    pub(super) fn has(self, at_ns: u64) -> bool {
        at_ns >= self.from && at_ns < self.to
    }
}

/// Processor time of the calling thread so far.
pub(in crate::bench) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
