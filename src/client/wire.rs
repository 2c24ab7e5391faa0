//! Produce 9 and Fetch 12 as a client has them: written and read by hand, because records are most of their bytes.
//!
//! The layouts are drawn in `protocol::produce` and `protocol::fetch`. Both versions are flexible: lengths are unsigned
//! and one more than they mean, 0 is null, and tagged fields may follow every structure.

use std::ops::Range;

use super::CLIENT_ID;
use crate::protocol::ApiKey;
use crate::record::varint;

/// The versions that are spoken, of Kafka 2.8 and later.
pub(super) const PRODUCE_VERSION: i16 = 9;
pub(super) const FETCH_VERSION: i16 = 12;

/// A Produce request in pieces: `bytes` up to each cut, then the records of a partition, and the rest after the last.
#[derive(Debug)]
pub(super) struct ProduceFrame {
    pub(super) bytes: Vec<u8>,
    pub(super) cuts: Vec<usize>,
}

/// A Produce request for partitions of one topic, each with the size of its batch.
pub(super) fn produce_request(
    correlation_id: i32,
    acks: i16,
    timeout_ms: i32,
    topic: &str,
    partitions: &[(i32, usize)],
) -> ProduceFrame {
    let mut bytes = request(ApiKey::Produce, PRODUCE_VERSION, correlation_id);
    let mut cuts = Vec::with_capacity(partitions.len());
    bytes.push(0);
    bytes.extend_from_slice(&acks.to_be_bytes());
    bytes.extend_from_slice(&timeout_ms.to_be_bytes());
    length(&mut bytes, 1);
    string(&mut bytes, topic);
    length(&mut bytes, partitions.len());
    for (partition, size) in partitions {
        bytes.extend_from_slice(&partition.to_be_bytes());
        length(&mut bytes, *size);
        cuts.push(bytes.len());
        bytes.push(0);
    }
    bytes.extend_from_slice(&[0, 0]);
    finish(&mut bytes, partitions.iter().map(|(_, size)| size).sum());
    ProduceFrame { bytes, cuts }
}

/// What became of one partition's batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Produced {
    pub(super) partition: i32,
    pub(super) error_code: i16,
    pub(super) message: Option<String>,
}

/// Reads a Produce answer: its correlation id and partitions. `None` where it makes no sense.
pub(super) fn produce_response(frame: &[u8]) -> Option<(i32, Vec<Produced>)> {
    let reader = &mut Reader(frame);
    let correlation_id = reader.i32()?;
    reader.tags()?;
    let mut found = Vec::new();
    for _ in 0..reader.count()? {
        reader.string()?;
        for _ in 0..reader.count()? {
            let (partition, error_code) = (reader.i32()?, reader.i16()?);
            // Base offset, append time, log start offset.
            reader.take(24)?;
            let mut message = None;
            for _ in 0..reader.count()? {
                reader.i32()?;
                message = reader.nullable_string()?.map(str::to_owned).or(message);
                reader.tags()?;
            }
            message = reader.nullable_string()?.map(str::to_owned).or(message);
            reader.tags()?;
            found.push(Produced { partition, error_code, message });
        }
        reader.tags()?;
    }
    Some((correlation_id, found))
}

/// What a Fetch asks for, beside the partitions.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchLimits {
    pub(super) max_wait_ms: i32,
    pub(super) max_bytes: i32,
    pub(super) partition_max_bytes: i32,
}

/// A Fetch request for partitions of topics, each from an offset. No session.
pub(super) fn fetch_request<'a>(
    correlation_id: i32,
    limits: &FetchLimits,
    topics: impl ExactSizeIterator<Item = (&'a str, &'a [(i32, i64)])>,
) -> Vec<u8> {
    let mut bytes = request(ApiKey::Fetch, FETCH_VERSION, correlation_id);
    // Replica -1 is a consumer; one byte is enough to answer; read_uncommitted; session 0, epoch -1.
    for number in [-1, limits.max_wait_ms, 1, limits.max_bytes] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&0_i32.to_be_bytes());
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    length(&mut bytes, topics.len());
    for (topic, partitions) in topics {
        string(&mut bytes, topic);
        length(&mut bytes, partitions.len());
        for (partition, offset) in partitions {
            bytes.extend_from_slice(&partition.to_be_bytes());
            // No leader epoch is known, none was fetched last, and no log start.
            bytes.extend_from_slice(&(-1_i32).to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
            bytes.extend_from_slice(&(-1_i32).to_be_bytes());
            bytes.extend_from_slice(&(-1_i64).to_be_bytes());
            bytes.extend_from_slice(&limits.partition_max_bytes.to_be_bytes());
            bytes.push(0);
        }
        bytes.push(0);
    }
    // No forgotten topics, no rack, no tags.
    length(&mut bytes, 0);
    string(&mut bytes, "");
    bytes.push(0);
    finish(&mut bytes, 0);
    bytes
}

/// What was fetched of one partition: where its records lie in the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) error_code: i16,
    pub(super) high_watermark: i64,
    pub(super) records: Range<usize>,
}

/// Reads a Fetch answer: its correlation id, its error, and its partitions.
pub(super) fn fetch_response(frame: &[u8]) -> Option<(i32, i16, Vec<Fetched>)> {
    let reader = &mut Reader(frame);
    let correlation_id = reader.i32()?;
    reader.tags()?;
    reader.i32()?;
    let error_code = reader.i16()?;
    reader.i32()?;
    let mut found = Vec::new();
    for _ in 0..reader.count()? {
        let topic = reader.string()?;
        for _ in 0..reader.count()? {
            let (partition, error_code) = (reader.i32()?, reader.i16()?);
            let high_watermark = reader.i64()?;
            // Last stable offset, log start offset; aborted transactions; preferred read replica.
            reader.take(16)?;
            for _ in 0..reader.count()? {
                reader.take(16)?;
                reader.tags()?;
            }
            reader.i32()?;
            let size = reader.count()?;
            let start = frame.len() - reader.0.len();
            reader.take(size)?;
            reader.tags()?;
            let (topic, records) = (topic.to_owned(), start..start + size);
            found.push(Fetched { topic, partition, error_code, high_watermark, records });
        }
        reader.tags()?;
    }
    Some((correlation_id, error_code, found))
}

/// Length field, header v2.
fn request(api_key: ApiKey, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    bytes.extend_from_slice(&api_key.code().to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&correlation_id.to_be_bytes());
    bytes.extend_from_slice(&i16::try_from(CLIENT_ID.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(CLIENT_ID.as_bytes());
    bytes.push(0);
    bytes
}

fn finish(bytes: &mut [u8], elsewhere_bytes: usize) {
    let length = i32::try_from(bytes.len() - LENGTH_BYTES + elsewhere_bytes).expect("a request below 2 GiB");
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

fn length(bytes: &mut Vec<u8>, count: usize) {
    varint::write_unsigned(bytes, u32::try_from(count + 1).expect("a request below 2 GiB"));
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    length(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// A cursor over an answer. Nothing is allocated by what a length says.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A count or length; null is none. More than there are bytes left is refused.
    fn count(&mut self) -> Option<usize> {
        let count = varint::read_unsigned(&mut self.0)?.saturating_sub(1);
        usize::try_from(count).ok().filter(|count| *count <= self.0.len())
    }

    fn string(&mut self) -> Option<&'a str> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn nullable_string(&mut self) -> Option<Option<&'a str>> {
        if self.0.first() == Some(&0) {
            self.take(1)?;
            return Some(None);
        }
        self.string().map(Some)
    }

    fn tags(&mut self) -> Option<()> {
        for _ in 0..varint::read_unsigned(&mut self.0)? {
            varint::read_unsigned(&mut self.0)?;
            let size = usize::try_from(varint::read_unsigned(&mut self.0)?).ok()?;
            self.take(size)?;
        }
        Some(())
    }
}

const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use crate::protocol::{ApiKey, ErrorCode, Frame, RequestHeader, fetch, produce};
    use crate::record::Records;
    use crate::types::TopicId;

    use super::*;

    fn frame(bytes: &[u8]) -> Frame {
        let length = u32::from_be_bytes(*bytes.first_chunk().expect("a length"));
        assert_eq!(usize::try_from(length).expect("small"), bytes.len() - 4, "the length field");
        Frame::parse(&Records::from(bytes[4..].to_vec())).expect("a frame")
    }

    #[test]
    fn the_node_reads_the_requests_as_they_are_meant() {
        let request = produce_request(9, -1, 1500, "orders", &[(3, 5), (0, 2)]);
        let (head, tail) = request.bytes.split_at(request.cuts[0]);
        let (middle, tail) = tail.split_at(request.cuts[1] - request.cuts[0]);
        let frame_ = frame(&[head, b"abcde", middle, b"xy", tail].concat());
        let parsed = produce::Request::parse(&frame_).expect("a Produce");
        assert_eq!((frame_.header.correlation_id, parsed.acks, parsed.timeout_ms), (9, -1, 1500));
        let topics: Vec<_> = parsed.topics().collect();
        assert_eq!(topics[0].name, "orders");
        let sizes = topics[0].partitions().map(|found| (found.index, found.records.map(|records| records.len())));
        assert_eq!(sizes.collect::<Vec<_>>(), [(3, Some(5)), (0, Some(2))]);

        let limits = FetchLimits { max_wait_ms: 500, max_bytes: 1 << 20, partition_max_bytes: 1 << 16 };
        let frame_ = frame(&fetch_request(4, &limits, [("a", &[(1, 17)][..]), ("b", &[][..])].into_iter()));
        let parsed = fetch::Request::parse(&frame_).expect("a Fetch");
        assert_eq!((parsed.max_wait_ms, parsed.min_bytes, parsed.max_bytes), (500, 1, 1 << 20));
        let topics: Vec<_> = parsed.topics().collect();
        assert_eq!((&*topics[0].name, &*topics[1].name, topics[1].partition_count()), ("a", "b", 0));
        let asked = topics[0].partitions().next().expect("one");
        assert_eq!((asked.partition, asked.fetch_offset, asked.partition_max_bytes), (1, 17, 1 << 16));
    }

    #[test]
    fn what_the_node_answers_is_read() {
        let header = RequestHeader { api_key: ApiKey::Produce, api_version: PRODUCE_VERSION, correlation_id: 77 };
        let mut encoder = produce::ResponseEncoder::new(&header, 1);
        encoder.topic("orders", 2);
        encoder.partition(&produce::PartitionResponse::default());
        encoder.partition(&produce::PartitionResponse {
            index: 4,
            error_code: ErrorCode::InvalidRecord,
            record_errors: &[produce::RecordError { batch_index: 0, message: Some("first") }],
            error_message: Some("no"),
            ..produce::PartitionResponse::default()
        });
        let bytes = encoder.finish(0);
        let good = Produced { partition: 0, error_code: 0, message: None };
        let bad = Produced { partition: 4, error_code: 87, message: Some("no".to_owned()) };
        assert_eq!(produce_response(&bytes[4..]), Some((77, vec![good, bad])));
        // All but the throttle time and the last tags, which are not looked at.
        for cut in 4..bytes.len() - 5 {
            assert_eq!(produce_response(&bytes[4..cut]), None, "{cut}");
        }

        let header = RequestHeader { api_key: ApiKey::Fetch, api_version: FETCH_VERSION, correlation_id: 5 };
        let mut encoder = fetch::ResponseEncoder::new(&header, 0, ErrorCode::None, 1);
        encoder.topic("orders", TopicId::ZERO, 1);
        let data = fetch::PartitionData { partition: 2, high_watermark: 9, ..fetch::PartitionData::default() };
        encoder.partition(&data, 3);
        let parts = encoder.finish().into_iter().map(|part| match part {
            fetch::ResponsePart::Bytes(bytes) => bytes.to_vec(),
            fetch::ResponsePart::Records { len, .. } => vec![7; len],
        });
        let bytes = parts.collect::<Vec<_>>().concat();
        let (correlation_id, error_code, found) = fetch_response(&bytes[4..]).expect("an answer");
        assert_eq!((correlation_id, error_code, found.len()), (5, 0, 1));
        assert_eq!((found[0].partition, found[0].high_watermark), (2, 9));
        assert_eq!(bytes[4..][found[0].records.clone()], [7, 7, 7]);
        // The last tags are not looked at.
        assert_eq!(fetch_response(&bytes[4..bytes.len() - 2]), None);
    }
}
