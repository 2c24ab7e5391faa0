//! `scripts/bench-quick`: what a node costs when little or nothing is asked of it. See `benches/README.md`.
//!
//! Throughput and latency are what `ringmain bench` measures. Here are the rows that need the node's life in hand: how long
//! a start and a clean stop take, what an idle node costs, and (as root) what a reader far behind does to a producer.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "prints a table of figures of less than 2^53")]
#![expect(clippy::disallowed_methods, reason = "a benchmark drives real processes by real time and threads")]

mod throttle;

use std::env;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use ringmain::bench::load::{self, Measure, Seats, Target, Timing};
use ringmain::bench::parameters::{Mode, Parameters, Workload};
use ringmain::bench::server::{self, Server, free_address};
use ringmain::bench::topic::Topics;
use ringmain::bench::wire;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}");
        return Ok(());
    }
    let smoke = arguments.iter().any(|argument| argument == "--smoke" || argument == "--test");
    let only = arguments.iter().find(|argument| !argument.starts_with('-')).cloned();
    Bench::new(smoke, only)?.run()
}

const HELP: &str = "\
Measures a release build of the node at its edges: node on core 0, load on core 1.

usage: scripts/bench-quick [ROW] [--smoke]
  ROW      only the rows whose name contains this (start, idle; as root also slow-reader)
  --smoke  tiny sizes, to see that it works; its figures mean nothing
environment: RINGMAIN_BIN (the node), BENCH_DIR (data, default target/bench-quick), BENCH_MEMORY (default 512M)
Throughput and latency: ringmain bench.";

struct Bench {
    node: PathBuf,
    dir: PathBuf,
    memory: String,
    smoke: bool,
    only: Option<String>,
    seats: Seats,
}

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
        let core = usize::from(thread::available_parallelism()?.get() > 1);
        server::pin(core)?;
        Ok(Self { node, dir, memory, smoke, only, seats: Seats { cores: vec![core] } })
    }

    fn run(&self) -> io::Result<()> {
        println!("node {} --memory {}, on core 0; data in {}\n", self.node.display(), self.memory, self.dir.display());
        let rows: [(&str, Row); 3] = [("start", Self::start), ("idle", Self::idle), ("slow-reader", Self::slow_reader)];
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
        Server::start(command, address, &[0], &self.dir.with_extension("log"))
    }

    fn topic(&self, node: &Server, name: &str, partitions: i32) -> io::Result<Target> {
        let configs = [("retention.ms".to_owned(), "-1".to_owned())];
        Topics::open(&node.address.to_string())?.make(name, partitions, &configs)
    }

    fn seconds(&self, seconds: u64) -> Duration {
        if self.smoke { Duration::from_millis(100 * seconds) } else { Duration::from_secs(seconds) }
    }

    /// Produces to a topic, and fails if any request did.
    fn produce(&self, target: &Target, parameters: &Parameters, timing: &Timing) -> io::Result<Measure> {
        let measure = load::run(target, Workload::Produce, parameters, timing, &self.seats, &mut |_| true)?;
        match measure.errors.iter().next() {
            Some((name, count)) => Err(io::Error::other(format!("the node answered {name}, {count} times"))),
            None => Ok(measure),
        }
    }

    /// A node, and how long from its process's beginning until it has answered: it listens long before.
    fn node_and_answer(&self, fresh: bool, request: &[u8]) -> io::Result<(Server, Duration)> {
        if fresh {
            remove(&self.dir)?;
        }
        let begun = Instant::now();
        let node = self.node(false)?;
        let mut frame = Vec::new();
        ask(&mut TcpStream::connect(node.address)?, request, &mut frame)?;
        Ok((node, begun.elapsed()))
    }

    fn start(&self) -> io::Result<()> {
        let partitions = if self.smoke { 20 } else { 1000 };
        let (mut node, answered) = self.node_and_answer(true, &wire::create_topic("many", partitions, &[]))?;
        println!(
            "start, empty directory           {:>8.0} ms    until a topic of {partitions} partitions is made; resident {:.1} MiB",
            ms(answered),
            node.process().usage()?.resident_bytes as f64 / f64::from(1 << 20),
        );
        let record = wire::batch(1, 100, 1);
        let target =
            Target { topic: "many".to_owned(), leaders: vec![String::new(); usize::try_from(partitions).unwrap_or(0)] };
        for round in 1..=3 {
            let leaders = vec![node.address.to_string(); target.leaders.len()];
            let target = Target { leaders, ..target.clone() };
            let parameters = Parameters { connections: 1, in_flight: 16, partitions, ..one_record(100) };
            // Each partition at least once.
            let warm_up_bytes = record.len() as u64 * u64::try_from(partitions).unwrap_or(0);
            let timing = Timing { warm_up: Duration::ZERO, warm_up_bytes, window: self.seconds(1) };
            self.produce(&target, &parameters, &timing)?;
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

    fn idle(&self) -> io::Result<()> {
        let node = self.node(true)?;
        let target = self.topic(&node, "idle", 10)?;
        let timing = Timing { warm_up: Duration::ZERO, warm_up_bytes: 0, window: self.seconds(1) };
        let parameters = Parameters { connections: 4, in_flight: 1, ..one_record(100) };
        self.produce(&target, &parameters, &timing)?;
        sleep(self.seconds(2));
        let (cpu, pressure, begun) = (node.process().usage()?.cpu, io_pressure_us(), Instant::now());
        sleep(self.seconds(10));
        let elapsed = begun.elapsed();
        let share = (node.process().usage()?.cpu - cpu).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        let pressure = pressure.zip(io_pressure_us()).map(|(before, after)| (after.0 - before.0, after.1 - before.1));
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

    /// A consumer far behind, its reads slowed to 20 MB/s, and a producer on the same shard: with and without, in turn.
    fn slow_reader(&self) -> io::Result<()> {
        let total: u64 = if self.smoke { 32 << 20 } else { 1 << 30 };
        let node = self.node(true)?;
        let (cold, hot) = (self.topic(&node, "cold", 1)?, self.topic(&node, "hot", 1)?);
        let fill = Parameters { partitions: 1, connections: 1, in_flight: 4, ..Parameters::default() };
        let timing = Timing { warm_up: Duration::ZERO, warm_up_bytes: total, window: Duration::from_millis(10) };
        self.produce(&cold, &fill, &timing)?;
        let throttle = throttle::Throttle::new(node.process().id(), &self.dir)?;
        throttle.read_bytes_per_second(Some(20_000_000))?;
        let rate = Parameters {
            mode: Mode::Rate,
            rate_per_second: Some(2000.0),
            partitions: 1,
            connections: 1,
            ..one_record(1024)
        };
        let timing = Timing { warm_up: self.seconds(1) / 2, warm_up_bytes: 0, window: self.seconds(3) / 2 };
        let turn = || self.produce(&hot, &rate, &timing);
        let mut ratios = Vec::new();
        let (mut all_alone, mut all_beside) = (None, None);
        for round in 1..=5 {
            // In short turns, so that whatever else the machine does is charged to both alike.
            let (mut alone, mut beside, mut read) = (None, None, 0);
            for _ in 0..4 {
                add(&mut alone, &turn()?);
                let stop = Arc::new(AtomicBool::new(false));
                let reader = read_behind(node.address.to_string(), Arc::clone(&stop));
                let measure = turn();
                stop.store(true, Ordering::Relaxed);
                read += reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
                add(&mut beside, &measure?);
            }
            let (alone, beside) = (alone.expect("four turns"), beside.expect("four turns"));
            add(&mut all_alone, &alone);
            add(&mut all_beside, &beside);
            let (alone, beside) = (p99_us(&alone), p99_us(&beside));
            ratios.push(beside / alone);
            println!(
                "  round {round}: p99 of the producer {:.2} ms alone, {:.2} ms beside a reader of {:.0} MB: {:.2}x",
                alone / 1e3,
                beside / 1e3,
                read as f64 / 1e6,
                beside / alone
            );
        }
        println!(
            "slow reader at 20 MB/s               p99 of a producer on its shard: median {:.2}x of without, {:.2}x over all",
            ringmain::bench::stats::median(&ratios),
            p99_us(&all_beside.expect("five rounds")) / p99_us(&all_alone.expect("five rounds"))
        );
        Ok(())
    }
}

/// Requests of one record.
fn one_record(record_bytes: usize) -> Parameters {
    Parameters { record_bytes, records_per_batch: 1, ..Parameters::default() }
}

fn add(sum: &mut Option<Measure>, measure: &Measure) {
    match sum {
        Some(sum) => sum.add(measure),
        None => *sum = Some(measure.clone()),
    }
}

fn p99_us(measure: &Measure) -> f64 {
    measure.acknowledgement.value_at_quantile(0.99).max(1) as f64
}

/// Reads `cold` from its beginning, again and again, until told to stop. Answers the bytes it got. It gives way to the
/// producer, which shares its core: taking a reply of 1 MiB would hold the producer's answers up by as much as the node's
/// device does.
fn read_behind(address: String, stop: Arc<AtomicBool>) -> thread::JoinHandle<io::Result<u64>> {
    thread::spawn(move || {
        rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19)?;
        let mut stream = TcpStream::connect(address)?;
        let (mut next, mut bytes, mut frame) = (0, 0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            ask(&mut stream, &wire::fetch("cold", 0, next, 500, 1 << 20), &mut frame)?;
            let strange = || io::Error::other("the node's answer is none");
            let (_, found) = wire::fetch_answers(&frame).ok_or_else(strange)?;
            let records = found.first().filter(|found| found.error == 0).ok_or_else(strange)?.records;
            bytes += records.len() as u64;
            next = wire::batches(records).last().map_or(0, |(_, last, _)| last + 1);
        }
        Ok(bytes)
    })
}

/// One request and its answer, without the length prefix.
fn ask(stream: &mut TcpStream, request: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(request)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    frame.resize(usize::try_from(i32::from_be_bytes(len)).map_err(io::Error::other)?, 0);
    stream.read_exact(frame)
}

/// Microseconds so far in which some task, and in which every task, waited for I/O (PSI of the whole machine).
fn io_pressure_us() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/pressure/io").ok()?;
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.split("total=").nth(1)?.trim().parse().ok()
    };
    Some((total("some")?, total("full")?))
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
