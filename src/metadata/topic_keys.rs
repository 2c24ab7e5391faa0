//! Every topic configuration key of Kafka 4.3: what it defaults to, what it may be, and what is built of its effect.
//!
//! Read by [`topic_config`](super::topic_config). **Configs never lie**: a value whose effect is not built is refused,
//! and the refusal names the key and what is possible. A key that does nothing in Kafka either while its companion has
//! the only value we take (the compaction keys under `cleanup.policy=delete`, the levels under
//! `compression.type=producer`) is taken and kept. Names, types, defaults and domains are those of
//! `org.apache.kafka.storage.internals.log.LogConfig` 4.3.1, but for `flush.messages`, whose default is 1 here: a node
//! without replicas has nothing but its disk.

use super::config_key::ConfigType::{Boolean, Double, Int, List, Long, String as Text};
use super::config_key::Domain::{self, Any, AtLeast, Between, BetweenOr, ListOf, OneOf, Ratio};
use super::config_key::{ConfigType, Key};

/// One topic key.
pub struct TopicKey {
    /// The key itself.
    pub key: Key,
    /// Broker keys that set its default, strongest first, each with the factor to this key's unit.
    pub synonyms: &'static [(&'static str, i64)],
    /// What is built of its effect.
    pub built: Built,
}

/// What is built of a key's effect.
#[derive(Clone, Copy)]
pub enum Built {
    /// All of it.
    Whole,
    /// Nothing, and nothing is needed: Kafka itself does nothing with it in the only mode that we have.
    Idle,
    /// These values only; the text says why.
    Only(&'static [&'static str], &'static str),
    /// This value or more; the text says why.
    AtLeast(i64, &'static str),
}

const MS_A_MINUTE: i64 = 60_000;
const MS_AN_HOUR: i64 = 3_600_000;
const NO_COMPACTION: &str = "log compaction is not built yet";
const NO_REMOTE: &str = "tiered storage is not built";
const NO_REPLICAS: &str = "a standalone node has no other replicas";

const fn row(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    domain: Domain,
    synonyms: &'static [(&'static str, i64)],
    built: Built,
    doc: &'static str,
) -> TopicKey {
    TopicKey { key: Key { name, kind, default: Some(default), domain, doc }, synonyms, built }
}

/// `internal.segment.bytes`: Kafka's way around the 1 MiB floor of `segment.bytes`, for tests. Never shown unless set.
pub static INTERNAL_SEGMENT_BYTES: Key = Key {
    name: "internal.segment.bytes",
    kind: Int,
    default: None,
    domain: AtLeast(1),
    doc: "The largest segment, without the floor of segment.bytes.",
};

/// All keys, sorted by name.
#[rustfmt::skip]
pub static TOPIC_KEYS: [TopicKey; 33] = [
    row("cleanup.policy", List, "delete", ListOf(&["compact", "delete"]), &[("log.cleanup.policy", 1)], Built::Only(&["delete"], NO_COMPACTION), "What becomes of segments that retention has passed."),
    row("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1), &[("compression.gzip.level", 1)], Built::Idle, "The level where compression.type is gzip."),
    row("compression.lz4.level", Int, "9", Between(1, 17), &[("compression.lz4.level", 1)], Built::Idle, "The level where compression.type is lz4."),
    row("compression.type", Text, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), &[("compression.type", 1)], Built::Only(&["producer"], "batches are stored as the producer sent them"), "The codec of stored batches; producer keeps what was sent."),
    row("compression.zstd.level", Int, "3", Between(-131_072, 22), &[("compression.zstd.level", 1)], Built::Idle, "The level where compression.type is zstd."),
    row("delete.retention.ms", Long, "86400000", AtLeast(0), &[("log.cleaner.delete.retention.ms", 1)], Built::Idle, "How long tombstones of compacted topics stay."),
    row("file.delete.delay.ms", Long, "60000", AtLeast(0), &[("log.segment.delete.delay.ms", 1)], Built::Only(&["60000"], "a retired segment is reused as soon as no reply reads it"), "How long a deleted file stays on the file system."),
    row("flush.messages", Long, "1", AtLeast(1), &[("log.flush.interval.messages", 1)], Built::Whole, "1: acks=all waits for power-loss durability. More: for the write only."),
    row("flush.ms", Long, "9223372036854775807", AtLeast(0), &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)], Built::Whole, "Set without flush.messages: acks=all waits for the write only."),
    row("follower.replication.throttled.replicas", List, "", Any, &[], Built::Only(&[""], NO_REPLICAS), "Replicas whose fetching is throttled."),
    row("index.interval.bytes", Int, "4096", AtLeast(0), &[("log.index.interval.bytes", 1)], Built::AtLeast(4096, "index entries are at least a block apart"), "Bytes between two entries of an index."),
    row("leader.replication.throttled.replicas", List, "", Any, &[], Built::Only(&[""], NO_REPLICAS), "Replicas whose serving is throttled."),
    row("local.retention.bytes", Long, "-2", AtLeast(-2), &[("log.local.retention.bytes", 1)], Built::Only(&["-2"], NO_REMOTE), "Bytes kept locally of a tiered topic."),
    row("local.retention.ms", Long, "-2", AtLeast(-2), &[("log.local.retention.ms", 1)], Built::Only(&["-2"], NO_REMOTE), "Time kept locally of a tiered topic."),
    row("max.compaction.lag.ms", Long, "9223372036854775807", AtLeast(1), &[("log.cleaner.max.compaction.lag.ms", 1)], Built::Idle, "The longest a record stays uncompacted."),
    row("max.message.bytes", Int, "1048588", AtLeast(0), &[("message.max.bytes", 1)], Built::Whole, "The largest record batch."),
    row("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), &[("log.message.timestamp.after.max.ms", 1)], Built::Whole, "How far a record's timestamp may lie ahead of the node's clock."),
    row("message.timestamp.before.max.ms", Long, "9223372036854775807", AtLeast(0), &[("log.message.timestamp.before.max.ms", 1)], Built::Whole, "How far a record's timestamp may lie behind the node's clock."),
    row("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), &[("log.message.timestamp.type", 1)], Built::Whole, "Whose clock stamps a record."),
    row("min.cleanable.dirty.ratio", Double, "0.5", Ratio, &[("log.cleaner.min.cleanable.ratio", 1)], Built::Idle, "How dirty a compacted log may get."),
    row("min.compaction.lag.ms", Long, "0", AtLeast(0), &[("log.cleaner.min.compaction.lag.ms", 1)], Built::Idle, "The least a record stays uncompacted."),
    row("min.insync.replicas", Int, "1", AtLeast(1), &[("min.insync.replicas", 1)], Built::Whole, "Replicas that must have a batch at acks=all; more than there are refuses it."),
    row("preallocate", Boolean, "false", Any, &[("log.preallocate", 1)], Built::Only(&["false"], "segments are always prepared ahead, at the node's own pace"), "Whether a segment's file is allocated at once."),
    row("remote.log.copy.disable", Boolean, "false", Any, &[], Built::Only(&["false"], NO_REMOTE), "Whether a tiered topic's segments are not copied any more."),
    row("remote.log.delete.on.disable", Boolean, "false", Any, &[], Built::Only(&["false"], NO_REMOTE), "Whether disabling tiering deletes what was tiered."),
    row("remote.storage.enable", Boolean, "false", Any, &[], Built::Only(&["false"], NO_REMOTE), "Whether old segments go to remote storage."),
    row("retention.bytes", Long, "-1", Any, &[("log.retention.bytes", 1)], Built::Whole, "Bytes of a partition beyond which old segments are deleted; -1: no bound."),
    row("retention.ms", Long, "604800000", AtLeast(-1), &[("log.retention.ms", 1), ("log.retention.minutes", MS_A_MINUTE), ("log.retention.hours", MS_AN_HOUR)], Built::Whole, "Age beyond which old segments are deleted; -1: no bound."),
    row("segment.bytes", Int, "1073741824", AtLeast(1_048_576), &[("log.segment.bytes", 1)], Built::Whole, "The largest segment."),
    row("segment.index.bytes", Int, "10485760", AtLeast(4), &[("log.index.size.max.bytes", 1)], Built::Only(&["10485760"], "indexes have no size of their own: segment.bytes and index.interval.bytes bound them"), "The largest index file."),
    row("segment.jitter.ms", Long, "0", AtLeast(0), &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", MS_AN_HOUR)], Built::Only(&["0"], "segments are rolled at segment.ms sharp"), "Random time taken off segment.ms."),
    row("segment.ms", Long, "604800000", AtLeast(1), &[("log.roll.ms", 1), ("log.roll.hours", MS_AN_HOUR)], Built::Whole, "Age at which a segment is rolled."),
    row("unclean.leader.election.enable", Boolean, "false", Any, &[("unclean.leader.election.enable", 1)], Built::Idle, "Whether a replica out of sync may become leader."),
];
