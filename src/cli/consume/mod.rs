//! `ringmain consume`: records to stdout, from chosen partitions and offsets or as a member of a group.
//!
//! The fetchers' threads receive, this one checks, decompresses and prints ([`sink`]) in a [`mod@format`]. In a group, what
//! is committed is what has been written to stdout.

mod format;
mod sink;

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::escapes::{self, Separator};
use super::output::Output;
use super::{Ended, moment};
use crate::client::cluster::{EARLIEST, LATEST, Topic};
use crate::client::consumer::fetcher::{self, Chunks, Reset, Span};
use crate::client::consumer::member::{Member, Pulse};
use crate::client::consumer::offsets;
use crate::client::{Cluster, Error, Stop};
use format::{Columns, Format, Token};
use sink::Sink;

/// Arguments of `consume`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(super) struct ConsumeArgs {
    /// The topic.
    #[arg(long, short, value_name = "TOPIC")]
    topic: String,
    /// The node.
    #[arg(long, short, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", visible_alias = "server")]
    bootstrap_server: String,
    /// Begin with the oldest record; in a group only where nothing is committed.
    #[arg(long, conflicts_with_all = ["offset", "timestamp"])]
    from_beginning: bool,
    /// Begin at an offset: a number, earliest, latest, or -N for the last N of each partition [default: latest].
    #[arg(long, short, value_name = "OFFSET", value_parser = start, allow_hyphen_values = true, conflicts_with = "group")]
    offset: Option<Start>,
    /// Begin with the first record of that time or later: milliseconds since 1970, or 2026-11-21T10:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment::parse, conflicts_with_all = ["offset", "group"])]
    timestamp: Option<i64>,
    /// Read this partition alone; may be given again.
    #[arg(long, short, value_name = "NUMBER", conflicts_with = "group")]
    partition: Vec<i32>,
    /// Be a member of this group: it shares out the partitions and remembers how far it is.
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// The name of a static member, which keeps its partitions while it restarts.
    #[arg(long, value_name = "NAME", requires = "group")]
    group_instance_id: Option<String>,
    /// Where to go on when the log does not have the offset [default: fail after --offset, earliest after
    /// --from-beginning, else latest].
    #[arg(long, value_enum)]
    reset: Option<ResetArg>,
    /// End after so many records.
    #[arg(long, short = 'c', value_name = "COUNT")]
    max_messages: Option<u64>,
    /// End at the ends that the partitions have now, instead of waiting for more.
    #[arg(long, short = 'e')]
    exit_eof: bool,
    /// End when no record has come for so long.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// Print like kcat: %s value, %k key, %t topic, %p partition, %o offset, %T timestamp, %h headers, %S %K lengths.
    #[arg(long, short, value_name = "FORMAT", value_parser = template, conflicts_with = "json")]
    format: Option<Template>,
    /// Print a JSON object a line.
    #[arg(long, short = 'J')]
    json: bool,
    /// Print the key before the value, as kafka-console-consumer does.
    #[arg(long)]
    print_key: bool,
    /// Print the partition.
    #[arg(long)]
    print_partition: bool,
    /// Print the offset.
    #[arg(long)]
    print_offset: bool,
    /// Print the timestamp and who set it.
    #[arg(long)]
    print_timestamp: bool,
    /// Print the headers.
    #[arg(long)]
    print_headers: bool,
    /// What stands between these.
    #[arg(long, short = 'K', value_name = "TEXT", default_value = "\\t", value_parser = escapes::separator)]
    key_separator: Separator,
    /// What stands for null [default: null; nothing in a --format].
    #[arg(long, short = 'Z', value_name = "TEXT")]
    null_marker: Option<String>,
    /// No summary.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) const HELP: &str = "\
Examples:
  ringmain consume -t access --from-beginning -e > access.log   # all that is there, byte for byte
  ringmain consume -t access                                    # what comes from now on, until Ctrl-C
  ringmain consume -t access -o -10 -e -f '%p %o %T %s\\n'        # the last ten of each partition
  ringmain consume -t access --timestamp 2026-11-21T10:30:00Z --json
  ringmain consume -t access -g readers --from-beginning        # shares the partitions, goes on where it was

Each record is its value and a newline, in order within its partition. In a group, what has been written to stdout is
committed every five seconds and at the end; after kill -9 the records since then come again.";

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
    At(i64),
    /// So many before the end.
    Last(i64),
    /// The first of that time or later.
    Time(i64),
}

fn start(text: &str) -> Result<Start, String> {
    Ok(match text {
        "earliest" | "beginning" => Start::Earliest,
        "latest" | "end" => Start::Latest,
        text => {
            let number: i64 = text.parse().map_err(|_not_one| "a number, earliest, latest, or -N".to_owned())?;
            if number < 0 { Start::Last(number.saturating_neg()) } else { Start::At(number) }
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ResetArg {
    Earliest,
    Latest,
    Fail,
}

#[derive(Clone, Debug)]
struct Template(Vec<Token>);

fn template(text: &str) -> Result<Template, String> {
    Format::template(text).map(Template)
}

pub(super) fn run(args: &ConsumeArgs, output: &mut Output) -> Result<(), Ended> {
    let stop = Stop::on_signals().map_err(|error| Ended::Failed(format!("signals: {error}")))?;
    let mut cluster = Cluster::open(&args.bootstrap_server, &stop)?;
    let topic = cluster.topic_with_leaders(&args.topic, false)?;
    let sink = Sink::stdout(args.format(), &args.topic, args.max_messages);
    let mut sink = sink.map_err(|error| Ended::Failed(format!("stdout: {error}")))?;
    let begun = Instant::now();
    let ended = match &args.group {
        Some(group) => in_group(args, group, cluster, &topic, &mut sink),
        None => alone(args, cluster, &topic, &mut sink),
    };
    if !args.quiet {
        let seconds = begun.elapsed().as_secs_f64().max(1e-9);
        output.note(super::produce::summary(&args.topic, sink.records, sink.bytes, seconds));
    }
    match ended {
        // Ctrl-C is how following ends.
        Ok(()) | Err(Error::Stopped) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl ConsumeArgs {
    fn format(&self) -> Format {
        let null_or = |other: &str| self.null_marker.as_deref().unwrap_or(other).as_bytes().to_vec();
        if self.json {
            return Format::Json;
        }
        if let Some(Template(tokens)) = &self.format {
            return Format::Template { tokens: tokens.clone(), null: null_or("") };
        }
        let columns = Columns {
            timestamp: self.print_timestamp,
            partition: self.print_partition,
            offset: self.print_offset,
            headers: self.print_headers,
            key: self.print_key,
            separator: self.key_separator.0.clone(),
            null: null_or("null"),
        };
        if columns.is_plain() { Format::Raw { null: columns.null } } else { Format::Columns(columns) }
    }

    fn start(&self) -> Start {
        let beginning = self.from_beginning.then_some(Start::Earliest);
        beginning.or(self.offset).or(self.timestamp.map(Start::Time)).unwrap_or(Start::Latest)
    }

    fn reset(&self) -> Reset {
        match (self.reset, self.start()) {
            (Some(ResetArg::Earliest), _) | (None, Start::Earliest) => Reset::Earliest,
            (Some(ResetArg::Fail), _) | (None, Start::At(_)) => Reset::Fail,
            _ => Reset::Latest,
        }
    }

    fn partitions(&self, topic: &Topic) -> Result<Vec<i32>, Error> {
        let all = topic.numbers();
        if let Some(number) = self.partition.iter().find(|number| !all.contains(number)) {
            return Err(Error::Input(format!(
                "--partition {number}: {} has {}, numbered from 0",
                topic.name,
                all.len()
            )));
        }
        Ok(if self.partition.is_empty() { all } else { self.partition.clone() })
    }
}

/// From where to where each partition is read; `committed` goes before what the arguments say.
fn spans(
    args: &ConsumeArgs,
    cluster: &mut Cluster,
    partitions: &[i32],
    committed: &BTreeMap<i32, i64>,
) -> Result<Vec<Span>, Error> {
    let start = args.start();
    let mut at = |moment| {
        let wanted: Vec<(i32, i64)> = partitions.iter().map(|partition| (*partition, moment)).collect();
        if wanted.is_empty() { Ok(BTreeMap::new()) } else { cluster.offsets_at(&args.topic, &wanted) }
    };
    let none = BTreeMap::new;
    let ends = if args.exit_eof || !matches!(start, Start::Earliest | Start::At(_)) { at(LATEST)? } else { none() };
    let starts = if matches!(start, Start::Earliest | Start::Last(_)) { at(EARLIEST)? } else { none() };
    let times = if let Start::Time(time) = start { at(time)? } else { none() };
    let known = |found: &BTreeMap<i32, i64>, partition| found.get(&partition).copied().unwrap_or(0);
    let span = |partition: &i32| {
        let partition = *partition;
        let (begin, end) = (known(&starts, partition), known(&ends, partition));
        let asked = match start {
            Start::Earliest => begin,
            Start::Latest => end,
            Start::At(offset) => offset,
            Start::Last(count) => end.saturating_sub(count).max(begin),
            // -1: nothing is so late.
            Start::Time(_) => times.get(&partition).copied().filter(|offset| *offset >= 0).unwrap_or(end),
        };
        let from = committed.get(&partition).copied().unwrap_or(asked);
        // An offset beyond the end is the node's to refuse, where it is to be refused.
        let refused = from > end && args.reset() == Reset::Fail;
        Span { partition, from, until: args.exit_eof.then_some(end).filter(|_| !refused) }
    };
    Ok(partitions.iter().map(span).collect())
}

fn alone(args: &ConsumeArgs, mut cluster: Cluster, topic: &Topic, sink: &mut Sink) -> Result<(), Error> {
    let partitions = args.partitions(topic)?;
    let spans = spans(args, &mut cluster, &partitions, &BTreeMap::new())?;
    let stop = cluster.stop().clone();
    let over = Stop::default();
    fetcher::with_fetchers(cluster, topic, &spans, args.reset(), &over, |chunks| {
        pump(args, chunks, &spans, sink, &stop, &over, |_| ())
    })
}

fn in_group(
    args: &ConsumeArgs,
    group: &str,
    mut cluster: Cluster,
    topic: &Topic,
    sink: &mut Sink,
) -> Result<(), Error> {
    let mut member = Member::new(group, args.group_instance_id.as_deref(), &args.topic);
    let ended = generations(args, group, &mut member, &mut cluster, topic, sink);
    // The user's wish to end must not keep it from leaving.
    let left = Cluster::open(&args.bootstrap_server, &Stop::default()).and_then(|mut fresh| member.leave(&mut fresh));
    ended.and(left)
}

fn generations(
    args: &ConsumeArgs,
    group: &str,
    member: &mut Member,
    cluster: &mut Cluster,
    topic: &Topic,
    sink: &mut Sink,
) -> Result<(), Error> {
    let stop = cluster.stop().clone();
    loop {
        let partitions = member.join(cluster)?;
        tracing::debug!("{group}: generation {} with {partitions:?}", member.identity().generation);
        let committed = offsets::committed(cluster, group, Some((&args.topic, &partitions)))?;
        let committed = committed.into_iter().map(|((_, partition), offset)| (partition, offset)).collect();
        let spans = spans(args, cluster, &partitions, &committed)?;
        let (pulse, over) = (Pulse::default(), Stop::default());
        let mut own = Cluster::open(&args.bootstrap_server, &over)?;
        let mut fetching = Cluster::open(&args.bootstrap_server, &over)?;
        // Addresses are learned with the leaders.
        let topic = fetching.topic_with_leaders(&topic.name, false)?;
        let (ended, again, offsets) = thread::scope(|scope| {
            scope.spawn(|| pulse.run(&mut own, group, member.identity(), &over));
            let ended = fetcher::with_fetchers(fetching, &topic, &spans, args.reset(), &Stop::default(), |chunks| {
                pump(args, chunks, &spans, sink, &stop, &over, |written| {
                    pulse.record(written.into_iter().map(|(partition, next)| ((args.topic.clone(), partition), next)));
                })
            });
            let (again, offsets) = (over.is_set(), pulse.end());
            // Whatever the heartbeats wait for.
            over.set();
            (ended, again, offsets)
        });
        if let Some(offsets) = offsets {
            // On connections that the user's wish to end does not cut.
            let mut fresh = Cluster::open(&args.bootstrap_server, &Stop::default())?;
            match member.commit(&mut fresh, &offsets) {
                // Others have gone on without this member: the records since the last commit come again.
                Err(error) if again && (error.code().is_some() || error.is_retriable()) => tracing::warn!("{error}"),
                other => other?,
            }
        }
        if let Some(error) = pulse.failure() {
            return Err(error);
        }
        ended?;
        if !again || stop.is_set() || sink.is_full() {
            return Ok(());
        }
    }
}

/// Prints until the end, the user's wish, or `over`; tells `written` what has been written.
fn pump(
    args: &ConsumeArgs,
    chunks: &Chunks,
    spans: &[Span],
    sink: &mut Sink,
    stop: &Stop,
    over: &Stop,
    mut written: impl FnMut(BTreeMap<i32, i64>),
) -> Result<(), Error> {
    let ends: BTreeMap<i32, Option<i64>> = spans.iter().map(|span| (span.partition, span.until)).collect();
    let timeout = args.timeout_ms.map(Duration::from_millis);
    let mut last = Instant::now();
    while !(stop.is_set() || over.is_set() || sink.is_full()) {
        match chunks.next(TICK) {
            Ok(Some(chunk)) => {
                for (partition, from, batches) in chunk.parts() {
                    let until = ends.get(&partition).copied().flatten();
                    sink.print(partition, &Range { start: from, end: until.unwrap_or(i64::MAX) }, batches)?;
                }
                chunks.recycle(chunk);
                written(sink.flush()?);
                last = Instant::now();
            }
            // A member of a group that has no partition waits for one.
            Ok(None) if spans.is_empty() && !args.exit_eof => sleep(TICK),
            Ok(None) => return Ok(()),
            Err(Error::Stopped) => {}
            Err(error) => return Err(error),
        }
        if timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
            return Ok(());
        }
    }
    Ok(())
}

const TICK: Duration = Duration::from_millis(50);
