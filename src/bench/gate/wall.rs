//! The half of the gate that takes time: two nodes on the same core, one of them under load, in short turns.
//!
//! A pair is some seconds of base and as many of head, cut into slices that alternate (base head head base ...), so that
//! whatever the machine does meanwhile it does to both. What a shared machine does varies on every scale, so the shorter the
//! slices, the more of it cancels: connections stay open from one slice to the next, and a slice of throughput takes
//! 50 ms. Each pair gives one ratio; two halves of each side's slices give another, of that side against itself: the
//! control, measured in the same minutes as everything else.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::super::load::{Load, Measure, Moment, Seats, Target, Timing};
use super::super::parameters::{Mode, Workload};
use super::super::report::{Comparison, Verdict};
use super::super::row::Plan;
use super::super::server::Process;
use super::super::stats::{self, Ratio};
use super::super::topic::Topics;
use super::bounds::{Bound, Bounds};

/// One of the two.
#[derive(Debug)]
pub struct Side {
    /// In tables.
    pub name: String,
    /// Where its clients begin.
    pub bootstrap: String,
    /// Its process, where it runs here.
    pub process: Option<Process>,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Pairs of each row.
    pub pairs: usize,
    /// Seconds of each side in a pair.
    pub each: Duration,
    /// Cores of the load.
    pub seats: Seats,
    /// Where finished rows are kept, so that an interrupted run goes on.
    pub kept: Option<PathBuf>,
}

/// What one side did in one half of a pair's slices.
#[derive(Clone, Debug)]
struct Half {
    measure: Measure,
    cpu: Duration,
    seconds: f64,
}

/// One pair: the two halves of either side.
struct Pair {
    base: [Half; 2],
    head: [Half; 2],
}

/// Compares two sides by one row. `told` hears how many pairs are done and says whether to go on.
///
/// # Errors
/// Where a topic cannot be made, a load fails, or a process goes.
pub fn compare(
    plan: &Plan,
    base: &Side,
    head: &Side,
    extent: &Extent,
    bounds: &Bounds,
    told: &mut dyn FnMut(usize) -> bool,
) -> io::Result<Vec<Comparison>> {
    let mut topics = (Topics::open(&base.bootstrap)?, Topics::open(&head.bootstrap)?);
    let topic = format!("gate-{}", plan.name);
    let partitions = plan.parameters.partitions;
    let targets =
        (topics.0.make(&topic, partitions, &plan.configs)?, topics.1.make(&topic, partitions, &plan.configs)?);
    let result = pairs(plan, (base, &targets.0), (head, &targets.1), extent, told);
    let deleted = (topics.0.delete(&topic), topics.1.delete(&topic));
    let pairs = result?;
    deleted.0.and(deleted.1)?;
    Ok(figures(plan).into_iter().filter_map(|figure| judged(plan, &figure, &pairs, (base, head), bounds)).collect())
}

fn pairs(
    plan: &Plan,
    base: (&Side, &Target),
    head: (&Side, &Target),
    extent: &Extent,
    told: &mut dyn FnMut(usize) -> bool,
) -> io::Result<Vec<Pair>> {
    let open = |(side, target): (&Side, &Target)| {
        let load = Load::open(target, plan.workload, &plan.parameters, &extent.seats)?;
        Ok::<_, io::Error>(Runner { load, name: side.name.clone(), process: side.process })
    };
    let (mut base, mut head) = (open(base)?, open(head)?);
    // Segments are recycled, caches are warm, and connections were made, before anything counts.
    for runner in [&mut base, &mut head] {
        runner.slice(&Timing { window: Duration::from_millis(100), ..plan.timing })?;
    }
    let slices = Slices::of(plan.parameters.mode, extent.each);
    let mut pairs = Vec::new();
    for number in 0..extent.pairs {
        if !told(number) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        pairs.push(pair(&mut base, &mut head, &slices)?);
    }
    told(extent.pairs);
    Ok(pairs)
}

/// How a side's part of a pair is cut.
#[derive(Debug, PartialEq, Eq)]
struct Slices {
    count: usize,
    timing: Timing,
}

impl Slices {
    fn of(mode: Mode, each: Duration) -> Self {
        let (wanted, warm_up) = match mode {
            Mode::Saturate => (each.as_millis() / THROUGHPUT_SLICE.as_millis(), THROUGHPUT_WARM_UP),
            Mode::Rate => (LATENCY_SLICES, LATENCY_WARM_UP),
        };
        // Four make the halves alike, see `half_of`.
        let count = (u32::try_from(wanted).unwrap_or(u32::MAX) / 4).max(1) * 4;
        let timing = Timing { warm_up, warm_up_bytes: 0, window: each / count };
        Self { count: count as usize, timing }
    }
}

fn pair(base: &mut Runner, head: &mut Runner, slices: &Slices) -> io::Result<Pair> {
    let (mut base_halves, mut head_halves) = ([None, None], [None, None]);
    for turn in 0..slices.count {
        // base head, head base, ...: neither always goes first.
        let (of_base, of_head) = if turn % 2 == 0 {
            (base.slice(&slices.timing)?, head.slice(&slices.timing)?)
        } else {
            swap((head.slice(&slices.timing)?, base.slice(&slices.timing)?))
        };
        Half::put(&mut base_halves[half_of(turn)], of_base);
        Half::put(&mut head_halves[half_of(turn)], of_head);
    }
    let whole = |halves: [Option<Half>; 2]| halves.map(|half| half.expect("there are at least two slices"));
    Ok(Pair { base: whole(base_halves), head: whole(head_halves) })
}

/// Which half of its side a turn's slice belongs to. Each has as many slices that came right after one of the same side as
/// slices that came after the other's: a node that has just run is warmer. For that they are a multiple of four.
const fn half_of(turn: usize) -> usize {
    turn.div_ceil(2) % 2
}

fn swap<A, B>((one, other): (A, B)) -> (B, A) {
    (other, one)
}

/// One side's load, open from the first pair to the last.
struct Runner {
    load: Load,
    name: String,
    process: Option<Process>,
}

impl Runner {
    fn slice(&mut self, timing: &Timing) -> io::Result<Half> {
        let (mut before, mut after): (Option<Duration>, Option<Duration>) = (None, None);
        let process = self.process;
        let look = || process.and_then(|process| process.cpu().ok());
        let measure = self.load.run(timing, &mut |moment| {
            match moment {
                Moment::Begun => before = look(),
                Moment::Over => after = look(),
                Moment::Passing { .. } => {}
            }
            true
        })?;
        if let Some((name, count)) = measure.errors.iter().next() {
            return Err(io::Error::other(format!("{} answered {name}, {count} times", self.name)));
        }
        let cpu = before.zip(after).map_or(Duration::ZERO, |(before, after)| after.saturating_sub(before));
        Ok(Half { measure, cpu, seconds: timing.window.as_secs_f64() })
    }
}

impl Half {
    fn put(into: &mut Option<Self>, other: Self) {
        match into {
            Some(own) => own.add(&other),
            None => *into = Some(other),
        }
    }

    fn add(&mut self, other: &Self) {
        self.measure.add(&other.measure);
        self.cpu += other.cpu;
        self.seconds += other.seconds;
    }

    fn with(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }
}

/// A figure that the gate looks at.
struct Figure {
    name: &'static str,
    unit: &'static str,
    higher_is_better: bool,
    of: fn(&Half) -> f64,
}

/// Saturated rows are about throughput, rows at a fixed rate about latency.
fn figures(plan: &Plan) -> Vec<Figure> {
    let cpu = Figure {
        name: "CPU",
        unit: "us/request",
        higher_is_better: false,
        of: |half| half.cpu.as_secs_f64() * 1e6 / requests(half),
    };
    let timed = |name, of| Figure { name, unit: "ms", higher_is_better: false, of };
    match plan.parameters.mode {
        Mode::Saturate => {
            let throughput = Figure {
                name: "throughput",
                unit: "requests/s",
                higher_is_better: true,
                of: |half| requests(half) / half.seconds,
            };
            vec![throughput, cpu]
        }
        Mode::Rate => vec![
            timed("p50", |half| quantile(half, 0.5)),
            timed("p99", |half| quantile(half, 0.99)),
            timed("p99.9", |half| quantile(half, 0.999)),
            cpu,
        ],
    }
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
fn requests(half: &Half) -> f64 {
    half.measure.requests as f64
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 us")]
fn quantile(half: &Half, quantile: f64) -> f64 {
    let measure = &half.measure;
    let histogram = if measure.end_to_end.is_empty() { &measure.acknowledgement } else { &measure.end_to_end };
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

fn judged(plan: &Plan, figure: &Figure, pairs: &[Pair], sides: (&Side, &Side), bounds: &Bounds) -> Option<Comparison> {
    let of = figure.of;
    let whole: Vec<(f64, f64)> = pairs
        .iter()
        .map(|pair| (of(&pair.base[0].with(&pair.base[1])), of(&pair.head[0].with(&pair.head[1]))))
        .collect();
    // Each side against itself: half as long as the pairs, so twice as many tell as much.
    let sides_alone = pairs.iter().flat_map(|pair| [&pair.base, &pair.head]);
    let halves: Vec<(f64, f64)> = sides_alone.map(|side| (of(&side[0]), of(&side[1]))).collect();
    let (ratio, control) = (stats::ratio(&whole)?, stats::ratio(&halves)?);
    let bound = bounds.of_time(&plan.name, figure.name);
    let (bases, heads): (Vec<f64>, Vec<f64>) = whole.into_iter().unzip();
    Some(Comparison {
        row: plan.name.clone(),
        metric: figure.name.to_owned(),
        unit: figure.unit.to_owned(),
        better: if figure.higher_is_better { "higher" } else { "lower" }.to_owned(),
        base: sides.0.name.clone(),
        head: sides.1.name.clone(),
        base_median: stats::median(&bases),
        head_median: stats::median(&heads),
        ratio: ratio.center,
        interval: (ratio.low, ratio.high),
        pairs: ratio.pairs,
        control: Some((control.low, control.high)),
        verdict: Some(verdict(&ratio, &control, &bound, figure.higher_is_better)),
        bound: Some(bound.bound),
    })
}

/// Worse: the whole interval is worse than the bound. Where base against itself already strays by more than the bound,
/// the bound counts from where it strayed to, and what does not fail by that is inconclusive: never silently the same.
fn verdict(ratio: &Ratio, control: &Ratio, bound: &Bound, higher_is_better: bool) -> Verdict {
    // Turned so that larger is worse.
    let (low, high) = if higher_is_better { (1.0 / ratio.high, 1.0 / ratio.low) } else { (ratio.low, ratio.high) };
    let strays = control.high.max(1.0 / control.low);
    let limit = 1.0 + bound.bound;
    let noisy = strays > limit;
    if low > if noisy { limit * strays } else { limit } {
        Verdict::Worse
    } else if noisy {
        Verdict::Inconclusive
    } else if high < 1.0 {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

/// Whether a row can be compared: one that fills a log first would do little else.
#[must_use]
pub fn is_comparable(plan: &Plan) -> bool {
    plan.workload != Workload::CatchUp
}

/// As short as leaves most of the time to what counts: nodes and load find their pace within the warm-up.
const THROUGHPUT_SLICE: Duration = Duration::from_millis(50);
const THROUGHPUT_WARM_UP: Duration = Duration::from_millis(5);
/// Slices of each side in a pair at a fixed rate, whose schedule has to come to rest, and a p99 needs a while.
const LATENCY_SLICES: u128 = 8;
const LATENCY_WARM_UP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(low: f64, high: f64) -> Ratio {
        Ratio { center: f64::midpoint(low, high), low, high, pairs: 10 }
    }

    fn bound() -> Bound {
        Bound { bound: 0.05, least: 0.0, reason: "a test".to_owned() }
    }

    #[test]
    fn the_halves_of_a_side_are_alike() {
        for (mode, milliseconds) in
            [(Mode::Rate, 3_000), (Mode::Saturate, 3_000), (Mode::Saturate, 50), (Mode::Saturate, 1)]
        {
            let count = Slices::of(mode, Duration::from_millis(milliseconds)).count;
            for half in 0..2 {
                let turns: Vec<usize> = (0..count).filter(|turn| half_of(*turn) == half).collect();
                assert_eq!(turns.len(), count / 2, "{turns:?}");
                assert_eq!(turns.iter().filter(|turn| *turn % 2 == 0).count(), count / 4, "{turns:?}");
            }
        }
    }

    #[test]
    fn the_slices_of_a_side_are_as_long_as_was_asked() {
        let slices = Slices::of(Mode::Saturate, Duration::from_secs(3));
        assert_eq!((slices.count, slices.timing.window), (60, Duration::from_millis(50)));
        let slices = Slices::of(Mode::Rate, Duration::from_secs(3));
        assert_eq!((slices.count, slices.timing.window), (8, Duration::from_millis(375)));
        let slices = Slices::of(Mode::Saturate, Duration::from_millis(20));
        assert_eq!((slices.count, slices.timing.window), (4, Duration::from_millis(5)));
    }

    #[test]
    fn only_a_whole_interval_beyond_the_bound_is_worse() {
        let quiet = ratio(0.99, 1.01);
        let said = |low, high| verdict(&ratio(low, high), &quiet, &bound(), true);
        assert_eq!(said(0.90, 0.94), Verdict::Worse);
        assert_eq!(said(0.90, 0.96), Verdict::Same);
        assert_eq!(said(0.99, 1.01), Verdict::Same);
        assert_eq!(said(1.01, 1.05), Verdict::Better);
        assert_eq!(verdict(&ratio(1.06, 1.2), &quiet, &bound(), false), Verdict::Worse);
        assert_eq!(verdict(&ratio(0.8, 0.9), &quiet, &bound(), false), Verdict::Better);
    }

    #[test]
    fn a_machine_that_strays_is_never_taken_for_the_same() {
        let noisy = ratio(0.92, 1.08);
        let said = |low, high| verdict(&ratio(low, high), &noisy, &bound(), true);
        assert_eq!(said(0.99, 1.01), Verdict::Inconclusive);
        assert_eq!(said(0.90, 0.94), Verdict::Inconclusive);
        assert_eq!(said(0.60, 0.70), Verdict::Worse);
    }
}
