//! What a benchmark found: one JSON object, which is also all that the HTML report is made of.
//!
//! Written by `cli::bench` and by `scripts/compare`, read again by `ringmain bench report`. MB is 10^6 bytes and GB 10^9;
//! latencies are milliseconds; sizes are bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

use super::host::Host;
use super::parameters::{Parameters, Workload};

/// The whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// One line.
    pub title: String,
    /// Version of this program.
    pub tool_version: String,
    /// The command line.
    pub command: Vec<String>,
    /// When it began (RFC 3339).
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// The machine.
    pub host: Host,
    /// What was measured.
    pub brokers: Vec<Broker>,
    /// Where the load ran.
    pub load: LoadPlace,
    /// One for each load.
    pub rows: Vec<Row>,
    /// What the machine does without a broker.
    #[serde(default)]
    pub floor: Vec<FloorRow>,
    /// Pairs of brokers, builds or settings.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// What the reader should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The version of this format.
pub const SCHEMA: &str = "ringmain-bench/1";

/// A broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// What it is called in tables.
    pub name: String,
    /// Its version, where it is known.
    pub version: Option<String>,
    /// Its bootstrap address.
    pub address: String,
    /// Its process, where it runs here.
    pub pid: Option<u32>,
    /// The cores it may run on.
    pub cores: Option<String>,
    /// How it was set up, as far as the measurer knows.
    pub settings: Vec<String>,
}

/// Where the load ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPlace {
    /// Its cores, where it was pinned.
    pub cores: Option<String>,
    /// Its threads.
    pub threads: usize,
}

/// One load and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The question that it answers.
    pub question: String,
    /// What the load does.
    pub workload: Workload,
    /// Which of the report's brokers.
    pub broker: usize,
    /// The load's numbers.
    pub parameters: Parameters,
    /// How long nothing counted.
    pub warm_up_seconds: f64,
    /// How long things counted.
    pub seconds: f64,
    /// Requests a second that were meant to be sent.
    pub offered_per_second: Option<f64>,
    /// Requests answered.
    pub requests: u64,
    /// Records acknowledged, or fetched in a catch-up.
    pub records: u64,
    /// Bytes of batches acknowledged, or fetched in a catch-up.
    pub bytes: u64,
    /// Requests answered, a second.
    pub requests_per_second: f64,
    /// Records, a second.
    pub records_per_second: f64,
    /// 10^6 bytes a second.
    pub mb_per_second: f64,
    /// Bytes of batches fetched, of all consumers together.
    pub fetched_bytes: Option<u64>,
    /// The same a second, in 10^6.
    pub fetched_mb_per_second: Option<f64>,
    /// Latencies.
    pub latency: Latencies,
    /// What went wrong, by name.
    pub errors: BTreeMap<String, u64>,
    /// What it cost the broker, where it runs here.
    pub server: Option<ServerCost>,
    /// What it cost the load.
    pub generator: GeneratorCost,
    /// Where requests spent their time in the node.
    pub stages: Vec<Stage>,
    /// The window in slices.
    pub series: Vec<Point>,
    /// Share of the floor.
    pub floor_share: Option<FloorShare>,
    /// Share of all processors' time that the hypervisor took.
    pub steal_share: Option<f64>,
}

/// The latencies of a row: those that it has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// From when a Produce was due or sent to its answer.
    pub acknowledgement: Option<Latency>,
    /// Of an open loop, from when a Produce was handed to its socket to its answer: what a client library counts, not what its
    /// user waits, since the wait before that is left out (Tene's service time, where `acknowledgement` is the response time).
    #[serde(default)]
    pub service: Option<Latency>,
    /// From when a Produce was due or sent until its records were fetched.
    pub end_to_end: Option<Latency>,
    /// From a Fetch to its answer, in a catch-up.
    pub fetch: Option<Latency>,
}

/// A distribution, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "percentiles are named by themselves")]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
    pub mean: f64,
    /// (quantile, milliseconds), to draw it.
    pub curve: Vec<(f64, f64)>,
    /// The histogram itself: HdrHistogram's V2 format in base64, in microseconds.
    pub histogram: String,
}

/// What a row cost the broker's process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// Processor time.
    pub cpu_seconds: f64,
    /// For each 10^9 bytes acknowledged and fetched.
    pub cpu_seconds_per_gb: f64,
    /// For each request answered.
    pub cpu_us_per_request: f64,
    /// 1.0 is one core.
    pub cpu_share: f64,
    /// At the window's end.
    pub resident_bytes: u64,
    /// To storage.
    pub written_bytes: u64,
}

/// What a row cost the load itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GeneratorCost {
    /// 1.0: its threads never waited.
    pub cpu_share: f64,
    /// How late it began requests that were due.
    pub lag: Option<Latency>,
    /// Whether the load, not the broker, was what ended the row's growth.
    pub bottleneck: bool,
    /// In words.
    pub note: Option<String>,
}

/// Where requests spent their time in the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "percentiles are named by themselves")]
pub struct Stage {
    pub stage: String,
    pub count: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// A slice of a row's window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its middle, in seconds after the window's beginning.
    pub second: f64,
    /// Answered in it.
    pub mb_per_second: f64,
    /// Answered in it.
    pub requests_per_second: f64,
    /// Of what was due in it.
    pub p50_ms: f64,
    /// Of what was due in it.
    pub p99_ms: f64,
    /// Of what was due in it.
    pub max_ms: f64,
}

/// A row's figure as a share of what the machine does without a broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloorShare {
    /// Which stage of the floor does the same work.
    pub stage: String,
    /// Of its throughput.
    pub share: f64,
}

/// A stage of the floor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FloorRow {
    /// Its name.
    pub stage: String,
    /// Bytes of each batch, or of each Fetch.
    pub batch_bytes: usize,
    /// How long things counted.
    pub seconds: f64,
    /// Requests answered, a second.
    pub requests_per_second: f64,
    /// Payload, in 10^6 bytes a second.
    pub mb_per_second: f64,
    /// Of the floor's process.
    pub cpu_seconds_per_gb: f64,
    /// Of the floor's process.
    pub cpu_us_per_request: f64,
    /// From a request to its answer, closed loop.
    pub latency: Option<Latency>,
    /// What the reader should know.
    pub note: Option<String>,
}

/// Two things measured in turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The row.
    pub row: String,
    /// The figure.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// "higher" or "lower".
    pub better: String,
    /// What is compared with.
    pub base: String,
    /// What is compared.
    pub head: String,
    /// Median of its runs.
    pub base_median: f64,
    /// Median of its runs.
    pub head_median: f64,
    /// Median of the pairs' ratios, head to base.
    pub ratio: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
    /// How many pairs.
    pub pairs: usize,
    /// The interval that each side against itself gave in the same run.
    pub control: Option<(f64, f64)>,
    /// How much worse is too much, as a share.
    pub bound: Option<f64>,
    /// What follows.
    pub verdict: Option<Verdict>,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No worse than the bound allows, as far as can be told.
    Same,
    /// The whole interval is better than 1.
    Better,
    /// The whole interval is worse than the bound.
    Worse,
    /// The machine was too noisy to tell.
    Inconclusive,
}

impl Latency {
    /// Of a histogram in microseconds; `None` of an empty one.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        let mut curve: Vec<(f64, f64)> = Vec::new();
        for value in histogram.iter_quantiles(4) {
            let point = (value.quantile_iterated_to(), ms(value.value_iterated_to()));
            if curve.last() != Some(&point) {
                curve.push(point);
            }
        }
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(histogram, &mut bytes).expect("a vector takes all of it");
        Some(Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: ms(histogram.max()),
            mean: histogram.mean() / 1e3,
            curve,
            histogram: base64::engine::general_purpose::STANDARD.encode(bytes),
        })
    }
}

impl Report {
    /// The report as one HTML file that needs nothing else.
    ///
    /// # Panics
    /// Never: its types have string keys.
    #[must_use]
    pub fn html(&self) -> String {
        let json = serde_json::to_string(self).expect("string keys");
        // Inside a script element these end it, or a line of it.
        let safe = json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        TEMPLATE.replacen(PLACE, &safe, 1)
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of less than 2^53")]
fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// The page; its script draws everything from the JSON that takes [`PLACE`].
const TEMPLATE: &str = include_str!("report.html");
const PLACE: &str = "/*RINGMAIN-REPORT*/null";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_cannot_end_its_script() {
        let report = Report { title: "</script><b>\u{2028}".to_owned(), ..Report::default() };
        let html = report.html();
        assert!(html.contains("\\u003c/script>\\u003cb>\\u2028"));
        assert!(!html.contains("</script><b>"));
        assert!(!html.contains(PLACE));
    }

    #[test]
    fn a_histogram_survives_the_report() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).expect("bounds");
        (1..=100_000).for_each(|us| histogram.record(us).expect("inside"));
        let latency = Latency::of(&histogram).expect("not empty");
        assert!((latency.p50 - 50.0).abs() < 0.1 && (latency.p999 - 99.9).abs() < 0.2, "{latency:?}");
        let bytes = base64::engine::general_purpose::STANDARD.decode(&latency.histogram).expect("base64");
        let back: Histogram<u64> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut bytes.as_slice()).expect("V2");
        assert_eq!(back, histogram);
        assert!(latency.curve.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        assert!(Latency::of(&Histogram::<u64>::new(2).expect("bounds")).is_none());
    }
}
