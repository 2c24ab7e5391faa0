//! Any bytes as a request frame: no panic, no memory by what a length says, the same answer whatever the chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain::io::Slice;
use ringmain::protocol::cold::{self, Request};
use ringmain::protocol::{ApiKey, Frame, fetch, produce};
use ringmain::record::Records;

// The first byte says how long chunks are; the rest is the frame.
fuzz_target!(|data: &[u8]| {
    let Some((chunk_bytes, frame)) = data.split_first() else { return };
    let whole = read(&Records::from(frame.to_vec()));
    let chunks = frame.chunks(usize::from(*chunk_bytes) + 1);
    let chunks = chunks.map(|chunk| Slice::from(bytes::Bytes::copy_from_slice(chunk))).collect();
    assert_eq!(whole, read(&Records::from_chunks(chunks)), "whatever the chunks");
});

/// What the frame says, as text.
fn read(bytes: &Records) -> String {
    let frame = match Frame::parse(bytes) {
        Ok(frame) => frame,
        Err(error) => return error.to_string(),
    };
    let body = match frame.header.api_key {
        _ if !frame.header.is_served() => String::new(),
        ApiKey::Produce => produce::Request::parse(&frame).map_or_else(|error| error.to_string(), |view| produced(&view)),
        ApiKey::Fetch => fetch::Request::parse(&frame).map_or_else(|error| error.to_string(), |view| fetched(&view)),
        ApiKey::ListOffsets => decoded::<cold::list_offsets_request::ListOffsetsRequestData>(&frame),
        ApiKey::Metadata => decoded::<cold::metadata_request::MetadataRequestData>(&frame),
        ApiKey::ApiVersions => decoded::<cold::api_versions_request::ApiVersionsRequestData>(&frame),
        ApiKey::CreateTopics => decoded::<cold::create_topics_request::CreateTopicsRequestData>(&frame),
        ApiKey::DeleteTopics => decoded::<cold::delete_topics_request::DeleteTopicsRequestData>(&frame),
        ApiKey::InitProducerId => decoded::<cold::init_producer_id_request::InitProducerIdRequestData>(&frame),
        ApiKey::OffsetForLeaderEpoch => {
            decoded::<cold::offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData>(&frame)
        }
        ApiKey::DescribeConfigs => decoded::<cold::describe_configs_request::DescribeConfigsRequestData>(&frame),
        ApiKey::CreatePartitions => decoded::<cold::create_partitions_request::CreatePartitionsRequestData>(&frame),
        ApiKey::DescribeCluster => decoded::<cold::describe_cluster_request::DescribeClusterRequestData>(&frame),
    };
    format!("{:?} {:?} {body}", frame.header, frame.client_id())
}

fn produced(view: &produce::Request<'_>) -> String {
    assert_eq!(view.topics().count(), view.topic_count());
    let mut text = format!("{} {} {}", view.acks, view.timeout_ms, view.is_transactional);
    for topic in view.topics() {
        assert_eq!(topic.partitions().count(), topic.partition_count());
        for data in topic.partitions() {
            let records = data.records.map(|records| (records.len(), records.header()));
            text.push_str(&format!("{} {} {records:?}", topic.name, data.index));
        }
    }
    text
}

fn fetched(view: &fetch::Request<'_>) -> String {
    assert_eq!(view.topics().count(), view.topic_count());
    let mut text = format!("{} {} {}", view.max_wait_ms, view.min_bytes, view.max_bytes);
    for topic in view.topics() {
        assert_eq!(topic.partitions().count(), topic.partition_count());
        text.push_str(&format!("{} {:?}", topic.name, topic.partitions().collect::<Vec<_>>()));
    }
    text
}

fn decoded<R: Request + std::fmt::Debug>(frame: &Frame) -> String {
    format!("{:?}", cold::decode::<R>(frame))
}
