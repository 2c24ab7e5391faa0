//! The small text files of a log directory, in Kafka's own formats: what makes a cleanly stopped directory Kafka's too.
//!
//! Pure: text in, values out, and back. Who reads and writes them: recovery and `close` (checkpoints, clean shutdown),
//! `metadata/` (meta.properties, partition.metadata), `partition/` (leader epochs).
//!
//! ```text
//!  <log.dir>/meta.properties                     version=1, cluster.id, node.id, directory.id
//!           /recovery-point-offset-checkpoint    version 0, count, "topic partition offset"
//!           /log-start-offset-checkpoint         the same; only logs that do not start where their first segment does
//!           /replication-offset-checkpoint       the same; high watermarks
//!           /cleaner-offset-checkpoint           the same; compacted logs only
//!           /.kafka_cleanshutdown                {"version":0,"brokerEpoch":n}
//!           /<topic>-<p>/partition.metadata      version: 0, topic_id
//!           /<topic>-<p>/leader-epoch-checkpoint version 0, count, "epoch start-offset"
//! ```
//!
//! Kafka: `CheckpointFile`, `OffsetCheckpointFile`, `LeaderEpochCheckpointFile`, `PartitionMetadataFile`,
//! `MetaProperties`, `CleanShutdownFileHandler`.

use thiserror::Error;

use crate::types::{Offset, TopicId, TopicPartition};

/// Why a file's text is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A line that does not read as it should.
    #[error("line {line} is not {expected}: {text:?}")]
    Line {
        /// From 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
        /// What is there, cut at 80 characters.
        text: String,
    },
    /// A version that nobody wrote yet.
    #[error("version {version}, known is {known}")]
    Version {
        /// What the file says.
        version: String,
        /// What we read.
        known: u32,
    },
    /// Fewer or more entries than the file says.
    #[error("{stated} entries are stated, {found} are there")]
    Count {
        /// What the second line says.
        stated: usize,
        /// Lines that follow.
        found: usize,
    },
    /// A key without which the file says nothing.
    #[error("no {key}")]
    Missing {
        /// The key.
        key: &'static str,
    },
}

fn line_error(line: usize, expected: &'static str, text: &str) -> FormatError {
    FormatError::Line { line, expected, text: text.chars().take(80).collect() }
}

/// An offset of each of some partitions: the four `*-offset-checkpoint` files.
pub mod offsets {
    use std::fmt::Write as _;

    use super::{FormatError, Offset, TopicPartition, line_error};

    /// The file's text; Kafka writes the entries in no order, we in the caller's.
    #[must_use]
    pub fn encode(entries: &[(TopicPartition, Offset)]) -> String {
        let mut text = format!("0\n{}\n", entries.len());
        for (log, offset) in entries {
            let _ = writeln!(text, "{} {} {}", log.topic, log.partition, offset.0);
        }
        text
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`FormatError`] naming the line.
    pub fn decode(text: &str) -> Result<Vec<(TopicPartition, Offset)>, FormatError> {
        super::checkpoint_lines(text)?
            .map(|(line, entry)| parse(entry).ok_or_else(|| line_error(line, "topic partition offset", entry)))
            .collect()
    }

    fn parse(entry: &str) -> Option<(TopicPartition, Offset)> {
        let mut words = entry.split_ascii_whitespace();
        let topic = words.next()?.into();
        let partition = words.next()?.parse().ok()?;
        let offset = words.next()?.parse().ok()?;
        words.next().is_none().then_some((TopicPartition { topic, partition }, Offset(offset)))
    }
}

/// `leader-epoch-checkpoint`: where each leader epoch began.
pub mod leader_epochs {
    use std::fmt::Write as _;

    use super::{FormatError, Offset, line_error};

    /// An epoch and the offset of its first record.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EpochStart {
        /// The leader epoch.
        pub epoch: i32,
        /// Its first offset.
        pub start_offset: Offset,
    }

    /// The file's text.
    #[must_use]
    pub fn encode(entries: &[EpochStart]) -> String {
        let mut text = format!("0\n{}\n", entries.len());
        for entry in entries {
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset.0);
        }
        text
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`FormatError`] naming the line.
    pub fn decode(text: &str) -> Result<Vec<EpochStart>, FormatError> {
        super::checkpoint_lines(text)?
            .map(|(line, entry)| parse(entry).ok_or_else(|| line_error(line, "epoch start-offset", entry)))
            .collect()
    }

    fn parse(entry: &str) -> Option<EpochStart> {
        let (epoch, offset) = entry.split_once(' ')?;
        Some(EpochStart { epoch: epoch.parse().ok()?, start_offset: Offset(offset.parse().ok()?) })
    }
}

/// `partition.metadata`: which topic a directory belongs to.
pub mod partition_metadata {
    use super::{FormatError, TopicId, parse_topic_id};

    /// The file's text.
    #[must_use]
    pub fn encode(topic_id: TopicId) -> String {
        format!("version: 0\ntopic_id: {topic_id}")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`FormatError`]: without a topic id a directory cannot be assigned.
    pub fn decode(text: &str) -> Result<TopicId, FormatError> {
        let mut lines = text.lines().zip(1..).filter_map(|(line, number)| Some((line.split_once(':')?, number)));
        let ((_, version), _) =
            lines.find(|((key, _), _)| *key == "version").ok_or(FormatError::Missing { key: "version" })?;
        if version.trim() != "0" {
            return Err(FormatError::Version { version: version.trim().into(), known: 0 });
        }
        let ((_, id), line) =
            lines.find(|((key, _), _)| *key == "topic_id").ok_or(FormatError::Missing { key: "topic_id" })?;
        parse_topic_id(id.trim()).ok_or_else(|| super::line_error(line, "a topic id in base64", id))
    }
}

/// `meta.properties`, version 1 (KRaft).
pub mod meta_properties {
    use super::FormatError;

    /// Whose directory it is.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MetaProperties {
        /// `cluster.id`: 22 characters of base64.
        pub cluster_id: String,
        /// `node.id`.
        pub node_id: i32,
        /// `directory.id` (KIP-858); absent in directories of older nodes.
        pub directory_id: Option<String>,
    }

    /// The file's text: Java properties with the keys in order.
    #[must_use]
    pub fn encode(meta: &MetaProperties) -> String {
        let directory = meta.directory_id.as_ref().map(|id| format!("directory.id={id}\n")).unwrap_or_default();
        format!("cluster.id={}\n{directory}node.id={}\nversion=1\n", meta.cluster_id, meta.node_id)
    }

    /// Reads the file, Kafka's or ours. Unknown keys are let be.
    ///
    /// # Errors
    /// [`FormatError`]: a version other than 1 (0 is ZooKeeper's), or a key missing.
    pub fn decode(text: &str) -> Result<MetaProperties, FormatError> {
        let value = |wanted: &str| {
            let pairs = text.lines().zip(1..).filter(|(line, _)| !line.starts_with(['#', '!']));
            let mut found = pairs.filter_map(|(line, number)| Some((line.split_once('=')?, number)));
            found.find(|((key, _), _)| key.trim() == wanted).map(|((_, value), line)| (value.trim(), line))
        };
        let (version, _) = value("version").ok_or(FormatError::Missing { key: "version" })?;
        if version != "1" {
            return Err(FormatError::Version { version: version.into(), known: 1 });
        }
        let (cluster_id, _) = value("cluster.id").ok_or(FormatError::Missing { key: "cluster.id" })?;
        let (node_id, line) = value("node.id").ok_or(FormatError::Missing { key: "node.id" })?;
        Ok(MetaProperties {
            cluster_id: cluster_id.into(),
            node_id: node_id.parse().map_err(|_| super::line_error(line, "a node id", node_id))?,
            directory_id: value("directory.id").map(|(id, _)| id.into()),
        })
    }
}

/// `.kafka_cleanshutdown`: its presence says that the last stop was clean.
pub mod clean_shutdown {
    /// The file's text. Kafka reads the epoch as the one that the node was registered with; ours is a number that our
    /// own checkpoint of the same stop repeats, so that a stop of Kafka's in between is noticed.
    #[must_use]
    pub fn encode(broker_epoch: i64) -> String {
        format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
    }

    /// The epoch, where there is one: older Kafkas leave the file empty, which is a clean stop all the same.
    #[must_use]
    pub fn decode(text: &str) -> Option<i64> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        value.get("brokerEpoch")?.as_i64()
    }
}

/// Kafka's checkpoint frame: a version line, a count line, one line an entry.
fn checkpoint_lines(text: &str) -> Result<impl Iterator<Item = (usize, &str)>, FormatError> {
    let mut lines = text.lines();
    let version = lines.next().unwrap_or("");
    if version != "0" {
        return Err(FormatError::Version { version: version.chars().take(80).collect(), known: 0 });
    }
    let count = lines.next().unwrap_or("");
    let stated = count.parse().map_err(|_| line_error(2, "a count", count))?;
    let found = lines.clone().count();
    if found == stated { Ok((3..).zip(lines)) } else { Err(FormatError::Count { stated, found }) }
}

/// Reads a topic id as Kafka prints it: 22 characters of URL-safe base64.
#[must_use]
pub fn parse_topic_id(text: &str) -> Option<TopicId> {
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (place, character) in text.bytes().enumerate() {
        let digit = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        // The last character holds the low two bits of the id, above four bits that are zero.
        bits = if place < 21 { bits << 6 | u128::from(digit) } else { bits << 2 | u128::from(digit >> 4) };
        if place == 21 && digit & 0x0f != 0 {
            return None;
        }
    }
    Some(TopicId(bits.to_be_bytes()))
}

/// The partition that a directory's name says, if it is a partition's: `<topic>-<number>`, and neither a deleted one
/// (`<topic>-<n>.<hex>-delete`) nor a stray.
#[must_use]
pub fn parse_partition_dir(name: &str) -> Option<TopicPartition> {
    let (topic, number) = name.rsplit_once('-')?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (number == "0" || !number.starts_with('0'));
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let named = (1..=249).contains(&topic.len()) && topic.bytes().all(legal) && topic != "." && topic != "..";
    if !canonical || !named {
        return None;
    }
    Some(TopicPartition { topic: topic.into(), partition: number.parse().ok()? })
}

/// The name of a segment's file: 20 digits of its base offset, a dot and `suffix` (`LogFileUtils.filenamePrefixFromOffset`).
#[must_use]
pub fn segment_file_name(base_offset: Offset, suffix: &str) -> String {
    format!("{:020}.{suffix}", base_offset.0)
}

/// The base offset that a segment's file is named for: `name` without its suffix must be 20 digits.
#[must_use]
pub fn parse_segment_file_name(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?.strip_suffix('.')?;
    let whole = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| digits.parse().ok().map(Offset)).flatten()
}

/// `meta.properties`.
pub const META_PROPERTIES: &str = "meta.properties";
/// `recovery-point-offset-checkpoint`.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// `log-start-offset-checkpoint`.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// `replication-offset-checkpoint`.
pub const REPLICATION_CHECKPOINT: &str = "replication-offset-checkpoint";
/// `cleaner-offset-checkpoint`.
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// `.kafka_cleanshutdown`.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// `partition.metadata`.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// `leader-epoch-checkpoint`.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

#[cfg(test)]
mod tests {
    use super::leader_epochs::EpochStart;
    use super::meta_properties::MetaProperties;
    use super::*;

    fn log(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    #[test]
    fn offset_checkpoints_are_kafkas() {
        let entries = vec![(log("orders", 0), Offset(1234)), (log("a.b_c-d", 12), Offset::ZERO)];
        let text = "0\n2\norders 0 1234\na.b_c-d 12 0\n";
        assert_eq!(offsets::encode(&entries), text);
        assert_eq!(offsets::decode(text), Ok(entries));
        assert_eq!(offsets::encode(&[]), "0\n0\n");
        assert_eq!(offsets::decode("0\n0\n"), Ok(vec![]));
    }

    #[test]
    fn a_checkpoint_that_is_cut_or_foreign_is_refused() {
        assert_eq!(offsets::decode("0\n2\norders 0 1234\n"), Err(FormatError::Count { stated: 2, found: 1 }));
        assert_eq!(offsets::decode("1\n0\n"), Err(FormatError::Version { version: "1".into(), known: 0 }));
        assert_eq!(offsets::decode(""), Err(FormatError::Version { version: String::new(), known: 0 }));
        assert!(matches!(offsets::decode("0\n1\norders 0\n"), Err(FormatError::Line { line: 3, .. })));
        assert!(matches!(offsets::decode("0\n1\norders 0 1 2\n"), Err(FormatError::Line { line: 3, .. })));
        assert!(matches!(leader_epochs::decode("0\n1\n7\n"), Err(FormatError::Line { line: 3, .. })));
    }

    #[test]
    fn leader_epochs_are_kafkas() {
        let entries = [(0, 0), (3, 500)].map(|(epoch, start)| EpochStart { epoch, start_offset: Offset(start) });
        assert_eq!(leader_epochs::encode(&entries), "0\n2\n0 0\n3 500\n");
        assert_eq!(leader_epochs::decode("0\n2\n0 0\n3 500\n"), Ok(entries.to_vec()));
    }

    #[test]
    fn partition_metadata_is_kafkas() {
        assert_eq!(partition_metadata::encode(TopicId::METADATA), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(partition_metadata::decode("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n"), Ok(TopicId::METADATA));
        assert!(partition_metadata::decode("version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").is_err());
        assert_eq!(partition_metadata::decode("version: 0\n"), Err(FormatError::Missing { key: "topic_id" }));
    }

    #[test]
    fn topic_ids_read_back_as_they_print() {
        for id in [TopicId::ZERO, TopicId::METADATA, TopicId([0xff; 16]), TopicId(*b"0123456789abcdef")] {
            assert_eq!(parse_topic_id(&id.to_string()), Some(id));
        }
        assert_eq!(parse_topic_id("AAAAAAAAAAAAAAAAAAAAAB"), None, "bits that no id has");
        assert_eq!(parse_topic_id("AAAAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(parse_topic_id("AAAAAAAAAAAAAAAAAAAA+A"), None);
    }

    #[test]
    fn meta_properties_are_kafkas() {
        let kafkas = "#\n#Thu Jan 01 00:00:00 UTC 2026\ncluster.id=Mk3OEYBSD34fcwNTJENDM2Qk\ndirectory.id=tfvuBqTMz4g8IhJ3Iz1wcQ\nnode.id=7\nversion=1\n";
        let meta = MetaProperties {
            cluster_id: "Mk3OEYBSD34fcwNTJENDM2Qk".into(),
            node_id: 7,
            directory_id: Some("tfvuBqTMz4g8IhJ3Iz1wcQ".into()),
        };
        assert_eq!(meta_properties::decode(kafkas), Ok(meta.clone()));
        assert_eq!(meta_properties::decode(&meta_properties::encode(&meta)), Ok(meta));
        assert!(matches!(meta_properties::decode("version=0\n"), Err(FormatError::Version { .. })));
        assert_eq!(meta_properties::decode("version=1\nnode.id=1\n"), Err(FormatError::Missing { key: "cluster.id" }));
    }

    #[test]
    fn clean_shutdown_is_kafkas() {
        assert_eq!(clean_shutdown::encode(42), r#"{"version":0,"brokerEpoch":42}"#);
        assert_eq!(clean_shutdown::decode(r#"{"version":0,"brokerEpoch":42}"#), Some(42));
        assert_eq!(clean_shutdown::decode(""), None);
    }

    #[test]
    fn names_of_directories_and_segments() {
        assert_eq!(parse_partition_dir("a-b-12"), Some(log("a-b", 12)));
        for strange in [
            "orders",
            "orders-",
            "-1",
            "orders-01",
            "orders-x",
            "orders-0.9c1fdelete-delete",
            "a b-0",
            "..-0",
            "o-99999999999",
        ] {
            assert_eq!(parse_partition_dir(strange), None, "{strange}");
        }
        assert_eq!(segment_file_name(Offset(1234), "log"), "00000000000000001234.log");
        assert_eq!(parse_segment_file_name("00000000000000001234.log", "log"), Some(Offset(1234)));
        for strange in [
            "00000000000000001234.index",
            "1234.log",
            "00000000000000001234log",
            "0000000000000000123x.log",
            "00000000000000001234.log.deleted",
        ] {
            assert_eq!(parse_segment_file_name(strange, "log"), None, "{strange}");
        }
    }
}
