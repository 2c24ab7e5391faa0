//! `scripts/bench-quick`: the node on one core, the load on another, one table. See `benches/README.md`.
//!
//! Every produce row is durable (acks=all, answered after the flush) and covers at least three segment turnovers of
//! every partition, so that recycling of segments is part of the figure.
#![expect(
    unsafe_code,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "pins a child between fork and exec; prints a table; its figures need no more than 52 bits"
)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark drives real processes by real time and threads"
)]

mod latency;
mod load;
mod process;
mod sink;
mod throttle;

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringmain::bench::wire;

use load::{Outcome, Until};
use process::Server;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("sink") => sink::serve(arguments.get(1).and_then(|port| port.parse().ok()).unwrap_or(0)),
        Some("--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            let smoke = arguments.iter().any(|argument| argument == "--smoke" || argument == "--test");
            let only = arguments.iter().find(|argument| !argument.starts_with('-')).cloned();
            Bench::new(smoke, only)?.run()
        }
    }
}

const HELP: &str = "\
Measures a release build of the node: node on core 0, load on core 1, pre-encoded records, acks=all.

usage: scripts/bench-quick [ROW] [--smoke]
  ROW      only the rows whose name contains this (produce, sink, small, latency, fetch, partitions,
           idle, start; as root also slow-reader)
  --smoke  tiny sizes, to see that it works; its figures mean nothing
environment: RINGMAIN_BIN (the node), BENCH_DIR (data, default target/bench-quick), BENCH_MEMORY (default 512M),
  BENCH_BESIDE (a client that runs beside the load all the time: see benches/README.md)";

struct Bench {
    node: PathBuf,
    dir: PathBuf,
    memory: String,
    smoke: bool,
    only: Option<String>,
    cores: (usize, usize),
    beside: Option<String>,
}

/// One produce row: how the load is cut.
struct Cut {
    name: &'static str,
    records: usize,
    connections: usize,
    depth: usize,
    partitions: i32,
}

const CUTS: [Cut; 3] = [
    Cut { name: "16 KiB", records: 16, connections: 8, depth: 2, partitions: 10 },
    Cut { name: "64 KiB", records: 64, connections: 8, depth: 2, partitions: 10 },
    Cut { name: "1 MiB", records: 1023, connections: 4, depth: 1, partitions: 4 },
];

/// Segments of the produce rows: three turnovers of ten partitions are then a few gigabytes.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Measures one row of the table and prints it.
type Row = fn(&Bench) -> io::Result<()>;

impl Bench {
    fn new(smoke: bool, only: Option<String>) -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let node = env::var_os("RINGMAIN_BIN").map_or_else(|| root.join("target/release/ringmain"), PathBuf::from);
        if !node.exists() {
            let text = format!("no node at {}: cargo build --release first", node.display());
            return Err(io::Error::new(ErrorKind::NotFound, text));
        }
        let dir = env::var_os("BENCH_DIR").map_or_else(|| root.join("target/bench-quick"), PathBuf::from);
        let memory = env::var("BENCH_MEMORY").unwrap_or_else(|_| "512M".to_owned());
        let cores = std::thread::available_parallelism()?.get();
        let cores = (0, usize::from(cores > 1));
        process::pin(cores.1)?;
        let beside = env::var("BENCH_BESIDE").ok();
        Ok(Self { node, dir, memory, smoke, only, cores, beside })
    }

    fn run(&self) -> io::Result<()> {
        println!(
            "node {} --memory {}, on core {}; load on core {}",
            self.node.display(),
            self.memory,
            self.cores.0,
            self.cores.1
        );
        if let Some(beside) = &self.beside {
            println!("beside the load: {beside}");
        }
        println!("data in {}\n", self.dir.display());
        let rows: [(&str, Row); 9] = [
            ("start", Self::start),
            ("sink", Self::sink),
            ("produce", Self::produce),
            ("small", Self::small),
            ("latency", Self::latency),
            ("fetch", Self::fetch),
            ("partitions", Self::partitions),
            ("idle", Self::idle),
            ("slow-reader", Self::slow_reader),
        ];
        for (name, row) in rows {
            // The last row needs root and changes a control group: only when it is named.
            if self.only.as_ref().map_or(name != "slow-reader", |only| name.contains(only.as_str())) {
                row(self)?;
            }
        }
        remove(&self.dir)
    }

    /// A node over an empty directory, or over what is there.
    fn node(&self, fresh: bool) -> io::Result<Server> {
        if fresh {
            remove(&self.dir)?;
        }
        fs::create_dir_all(&self.dir)?;
        let address = free_address()?;
        let mut command = Command::new(&self.node);
        command.arg("serve");
        command.args(["--data".as_ref(), self.dir.as_os_str()]);
        command.args(["--listeners", &format!("PLAINTEXT://{address}"), "--memory", &self.memory]);
        let log = fs::File::create(self.dir.with_extension("log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let mut server = Server::start(command, address, self.cores.0)?;
        if let Some(beside) = &self.beside {
            server.run_beside(beside)?;
        }
        Ok(server)
    }

    fn create(&self, address: SocketAddr, topic: &str, partitions: i32, configs: &[(&str, String)]) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let frame = load::ask(&mut stream, &wire::create_topic(topic, partitions, configs))?;
        match wire::create_topic_answer(&frame, topic) {
            0 => Ok(()),
            error => Err(io::Error::other(format!("CreateTopics {topic}: error {error}"))),
        }
    }

    fn seconds(&self, seconds: u64) -> Duration {
        if self.smoke { Duration::from_millis(100 * seconds) } else { Duration::from_secs(seconds) }
    }

    /// A node, and how long from its process's beginning until it has answered: it listens long before.
    fn node_and_answer(&self, fresh: bool, request: &[u8]) -> io::Result<(Server, Duration)> {
        if fresh {
            remove(&self.dir)?;
        }
        let begun = Instant::now();
        let node = self.node(false)?;
        load::ask(&mut TcpStream::connect(node.address)?, request)?;
        Ok((node, begun.elapsed()))
    }

    fn start(&self) -> io::Result<()> {
        let partitions = if self.smoke { 20 } else { 1000 };
        let (node, answered) = self.node_and_answer(true, &wire::create_topic("many", partitions, &[]))?;
        let (resident, own) = node.resident_bytes();
        println!(
            "start, empty directory           {:>8.0} ms    until a topic of {partitions} partitions is made; resident {:.1} MiB (own memory {:.1})",
            ms(answered),
            mib(resident),
            mib(own)
        );
        let mut node = node;
        let record = wire::batch(1, 100, 1);
        for round in 1..=3 {
            let mut work = Produce::new("many", partitions, &record, 1);
            work.remaining = Some(u64::try_from(partitions).unwrap_or(0));
            let until =
                Until { warm_up: Duration::ZERO, at_least: self.seconds(1), bytes: 0, at_most: self.seconds(2) };
            load::run(node.address, 1, 1, &until, &mut work, || {})?;
            let stopped = node.stop()?;
            let (started, answered) = self.node_and_answer(false, &wire::produce("many", 0, &record))?;
            println!(
                "start {round}, {partitions} partitions         {:>8.0} ms    until a record is durable, after a clean stop that took {:.0} ms",
                ms(answered),
                ms(stopped)
            );
            node = started;
        }
        Ok(())
    }

    fn sink(&self) -> io::Result<()> {
        for cut in &CUTS {
            let address = free_address()?;
            let mut command = Command::new(env::current_exe()?);
            command.args(["sink", &address.port().to_string()]);
            let sink = Server::start(command, address, self.cores.0)?;
            self.produce_row("sink, receives and answers", &sink, "bench", cut, 0)?;
        }
        Ok(())
    }

    fn produce(&self) -> io::Result<()> {
        for cut in &CUTS {
            let node = self.node(true)?;
            let configs =
                [("segment.bytes", SEGMENT_BYTES.to_string()), ("retention.bytes", SEGMENT_BYTES.to_string()), keep()];
            self.create(node.address, "bench", cut.partitions, &configs)?;
            // One segment prepared and filled, one more, and from then on each is a recycled one.
            let turnovers = if self.smoke { 0 } else { 5 };
            let bytes = turnovers * SEGMENT_BYTES * u64::try_from(cut.partitions).unwrap_or(1);
            self.produce_row("produce acks=all, recycled segments", &node, "bench", cut, bytes)?;
            let (resident, own) = node.resident_bytes();
            println!(
                "  resident under that load       {:>8.1} MiB   own memory {:.1} MiB of --memory {}",
                mib(resident),
                mib(own),
                self.memory
            );
        }
        Ok(())
    }

    fn produce_row(&self, name: &str, server: &Server, topic: &str, cut: &Cut, bytes: u64) -> io::Result<()> {
        let batch = wire::batch(cut.records, 1024 - 9, 42);
        let mut work = Produce::new(topic, cut.partitions, &batch, cut.connections);
        let (mut cpu, mut written) = (Duration::ZERO, 0);
        let warm_bytes = bytes * 2 / 5;
        if warm_bytes > 0 {
            let until = Until {
                warm_up: Duration::ZERO,
                at_least: Duration::ZERO,
                bytes: warm_bytes,
                at_most: self.seconds(60),
            };
            load::run(server.address, cut.connections, cut.depth, &until, &mut work, || {})?;
        }
        let until = Until {
            warm_up: self.seconds(1),
            at_least: self.seconds(5),
            bytes: bytes - warm_bytes,
            at_most: self.seconds(60),
        };
        let outcome = load::run(server.address, cut.connections, cut.depth, &until, &mut work, || {
            cpu = server.cpu();
            written = server.written_bytes();
        })?;
        let cpu = server.cpu() - cpu;
        let gigabytes = outcome.bytes as f64 / 1e9;
        println!(
            "{name:<36} {:>7}  {:>7.0} MB/s  {:>5.2} CPU s/GB  {:>5.2} bytes written per byte  {}",
            cut.name,
            outcome.mb_per_second(),
            cpu.as_secs_f64() / gigabytes,
            (server.written_bytes() - written) as f64 / outcome.bytes as f64,
            percentiles(&outcome),
        );
        Ok(())
    }

    fn small(&self) -> io::Result<()> {
        let node = self.node(true)?;
        self.create(node.address, "small", 10, &[])?;
        let mut work = Produce::new("small", 10, &wire::batch(1, 100, 1), 64);
        let mut cpu = Duration::ZERO;
        let until = Until { warm_up: self.seconds(2), at_least: self.seconds(5), bytes: 0, at_most: self.seconds(30) };
        let outcome = load::run(node.address, 64, 1, &until, &mut work, || cpu = node.cpu())?;
        let each_us = (node.cpu() - cpu).as_secs_f64() * 1e6 / outcome.requests as f64;
        println!(
            "single 100-byte records, 64 connections       {:>7.0} /s    {each_us:>5.1} CPU us each  {}",
            outcome.requests_per_second(),
            percentiles(&outcome)
        );
        Ok(())
    }

    fn latency(&self) -> io::Result<()> {
        let node = self.node(true)?;
        self.create(node.address, "latency", 1, &[])?;
        let histogram = latency::end_to_end(
            node.address,
            "latency",
            2000,
            self.seconds(10).max(Duration::from_secs(1)),
            self.seconds(20).max(Duration::from_secs(1)),
        )?;
        println!(
            "end to end, 2,000 x 1 KiB a second   p50 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms  max {:.2} ms  ({} records, open loop)",
            histogram.value_at_quantile(0.5) as f64 / 1e3,
            histogram.value_at_quantile(0.99) as f64 / 1e3,
            histogram.value_at_quantile(0.999) as f64 / 1e3,
            histogram.max() as f64 / 1e3,
            histogram.len()
        );
        Ok(())
    }

    fn fetch(&self) -> io::Result<()> {
        let partitions = 4;
        let total: u64 = if self.smoke { 32 << 20 } else { 4 << 30 };
        let node = self.node(true)?;
        self.create(node.address, "fetch", partitions, &[("segment.bytes", (256_u64 << 20).to_string()), keep()])?;
        let batch = wire::batch(64, 1024 - 9, 42);
        let mut work = Produce::new("fetch", partitions, &batch, 4);
        let until =
            Until { warm_up: Duration::ZERO, at_least: Duration::ZERO, bytes: total, at_most: self.seconds(120) };
        load::run(node.address, 4, 2, &until, &mut work, || {})?;
        for pass in ["first pass, from the device", "second pass"] {
            let mut work =
                Fetch::new("fetch", partitions, i64::try_from(total / 65_536 * 64 / 4 * 9 / 10).unwrap_or(0));
            let mut cpu = Duration::ZERO;
            let until =
                Until { warm_up: self.seconds(1), at_least: self.seconds(4), bytes: 0, at_most: self.seconds(30) };
            let outcome = load::run(node.address, 4, 1, &until, &mut work, || cpu = node.cpu())?;
            let cpu = node.cpu() - cpu;
            println!(
                "catch-up fetch, 1 MiB, {pass:<27} {:>6.0} MB/s  {:>5.2} CPU s/GB",
                outcome.mb_per_second(),
                cpu.as_secs_f64() / (outcome.bytes as f64 / 1e9)
            );
        }
        Ok(())
    }

    fn partitions(&self) -> io::Result<()> {
        let partitions = if self.smoke { 50 } else { 10_000 };
        let node = self.node(true)?;
        let begun = Instant::now();
        for part in 0..10 {
            self.create(node.address, &format!("wide{part}"), partitions / 10, &[])?;
        }
        let created = begun.elapsed();
        let mut work = Produce::wide("wide", 10, partitions / 10, &wire::batch(1, 100, 1));
        let (mut cpu, mut written) = (Duration::ZERO, 0);
        let until = Until { warm_up: self.seconds(2), at_least: self.seconds(8), bytes: 0, at_most: self.seconds(30) };
        let outcome = load::run(node.address, 64, 4, &until, &mut work, || {
            cpu = node.cpu();
            written = node.written_bytes();
        })?;
        let each = |total: f64| total / outcome.requests as f64;
        println!(
            "{partitions} partitions, 100 B to each in turn  {:>7.0} /s    {:>5.1} CPU us each  {:>6.0} bytes written each  (created in {:.1} s)",
            outcome.requests_per_second(),
            each((node.cpu() - cpu).as_secs_f64() * 1e6),
            each((node.written_bytes() - written) as f64),
            created.as_secs_f64()
        );
        println!("  resident with {partitions} partitions   {:>8.1} MiB", mib(node.resident_bytes().0));
        Ok(())
    }

    /// A consumer far behind, its reads slowed to 20 MB/s, and a producer on the same shard: with and without, in turn.
    fn slow_reader(&self) -> io::Result<()> {
        let total: u64 = if self.smoke { 32 << 20 } else { 1 << 30 };
        let node = self.node(true)?;
        self.create(node.address, "cold", 1, &[("segment.bytes", SEGMENT_BYTES.to_string()), keep()])?;
        self.create(node.address, "hot", 1, &[])?;
        let mut work = Produce::new("cold", 1, &wire::batch(64, 1024 - 9, 42), 1);
        let until =
            Until { warm_up: Duration::ZERO, at_least: Duration::ZERO, bytes: total, at_most: self.seconds(120) };
        load::run(node.address, 1, 4, &until, &mut work, || {})?;
        let throttle = throttle::Throttle::new(node.id(), &self.dir)?;
        throttle.read_bytes_per_second(Some(20_000_000))?;
        let mut ratios = Vec::new();
        let (mut all_alone, mut all_beside) = (load::histogram(), load::histogram());
        for round in 1..=5 {
            // In short turns, so that whatever else the machine does is charged to both alike.
            let (mut alone, mut beside, mut read) = (load::histogram(), load::histogram(), 0);
            for _ in 0..4 {
                let turn = || latency::produce(node.address, "hot", 2000, self.seconds(1) / 2, self.seconds(3) / 2);
                alone.add(turn()?).map_err(io::Error::other)?;
                let stop = Arc::new(AtomicBool::new(false));
                let reader = latency::read_behind(node.address, "cold", Arc::clone(&stop));
                let latency_us = turn();
                stop.store(true, Ordering::Relaxed);
                read += reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
                beside.add(latency_us?).map_err(io::Error::other)?;
            }
            all_alone.add(&alone).map_err(io::Error::other)?;
            all_beside.add(&beside).map_err(io::Error::other)?;
            let (alone, beside) = (alone.value_at_quantile(0.99), beside.value_at_quantile(0.99));
            let ratio = beside as f64 / alone.max(1) as f64;
            ratios.push(ratio);
            println!(
                "  round {round}: p99 of the producer {:.2} ms alone, {:.2} ms beside a reader of {:.0} MB: {ratio:.2}x",
                alone as f64 / 1e3,
                beside as f64 / 1e3,
                read as f64 / 1e6,
            );
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "slow reader at 20 MB/s               p99 of a producer on its shard: median {:.2}x of without, {:.2}x over all",
            ratios[ratios.len() / 2],
            all_beside.value_at_quantile(0.99) as f64 / all_alone.value_at_quantile(0.99).max(1) as f64
        );
        Ok(())
    }

    fn idle(&self) -> io::Result<()> {
        let node = self.node(true)?;
        self.create(node.address, "idle", 10, &[])?;
        let mut work = Produce::new("idle", 10, &wire::batch(1, 100, 1), 4);
        let until = Until { warm_up: Duration::ZERO, at_least: self.seconds(1), bytes: 0, at_most: self.seconds(1) };
        load::run(node.address, 4, 1, &until, &mut work, || {})?;
        sleep(self.seconds(2));
        let (cpu, pressure, begun) = (node.cpu(), process::io_pressure_us(), Instant::now());
        sleep(self.seconds(10));
        let elapsed = begun.elapsed();
        let share = (node.cpu() - cpu).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        let after = process::io_pressure_us();
        let pressure = pressure.zip(after).map(|(before, after)| (after.0 - before.0, after.1 - before.1));
        println!(
            "idle, {:.0} s                         {share:>8.3} % CPU   I/O pressure {}",
            elapsed.as_secs_f64(),
            pressure.map_or_else(
                || "not told by this kernel".to_owned(),
                |(some, full)| format!("some {some} us, full {full} us")
            )
        );
        Ok(())
    }
}

/// Pre-encoded Produce requests, every connection going round the partitions.
struct Produce {
    topics: Vec<String>,
    requests: Vec<Rc<[u8]>>,
    next: Vec<usize>,
    stride: usize,
    payload_bytes: u64,
    remaining: Option<u64>,
}

impl Produce {
    fn new(topic: &str, partitions: i32, batch: &[u8], connections: usize) -> Self {
        let requests = (0..partitions).map(|partition| wire::produce(topic, partition, batch).into()).collect();
        let payload_bytes = batch.len() as u64;
        Self {
            topics: vec![topic.to_owned()],
            requests,
            next: (0..connections).collect(),
            stride: 1,
            payload_bytes,
            remaining: None,
        }
    }

    fn wide(prefix: &str, topics: i32, partitions: i32, batch: &[u8]) -> Self {
        let names: Vec<String> = (0..topics).map(|topic| format!("{prefix}{topic}")).collect();
        let requests = names
            .iter()
            .flat_map(|name| (0..partitions).map(move |partition| wire::produce(name, partition, batch).into()));
        let payload_bytes = batch.len() as u64;
        Self {
            requests: requests.collect(),
            topics: vec![names[0].clone()],
            next: (0..64).collect(),
            stride: 64,
            payload_bytes,
            remaining: None,
        }
    }
}

impl load::Work for Produce {
    fn next(&mut self, connection: usize) -> Option<Rc<[u8]>> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.checked_sub(1)?;
        }
        let at = &mut self.next[connection];
        let request = Rc::clone(&self.requests[*at % self.requests.len()]);
        *at += self.stride;
        Some(request)
    }

    fn answer(&mut self, _connection: usize, frame: &[u8]) -> io::Result<u64> {
        match wire::produce_answer(frame, &self.topics[0]) {
            (0, _) => Ok(self.payload_bytes),
            (error, _) => Err(io::Error::other(format!("the node answered a Produce with error {error}"))),
        }
    }
}

/// Every connection reads one partition from its beginning, and begins again near its end.
struct Fetch {
    topic: String,
    partitions: i32,
    offsets: Vec<i64>,
    turn_at: i64,
}

impl Fetch {
    fn new(topic: &str, partitions: i32, turn_at: i64) -> Self {
        let offsets = vec![0; usize::try_from(partitions).unwrap_or(0)];
        Self { topic: topic.to_owned(), partitions, offsets, turn_at }
    }
}

impl load::Work for Fetch {
    fn next(&mut self, connection: usize) -> Option<Rc<[u8]>> {
        let partition = i32::try_from(connection).ok()? % self.partitions;
        Some(wire::fetch(&self.topic, partition, self.offsets[connection], 500, 1 << 20).into())
    }

    fn answer(&mut self, connection: usize, frame: &[u8]) -> io::Result<u64> {
        let (error, records) = wire::fetch_answer(frame, &self.topic);
        if error != 0 {
            return Err(io::Error::other(format!("the node answered a Fetch with error {error}")));
        }
        let offset = &mut self.offsets[connection];
        if let Some((_, last, _)) = wire::batches(records).last() {
            *offset = if *last + 1 >= self.turn_at { 0 } else { *last + 1 };
        }
        Ok(records.len() as u64)
    }
}

/// The load's timestamps are old ones: retention by time would take its segments at once.
fn keep() -> (&'static str, String) {
    ("retention.ms", "-1".to_owned())
}

fn percentiles(outcome: &Outcome) -> String {
    let at = |quantile| outcome.latency_us.value_at_quantile(quantile) as f64 / 1e3;
    format!("p50 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms", at(0.5), at(0.99), at(0.999))
}

fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
