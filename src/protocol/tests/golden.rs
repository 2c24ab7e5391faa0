//! Bytes that Apache Kafka 4.3.1's own Java classes wrote: see `tests/golden/Golden.java`.

use super::request;
use crate::protocol::fetch::{self, ResponsePart};
use crate::protocol::{ApiKey, ErrorCode, Frame, produce};
use crate::record::{BatchHeader, Records, crc};
use crate::types::{Offset, TopicId};

/// The golden file of each version: `golden!("produce-request", 3 4 5)`.
macro_rules! golden {
    ($name:literal, $($version:literal)*) => {
        [$((
            $version,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/", $name, "-", $version, ".bin")).as_slice(),
        )),*]
    };
}

const BATCH: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/batch-none.bin"));

/// The frame behind its length field, which must be right.
fn frame(bytes: &[u8]) -> Frame {
    let (length, frame) = bytes.split_first_chunk().expect("a length");
    assert_eq!(usize::try_from(i32::from_be_bytes(*length)).expect("a length"), frame.len());
    Frame::parse(&Records::from(frame.to_vec())).expect("a frame")
}

#[test]
fn produce_requests_of_the_java_client_are_read() {
    for (version, bytes) in golden!("produce-request", 3 4 5 6 7 8 9) {
        let frame = frame(bytes);
        assert_eq!((frame.header.api_key, frame.header.api_version), (ApiKey::Produce, version));
        assert_eq!((frame.client_id().as_deref(), frame.header.correlation_id), (Some("golden"), 77));
        let view = produce::Request::parse(&frame).expect("a request");
        assert_eq!((view.acks, view.timeout_ms, view.is_transactional), (-1, 30_000, false));
        let batch = Some(Records::from(BATCH.to_vec()));
        let topics: Vec<_> = view.topics().map(|topic| (topic.name.clone().into_owned(), topic)).collect();
        assert_eq!(topics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["first", "second.topic"]);
        for (_, topic) in topics {
            let partitions: Vec<_> = topic.partitions().map(|data| (data.index, data.records)).collect();
            assert_eq!(partitions, [(0, batch.clone()), (7, None)], "version {version}");
        }
    }
}

#[test]
fn produce_responses_are_those_of_the_java_broker() {
    for (version, bytes) in golden!("produce-response", 3 4 5 6 7 8 9) {
        let header = super::parse(&request(ApiKey::Produce, version, &[])).header;
        let mut encoder = produce::ResponseEncoder::new(&header, 1);
        encoder.topic("first", 2);
        encoder.partition(&produce::PartitionResponse {
            base_offset: 123_456_789_012,
            log_start_offset: 42,
            ..produce::PartitionResponse::default()
        });
        encoder.partition(&produce::PartitionResponse {
            index: 7,
            error_code: ErrorCode::InvalidRecord,
            record_errors: &[produce::RecordError { batch_index: 2, message: Some("no key") }],
            error_message: Some("One or more records have been rejected"),
            ..produce::PartitionResponse::default()
        });
        assert_eq!(&encoder.finish(0)[..], bytes, "version {version}");
    }
}

#[test]
fn fetch_requests_of_the_java_client_are_read() {
    for (version, bytes) in golden!("fetch-request", 4 5 6 7 8 9 10 11 12) {
        let frame = frame(bytes);
        let view = fetch::Request::parse(&frame).expect("a request");
        assert_eq!((view.version, view.replica_id, view.isolation_level), (version, -1, 1));
        assert_eq!((view.max_wait_ms, view.min_bytes, view.max_bytes), (500, 1, 52_428_800));
        assert_eq!((view.session_id, view.session_epoch), (0, -1));
        let names: Vec<_> = view.topics().map(|topic| topic.name).collect();
        assert_eq!(names, ["first", "second.topic"]);
        for topic in view.topics() {
            let expected = [0, 1].map(|partition| fetch::Partition {
                partition,
                current_leader_epoch: if version >= 9 { 9 } else { -1 },
                fetch_offset: 1_000_000_000_000 + i64::from(partition),
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: 1_048_576,
            });
            assert_eq!(topic.partitions().collect::<Vec<_>>(), expected, "version {version}");
        }
    }
}

#[test]
fn fetch_responses_are_those_of_the_java_broker() {
    for (version, bytes) in golden!("fetch-response", 4 5 6 7 8 9 10 11 12) {
        let header = super::parse(&request(ApiKey::Fetch, version, &[])).header;
        let mut encoder = fetch::ResponseEncoder::new(&header, 0, ErrorCode::None, 1);
        encoder.topic("first", TopicId::ZERO, 2);
        let whole = fetch::PartitionData {
            high_watermark: 1000,
            last_stable_offset: 1000,
            log_start_offset: 5,
            ..fetch::PartitionData::default()
        };
        encoder.partition(&whole, BATCH.len());
        let refused = fetch::PartitionData {
            partition: 1,
            error_code: ErrorCode::OffsetOutOfRange,
            ..fetch::PartitionData::default()
        };
        encoder.partition(&refused, 0);
        let mut frame = Vec::new();
        for part in encoder.finish() {
            match part {
                ResponsePart::Bytes(piece) => frame.extend_from_slice(&piece),
                ResponsePart::Records { index, len } => {
                    assert_eq!((index, len), (0, BATCH.len()));
                    frame.extend_from_slice(BATCH);
                }
            }
        }
        assert_eq!(frame, bytes, "version {version}");
    }
}

#[test]
fn batches_of_the_java_client_are_decoded_whatever_their_codec() {
    type Row<'a> = (i64, i64, Option<&'a [u8]>, Option<&'a [u8]>, usize);
    let rows: [Row<'_>; 4] = [
        (0, 1_700_000_000_000, Some(b"key"), Some(b"value"), 0),
        (1, 1_700_000_000_500, None, Some(b"a value that repeats, a value that repeats, a value that repeats"), 0),
        (2, 1_700_000_000_250, Some(b"tombstone"), None, 3),
        (3, 1_700_000_000_400, Some(b""), Some(b""), 0),
    ];
    for (codec, batch) in golden!("batch", "none" "gzip" "snappy" "lz4" "zstd") {
        let header = crc::verify(&Records::from(batch.to_vec())).expect("the checksum fits");
        assert_eq!(header.compression().map(|codec| codec.name()), Some(codec));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4000, 3, 17));
        assert_eq!((header.partition_leader_epoch, header.record_count, header.last_sequence()), (5, 4, 20));
        assert_eq!((header.base_timestamp, header.max_timestamp), (rows[0].1, rows[1].1));
        let decoded = crate::record::decode(batch).expect("decodes");
        let records: Vec<_> = decoded.records().map(|record| record.expect("a record")).collect();
        let read: Vec<Row<'_>> = records
            .iter()
            .map(|record| (record.offset.0, record.timestamp, record.key, record.value, record.headers.count()))
            .collect();
        assert_eq!(read, rows, "{codec}");
        let headers: Vec<_> = records[2].headers.collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"h", None), (b"", Some(b""))]);
        assert_eq!(crate::record::find_max_timestamp(batch, Offset(0)), Ok(Some((Offset(1), rows[1].1))));
        assert_eq!(crate::record::find_by_time(batch, Offset(0), rows[0].1 + 1), Ok(Some((Offset(1), rows[1].1))));
    }
}

#[test]
fn every_block_of_a_codec_is_decoded() {
    let value = b"0123456789".repeat(30_000);
    for (codec, batch) in golden!("large", "gzip" "snappy" "lz4" "zstd") {
        let decoded = crate::record::decode(batch).expect("decodes");
        let record = decoded.records().next().expect("one").expect("a record");
        assert_eq!(record.value, Some(&value[..]), "{codec}");
    }
}

#[test]
fn our_own_batches_have_the_bytes_of_the_java_client() {
    use crate::record::build::{BatchBuilder, NewRecord};
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let record = |timestamp: i64, key, value| NewRecord { timestamp, key, value, headers: vec![] };
    let mut records = [
        record(1_700_000_000_000, text("key"), text("value")),
        record(1_700_000_000_500, None, text("a value that repeats, a value that repeats, a value that repeats")),
        record(1_700_000_000_250, text("tombstone"), None),
        record(1_700_000_000_400, text(""), text("")),
    ];
    records[2].headers = vec![(b"h".to_vec(), text("1")), (b"h".to_vec(), None), (vec![], text(""))];
    let builder = BatchBuilder {
        leader_epoch: 5,
        producer_id: 4000,
        producer_epoch: 3,
        base_sequence: 17,
        ..BatchBuilder::default()
    };
    assert_eq!(builder.build(&records), BATCH);
    assert_eq!(BatchHeader::read(BATCH).expect("a header").size_bytes(), BATCH.len());
}
