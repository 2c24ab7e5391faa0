//! A histogram of durations that costs two stores to record into: buckets between 128 ns and 69 s, eight in each octave.
//!
//! ```text
//!   bucket    0         1            2                 8            9                            232         233
//!   ns    0 ... 128 | ... 144 | 145 ... 160 | ... | ... 256 | 257 ... 288 | ... | ... 2^36 (69 s) | everything above
//! ```
//!
//! A bucket is at most an eighth wider than where it begins, so what is read between its bounds is right within 7 %. Written
//! by one shard alone, read from any thread ([`Tally`]). Counts only rise; who wants a period takes the difference of two
//! [`Counts`].

use std::array;

use crate::io::tally::Tally;

/// Durations as they were recorded since the start of the node.
pub struct Histogram {
    buckets: [Tally; BUCKETS],
    sum_ns: Tally,
}

impl Histogram {
    /// Nothing recorded.
    #[must_use]
    pub const fn new() -> Self {
        Self { buckets: [const { Tally::new() }; BUCKETS], sum_ns: Tally::new() }
    }

    /// Something took so long.
    pub fn record(&self, ns: u64) {
        self.buckets[bucket_of(ns)].add(1);
        self.sum_ns.add(ns);
    }

    /// What was recorded so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { buckets: array::from_fn(|bucket| self.buckets[bucket].get()), sum_ns: self.sum_ns.get() }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// What a histogram held at some moment, or gained between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    buckets: [u64; BUCKETS],
    /// All durations together.
    pub sum_ns: u64,
}

impl Counts {
    /// Nothing.
    pub const NONE: Self = Self { buckets: [0; BUCKETS], sum_ns: 0 };

    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What each bucket holds, with the largest duration that belongs into it; `None` for the last, which has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        self.buckets.iter().enumerate().map(|(bucket, count)| (bound_ns(bucket), *count))
    }

    /// What came since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: array::from_fn(|bucket| self.buckets[bucket].wrapping_sub(earlier.buckets[bucket])),
            sum_ns: self.sum_ns.wrapping_sub(earlier.sum_ns),
        }
    }

    /// The duration that this share of all (0 to 1) did not exceed, as nearly as the buckets tell.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count"
        )]
        let wanted = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            if below + count >= wanted {
                let from = bucket.checked_sub(1).and_then(bound_ns).unwrap_or(0);
                let to = bound_ns(bucket).unwrap_or(from);
                // As if what a bucket holds lay evenly in it.
                return from
                    + u64::try_from(u128::from(to - from) * u128::from(wanted - below) / u128::from(*count))
                        .unwrap_or(0);
            }
            below += count;
        }
        0
    }

    /// The longest duration, as nearly as the buckets tell.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.quantile_ns(1.0)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an eighth of an octave is below eight")]
const fn bucket_of(ns: u64) -> usize {
    // A bucket holds its upper bound, as Prometheus counts.
    let below = ns.saturating_sub(1);
    if below < FIRST_NS {
        return 0;
    }
    let octave = below.ilog2() - FIRST_NS.ilog2();
    if octave >= OCTAVES {
        return BUCKETS - 1;
    }
    let eighth = below >> (below.ilog2() - EIGHTHS.ilog2()) & (EIGHTHS - 1) as u64;
    1 + (octave * EIGHTHS) as usize + eighth as usize
}

/// The largest duration of a bucket.
const fn bound_ns(bucket: usize) -> Option<u64> {
    if bucket == BUCKETS - 1 {
        return None;
    }
    let (octave, eighth) = (bucket as u64 / EIGHTHS as u64, bucket as u64 % EIGHTHS as u64);
    Some((FIRST_NS << octave) + (FIRST_NS << octave) / EIGHTHS as u64 * eighth)
}

/// Where the first octave begins.
const FIRST_NS: u64 = 128;
const OCTAVES: u32 = 29;
const EIGHTHS: u32 = 8;
const BUCKETS: usize = (OCTAVES * EIGHTHS) as usize + 2;

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Counts, Histogram, bound_ns, bucket_of};

    #[test]
    fn every_duration_is_in_the_bucket_that_ends_above_it() {
        let bounds: Vec<u64> = (0..BUCKETS - 1).map(|bucket| bound_ns(bucket).expect("all but the last")).collect();
        assert_eq!(bounds[..10], [128, 144, 160, 176, 192, 208, 224, 240, 256, 288]);
        assert_eq!(bounds.last(), Some(&(1 << 36)));
        for (bucket, bound) in bounds.iter().enumerate() {
            assert_eq!(bucket_of(*bound), bucket, "{bound} ns");
            assert_eq!(bucket_of(*bound + 1), bucket + 1, "{bound} + 1 ns");
        }
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(u64::MAX)), (0, 0, BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_right_within_a_fifteenth() {
        let histogram = Histogram::new();
        for us in 1..=10_000_u64 {
            histogram.record(us * us);
        }
        let counts = histogram.counts();
        assert_eq!((counts.count(), counts.sum_ns), (10_000, (1..=10_000_u64).map(|us| us * us).sum()));
        for (share, exact) in
            [(0.5, 5_000_u64.pow(2)), (0.99, 9_900_u64.pow(2)), (0.999, 9_990_u64.pow(2)), (1.0, 10_000_u64.pow(2))]
        {
            let said = counts.quantile_ns(share);
            assert!(said.abs_diff(exact) * 15 <= exact, "{share}: {said} of {exact}");
        }
        assert_eq!(Counts::NONE.quantile_ns(0.5), 0);
    }

    #[test]
    fn a_period_is_the_difference_of_two_moments() {
        let histogram = Histogram::new();
        histogram.record(1_000);
        let before = histogram.counts();
        histogram.record(5_000_000);
        let period = histogram.counts().since(&before);
        assert_eq!((period.count(), period.sum_ns), (1, 5_000_000));
        assert!((4_600_000..=5_400_000).contains(&period.max_ns()), "{}", period.max_ns());
        assert_eq!(period.quantile_ns(0.5), period.max_ns());
    }
}
