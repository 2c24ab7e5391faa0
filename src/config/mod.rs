//! The operator's settings: Kafka's keys, from a file, the environment and the command line, checked before anything
//! is started.
//!
//! `cli/` gathers [`Setting`]s from the three sources, weakest first; [`Config::from_settings`] makes one value of each
//! module's own `Config`. A key that neither Kafka nor Ringmain knows is an error that names the nearest one; a Kafka key
//! that has no effect here is named in one warning; a value that cannot be kept is an error. All errors are reported at
//! once, each with where it was set.
//!
//! **Invariant.** A `Config` that exists is valid: nothing below checks it again.

mod group_keys;
mod keys;
mod listeners;
mod sources;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use keys::{Key, all};
pub use listeners::{Endpoint, Listener};
pub use sources::{Origin, Setting, from_environment, from_flag, from_text};

use crate::io::device::{Device, Proof};
use crate::limits::{MEMORY_BYTES_MIN, Memory, descriptors_max};
use crate::metadata::TopicDefaults;
use crate::server;
use crate::storage;

/// All settings of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// What Metadata tells clients, where it was set; otherwise the first listener's address as it was bound.
    pub advertised: Option<Endpoint>,
    /// Where to show metrics over HTTP, if anywhere.
    pub metrics: Option<Listener>,
    /// Connections, handlers, memory and shards.
    pub server: server::Config,
    /// The log. `disk` is filled in by `serve`, which looks at the device.
    pub storage: storage::Config,
    /// What a topic obeys where it has no setting of its own.
    pub topics: TopicDefaults,
    /// Sentences that the operator should read.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a set of settings.
#[derive(Debug, thiserror::Error)]
#[error("{}", one_per_line(.0))]
pub struct Invalid(pub Vec<Problem>);

/// One thing that is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Neither Kafka nor Ringmain has this key.
    #[error("{origin}: unknown setting {key:?}; the nearest is {nearest:?}")]
    Unknown {
        /// The key.
        key: String,
        /// Where it was set.
        origin: Origin,
        /// The known key that is spelled most like it.
        nearest: String,
    },
    /// The value is not one of the key's.
    #[error("{origin}: {key}={value}: {why}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// Where it was set.
        origin: Origin,
        /// What is wrong with it, and what is possible.
        why: String,
    },
    /// A line of the file that is no setting.
    #[error("{origin}: {line:?} is not of the form key=value")]
    Line {
        /// Where.
        origin: Origin,
        /// The line.
        line: String,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Together(String),
}

/// What the machine offers, for the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory that the process may use.
    pub memory_bytes: u64,
    /// Cores that it may use.
    pub cores: usize,
}

/// What a setting changes of a module's `Config`.
type Change<C> = Box<dyn FnOnce(&mut C)>;

/// Settings as they are gathered, before they are checked together.
#[derive(Default)]
pub(crate) struct Draft {
    listeners: Option<String>,
    advertised: Option<String>,
    metrics: Option<Listener>,
    log_dir: Option<PathBuf>,
    memory_bytes: Option<u64>,
    shards: Option<usize>,
    server: Vec<Change<server::Config>>,
    storage: Vec<Change<storage::Config>>,
}

impl Config {
    /// Checks `settings`, in rising order of authority, and makes a configuration of them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn from_settings(settings: &[Setting], machine: Machine) -> Result<Self, Invalid> {
        let mut draft = Draft::default();
        let mut problems = Vec::new();
        let mut idle: Vec<&str> = Vec::new();
        for setting in settings {
            match keys::find(&setting.key) {
                keys::Found::Ours(key) => {
                    if let Err(why) = (key.set)(&mut draft, setting.value.trim()) {
                        problems.push(setting.problem(why));
                    }
                }
                keys::Found::Refused(why) if !setting.value.trim().is_empty() => {
                    problems.push(setting.problem(why.to_owned()));
                }
                keys::Found::Refused(_) => {}
                keys::Found::Kafkas => idle.push(&setting.key),
                keys::Found::Nobodys { nearest } => problems.push(Problem::Unknown {
                    key: setting.key.clone(),
                    origin: setting.origin.clone(),
                    nearest: nearest.to_owned(),
                }),
            }
        }
        idle.sort_unstable();
        idle.dedup();
        match draft.finish(settings, machine) {
            Ok(mut config) if problems.is_empty() => {
                if !idle.is_empty() {
                    let keys = idle.join(", ");
                    config.warnings.push(format!("these settings of Apache Kafka have no effect here: {keys}"));
                }
                Ok(config)
            }
            Ok(_) => Err(Invalid(problems)),
            Err(together) => {
                problems.extend(together);
                Err(Invalid(problems))
            }
        }
    }
}

impl Config {
    /// Takes over what `serve` found out about the device under the data directory.
    pub fn use_device(&mut self, device: &Device, proof: &Proof) {
        self.storage.disk.block_bytes = device.block_bytes;
        self.storage.disk.scope = proof.scope;
    }

    /// Takes over how many files the process may open, now that the limit is raised.
    pub fn use_open_files(&mut self, open_files: u64) {
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        self.storage.descriptors = descriptors_max(open_files, self.server.shards);
    }

    /// Settles what Metadata tells clients, now that the first listener has its port.
    pub fn advertise(&mut self, first: SocketAddr) {
        let own = || Endpoint { host: first.ip().to_string(), port: first.port() };
        let told = self.advertised.clone().unwrap_or_else(own);
        self.server.handlers.advertised = (told.host, told.port);
    }
}

impl Draft {
    fn finish(self, settings: &[Setting], machine: Machine) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        let text = self.listeners.as_deref().unwrap_or(listeners::DEFAULT);
        let listeners = listeners::parse(text).unwrap_or_else(|why| {
            problems.push(Problem::Together(format!("listeners={text}: {why}")));
            Vec::new()
        });
        let advertised = self.advertised.as_deref().and_then(|text| match listeners::parse_advertised(text) {
            Ok(endpoint) => Some(endpoint),
            Err(why) => {
                problems.push(Problem::Together(format!("advertised.listeners={text}: {why}")));
                None
            }
        });
        if let (Some(wildcard), None) = (listeners.iter().find(|listener| listener.is_wildcard()), &self.advertised) {
            problems.push(Problem::Together(wildcard.needs_advertised()));
        }
        let metrics = self.metrics.filter(|metrics| metrics.address.port() > 0);
        if let Some(both) = metrics.filter(|metrics| listeners.iter().any(|other| other.address == metrics.address)) {
            problems.push(Problem::Together(format!("listeners and metrics.listener both name {both}")));
        }
        let set = settings.iter().map(|setting| (setting.key.clone(), setting.value.trim().to_owned())).collect();
        let topics = TopicDefaults::new(&set).unwrap_or_else(|error| {
            problems.push(Problem::Together(error.to_string()));
            TopicDefaults::default()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let memory_bytes = self.memory_bytes.unwrap_or(machine.memory_bytes / 4).max(MEMORY_BYTES_MIN as u64);
        let memory = Memory::new(usize::try_from(memory_bytes).unwrap_or(usize::MAX));
        let shards = self.shards.unwrap_or(machine.cores).max(1);
        let mut server = server::Config::new(self.log_dir.unwrap_or_else(|| "data".into()), shards, memory);
        let mut storage = storage::Config {
            tail_bytes: memory.tail_bytes(shards),
            read_bytes: memory.log_read_bytes(shards),
            index_bytes: memory.index_bytes(shards),
            ..storage::Config::default()
        };
        self.server.into_iter().for_each(|set| set(&mut server));
        let (min, max) = (server.groups.min_session_timeout_ms, server.groups.max_session_timeout_ms);
        if min > max {
            let text = format!("group.min.session.timeout.ms={min} is above group.max.session.timeout.ms={max}");
            return Err(vec![Problem::Together(text)]);
        }
        self.storage.into_iter().for_each(|set| set(&mut storage));
        if let Ok(defaults) = topics.resolve("", &BTreeMap::new()) {
            storage.log = defaults.log;
        }
        Ok(Config { listeners, advertised, metrics: self.metrics, server, storage, topics, warnings: Vec::new() })
    }
}

fn one_per_line(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let separator = if index == 0 { "" } else { "\n" };
        write!(text, "{separator}{problem}").expect("a string takes it");
    }
    text
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<38} {} [{}]", self.name, self.about, self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Machine, Origin, Setting, from_environment, from_text};

    const MACHINE: Machine = Machine { memory_bytes: 8 << 30, cores: 4 };

    fn config(text: &str) -> Result<Config, String> {
        let settings = from_text(text, "x.properties").map_err(|problem| problem.to_string())?;
        Config::from_settings(&settings, MACHINE).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        let config = config("").expect("valid");
        let listeners: Vec<String> = config.listeners.iter().map(ToString::to_string).collect();
        assert_eq!(listeners, ["127.0.0.1:9092", "[::1]:9092"]);
        assert_eq!(config.server.log_dir.to_str(), Some("data"));
        assert_eq!(config.server.memory.total_bytes(), 2 << 30);
        assert_eq!(config.server.shards, 4);
        assert!(config.warnings.is_empty());
    }

    #[test]
    fn the_memory_figure_and_open_files_bound_the_log() {
        let mut config = config("memory=512M\nshards=2").expect("valid");
        let memory = config.server.memory;
        assert_eq!(config.storage.tail_bytes, memory.tail_bytes(2));
        assert_eq!(config.storage.index_bytes, memory.index_bytes(2));
        assert_eq!(config.storage.read_bytes + memory.reply_read_bytes(2), (512 << 20) / 100 * 7 / 2 / 2 * 2);
        config.use_open_files(1_000);
        assert_eq!(config.storage.descriptors, 125);
    }

    #[test]
    fn later_sources_win() {
        let mut settings = from_text("num.partitions=2\nnode.id=7\n", "x").expect("well-formed");
        settings.extend(from_environment([("RINGMAIN_NUM_PARTITIONS".to_owned(), "3".to_owned())]));
        settings.push(Setting { key: "node.id".into(), value: "9".into(), origin: Origin::Flag("--set".into()) });
        let config = Config::from_settings(&settings, MACHINE).expect("valid");
        assert_eq!((config.server.handlers.num_partitions, config.server.node_id), (3, Some(9)));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_and_where_it_is() {
        let error = config("\nnum.partition=3").expect_err("unknown");
        assert_eq!(error, "x.properties:2: unknown setting \"num.partition\"; the nearest is \"num.partitions\"");
    }

    #[test]
    fn a_key_of_kafka_without_effect_is_one_warning() {
        let config = config("process.roles=broker\nnum.io.threads=8\nprocess.roles=controller\n").expect("valid");
        let expected = "these settings of Apache Kafka have no effect here: num.io.threads, process.roles";
        assert_eq!(config.warnings, [expected]);
    }

    #[test]
    fn all_errors_come_at_once() {
        let error = config("num.partitions=none\nnode.id=-4\nlog.segment.bytes=1\nlisteners=0.0.0.0:9092\n")
            .expect_err("four errors");
        assert_eq!(error.lines().filter(|line| line.starts_with("x.properties:")).count(), 2, "{error}");
        assert!(error.contains("log.segment.bytes"), "{error}");
        assert!(error.contains("advertised.listeners=PLAINTEXT://localhost:9092"), "{error}");
    }

    #[test]
    fn what_would_be_a_lie_is_refused() {
        for line in [
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "compression.type=zstd",
            "log.cleanup.policy=compact",
            "default.replication.factor=3",
            "log.dirs=a,b",
            "listeners=SSL://127.0.0.1:9092",
        ] {
            assert!(config(line).is_err(), "{line}");
        }
        assert!(config("authorizer.class.name=\ncompression.type=producer\nlog.cleanup.policy=delete").is_ok());
    }

    #[test]
    fn metrics_are_shown_where_it_is_said_and_nowhere_else() {
        assert_eq!(config("").expect("valid").metrics, None);
        let metrics = config("metrics.listener=HTTP://127.0.0.1:9644").expect("valid").metrics;
        assert_eq!(metrics.map(|listener| listener.to_string()).as_deref(), Some("127.0.0.1:9644"));
        let error = config("metrics.listener=ftp://x:1").expect_err("no HTTP");
        assert!(error.starts_with("x.properties:1: metrics.listener=ftp://x:1: "), "{error}");
        let error = config("listeners=127.0.0.1:9092\nmetrics.listener=127.0.0.1:9092").expect_err("both");
        assert!(error.contains("both name 127.0.0.1:9092"), "{error}");
        assert!(config("listeners=127.0.0.1:0\nmetrics.listener=127.0.0.1:0").is_ok(), "each gets its own");
    }

    #[test]
    fn groups_obey_what_is_set() {
        let config =
            config("group.max.size=7\noffsets.retention.minutes=2\noffsets.topic.num.partitions=3").expect("valid");
        let groups = config.server.groups;
        assert_eq!((groups.max_size, groups.offsets_retention_ms), (7, 120_000));
        assert_eq!(config.server.handlers.offsets_topic.num_partitions, 3);
        let error =
            self::config("group.min.session.timeout.ms=10\ngroup.max.session.timeout.ms=9").expect_err("none fits");
        assert!(error.contains("group.max.session.timeout.ms=9"), "{error}");
        assert!(self::config("offsets.topic.replication.factor=3").is_err());
    }

    #[test]
    fn retention_is_looked_after_as_often_as_kafkas_key_says() {
        assert_eq!(config("").expect("valid").storage.retention_check_ms, 300_000);
        let config = config("log.retention.check.interval.ms=1000").expect("valid");
        assert_eq!((config.storage.retention_check_ms, config.warnings.len()), (1_000, 0));
    }

    #[test]
    fn the_finest_unit_wins_as_in_kafka() {
        let retention = |text| config(text).expect("valid").storage.log.retention_ms;
        assert_eq!(retention("log.retention.hours=1"), 3_600_000);
        assert_eq!(retention("log.retention.hours=1\nlog.retention.minutes=1"), 60_000);
        assert_eq!(retention("log.retention.ms=5\nlog.retention.hours=1"), 5);
        assert_eq!(retention("log.retention.hours=-1"), -1);
    }
}
