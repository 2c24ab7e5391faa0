//! When each request of an open loop is due: at even moments, or at recorded ones. Followed by `worker`.

use crate::bench::arrivals::Arrivals;
use crate::bench::parameters::{Mode, Parameters};

/// One thread's share of a load's moments: the threads take turns.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    moments: Moments,
    /// When they begin, in nanoseconds after the load's beginning.
    start_ns: u64,
    /// The number of the next one, and how many threads there are.
    next: u64,
    step: u64,
}

#[derive(Clone, Debug)]
enum Moments {
    /// Nanoseconds between two requests of the whole load.
    Even(f64),
    Recorded(Arrivals),
}

impl Schedule {
    /// The share of a thread, `(its number, how many there are)`, in a load of a fixed rate.
    pub(super) fn of(parameters: &Parameters, (thread, threads): (usize, usize), start_ns: u64) -> Option<Self> {
        let rate = parameters.rate_per_second.filter(|_| parameters.mode == Mode::Rate)?;
        let moments = parameters.arrivals.clone().map_or(Moments::Even(1e9 / rate), Moments::Recorded);
        Some(Self { moments, start_ns, next: thread as u64, step: threads as u64 })
    }

    /// When the next one is due, in nanoseconds after the load's beginning.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a schedule of less than 2^53 ns, which is 104 days, and none is negative"
    )]
    pub(super) fn due_ns(&self) -> u64 {
        let after_ns = match &self.moments {
            Moments::Even(every_ns) => (self.next as f64 * every_ns) as u64,
            Moments::Recorded(arrivals) => arrivals.due_ns(self.next),
        };
        self.start_ns.saturating_add(after_ns)
    }

    pub(super) fn advance(&mut self) {
        self.next += self.step;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn threads_share_even_moments() {
        let parameters = Parameters { mode: Mode::Rate, rate_per_second: Some(1000.0), ..Parameters::default() };
        let expected: Vec<u64> = (0..12).map(|number| START_NS + number * 1_000_000).collect();
        assert_eq!(due_of_three_threads(&parameters), expected);
    }

    #[test]
    fn threads_share_recorded_moments() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"1.000\n1.000\n1.002\n1.003\n").expect("written");
        let mut parameters = Parameters::default();
        parameters.follow(Arrivals::read(file.path()).expect("moments"));
        let expected = [0, 0, 2, 3, 4, 4, 6, 7, 8, 8, 10, 11];
        let due: Vec<u64> =
            due_of_three_threads(&parameters).iter().map(|ns| (ns - START_NS + 500_000) / 1_000_000).collect();
        assert_eq!(due, expected);
    }

    const START_NS: u64 = 7_000_000_000;

    fn due_of_three_threads(parameters: &Parameters) -> Vec<u64> {
        let mut all: Vec<u64> = Vec::new();
        for thread in 0..3 {
            let mut schedule = Schedule::of(parameters, (thread, 3), START_NS).expect("a rate");
            for _ in 0..4 {
                all.push(schedule.due_ns());
                schedule.advance();
            }
        }
        all.sort_unstable();
        all
    }
}
