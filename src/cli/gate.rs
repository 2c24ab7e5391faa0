//! `ringmain gate`: is this build, this setting or this broker worse than that one?

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::bench;
use super::{Ended, output::Output};
use crate::bench::counts::{self, Counted, Program, Tools};
use crate::bench::gate::junit::{self, Case};
use crate::bench::gate::wall::{self, Extent, Side};
use crate::bench::gate::{Bounds, compare_counts};
use crate::bench::load::Seats;
use crate::bench::node::Node;
use crate::bench::parameters::{Mode, Parameters, Workload};
use crate::bench::report::{Comparison, Verdict};
use crate::bench::row::Plan;
use crate::bench::server::Process;
use crate::bench::suite::{self, Size};
use crate::client::Stop;
use crate::io::pump;

#[derive(Args, Debug)]
pub(super) struct GateArgs {
    /// The program that is compared with [default: this one].
    #[arg(long, value_name = "PROGRAM")]
    base: Option<PathBuf>,
    /// The program that is judged [default: this one].
    #[arg(long, value_name = "PROGRAM")]
    head: Option<PathBuf>,
    /// A setting of base's node.
    #[arg(long, value_name = "KEY=VALUE")]
    base_set: Vec<String>,
    /// A setting of head's node.
    #[arg(long, value_name = "KEY=VALUE")]
    head_set: Vec<String>,
    /// A variable of base's environment.
    #[arg(long, value_name = "KEY=VALUE")]
    base_env: Vec<String>,
    /// A variable of head's environment.
    #[arg(long, value_name = "KEY=VALUE")]
    head_env: Vec<String>,
    /// A broker that runs already, as base: only times are compared then.
    #[arg(long, value_name = "HOST:PORT", requires = "head_bootstrap", conflicts_with_all = ["base", "head"])]
    base_bootstrap: Option<String>,
    /// A broker that runs already, as head.
    #[arg(long, value_name = "HOST:PORT", requires = "base_bootstrap")]
    head_bootstrap: Option<String>,
    /// Only one half.
    #[arg(long, value_enum)]
    only: Option<Half>,
    /// Rows whose times are compared, as `ringmain bench --list` names them; `latency` is 2,000 single records a second.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "produce-64k,small,latency")]
    rows: Vec<String>,
    /// Pairs of each row.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1000))]
    pairs: u16,
    /// Seconds of each side in a pair.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Memory figure of both nodes.
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    memory: String,
    /// Bounds, in place of those that are built in.
    #[arg(long, value_name = "FILE")]
    bounds: Option<PathBuf>,
    /// Head's file of stated trade-offs.
    #[arg(long, value_name = "FILE")]
    trade_offs: Option<PathBuf>,
    /// Base's file of them: lines that it has too excuse nothing.
    #[arg(long, value_name = "FILE", requires = "trade_offs")]
    base_trade_offs: Option<PathBuf>,
    /// Below this directory the nodes keep their data, and remove it at the end.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the result as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Half {
    /// What a build does per request, counted.
    Counts,
    /// Throughput and latency.
    Wall,
}

pub(super) const HELP: &str = "\
Two builds:      ringmain gate --base old/ringmain --head new/ringmain
Two settings:    ringmain gate --head-set flush.messages=1000
Two brokers:     ringmain gate --base-bootstrap a:9092 --head-bootstrap b:9092
Nothing at all:  ringmain gate          (this build against itself: how noisy is this machine?)

Counts (instructions under valgrind, system calls under strace, allocations) fail as soon as they are over their bound.
Times fail only if their whole 95 % interval is; where base against itself strays further than the bound, the answer is
`inconclusive`. Bounds with their reasons: benches/bounds.toml.

Exit codes: 0 not worse, 1 worse or failed, 2 wrong usage, 4 inconclusive.";

/// What is written as JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    schema: &'static str,
    verdict: Verdict,
    seconds: f64,
    comparisons: &'a [Comparison],
    not_counted: &'a [String],
}

pub(super) fn run(args: &GateArgs, output: &mut Output) -> Result<(), Ended> {
    let begun = Instant::now();
    let bounds = bounds(args)?;
    let plans = plans(args)?;
    let stop = Stop::on_signals().map_err(|error| Ended::Failed(format!("signals: {error}")))?;
    let mut found = Found::default();
    let brokers = args.base_bootstrap.is_some();
    if args.only != Some(Half::Wall) && !brokers {
        found.count(args, &bounds)?;
    }
    if stop.is_set() {
        return Err(Ended::Interrupted("stopped before times were measured".to_owned()));
    }
    if args.only != Some(Half::Counts) {
        found.time(args, &plans, &bounds, &stop)?;
    }
    found.tell(args, begun.elapsed(), output)
}

/// What the gate has found so far.
#[derive(Default)]
struct Found {
    comparisons: Vec<Comparison>,
    not_counted: Vec<String>,
}

impl Found {
    fn count(&mut self, args: &GateArgs, bounds: &Bounds) -> Result<(), Ended> {
        let tools = Tools::find();
        let mut sides = Vec::new();
        for program in programs(args, None)? {
            let failed = |error: counts::Error| Ended::Failed(format!("{}: {error}", program.path.display()));
            let mut counted = Counted::default();
            tracing::info!("counting {}", program.path.display());
            let parts = [counts::paths(&program, &tools, &args.data), counts::requests(&program, &tools, &args.data)];
            for part in parts {
                let part = part.map_err(failed)?;
                counted.counts.extend(part.counts);
                counted.missing.extend(part.missing);
            }
            sides.push(counted);
        }
        let [base, head] = [&sides[0], &sides[1]];
        self.not_counted.clone_from(&base.missing);
        self.not_counted.extend(head.missing.iter().filter(|line| !base.missing.contains(line)).cloned());
        self.comparisons.extend(compare_counts(&base.counts, &head.counts, ("base", "head"), bounds));
        Ok(())
    }

    fn time(&mut self, args: &GateArgs, plans: &[Plan], bounds: &Bounds, stop: &Stop) -> Result<(), Ended> {
        let failed = |error: std::io::Error| Ended::Failed(error.to_string());
        let mut cores = pump::usable_cores();
        let load = cores.split_off(cores.len().div_ceil(2));
        let mut nodes = Vec::new();
        if args.base_bootstrap.is_none() {
            for program in programs(args, Some(&args.memory))? {
                nodes.push(Node::start(&program, &args.data, &cores).map_err(failed)?);
            }
        }
        let (base, head) = (
            side("base", nodes.first(), args.base_bootstrap.as_ref()),
            side("head", nodes.get(1), args.head_bootstrap.as_ref()),
        );
        let each = Duration::try_from_secs_f64(args.seconds).ok().filter(|each| (MIN_EACH..MAX_EACH).contains(each));
        let each = each.ok_or_else(|| Ended::Usage(format!("--seconds {}: 0.3 to 600", args.seconds)))?;
        let extent = Extent { pairs: usize::from(args.pairs), each, seats: Seats { cores: load }, kept: None };
        let bar = ProgressBar::new((plans.len() * extent.pairs) as u64);
        bar.set_style(
            ProgressStyle::with_template("{bar:20} {pos}/{len} pairs {elapsed}, {eta} left  {msg}")
                .expect("a template"),
        );
        for (index, plan) in plans.iter().enumerate() {
            bar.set_message(plan.name.clone());
            let compared = wall::compare(plan, &base, &head, &extent, bounds, &mut |done| {
                bar.set_position((index * extent.pairs + done) as u64);
                !stop.is_set()
            });
            if stop.is_set() {
                return Err(Ended::Interrupted(format!("stopped during {}", plan.name)));
            }
            self.comparisons.extend(compared.map_err(|error| Ended::Failed(format!("{}: {error}", plan.name)))?);
        }
        bar.finish_and_clear();
        nodes.into_iter().try_for_each(Node::stop).map_err(failed)
    }

    /// Worse before inconclusive before the same.
    fn verdict(&self) -> Verdict {
        let any = |wanted| self.comparisons.iter().any(|comparison| comparison.verdict == Some(wanted));
        if any(Verdict::Worse) {
            Verdict::Worse
        } else if any(Verdict::Inconclusive) {
            Verdict::Inconclusive
        } else {
            Verdict::Same
        }
    }

    fn tell(&self, args: &GateArgs, took: Duration, output: &mut Output) -> Result<(), Ended> {
        bench::comparisons(&self.comparisons, output);
        for line in &self.not_counted {
            output.line(format_args!("not counted: {line}"));
        }
        let verdict = self.verdict();
        let seconds = took.as_secs_f64();
        if let Some(path) = &args.json {
            let result = Outcome {
                schema: "ringmain-gate/1",
                verdict,
                seconds,
                comparisons: &self.comparisons,
                not_counted: &self.not_counted,
            };
            bench::save(path, &serde_json::to_string(&result).expect("string keys"))?;
        }
        if let Some(path) = &args.junit {
            bench::save(path, &junit::document(seconds, &self.cases()))?;
        }
        let count = |wanted| self.comparisons.iter().filter(|comparison| comparison.verdict == Some(wanted)).count();
        let (worse, doubtful) = (count(Verdict::Worse), count(Verdict::Inconclusive));
        output.line(format_args!(
            "{} figures, {worse} worse, {doubtful} inconclusive, {seconds:.0} s",
            self.comparisons.len()
        ));
        match verdict {
            Verdict::Worse => Err(Ended::Failed("head is worse than base".to_owned())),
            Verdict::Inconclusive => Err(Ended::Inconclusive("this machine was too noisy to tell".to_owned())),
            Verdict::Same | Verdict::Better => Ok(()),
        }
    }

    fn cases(&self) -> Vec<(String, String, Case, String)> {
        let cases = self.comparisons.iter().map(|comparison| {
            let name = format!("{}/{}", comparison.row, comparison.metric);
            let measured = format!(
                "base {:.3}, head {:.3} {}, head/base {:.4} ({:.4} to {:.4}), bound {:.3}",
                comparison.base_median,
                comparison.head_median,
                comparison.unit,
                comparison.ratio,
                comparison.interval.0,
                comparison.interval.1,
                comparison.bound.unwrap_or(0.0)
            );
            let case = match comparison.verdict {
                Some(Verdict::Worse) => Case::Failed(measured.clone()),
                Some(Verdict::Inconclusive) => Case::Skipped("inconclusive: the machine was too noisy".to_owned()),
                _ => Case::Passed,
            };
            let suite = if comparison.control.is_some() { "times" } else { "counts" };
            (suite.to_owned(), name, case, measured)
        });
        let missing = self
            .not_counted
            .iter()
            .map(|line| ("counts".to_owned(), line.clone(), Case::Skipped("not counted".to_owned()), String::new()));
        cases.chain(missing).collect()
    }
}

/// Base and head, as they are started. Counting chooses the memory itself.
fn programs(args: &GateArgs, memory: Option<&str>) -> Result<[Program; 2], Ended> {
    let own = std::env::current_exe().map_err(|error| Ended::Failed(error.to_string()))?;
    let program = |path: &Option<PathBuf>, set: &[String], env: &[String]| {
        let mut serve: Vec<String> = memory.map_or_else(Vec::new, |memory| vec!["--memory".into(), memory.into()]);
        serve.extend(set.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]));
        let env = env.iter().map(|text| {
            let (key, value) = text.split_once('=').ok_or_else(|| Ended::Usage(format!("{text}: not KEY=VALUE")))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        let path = path.clone().unwrap_or_else(|| own.clone());
        if !path.is_file() {
            return Err(Ended::Usage(format!("{}: there is no such program", path.display())));
        }
        Ok(Program { path, env: env.collect::<Result<_, Ended>>()?, serve })
    };
    Ok([program(&args.base, &args.base_set, &args.base_env)?, program(&args.head, &args.head_set, &args.head_env)?])
}

fn side(name: &str, node: Option<&Node>, bootstrap: Option<&String>) -> Side {
    let address = bootstrap.and_then(|address| address.parse().ok());
    Side {
        name: name.to_owned(),
        bootstrap: node.map_or_else(|| bootstrap.cloned().unwrap_or_default(), Node::bootstrap),
        process: node.map(Node::process).or_else(|| address.and_then(Process::listening_on)),
    }
}

fn bounds(args: &GateArgs) -> Result<Bounds, Ended> {
    let read =
        |path: &PathBuf| fs::read_to_string(path).map_err(|error| Ended::Usage(format!("{}: {error}", path.display())));
    let mut bounds = match &args.bounds {
        None => Bounds::own(),
        Some(path) => Bounds::parse(&read(path)?).map_err(|why| Ended::Usage(format!("{}: {why}", path.display())))?,
    };
    if let Some(path) = &args.trade_offs {
        let base = args.base_trade_offs.as_ref().map(read).transpose()?.unwrap_or_default();
        bounds.trade(&read(path)?, &base).map_err(|why| Ended::Usage(format!("{}: {why}", path.display())))?;
    }
    Ok(bounds)
}

/// The rows, in the order in which they were named.
fn plans(args: &GateArgs) -> Result<Vec<Plan>, Ended> {
    let mut size = Size::quick();
    size.all = true;
    let mut steps = suite::steps(&size, true);
    steps.retain(|step| wall::is_comparable(&step.plan) && step.rate_of.is_none());
    let latency = latency_row(&steps);
    let mut plans = Vec::new();
    for name in &args.rows {
        let found = steps.iter().map(|step| &step.plan).find(|plan| &plan.name == name);
        let plan = found.or(Some(&latency).filter(|_| name == LATENCY)).cloned();
        plans.push(plan.ok_or_else(|| {
            let mut names: Vec<&str> = steps.iter().map(|step| step.plan.name.as_str()).collect();
            names.push(LATENCY);
            Ended::Usage(format!("there is no row {name:?} to compare; there are {}", names.join(", ")))
        })?);
    }
    Ok(plans)
}

/// Acknowledgements at a rate that either side holds easily.
fn latency_row(steps: &[suite::Step]) -> Plan {
    let mut plan = steps.first().expect("a suite has rows").plan.clone();
    LATENCY.clone_into(&mut plan.name);
    plan.workload = Workload::Produce;
    plan.timing.warm_up_bytes = 0;
    plan.parameters =
        Parameters { mode: Mode::Rate, rate_per_second: Some(2_000.0), records_per_batch: 1, ..Parameters::default() };
    plan
}

const LATENCY: &str = "latency";
const MIN_EACH: Duration = Duration::from_millis(300);
const MAX_EACH: Duration = Duration::from_secs(600);
