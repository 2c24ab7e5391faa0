//! Moments at which requests once came, to be sent again: a burst, a lull, and what another load made of its rate.
//!
//! Read from a file by `cli::bench` before anything runs, held by [`Parameters`](super::parameters::Parameters), followed by
//! the load's schedule.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs, io};

use serde::{Deserialize, Serialize};

/// Recorded moments, repeated for as long as a load goes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    /// The file they come from.
    file: String,
    /// Nanoseconds after the first, ascending. Not part of a report: thousands of numbers that the file has.
    #[serde(skip)]
    moments: Arc<[u64]>,
    /// Nanoseconds from one first to the next: the last one is followed by the mean gap.
    period_ns: u64,
}

impl Arrivals {
    /// Reads a file of seconds, a line each, in any zone of time as long as they ascend. Empty lines are none.
    ///
    /// # Errors
    /// Where it cannot be read, has fewer than two moments or more than ten million, or names the line that is no
    /// moment after the one before.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&path.display().to_string(), &fs::read_to_string(path)?)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a difference of at most DURATION_MAX seconds, and not below 0"
    )]
    fn parse(file: &str, text: &str) -> Result<Self, String> {
        let mut moments: Vec<u64> = Vec::new();
        let mut first = None;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let strange = |what: &str| format!("line {}: {line:?} {what}", index + 1);
            let seconds: f64 = line.trim().parse().map_err(|_| strange("is no number of seconds"))?;
            let after = seconds - *first.get_or_insert(seconds);
            if !(0.0..=SECONDS_MAX).contains(&after) {
                return Err(strange("is before the first, or more than a day after it"));
            }
            let after_ns = (after * 1e9).round() as u64;
            if moments.last().is_some_and(|last| after_ns < *last) {
                return Err(strange("is before the line above"));
            }
            moments.push(after_ns);
            if moments.len() > COUNT_MAX {
                return Err(strange("is the 10,000,001st: at most ten million are taken"));
            }
        }
        let gaps = moments.len().saturating_sub(1) as u64;
        let span = moments.last().copied().unwrap_or(0);
        if gaps == 0 || span == 0 {
            return Err("two moments are needed, and some time between them".to_owned());
        }
        Ok(Self { file: file.to_owned(), moments: moments.into(), period_ns: span + span.div_ceil(gaps) })
    }

    /// Requests a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
    pub fn rate_per_second(&self) -> f64 {
        self.moments.len() as f64 * 1e9 / self.period_ns as f64
    }

    /// When the request of this number is due, in nanoseconds after the first.
    pub(super) fn due_ns(&self, number: u64) -> u64 {
        let count = self.moments.len() as u64;
        let nth = usize::try_from(number % count).expect("less than a length");
        (number / count).saturating_mul(self.period_ns).saturating_add(self.moments[nth])
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} moments of {}", self.moments.len(), self.file)
    }
}

const SECONDS_MAX: f64 = 86_400.0;
const COUNT_MAX: usize = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_repeated_at_their_own_rate() {
        let arrivals = Arrivals::parse("a", "7.000\n7.001\n\n7.001\n7.003\n").expect("four moments");
        let due: Vec<u64> = (0..6).map(|number| arrivals.due_ns(number) / 1_000).collect();
        // Three gaps of a millisecond on the average, and one more before they begin again.
        assert_eq!(due, [0, 1_000, 1_000, 3_000, 4_000, 5_000]);
        assert!((arrivals.rate_per_second() - 1_000.0).abs() < 0.01, "{}", arrivals.rate_per_second());
    }

    #[test]
    fn what_is_no_moment_is_named_by_its_line() {
        for (text, said) in [
            ("", "two moments"),
            ("1.5\n", "two moments"),
            ("1\n1\n", "some time between"),
            ("1\nsoon\n", "line 2: \"soon\""),
            ("1\n\n3\n2\n", "line 4: \"2\" is before the line above"),
            ("1\n0.5\n", "line 2"),
            ("1\nNaN\n", "line 2"),
            ("0\ninf\n", "line 2"),
            ("0\n86401\n", "more than a day"),
        ] {
            let why = Arrivals::parse("a", text).expect_err(text);
            assert!(why.contains(said), "{text:?}: {why}");
        }
    }
}
