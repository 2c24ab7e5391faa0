//! How long requests take on one shard, from the moment their frame was there to the moment their answer was.
//!
//! Recorded by the handlers; `server::node` writes them to the log once a minute while there is traffic, and at the end.
//! A Fetch counts from the moment it had something to answer or gave up, not the time that it waited for records.

use std::cell::RefCell;
use std::fmt;

use hdrhistogram::Histogram;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From a Produce frame to its acknowledgement: append, window, and flush where `acks` asks for it.
    Produce,
    /// From the begin of the last read of a Fetch to its answer.
    Fetch,
    /// Everything else.
    Other,
}

/// The figures of one shard since they were last taken.
pub struct Figures {
    histograms: RefCell<[Histogram<u64>; KINDS]>,
}

impl Default for Figures {
    fn default() -> Self {
        Self { histograms: RefCell::new([(); KINDS].map(|()| empty())) }
    }
}

impl Figures {
    /// One request of a kind took so long.
    pub fn record(&self, kind: Kind, ns: u64) {
        self.histograms.borrow_mut()[kind as usize].saturating_record(ns / 1_000);
    }

    /// What was recorded since the last call, if anything was.
    #[must_use]
    pub fn take(&self) -> Option<Summary> {
        let mut histograms = self.histograms.borrow_mut();
        let lines = [Kind::Produce, Kind::Fetch, Kind::Other].map(|kind| Line::of(kind, &histograms[kind as usize]));
        histograms.iter_mut().for_each(Histogram::reset);
        lines.iter().any(|line| line.count > 0).then_some(Summary(lines))
    }
}

/// Figures of all kinds over one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary([Line; KINDS]);

/// Figures of one kind, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    kind: Kind,
    count: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Line {
    fn of(kind: Kind, histogram: &Histogram<u64>) -> Self {
        Self {
            kind,
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.0.iter().filter(|line| line.count > 0).enumerate() {
            let Line { kind, count, p50, p99, p999, max } = line;
            let gap = if n > 0 { "; " } else { "" };
            write!(f, "{gap}{kind:?} {count} us p50 {p50} p99 {p99} p99.9 {p999} max {max}")?;
        }
        Ok(())
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_US, 2).expect("the bounds are those that hdrhistogram asks for")
}

const KINDS: usize = 3;
/// A minute; longer waits count as one. With two digits a histogram takes 20 KiB.
const LONGEST_US: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::{Figures, Kind};

    #[test]
    fn what_was_taken_is_not_told_again() {
        let figures = Figures::default();
        assert!(figures.take().is_none());
        for us in 1..=100 {
            figures.record(Kind::Produce, us * 1_000);
        }
        figures.record(Kind::Fetch, u64::MAX);
        let text = figures.take().expect("recorded").to_string();
        assert!(text.starts_with("Produce 100 us p50 50 p99 99 p99.9 100 max 100; Fetch 1 us p50 "), "{text}");
        assert!(figures.take().is_none());
    }
}
