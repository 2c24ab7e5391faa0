//! What a node shows of itself over HTTP: the figures are those of the requests that were sent, the text is what Prometheus
//! reads, and nobody who asks wrongly, slowly or often disturbs it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringmain::bench::metrics::{Scrape, scrape};

use crate::node::{Node, PROGRAM, free_address, scratch};
use crate::raw::{Raw, batch, fetch_frame_of, is_served};

/// A node that shows its metrics.
struct Shown {
    dir: tempfile::TempDir,
    node: Node,
    metrics: SocketAddr,
}

impl Shown {
    fn start() -> Self {
        let (dir, metrics) = (scratch(), free_address());
        let node = Node::start_at(dir.path(), free_address(), &["--metrics", &metrics.to_string()]);
        let shown = Self { dir, node, metrics };
        let begun = Instant::now();
        while !shown.ask("GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 ") {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not serve:\n{}", shown.node.log());
            thread::sleep(Duration::from_millis(10));
        }
        shown
    }

    fn ask(&self, request: &str) -> String {
        ask(self.metrics, request.as_bytes())
    }

    fn look(&self) -> Scrape {
        scrape(&self.metrics.to_string()).expect("metrics")
    }

    /// A look at which so many requests of an API are over: the client has its answer a moment before the node knows that.
    fn look_after(&self, requests: f64, api: &str) -> Scrape {
        let begun = Instant::now();
        loop {
            let look = self.look();
            if whole(&look, api).0 == requests && stage(&look, api, "reply").0 == requests {
                return look;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?} of {requests} {api}", whole(&look, api));
        }
    }

    fn create(&self, topic: &str, partitions: &str) {
        let arguments = ["topics", "--bootstrap-server", &self.node.bootstrap(), "create", topic];
        let made = Command::new(PROGRAM).args(arguments).args(["--partitions", partitions]).output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// All that comes back for these bytes.
fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    // It may have been refused before it is all sent.
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    answer
}

/// How often a stage of an API was passed, and its seconds, on all shards.
fn stage(scrape: &Scrape, api: &str, stage: &str) -> (f64, f64) {
    let of = |what: &str| {
        let name = format!("ringmain_stage_duration_seconds_{what}");
        scrape.total(&name, &[("api", api), ("stage", stage)]).unwrap_or(0.0)
    };
    (of("count"), of("sum"))
}

fn whole(scrape: &Scrape, api: &str) -> (f64, f64) {
    let of = |what: &str| {
        let name = format!("ringmain_request_duration_seconds_{what}");
        scrape.total(&name, &[("api", api)]).unwrap_or(0.0)
    };
    (of("count"), of("sum"))
}

const STAGES: [&str; 10] = ["read", "decode", "hop", "append", "write", "flush", "wait", "load", "handle", "reply"];

/// How often each stage of an API was passed since an earlier look, those left out that were not.
fn passed(before: &Scrape, after: &Scrape, api: &str) -> BTreeMap<&'static str, f64> {
    let each = STAGES.map(|name| (name, stage(after, api, name).0 - stage(before, api, name).0));
    each.into_iter().filter(|(_, count)| *count > 0.0).collect()
}

#[test]
fn each_stage_is_counted_once_for_each_request_and_hops_where_they_are() {
    let shown = Shown::start();
    shown.create("t", "2");
    let (mut raw, batch) = (Raw::connect(shown.node.address), batch(3, 200));
    let start = shown.look();
    // The partitions lie on the two shards, the connection is on one of them.
    let begun = Instant::now();
    let counts = [40_u8, 70];
    for (partition, count) in (0..).zip(counts) {
        for _ in 0..count {
            assert_eq!(raw.produce(-1, "t", partition, &batch), Some(0));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let produced = shown.look_after(110.0, "Produce");
    let mut expected: BTreeMap<_, _> =
        ["read", "decode", "append", "write", "flush", "reply"].map(|name| (name, 110.0)).into();
    let hops = passed(&start, &produced, "Produce").remove("hop").expect("one of the two is elsewhere");
    assert!(counts.map(f64::from).contains(&hops), "{hops} hops");
    expected.insert("hop", hops);
    assert_eq!(passed(&start, &produced, "Produce"), expected);

    let (_, sum) = whole(&produced, "Produce");
    assert!(sum > 0.0 && sum < took, "{sum} s in the node, {took} s outside");
    let stages: f64 = STAGES.iter().map(|name| stage(&produced, "Produce", name).1).sum();
    assert!((stages - sum).abs() < 1e-6, "stages of {stages} s, requests of {sum} s");

    for (partition, count) in (0..).zip(counts) {
        for offset in 0..count {
            raw.send(&fetch_frame_of("t", partition, i64::from(offset), 1 << 20));
            assert!(raw.receive().is_some_and(|answer| answer.len() > batch.len()));
        }
    }
    let fetched = shown.look_after(110.0, "Fetch");
    let mut expected: BTreeMap<_, _> = ["read", "decode", "load", "reply"].map(|name| (name, 110.0)).into();
    expected.insert("hop", hops);
    assert_eq!(passed(&start, &fetched, "Fetch"), expected);

    // What the gate counts, for requests of which it knows what they do.
    let gained = |name: &str, labels: &[(&str, &str)]| {
        produced.total(name, labels).expect("shown") - start.total(name, labels).expect("shown")
    };
    assert_eq!(gained("ringmain_requests_total", &[("api", "Produce")]), 110.0);
    let copied = f64::from(u32::try_from(110 * batch.len()).expect("small"));
    assert_eq!(gained("ringmain_copied_record_bytes_total", &[]), copied);
    assert_eq!(gained("ringmain_shard_hops_total", &[]), 2.0 * hops, "a message there and one back");
    assert!(gained("ringmain_ring_enters_total", &[]) >= 110.0);
    // Receive, write, journal, flush and send.
    assert!(gained("ringmain_submissions_total", &[]) >= 4.0 * 110.0);
    let stages = produced.stages_since(&start);
    assert_eq!(stages.iter().map(|stage| stage.stage.as_str()).next(), Some("Produce read"));
    assert!(stages.iter().all(|stage| stage.p50_us <= stage.p99_us && stage.p99_us <= stage.max_us), "{stages:?}");
}

#[test]
fn gauges_follow_what_the_node_has() {
    let shown = Shown::start();
    let mut raw = Raw::connect(shown.node.address);
    assert_eq!(raw.metadata("good"), Some(0));
    is_served(&mut raw);
    let begun = Instant::now();
    loop {
        let look = shown.look();
        let now = |name: &str| look.total(name, &[]).expect("shown");
        if now("ringmain_partitions") == 1.0 && now("ringmain_connections") == 1.0 && now("ringmain_log_bytes") > 100.0
        {
            assert_eq!(now("ringmain_memory_limit_bytes"), f64::from(256 << 20));
            assert!(now("ringmain_memory_bytes") > 0.0 && now("process_resident_memory_bytes") > 1e6);
            assert!(now("process_cpu_seconds_total") > 0.0 && now("process_open_fds") > 5.0);
            assert_eq!(look.total("ringmain_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", shown.ask("GET /metrics HTTP/1.1\r\n\r\n"));
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_text_is_what_prometheus_reads_also_while_the_node_is_busy() {
    let mut shown = Shown::start();
    shown.create("t", "4");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|partition| {
                let (stop, address) = (&stop, shown.node.address);
                scope.spawn(move || {
                    let (mut raw, batch) = (Raw::connect(address), batch(5, 2_000));
                    let mut offset = 0;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(raw.produce(-1, "t", partition, &batch), Some(0));
                        raw.send(&fetch_frame_of("t", partition, offset, 1 << 20));
                        assert!(raw.receive().is_some());
                        offset += 5;
                    }
                })
            })
            .collect();
        let mut before = 0.0;
        for _ in 0..20 {
            let answer = shown.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
            assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
            assert_eq!(check(body), Vec::<String>::new());
            let requests = Scrape::parse(body).expect("metrics").total("ringmain_requests_total", &[]).expect("shown");
            assert!(requests >= before, "{requests} after {before}");
            before = requests;
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        load.into_iter().for_each(|load| load.join().expect("it is served"));
    });
    shown.node.stop();
    assert!(shown.node.log().contains(" append "), "the log tells the stages too:\n{}", shown.node.log());
}

#[test]
fn whoever_asks_wrongly_slowly_or_often_keeps_nobody_out() {
    let mut shown = Shown::start();
    let mut raw = Raw::connect(shown.node.address);
    assert_eq!(raw.metadata("good"), Some(0));
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "405"),
        ("GET /nothing HTTP/1.1\r\n\r\n", "404"),
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "200"),
        ("GET /metrics?a=b HTTP/1.0\r\n\r\n", "200"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = shown.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), request.starts_with("HEAD"), "{request:?}: {answer}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(shown.ask(&long).starts_with("HTTP/1.1 431 "));
    // A Kafka client that has the wrong port.
    assert!(ask(shown.metrics, &[0, 0, 0, 20, 0, 18, 0, 0, 0, 0, 0, 1]).starts_with("HTTP/1.1 400 "));

    let half: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(shown.metrics).expect("it listens");
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHo");
            stream
        })
        .collect();
    let begun = Instant::now();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..10).for_each(|_| drop(shown.look())))).collect();
        for _ in 0..50 {
            is_served(&mut raw);
        }
        asking.into_iter().for_each(|asking| asking.join().expect("answered"));
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(half);
    shown.node.stop();
    assert!(TcpStream::connect(shown.metrics).is_err(), "nobody listens after the end");
}

#[test]
fn a_node_that_waits_for_its_directory_is_not_healthy() {
    let shown = Shown::start();
    let metrics = free_address();
    let second = Node::launch(shown.dir.path(), free_address(), &["--metrics", &metrics.to_string()]);
    second.wait_for("waiting up to");
    let answer = ask(metrics, b"GET /healthz HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nstarting\n"), "{answer}");
    assert_eq!(scrape(&metrics.to_string()).expect("metrics").total("ringmain_partitions", &[]), Some(0.0));
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_is_opened() {
    let shown = Shown::start();
    let taken = shown.metrics.to_string();
    for arguments in [&["--metrics", &taken][..], &["--set", &format!("metrics.listener=HTTP://{taken}")]] {
        let mut second = Node::launch(shown.dir.path(), free_address(), arguments);
        assert_eq!(second.wait(), Some(1));
        let log = second.log();
        assert!(log.contains(&format!("metrics: {taken} is taken by another process")), "{log}");
        assert!(log.contains("--metrics 127.0.0.1:9645"), "{log}");
    }
    let doctor = Command::new(PROGRAM).args(["doctor", "--metrics", &taken, "--listeners", "127.0.0.1:0"]).output();
    let doctor = String::from_utf8(doctor.expect("it runs").stdout).expect("text");
    assert!(doctor.lines().any(|line| line.starts_with("FATAL") && line.contains(&taken)), "{doctor}");
    let wrong = Command::new(PROGRAM).args(["--metrics", "https://127.0.0.1:1"]).output().expect("it runs");
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
}

/// What a text says against exposition format 0.0.4, and against Prometheus's naming of what is in it.
fn check(text: &str) -> Vec<String> {
    let mut check = Check::default();
    if !text.ends_with('\n') {
        check.offences.push("the last line has no end".to_owned());
    }
    for line in text.lines() {
        check.line(line);
    }
    check.histograms();
    check.offences
}

#[derive(Default)]
struct Check<'a> {
    offences: Vec<String>,
    helped: &'a str,
    /// Name and kind.
    family: (&'a str, &'a str),
    families: BTreeSet<&'a str>,
    seen: BTreeSet<&'a str>,
    /// Bounds and counts of each histogram, and how many it says there are.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
    counts: BTreeMap<String, f64>,
}

impl<'a> Check<'a> {
    fn line(&mut self, line: &'a str) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            self.helped = help.split(' ').next().unwrap_or_default();
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            self.family = family.split_once(' ').unwrap_or_default();
            self.family(line);
        } else {
            let sample = line.rsplit_once(' ').and_then(|(series, value)| Some((series, value.parse().ok()?)));
            match sample {
                Some((series, value)) => self.sample(series, value),
                None => self.offend("no number", line),
            }
        }
    }

    fn offend(&mut self, what: &str, line: &str) {
        self.offences.push(format!("{what}: {line}"));
    }

    fn family(&mut self, line: &str) {
        let (name, kind) = self.family;
        if name != self.helped || !self.families.insert(name) {
            self.offend("not one HELP and one TYPE for a family", line);
        }
        if (kind == "counter") != name.ends_with("_total") || !["counter", "gauge", "histogram"].contains(&kind) {
            self.offend("a counter ends in _total, and nothing else does", line);
        }
        if ["_ms", "_us", "_kb", "_milliseconds", "_percent"].iter().any(|unit| name.contains(unit)) {
            self.offend("not a base unit", line);
        }
    }

    fn sample(&mut self, series: &'a str, value: f64) {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let (of, kind) = self.family;
        let suffix = name.strip_prefix(of).filter(|_| !of.is_empty());
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        if !suffix.is_some_and(|suffix| suffixes.contains(&suffix)) {
            self.offend("not of the family before it", series);
        }
        if !self.seen.insert(series) || value < 0.0 {
            self.offend("twice, or below zero", series);
        }
        if !is_name(name) || !labels.is_empty() && !are_labels(labels.strip_suffix('}').unwrap_or("")) {
            self.offend("malformed", series);
        }
        if let Some((own, bound)) = labels.split_once("le=\"") {
            let bound = bound.trim_end_matches("\"}").parse().unwrap_or(f64::NAN);
            self.buckets.entry(format!("{of} {}", own.trim_end_matches(','))).or_default().push((bound, value));
        } else if suffix == Some("_count") {
            self.counts.insert(format!("{of} {}", labels.trim_end_matches('}')), value);
        }
    }

    fn histograms(&mut self) {
        for (series, buckets) in &self.buckets {
            let rising = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
            let all = buckets.last().filter(|(bound, _)| *bound == f64::INFINITY).map(|(_, count)| count);
            if !rising || all.is_none() || all != self.counts.get(series) {
                self.offences.push(format!("{series}: buckets {buckets:?}, count {:?}", self.counts.get(series)));
            }
        }
        if self.counts.len() != self.buckets.len() {
            self.offences.push("a histogram without buckets".to_owned());
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_lowercase())
        && chars.all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

/// `name="text"`, separated by commas, each name once.
fn are_labels(text: &str) -> bool {
    let mut names = BTreeSet::new();
    text.split(',').all(|label| {
        let Some((name, rest)) = label.split_once("=\"") else { return false };
        let plain = rest.strip_suffix('"').is_some_and(|text| !text.contains(['"', '\\', '\n']));
        is_name(name) && plain && names.insert(name)
    })
}

#[test]
fn the_check_of_the_format_finds_what_is_wrong() {
    let counter = "# HELP a_total A.\n# TYPE a_total counter\n";
    let histogram = "# HELP h_seconds H.\n# TYPE h_seconds histogram\n";
    let good = format!(
        "{counter}a_total{{x=\"1\"}} 1\na_total 2\n{histogram}h_seconds_bucket{{le=\"0.1\"}} 1\n\
         h_seconds_bucket{{le=\"+Inf\"}} 2\nh_seconds_sum 3.5\nh_seconds_count 2\n"
    );
    assert_eq!(check(&good), Vec::<String>::new());
    for wrong in [
        "a_total 1\n".to_owned(),
        "# TYPE a_total counter\na_total 1\n".to_owned(),
        "# HELP a A.\n# TYPE a counter\na 1\n".to_owned(),
        "# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n".to_owned(),
        format!("{counter}b_total 1\n"),
        format!("{counter}a_total 1\na_total 1\n"),
        format!("{counter}a_total one\n"),
        format!("{counter}a_total{{x=1}} 1\n"),
        format!("{counter}a_total{{x=\"1\",x=\"2\"}} 1\n"),
        format!("{counter}a_total 1"),
        format!("{histogram}h_seconds_bucket{{le=\"0.1\"}} 1\nh_seconds_count 1\n"),
        format!("{histogram}h_seconds_bucket{{le=\"+Inf\"}} 1\nh_seconds_count 2\n"),
        format!("{histogram}h_seconds_bucket{{le=\"1\"}} 3\nh_seconds_bucket{{le=\"+Inf\"}} 2\nh_seconds_count 2\n"),
        format!("{histogram}h_seconds_count 2\n"),
    ] {
        assert!(!check(&wrong).is_empty(), "{wrong}");
    }
}
