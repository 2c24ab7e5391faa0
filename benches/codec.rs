//! What the pure paths cost, one request or batch at a time: header and view of a request, check of a batch, the one copy
//! with its checksum, the stamp of a header, the reply. No socket, no file, no shard.
//!
//! `cargo bench --bench codec`; `cargo bench --bench codec -- --test` runs each once.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringmain::io::{AppendBuf, Slice, copy};
use ringmain::protocol::{ApiKey, ErrorCode, Frame, RequestHeader, fetch, produce};
use ringmain::record::build::{BatchBuilder, NewRecord};
use ringmain::record::crc::{self, HeaderStamp};
use ringmain::record::{CheckRules, HEADER_BYTES, Records, TimestampType, check};
use ringmain::types::{Offset, TopicId};

const NOW_MS: i64 = 1_700_000_000_000;
/// Sizes of a batch: one small record, and 16 and 64 KiB of records of 1 KiB.
const RECORDS: [(&str, usize, usize); 3] = [("100B", 1, 100), ("16KiB", 16, 1024), ("64KiB", 64, 1024)];

fn batch(records: usize, record_bytes: usize) -> Vec<u8> {
    // Bytes that look like nothing in particular, the same every time.
    let mut state = 1_u32;
    let mut value = || {
        let bytes = (0..record_bytes).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        NewRecord::value(NOW_MS, bytes.collect::<Vec<u8>>())
    };
    BatchBuilder::default().build(&(0..records).map(|_| value()).collect::<Vec<_>>())
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

fn chunks_of(bytes: &[u8], chunk_bytes: usize) -> Records {
    bytes.chunks(chunk_bytes).map(|chunk| Slice::from(Bytes::copy_from_slice(chunk))).collect()
}

fn rules() -> CheckRules {
    CheckRules {
        produce_version: 7,
        max_message_bytes: 1_048_588,
        segment_bytes: 1 << 30,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        now_ms: NOW_MS,
    }
}

/// From a frame's bytes to its records, checked: all that happens to a request before the append.
fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    let small = Records::from(produce_request(&batch(1, 100)));
    group.bench_function("header", |b| b.iter(|| Frame::parse(black_box(&small)).expect("a frame")));
    let read = |bytes: &Records| {
        let frame = Frame::parse(bytes).expect("a frame");
        let view = produce::Request::parse(&frame).expect("a request");
        let partitions = view.topics().flat_map(|topic| topic.partitions());
        let records = partitions.map(|data| data.records.expect("records"));
        records.map(|records| check(&records, &rules()).expect("a batch").record_count).sum::<i32>()
    };
    for (name, records, record_bytes) in RECORDS {
        let frame = produce_request(&batch(records, record_bytes));
        let whole = Records::from(frame.clone());
        group.bench_function(format!("produce/{name}"), |b| b.iter(|| read(black_box(&whole))));
        let chunked = chunks_of(&frame, 16 << 10);
        group.bench_function(format!("produce/{name}/16KiB-chunks"), |b| b.iter(|| read(black_box(&chunked))));
    }
    for partitions in [1, 100] {
        let frame = Records::from(fetch_request(partitions));
        group.bench_function(format!("fetch/{partitions}"), |b| {
            b.iter(|| {
                let frame = Frame::parse(black_box(&frame)).expect("a frame");
                let view = fetch::Request::parse(&frame).expect("a request");
                let partitions = view.topics().flat_map(|topic| topic.partitions());
                partitions.map(|partition| partition.fetch_offset).sum::<i64>()
            });
        });
    }
    group.finish();
}

/// The one pass over the payload, and what LogAppendTime adds to it.
fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for (name, records, record_bytes) in RECORDS {
        let batch = batch(records, record_bytes);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(format!("copy-and-crc/{name}"), |b| {
            b.iter_batched_ref(
                || AppendBuf::with_capacity(batch.len()),
                |into| copy::stage_records(into, 0, black_box(&batch), 0),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    let batch = batch(64, 1024);
    let header: [u8; HEADER_BYTES] = *batch.first_chunk().expect("a header");
    for (name, log_append_time_ms) in [("create-time", None), ("log-append-time", Some(NOW_MS))] {
        let stamp = HeaderStamp { base_offset: Offset(1_000_000), leader_epoch: 3, log_append_time_ms };
        c.bench_function(&format!("stamp/{name}"), |b| {
            b.iter(|| {
                let mut header = black_box(header);
                crc::stamp(&mut header, &stamp);
                header
            });
        });
    }
}

/// Encoding of the two hot replies.
fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("reply");
    let header = RequestHeader { api_key: ApiKey::Produce, api_version: 7, correlation_id: 1 };
    group.bench_function("produce/1", |b| {
        b.iter(|| {
            let mut encoder = produce::ResponseEncoder::new(black_box(&header), 1);
            encoder.topic("topic", 1);
            encoder.partition(&produce::PartitionResponse { base_offset: 7, ..Default::default() });
            encoder.finish(0)
        });
    });
    let header = RequestHeader { api_key: ApiKey::Fetch, api_version: 11, correlation_id: 1 };
    for partitions in [1, 100] {
        group.bench_function(format!("fetch/{partitions}"), |b| {
            b.iter(|| {
                let mut encoder = fetch::ResponseEncoder::new(black_box(&header), 0, ErrorCode::None, 1);
                encoder.topic("topic", TopicId::ZERO, partitions);
                for _ in 0..partitions {
                    encoder.partition(&fetch::PartitionData::default(), 65_536);
                }
                encoder.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(codec, requests, append, replies);
criterion_main!(codec);
