//! Fetch requests and responses against the generated codec.

use bytes::Bytes;
use kacrab_protocol::KafkaString;
use kacrab_protocol::generated::fetch_request::{FetchPartition, FetchRequestData, FetchTopic, ForgottenTopic};
use kacrab_protocol::generated::fetch_response::{
    FetchResponseData, FetchableTopicResponse, PartitionData as GeneratedPartition,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{chunked, edges, name, parse, request, written};
use crate::protocol::cold::uuid;
use crate::protocol::fetch::{Partition, PartitionData, Request, ResponseEncoder, ResponsePart};
use crate::protocol::{ApiKey, ErrorCode, Frame};
use crate::record::Records;
use crate::types::TopicId;

/// An id that goes with a name.
fn id_of(name: &str) -> TopicId {
    let mut id = [7; 16];
    for (byte, from) in id.iter_mut().zip(name.bytes()) {
        *byte = from;
    }
    TopicId(id)
}

/// Name and id of a topic as a message of `version` carries them.
fn keyed(version: i16, name: &str) -> (String, TopicId) {
    if version >= 13 { (String::new(), id_of(name)) } else { (name.to_owned(), TopicId::ZERO) }
}

prop_compose! {
    fn a_topic()(
        name in name(),
        partitions in vec((any::<i32>(), any::<i32>(), any::<i64>(), any::<i32>(), any::<i64>(), any::<i32>()), 0..4),
    ) -> (String, Vec<Partition>) {
        let partitions = partitions.into_iter().map(
            |(partition, current_leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset, max)| Partition {
                partition, current_leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset,
                partition_max_bytes: max,
            },
        );
        (name, partitions.collect())
    }
}

/// The partition as a request of `version` can carry it.
fn known_in(version: i16, partition: Partition) -> Partition {
    Partition {
        current_leader_epoch: if version >= 9 { partition.current_leader_epoch } else { -1 },
        last_fetched_epoch: if version >= 12 { partition.last_fetched_epoch } else { -1 },
        log_start_offset: if version >= 5 { partition.log_start_offset } else { -1 },
        ..partition
    }
}

fn generated(version: i16, topics: &[(String, Vec<Partition>)], numbers: (i32, i32, i32)) -> FetchRequestData {
    let topics = topics.iter().map(|(name, partitions)| FetchTopic {
        topic: KafkaString::from(keyed(version, name).0),
        topic_id: uuid(keyed(version, name).1),
        partitions: partitions
            .iter()
            .map(|partition| known_in(version, *partition))
            .map(|partition| FetchPartition {
                partition: partition.partition,
                current_leader_epoch: partition.current_leader_epoch,
                fetch_offset: partition.fetch_offset,
                last_fetched_epoch: partition.last_fetched_epoch,
                log_start_offset: partition.log_start_offset,
                partition_max_bytes: partition.partition_max_bytes,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let (gone, gone_id) = keyed(version, "gone");
    let forgotten = ForgottenTopic {
        topic: KafkaString::from(gone),
        topic_id: uuid(gone_id),
        partitions: vec![1, 2],
        ..Default::default()
    };
    let (max_wait_ms, min_bytes, max_bytes) = numbers;
    FetchRequestData {
        cluster_id: (version >= 12).then(|| KafkaString::from_static("cluster")),
        replica_id: -1,
        max_wait_ms,
        min_bytes,
        max_bytes,
        isolation_level: 1,
        session_id: if version >= 7 { 5 } else { 0 },
        session_epoch: if version >= 7 { 6 } else { -1 },
        topics: topics.collect(),
        forgotten_topics_data: if version >= 7 { vec![forgotten] } else { vec![] },
        rack_id: if version >= 11 { KafkaString::from_static("rack") } else { KafkaString::default() },
        ..Default::default()
    }
}

proptest! {
    #[test]
    fn the_view_reads_what_the_generated_codec_wrote(
        topics in vec(a_topic(), 0..4),
        numbers: (i32, i32, i32),
        version in 4..=13_i16,
        edges in edges(),
    ) {
        let body = written(|into| generated(version, &topics, numbers).write(into, version));
        let frame = Frame::parse(&chunked(&request(ApiKey::Fetch, version, &body), &edges)).expect("a frame");
        let view = Request::parse(&frame).expect("a request");
        prop_assert_eq!((view.max_wait_ms, view.min_bytes, view.max_bytes), numbers);
        prop_assert_eq!((view.replica_id, view.isolation_level, view.version), (-1, 1, version));
        let session = if version >= 7 { (5, 6) } else { (0, -1) };
        prop_assert_eq!((view.session_id, view.session_epoch), session);
        let read: Vec<_> = view
            .topics()
            .map(|topic| {
                assert_eq!(topic.partition_count(), topic.partitions().count());
                let partitions: Vec<_> = topic.partitions().collect();
                ((topic.name.into_owned(), topic.id), partitions)
            })
            .collect();
        let expected: Vec<_> = topics
            .into_iter()
            .map(|(name, partitions)| (keyed(version, &name), partitions.into_iter().map(|one| known_in(version, one)).collect()))
            .collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn every_truncation_is_an_error(
        topics in vec(a_topic(), 0..3),
        version in 4..=13_i16,
        cut: prop::sample::Index,
    ) {
        let body = written(|into| generated(version, &topics, (1, 2, 3)).write(into, version));
        let bytes = request(ApiKey::Fetch, version, &body);
        let cut = &bytes[..cut.index(bytes.len())];
        if let Ok(frame) = Frame::parse(&Records::from(cut.to_vec())) {
            prop_assert!(Request::parse(&frame).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(version in 4..=13_i16, body in vec(any::<u8>(), 0..200), edges in edges()) {
        let bytes = request(ApiKey::Fetch, version, &body);
        let frame = Frame::parse(&chunked(&bytes, &edges)).expect("a frame");
        let read = |frame: &Frame| Request::parse(frame).map(|view| {
            assert_eq!(view.topics().count(), view.topic_count());
            view.topics().flat_map(|topic| topic.partitions().collect::<Vec<_>>()).collect::<Vec<_>>()
        });
        prop_assert_eq!(read(&frame), read(&parse(&bytes)), "whatever the chunks");
    }

    #[test]
    fn the_response_has_the_bytes_that_the_generated_codec_writes(
        topics in vec((name(), vec((any::<i32>(), any::<i64>(), any::<i64>(), vec(any::<u8>(), 0..300)), 0..4)), 0..4),
        throttle_time_ms: i32,
        version in 4..=13_i16,
    ) {
        let frame = parse(&request(ApiKey::Fetch, version, &[]));
        let error_code = if version >= 7 { ErrorCode::FetchSessionIdNotFound } else { ErrorCode::None };
        let mut encoder = ResponseEncoder::new(&frame.header, throttle_time_ms, error_code, topics.len());
        let mut data =
            FetchResponseData { throttle_time_ms, error_code: error_code.code(), ..Default::default() };
        let mut records = Vec::new();
        for (name, partitions) in &topics {
            encoder.topic(name, id_of(name), partitions.len());
            let (carried, id) = keyed(version, name);
            let mut topic = FetchableTopicResponse {
                topic: KafkaString::from(carried),
                topic_id: uuid(id),
                ..Default::default()
            };
            for (partition, high_watermark, log_start_offset, bytes) in partitions {
                let answer = PartitionData {
                    partition: *partition,
                    error_code: ErrorCode::OffsetOutOfRange,
                    high_watermark: *high_watermark,
                    last_stable_offset: *high_watermark,
                    log_start_offset: *log_start_offset,
                };
                encoder.partition(&answer, bytes.len());
                records.push(bytes.clone());
                topic.partitions.push(GeneratedPartition {
                    partition_index: *partition,
                    error_code: 1,
                    high_watermark: *high_watermark,
                    last_stable_offset: *high_watermark,
                    log_start_offset: *log_start_offset,
                    aborted_transactions: None,
                    records: Some(Bytes::from(bytes.clone())),
                    ..Default::default()
                });
            }
            data.responses.push(topic);
        }
        let parts = encoder.finish();
        let mut bytes = Vec::new();
        for part in &parts {
            match part {
                ResponsePart::Bytes(piece) => bytes.extend_from_slice(piece),
                ResponsePart::Records { index, len } => {
                    prop_assert!(*len > 0 && records[*index].len() == *len);
                    bytes.extend_from_slice(&records[*index]);
                }
            }
        }
        prop_assert_eq!(parts.len(), 1 + 2 * records.iter().filter(|bytes| !bytes.is_empty()).count()
            - usize::from(matches!(parts.last(), Some(ResponsePart::Records { .. }))));
        let body_at = if version >= 12 { 9 } else { 8 };
        prop_assert_eq!(&bytes[..4], &i32::try_from(bytes.len() - 4).unwrap().to_be_bytes());
        prop_assert_eq!(&bytes[body_at..], &written(|into| data.write(into, version))[..]);
    }
}
