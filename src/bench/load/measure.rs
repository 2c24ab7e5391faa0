//! What one thread of a load has seen, and the sum of several.
//!
//! Throughput counts what was answered inside the window. Latency counts what was *due* inside it, whenever its answer
//! came: an answer after the window's end belongs to a request that the window promised.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::{Window, ns};

/// Counters and histograms. Latencies are in microseconds.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Requests answered, records and payload bytes acknowledged, payload bytes fetched: inside the window.
    pub requests: u64,
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of acknowledged batches.
    pub bytes: u64,
    /// Bytes of fetched batches.
    pub fetched_bytes: u64,
    /// Records of fetched batches.
    pub fetched_records: u64,
    /// From the moment a Produce was due (open loop) or sent (closed loop) to its answer.
    pub acknowledgement: Histogram<u64>,
    /// Open loop: from the moment at which a Produce was handed to its socket to its answer.
    pub service: Histogram<u64>,
    /// From the moment a Produce was due until its batch was fetched.
    pub end_to_end: Histogram<u64>,
    /// From a Fetch to the whole of its answer.
    pub fetch: Histogram<u64>,
    /// How late the load itself was: from the moment at which a request was due to that at which the load had
    /// seen so; what it waits after that for room in a socket is the broker's.
    pub lag: Histogram<u64>,
    /// What went wrong, by name.
    pub errors: BTreeMap<String, u64>,
    /// One entry for each slice of the window.
    pub slices: Vec<Slice>,
    slice_ns: u64,
    /// Processor time of the thread inside the window, and how long that was.
    pub busy: Duration,
    /// How long the thread's window was.
    pub wall: Duration,
}

/// A part of the window.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Bytes acknowledged, or fetched where nothing is produced.
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Latency of what was due in it: end to end if there is one, else that of the answer.
    pub latency: Histogram<u64>,
}

impl Measure {
    pub(super) fn new(window: Duration) -> Self {
        let count = (window.as_millis() / SLICE_MIN.as_millis()).clamp(1, SLICES_MAX);
        let count = usize::try_from(count).unwrap_or(1);
        Self {
            requests: 0,
            records: 0,
            bytes: 0,
            fetched_bytes: 0,
            fetched_records: 0,
            acknowledgement: histogram(3),
            service: histogram(3),
            end_to_end: histogram(3),
            fetch: histogram(3),
            lag: histogram(3),
            errors: BTreeMap::new(),
            slices: vec![Slice { bytes: 0, requests: 0, latency: histogram(2) }; count],
            slice_ns: (ns(window) / count as u64).max(1),
            busy: Duration::ZERO,
            wall: Duration::ZERO,
        }
    }

    /// How long a slice is.
    #[must_use]
    pub fn slice(&self) -> Duration {
        Duration::from_nanos(self.slice_ns)
    }

    pub(super) fn error(&mut self, name: &str) {
        *self.errors.entry(name.to_owned()).or_default() += 1;
    }

    /// A Produce that was due at `since` was answered.
    pub(super) fn acknowledged(&mut self, window: Window, since: u64, now: u64, records: u64, bytes: u64, shown: bool) {
        if window.has(now) {
            self.requests += 1;
            self.records += records;
            self.bytes += bytes;
            if let Some(slice) = self.slice_at(window, now) {
                slice.bytes += bytes;
                slice.requests += 1;
            }
        }
        if window.has(since) {
            let us = micros(since, now);
            self.acknowledgement.saturating_record(us);
            if shown && let Some(slice) = self.slice_at(window, since) {
                slice.latency.saturating_record(us);
            }
        }
    }

    /// A Produce that was due at `due` and sent at `sent` was answered.
    pub(super) fn served(&mut self, window: Window, due: u64, sent: u64, now: u64) {
        if window.has(due) {
            self.service.saturating_record(micros(sent, now));
        }
    }

    /// A batch that was due at `since` was fetched.
    pub(super) fn arrived(&mut self, window: Window, since: u64, now: u64) {
        if window.has(since) {
            let us = micros(since, now);
            self.end_to_end.saturating_record(us);
            if let Some(slice) = self.slice_at(window, since) {
                slice.latency.saturating_record(us);
            }
        }
    }

    /// A Fetch that was sent at `since` was answered with `got`: bytes and records. `alone`: nothing is produced, so that
    /// this is what is shown.
    pub(super) fn fetched(&mut self, window: Window, since: u64, now: u64, got: (u64, u64), alone: bool) {
        let (bytes, records) = got;
        if !window.has(now) {
            return;
        }
        self.fetched_bytes += bytes;
        self.fetched_records += records;
        self.fetch.saturating_record(micros(since, now));
        if alone {
            self.requests += 1;
            if let Some(slice) = self.slice_at(window, now) {
                slice.bytes += bytes;
                slice.requests += 1;
                slice.latency.saturating_record(micros(since, now));
            }
        }
    }

    fn slice_at(&mut self, window: Window, at: u64) -> Option<&mut Slice> {
        let index = usize::try_from(at.checked_sub(window.from)? / self.slice_ns).ok()?;
        self.slices.get_mut(index)
    }

    /// Takes another thread's figures in: histograms are added, never their percentiles.
    ///
    /// # Panics
    /// Never: all have the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.fetched_bytes += other.fetched_bytes;
        self.fetched_records += other.fetched_records;
        for (own, theirs) in [
            (&mut self.acknowledgement, &other.acknowledgement),
            (&mut self.service, &other.service),
            (&mut self.end_to_end, &other.end_to_end),
            (&mut self.fetch, &other.fetch),
            (&mut self.lag, &other.lag),
        ] {
            own.add(theirs).expect("all have the same bounds");
        }
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
        for (own, theirs) in self.slices.iter_mut().zip(&other.slices) {
            own.bytes += theirs.bytes;
            own.requests += theirs.requests;
            own.latency.add(&theirs.latency).expect("all have the same bounds");
        }
        self.busy += other.busy;
        self.wall += other.wall;
    }
}

/// Microseconds from 1 to ten minutes; longer waits count as ten minutes.
fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, digits).expect("bounds that hdrhistogram takes")
}

fn micros(since: u64, now: u64) -> u64 {
    // Rounded up: what took anything took at least one.
    now.saturating_sub(since).div_ceil(1_000)
}

/// A slice is at least so long, and a window has at most so many.
const SLICE_MIN: Duration = Duration::from_millis(250);
const SLICES_MAX: u128 = 120;
