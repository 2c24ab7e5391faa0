//! Fetch, versions 4 to 13: a view over the request where it lies, and a response that leaves room for records.
//!
//! ```text
//!   replicaId maxWaitMs minBytes maxBytes isolationLevel sessionId:7 sessionEpoch:7
//!     [ topic|topicId:13 [ partition currentLeaderEpoch:9 fetchOffset lastFetchedEpoch:12 logStartOffset:5 partitionMaxBytes ] ]
//!     [ forgotten topic|topicId:13 [ partition ] ]:7 rackId:11 (tags: 0 clusterId)
//!   throttleTimeMs errorCode:7 sessionId:7 [ topic|topicId:13 [ partitionIndex errorCode highWatermark
//!     lastStableOffset logStartOffset:5 abortedTransactions? preferredReadReplica:11 records ] ]
//! ```
//! The response never holds record bytes: [`ResponseEncoder::finish`] gives pieces of encoded bytes with
//! [`ResponsePart::Records`] between them, whose bytes the sender puts there. Records are never null (librdkafka fails
//! on null), and the list of aborted transactions always is (there are none, and librdkafka complains of an empty one).

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::error::DecodeError;
use super::error_code::ErrorCode;
use super::frame::{Frame, RequestHeader};
use super::reader::Reader;
use super::writer::Writer;
use crate::types::TopicId;

/// A Fetch request, as a view of its frame.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The version, 4 to 13.
    pub version: i16,
    /// -1 from a consumer, a broker's id from a follower.
    pub replica_id: i32,
    /// How long to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// How many bytes to wait for.
    pub min_bytes: i32,
    /// How many bytes to answer at the most, one whole batch excepted.
    pub max_bytes: i32,
    /// 0 for read_uncommitted, 1 for read_committed.
    pub isolation_level: i8,
    /// The fetch session, or 0. From version 7 on.
    pub session_id: i32,
    /// The epoch within the session; -1 for none. From version 7 on.
    pub session_epoch: i32,
    topic_count: usize,
    topics: Reader<'a>,
}

/// One topic of a request.
#[derive(Clone, Debug)]
pub struct Topic<'a> {
    /// Its name, as the client wrote it; empty from version 13 on.
    pub name: Cow<'a, str>,
    /// Its id, from version 13 on; zero before.
    pub id: TopicId,
    version: i16,
    partition_count: usize,
    partitions: Reader<'a>,
}

/// One partition of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The partition's number, as the client wrote it.
    pub partition: i32,
    /// The leader epoch that the client knows, or -1. From version 9 on.
    pub current_leader_epoch: i32,
    /// From which offset.
    pub fetch_offset: i64,
    /// The epoch of the last record that a follower has, or -1. From version 12 on.
    pub last_fetched_epoch: i32,
    /// A follower's log start offset, or -1. From version 5 on.
    pub log_start_offset: i64,
    /// How many bytes of this partition at the most, one whole batch excepted.
    pub partition_max_bytes: i32,
}

/// The version from which on topics go by their ids.
const IDS_SINCE: i16 = 13;

/// An empty topic with an id, with a compact name and with a name in the older encoding.
fn topic_bytes_min(version: i16, flexible: bool) -> usize {
    match (version >= IDS_SINCE, flexible) {
        (true, _) => 18,
        (false, true) => 3,
        (false, false) => 6,
    }
}

fn read_topic<'a>(reader: &mut Reader<'a>, version: i16) -> Result<(Cow<'a, str>, TopicId), DecodeError> {
    if version >= IDS_SINCE {
        Ok((Cow::Borrowed(""), TopicId(reader.uuid()?)))
    } else {
        Ok((reader.string()?, TopicId::ZERO))
    }
}

impl<'a> Request<'a> {
    /// Reads the body of `frame`, a Fetch request, and checks all of its structure.
    pub fn parse(frame: &'a Frame) -> Result<Self, DecodeError> {
        let RequestHeader { api_key, api_version: version, .. } = frame.header;
        let flexible = api_key.is_flexible(version);
        let mut reader = Reader::new(frame.body(), flexible);
        let (replica_id, max_wait_ms) = (reader.i32()?, reader.i32()?);
        let (min_bytes, max_bytes, isolation_level) = (reader.i32()?, reader.i32()?, reader.i8()?);
        let (session_id, session_epoch) = if version >= 7 { (reader.i32()?, reader.i32()?) } else { (0, -1) };
        let topic_count = reader.count(topic_bytes_min(version, flexible))?;
        let topics = reader.clone();
        for _ in 0..topic_count {
            Topic::read(&mut reader, version)?;
        }
        if version >= 7 {
            skip_forgotten_topics(&mut reader, version, flexible)?;
        }
        if version >= 11 {
            // The client's rack: a single node has no closer replica to name.
            reader.string()?;
        }
        reader.tags()?;
        Ok(Self {
            version,
            replica_id,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topic_count,
            topics,
        })
    }

    /// Whether its topics go by their ids, not by their names.
    #[must_use]
    pub fn by_id(&self) -> bool {
        self.version >= IDS_SINCE
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// The topics in the order of the request.
    pub fn topics(&self) -> impl Iterator<Item = Topic<'a>> {
        let (mut reader, version) = (self.topics.clone(), self.version);
        (0..self.topic_count).map_while(move |_| Topic::read(&mut reader, version).ok())
    }
}

/// Skips what leaves a session: without sessions there is nothing that it could leave.
fn skip_forgotten_topics(reader: &mut Reader<'_>, version: i16, flexible: bool) -> Result<(), DecodeError> {
    for _ in 0..reader.count(topic_bytes_min(version, flexible))? {
        read_topic(reader, version)?;
        let partition_count = reader.count(4)?;
        reader.skip(partition_count * 4)?;
        reader.tags()?;
    }
    Ok(())
}

impl<'a> Topic<'a> {
    /// Reads a topic and moves past its partitions.
    fn read(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let (name, id) = read_topic(reader, version)?;
        let partition_count = reader.count(Partition::bytes_min(version))?;
        let partitions = reader.clone();
        for _ in 0..partition_count {
            Partition::read(reader, version)?;
        }
        reader.tags()?;
        Ok(Self { name, id, version, partition_count, partitions })
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The partitions in the order of the request.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<'a> {
        let (mut reader, version) = (self.partitions.clone(), self.version);
        (0..self.partition_count).map_while(move |_| Partition::read(&mut reader, version).ok())
    }
}

impl Partition {
    /// Bytes of a partition without tagged fields.
    fn bytes_min(version: i16) -> usize {
        let since = |from: i16, bytes: usize| if version >= from { bytes } else { 0 };
        16 + since(5, 8) + since(9, 4) + since(12, 5)
    }

    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let partition = reader.i32()?;
        let current_leader_epoch = if version >= 9 { reader.i32()? } else { -1 };
        let fetch_offset = reader.i64()?;
        let last_fetched_epoch = if version >= 12 { reader.i32()? } else { -1 };
        let log_start_offset = if version >= 5 { reader.i64()? } else { -1 };
        let partition_max_bytes = reader.i32()?;
        reader.tags()?;
        Ok(Self {
            partition,
            current_leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            log_start_offset,
            partition_max_bytes,
        })
    }
}

/// The answer for one partition, but for its records. The default is no error, and nothing known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionData {
    /// The partition's number.
    pub partition: i32,
    /// What became of it.
    pub error_code: ErrorCode,
    /// The high watermark, or -1.
    pub high_watermark: i64,
    /// The last stable offset, or -1.
    pub last_stable_offset: i64,
    /// The log start offset, or -1. Sent from version 5 on.
    pub log_start_offset: i64,
}

impl Default for PartitionData {
    fn default() -> Self {
        Self {
            partition: 0,
            error_code: ErrorCode::None,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
        }
    }
}

/// A piece of a response, in sending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponsePart {
    /// Encoded bytes.
    Bytes(Bytes),
    /// Room for `len` record bytes of the partition that was pushed as number `index`, from 0 over the whole response.
    Records {
        /// Which partition.
        index: usize,
        /// How many bytes; never 0.
        len: usize,
    },
}

/// Writes a Fetch response: topics and partitions are pushed in order, as many as were announced.
#[derive(Debug)]
pub struct ResponseEncoder {
    writer: Writer,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
    partitions_pushed: usize,
    /// Where records go: after how many encoded bytes, which partition's, how many.
    gaps: Vec<(usize, usize, usize)>,
}

impl ResponseEncoder {
    /// Begins the response to a request with `header`, of `topic_count` topics. The session id is 0: no session.
    #[must_use]
    pub fn new(header: &RequestHeader, throttle_time_ms: i32, error_code: ErrorCode, topic_count: usize) -> Self {
        let version = header.api_version;
        let mut writer = Writer::response(header.api_key, version, header.correlation_id, 256);
        writer.i32(throttle_time_ms);
        if version >= 7 {
            writer.i16(error_code.code());
            writer.i32(0);
        }
        writer.length(topic_count);
        Self { writer, version, topics_left: topic_count, partitions_left: 0, partitions_pushed: 0, gaps: Vec::new() }
    }

    /// Begins a topic of `partition_count` partitions, under its name or its id, as the version has it.
    pub fn topic(&mut self, name: &str, id: TopicId, partition_count: usize) {
        assert!(self.partitions_left == 0 && self.topics_left > 0, "topics and partitions as announced");
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        if self.version >= IDS_SINCE {
            self.writer.uuid(id.0);
        } else {
            self.writer.string(name);
        }
        self.writer.length(partition_count);
        self.end_topic();
    }

    /// Writes a partition of the topic begun last, with room for `records_len` bytes of whole batches.
    pub fn partition(&mut self, partition: &PartitionData, records_len: usize) {
        assert!(self.partitions_left > 0, "partitions as announced");
        let writer = &mut self.writer;
        writer.i32(partition.partition);
        writer.i16(partition.error_code.code());
        writer.i64(partition.high_watermark);
        writer.i64(partition.last_stable_offset);
        if self.version >= 5 {
            writer.i64(partition.log_start_offset);
        }
        writer.null_array();
        if self.version >= 11 {
            writer.i32(-1);
        }
        writer.length(records_len);
        if records_len > 0 {
            self.gaps.push((writer.len(), self.partitions_pushed, records_len));
        }
        writer.tags();
        self.partitions_pushed += 1;
        self.partitions_left -= 1;
        self.end_topic();
    }

    fn end_topic(&mut self) {
        if self.partitions_left == 0 {
            self.writer.tags();
        }
    }

    /// The frame in pieces, length field included. Encoded pieces share one allocation.
    #[must_use]
    pub fn finish(mut self) -> Vec<ResponsePart> {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "topics and partitions as announced");
        self.writer.tags();
        let records_bytes = self.gaps.iter().map(|(_, _, len)| len).sum();
        let bytes = Bytes::from(self.writer.finish(records_bytes));
        let piece = |range: Range<usize>| ResponsePart::Bytes(bytes.slice(range));
        let mut parts = Vec::with_capacity(2 * self.gaps.len() + 1);
        let mut written = 0;
        for (at, index, len) in self.gaps {
            parts.push(piece(written..at));
            parts.push(ResponsePart::Records { index, len });
            written = at;
        }
        if written < bytes.len() {
            parts.push(piece(written..bytes.len()));
        }
        parts
    }
}
