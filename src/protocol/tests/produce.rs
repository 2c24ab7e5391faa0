//! Produce requests and responses against the generated codec.

use bytes::Bytes;
use kacrab_protocol::KafkaString;
use kacrab_protocol::generated::produce_request::{PartitionProduceData, ProduceRequestData, TopicProduceData};
use kacrab_protocol::generated::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponseData, TopicProduceResponse,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{chunked, edges, name, parse, request, written};
use crate::protocol::produce::{PartitionResponse, RecordError, Request, ResponseEncoder};
use crate::protocol::{ApiKey, DecodeError, ErrorCode, Frame};
use crate::record::Records;

prop_compose! {
    fn a_partition()(index: i32, records in option::of(vec(any::<u8>(), 0..100))) -> PartitionProduceData {
        PartitionProduceData { index, records: records.map(Bytes::from), ..Default::default() }
    }
}

prop_compose! {
    fn a_topic()(name in name(), partition_data in vec(a_partition(), 0..4)) -> TopicProduceData {
        TopicProduceData { name: KafkaString::from(name), partition_data, ..Default::default() }
    }
}

prop_compose! {
    fn a_request()(
        transactional_id in option::of(name()),
        acks: i16,
        timeout_ms: i32,
        topic_data in vec(a_topic(), 0..4),
    ) -> ProduceRequestData {
        let transactional_id = transactional_id.map(KafkaString::from);
        ProduceRequestData { transactional_id, acks, timeout_ms, topic_data, ..Default::default() }
    }
}

proptest! {
    #[test]
    fn the_view_reads_what_the_generated_codec_wrote(
        data in a_request(),
        version in 3..=9_i16,
        edges in edges(),
    ) {
        let body = written(|into| data.write(into, version));
        let frame = Frame::parse(&chunked(&request(ApiKey::Produce, version, &body), &edges)).expect("a frame");
        let client_id = frame.client_id();
        prop_assert_eq!((client_id.as_deref(), frame.header.correlation_id), (Some("test"), 77));
        let view = Request::parse(&frame).expect("a request");
        prop_assert_eq!(view.is_transactional, data.transactional_id.is_some());
        prop_assert_eq!((view.acks, view.timeout_ms, view.version), (data.acks, data.timeout_ms, version));
        prop_assert_eq!(view.topic_count(), data.topic_data.len());
        let topics: Vec<_> = view
            .topics()
            .map(|topic| {
                assert_eq!(topic.partition_count(), topic.partitions().count());
                let partitions: Vec<_> = topic.partitions().map(|data| (data.index, data.records)).collect();
                (topic.name.into_owned(), partitions)
            })
            .collect();
        let expected: Vec<_> = data
            .topic_data
            .iter()
            .map(|topic| {
                let partitions = topic.partition_data.iter();
                let partitions = partitions.map(|data| (data.index, data.records.clone().map(Records::from)));
                (topic.name.as_str().to_owned(), partitions.collect::<Vec<_>>())
            })
            .collect();
        prop_assert_eq!(topics, expected);
    }

    #[test]
    fn every_truncation_is_an_error(data in a_request(), version in 3..=9_i16, cut: prop::sample::Index) {
        let bytes = request(ApiKey::Produce, version, &written(|into| data.write(into, version)));
        let cut = &bytes[..cut.index(bytes.len())];
        if let Ok(frame) = Frame::parse(&Records::from(cut.to_vec())) {
            prop_assert!(Request::parse(&frame).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(version in 3..=9_i16, body in vec(any::<u8>(), 0..200), edges in edges()) {
        let bytes = request(ApiKey::Produce, version, &body);
        let frame = Frame::parse(&chunked(&bytes, &edges)).expect("a frame");
        let read = |frame: &Frame| Request::parse(frame).map(|view| {
            let partitions = view.topics().flat_map(|topic| topic.partitions().collect::<Vec<_>>());
            let announced = view.topics().map(|topic| topic.partition_count()).sum::<usize>();
            let partitions: Vec<_> = partitions.map(|data| (data.index, data.records)).collect();
            assert_eq!((view.topics().count(), partitions.len()), (view.topic_count(), announced));
            partitions
        });
        prop_assert_eq!(read(&frame), read(&parse(&bytes)), "whatever the chunks");
    }

    #[test]
    fn the_response_has_the_bytes_that_the_generated_codec_writes(
        topics in vec((name(), vec((any::<i32>(), any::<i64>(), any::<i64>(), any::<i64>(), option::of(name()),
            vec((any::<i32>(), option::of(name())), 0..3)), 0..3)), 0..3),
        throttle_time_ms: i32,
        version in 3..=9_i16,
    ) {
        let frame = parse(&request(ApiKey::Produce, version, &[]));
        let mut encoder = ResponseEncoder::new(&frame.header, topics.len());
        let mut data = ProduceResponseData { throttle_time_ms, ..Default::default() };
        for (name, partitions) in &topics {
            encoder.topic(name, partitions.len());
            let mut topic = TopicProduceResponse { name: KafkaString::from(name.clone()), ..Default::default() };
            for (index, base_offset, log_append_time_ms, log_start_offset, message, errors) in partitions {
                let message = message.as_deref().filter(|_| version >= 8);
                let errors = if version >= 8 { errors.as_slice() } else { &[] };
                let record_errors: Vec<RecordError<'_>> = errors
                    .iter()
                    .map(|(batch_index, message)| RecordError { batch_index: *batch_index, message: message.as_deref() })
                    .collect();
                encoder.partition(&PartitionResponse {
                    index: *index,
                    error_code: ErrorCode::InvalidRecord,
                    base_offset: *base_offset,
                    log_append_time_ms: *log_append_time_ms,
                    log_start_offset: *log_start_offset,
                    record_errors: &record_errors,
                    error_message: message,
                });
                topic.partition_responses.push(PartitionProduceResponse {
                    index: *index,
                    error_code: 87,
                    base_offset: *base_offset,
                    log_append_time_ms: *log_append_time_ms,
                    log_start_offset: *log_start_offset,
                    record_errors: errors
                        .iter()
                        .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                            batch_index: *batch_index,
                            batch_index_error_message: message.clone().map(KafkaString::from),
                            ..Default::default()
                        })
                        .collect(),
                    error_message: message.map(|text| KafkaString::from(text.to_owned())),
                    ..Default::default()
                });
            }
            data.responses.push(topic);
        }
        let bytes = encoder.finish(throttle_time_ms);
        let body_at = if version >= 9 { 9 } else { 8 };
        prop_assert_eq!(&bytes[..4], &i32::try_from(bytes.len() - 4).unwrap().to_be_bytes());
        prop_assert_eq!(&bytes[4..8], &77_i32.to_be_bytes());
        prop_assert_eq!(&bytes[body_at..], &written(|into| data.write(into, version))[..]);
    }
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_done_by_them() {
    for version in [3, 8, 9] {
        let body = |name_length: i16, topics: i32| {
            let mut body = if version >= 9 { vec![0] } else { vec![0xff, 0xff] };
            body.extend([0, 1, 0, 0, 0, 0]);
            if version >= 9 {
                // A count one too large, in five bytes.
                body.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
            } else {
                body.extend(topics.to_be_bytes());
                body.extend(name_length.to_be_bytes());
            }
            parse(&request(ApiKey::Produce, version, &body))
        };
        assert!(matches!(Request::parse(&body(1, i32::MAX)), Err(DecodeError::BadCount { .. })), "{version}");
        if version < 9 {
            let (null, negative) = (body(1, -1), body(1, i32::MIN));
            assert!(matches!(Request::parse(&null), Err(DecodeError::BadLength { length: -1, .. })));
            assert!(matches!(Request::parse(&negative), Err(DecodeError::BadLength { .. })));
        }
    }
    let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    body.extend([0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0]);
    for (length, error) in [
        (i32::MAX, DecodeError::Truncated { needed: 0x7fff_ffff, remaining: 0 }),
        (-2, DecodeError::BadLength { what: "records", length: -2 }),
    ] {
        let body = [&body[..], &length.to_be_bytes()].concat();
        assert_eq!(Request::parse(&parse(&request(ApiKey::Produce, 3, &body))).err(), Some(error));
    }
}
