//! `ringmain bench floor`: what this machine does with the same bytes and no broker; and the hidden server of one stage.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

use super::run::{duration, milliseconds, progress, save, shown};
use super::table;
use crate::bench::floor::{self, Case, Place};
use crate::bench::host::Host;
use crate::bench::load::Seats;
use crate::bench::report::{FloorRow, LoadPlace, Report, SCHEMA};
use crate::bench::wire;
use crate::cli::output::{Output, table as print_table};
use crate::cli::{Ended, moment, serve};
use crate::client::Stop;
use crate::io::floor::{Config, Stage};
use crate::io::pump;

#[derive(Args, Debug)]
pub(super) struct FloorArgs {
    /// Seconds that count, of each row.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Only these stages.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    stages: Vec<Stage>,
    /// Only batches of these sizes.
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = ["one-record", "16k", "64k", "1m"])]
    batches: Vec<String>,
    /// Below this directory the files are written, and removed at the end: 416 MiB for each server.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// A server on each of these cores [default: one, on the first that may be used].
    #[arg(long, value_name = "CORE,...", value_delimiter = ',')]
    server_cores: Vec<usize>,
    /// Cores of the load, one thread on each [default: the second half of those that may be used].
    #[arg(long, value_name = "CORE,...", value_delimiter = ',')]
    load_cores: Vec<usize>,
    /// Write a report as JSON; `-` is stdout, then without a table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report as HTML.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    /// How far it goes.
    #[arg(long, value_name = "NAME")]
    stage: Stage,
    /// Where it listens on 127.0.0.1; 0 is any free port.
    #[arg(long)]
    port: u16,
    /// Where it keeps its files.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Length of each of the four segments that it goes round; frames and windows are at most half as long.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 30))]
    segment_bytes: u64,
}

pub(super) const HELP: &str = "\
Stages, each the one before and one thing more: receive (and answer), checksum, copy, write (O_DIRECT, recycled segments),
flush (durable before the answer). And: sendfile, memory (Fetch from either), echo (small frames). Every figure of
`ringmain bench` can be said as a share of the stage that does the same work; --json and --html write the rows as a report.";

pub(super) fn run(args: &FloorArgs, output: &mut Output) -> Result<(), Ended> {
    let begun = (Instant::now(), SystemTime::now());
    let window = duration(args.seconds)?.max(Duration::from_millis(10));
    let stop = Stop::on_signals().map_err(|error| Ended::Failed(format!("signals: {error}")))?;
    let (first, rest) = halves();
    let servers =
        if args.server_cores.is_empty() { first[..first.len().min(1)].to_vec() } else { args.server_cores.clone() };
    let load = if args.load_cores.is_empty() { rest } else { args.load_cores.clone() };
    let mut cases = floor::all();
    cases.retain(|case| (args.stages.is_empty() || args.stages.contains(&case.stage)) && case.is_of(&args.batches));
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        title: "The floor of this host".to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        started: moment::show(milliseconds(begun.1)),
        host: Host::of(&args.data),
        load: LoadPlace { cores: shown(&load), threads: load.len().max(1) },
        ..Report::default()
    };
    let seats = Seats { cores: load };
    let ended = measure(&cases, &args.data, (&servers, &seats), window, &stop, &mut report.floor);
    report.seconds = begun.0.elapsed().as_secs_f64();
    // What was measured before it was stopped is still worth showing.
    write(args, &report, output)?;
    ended
}

/// The cores that may be used: the first half, which is the larger one, and the others.
fn halves() -> (Vec<usize>, Vec<usize>) {
    let mut first = pump::usable_cores();
    let rest = first.split_off(first.len().div_ceil(2));
    (first, rest)
}

/// Runs the cases one after another, on the servers' cores and the load's.
pub(super) fn measure(
    cases: &[Case],
    below: &Path,
    (cores, seats): (&[usize], &Seats),
    window: Duration,
    stop: &Stop,
    rows: &mut Vec<FloorRow>,
) -> Result<(), Ended> {
    let failed = |error: std::io::Error| Ended::Failed(format!("the floor: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let scratch = Scratch(below.join(format!("ringmain-floor.{}", std::process::id())));
    let warm_up = (window / 4).min(WARM_UP_MAX);
    let place = Place { program: &program, dir: &scratch.0, cores, seats, warm_up, window };
    let bar = progress(cases.len());
    for case in cases {
        bar.set_message(format!("floor: {}, {}", case.name(), bytes(case.payload_bytes())));
        let row = case.run(&place, &mut || !stop.is_set());
        if stop.is_set() {
            bar.finish_and_clear();
            return Err(Ended::Interrupted(format!("stopped during the floor's {}", case.name())));
        }
        rows.push(row.map_err(|error| Ended::Failed(format!("the floor's {}: {error}", case.name())))?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A directory that goes when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("{}: {error}", self.0.display());
            }
            _ => {}
        }
    }
}

fn write(args: &FloorArgs, report: &Report, output: &mut Output) -> Result<(), Ended> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if to_stdout {
        output.json(report);
    } else {
        print(&report.floor, output);
    }
    if let Some(path) = args.json.as_deref().filter(|_| !to_stdout) {
        save(path, &serde_json::to_string(report).expect("string keys"))?;
    }
    if let Some(path) = &args.html {
        save(path, &report.html())?;
        output.note(format_args!("report: {}", path.display()));
    }
    Ok(())
}

/// The floor's rows as a table.
pub(super) fn print(rows: &[FloorRow], output: &mut Output) {
    let cells = rows.iter().map(|row| {
        let latency = |of: fn(&crate::bench::report::Latency) -> f64| {
            row.latency.as_ref().map_or_else(|| "-".to_owned(), |latency| table::figure(of(latency)))
        };
        vec![
            row.stage.clone(),
            bytes(row.batch_bytes),
            table::figure(row.mb_per_second),
            format!("{:.0}", row.requests_per_second),
            format!("{:.2}", row.cpu_seconds_per_gb),
            format!("{:.1}", row.cpu_us_per_request),
            latency(|latency| latency.p50),
            latency(|latency| latency.p99),
            latency(|latency| latency.p999),
            row.note.clone().unwrap_or_default(),
        ]
    });
    let headings =
        ["floor", "of", "MB/s", "requests/s", "CPU s/GB", "CPU us/request", "p50 ms", "p99 ms", "p99.9 ms", ""];
    print_table(output, &headings, cells.collect());
}

fn bytes(count: usize) -> String {
    match count {
        ..10_000 => format!("{count} B"),
        10_000..1_000_000 => format!("{} KiB", count >> 10),
        _ => format!("{:.1} MiB", count as f64 / f64::from(1 << 20)),
    }
}

/// Serves one stage until SIGTERM or SIGINT comes, or until stdin is at its end where that is a pipe.
pub(super) fn serve(args: &ServerArgs, output: &mut Output) -> Result<(), Ended> {
    let signal = serve::stop_signal().map_err(|error| Ended::Failed(format!("signals: {error}")))?;
    let stdin = std::io::stdin();
    let mut stops: Vec<BorrowedFd<'_>> = vec![signal.as_fd()];
    // Where it is nothing that somebody holds open for us, its end says nothing.
    let held = fs::metadata("/proc/self/fd/0").map(|stdin| stdin.file_type());
    if held.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
        stops.push(stdin.as_fd());
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let usual = Config::new(args.stage, address, args.data.clone(), wire::batch(64, 1024, 42));
    let config = Config { segment_bytes: args.segment_bytes, ..usual };
    let served = crate::io::floor::serve(&config, &stops, |address| {
        output.line(format_args!("{} listens on {address}", args.stage.name()));
        output.flush();
    });
    output.json(&served.map_err(|error| Ended::Failed(error.to_string()))?);
    Ok(())
}

const WARM_UP_MAX: Duration = Duration::from_millis(500);
