//! The gate: two builds, two settings or two brokers, base and head. Is head worse?
//!
//! ```text
//!   counts   instructions of the pure paths, and what a request costs in lock step: tight bounds (`bench::counts`)
//!   wall     throughput, processor time and latency in interleaved pairs, with a control: wide bounds, or inconclusive
//!   bounds   how much worse is too much, and why; trade-offs that a change has stated
//!   junit    the result for a CI
//! ```
//! Called by `cli::gate`. Nothing here decides what is run: it compares what it is given.

mod bounds;
pub mod junit;
pub mod wall;

pub use bounds::{Bound, Bounds};

use super::counts::Count;
use super::report::{Comparison, Verdict};

/// Counts of base and head side by side, each with its verdict. A count that only one side has is 0 on the other, where the
/// other did the same thing at all: a system call that nobody made before is a change, a path that base does not know is not.
#[must_use]
pub fn compare_counts(base: &[Count], head: &[Count], names: (&str, &str), bounds: &Bounds) -> Vec<Comparison> {
    let mut all: Vec<&Count> = base.iter().filter(|count| is_done_by(head, count)).collect();
    let is_new = |count: &&Count| !base.iter().any(|other| other.name == count.name);
    all.extend(head.iter().filter(is_new).filter(|count| is_done_by(base, count)));
    let find = |counts: &[Count], name: &str| counts.iter().find(|count| count.name == name).cloned();
    let compared = all.into_iter().map(|count| {
        let (base, head) = (find(base, &count.name), find(head, &count.name));
        let value = |side: &Option<Count>| side.as_ref().map_or(0.0, |count| count.value);
        let noise = |side: &Option<Count>| side.as_ref().map_or(0.0, |count| count.noise);
        let bound = bounds.of_count(&count.name, count.unit);
        let (before, after) = (value(&base), value(&head));
        let (group, figure) = count.name.rsplit_once('/').unwrap_or(("", &count.name));
        Comparison {
            row: group.to_owned(),
            metric: figure.to_owned(),
            unit: count.unit.to_owned(),
            better: "lower".to_owned(),
            base: names.0.to_owned(),
            head: names.1.to_owned(),
            base_median: before,
            head_median: after,
            ratio: after.max(bound.least) / before.max(bound.least),
            interval: (
                (after - noise(&head)).max(bound.least) / before.max(bound.least),
                (after + noise(&head)).max(bound.least) / before.max(bound.least),
            ),
            pairs: 1,
            control: None,
            verdict: Some(verdict(
                before.max(bound.least),
                after.max(bound.least),
                noise(&base).max(noise(&head)),
                bound.bound,
            )),
            bound: Some(bound.bound),
        }
    });
    compared.collect()
}

/// Whether a side did what was counted here: goes that path, or answers the same requests.
fn is_done_by(side: &[Count], count: &Count) -> bool {
    let done = match count.name.match_indices('/').nth(1) {
        Some((end, _)) if count.unit != "instructions" => &count.name[..=end],
        _ => return side.iter().any(|other| other.name == count.name),
    };
    side.iter().any(|other| other.name.starts_with(done))
}

/// A count is worse when it is over its bound by more than its repeats lay apart.
fn verdict(base: f64, head: f64, noise: f64, bound: f64) -> Verdict {
    let limit = base * (1.0 + bound);
    if head - noise > limit {
        Verdict::Worse
    } else if head > limit {
        Verdict::Inconclusive
    } else if head + noise < base * (1.0 - bound) {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, unit: &'static str, value: f64, noise: f64) -> Count {
        Count { name: name.to_owned(), unit, value, noise }
    }

    #[test]
    fn counts_are_judged_by_their_bounds() {
        let base = [
            count("paths/append", "instructions", 1000.0, 0.0),
            count("requests/small/read", "calls per request", 0.0, 0.0),
        ];
        let of = |head: &[Count]| {
            let compared = compare_counts(&base, head, ("base", "head"), &Bounds::own());
            compared.into_iter().map(|comparison| (comparison.metric, comparison.verdict)).collect::<Vec<_>>()
        };
        let said = of(&[count("paths/append", "instructions", 1020.0, 0.0)]);
        assert_eq!(said[0], ("append".to_owned(), Some(Verdict::Worse)));
        let said = of(&[count("paths/append", "instructions", 1005.0, 0.0)]);
        assert_eq!(said[0].1, Some(Verdict::Same));
        let said = of(&[count("paths/append", "instructions", 1015.0, 10.0)]);
        assert_eq!(said[0].1, Some(Verdict::Inconclusive));
        let said = of(&[count("requests/small/getppid", "calls per request", 1.5, 0.0)]);
        assert_eq!(said[1], ("getppid".to_owned(), Some(Verdict::Worse)));
        let said = of(&[count("paths/novel", "instructions", 10.0, 0.0), count("requests/other/read", "", 9.0, 0.0)]);
        assert!(said.is_empty(), "what only one side does cannot be compared: {said:?}");
    }
}
