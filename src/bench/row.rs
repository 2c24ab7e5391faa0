//! One row of a report: a topic, a load on it, and what the load and the broker's process say of it.

use std::io;
use std::time::Duration;

use super::host;
use super::load::{self, Measure, Moment, Seats, Target, Timing};
use super::metrics;
use super::parameters::{Mode, Parameters, Workload};
use super::report::{GeneratorCost, Latencies, Latency, Point, Row, ServerCost, Stage};
use super::server::{Process, Usage};
use super::topic::Topics;

/// What a row is, before it has run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name: short, and unique in its suite.
    pub name: String,
    /// The question it answers.
    pub question: String,
    /// What the load does.
    pub workload: Workload,
    /// Its numbers.
    pub parameters: Parameters,
    /// How long it goes.
    pub timing: Timing,
    /// Settings of its topic.
    pub configs: Vec<(String, String)>,
    /// Bytes that a catch-up finds in the log.
    pub fill_bytes: u64,
}

/// Whom a row is run against.
#[derive(Debug)]
pub struct Subject {
    /// Where clients begin.
    pub bootstrap: String,
    /// The broker's process, where it runs here.
    pub process: Option<Process>,
    /// Where it tells its metrics, if it is one of ours.
    pub metrics: Option<String>,
    /// Cores of the load.
    pub seats: Seats,
    /// What topics are called before their number.
    pub prefix: String,
}

/// The window's beginning and end, as the outside shows them.
#[derive(Default)]
struct Around {
    usage: Option<Usage>,
    ticks: Option<(u64, u64)>,
    scrape: Option<metrics::Scrape>,
}

impl Around {
    fn look(subject: &Subject) -> Self {
        Self {
            usage: subject.process.and_then(|process| process.usage().ok()),
            ticks: host::stolen_ticks(),
            scrape: subject.metrics.as_deref().and_then(|address| metrics::scrape(address).ok()),
        }
    }
}

impl Plan {
    /// Makes the topic, runs the load, deletes the topic. `told` hears what the load tells.
    ///
    /// # Errors
    /// Where the topic cannot be made, the load fails, or the broker goes.
    pub fn run(&self, subject: &Subject, told: &mut dyn FnMut(Moment) -> bool) -> io::Result<Row> {
        self.parameters.check(self.workload).map_err(io::Error::other)?;
        let mut topics = Topics::open(&subject.bootstrap)?;
        let name = format!("{}{}", subject.prefix, self.name.replace(|char: char| !char.is_ascii_alphanumeric(), "-"));
        let target = topics.make(&name, self.parameters.partitions, &self.configs)?;
        let outcome = self.on(&target, subject, told);
        // The topic goes also where the load failed; its own error matters more.
        let deleted = topics.delete(&name);
        let row = outcome?;
        deleted.map(|()| row)
    }

    fn on(&self, target: &Target, subject: &Subject, told: &mut dyn FnMut(Moment) -> bool) -> io::Result<Row> {
        if self.workload == Workload::CatchUp {
            self.fill(target, subject, told)?;
        }
        let (mut before, mut after) = (Around::default(), Around::default());
        let measure =
            load::run(target, self.workload, &self.parameters, &self.timing, &subject.seats, &mut |moment| {
                match moment {
                    Moment::Begun => before = Around::look(subject),
                    Moment::Over => after = Around::look(subject),
                    Moment::Passing { .. } => {}
                }
                told(moment)
            })?;
        if subject.process.is_some() && after.usage.is_none() {
            return Err(io::Error::other("the broker's process ended during the load"));
        }
        Ok(self.row(&measure, &before, &after))
    }

    /// Fills the log that a catch-up reads.
    fn fill(&self, target: &Target, subject: &Subject, told: &mut dyn FnMut(Moment) -> bool) -> io::Result<()> {
        let parameters =
            Parameters { mode: Mode::Saturate, in_flight: 2, acks: "all".to_owned(), ..self.parameters.clone() };
        let timing =
            Timing { warm_up: Duration::ZERO, warm_up_bytes: self.fill_bytes, window: Duration::from_millis(1) };
        let measure = load::run(target, Workload::Produce, &parameters, &timing, &subject.seats, told)?;
        match measure.errors.iter().next() {
            Some((name, count)) => Err(io::Error::other(format!("filling the log: {name}, {count} times"))),
            None => Ok(()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures of less than 2^53")]
    fn row(&self, measure: &Measure, before: &Around, after: &Around) -> Row {
        let seconds = self.timing.window.as_secs_f64();
        let alone = self.workload == Workload::CatchUp;
        let bytes = if alone { measure.fetched_bytes } else { measure.bytes };
        let records = if alone { measure.fetched_records } else { measure.records };
        let moved = if alone { bytes } else { bytes + measure.fetched_bytes };
        let server = before.usage.zip(after.usage).map(|(before, after)| cost(before, after, moved, measure, seconds));
        let mb_per_second = |bytes: u64| bytes as f64 / 1e6 / seconds;
        let consumes = self.workload != Workload::Produce;
        Row {
            name: self.name.clone(),
            question: self.question.clone(),
            workload: self.workload,
            broker: 0,
            parameters: Parameters { batch_bytes: self.batch_bytes(), ..self.parameters.clone() },
            warm_up_seconds: self.timing.warm_up.as_secs_f64(),
            seconds,
            offered_per_second: self.parameters.rate_per_second.filter(|_| self.parameters.mode == Mode::Rate),
            requests: measure.requests,
            records,
            bytes,
            requests_per_second: measure.requests as f64 / seconds,
            records_per_second: records as f64 / seconds,
            mb_per_second: mb_per_second(bytes),
            fetched_bytes: consumes.then_some(measure.fetched_bytes),
            fetched_mb_per_second: consumes.then(|| mb_per_second(measure.fetched_bytes)),
            latency: Latencies {
                acknowledgement: Latency::of(&measure.acknowledgement),
                service: Latency::of(&measure.service),
                end_to_end: Latency::of(&measure.end_to_end),
                fetch: Latency::of(&measure.fetch).filter(|_| alone),
            },
            errors: measure.errors.clone(),
            server,
            generator: self.generator(measure, server.as_ref()),
            stages: stages(before, after),
            series: series(measure),
            floor_share: None,
            steal_share: before.ticks.zip(after.ticks).map(|(before, after)| {
                after.0.saturating_sub(before.0) as f64 / after.1.saturating_sub(before.1).max(1) as f64
            }),
        }
    }

    fn batch_bytes(&self) -> usize {
        self.parameters.batch_shape(0).map_or(1, |shape| super::wire::batch_of(&shape).len())
    }

    /// Whether the load, not the broker, was the limit, as far as can be told from here.
    fn generator(&self, measure: &Measure, server: Option<&ServerCost>) -> GeneratorCost {
        let cpu_share = measure.busy.as_secs_f64() / measure.wall.as_secs_f64().max(1e-9);
        let lag = Latency::of(&measure.lag);
        let latency = Latency::of(&measure.end_to_end).or_else(|| Latency::of(&measure.acknowledgement));
        let mut note = None;
        if self.parameters.mode == Mode::Saturate {
            let idle_server = server.is_none_or(|server| server.cpu_share < BUSY);
            if cpu_share > BUSY && idle_server {
                let what =
                    if server.is_some() { "and the broker was not" } else { "and the broker cannot be seen from here" };
                note = Some(format!("the load's threads were busy all the time, {what}: the figure is the load's"));
            }
        } else if let Some((lag, latency)) = lag.as_ref().zip(latency)
            && lag.p99 > latency.p99 / 4.0
            && lag.p99 > 0.1
        {
            note = Some(format!(
                "the load began 1 % of its requests more than {:.2} ms late: part of the latency is its own",
                lag.p99
            ));
        }
        GeneratorCost { cpu_share, lag, bottleneck: note.is_some(), note }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures of less than 2^53")]
fn cost(before: Usage, after: Usage, moved: u64, measure: &Measure, seconds: f64) -> ServerCost {
    let cpu_seconds = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    ServerCost {
        cpu_seconds,
        cpu_seconds_per_gb: cpu_seconds / (moved.max(1) as f64 / 1e9),
        cpu_us_per_request: cpu_seconds * 1e6 / measure.requests.max(1) as f64,
        cpu_share: cpu_seconds / seconds,
        resident_bytes: after.resident_bytes,
        written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
    }
}

fn stages(before: &Around, after: &Around) -> Vec<Stage> {
    let figures = before.scrape.as_ref().zip(after.scrape.as_ref()).map(|(before, after)| after.stages_since(before));
    figures.unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "figures of less than 2^53")]
fn series(measure: &Measure) -> Vec<Point> {
    let each = measure.slice().as_secs_f64();
    let points = measure.slices.iter().enumerate().map(|(index, slice)| {
        let at = |quantile| slice.latency.value_at_quantile(quantile) as f64 / 1e3;
        Point {
            second: (index as f64 + 0.5) * each,
            mb_per_second: slice.bytes as f64 / 1e6 / each,
            requests_per_second: slice.requests as f64 / each,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: slice.latency.max() as f64 / 1e3,
        }
    });
    points.collect()
}

/// Busy: as good as all the time.
const BUSY: f64 = 0.95;
