//! Produce, versions 3 to 9: a view over the request where it lies, and the response.
//!
//! ```text
//!   transactionalId? acks timeoutMs [ name [ index records? (tags) ] (tags) ] (tags)
//!   [ name [ index errorCode baseOffset logAppendTimeMs logStartOffset:5 recordErrors:8 errorMessage:8 ] ] throttleTimeMs
//! ```
//! [`Request::parse`] checks the structure of the whole body once; after it no accessor can fail.

use std::borrow::Cow;

use bytes::Bytes;

use super::error::DecodeError;
use super::error_code::ErrorCode;
use super::frame::{Frame, RequestHeader};
use super::reader::Reader;
use super::writer::Writer;
use crate::record::Records;

/// A Produce request, as a view of its frame.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The version, 3 to 9: [`crate::record::CheckRules`] wants it.
    pub version: i16,
    /// Whether a transactional id is set: refused before transactions exist.
    pub is_transactional: bool,
    /// -1, 0 or 1 from a client in its senses; anything may be here.
    pub acks: i16,
    /// How long the client will wait.
    pub timeout_ms: i32,
    topic_count: usize,
    topics: Reader<'a>,
}

/// One topic of a request.
#[derive(Clone, Debug)]
pub struct TopicData<'a> {
    /// Its name, as the client wrote it.
    pub name: Cow<'a, str>,
    partition_count: usize,
    partitions: Reader<'a>,
}

/// One partition of a request.
#[derive(Clone, Debug)]
pub struct PartitionData {
    /// The partition's number, as the client wrote it.
    pub index: i32,
    /// The record bytes, views of the frame; `None` where the client sent null.
    pub records: Option<Records>,
}

/// Name and partition count of an empty topic, in the compact and in the older encoding.
fn topic_bytes_min(flexible: bool) -> usize {
    if flexible { 3 } else { 6 }
}

/// Number and null records of a partition.
fn partition_bytes_min(flexible: bool) -> usize {
    if flexible { 6 } else { 8 }
}

impl<'a> Request<'a> {
    /// Reads the body of `frame`, a Produce request, and checks all of its structure. Batches are not looked at.
    pub fn parse(frame: &'a Frame) -> Result<Self, DecodeError> {
        let RequestHeader { api_key, api_version: version, .. } = frame.header;
        let flexible = api_key.is_flexible(version);
        let mut reader = Reader::new(frame.body(), flexible);
        let is_transactional = reader.nullable_string()?.is_some();
        let (acks, timeout_ms) = (reader.i16()?, reader.i32()?);
        let topic_count = reader.count(topic_bytes_min(flexible))?;
        let topics = reader.clone();
        for _ in 0..topic_count {
            TopicData::read(&mut reader, flexible)?;
        }
        reader.tags()?;
        Ok(Self { version, is_transactional, acks, timeout_ms, topic_count, topics })
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// The topics in the order of the request.
    pub fn topics(&self) -> impl Iterator<Item = TopicData<'a>> {
        let (mut reader, flexible) = (self.topics.clone(), self.version >= 9);
        (0..self.topic_count).map_while(move |_| TopicData::read(&mut reader, flexible).ok())
    }
}

impl<'a> TopicData<'a> {
    /// Reads a topic and moves past its partitions.
    fn read(reader: &mut Reader<'a>, flexible: bool) -> Result<Self, DecodeError> {
        let name = reader.string()?;
        let partition_count = reader.count(partition_bytes_min(flexible))?;
        let partitions = reader.clone();
        for _ in 0..partition_count {
            reader.i32()?;
            reader.skip_records()?;
            reader.tags()?;
        }
        reader.tags()?;
        Ok(Self { name, partition_count, partitions })
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The partitions in the order of the request.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionData> + use<'a> {
        let mut reader = self.partitions.clone();
        (0..self.partition_count).map_while(move |_| PartitionData::read(&mut reader).ok())
    }
}

impl PartitionData {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (index, records) = (reader.i32()?, reader.records()?);
        reader.tags()?;
        Ok(Self { index, records })
    }
}

/// The answer for one partition. The default is no error, and nothing appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionResponse<'a> {
    /// The partition's number.
    pub index: i32,
    /// What became of it.
    pub error_code: ErrorCode,
    /// The offset of the first record, or -1.
    pub base_offset: i64,
    /// The append time where the topic's timestamp type is `LogAppendTime`, or -1.
    pub log_append_time_ms: i64,
    /// The log start offset, or -1. Sent from version 5 on.
    pub log_start_offset: i64,
    /// Records that were refused, by their place in the batch. Sent from version 8 on.
    pub record_errors: &'a [RecordError<'a>],
    /// Why the batch was refused. Sent from version 8 on.
    pub error_message: Option<&'a str>,
}

impl Default for PartitionResponse<'_> {
    fn default() -> Self {
        Self {
            index: 0,
            error_code: ErrorCode::None,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: &[],
            error_message: None,
        }
    }
}

/// A record that made its batch be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError<'a> {
    /// Its place in the batch, from 0.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: Option<&'a str>,
}

/// Writes a Produce response: topics and partitions are pushed in order, as many as were announced.
#[derive(Debug)]
pub struct ResponseEncoder {
    writer: Writer,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
}

impl ResponseEncoder {
    /// Begins the response to a request with `header`, of `topic_count` topics.
    #[must_use]
    pub fn new(header: &RequestHeader, topic_count: usize) -> Self {
        let version = header.api_version;
        let mut writer = Writer::response(header.api_key, version, header.correlation_id, 128);
        writer.length(topic_count);
        Self { writer, version, topics_left: topic_count, partitions_left: 0 }
    }

    /// Begins a topic of `partition_count` partitions.
    #[inline]
    pub fn topic(&mut self, name: &str, partition_count: usize) {
        assert!(self.partitions_left == 0 && self.topics_left > 0, "topics and partitions as announced");
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        self.writer.string(name);
        self.writer.length(partition_count);
        self.end_topic();
    }

    /// Writes a partition of the topic begun last.
    pub fn partition(&mut self, partition: &PartitionResponse<'_>) {
        assert!(self.partitions_left > 0, "partitions as announced");
        let writer = &mut self.writer;
        writer.i32(partition.index);
        writer.i16(partition.error_code.code());
        writer.i64(partition.base_offset);
        writer.i64(partition.log_append_time_ms);
        if self.version >= 5 {
            writer.i64(partition.log_start_offset);
        }
        if self.version >= 8 {
            writer.length(partition.record_errors.len());
            for error in partition.record_errors {
                writer.i32(error.batch_index);
                writer.nullable_string(error.message);
                writer.tags();
            }
            writer.nullable_string(partition.error_message);
        }
        writer.tags();
        self.partitions_left -= 1;
        self.end_topic();
    }

    #[inline]
    fn end_topic(&mut self) {
        if self.partitions_left == 0 {
            self.writer.tags();
        }
    }

    /// The frame, length field included.
    #[must_use]
    pub fn finish(mut self, throttle_time_ms: i32) -> Bytes {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "topics and partitions as announced");
        self.writer.i32(throttle_time_ms);
        self.writer.tags();
        self.writer.finish(0).into()
    }
}
