//! Frames and the cold codec: what is refused, and that no bytes make it panic or grow.

use kacrab_protocol::KafkaString;
use kacrab_protocol::generated::metadata_request::{MetadataRequestData, MetadataRequestTopic};
use kacrab_protocol::generated::metadata_response::MetadataResponseData;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{chunked, edges, parse, request, written};
use crate::protocol::cold::{
    Request, api_versions_request, create_partitions_request, create_topics_request, decode, delete_topics_request,
    describe_cluster_request, describe_configs_request, encode, init_producer_id_request, list_offsets_request,
    topic_id, uuid,
};
use crate::protocol::{ApiKey, COLD_BODY_BYTES_MAX, DecodeError, Frame};
use crate::record::Records;
use crate::types::TopicId;

#[test]
fn unknown_keys_and_versions_are_told_apart() {
    let refused = |key: i16, version: i16| {
        let mut bytes = request(ApiKey::Metadata, version, &[]);
        bytes[..2].copy_from_slice(&key.to_be_bytes());
        Frame::parse(&Records::from(bytes)).expect_err("refused")
    };
    assert_eq!(refused(24, 0), DecodeError::UnknownApiKey { api_key: 24, api_version: 0 });
    assert_eq!(refused(-1, 0), DecodeError::UnknownApiKey { api_key: -1, api_version: 0 });
    for (api_key, version) in [(ApiKey::Produce, 2), (ApiKey::Produce, 10), (ApiKey::Fetch, 3), (ApiKey::Metadata, -1)]
    {
        let error = DecodeError::UnsupportedVersion { api_key, api_version: version };
        assert_eq!(refused(api_key.code(), version), error);
    }
    for version in [5, 99, -7] {
        let frame = parse(&request(ApiKey::ApiVersions, version, &[0xff; 3])[..8]);
        assert!(!frame.header.is_served() && frame.body().is_empty());
        assert_eq!((frame.header.api_version, frame.header.correlation_id), (version, 77));
    }
}

#[test]
fn a_cold_body_has_a_limit() {
    let long = parse(&request(ApiKey::Metadata, 0, &vec![0; COLD_BODY_BYTES_MAX + 1]));
    let error = DecodeError::BodyTooLong { bytes: COLD_BODY_BYTES_MAX + 1, max: COLD_BODY_BYTES_MAX };
    assert_eq!(decode::<MetadataRequestData>(&long).err(), Some(error));
    assert!(parse(&request(ApiKey::Metadata, 0, &vec![0; COLD_BODY_BYTES_MAX])).body_bytes().is_ok());
}

#[test]
fn topic_ids_are_the_same_both_ways() {
    let id = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255]);
    assert_eq!(uuid(id).to_string(), id.to_string());
    assert_eq!(topic_id(&uuid(id)), id);
}

proptest! {
    #[test]
    fn a_request_is_read_and_its_response_framed(
        names in vec("[a-z]{1,20}", 0..5),
        version in 0..=12_i16,
        edges in edges(),
    ) {
        let topics = names.iter().map(|name| MetadataRequestTopic {
            name: Some(KafkaString::from(name.clone())),
            ..Default::default()
        });
        let data = MetadataRequestData { topics: Some(topics.collect()), ..Default::default() };
        let body = written(|into| data.write(into, version));
        let frame = Frame::parse(&chunked(&request(ApiKey::Metadata, version, &body), &edges)).expect("a frame");
        prop_assert_eq!(decode::<MetadataRequestData>(&frame), Ok(data));
        let response = MetadataResponseData { controller_id: 1, ..Default::default() };
        let bytes = encode(&frame.header, &response).expect("encodes");
        let body_at = if version >= 9 { 9 } else { 8 };
        prop_assert_eq!(&bytes[..4], &i32::try_from(bytes.len() - 4).unwrap().to_be_bytes());
        prop_assert_eq!(&bytes[body_at..], &written(|into| response.write(into, version))[..]);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(version in 0..=12_i16, body in vec(any::<u8>(), 0..100)) {
        fn read<R: Request>(version: i16, body: &[u8]) {
            if R::API_KEY.serves(version) {
                let _ = decode::<R>(&parse(&request(R::API_KEY, version, body)));
            }
        }
        read::<MetadataRequestData>(version, &body);
        read::<api_versions_request::ApiVersionsRequestData>(version, &body);
        read::<list_offsets_request::ListOffsetsRequestData>(version, &body);
        read::<create_topics_request::CreateTopicsRequestData>(version, &body);
        read::<delete_topics_request::DeleteTopicsRequestData>(version, &body);
        read::<init_producer_id_request::InitProducerIdRequestData>(version, &body);
        read::<describe_configs_request::DescribeConfigsRequestData>(version, &body);
        read::<create_partitions_request::CreatePartitionsRequestData>(version, &body);
        read::<describe_cluster_request::DescribeClusterRequestData>(version, &body);
    }

    #[test]
    fn any_frame_is_read_without_a_panic(bytes in vec(any::<u8>(), 0..60), edges in edges()) {
        let whole = Frame::parse(&Records::from(bytes.clone())).map(|frame| (frame.header, frame.body().clone()));
        let pieces = Frame::parse(&chunked(&bytes, &edges)).map(|frame| (frame.header, frame.body().clone()));
        prop_assert_eq!(whole, pieces);
    }
}
