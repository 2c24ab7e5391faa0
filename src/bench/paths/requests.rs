//! Paths of the protocol: frames to views, answers to bytes.

use std::hint::black_box;

use bytes::Bytes;

use super::Path;
use super::batches::{SIZES, batch};
use crate::io::Slice;
use crate::protocol::{ApiKey, ErrorCode, Frame, RequestHeader, fetch, produce};
use crate::record::Records;
use crate::types::TopicId;

/// From a frame's bytes to what a handler asks of it.
pub(super) fn decoding() -> Vec<Path> {
    let mut paths = vec![Path::new("request/header", || {
        let frame = Records::from(produce_request(&batch(1, 100)));
        move || drop(black_box(Frame::parse(black_box(&frame)).expect("a frame")))
    })];
    for (name, records, record_bytes) in [SIZES[0], SIZES[2]] {
        let frame = move || produce_request(&batch(records, record_bytes));
        let bytes = frame().len();
        paths.push(Path::new(format!("produce/decode/{name}"), move || decode(frame().into())).of_bytes(bytes));
    }
    let chunks = || chunks_of(&produce_request(&batch(64, 1024)), 16 << 10);
    paths.push(Path::new("produce/decode/64KiB-in-chunks", move || decode(chunks())).of_bytes(chunks().len()));
    for partitions in [1, 100] {
        paths.push(Path::new(format!("fetch/decode/{partitions}"), move || {
            let frame = Records::from(fetch_request(partitions));
            move || {
                let frame = Frame::parse(black_box(&frame)).expect("a frame");
                let view = fetch::Request::parse(&frame).expect("a request");
                let partitions = view.topics().flat_map(|topic| topic.partitions());
                black_box(partitions.map(|partition| partition.fetch_offset).sum::<i64>());
            }
        }));
    }
    paths
}

fn decode(frame: Records) -> impl FnMut() {
    move || {
        let frame = Frame::parse(black_box(&frame)).expect("a frame");
        let view = produce::Request::parse(&frame).expect("a request");
        let partitions = view.topics().flat_map(|topic| topic.partitions());
        black_box(partitions.map(|data| data.records.expect("records").len()).sum::<usize>());
    }
}

/// Encoding of the two hot replies.
pub(super) fn replies() -> Vec<Path> {
    let mut paths = vec![Path::new("reply/produce/1", || {
        let header = RequestHeader { api_key: ApiKey::Produce, api_version: 7, correlation_id: 1 };
        move || {
            let mut encoder = produce::ResponseEncoder::new(black_box(&header), 1);
            encoder.topic("topic", 1);
            encoder.partition(&produce::PartitionResponse { base_offset: 7, ..Default::default() });
            black_box(encoder.finish(0));
        }
    })];
    for partitions in [1, 100] {
        paths.push(Path::new(format!("reply/fetch/{partitions}"), move || {
            let header = RequestHeader { api_key: ApiKey::Fetch, api_version: 11, correlation_id: 1 };
            move || {
                let mut encoder = fetch::ResponseEncoder::new(black_box(&header), 0, ErrorCode::None, 1);
                encoder.topic("topic", TopicId::ZERO, partitions);
                for _ in 0..partitions {
                    encoder.partition(&fetch::PartitionData::default(), 65_536);
                }
                black_box(encoder.finish());
            }
        }));
    }
    paths
}

/// A Produce 7 request of one batch for one partition, without its length field.
fn produce_request(batch: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 7, 0, 0, 0, 1, 0, 5];
    frame.extend(b"bench");
    frame.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0x75, 0x30, 0, 0, 0, 1, 0, 5]);
    frame.extend(b"topic");
    frame.extend([0, 0, 0, 1, 0, 0, 0, 3]);
    frame.extend(i32::try_from(batch.len()).expect("small").to_be_bytes());
    frame.extend(batch);
    frame
}

/// A Fetch 11 request for `partitions` partitions of one topic, without its length field.
fn fetch_request(partitions: i32) -> Vec<u8> {
    let mut frame = vec![0, 1, 0, 11, 0, 0, 0, 1, 0, 5];
    frame.extend(b"bench");
    frame.extend((-1_i32).to_be_bytes());
    for number in [500_i32, 1, 52_428_800] {
        frame.extend(number.to_be_bytes());
    }
    frame.extend([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 5]);
    frame.extend(b"topic");
    frame.extend(partitions.to_be_bytes());
    for partition in 0..partitions {
        frame.extend(partition.to_be_bytes());
        frame.extend((-1_i32).to_be_bytes());
        frame.extend(1000_i64.to_be_bytes());
        frame.extend((-1_i64).to_be_bytes());
        frame.extend(1_048_576_i32.to_be_bytes());
    }
    frame.extend([0, 0, 0, 0, 0, 0]);
    frame
}

/// As a frame over 64 KiB arrives: in buffers of the receive pool.
fn chunks_of(bytes: &[u8], chunk_bytes: usize) -> Records {
    bytes.chunks(chunk_bytes).map(|chunk| Slice::from(Bytes::copy_from_slice(chunk))).collect()
}
