//! `ringmain bench` and `ringmain gate` as their users have them: a host, a broker, a broker that stalls, two settings.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::node::{Node, PROGRAM, scratch};

/// Runs the program in a directory of its own.
fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(dir).output().expect("the program starts")
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn report(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a report was written")).expect("JSON")
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}"))
}

#[test]
fn a_host_is_measured_without_a_broker_and_nothing_is_left_behind() {
    let dir = scratch();
    let said =
        good(&run(dir.path(), &["bench", "--suite", "smoke", "--no-floor", "--json", "r.json", "--html", "r.html"]));
    assert!(said.contains("produce-64k") && said.contains("p99.9"), "{said}");
    let report = report(&dir.path().join("r.json"));
    assert_eq!(report["schema"], "ringmain-bench/1");
    let rows = report["rows"].as_array().expect("rows");
    for row in rows {
        let name = row["name"].as_str().expect("a name");
        assert!(row["mb_per_second"].as_f64().expect("a figure") > 0.0, "{name}");
        assert!(row["server"]["cpu_seconds"].as_f64().expect("a process of ours") > 0.0, "{name}");
        assert_eq!(row["errors"], serde_json::json!({}), "{name}");
        let stages = row["stages"].as_array().expect("a list");
        let named = |wanted: &str| stages.iter().any(|stage| stage["stage"] == wanted && stage["count"] != 0);
        let last = match (row["workload"].as_str(), row["parameters"]["acks"].as_str()) {
            (Some("catch-up"), _) => "Fetch load",
            (_, Some("all")) => "Produce flush",
            _ => "Produce write",
        };
        assert!(named(last), "{name} has no {last}: {stages:?}");
    }
    assert!(rows.len() >= 10);
    // Three consumers each have what was produced, but for what is under way at the window's ends.
    let tail = row(&report, "tail");
    let delivered = tail["fetched_bytes"].as_f64().expect("bytes") / tail["bytes"].as_f64().expect("bytes");
    assert!((2.0..4.0).contains(&delivered), "{delivered}");
    let html = std::fs::read_to_string(dir.path().join("r.html")).expect("a page");
    assert!(html.contains("ringmain-bench/1") && !html.contains("/*RINGMAIN-REPORT*/"));
    let mut left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["r.html", "r.json"]);
}

#[test]
fn a_broker_is_measured_from_outside_and_keeps_no_topic() {
    let (dir, data) = (scratch(), scratch());
    let node = Node::start(data.path());
    let bootstrap = node.bootstrap();
    let arguments =
        ["--rows", "keyed,small", "--suite", "smoke", "--json", "r.json", "--codec", "zstd", "--broker-name", "mine"];
    good(&run(dir.path(), &[&["bench", "--bootstrap", &bootstrap], arguments.as_slice()].concat()));
    let report = report(&dir.path().join("r.json"));
    assert_eq!(report["brokers"][0]["name"], "mine");
    assert_eq!(report["brokers"][0]["pid"], node.id(), "found by its port");
    assert_eq!(row(&report, "keyed")["parameters"]["codec"], "zstd");
    assert!(row(&report, "small")["latency"]["acknowledgement"]["count"].as_u64().expect("a count") > 0);
    assert!(row(&report, "small")["latency"]["service"].is_null(), "a closed loop has no wait to leave out");
    let listed = good(&run(dir.path(), &["topics", "--bootstrap-server", &bootstrap, "list"]));
    assert_eq!(listed, "", "topics are deleted");
}

#[test]
fn requests_follow_recorded_moments() {
    let dir = scratch();
    // Five at once every 50 ms, and the mean gap of the nine before they begin again: ten in 55.6 ms.
    std::fs::write(dir.path().join("moments"), "7.00\n".repeat(5) + &"7.05\n".repeat(5)).expect("written");
    let arguments = ["bench", "--rows", "small", "--arrivals", "moments", "--warm-up", "0.1", "--seconds", "1"];
    good(&run(
        dir.path(),
        &[arguments.as_slice(), &["--connections", "1", "--in-flight", "1", "--no-floor", "--json", "r.json"]].concat(),
    ));
    let report = report(&dir.path().join("r.json"));
    let row = row(&report, "small");
    assert_eq!(row["parameters"]["mode"], "rate");
    assert_eq!(row["parameters"]["arrivals"]["file"], "moments");
    let offered = row["offered_per_second"].as_f64().expect("a rate");
    assert!((offered - 180.0).abs() < 0.1, "{offered}");
    // Whole bursts: where the window begins and ends, five more or less.
    let due = row["latency"]["acknowledgement"]["count"].as_u64().expect("a count");
    assert!(due.is_multiple_of(5) && (170..=190).contains(&due), "{due}");
    // One after another: the last of five waits for four answers before it is sent.
    let mean = |kind: &str| row["latency"][kind]["mean"].as_f64().expect("an open loop has it");
    assert_eq!(row["latency"]["service"]["count"], due);
    assert!(mean("acknowledgement") > 1.5 * mean("service"), "{} and {}", mean("acknowledgement"), mean("service"));
}

#[test]
fn a_load_is_on_time_to_less_than_a_millisecond() {
    let dir = scratch();
    // 1.3 ms apart: a wait that is rounded up to whole milliseconds is late by half of one on the average.
    let arguments = ["bench", "--rows", "small", "--rate", "769", "--warm-up", "0.2", "--seconds", "2", "--no-floor"];
    good(&run(dir.path(), &[arguments.as_slice(), &["--json", "r.json"]].concat()));
    let report = report(&dir.path().join("r.json"));
    let lag = row(&report, "small")["generator"]["lag"]["p50"].as_f64().expect("an open loop has a lag");
    assert!(lag < 0.3, "half of the requests are late by more than {lag} ms");
}

#[test]
fn what_waits_for_its_turn_counts_from_when_it_was_due() {
    let dir = scratch();
    // Forty at once every 100 ms, and their answers one after another.
    std::fs::write(dir.path().join("moments"), "7.0\n".repeat(40) + &"7.1\n".repeat(40)).expect("written");
    let bursts = ["bench", "--rows", "small", "--arrivals", "moments", "--connections", "1", "--no-floor"];
    let p50_ms = |limit: &[&str]| {
        let time = ["--warm-up", "0.1", "--seconds", "1", "--json", "r.json"];
        good(&run(dir.path(), &[bursts.as_slice(), &time, limit].concat()));
        let report = report(&dir.path().join("r.json"));
        let row = row(&report, "small");
        assert_eq!(row["parameters"]["in_flight_at_rate"].as_u64(), limit.get(1).map(|_| 1));
        row["latency"]["acknowledgement"]["p50"].as_f64().expect("a figure")
    };
    // All of a burst share a flush or two. One by one, the twentieth has waited for nineteen of them.
    let (all, one_by_one) = (p50_ms(&[]), p50_ms(&["--in-flight", "1"]));
    assert!(one_by_one > 2.0 * all, "{all} ms and {one_by_one} ms");
}

/// Continued when dropped, so that a test that fails leaves no process that cannot end.
struct Stopped<'a>(&'a Node);

impl<'a> Stopped<'a> {
    fn new(node: &'a Node) -> Self {
        signal(node, rustix::process::Signal::STOP);
        Self(node)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        signal(self.0, rustix::process::Signal::CONT);
    }
}

fn signal(node: &Node, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(node.id()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("our own child");
}

/// A bench that runs; ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A bench that has begun to send, one row at a fixed rate.
fn rated(dir: &Path, node: &Node, row: &str) -> Running {
    let child = Command::new(PROGRAM)
        .args(["bench", "--bootstrap", &node.bootstrap(), "--rows", row, "--rate", "500", "--partitions", "1"])
        .args(["--batch-records", "1", "--warm-up", "0.2", "--seconds", "4", "--json", "r.json"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let bench = Running(child);
    let topic = format!("ringmain-bench-{row}");
    let begun = Instant::now();
    loop {
        let said = run(dir, &["topics", "--bootstrap-server", &node.bootstrap(), "describe", &topic, "--json"]);
        let said: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
        // Half a second of requests: the warm-up is over, and most of the window is still to come.
        if said["partitions"][0]["high_watermark"].as_i64().unwrap_or(0) >= 250 {
            return bench;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it never began");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_second_in_which_the_broker_is_stopped_is_a_second_of_latency() {
    let (dir, data) = (scratch(), scratch());
    let node = Node::start(data.path());
    let mut bench = rated(dir.path(), &node, "end-to-end");
    let stopped = Stopped::new(&node);
    sleep(Duration::from_secs(1));
    drop(stopped);
    assert!(bench.0.wait().expect("it ends").success());
    let report = report(&dir.path().join("r.json"));
    let row = row(&report, "end-to-end");
    let lag = row["generator"]["lag"]["max"].as_f64().expect("an open loop has a lag");
    assert!(lag < 500.0, "the broker's second is not the load's: {lag}");
    for kind in ["acknowledgement", "end_to_end"] {
        let latency = &row["latency"][kind];
        let at = |name: &str| latency[name].as_f64().expect("a figure");
        // 2,000 requests were due, 500 of them in that second: each waited for what was left of it.
        assert_eq!(latency["count"], 2000, "{kind}: every request that was due is there");
        assert!(at("max") >= 990.0 && at("max") < 5_000.0, "{kind}: max {}", at("max"));
        assert!(at("p999") >= 980.0, "{kind}: p99.9 {}", at("p999"));
        assert!(at("p90") >= 400.0, "{kind}: p90 {}", at("p90"));
        assert!(at("p50") < 400.0, "{kind}: p50 {}", at("p50"));
    }
}

#[test]
fn a_broker_that_goes_is_an_error_that_says_so() {
    let (dir, data) = (scratch(), scratch());
    let mut node = Node::start(data.path());
    let mut bench = rated(dir.path(), &node, "end-to-end");
    node.kill();
    assert_eq!(bench.0.wait().expect("it ends").code(), Some(1));
    let output = run(dir.path(), &["bench", "--bootstrap", &node.bootstrap(), "--rows", "small"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refused") && said.contains(&node.bootstrap()), "{said}");
}

#[test]
fn numbers_that_make_no_load_are_refused_in_words() {
    let dir = scratch();
    for (arguments, words) in [
        (vec!["bench", "--rows", "nothing"], "there is no row \"nothing\"; there are produce-64k"),
        (vec!["bench", "--rows", "half-rate"], "takes its rate from produce-64k"),
        (vec!["bench", "--rows", "small", "--acks", "2"], "all, 1 or 0"),
        (vec!["bench", "--rows", "small", "--codec", "rar"], "none, gzip, snappy, lz4 or zstd"),
        (vec!["bench", "--rows", "tail", "--consumers", "0"], "at least one consumer"),
        (vec!["bench", "--rows", "small", "--connections", "0"], "connections: 0 is not in 1 to"),
        (vec!["bench", "--rows", "small", "--rate=-1"], "above 0"),
        (vec!["bench", "--rows", "small", "--topic-config", "x"], "not key=value"),
        (vec!["bench", "--rows", "small", "--arrivals", "nowhere"], "--arrivals nowhere: No such file"),
        (vec!["bench", "--rows", "small", "--arrivals", "a", "--rate", "1"], "cannot be used with"),
        (vec!["gate", "--base", "/nowhere/ringmain"], "there is no such program"),
        (vec!["gate", "--rows", "catch-up"], "no row \"catch-up\" to compare"),
        (vec!["gate", "--base-bootstrap", "127.0.0.1:1"], "--head-bootstrap"),
    ] {
        let output = run(dir.path(), &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: no {words:?} in\n{said}");
    }
}

#[test]
fn the_gate_tells_what_it_found_in_every_form() {
    let dir = scratch();
    let arguments =
        ["gate", "--only", "wall", "--rows", "small", "--pairs", "4", "--seconds", "0.6", "--head-set", "shards=1"];
    let output = run(dir.path(), &[arguments.as_slice(), &["--json", "g.json", "--junit", "g.xml"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 1 | 4)), "{said}");
    let result = report(&dir.path().join("g.json"));
    let comparisons = result["comparisons"].as_array().expect("comparisons");
    assert!(comparisons.iter().any(|found| found["row"] == "small" && found["metric"] == "throughput"));
    for found in comparisons {
        assert!(found["control"].is_array() && found["verdict"].is_string(), "{found}");
        assert!(found["base_median"].as_f64().expect("a figure") > 0.0, "{found}");
    }
    let document = std::fs::read_to_string(dir.path().join("g.xml")).expect("a document");
    assert!(document.contains("small/throughput"), "{document}");
}
