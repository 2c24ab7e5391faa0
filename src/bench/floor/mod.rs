//! The floor's rows: its servers started on the node's cores, driven by the load that drives the node, and reported.
//!
//! [`all`] is every stage at every size, for `ringmain bench floor`. [`for_rows`] is what a report's own rows are a share of:
//! the same load, byte by byte, against the stage that does the same work with no broker; [`share`] says the share. What a
//! server does is said in [`crate::io::floor`].
//!
//! A node of several cores is measured against as many servers, one on each, with the partitions spread over them as a
//! client's would be; so no request hops, and all their files lie on the one disk.

mod echo;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::load::{self, Moment, Seats, Target, Timing};
use super::parameters::{Mode, Parameters, Workload};
use super::report::{FloorRow, FloorShare, Latency, Row};
use super::server::{Server, free_address};
use super::wire;
use crate::io::floor::{Stage, Stats};

/// A row of the floor, before it has run.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// How far the server goes.
    pub stage: Stage,
    /// The load's numbers. Of an echo, connections and the frame's bytes.
    pub parameters: Parameters,
}

/// Where the floor is measured.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// This program, which is the server too.
    pub program: &'a Path,
    /// Where the servers keep their files. Not removed here: the next case goes on with them.
    pub dir: &'a Path,
    /// A server on each; empty: one, wherever the kernel puts it.
    pub cores: &'a [usize],
    /// Cores of the load.
    pub seats: &'a Seats,
    /// How long nothing counts, and how long things do.
    pub warm_up: Duration,
    /// See [`Self::warm_up`].
    pub window: Duration,
}

/// What came of a load, whichever kind it was.
struct Outcome {
    requests: u64,
    bytes: u64,
    latency: Histogram<u64>,
    /// Of the load's threads: 1.0 is all the time.
    busy: f64,
    cpu: Duration,
    errors: Vec<String>,
}

/// Every stage at every size.
#[must_use]
pub fn all() -> Vec<Case> {
    let produce = [Stage::Receive, Stage::Checksum, Stage::Copy, Stage::Write, Stage::Flush];
    let sizes = [one_record(), batches(16), batches(64), large()];
    let mut cases: Vec<Case> = sizes
        .iter()
        .flat_map(|parameters| produce.map(|stage| Case { stage, parameters: parameters.clone() }))
        .collect();
    cases.extend([Stage::Sendfile, Stage::Memory].map(|stage| Case { stage, parameters: fetches() }));
    cases.push(Case { stage: Stage::Echo, parameters: Parameters { batch_bytes: echo::FRAME_BYTES, ..one_record() } });
    cases
}

/// Those that some of a report's rows are a share of, each once.
#[must_use]
pub fn for_rows(rows: &[Row]) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for case in rows.iter().filter_map(Case::of) {
        if !cases.iter().any(|other| other.is_like(&case)) {
            cases.push(case);
        }
    }
    cases
}

/// A row's throughput as a share of the floor's: under the same load where that was measured, else under the usual load of
/// the stage at the nearest size. What a tail gives its consumers is not counted: the share is of what it takes in.
#[must_use]
pub fn share(row: &Row, floor: &[FloorRow]) -> Option<FloorShare> {
    let case = Case::of(row)?;
    let bytes = case.payload_bytes();
    let same = floor.iter().find(|other| other.stage == case.name() && other.batch_bytes == bytes);
    let found = same.or_else(|| nearest(floor, case.stage, bytes))?;
    let share = if bytes < SMALL_BYTES {
        // Of requests that carry next to nothing the number counts, of others the bytes.
        row.requests_per_second / found.requests_per_second
    } else {
        row.mb_per_second / found.mb_per_second
    };
    share.is_finite().then(|| FloorShare { stage: found.stage.clone(), share })
}

/// A size that the floor was not measured at is no yardstick.
#[expect(clippy::cast_precision_loss, reason = "sizes of less than 2^53")]
fn nearest(floor: &[FloorRow], stage: Stage, bytes: usize) -> Option<&FloorRow> {
    let far = |other: &FloorRow| (other.batch_bytes.max(1) as f64 / bytes.max(1) as f64).ln().abs();
    let near = floor.iter().filter(|other| other.stage == stage.name() && far(other) < 1.0);
    near.min_by(|one, other| far(one).total_cmp(&far(other)))
}

impl Case {
    /// What a row is a share of. A stage answers requests of one partition alone, and waits for its own answers.
    fn of(row: &Row) -> Option<Self> {
        let numbers = &row.parameters;
        let stage = match (row.workload, numbers.acks_code()) {
            (Workload::Produce | Workload::Tail, Ok(-1)) => Stage::Flush,
            (Workload::Produce | Workload::Tail, Ok(1)) => Stage::Write,
            (Workload::CatchUp, _) => Stage::Sendfile,
            _ => return None,
        };
        let answered = numbers.partitions_per_request == 1 && numbers.mode == Mode::Saturate;
        let case = Self { stage, parameters: numbers.clone() };
        (answered && case.payload_bytes() <= PAYLOAD_BYTES_MAX).then_some(case)
    }

    /// Whether the floor cannot tell the two apart: it has no partitions.
    fn is_like(&self, other: &Self) -> bool {
        self.name() == other.name() && self.payload_bytes() == other.payload_bytes()
    }

    /// The stage; where its load is not the usual one for its size, how many connections and requests.
    #[must_use]
    pub fn name(&self) -> String {
        let numbers = &self.parameters;
        let load = (numbers.connections, if self.reads() { 1 } else { numbers.in_flight });
        let usual = match self.payload_bytes() {
            _ if self.reads() => (4, 1),
            ..SMALL_BYTES => (64, 1),
            SMALL_BYTES..LARGE_BYTES => (8, 2),
            _ => (4, 1),
        };
        let stage = self.stage.name();
        if load == usual { stage.to_owned() } else { format!("{stage}, {} x {}", load.0, load.1) }
    }

    fn reads(&self) -> bool {
        matches!(self.stage, Stage::Sendfile | Stage::Memory)
    }

    /// Whether its batches are of one of these sizes, such as `16k`; whatever is no produce has none and is not asked.
    #[must_use]
    pub fn is_of(&self, sizes: &[String]) -> bool {
        let size = match self.payload_bytes() {
            ..SMALL_BYTES => "one-record".to_owned(),
            bytes if bytes < LARGE_BYTES => format!("{}k", bytes >> 10),
            bytes => format!("{:.0}m", bytes as f64 / f64::from(1 << 20)),
        };
        sizes.is_empty() || self.reads() || self.stage == Stage::Echo || sizes.contains(&size)
    }

    /// Bytes of each batch, of each Fetch, or of each frame that is echoed.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self.stage {
            Stage::Sendfile | Stage::Memory => usize::try_from(self.parameters.fetch_bytes).unwrap_or(0),
            Stage::Echo => echo::FRAME_BYTES,
            _ => self.parameters.batch_shape(0).map_or(0, |shape| wire::batch_of(&shape).len()),
        }
    }

    /// Starts the servers, runs the load, stops them. `told` hears of time passing; where it answers `false`, the case is
    /// given up.
    ///
    /// # Errors
    /// Where a server does not begin, or ends; what [`load::run`] says.
    pub fn run(&self, place: &Place<'_>, told: &mut dyn FnMut() -> bool) -> io::Result<FloorRow> {
        fs::create_dir_all(place.dir)?;
        let count = place.cores.len().max(1);
        let servers = (0..count).map(|index| self.start(place, index)).collect::<io::Result<Vec<_>>>()?;
        let outcome = match self.stage {
            Stage::Echo => echo::run(&servers, self.parameters.connections, place, told),
            _ => self.drive(&servers, place, told),
        };
        let mut stats = Stats::default();
        for (index, server) in servers.into_iter().enumerate() {
            server.stop()?;
            if let Some(own) = stats_in(&log_path(place, index)) {
                stats.requests += own.requests;
                stats.windows += own.windows;
                stats.flushes += own.flushes;
                stats.turnovers += own.turnovers;
            }
        }
        let outcome = outcome?;
        match outcome.errors.first() {
            Some(error) => Err(io::Error::other(format!("the floor answered with {error}"))),
            None => Ok(self.row(&outcome, place, &stats)),
        }
    }

    fn start(&self, place: &Place<'_>, index: usize) -> io::Result<Server> {
        let address = free_address()?;
        let mut command = Command::new(place.program);
        command.args(["bench", "floor-server", "--stage", self.stage.name(), "--port", &address.port().to_string()]);
        let segment_bytes = if self.payload_bytes() < SMALL_BYTES { SMALL_SEGMENT_BYTES } else { SEGMENT_BYTES };
        command.args(["--segment-bytes", &segment_bytes.to_string()]);
        command.arg("--data").arg(place.dir.join(format!("server-{index}-{segment_bytes}")));
        let core = place.cores.get(index).map(std::slice::from_ref).unwrap_or_default();
        Server::start(command, address, core, &log_path(place, index))
    }

    fn drive(&self, servers: &[Server], place: &Place<'_>, told: &mut dyn FnMut() -> bool) -> io::Result<Outcome> {
        let (workload, parameters) = self.load(servers.len());
        let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
        let leaders = addresses.iter().map(ToString::to_string).cycle();
        let count = usize::try_from(parameters.partitions).unwrap_or(1);
        let target = Target { topic: "floor".to_owned(), leaders: leaders.take(count).collect() };
        let timing = Timing { warm_up: place.warm_up, warm_up_bytes: 0, window: place.window };
        let (mut before, mut after) = (None, None);
        let measure = load::run(&target, workload, &parameters, &timing, place.seats, &mut |moment| {
            match moment {
                Moment::Begun => before = cpu(servers).ok(),
                Moment::Over => after = cpu(servers).ok(),
                Moment::Passing { .. } => {}
            }
            told()
        })?;
        let cpu = before.zip(after).map(|(before, after)| after.saturating_sub(before));
        let cpu = cpu.ok_or_else(|| io::Error::other("a server of the floor ended during the load"))?;
        let reads = self.reads();
        Ok(Outcome {
            requests: measure.requests,
            bytes: if reads { measure.fetched_bytes } else { measure.bytes },
            latency: if reads { measure.fetch } else { measure.acknowledgement },
            busy: measure.busy.as_secs_f64() / measure.wall.as_secs_f64().max(1e-9),
            cpu,
            errors: measure.errors.into_keys().collect(),
        })
    }

    /// What the engine is told. The floor has no partitions, but each server must lead one.
    fn load(&self, servers: usize) -> (Workload, Parameters) {
        let workload = if self.reads() { Workload::CatchUp } else { Workload::Produce };
        let partitions = i32::try_from(servers).unwrap_or(1).max(self.parameters.partitions.min(PARTITIONS_MAX));
        (workload, Parameters { partitions, ..self.parameters.clone() })
    }

    #[expect(clippy::cast_precision_loss, reason = "figures of less than 2^53")]
    fn row(&self, outcome: &Outcome, place: &Place<'_>, stats: &Stats) -> FloorRow {
        let (seconds, cpu_seconds) = (place.window.as_secs_f64(), outcome.cpu.as_secs_f64());
        let servers = place.cores.len().max(1);
        let mut notes = Vec::new();
        if outcome.busy > BUSY && cpu_seconds / seconds < BUSY * servers as f64 {
            notes.push("the load was the limit".to_owned());
        }
        if servers > 1 {
            notes.push(format!("{servers} servers"));
        }
        if self.stage.writes() {
            let each = |count: u64| count as f64 / stats.windows.max(1) as f64;
            notes.push(format!("{:.1} requests and {:.2} flushes a window", each(stats.requests), each(stats.flushes)));
            notes.push(format!("segments begun again: {}", stats.turnovers));
        }
        FloorRow {
            stage: self.name(),
            batch_bytes: self.payload_bytes(),
            seconds,
            requests_per_second: outcome.requests as f64 / seconds,
            mb_per_second: outcome.bytes as f64 / 1e6 / seconds,
            cpu_seconds_per_gb: cpu_seconds / (outcome.bytes.max(1) as f64 / 1e9),
            cpu_us_per_request: cpu_seconds * 1e6 / outcome.requests.max(1) as f64,
            latency: Latency::of(&outcome.latency),
            note: (!notes.is_empty()).then(|| notes.join(", ")),
        }
    }
}

/// Processor time of all servers so far.
fn cpu(servers: &[Server]) -> io::Result<Duration> {
    servers.iter().map(|server| server.process().usage().map(|usage| usage.cpu)).sum()
}

fn log_path(place: &Place<'_>, index: usize) -> std::path::PathBuf {
    place.dir.join(format!("server-{index}.log"))
}

/// What a server said at its end.
fn stats_in(log: &Path) -> Option<Stats> {
    serde_json::from_str(fs::read_to_string(log).ok()?.lines().last()?).ok()
}

fn one_record() -> Parameters {
    Parameters { record_bytes: 100, records_per_batch: 1, connections: 64, in_flight: 1, ..Parameters::default() }
}

fn batches(records: usize) -> Parameters {
    Parameters { records_per_batch: records, ..Parameters::default() }
}

fn large() -> Parameters {
    Parameters { connections: 4, in_flight: 1, partitions: 4, ..batches(1000) }
}

fn fetches() -> Parameters {
    Parameters { connections: 4, partitions: 4, ..Parameters::default() }
}

/// Below it a batch is small, and its load usually of many connections; from the other on it is large, and that of few.
const SMALL_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 512 << 10;

/// Segments, of which a server has four. Small batches need small ones to go round them in seconds.
const SEGMENT_BYTES: u64 = 64 << 20;
const SMALL_SEGMENT_BYTES: u64 = 8 << 20;

/// The servers take frames of 8 MiB.
const PAYLOAD_BYTES_MAX: usize = (8 << 20) - 1024;

/// More of them make no difference to the floor, and time to make their requests.
const PARTITIONS_MAX: i32 = 10;

/// Busy: as good as all the time.
const BUSY: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{GeneratorCost, Latencies};

    fn row(workload: Workload, parameters: Parameters, mb_per_second: f64) -> Row {
        Row {
            name: String::new(),
            question: String::new(),
            workload,
            broker: 0,
            parameters,
            warm_up_seconds: 0.0,
            seconds: 1.0,
            offered_per_second: None,
            requests: 0,
            records: 0,
            bytes: 0,
            requests_per_second: 0.0,
            records_per_second: 0.0,
            mb_per_second,
            fetched_bytes: None,
            fetched_mb_per_second: None,
            latency: Latencies::default(),
            errors: std::collections::BTreeMap::new(),
            server: None,
            generator: GeneratorCost::default(),
            stages: Vec::new(),
            series: Vec::new(),
            floor_share: None,
            steal_share: None,
        }
    }

    fn floor_row(case: &Case, mb_per_second: f64) -> FloorRow {
        FloorRow {
            stage: case.name(),
            batch_bytes: case.payload_bytes(),
            seconds: 1.0,
            requests_per_second: 0.0,
            mb_per_second,
            cpu_seconds_per_gb: 0.0,
            cpu_us_per_request: 0.0,
            latency: None,
            note: None,
        }
    }

    #[test]
    fn every_case_has_its_own_name_and_size_and_can_be_run() {
        let cases = all();
        for (index, case) in cases.iter().enumerate() {
            let (workload, parameters) = case.load(3);
            parameters.check(workload).expect("numbers within their bounds");
            assert!(parameters.partitions >= 3, "each server leads one");
            assert_eq!(case.name(), case.stage.name(), "the usual load");
            assert!(!cases[..index].iter().any(|other| other.is_like(case)));
        }
        assert!(Stage::ALL.iter().all(|stage| cases.iter().any(|case| case.stage == *stage)));
    }

    #[test]
    fn a_row_is_a_share_of_the_stage_that_does_its_work() {
        let usual = Parameters::default();
        let stage =
            |workload, parameters: Parameters| Case::of(&row(workload, parameters, 1.0)).map(|case| case.name());
        let named = |text: &str| Some(text.to_owned());
        assert_eq!(stage(Workload::Produce, usual.clone()), named("flush"));
        assert_eq!(stage(Workload::Produce, Parameters { acks: "1".to_owned(), ..usual.clone() }), named("write"));
        assert_eq!(stage(Workload::Produce, Parameters { connections: 50, ..usual.clone() }), named("flush, 50 x 2"));
        assert_eq!(stage(Workload::CatchUp, fetches()), named("sendfile"));
        assert_eq!(stage(Workload::Produce, Parameters { acks: "0".to_owned(), ..usual.clone() }), None);
        assert_eq!(stage(Workload::Produce, Parameters { partitions_per_request: 2, ..usual.clone() }), None);
        assert_eq!(stage(Workload::Produce, Parameters { mode: Mode::Rate, ..usual.clone() }), None);
        assert_eq!(stage(Workload::Produce, batches(10_000)), None, "longer than the floor takes");
        assert_eq!(stage(Workload::Tail, usual.clone()), named("flush"));
        assert_eq!(stage(Workload::EndToEnd, usual), None);
    }

    #[test]
    fn rows_of_one_load_share_a_case_and_get_their_shares() {
        let rows = [
            row(Workload::Produce, batches(64), 500.0),
            row(Workload::Produce, Parameters { partitions: 1, ..batches(64) }, 400.0),
            row(Workload::Produce, batches(16), 300.0),
            row(Workload::EndToEnd, batches(16), 300.0),
        ];
        let cases = for_rows(&rows);
        assert_eq!(cases.len(), 2);
        let floor = [floor_row(&cases[0], 1000.0), floor_row(&cases[1], 600.0)];
        let shares: Vec<_> = rows.iter().map(|row| share(row, &floor).map(|share| share.share)).collect();
        assert_eq!(shares, [Some(0.5), Some(0.4), Some(0.5), None]);
        assert_eq!(share(&rows[0], &[]), None);
        // The nearest size, where the same was not measured; but not any.
        let near = row(Workload::Produce, Parameters { connections: 3, ..batches(50) }, 500.0);
        assert_eq!(share(&near, &floor).map(|share| share.share), Some(0.5));
        assert_eq!(share(&row(Workload::Produce, batches(1000), 500.0), &floor), None);
    }
}
