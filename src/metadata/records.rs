//! The metadata log's records, in Kafka's KRaft framing, byte for byte.
//!
//! Called by the writer ([`MetadataLog`](super::MetadataLog)) and by replay; calls `wire`. The fields and
//! their versions are those of the schemas in the jar `kafka-metadata` 4.3.1; the golden bytes below were written by
//! that jar's own serde.
//!
//! ```text
//!   value of one record of a batch = uvarint frame version (1) | uvarint type | uvarint version | body, flexible encoding
//! ```
//!
//! Every version up to the newest of Kafka 4.3 is read; one version of each type is written, the one that
//! metadata.version [`METADATA_VERSION`] demands. **A type or version that we do not know is an error**, because a
//! record left out makes the image another one; unknown tagged fields are skipped, because the encoding promises that
//! they may be.
//!
//! One tagged field is ours: [`SHARD_TAG`] of a partition names the shard that serves it. Kafka skips it.

use crate::types::{ShardId, TopicId};

use super::wire::{Reader, Tagged, Writer};

pub use super::broker_records::{BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, RegisterBrokerRecord};

/// The metadata.version that our records are written at: 4.3-IV0.
pub const METADATA_VERSION: i16 = 30;
/// The oldest metadata.version that Kafka 4 reads: 3.3-IV3.
pub const METADATA_VERSION_MIN: i16 = 7;
/// `ConfigRecord.resource_type` of a topic.
pub const RESOURCE_TOPIC: i8 = 2;
/// `ConfigRecord.resource_type` of a broker; the empty name means every broker.
pub const RESOURCE_BROKER: i8 = 4;
/// Our tagged field of [`PartitionRecord`] and [`PartitionChangeRecord`]: the shard, as an unsigned varint. Far above
/// any tag that Kafka is likely to give out.
pub const SHARD_TAG: u32 = 10_000;

/// One record of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A broker and how it is reached.
    RegisterBroker(RegisterBrokerRecord),
    /// A topic's name and id.
    Topic(TopicRecord),
    /// A partition as it was made.
    Partition(PartitionRecord),
    /// One configuration key of one resource.
    Config(ConfigRecord),
    /// What changed of a partition.
    PartitionChange(PartitionChangeRecord),
    /// A topic's end, with all its partitions.
    RemoveTopic(TopicId),
    /// A feature's level.
    FeatureLevel(FeatureLevelRecord),
    /// A block of producer ids was handed out.
    ProducerIds(ProducerIdsRecord),
    /// What changed of a broker's registration.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    /// Nothing.
    NoOp,
}

/// `TopicRecord`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct TopicRecord {
    pub name: String,
    pub topic_id: TopicId,
}

/// `PartitionRecord`, and the shard that serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct PartitionRecord {
    pub partition_id: i32,
    pub topic_id: TopicId,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub leader: i32,
    pub leader_recovery_state: i8,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub directories: Vec<[u8; 16]>,
    pub eligible_leader_replicas: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
    /// Ours ([`SHARD_TAG`]): absent in a log that Kafka wrote.
    pub shard: Option<ShardId>,
}

/// `ConfigRecord`. No value deletes the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct ConfigRecord {
    pub resource_type: i8,
    pub resource_name: String,
    pub name: String,
    pub value: Option<String>,
}

/// `PartitionChangeRecord`: what is absent did not change, but [`leader`](Self::leader), where naming one raises the
/// leader epoch even if it is the same as before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct PartitionChangeRecord {
    pub partition_id: i32,
    pub topic_id: TopicId,
    pub isr: Option<Vec<i32>>,
    pub leader: i32,
    pub replicas: Option<Vec<i32>>,
    pub removing_replicas: Option<Vec<i32>>,
    pub adding_replicas: Option<Vec<i32>>,
    pub leader_recovery_state: i8,
    pub eligible_leader_replicas: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
    pub directories: Option<Vec<[u8; 16]>>,
    /// Ours ([`SHARD_TAG`]).
    pub shard: Option<ShardId>,
}

/// `PartitionChangeRecord.leader` where the leader stays, and its epoch with it.
pub const NO_LEADER_CHANGE: i32 = -2;

impl PartitionChangeRecord {
    /// A change of nothing yet.
    #[must_use]
    pub fn of(topic_id: TopicId, partition_id: i32) -> Self {
        Self {
            partition_id,
            topic_id,
            isr: None,
            leader: NO_LEADER_CHANGE,
            replicas: None,
            removing_replicas: None,
            adding_replicas: None,
            leader_recovery_state: -1,
            eligible_leader_replicas: None,
            last_known_elr: None,
            directories: None,
            shard: None,
        }
    }
}

/// `FeatureLevelRecord`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct FeatureLevelRecord {
    pub name: String,
    pub feature_level: i16,
}

/// `ProducerIdsRecord`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct ProducerIdsRecord {
    pub broker_id: i32,
    pub broker_epoch: i64,
    pub next_producer_id: i64,
}

/// Why a value is not a record that we can apply.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A type that this program does not know.
    #[error("metadata record of type {kind}, which this version of ringmain does not know")]
    UnknownType {
        /// The type.
        kind: u32,
    },
    /// A version of a known type that this program does not know.
    #[error("metadata record of type {kind} ({name}) in version {version}; this version of ringmain reads up to {max}")]
    UnknownVersion {
        /// The type.
        kind: u32,
        /// Its name.
        name: &'static str,
        /// The version found.
        version: u32,
        /// The newest that is read.
        max: u32,
    },
    /// Another framing.
    #[error("metadata record in frame version {0}; only 1 is known")]
    FrameVersion(u32),
    /// The bytes end inside a field.
    #[error("a metadata record ends inside a field")]
    Truncated,
    /// Bytes follow the last field.
    #[error("{0} bytes follow a metadata record's last field")]
    Trailing(usize),
    /// A varint of more than 32 bits.
    #[error("a varint of a metadata record has more than 32 bits")]
    Varint,
    /// Null where the schema wants a value.
    #[error("a metadata record holds null where a value is needed")]
    Null,
    /// Text that is not UTF-8.
    #[error("a metadata record's text is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    /// Tagged fields that do not rise.
    #[error("tagged field {tag} of a metadata record is out of order")]
    TagOrder {
        /// The tag that is not above the one before it.
        tag: u32,
    },
}

/// What one type is: its number, its name, the version that is written, and the newest that is read.
struct Kind {
    number: u32,
    name: &'static str,
    written: u32,
    newest: u32,
}

const REGISTER_BROKER: Kind = Kind { number: 0, name: "RegisterBrokerRecord", written: 4, newest: 4 };
const TOPIC: Kind = Kind { number: 2, name: "TopicRecord", written: 0, newest: 0 };
const PARTITION: Kind = Kind { number: 3, name: "PartitionRecord", written: 2, newest: 2 };
const CONFIG: Kind = Kind { number: 4, name: "ConfigRecord", written: 0, newest: 0 };
const PARTITION_CHANGE: Kind = Kind { number: 5, name: "PartitionChangeRecord", written: 2, newest: 2 };
const REMOVE_TOPIC: Kind = Kind { number: 9, name: "RemoveTopicRecord", written: 0, newest: 0 };
const FEATURE_LEVEL: Kind = Kind { number: 12, name: "FeatureLevelRecord", written: 0, newest: 0 };
const PRODUCER_IDS: Kind = Kind { number: 15, name: "ProducerIdsRecord", written: 0, newest: 0 };
const REGISTRATION_CHANGE: Kind = Kind { number: 17, name: "BrokerRegistrationChangeRecord", written: 3, newest: 3 };
const NO_OP: Kind = Kind { number: 20, name: "NoOpRecord", written: 0, newest: 0 };
const KINDS: [&Kind; 10] = [
    &REGISTER_BROKER,
    &TOPIC,
    &PARTITION,
    &CONFIG,
    &PARTITION_CHANGE,
    &REMOVE_TOPIC,
    &FEATURE_LEVEL,
    &PRODUCER_IDS,
    &REGISTRATION_CHANGE,
    &NO_OP,
];

const FRAME_VERSION: u32 = 1;

impl Record {
    fn kind(&self) -> &'static Kind {
        match self {
            Self::RegisterBroker(_) => &REGISTER_BROKER,
            Self::Topic(_) => &TOPIC,
            Self::Partition(_) => &PARTITION,
            Self::Config(_) => &CONFIG,
            Self::PartitionChange(_) => &PARTITION_CHANGE,
            Self::RemoveTopic(_) => &REMOVE_TOPIC,
            Self::FeatureLevel(_) => &FEATURE_LEVEL,
            Self::ProducerIds(_) => &PRODUCER_IDS,
            Self::BrokerRegistrationChange(_) => &REGISTRATION_CHANGE,
            Self::NoOp => &NO_OP,
        }
    }

    /// Kafka's name of the record's type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().name
    }

    /// The record as the value of a record of a batch.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let kind = self.kind();
        let mut writer = Writer::default();
        writer.uvarint(FRAME_VERSION);
        writer.uvarint(kind.number);
        writer.uvarint(kind.written);
        let mut tagged = Tagged::default();
        match self {
            Self::RegisterBroker(record) => record.write(&mut writer, &mut tagged),
            Self::Topic(record) => record.write(&mut writer),
            Self::Partition(record) => record.write(&mut writer, &mut tagged),
            Self::Config(record) => record.write(&mut writer),
            Self::PartitionChange(record) => record.write(&mut writer, &mut tagged),
            Self::RemoveTopic(topic_id) => writer.bytes(&topic_id.0),
            Self::FeatureLevel(record) => record.write(&mut writer),
            Self::ProducerIds(record) => record.write(&mut writer),
            Self::BrokerRegistrationChange(record) => record.write(&mut writer, &mut tagged),
            Self::NoOp => {}
        }
        writer.tagged(&tagged);
        writer.into_bytes()
    }

    /// Reads the value of a record of a batch.
    pub fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(value);
        let frame_version = reader.uvarint()?;
        if frame_version != FRAME_VERSION {
            return Err(RecordError::FrameVersion(frame_version));
        }
        let number = reader.uvarint()?;
        let version = reader.uvarint()?;
        let kind = KINDS.iter().find(|kind| kind.number == number).ok_or(RecordError::UnknownType { kind: number })?;
        if version > kind.newest {
            return Err(RecordError::UnknownVersion { kind: number, name: kind.name, version, max: kind.newest });
        }
        let record = Self::read(number, version, &mut reader)?;
        let left = reader.left();
        if left > 0 { Err(RecordError::Trailing(left)) } else { Ok(record) }
    }

    fn read(number: u32, version: u32, reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let record = match number {
            0 => return RegisterBrokerRecord::read(reader, version).map(Self::RegisterBroker),
            3 => return PartitionRecord::read(reader, version).map(Self::Partition),
            5 => return PartitionChangeRecord::read(reader).map(Self::PartitionChange),
            17 => return BrokerRegistrationChangeRecord::read(reader).map(Self::BrokerRegistrationChange),
            2 => Self::Topic(TopicRecord { name: reader.string()?, topic_id: reader.topic_id()? }),
            4 => Self::Config(ConfigRecord::read(reader)?),
            9 => Self::RemoveTopic(reader.topic_id()?),
            12 => Self::FeatureLevel(FeatureLevelRecord { name: reader.string()?, feature_level: reader.i16()? }),
            15 => Self::ProducerIds(ProducerIdsRecord::read(reader)?),
            20 => Self::NoOp,
            kind => return Err(RecordError::UnknownType { kind }),
        };
        reader.tagged(|_, _| Ok(()))?;
        Ok(record)
    }
}

impl TopicRecord {
    fn write(&self, writer: &mut Writer) {
        writer.string(&self.name);
        writer.bytes(&self.topic_id.0);
    }
}

impl ConfigRecord {
    fn write(&self, writer: &mut Writer) {
        writer.i8(self.resource_type);
        writer.string(&self.resource_name);
        writer.string(&self.name);
        writer.nullable_string(self.value.as_deref());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            resource_type: reader.i8()?,
            resource_name: reader.string()?,
            name: reader.string()?,
            value: reader.nullable_string()?,
        })
    }
}

impl FeatureLevelRecord {
    fn write(&self, writer: &mut Writer) {
        writer.string(&self.name);
        writer.i16(self.feature_level);
    }
}

impl ProducerIdsRecord {
    fn write(&self, writer: &mut Writer) {
        writer.i32(self.broker_id);
        writer.i64(self.broker_epoch);
        writer.i64(self.next_producer_id);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self { broker_id: reader.i32()?, broker_epoch: reader.i64()?, next_producer_id: reader.i64()? })
    }
}

impl PartitionRecord {
    fn write(&self, writer: &mut Writer, tagged: &mut Tagged) {
        writer.i32(self.partition_id);
        writer.bytes(&self.topic_id.0);
        writer.ids(&self.replicas);
        writer.ids(&self.isr);
        writer.ids(&self.removing_replicas);
        writer.ids(&self.adding_replicas);
        writer.i32(self.leader);
        writer.i32(self.leader_epoch);
        writer.i32(self.partition_epoch);
        writer.uuids(&self.directories);
        if self.leader_recovery_state != 0 {
            tagged.put(0, |writer| writer.i8(self.leader_recovery_state));
        }
        tagged.put_some(1, self.eligible_leader_replicas.as_ref(), |writer, ids| writer.ids(ids));
        tagged.put_some(2, self.last_known_elr.as_ref(), |writer, ids| writer.ids(ids));
        tagged.put_some(SHARD_TAG, self.shard.as_ref(), |writer, shard| writer.uvarint(u32::from(shard.0)));
    }

    fn read(reader: &mut Reader<'_>, version: u32) -> Result<Self, RecordError> {
        let mut record = Self {
            partition_id: reader.i32()?,
            topic_id: reader.topic_id()?,
            replicas: reader.ids()?,
            isr: reader.ids()?,
            removing_replicas: reader.ids()?,
            adding_replicas: reader.ids()?,
            leader: reader.i32()?,
            leader_epoch: reader.i32()?,
            partition_epoch: reader.i32()?,
            directories: if version >= 1 { reader.uuids()? } else { Vec::new() },
            ..Self::default()
        };
        reader.tagged(|tag, reader| {
            match tag {
                0 => record.leader_recovery_state = reader.i8()?,
                1 => record.eligible_leader_replicas = reader.nullable_ids()?,
                2 => record.last_known_elr = reader.nullable_ids()?,
                SHARD_TAG => record.shard = read_shard(reader)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(record)
    }
}

impl PartitionChangeRecord {
    fn write(&self, writer: &mut Writer, tagged: &mut Tagged) {
        writer.i32(self.partition_id);
        writer.bytes(&self.topic_id.0);
        tagged.put_some(0, self.isr.as_ref(), |writer, ids| writer.ids(ids));
        if self.leader != NO_LEADER_CHANGE {
            tagged.put(1, |writer| writer.i32(self.leader));
        }
        tagged.put_some(2, self.replicas.as_ref(), |writer, ids| writer.ids(ids));
        tagged.put_some(3, self.removing_replicas.as_ref(), |writer, ids| writer.ids(ids));
        tagged.put_some(4, self.adding_replicas.as_ref(), |writer, ids| writer.ids(ids));
        if self.leader_recovery_state != -1 {
            tagged.put(5, |writer| writer.i8(self.leader_recovery_state));
        }
        tagged.put_some(6, self.eligible_leader_replicas.as_ref(), |writer, ids| writer.ids(ids));
        tagged.put_some(7, self.last_known_elr.as_ref(), |writer, ids| writer.ids(ids));
        tagged.put_some(8, self.directories.as_ref(), |writer, uuids| writer.uuids(uuids));
        tagged.put_some(SHARD_TAG, self.shard.as_ref(), |writer, shard| writer.uvarint(u32::from(shard.0)));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let partition_id = reader.i32()?;
        let mut record = Self::of(reader.topic_id()?, partition_id);
        reader.tagged(|tag, reader| {
            match tag {
                0 => record.isr = reader.nullable_ids()?,
                1 => record.leader = reader.i32()?,
                2 => record.replicas = reader.nullable_ids()?,
                3 => record.removing_replicas = reader.nullable_ids()?,
                4 => record.adding_replicas = reader.nullable_ids()?,
                5 => record.leader_recovery_state = reader.i8()?,
                6 => record.eligible_leader_replicas = reader.nullable_ids()?,
                7 => record.last_known_elr = reader.nullable_ids()?,
                8 => record.directories = reader.nullable_uuids()?,
                SHARD_TAG => record.shard = read_shard(reader)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(record)
    }
}

/// A shard number that does not fit is no shard: the partition is then assigned anew.
fn read_shard(reader: &mut Reader<'_>) -> Result<Option<ShardId>, RecordError> {
    Ok(u16::try_from(reader.uvarint()?).ok().map(ShardId))
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
