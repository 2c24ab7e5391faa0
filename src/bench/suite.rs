//! The named rows: each a question that somebody asks of a log, with the numbers that answer it.
//!
//! The rows are those that the field was criticised for leaving out as much as those that it shows: many producers, keys,
//! many partitions, single records, consumers far behind, latency at a rate that the broker can hold.

use std::time::Duration;

use super::load::Timing;
use super::parameters::{Mode, Parameters, Workload};
use super::row::Plan;

/// A row of a suite, before it is known how fast the broker is.
#[derive(Clone, Debug)]
pub struct Step {
    /// The row.
    pub plan: Plan,
    /// Takes this share of another row's requests a second as its rate.
    pub rate_of: Option<(&'static str, f64)>,
}

/// How much time a suite takes for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Nothing counts before.
    pub warm_up: Duration,
    /// How long things count.
    pub window: Duration,
    /// Segments that each partition fills before things count, so that they are recycled ones.
    pub turnovers: u64,
    /// Partitions of the row that asks for many.
    pub many_partitions: i32,
    /// Bytes that a catch-up reads.
    pub fill_bytes: u64,
    /// Whether the rows that only `full` has are there.
    pub all: bool,
}

impl Size {
    /// Under two minutes with the floor.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            window: Duration::from_secs(4),
            turnovers: 3,
            many_partitions: 1_000,
            fill_bytes: 1 << 30,
            all: false,
        }
    }

    /// Twenty seconds a row, ten thousand partitions.
    #[must_use]
    pub fn full() -> Self {
        Self {
            warm_up: Duration::from_secs(3),
            window: Duration::from_secs(20),
            turnovers: 5,
            many_partitions: 10_000,
            fill_bytes: 4 << 30,
            all: true,
        }
    }

    /// To see that it works: its figures mean nothing.
    #[must_use]
    pub fn smoke() -> Self {
        Self {
            warm_up: Duration::from_millis(100),
            window: Duration::from_millis(500),
            turnovers: 0,
            many_partitions: 20,
            fill_bytes: 8 << 20,
            all: true,
        }
    }
}

/// The row of which others take their rate.
pub const BEST: &str = "produce-64k";

/// The rows, in their order. `recycle`: topics keep two small segments, so that what is measured is the steady state.
#[must_use]
pub fn steps(size: &Size, recycle: bool) -> Vec<Step> {
    let maker = Maker { size, recycle };
    let mut steps = maker.batches();
    steps.extend(maker.small());
    steps.push(maker.tail());
    steps.push(maker.half_rate());
    steps.push(maker.end_to_end());
    steps.push(maker.catch_up());
    steps
}

fn one_record(connections: usize, in_flight: usize, partitions: i32) -> Parameters {
    Parameters { record_bytes: 100, records_per_batch: 1, partitions, connections, in_flight, ..Parameters::default() }
}

struct Maker<'a> {
    size: &'a Size,
    recycle: bool,
}

impl Maker<'_> {
    fn step(&self, name: &str, question: &str, workload: Workload, parameters: Parameters) -> Step {
        let mut configs = vec![("retention.ms".to_owned(), "-1".to_owned())];
        let partitions = u64::try_from(parameters.partitions).unwrap_or(1);
        // With many partitions not even the first segment fills.
        let recycles = self.recycle && workload != Workload::CatchUp && partitions <= 100;
        if recycles {
            configs.extend([
                ("segment.bytes".to_owned(), SEGMENT_BYTES.to_string()),
                ("retention.bytes".to_owned(), SEGMENT_BYTES.to_string()),
            ]);
        }
        let batch_bytes = (parameters.record_bytes * parameters.records_per_batch) as u64;
        // Small records never fill segments in the time there is.
        let fills = recycles && parameters.mode == Mode::Saturate && batch_bytes >= 8 << 10;
        let warm_up_bytes = if fills { self.size.turnovers * SEGMENT_BYTES * partitions } else { 0 };
        let plan = Plan {
            name: name.to_owned(),
            question: question.to_owned(),
            workload,
            parameters,
            timing: Timing { warm_up: self.size.warm_up, warm_up_bytes, window: self.size.window },
            configs,
            fill_bytes: self.size.fill_bytes,
        };
        Step { plan, rate_of: None }
    }

    fn produce(&self, name: &str, question: &str, parameters: Parameters) -> Step {
        self.step(name, question, Workload::Produce, parameters)
    }

    /// Large batches, the best first: other rows take their rates from it.
    fn batches(&self) -> Vec<Step> {
        let usual = Parameters::default;
        let mut steps = vec![
            self.produce(
                BEST,
                "How much does it take in, in batches of 64 KiB, each durable before it is answered?",
                usual(),
            ),
            self.produce("produce-16k", "And in batches of 16 KiB?", Parameters { records_per_batch: 16, ..usual() }),
        ];
        if self.size.all {
            let large = Parameters { records_per_batch: 1000, partitions: 4, connections: 4, in_flight: 1, ..usual() };
            let compressed = Parameters { codec: "lz4".to_owned(), ..usual() };
            steps.extend([
                self.produce("produce-1m", "And in batches of 1 MiB?", large),
                self.produce("produce-lz4", "Does it matter that batches are compressed?", compressed),
                self.produce(
                    "produce-acks-1",
                    "What does waiting for the flush cost?",
                    Parameters { acks: "1".to_owned(), ..usual() },
                ),
                self.produce(
                    "produce-one-partition",
                    "What does one partition take?",
                    Parameters { partitions: 1, ..usual() },
                ),
            ]);
        }
        steps
    }

    /// Many of something, each small.
    fn small(&self) -> Vec<Step> {
        vec![
            self.produce(
                "small",
                "How many requests of one record of 100 bytes, from 64 connections that wait for each answer?",
                one_record(64, 1, 10),
            ),
            self.produce(
                "many-producers",
                "What do 50 producers get, with batches of 16 KiB?",
                Parameters { records_per_batch: 16, connections: 50, in_flight: 1, ..Parameters::default() },
            ),
            self.produce(
                "keyed",
                "And when keys scatter the records, so that each request has ten batches of eight records?",
                Parameters {
                    record_bytes: 200,
                    records_per_batch: 8,
                    partitions: 20,
                    partitions_per_request: 10,
                    connections: 16,
                    keyed: true,
                    ..Parameters::default()
                },
            ),
            self.produce(
                "many-partitions",
                "What do many partitions cost, each written in turn?",
                one_record(64, 4, self.size.many_partitions),
            ),
        ]
    }

    fn half_rate(&self) -> Step {
        let step = self.produce(
            "half-rate",
            "How long does an acknowledgement take at half the best rate, from when each request was due?",
            Parameters { mode: Mode::Rate, ..Parameters::default() },
        );
        Step { rate_of: Some((BEST, 0.5)), ..step }
    }

    fn tail(&self) -> Step {
        self.step(
            "tail",
            "How much goes through, in and out, with three consumers at the end of the log?",
            Workload::Tail,
            Parameters { consumers: 3, ..Parameters::default() },
        )
    }

    fn end_to_end(&self) -> Step {
        let parameters = Parameters {
            mode: Mode::Rate,
            rate_per_second: Some(2_000.0),
            records_per_batch: 1,
            partitions: 1,
            connections: 1,
            consumers: 1,
            ..Parameters::default()
        };
        self.step(
            "end-to-end",
            "How old is a record of 1 KiB when its consumer has it, at 2,000 a second, durable in between?",
            Workload::EndToEnd,
            parameters,
        )
    }

    fn catch_up(&self) -> Step {
        self.step(
            "catch-up",
            "How fast does a consumer that is far behind read?",
            Workload::CatchUp,
            Parameters { partitions: 4, connections: 4, ..Parameters::default() },
        )
    }
}

/// A few of them are a few gigabytes for ten partitions, and fill in a second or two.
const SEGMENT_BYTES: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_run_and_has_its_own_name() {
        let steps = steps(&Size::full(), true);
        let mut names: Vec<&str> = steps.iter().map(|step| step.plan.name.as_str()).collect();
        for step in &steps {
            let mut parameters = step.plan.parameters.clone();
            if let Some((of, _)) = step.rate_of {
                assert_eq!(of, steps[0].plan.name, "the row whose rate is taken comes first");
                parameters.rate_per_second = Some(1.0);
            }
            parameters.check(step.plan.workload).expect("numbers within their bounds");
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
