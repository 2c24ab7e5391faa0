//! A node's figures as text, for Prometheus and for whoever reads it by eye: exposition format 0.0.4.
//!
//! Called by the thread of `io::http`, for every request anew; reads what the shards have written down and asks them
//! nothing. `bench::metrics` is its reader on our side.
//!
//! **Histograms** show the buckets that hold something on any shard, and +Inf, with bounds that are an eighth apart at the
//! most ([`histogram`](crate::handlers::figures::histogram)): what is left out holds nothing, so that counts up to a bound
//! are right with or without it. All shards show the same bounds, which may be summed.

use std::fmt::{self, Display, Write as _};

use super::status::{Gauges, Phase, ShardStatus, Status};
use crate::handlers::figures::histogram::Counts;
use crate::handlers::figures::{Figures, Kind, Stage};
use crate::io::http::{self, Answer};
use crate::io::stats::Totals;
use crate::io::tally::Tally;
use crate::io::{copy, machine, stats};
use crate::protocol::ApiKey;

/// What an HTTP request for a path is answered with.
#[must_use]
pub fn answer(status: &Status, path: &str) -> Answer {
    match path {
        "/metrics" => Answer { status: http::Status::Ok, content_type: CONTENT_TYPE, body: text(status).into_bytes() },
        "/healthz" => match status.phase() {
            Phase::Serving => Answer::text(http::Status::Ok, "serving\n"),
            Phase::Starting => Answer::text(http::Status::ServiceUnavailable, "starting\n"),
            Phase::Stopping => Answer::text(http::Status::ServiceUnavailable, "stopping\n"),
        },
        _ => Answer::text(http::Status::NotFound, "here are /metrics and /healthz\n"),
    }
}

/// All metrics.
fn text(status: &Status) -> String {
    let mut text = Text::default();
    text.one("ringmain_build_info", "gauge", "The program, always 1.", BUILD, 1);
    requests(&mut text, status.shards());
    rings(&mut text, &stats::shards());
    let (name, about) = ("ringmain_copied_record_bytes_total", "Record bytes copied into buffers of logs.");
    text.one(name, "counter", about, "", copy::copied_bytes());
    let (name, about) = ("ringmain_journaled_bytes_total", "Bytes of block tails copied into journals.");
    text.one(name, "counter", about, "", copy::journaled_bytes());
    gauges(&mut text, status);
    process(&mut text);
    text.0
}

fn requests(text: &mut Text, shards: &[ShardStatus]) {
    let name = "ringmain_requests_total";
    text.family(name, "counter", "Requests that have come, by API.");
    for (shard, ShardStatus { figures, .. }) in shards.iter().enumerate() {
        // The two that carry records are there from the beginning.
        let shown = |api| matches!(api, ApiKey::Produce | ApiKey::Fetch);
        for (api, count) in figures.requests().filter(|(api, count)| *count > 0 || shown(*api)) {
            text.sample(name, &format!("api=\"{api:?}\",shard=\"{shard}\""), count);
        }
    }
    let counts =
        |of: &dyn Fn(&Figures) -> Counts| -> Vec<Counts> { shards.iter().map(|shard| of(&shard.figures)).collect() };
    let name = "ringmain_request_duration_seconds";
    let about = "From the first byte of a request to the last of its answer, without a Fetch's wait for records.";
    text.family(name, "histogram", about);
    for kind in Kind::ALL {
        let shards = counts(&|figures| figures.whole(kind).counts());
        text.histogram(name, &format!("api=\"{kind:?}\""), &shards);
    }
    let name = "ringmain_stage_duration_seconds";
    text.family(name, "histogram", "What requests spent their time in; the stages of a request sum to its duration.");
    for kind in Kind::ALL {
        for stage in Stage::ALL {
            let shards = counts(&|figures| figures.stage(kind, stage).counts());
            text.histogram(name, &format!("api=\"{kind:?}\",stage=\"{}\"", stage.name()), &shards);
        }
    }
}

/// Name, text and field of a counter of the rings.
type RingCounter = (&'static str, &'static str, fn(&Totals) -> u64);

const RING_COUNTERS: &[RingCounter] = &[
    ("ringmain_ring_enters_total", "Calls of io_uring_enter.", |totals| totals.enters),
    ("ringmain_ring_sleeps_total", "Calls of io_uring_enter that were allowed to wait.", |totals| totals.sleeps),
    ("ringmain_submissions_total", "Operations handed to the rings.", |totals| totals.sqes),
    ("ringmain_completions_total", "Completions taken from the rings.", |totals| totals.cqes),
    ("ringmain_turns_total", "Turns of the pumps.", |totals| totals.turns),
    ("ringmain_socket_sends_total", "Calls of send and sendmsg outside the rings.", |totals| totals.sends),
    ("ringmain_sendfiles_total", "Calls of sendfile.", |totals| totals.sendfiles),
    ("ringmain_shard_hops_total", "Messages to other shards: two for each request that hops.", |totals| totals.mails),
    ("ringmain_shard_wakes_total", "Wakes of another shard that took a system call.", |totals| totals.wakes),
    ("ringmain_jobs_total", "Jobs given to housekeeping.", |totals| totals.jobs),
];

fn rings(text: &mut Text, shards: &[Totals]) {
    for (name, about, count) in RING_COUNTERS {
        text.family(name, "counter", about);
        for (shard, totals) in shards.iter().enumerate() {
            text.sample(name, &format!("shard=\"{shard}\""), count(totals));
        }
    }
}

/// Name, text and field of a gauge of the shards.
type ShardGauge = (&'static str, &'static str, fn(&Gauges) -> &Tally);

const SHARD_GAUGES: &[ShardGauge] = &[
    ("ringmain_connections", "Connections of clients.", |gauges| &gauges.connections),
    ("ringmain_partitions", "Partitions that clients see.", |gauges| &gauges.partitions),
    ("ringmain_log_bytes", "Bytes of the batches in all logs.", |gauges| &gauges.log_bytes),
];

fn gauges(text: &mut Text, status: &Status) {
    for (name, about, of) in SHARD_GAUGES {
        text.family(name, "gauge", about);
        for (shard, ShardStatus { gauges, .. }) in status.shards().iter().enumerate() {
            text.sample(name, &format!("shard=\"{shard}\""), of(gauges).get());
        }
    }
    let name = "ringmain_memory_bytes";
    text.family(name, "gauge", "Memory in use of the figure that the operator set, by what it holds.");
    for (shard, ShardStatus { gauges, .. }) in status.shards().iter().enumerate() {
        text.sample(name, &format!("holds=\"tails\",shard=\"{shard}\""), gauges.tail_bytes.get());
        text.sample(name, &format!("holds=\"requests\",shard=\"{shard}\""), gauges.receive_bytes.get());
    }
    let (name, about) = ("ringmain_memory_limit_bytes", "The memory figure that the operator set.");
    text.one(name, "gauge", about, "", status.memory_bytes());
}

/// Under the names that every exporter uses.
fn process(text: &mut Text) {
    let usage = machine::usage();
    let about = "Processor time of all threads.";
    text.one("process_cpu_seconds_total", "counter", about, "", usage.cpu_seconds);
    text.one("process_resident_memory_bytes", "gauge", "Memory in RAM.", "", usage.resident_bytes);
    text.one("process_virtual_memory_bytes", "gauge", "Addresses that are mapped.", "", usage.virtual_bytes);
    text.one("process_open_fds", "gauge", "Open files.", "", usage.open_files);
    if let Some(max) = machine::open_files().soft {
        text.one("process_max_fds", "gauge", "Files that may be open.", "", max);
    }
    let about = "When the process was started, since 1970.";
    text.one("process_start_time_seconds", "gauge", about, "", usage.started_seconds);
}

/// The text so far. Labels are text already, as it stands between the braces: none of ours needs an escape.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, about: &str) {
        self.put(format_args!("# HELP {name} {about}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.put(format_args!("{name} {value}\n"));
        } else {
            self.put(format_args!("{name}{{{labels}}} {value}\n"));
        }
    }

    /// A family of one sample.
    fn one(&mut self, name: &str, kind: &str, about: &str, labels: &str, value: impl Display) {
        self.family(name, kind, about);
        self.sample(name, labels, value);
    }

    /// One histogram for each shard that has anything.
    fn histogram(&mut self, name: &str, labels: &str, shards: &[Counts]) {
        let mut shown = Vec::new();
        for counts in shards {
            for (bucket, (_, count)) in counts.buckets().enumerate() {
                shown.resize(shown.len().max(bucket + 1), false);
                shown[bucket] |= count > 0;
            }
        }
        for (shard, counts) in shards.iter().enumerate().filter(|(_, counts)| counts.count() > 0) {
            let labels = format!("{labels},shard=\"{shard}\"");
            let mut up_to = 0;
            for ((bound_ns, count), shown) in counts.buckets().zip(&shown) {
                up_to += count;
                if let (Some(bound_ns), true) = (bound_ns, shown) {
                    self.put(format_args!("{name}_bucket{{{labels},le=\"{}\"}} {up_to}\n", seconds(bound_ns)));
                }
            }
            self.put(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {up_to}\n"));
            self.put(format_args!("{name}_sum{{{labels}}} {}\n", seconds(counts.sum_ns)));
            self.put(format_args!("{name}_count{{{labels}}} {up_to}\n"));
        }
    }

    fn put(&mut self, what: fmt::Arguments<'_>) {
        self.0.write_fmt(what).expect("a string takes it");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a float is what the format has")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const BUILD: &str = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
