//! The records of `__consumer_offsets`, byte for byte as Apache Kafka 4.3.1 writes them.
//!
//! Called by the coordinator, by the command line's dump, and by a fuzz target. Keys and values borrow the bytes they were
//! read from: loading a million commits makes no string of any that it does not keep.
//!
//! ```text
//!   key    version i16 | 0, 1: group, topic, partition   2: group   3 and more: groups of newer types, skipped
//!   value  version i16 | offset commit 0-4 (4 written, 1 with an expire time)   group 0-4 (3 written)
//! ```
//!
//! Every version that Kafka 4.3.1 reads is read; hostile bytes are an error, never a panic, and allocate no more than
//! they take themselves.

use super::wire::{Reader, Writer};
use crate::types::TopicId;

/// Why bytes are not a record of `__consumer_offsets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end within a field.
    #[error("the record ends within a field")]
    Truncated,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// A field that may not be null is.
    #[error("a field that may not be null is null")]
    Null,
    /// A varint of more than 32 bits.
    #[error("a length is not a varint of 32 bits")]
    Varint,
    /// A value of a version that Kafka 4.3.1 does not know.
    #[error("version {0} of the value is not known")]
    Version(i16),
    /// A number that no group can have.
    #[error("a member of the group speaks another protocol than the group")]
    Inconsistent,
}

/// The key of a record: what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The offset that a group committed for a partition.
    OffsetCommit {
        /// The group's id.
        group: &'a str,
        /// The topic's name.
        topic: &'a str,
        /// The partition's number.
        partition: i32,
    },
    /// A group and its members.
    GroupMetadata {
        /// The group's id.
        group: &'a str,
    },
    /// A record of a consumer, share or streams group.
    Newer {
        /// The version of the key, which says its type.
        version: i16,
    },
}

const OFFSET_COMMIT_KEY: i16 = 1;
const GROUP_METADATA_KEY: i16 = 2;

impl<'a> Key<'a> {
    /// Reads a key.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        match reader.i16()? {
            0 | OFFSET_COMMIT_KEY => {
                Ok(Self::OffsetCommit { group: reader.string()?, topic: reader.string()?, partition: reader.i32()? })
            }
            GROUP_METADATA_KEY => Ok(Self::GroupMetadata { group: reader.string()? }),
            version if version > GROUP_METADATA_KEY => Ok(Self::Newer { version }),
            version => Err(RecordError::Version(version)),
        }
    }

    /// The bytes of the key. Those of newer types are not written here: their version alone.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(64);
        match *self {
            Self::OffsetCommit { group, topic, partition } => {
                writer.i16(OFFSET_COMMIT_KEY);
                writer.string(group);
                writer.string(topic);
                writer.i32(partition);
            }
            Self::GroupMetadata { group } => {
                writer.i16(GROUP_METADATA_KEY);
                writer.string(group);
            }
            Self::Newer { version } => writer.i16(version),
        }
        writer.into_bytes()
    }
}

/// An offset that a group committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetCommitValue<'a> {
    /// The next record that the group wants.
    pub offset: i64,
    /// The leader epoch of the last record consumed, or -1.
    pub leader_epoch: i32,
    /// The client's own words beside it.
    pub metadata: &'a str,
    /// When it was committed, in milliseconds since 1970.
    pub commit_timestamp: i64,
    /// When it is to be dropped, or -1: what old clients asked for.
    pub expire_timestamp: i64,
    /// The topic's id, where the client named it.
    pub topic_id: TopicId,
}

/// The version that is written where no expire time has to be kept.
const OFFSET_COMMIT_VALUE: i16 = 4;
/// The only version that has an expire time.
const OFFSET_COMMIT_VALUE_EXPIRING: i16 = 1;
/// The tag of the topic id.
const TOPIC_ID_TAG: u32 = 0;

impl<'a> OffsetCommitValue<'a> {
    /// Reads a value of any version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=4).contains(&version) {
            return Err(RecordError::Version(version));
        }
        reader.set_flexible(version >= 4);
        let offset = reader.i64()?;
        let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
        let metadata = reader.string()?;
        let commit_timestamp = reader.i64()?;
        let expire_timestamp = if version == OFFSET_COMMIT_VALUE_EXPIRING { reader.i64()? } else { -1 };
        let mut topic_id = TopicId::ZERO;
        reader.tagged(|tag, field| {
            if tag == TOPIC_ID_TAG {
                topic_id = TopicId(field.array()?);
            }
            Ok(())
        })?;
        Ok(Self { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id })
    }

    /// The bytes of the value, in the version that Kafka chooses for it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(48 + self.metadata.len());
        if self.expire_timestamp != -1 {
            writer.i16(OFFSET_COMMIT_VALUE_EXPIRING);
            writer.i64(self.offset);
            writer.string(self.metadata);
            writer.i64(self.commit_timestamp);
            writer.i64(self.expire_timestamp);
            return writer.into_bytes();
        }
        writer.i16(OFFSET_COMMIT_VALUE);
        writer.i64(self.offset);
        writer.i32(self.leader_epoch);
        writer.compact_string(self.metadata);
        writer.i64(self.commit_timestamp);
        if self.topic_id == TopicId::ZERO {
            writer.uvarint(0);
        } else {
            writer.raw(&[1, 0, 16]);
            writer.raw(&self.topic_id.0);
        }
        writer.into_bytes()
    }
}

/// A group and its members, as they were when the leader's assignment was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadataValue<'a> {
    /// `consumer`, `connect`, ..., or empty for a group that never had a member.
    pub protocol_type: &'a str,
    /// The generation.
    pub generation: i32,
    /// The protocol that the members voted for.
    pub protocol: Option<&'a str>,
    /// The leader's member id.
    pub leader: Option<&'a str>,
    /// When the group came to its state, in milliseconds since 1970, or -1.
    pub current_state_timestamp: i64,
    /// The members.
    pub members: Vec<MemberMetadata<'a>>,
}

/// A member within a [`GroupMetadataValue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberMetadata<'a> {
    /// The member id.
    pub member_id: &'a str,
    /// The id that a static member gave itself.
    pub group_instance_id: Option<&'a str>,
    /// The client id.
    pub client_id: &'a str,
    /// The client's address.
    pub client_host: &'a str,
    /// How long a rebalance waits for it, in milliseconds, or -1.
    pub rebalance_timeout: i32,
    /// How long it may be silent, in milliseconds.
    pub session_timeout: i32,
    /// What it brought for the group's protocol.
    pub subscription: &'a [u8],
    /// What the leader gave it.
    pub assignment: &'a [u8],
}

/// The version that Kafka 4.3.1 writes.
const GROUP_METADATA_VALUE: i16 = 3;
/// The bytes that a member takes at the least, in any version: lengths and the session timeout.
const MEMBER_BYTES_MIN: usize = 3 + 4 + 2;

impl<'a> GroupMetadataValue<'a> {
    /// Reads a value of any version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=4).contains(&version) {
            return Err(RecordError::Version(version));
        }
        reader.set_flexible(version >= 4);
        let value = Self {
            protocol_type: reader.string()?,
            generation: reader.i32()?,
            protocol: reader.nullable_string()?,
            leader: reader.nullable_string()?,
            current_state_timestamp: if version >= 2 { reader.i64()? } else { -1 },
            members: reader.array_of(MEMBER_BYTES_MIN, |reader| MemberMetadata::decode(reader, version))?,
        };
        reader.skip_tagged()?;
        if !value.members.is_empty() && (value.protocol.is_none() || value.protocol_type.is_empty()) {
            return Err(RecordError::Inconsistent);
        }
        Ok(value)
    }

    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let of_members: usize = self.members.iter().map(MemberMetadata::bytes).sum();
        let mut writer = Writer::with_capacity(64 + self.protocol_type.len() + of_members);
        writer.i16(GROUP_METADATA_VALUE);
        writer.string(self.protocol_type);
        writer.i32(self.generation);
        writer.nullable_string(self.protocol);
        writer.nullable_string(self.leader);
        writer.i64(self.current_state_timestamp);
        writer.length(self.members.len());
        for member in &self.members {
            member.encode(&mut writer);
        }
        writer.into_bytes()
    }
}

impl<'a> MemberMetadata<'a> {
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, RecordError> {
        let member = Self {
            member_id: reader.string()?,
            group_instance_id: if version >= 3 { reader.nullable_string()? } else { None },
            client_id: reader.string()?,
            client_host: reader.string()?,
            rebalance_timeout: if version >= 1 { reader.i32()? } else { -1 },
            session_timeout: reader.i32()?,
            subscription: reader.bytes()?,
            assignment: reader.bytes()?,
        };
        reader.skip_tagged()?;
        Ok(member)
    }

    fn encode(&self, writer: &mut Writer) {
        writer.string(self.member_id);
        writer.nullable_string(self.group_instance_id);
        writer.string(self.client_id);
        writer.string(self.client_host);
        writer.i32(self.rebalance_timeout);
        writer.i32(self.session_timeout);
        writer.byte_string(self.subscription);
        writer.byte_string(self.assignment);
    }

    /// What it takes in a record, about.
    fn bytes(&self) -> usize {
        let ids = self.member_id.len() + self.group_instance_id.unwrap_or_default().len();
        32 + ids + self.client_id.len() + self.client_host.len() + self.subscription.len() + self.assignment.len()
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
