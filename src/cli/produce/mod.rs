//! `ringmain produce`: lines of files or of stdin become records, as any client would send them.
//!
//! Three stages: a thread reads blocks of lines ([`lines`]), this one takes lines apart ([`parse`]) and fills batches,
//! the producer's own threads send them. A line's bytes are sent as they are, without its newline.

mod lines;
mod parse;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::Ended;
use super::escapes::{self, Separator};
use super::output::Output;
use crate::client::cluster::Topic;
use crate::client::producer::{self, NewRecord, Place, Producer};
use crate::client::{Cluster, Error, Stop};
use crate::protocol::cold::{KafkaString, describe_configs_request as configs};
use crate::record::Compression;

use lines::{Block, Blocks, Source, Wait};
use parse::LineFormat;

/// Arguments of `produce`.
#[derive(Args, Debug)]
pub(super) struct ProduceArgs {
    /// The topic; made when it is not there, unless the node says no.
    #[arg(long, short, value_name = "TOPIC")]
    topic: String,
    /// Files of lines, one record a line; stdin where none is named, or by -.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The node.
    #[arg(long, short, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", visible_alias = "server")]
    bootstrap_server: String,
    /// What stands between key and value in each line, such as : or \t.
    #[arg(long, short = 'K', value_name = "TEXT", value_parser = escapes::separator)]
    key_separator: Option<Separator>,
    /// A header of every record; may be given again.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// What stands after the headers in each line; they look like name:value,name:value.
    #[arg(long, value_name = "TEXT", value_parser = escapes::separator)]
    headers_separator: Option<Separator>,
    /// A key, value or header value that is exactly this text is null.
    #[arg(long, short = 'Z', value_name = "TEXT")]
    null_marker: Option<String>,
    /// When a batch counts as delivered: 0 sent, 1 written, all durable.
    #[arg(long, value_enum, default_value = "all")]
    acks: Acks,
    /// The codec of batches.
    #[arg(long, short = 'z', value_enum, default_value = "none")]
    compression: Codec,
    /// The partition of every record; else by the hash of its key, as Kafka does, or a batch to each in turn.
    #[arg(long, short, value_name = "NUMBER")]
    partition: Option<i32>,
    /// Append each record once, whatever is sent again [default: true with acks=all].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    idempotent: Option<bool>,
    /// Bytes of records in a batch, before compression.
    #[arg(long, value_name = "SIZE", default_value = "512K", value_parser = escapes::size)]
    batch_size: usize,
    /// How long a batch waits for more records when nothing else is under way.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    linger_ms: u64,
    /// Requests on their way to a broker at once.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    in_flight: u16,
    /// Bytes of batches that may wait; then reading waits.
    #[arg(long, value_name = "SIZE", default_value = "32M", value_parser = escapes::size)]
    buffer: usize,
    /// A longer line is an error that names its place.
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = escapes::size)]
    max_line: usize,
    /// How long a batch may take, with everything that is tried again.
    #[arg(long, value_name = "MS", default_value_t = 120_000)]
    delivery_timeout_ms: u64,
    /// Neither progress nor summary.
    #[arg(long, short)]
    quiet: bool,
}

/// `name=value` of `--headers`.
#[derive(Clone, Debug)]
struct Header(Vec<u8>, Vec<u8>);

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once('=').ok_or("a header is name=value")?;
    Ok(Header(name.as_bytes().to_vec(), value.as_bytes().to_vec()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Acks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(alias = "-1")]
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

pub(super) const HELP: &str = "\
Examples:
  ringmain produce -t access access.log                 # a record for each line
  tail -F app.log | ringmain produce -t app             # as lines come
  ringmain produce -t users -K : users.txt              # lines like id:json; equal ids go to one partition
  ringmain produce -t access -z zstd --acks 1 *.log
  ringmain produce -t orders --headers-separator '\\t' -H app=shop orders.tsv   # id:7,type:new<TAB>the value

A batch that fails for a passing reason (the node restarts, a leader moves) is sent again until --delivery-timeout-ms is
over; with acks=all that never doubles a record. Anything else ends the command with Kafka's name of the error, and with
the file and the line. After Ctrl-C and after an error the last line says up to which line all is in the topic.
A line keeps all its bytes but its newline; a last line without newline is a record too.";

pub(super) fn run(args: &ProduceArgs, output: &mut Output) -> Result<(), Ended> {
    let sources = sources(&args.files)?;
    let stop = Stop::on_signals().map_err(|error| Ended::Failed(format!("signals: {error}")))?;
    let mut cluster = Cluster::open(&args.bootstrap_server, &stop)?;
    let topic = cluster.topic_with_leaders(&args.topic, true)?;
    let partition = args.partition.map(|number| index_of(&topic, number)).transpose()?;
    let config = args.config(&sources, max_message_bytes(&mut cluster, &args.topic))?;
    let names = config.sources.clone();
    let total = sources.iter().map(Source::len).sum::<Option<u64>>();
    let format = args.line_format();
    let blocks = Blocks::start(sources, args.max_line).map_err(|error| Ended::Failed(error.to_string()))?;
    let bar = if args.quiet || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { bar(total) };
    let begun = Instant::now();
    let mut lines =
        Lines { format, partition, headers: Vec::new(), next: Place::default(), bytes: 0, max: args.max_line };
    let (result, progress) = producer::with_producer(config, cluster, topic, |producer| {
        let pumped = pump(producer, &blocks, &mut lines, &stop, &bar, &names);
        let result = pumped.and_then(|()| flush(producer, &stop));
        let mut progress = producer.progress();
        progress.unacknowledged.get_or_insert(lines.next);
        Ok((result, progress))
    })?;
    bar.finish_and_clear();
    let place = progress.unacknowledged.unwrap_or_default();
    let reached = format!(
        "{} records {}; all lines before {}:{} are in {}",
        progress.records,
        if args.acks == Acks::None { "sent" } else { "acknowledged" },
        names.get(place.source).map_or("", String::as_str),
        place.line.max(1),
        args.topic
    );
    match result {
        Ok(()) if !args.quiet => {
            let seconds = begun.elapsed().as_secs_f64().max(1e-9);
            output.note(summary(&args.topic, progress.records, lines.bytes, seconds));
            Ok(())
        }
        Ok(()) => Ok(()),
        Err(Error::Stopped) => Err(Ended::Interrupted(format!("interrupted: {reached}"))),
        Err(error) => Err(Ended::Failed(format!("{error}\n{reached}"))),
    }
}

/// The last line of a command that moved records.
pub(super) fn summary(topic: &str, records: u64, bytes: u64, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let (per_second, megabytes) = (records as f64 / seconds, bytes as f64 / 1e6);
    format!(
        "{topic}: {records} records, {megabytes:.1} MB in {seconds:.2} s: {:.1} MB/s, {per_second:.0} records/s",
        megabytes / seconds
    )
}

/// Files that cannot be opened are said before anything is sent.
fn sources(files: &[PathBuf]) -> Result<Vec<Source>, Ended> {
    if files.is_empty() {
        return Ok(vec![Source::Stdin]);
    }
    let source = |path: &PathBuf| {
        if path == Path::new("-") {
            return Ok(Source::Stdin);
        }
        // Opened and closed again: a pipe would miss its writer, so only ordinary files are tried.
        if path.metadata().map_or(true, |found| found.is_file() || found.is_dir()) {
            lines::open(path).map_err(|error| Ended::Failed(format!("{}: {error}", path.display())))?;
        }
        Ok(Source::File(path.clone()))
    };
    files.iter().map(source).collect()
}

fn index_of(topic: &Topic, number: i32) -> Result<usize, Ended> {
    let found = topic.partitions.iter().position(|partition| partition.partition == number);
    let count = topic.partitions.len();
    found.ok_or_else(|| Ended::Usage(format!("--partition {number}: {} has {count}, numbered from 0", topic.name)))
}

/// The topic's largest batch. A node that does not tell is not asked twice.
fn max_message_bytes(cluster: &mut Cluster, topic: &str) -> Option<usize> {
    let resource = configs::DescribeConfigsResource::default()
        .with_resource_type(super::topics::RESOURCE_TOPIC)
        .with_resource_name(KafkaString::from(topic.to_owned()))
        .with_configuration_keys(Some(vec![KafkaString::from("max.message.bytes".to_owned())]));
    let request = configs::DescribeConfigsRequestData::default().with_resources(vec![resource]);
    let answer = cluster.call(&request).ok()?;
    let setting = answer.results.first()?.configs.first()?;
    setting.value.as_ref()?.as_str().parse().ok()
}

impl ProduceArgs {
    fn config(&self, sources: &[Source], max_message_bytes: Option<usize>) -> Result<producer::Config, Ended> {
        let all = self.acks == Acks::All;
        let idempotent = self.idempotent.unwrap_or(all && usize::from(self.in_flight) <= IN_FLIGHT_ORDERED_MAX);
        if idempotent && !all {
            return Err(Ended::Usage("--idempotent needs --acks all".to_owned()));
        }
        if idempotent && usize::from(self.in_flight) > IN_FLIGHT_ORDERED_MAX {
            return Err(Ended::Usage(format!("--idempotent needs --in-flight {IN_FLIGHT_ORDERED_MAX} or less")));
        }
        Ok(producer::Config {
            acks: match self.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            compression: self.compression.into(),
            enable_idempotence: idempotent,
            batch_size: self.batch_size,
            linger: Duration::from_millis(self.linger_ms),
            max_in_flight: self.in_flight.into(),
            buffer_memory: self.buffer,
            delivery_timeout: Duration::from_millis(self.delivery_timeout_ms),
            max_message_bytes,
            sources: sources.iter().map(Source::name).collect(),
        })
    }

    fn line_format(&self) -> LineFormat {
        LineFormat {
            key_separator: self.key_separator.clone().map(|separator| separator.0),
            headers_separator: self.headers_separator.clone().map(|separator| separator.0),
            null_marker: self.null_marker.as_ref().map(|text| text.as_bytes().to_vec()),
            headers: self.headers.iter().map(|Header(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

/// Where the lines are at.
struct Lines {
    format: LineFormat,
    partition: Option<usize>,
    /// The encoded headers of the record at hand, or of all.
    headers: Vec<u8>,
    /// The line that comes next; of a source that has not begun its line is 0.
    next: Place,
    bytes: u64,
    max: usize,
}

impl Lines {
    fn push(&mut self, producer: &mut Producer<'_>, block: &Block, names: &[String]) -> Result<(), Error> {
        if self.next.line == 0 || self.next.source != block.source {
            self.next = Place { source: block.source, line: 1 };
        }
        let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let timestamp = timestamp.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let mut rest = block.bytes();
        while !rest.is_empty() {
            let mut after = rest;
            let size = after.skip_until(b'\n').unwrap_or(rest.len());
            let line = &rest[..size];
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            rest = after;
            let here = |reason: String| {
                let name = names.get(self.next.source).map_or("", String::as_str);
                Error::Input(format!("{name}:{}: {reason}", self.next.line))
            };
            if line.len() > self.max {
                return Err(here(format!("a line of more than {} bytes; --max-line allows longer ones", self.max)));
            }
            let parts = self.format.parse(line, &mut self.headers).map_err(here)?;
            let place = self.next;
            let record = NewRecord { key: parts.key, value: parts.value, headers: &self.headers, timestamp, place };
            producer.push(self.partition, &record)?;
            self.next.line += 1;
            self.bytes += size as u64;
        }
        Ok(())
    }
}

/// Pushes lines until their end, or until the user stops it.
fn pump(
    producer: &mut Producer<'_>,
    blocks: &Blocks,
    lines: &mut Lines,
    stop: &Stop,
    bar: &ProgressBar,
    names: &[String],
) -> Result<(), Error> {
    loop {
        if stop.is_set() {
            // What was pushed is still delivered, if that is quick.
            flush(producer, stop)?;
            return Err(Error::Stopped);
        }
        let wait = if producer.is_lingering() { TICK.min(LINGER_LOOK) } else { TICK };
        match blocks.next(wait) {
            Ok(Some(block)) => {
                let pushed = lines.push(producer, &block, names);
                if matches!(pushed, Err(Error::Input(_))) {
                    // What is before the line that cannot be sent is delivered.
                    flush(producer, stop)?;
                }
                pushed?;
                blocks.recycle(block);
                bar.set_position(lines.bytes);
            }
            Ok(None) => return Ok(()),
            Err(Wait::NothingYet) => bar.tick(),
            Err(Wait::Failed(error)) => {
                flush(producer, stop)?;
                return Err(Error::Input(error.to_string()));
            }
        }
        producer.linger()?;
    }
}

/// Waits for the acknowledgements; after a stop no longer than a moment.
fn flush(producer: &mut Producer<'_>, stop: &Stop) -> Result<(), Error> {
    let mut patience = None;
    loop {
        match producer.flush(Some(Instant::now() + TICK)) {
            Err(Error::Stopped) => {}
            other => return other,
        }
        if stop.is_set() && Instant::now() >= *patience.get_or_insert_with(|| Instant::now() + STOP_PATIENCE) {
            return Err(Error::Stopped);
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes}, {binary_bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a template of ours"))
}

/// What a broker remembers of a producer is five batches.
const IN_FLIGHT_ORDERED_MAX: usize = 5;
const TICK: Duration = Duration::from_millis(100);
/// How often a batch that waits for more is looked at.
const LINGER_LOOK: Duration = Duration::from_millis(1);
const STOP_PATIENCE: Duration = Duration::from_secs(5);
