//! The table of settings that have an effect, and what to say of every other key.

use std::path::PathBuf;

use super::Draft;
use super::group_keys::GROUP_KEYS;
use crate::limits::PARTITIONS_A_TOPIC_MAX;

/// A setting that has an effect.
pub struct Key {
    /// Its name: Kafka's where Kafka has one.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// What holds where it is not set.
    pub default: &'static str,
    pub(super) set: fn(&mut Draft, &str) -> Result<(), String>,
}

/// What a key turned out to be.
pub(super) enum Found {
    /// It has an effect.
    Ours(&'static Key),
    /// Kafka's, and without effect here.
    Kafkas,
    /// Kafka's, and ignoring it would promise what is not kept.
    Refused(&'static str),
    /// Nobody's.
    Nobodys {
        /// The known key that is spelled most like it.
        nearest: &'static str,
    },
}

/// The settings of the node and its topics, in the order in which `ringmain help settings` shows them.
const NODE_KEYS: &[Key] = &[
    Key { name: "log.dirs", about: "the data directory", default: "./data", set: log_dir },
    Key { name: "log.dir", about: "the same, under its other name", default: "./data", set: log_dir },
    Key {
        name: "listeners",
        about: "addresses to listen on",
        default: "127.0.0.1:9092,[::1]:9092",
        set: |draft, value| text(&mut draft.listeners, value),
    },
    Key {
        name: "advertised.listeners",
        about: "the address that clients are told to use",
        default: "the first listener",
        set: |draft, value| text(&mut draft.advertised, value),
    },
    Key {
        name: "metrics.listener",
        about: "where GET /metrics and /healthz are answered: HTTP://127.0.0.1:9644",
        default: "",
        set: |draft, value| {
            draft.metrics = super::listeners::parse_http(value)?;
            Ok(())
        },
    },
    Key { name: "memory", about: "memory figure of the node: 512M, 4G", default: "a quarter of RAM", set: memory },
    Key { name: "shards", about: "shards, each on a core of its own", default: "one a usable core", set: shards },
    Key {
        name: "node.id",
        about: "this node's id in Metadata",
        default: "what the data directory says, else 1",
        set: |draft, value| {
            let id = number(value, 0, i64::from(i32::MAX))?;
            server(draft, move |config| config.node_id = Some(fits(id)))
        },
    },
    Key {
        name: "num.partitions",
        about: "partitions of a topic made without a count",
        default: "1",
        set: |draft, value| {
            let count = number(value, 1, i64::from(PARTITIONS_A_TOPIC_MAX))?;
            server(draft, move |config| config.handlers.num_partitions = fits(count))
        },
    },
    Key {
        name: "auto.create.topics.enable",
        about: "make a topic when a client first names it",
        default: "true",
        set: |draft, value| {
            let enabled = truth(value)?;
            server(draft, move |config| config.handlers.auto_create_topics_enable = enabled)
        },
    },
    Key {
        name: "default.replication.factor",
        about: "copies of each partition; one node keeps one",
        default: "1",
        set: |_, value| number(value, 1, 1).map(drop),
    },
    Key {
        name: "min.insync.replicas",
        about: "above 1, acks=all is refused: there is one copy",
        default: "1",
        set: topic_default,
    },
    Key { name: "message.max.bytes", about: "largest record batch", default: "1048588", set: topic_default },
    Key {
        name: "log.message.timestamp.type",
        about: "CreateTime or LogAppendTime",
        default: "CreateTime",
        set: topic_default,
    },
    Key {
        name: "log.message.timestamp.before.max.ms",
        about: "how old a record may say it is",
        default: "9223372036854775807",
        set: topic_default,
    },
    Key {
        name: "log.message.timestamp.after.max.ms",
        about: "how far in the future a record may say it is",
        default: "3600000",
        set: topic_default,
    },
    Key {
        name: "compression.type",
        about: "producer: batches are kept as they came",
        default: "producer",
        set: topic_default,
    },
    Key { name: "log.cleanup.policy", about: "delete: whole old segments go", default: "delete", set: topic_default },
    Key { name: "log.retention.bytes", about: "bytes a partition keeps; -1 all", default: "-1", set: topic_default },
    Key {
        name: "log.retention.ms",
        about: "milliseconds a record is kept; -1 for ever",
        default: "604800000",
        set: topic_default,
    },
    Key { name: "log.retention.minutes", about: "the same in minutes", default: "", set: topic_default },
    Key { name: "log.retention.hours", about: "the same in hours", default: "168", set: topic_default },
    Key {
        name: "log.retention.check.interval.ms",
        about: "milliseconds between two looks at what may go",
        default: "300000",
        set: |draft, value| {
            let interval_ms = number(value, 1, i64::MAX)?;
            storage(draft, move |config| config.retention_check_ms = fits(interval_ms))
        },
    },
    Key {
        name: "log.segment.bytes",
        about: "bytes after which a segment is rolled",
        default: "1073741824",
        set: topic_default,
    },
    Key {
        name: "log.roll.ms",
        about: "milliseconds after which a segment is rolled",
        default: "604800000",
        set: topic_default,
    },
    Key { name: "log.roll.hours", about: "the same in hours", default: "168", set: topic_default },
    Key {
        name: "log.index.interval.bytes",
        about: "log bytes between two index entries",
        default: "4096",
        set: topic_default,
    },
    Key {
        name: "log.flush.interval.messages",
        about: "1: acks=all waits for the flush; more: it does not",
        default: "1",
        set: topic_default,
    },
    Key {
        name: "log.flush.interval.ms",
        about: "set: acks=all does not wait for the flush",
        default: "",
        set: topic_default,
    },
    Key {
        name: "segment.flush",
        about: "auto, or file: flush each file even where one flush is proven enough",
        default: "auto",
        set: |draft, value| {
            one_of(value, &["auto", "file"])?;
            let files = value == "file";
            storage(draft, move |config| config.flush_files = files)
        },
    },
    Key {
        name: "segment.reserve.bytes",
        about: "appends are refused while the disk has less left",
        default: "268435456",
        set: |draft, value| {
            let reserve = bytes(value)?;
            storage(draft, move |config| config.reserve_bytes = reserve)
        },
    },
    Key {
        name: "socket.request.max.bytes",
        about: "largest request",
        default: "104857600",
        set: |draft, value| {
            let bytes = number(value, 1 << 10, i64::from(i32::MAX))?;
            server(draft, move |config| config.socket_request_max_bytes = fits(bytes))
        },
    },
    Key {
        name: "fetch.max.bytes",
        about: "most that one Fetch answers",
        default: "57671680",
        set: |draft, value| {
            let bytes = number(value, 1 << 10, i64::from(i32::MAX))?;
            server(draft, move |config| config.handlers.fetch_max_bytes = fits(bytes))
        },
    },
    Key {
        name: "connections.max.idle.ms",
        about: "idle time after which a connection is closed",
        default: "600000",
        set: |draft, value| {
            let ms = number(value, 1, i64::MAX)?;
            server(draft, move |config| config.connections_max_idle_ms = fits(ms))
        },
    },
    Key {
        name: "max.connections",
        about: "connections at once",
        default: "what the memory figure holds",
        set: |draft, value| {
            let count = number(value, 1, i64::from(i32::MAX))?;
            server(draft, move |config| config.max_connections = fits(count))
        },
    },
];

/// Every setting that has an effect, in the order in which `ringmain help settings` shows them.
pub fn all() -> impl Iterator<Item = &'static Key> {
    NODE_KEYS.iter().chain(GROUP_KEYS)
}

/// Keys of Kafka that it would be unsafe or untrue to ignore.
const REFUSED: &[(&str, &str)] = &[
    ("authorizer.class.name", "access control is not available: every client may do everything"),
    ("sasl.enabled.mechanisms", "SASL is not available"),
    ("ssl.keystore.location", "TLS is not available"),
    ("ssl.client.auth", "TLS is not available"),
    ("create.topic.policy.class.name", "policies are Java classes, which this node cannot load"),
    ("log.message.format.version", "only record batches of version 2 are kept"),
];

/// All broker settings of Apache Kafka 4.3.1 (`KafkaConfig.configNames`), one a line, sorted.
const KAFKA_KEYS: &str = include_str!("kafka_keys.txt");

pub(super) fn find(name: &str) -> Found {
    if let Some(key) = all().find(|key| key.name == name) {
        return Found::Ours(key);
    }
    if let Some((_, why)) = REFUSED.iter().find(|(key, _)| *key == name) {
        return Found::Refused(why);
    }
    let kafkas = KAFKA_KEYS.lines().any(|key| key == name);
    // Kafka also takes settings of one listener, and of plugins that it was given.
    if kafkas || name.starts_with("listener.name.") || name.starts_with("config.providers.") {
        return Found::Kafkas;
    }
    let known = all().map(|key| key.name).chain(KAFKA_KEYS.lines());
    let nearest = known.min_by_key(|key| distance(key, name)).unwrap_or_default();
    Found::Nobodys { nearest }
}

/// Levenshtein's distance between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn text(field: &mut Option<String>, value: &str) -> Result<(), String> {
    some(field, value.to_owned())
}

fn some<T>(field: &mut Option<T>, value: T) -> Result<(), String> {
    *field = Some(value);
    Ok(())
}

/// A default of topics: [`TopicDefaults`](crate::metadata::TopicDefaults) reads and checks them all together.
fn topic_default(_: &mut Draft, _: &str) -> Result<(), String> {
    Ok(())
}

pub(super) fn server(draft: &mut Draft, set: impl FnOnce(&mut crate::server::Config) + 'static) -> Result<(), String> {
    draft.server.push(Box::new(set));
    Ok(())
}

fn storage(draft: &mut Draft, set: impl FnOnce(&mut crate::storage::Config) + 'static) -> Result<(), String> {
    draft.storage.push(Box::new(set));
    Ok(())
}

fn log_dir(draft: &mut Draft, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("a directory is needed".to_owned());
    }
    if value.contains(',') {
        return Err("one data directory only".to_owned());
    }
    some(&mut draft.log_dir, PathBuf::from(value))
}

fn memory(draft: &mut Draft, value: &str) -> Result<(), String> {
    let wanted = bytes(value)?;
    let least = crate::limits::MEMORY_BYTES_MIN as u64;
    if wanted < least {
        return Err(format!("the least is {}M", least >> 20));
    }
    some(&mut draft.memory_bytes, wanted)
}

fn shards(draft: &mut Draft, value: &str) -> Result<(), String> {
    let count = number(value, 1, SHARDS_MAX)?;
    some(&mut draft.shards, fits(count))
}

/// More shards than any machine has cores to give.
const SHARDS_MAX: i64 = 1024;

pub(super) fn number(value: &str, least: i64, most: i64) -> Result<i64, String> {
    let parsed: i64 = value.parse().map_err(|_| "a whole number is needed".to_owned())?;
    if (least..=most).contains(&parsed) {
        Ok(parsed)
    } else if least == most {
        Err(format!("only {least} is possible"))
    } else {
        Err(format!("between {least} and {most} is possible"))
    }
}

/// A checked number in its field's own type; every caller has bounded it before.
pub(super) fn fits<T: TryFrom<i64>>(value: i64) -> T {
    T::try_from(value).ok().expect("bounded by number()")
}

fn truth(value: &str) -> Result<bool, String> {
    value.to_lowercase().parse().map_err(|_| "true or false is needed".to_owned())
}

fn one_of(value: &str, possible: &[&str]) -> Result<(), String> {
    if possible.contains(&value) { Ok(()) } else { Err(format!("possible: {}", possible.join(", "))) }
}

/// A size: bytes, or with K, M, G, T for powers of 1024.
fn bytes(value: &str) -> Result<u64, String> {
    let (digits, shift) = match value.chars().last().map(|last| last.to_ascii_uppercase()) {
        Some('K') => (&value[..value.len() - 1], 10),
        Some('M') => (&value[..value.len() - 1], 20),
        Some('G') => (&value[..value.len() - 1], 30),
        Some('T') => (&value[..value.len() - 1], 40),
        _ => (value, 0),
    };
    let count: u64 = digits.trim().parse().map_err(|_| "a size is needed, such as 512M or 4G".to_owned())?;
    count.checked_mul(1 << shift).ok_or_else(|| "is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Draft, Found, KAFKA_KEYS, REFUSED, all, bytes, distance, find};

    #[test]
    fn kafkas_own_names_are_used_where_kafka_has_one() {
        let own = ["memory", "metrics.listener", "shards", "segment.flush", "segment.reserve.bytes"];
        for key in all() {
            assert_eq!(KAFKA_KEYS.lines().any(|name| name == key.name), !own.contains(&key.name), "{}", key.name);
        }
        assert!(REFUSED.iter().all(|(name, _)| !all().any(|key| key.name == *name)));
    }

    #[test]
    fn every_plain_default_is_a_value_that_its_key_takes() {
        for key in all().filter(|key| !key.default.is_empty() && !key.default.contains(' ')) {
            let taken = (key.set)(&mut Draft::default(), key.default);
            assert_eq!(taken, Ok(()), "{}={}", key.name, key.default);
        }
    }

    #[test]
    fn nearest_is_by_spelling() {
        assert_eq!(distance("kitten", "sitting"), 3);
        let nearest = |name| match find(name) {
            Found::Nobodys { nearest } => nearest,
            _ => "known",
        };
        assert_eq!(nearest("log.retention.hour"), "log.retention.hours");
        assert_eq!(nearest("advertised.listener"), "advertised.listeners");
        assert_eq!(nearest("listener.name.external.ssl.keystore.location"), "known");
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("4g"), Ok(4 << 30));
        assert_eq!(bytes("1000"), Ok(1000));
        for wrong in ["", "M", "-1", "4GB", "99999999999T"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }
}
