//! The rows of a suite, one after another, against a node of its own or a broker that runs already.

use std::fs;
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{floor, table};
use crate::bench::arrivals::Arrivals;
use crate::bench::compare;
use crate::bench::counts::Program;
use crate::bench::floor as bench_floor;
use crate::bench::host::Host;
use crate::bench::load::{Moment, Seats};
use crate::bench::node::Node;
use crate::bench::parameters::{Mode, Parameters};
use crate::bench::report::{Broker, LoadPlace, Report, Row, SCHEMA};
use crate::bench::row::{Plan, Subject};
use crate::bench::server::Process;
use crate::bench::suite::{self, Size, Step};
use crate::cli::Ended;
use crate::cli::moment;
use crate::cli::output::Output;
use crate::client::Stop;
use crate::io::pump;

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The broker to measure; without it, a node is started for it.
    #[arg(long, value_name = "HOST:PORT", visible_alias = "bootstrap-server")]
    bootstrap: Option<String>,
    /// How long and how much.
    #[arg(long, value_enum, default_value = "quick")]
    suite: Suite,
    /// Only these rows, in the suite's order.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    rows: Vec<String>,
    /// Name the rows and their questions, and do nothing.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    numbers: Numbers,
    /// Seconds that count, of each row.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Seconds before, that do not.
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<f64>,
    /// A setting of each row's topic, such as retention.bytes=1073741824.
    #[arg(long = "topic-config", value_name = "KEY=VALUE")]
    topic_configs: Vec<String>,
    /// What the topics' names begin with.
    #[arg(long, value_name = "TEXT", default_value = "ringmain-bench-")]
    topic_prefix: String,
    /// Cores of the load, one thread on each [default: the second half of those that may be used].
    #[arg(long, value_name = "CORE,...", value_delimiter = ',')]
    load_cores: Vec<usize>,
    /// Cores of the node that is started [default: the first half].
    #[arg(long, value_name = "CORE,...", value_delimiter = ',', conflicts_with = "bootstrap")]
    node_cores: Vec<usize>,
    /// Memory figure of the node that is started: as large as it may be filled for the first time while the clock runs, so
    /// that a larger one shows how fast this machine hands out fresh pages.
    #[arg(long, value_name = "SIZE", default_value = "512M", conflicts_with = "bootstrap")]
    memory: String,
    /// A setting of the node that is started.
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "bootstrap")]
    set: Vec<String>,
    /// Below this directory the node that is started keeps its data, and removes it at the end.
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "bootstrap")]
    data: PathBuf,
    /// Where the broker tells its metrics, if it is a Ringmain: its stages are then shown.
    #[arg(long, value_name = "HOST:PORT", requires = "bootstrap")]
    metrics: Option<String>,
    /// The broker's process, where it is not found by its port.
    #[arg(long, value_name = "PID", requires = "bootstrap")]
    pid: Option<u32>,
    /// What the broker is called in tables.
    #[arg(long, value_name = "TEXT", requires = "bootstrap")]
    broker_name: Option<String>,
    /// Do not measure the floor.
    #[arg(long)]
    no_floor: bool,
    /// Write the report as JSON; `-` is stdout, then without tables.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as HTML [default for the suite of this host: ringmain-bench.html].
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Under two minutes.
    Quick,
    /// Every row, 20 seconds each.
    Full,
    /// Half a second each: to see that it works.
    #[value(hide = true)]
    Smoke,
}

/// Numbers that replace those of every row that is run.
#[derive(Args, Debug)]
struct Numbers {
    /// Requests a second: at fixed moments, whatever the answers do.
    #[arg(long, value_name = "REQUESTS", help_heading = "Numbers of the rows")]
    rate: Option<f64>,
    /// Requests at recorded moments: a file of seconds, one moment a line, followed again and again. What a real
    /// producer did, bursts and all, in place of even moments.
    #[arg(long, value_name = "FILE", conflicts_with = "rate", help_heading = "Numbers of the rows")]
    arrivals: Option<PathBuf>,
    /// Bytes of each record's value.
    #[arg(long, value_name = "BYTES", help_heading = "Numbers of the rows")]
    record_bytes: Option<usize>,
    /// Records in each batch.
    #[arg(long, value_name = "COUNT", help_heading = "Numbers of the rows")]
    batch_records: Option<usize>,
    /// Partitions of the topic.
    #[arg(long, value_name = "COUNT", help_heading = "Numbers of the rows")]
    partitions: Option<i32>,
    /// Partitions that each Produce has a batch for.
    #[arg(long, value_name = "COUNT", help_heading = "Numbers of the rows")]
    partitions_per_request: Option<usize>,
    /// Connections that produce, or in a catch-up those that fetch.
    #[arg(long, value_name = "COUNT", help_heading = "Numbers of the rows")]
    connections: Option<usize>,
    /// Requests under way on each connection at most; a row at a fixed rate has no limit unless it is given one here, and
    /// counts what waits for its turn from when it was due.
    #[arg(long, value_name = "COUNT", help_heading = "Numbers of the rows")]
    in_flight: Option<usize>,
    /// Consumers, each of which reads everything.
    #[arg(long, value_name = "COUNT", help_heading = "Numbers of the rows")]
    consumers: Option<usize>,
    /// Bytes that a Fetch asks for.
    #[arg(long, value_name = "BYTES", help_heading = "Numbers of the rows")]
    fetch_bytes: Option<i32>,
    /// Which acknowledgement is asked for: all, 1 or 0.
    #[arg(long, value_name = "ACKS", help_heading = "Numbers of the rows")]
    acks: Option<String>,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd.
    #[arg(long, value_name = "CODEC", help_heading = "Numbers of the rows")]
    codec: Option<String>,
    /// Give records keys.
    #[arg(long, help_heading = "Numbers of the rows")]
    keyed: bool,
    /// Bytes that a catch-up finds in the log.
    #[arg(long, value_name = "BYTES", help_heading = "Numbers of the rows")]
    fill_bytes: Option<u64>,
}

impl Numbers {
    fn arrivals(&self) -> Result<Option<Arrivals>, Ended> {
        let Some(path) = &self.arrivals else { return Ok(None) };
        Arrivals::read(path).map(Some).map_err(|error| Ended::Usage(format!("--arrivals {}: {error}", path.display())))
    }

    fn apply(&self, plan: &mut Plan) {
        fn put<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(value) = from {
                *to = value.clone();
            }
        }
        let row: &mut Parameters = &mut plan.parameters;
        if self.rate.is_some() {
            (row.mode, row.rate_per_second) = (Mode::Rate, self.rate);
        }
        put(&mut row.record_bytes, self.record_bytes.as_ref());
        put(&mut row.records_per_batch, self.batch_records.as_ref());
        put(&mut row.partitions, self.partitions.as_ref());
        put(&mut row.partitions_per_request, self.partitions_per_request.as_ref());
        put(&mut row.connections, self.connections.as_ref());
        put(&mut row.in_flight, self.in_flight.as_ref());
        row.in_flight_at_rate = self.in_flight.or(row.in_flight_at_rate);
        put(&mut row.consumers, self.consumers.as_ref());
        put(&mut row.fetch_bytes, self.fetch_bytes.as_ref());
        put(&mut row.acks, self.acks.as_ref());
        put(&mut row.codec, self.codec.as_ref());
        put(&mut plan.fill_bytes, self.fill_bytes.as_ref());
        row.keyed |= self.keyed;
    }
}

pub(super) fn run(args: &RunArgs, output: &mut Output) -> Result<(), Ended> {
    let steps = chosen(args)?;
    if args.list {
        for step in &steps {
            output.line(format_args!("{:<22} {}", step.plan.name, step.plan.question));
        }
        return Ok(());
    }
    let begun = (Instant::now(), SystemTime::now());
    let cores = Cores::of(args);
    let stop = Stop::on_signals().map_err(|error| Ended::Failed(format!("signals: {error}")))?;
    let node = match &args.bootstrap {
        Some(_) => None,
        None => Some(own_node(args, &cores)?),
    };
    let (subject, broker) = subject(args, node.as_ref(), &cores)?;
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        title: title(&broker, args),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        started: moment::show(milliseconds(begun.1)),
        host: Host::of(if node.is_some() { &args.data } else { Path::new(".") }),
        brokers: vec![broker],
        load: LoadPlace { cores: shown(&cores.load), threads: cores.load.len().max(1) },
        ..Report::default()
    };
    let ended = rows(steps, &subject, &stop, &mut report);
    let own = node.is_some();
    if let Some(node) = node {
        node.stop().map_err(|error| Ended::Failed(error.to_string()))?;
    }
    let ended =
        ended.and_then(|()| if own && !args.no_floor { floor(args, &cores, &stop, &mut report) } else { Ok(()) });
    report.seconds = begun.0.elapsed().as_secs_f64();
    // What was measured before it was stopped is still worth showing.
    write(args, &report, output)?;
    ended
}

/// This very program, as a node.
fn own_node(args: &RunArgs, cores: &Cores) -> Result<Node, Ended> {
    let failed = |error: std::io::Error| Ended::Failed(error.to_string());
    let mut program = Program { path: std::env::current_exe().map_err(failed)?, ..Program::default() };
    program.serve.extend(["--memory".to_owned(), args.memory.clone()]);
    for setting in &args.set {
        program.serve.extend(["--set".to_owned(), setting.clone()]);
    }
    Node::start(&program, &args.data, &cores.node).map_err(failed)
}

/// The rows that were asked for, with their numbers.
fn chosen(args: &RunArgs) -> Result<Vec<Step>, Ended> {
    let mut size = match args.suite {
        Suite::Quick => Size::quick(),
        Suite::Full => Size::full(),
        Suite::Smoke => Size::smoke(),
    };
    // A row that is named may be one that only the full suite has.
    size.all |= !args.rows.is_empty() || args.list;
    let mut steps = suite::steps(&size, args.bootstrap.is_none());
    if let Some(unknown) = args.rows.iter().find(|name| !steps.iter().any(|step| &step.plan.name == *name)) {
        let names: Vec<&str> = steps.iter().map(|step| step.plan.name.as_str()).collect();
        return Err(Ended::Usage(format!("there is no row {unknown:?}; there are {}", names.join(", "))));
    }
    steps.retain(|step| args.rows.is_empty() || args.rows.contains(&step.plan.name));
    let arrivals = args.numbers.arrivals()?;
    for step in &mut steps {
        args.numbers.apply(&mut step.plan);
        if let Some(arrivals) = &arrivals {
            step.plan.parameters.follow(arrivals.clone());
        }
        if step.plan.parameters.rate_per_second.is_some() {
            step.rate_of = None;
        }
        if let Some(seconds) = args.seconds {
            step.plan.timing.window = duration(seconds)?.max(Duration::from_millis(10));
        }
        if let Some(seconds) = args.warm_up {
            step.plan.timing.warm_up = duration(seconds)?;
        }
        for text in &args.topic_configs {
            let (key, value) =
                text.split_once('=').ok_or_else(|| Ended::Usage(format!("--topic-config {text}: not key=value")))?;
            step.plan.configs.retain(|(other, _)| other != key);
            step.plan.configs.push((key.to_owned(), value.to_owned()));
        }
        // The rate of a row that takes it from another is not known yet.
        let mut known = step.plan.parameters.clone();
        known.rate_per_second = known.rate_per_second.or_else(|| step.rate_of.map(|_| 1.0));
        known.check(step.plan.workload).map_err(|why| Ended::Usage(format!("{}: {why}", step.plan.name)))?;
    }
    for step in &steps {
        let missing = step.rate_of.filter(|(of, _)| !steps.iter().any(|other| other.plan.name == *of));
        if let Some((of, _)) = missing {
            return Err(Ended::Usage(format!(
                "{} takes its rate from {of}: run that too, or give --rate",
                step.plan.name
            )));
        }
    }
    Ok(steps)
}

pub(super) fn duration(seconds: f64) -> Result<Duration, Ended> {
    let bounded = Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= DURATION_MAX);
    bounded.ok_or_else(|| Ended::Usage(format!("{seconds} is no number of seconds from 0 to a day")))
}

/// Which cores are whose.
struct Cores {
    node: Vec<usize>,
    load: Vec<usize>,
}

impl Cores {
    fn of(args: &RunArgs) -> Self {
        let mut usable = pump::usable_cores();
        let half = usable.len().div_ceil(2);
        let rest = usable.split_off(half.min(usable.len()));
        let own = args.bootstrap.is_none();
        let node = if args.node_cores.is_empty() && own { usable } else { args.node_cores.clone() };
        // Nothing is known of where a broker runs: the kernel may place the load.
        let load = if args.load_cores.is_empty() && own { rest } else { args.load_cores.clone() };
        Self { node, load }
    }
}

fn subject(args: &RunArgs, node: Option<&Node>, cores: &Cores) -> Result<(Subject, Broker), Ended> {
    let seats = Seats { cores: cores.load.clone() };
    let prefix = args.topic_prefix.clone();
    if let Some(node) = node {
        let (bootstrap, process) = (node.bootstrap(), Some(node.process()));
        return Ok((Subject { bootstrap, process, metrics: node.metrics.clone(), seats, prefix }, node.broker()));
    }
    let bootstrap = args.bootstrap.clone().unwrap_or_default();
    let mut addresses =
        bootstrap.to_socket_addrs().map_err(|error| Ended::Usage(format!("--bootstrap {bootstrap}: {error}")))?;
    let found = addresses.find(|address| address.ip().is_loopback()).and_then(Process::listening_on);
    let process = args.pid.map(Process::new).or(found);
    let broker = Broker {
        name: args.broker_name.clone().unwrap_or_else(|| bootstrap.clone()),
        version: None,
        address: bootstrap.clone(),
        pid: process.map(Process::id),
        cores: process.and_then(Process::cores),
        settings: Vec::new(),
    };
    Ok((Subject { bootstrap, process, metrics: args.metrics.clone(), seats, prefix }, broker))
}

fn rows(steps: Vec<Step>, subject: &Subject, stop: &Stop, report: &mut Report) -> Result<(), Ended> {
    let bar = progress(steps.len());
    for mut step in steps {
        if let Some((of, share)) = step.rate_of {
            let best = report.rows.iter().find(|row| row.name == of).map(|row| row.requests_per_second);
            step.plan.parameters.rate_per_second = best.map(|best| (best * share).max(1.0));
        }
        let plan = &step.plan;
        bar.set_message(plan.name.clone());
        let row = plan.run(subject, &mut |moment| {
            if let Moment::Passing { bytes, requests, elapsed } = moment {
                bar.set_message(format!(
                    "{}: {} MB and {requests} requests in {:.1} s",
                    plan.name,
                    bytes / 1_000_000,
                    elapsed.as_secs_f64()
                ));
            }
            !stop.is_set()
        });
        if stop.is_set() {
            bar.finish_and_clear();
            return Err(Ended::Interrupted(format!("stopped during {}", plan.name)));
        }
        let row = row.map_err(|error| Ended::Failed(format!("{}: {error}", plan.name)))?;
        bar.inc(1);
        bar.println(said(&row));
        if bar.is_hidden() {
            tracing::info!("{}", said(&row));
        }
        report.rows.push(row);
    }
    bar.finish_and_clear();
    Ok(())
}

/// What the rows are a share of: the same loads on the same cores and disk, with no broker.
fn floor(args: &RunArgs, cores: &Cores, stop: &Stop, report: &mut Report) -> Result<(), Ended> {
    let window = match args.suite {
        Suite::Quick => Duration::from_millis(1_500),
        Suite::Full => Duration::from_secs(10),
        Suite::Smoke => Duration::from_millis(200),
    };
    let seats = Seats { cores: cores.load.clone() };
    let cases = bench_floor::for_rows(&report.rows);
    let ended = floor::measure(&cases, &args.data, (&cores.node, &seats), window, stop, &mut report.floor);
    compare::floor_shares(report);
    for row in &report.rows {
        if let Some(share) = row.floor_share.as_ref().filter(|share| share.share > 1.0) {
            report.notes.push(format!(
                "{}: {:.0} % of the floor cannot be: the machine did less while the floor was measured",
                row.name,
                share.share * 100.0
            ));
        }
    }
    ended
}

/// A row in a line, as it ends.
fn said(row: &Row) -> String {
    let latency =
        row.latency.end_to_end.as_ref().or(row.latency.acknowledgement.as_ref()).or(row.latency.fetch.as_ref());
    let latency = latency.map_or_else(String::new, |latency| {
        format!(", p50 {} p99 {} ms", table::figure(latency.p50), table::figure(latency.p99))
    });
    format!(
        "{}: {} MB/s, {:.0} requests/s{latency}",
        row.name,
        table::figure(row.mb_per_second),
        row.requests_per_second
    )
}

pub(super) fn progress(rows: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {elapsed}  {msg}");
    let bar = ProgressBar::new(rows as u64);
    bar.set_style(style.expect("a template that indicatif takes"));
    bar
}

fn write(args: &RunArgs, report: &Report, output: &mut Output) -> Result<(), Ended> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if to_stdout {
        output.json(report);
    } else {
        table::print(report, output);
    }
    if let Some(path) = args.json.as_deref().filter(|_| !to_stdout) {
        save(path, &serde_json::to_string(report).expect("string keys"))?;
    }
    let whole = args.bootstrap.is_none() && args.rows.is_empty() && args.json.is_none();
    let html = args.html.clone().or_else(|| whole.then(|| PathBuf::from("ringmain-bench.html")));
    if let Some(path) = html {
        save(&path, &report.html())?;
        output.note(format_args!("report: {}", path.display()));
    }
    Ok(())
}

/// Writes a file whole or not at all.
pub(in crate::cli) fn save(path: &Path, text: &str) -> Result<(), Ended> {
    let failed = |error: std::io::Error| Ended::Failed(format!("{}: {error}", path.display()));
    let part = path.with_extension("part");
    fs::write(&part, text).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)
}

fn title(broker: &Broker, args: &RunArgs) -> String {
    match &args.bootstrap {
        Some(_) => format!("{}, measured by Ringmain's load", broker.name),
        None => "A durable log on this host".to_owned(),
    }
}

pub(super) fn milliseconds(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(0)
}

pub(super) fn shown(cores: &[usize]) -> Option<String> {
    let words: Vec<String> = cores.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join(","))
}

const DURATION_MAX: Duration = Duration::from_secs(86_400);
