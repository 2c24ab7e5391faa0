//! Bytes that no client library would send, and what they must not do: end the node, grow its memory, disturb others.
//!
//! Each case runs against the built program with a second, well-behaved connection beside it, which must be served all
//! the while.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmain::protocol::ErrorCode;
use ringmain::protocol::cold::metadata_request::{MetadataRequestData, MetadataRequestTopic};
use ringmain::protocol::cold::{KafkaString, decode_response, encode_request, topic_id};
use ringmain::record::build::{self, BatchBuilder, NewRecord};

use crate::node::{Node, free_address, scratch};

/// A connection that sends what it is told.
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the node listens")
    }

    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Some(Self { stream })
    }

    /// False where the node has closed the connection meanwhile.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame with its length; `None` where the connection was closed.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.fill(&mut frame)?;
        Some([&length[..], &frame].concat())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the node neither answers nor closes")
            }
            Err(_) => None,
        }
    }

    /// Error code of a one-batch Produce (version 7); `None` where the connection was closed.
    pub fn produce(&mut self, acks: i16, topic: &str, partition: i32, batch: &[u8]) -> Option<i16> {
        self.send(&produce_frame(acks, topic, partition, batch));
        let frame = self.receive()?;
        // length, correlation, count, name, count, index, error
        let error = 4 + 4 + 4 + 2 + topic.len() + 4 + 4;
        Some(i16::from_be_bytes([frame[error], frame[error + 1]]))
    }

    /// Error code of a topic in Metadata, with auto-creation.
    pub fn metadata(&mut self, topic: &str) -> Option<i16> {
        let name = Some(KafkaString::from(topic.to_owned()));
        let topics = Some(vec![MetadataRequestTopic { name, ..Default::default() }]);
        let request = MetadataRequestData { topics, allow_auto_topic_creation: true, ..Default::default() };
        self.send(&encode_request(8, "raw", &request).expect("encodes"));
        let (_, response) =
            decode_response::<MetadataRequestData>(self.receive()?.split_off(4).into()).expect("decodes");
        Some(response.topics[0].error_code)
    }
}

pub fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    request_of("raw", key, version, body)
}

fn request_of(client_id: &str, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let header = [&key.to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes(), &text(client_id)].concat();
    framed(&[&header, body].concat())
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&i32::try_from(bytes.len()).expect("small").to_be_bytes()[..], bytes].concat()
}

fn text(of: &str) -> Vec<u8> {
    [&i16::try_from(of.len()).expect("short").to_be_bytes()[..], of.as_bytes()].concat()
}

fn produce_frame(acks: i16, topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    produce_frame_of("raw", acks, topic, partition, batch)
}

/// A one-batch Produce (version 7) of this client.
pub fn produce_frame_of(client_id: &str, acks: i16, topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend(acks.to_be_bytes());
    body.extend(5_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(text(topic));
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(i32::try_from(batch.len()).expect("small").to_be_bytes());
    body.extend(batch);
    request_of(client_id, 0, 7, &body)
}

/// A Fetch (version 4) of partition 0.
pub fn fetch_frame(topic: &str, offset: i64, max_bytes: i32) -> Vec<u8> {
    fetch_frame_of(topic, 0, offset, max_bytes)
}

/// A Fetch (version 4) of one partition.
pub fn fetch_frame_of(topic: &str, partition: i32, offset: i64, max_bytes: i32) -> Vec<u8> {
    let mut body = (-1_i32).to_be_bytes().to_vec();
    body.extend([100_i32, 1, max_bytes].map(i32::to_be_bytes).concat());
    body.push(0);
    body.extend(1_i32.to_be_bytes());
    body.extend(text(topic));
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(max_bytes.to_be_bytes());
    request(1, 4, &body)
}

/// A batch of so many records of so many bytes each.
pub fn batch(count: usize, bytes: usize) -> Vec<u8> {
    let records: Vec<_> =
        (0..count).map(|n| NewRecord::value(1_000, vec![u8::try_from(n % 256).expect("small"); bytes])).collect();
    BatchBuilder::default().build(&records)
}

/// A generator of bytes (xorshift), so that a failure can be repeated.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn some(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

/// Serves a request as if nothing was the matter.
pub fn is_served(other: &mut Raw) {
    assert_eq!(other.produce(-1, "good", 0, &batch(1, 100)), Some(0), "another client is disturbed");
}

fn started() -> (tempfile::TempDir, Node, Raw) {
    let dir = scratch();
    let node = Node::start(dir.path());
    let mut other = Raw::connect(node.address);
    assert_eq!(other.metadata("good"), Some(0));
    is_served(&mut other);
    (dir, node, other)
}

#[test]
fn garbage_truncations_and_hostile_lengths_end_their_connection_and_no_other() {
    let (_dir, mut node, mut other) = started();
    let mut random = Bytes(0x5eed);
    for round in 0..200_u64 {
        let mut hostile = Raw::connect(node.address);
        let count = usize::try_from(random.next() % 3_000).expect("small");
        hostile.send(&random.some(count));
        drop(hostile);
        if round % 50 == 0 {
            is_served(&mut other);
        }
    }
    // Every truncation of frames that are valid as a whole, with the length of what is there.
    let valid = [produce_frame(-1, "good", 0, &batch(3, 30)), fetch_frame("good", 0, 1_000)];
    for whole in &valid {
        for end in 4..whole.len() {
            let mut hostile = Raw::connect(node.address);
            hostile.send(&framed(&whole[4..end]));
            let answer = hostile.receive();
            assert!(answer.is_none(), "{end} of {} bytes were answered", whole.len());
        }
        is_served(&mut other);
    }
    // Truncations without the right length: the rest never comes.
    for end in 1..valid[0].len() {
        let mut hostile = Raw::connect(node.address);
        hostile.send(&valid[0][..end]);
    }
    for length in [-1, i32::MIN, 0, 1, 9, i32::MAX, 2_000_000_000] {
        let mut hostile = Raw::connect(node.address);
        hostile.send(&i32::to_be_bytes(length));
        hostile.send(&[0; 64]);
        assert!(hostile.receive().is_none(), "length {length}");
    }
    is_served(&mut other);
    node.wait_for("over socket.request.max.bytes");
    node.stop();
}

#[test]
fn unknown_keys_versions_and_counts_are_refused_as_kafka_refuses_them() {
    let (_dir, mut node, mut other) = started();
    for key in [-1, 4, 5, 7, 17, 24, 36, 68, 75, 99, i16::MAX] {
        let mut raw = Raw::connect(node.address);
        raw.send(&request(key, 0, &[]));
        assert!(raw.receive().is_none(), "key {key}");
    }
    for (key, version) in [(0, 2), (0, 10), (1, 3), (1, 13), (3, 13), (3, -1), (60, 3)] {
        let mut raw = Raw::connect(node.address);
        raw.send(&request(key, version, &[0; 40]));
        assert!(raw.receive().is_none(), "key {key} version {version}");
    }
    // ApiVersions of any version is answered, with a body of version 0, and the connection goes on.
    let mut raw = Raw::connect(node.address);
    raw.send(&request(18, 99, &[1, 2, 3]));
    let answer = raw.receive().expect("answered");
    assert_eq!(&answer[4..10], &[0, 0, 0, 7, 0, 35]);
    assert_eq!(raw.metadata("good"), Some(0));
    // Counts that the frame cannot hold.
    for key in [0_i16, 1, 2, 3, 19, 20, 23, 32, 37] {
        for count in [i32::MAX, 1 << 24, -2] {
            let mut body = vec![0; 24];
            for at in (0..20).step_by(2) {
                body[at..at + 4].copy_from_slice(&count.to_be_bytes());
                let mut raw = Raw::connect(node.address);
                raw.send(&request(key, if key == 0 { 7 } else { 4.min(max_version(key)) }, &body));
                drop(raw);
            }
        }
        is_served(&mut other);
    }
    node.stop();
}

#[test]
fn a_request_that_names_more_than_a_node_could_serve_is_refused() {
    let (_dir, mut node, mut other) = started();
    let entries = 150_000_i32;
    let mut body = (-1_i32).to_be_bytes().to_vec();
    body.extend([100_i32, 1, 1 << 20].map(i32::to_be_bytes).concat());
    body.push(0);
    body.extend(1_i32.to_be_bytes());
    body.extend(text("good"));
    body.extend(entries.to_be_bytes());
    body.resize(body.len() + 16 * usize::try_from(entries).expect("small"), 0);
    let mut hostile = Raw::connect(node.address);
    hostile.send(&request(1, 4, &body));
    assert!(hostile.receive().is_none());
    is_served(&mut other);
    node.wait_for("topics and partitions");
    node.stop();
}

#[test]
fn connections_over_the_limit_are_closed_and_one_that_ends_makes_room() {
    let dir = scratch();
    let mut node = Node::start_at(dir.path(), free_address(), &["--set", "max.connections=5"]);
    let served = |raw: &mut Raw| {
        raw.send(&request(18, 0, &[]));
        raw.receive().is_some()
    };
    // The one that waited for the start may still be counted.
    let begun = Instant::now();
    let mut first: Vec<Raw> = Vec::new();
    while first.len() < 5 {
        let mut raw = Raw::connect(node.address);
        if served(&mut raw) {
            first.push(raw);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{} of 5 are served", first.len());
    }
    assert!(!served(&mut Raw::connect(node.address)), "a sixth is served");
    node.wait_for("max.connections=5 reached");
    assert!(first.iter_mut().all(served), "the first five go on");
    drop(first.pop());
    let begun = Instant::now();
    while !served(&mut Raw::connect(node.address)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "no room though one has ended");
    }
    node.stop();
}

fn max_version(key: i16) -> i16 {
    match key {
        37 => 3,
        _ => 4,
    }
}

#[test]
fn batches_that_contradict_themselves_are_refused_and_not_stored() {
    let (_dir, mut node, mut other) = started();
    let good = batch(3, 50);
    let changed = |at: usize, bytes: &[u8]| {
        let mut batch = good.clone();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        build::reseal(&mut batch);
        batch
    };
    let mut bad_crc = good.clone();
    let last = bad_crc.len() - 1;
    bad_crc[last] ^= 1;
    let cases: [(&str, Vec<u8>, &[i16]); 12] = [
        ("crc", bad_crc, &[2]),
        ("length beyond the bytes", changed(8, &1_000_000_i32.to_be_bytes()), &[2, 87]),
        ("negative length", changed(8, &(-5_i32).to_be_bytes()), &[2, 87]),
        ("two batches", [good.clone(), good.clone()].concat(), &[87]),
        ("magic 1", changed(16, &[1]), &[87, 43]),
        ("magic 3", changed(16, &[3]), &[87, 43]),
        ("record count", changed(57, &7_i32.to_be_bytes()), &[87]),
        ("no records", changed(57, &0_i32.to_be_bytes()), &[87]),
        ("last offset delta", changed(23, &(-1_i32).to_be_bytes()), &[87]),
        ("control batch", changed(21, &0x20_i16.to_be_bytes()), &[87]),
        ("transactional", changed(21, &0x10_i16.to_be_bytes()), &[87]),
        ("base offset", changed(0, &5_i64.to_be_bytes()), &[87]),
    ];
    let mut raw = Raw::connect(node.address);
    for (what, batch, codes) in &cases {
        let code = raw.produce(-1, "good", 0, batch).expect("the connection stays");
        assert!(codes.contains(&code), "{what}: code {code}");
    }
    assert_eq!(raw.produce(-1, "good", 7, &good), Some(3), "no such partition");
    assert_eq!(raw.produce(5, "good", 0, &good), Some(21), "acks=5");
    // A megabyte and more is over max.message.bytes.
    assert_eq!(raw.produce(-1, "good", 0, &batch(2, 600_000)), Some(10));
    is_served(&mut other);
    // Only the well-behaved client's records are there: two of one record each.
    raw.send(&fetch_frame("good", 2, 1 << 20));
    let answer = raw.receive().expect("answered");
    let high_watermark = 4 + 4 + 4 + 4 + 2 + 4 + 4 + 4 + 2;
    assert_eq!(&answer[high_watermark..high_watermark + 8], &2_i64.to_be_bytes());
    node.stop();
}

/// The error code of a Fetch (version 13) of partition 0 of the topic of this id.
fn fetch_code_by_id(raw: &mut Raw, id: [u8; 16]) -> i16 {
    let mut body = vec![0];
    body.extend([-1_i32, 100, 1, 1 << 20].map(i32::to_be_bytes).concat());
    body.push(0);
    body.extend([0_i32, -1].map(i32::to_be_bytes).concat());
    body.push(2);
    body.extend(id);
    body.push(2);
    body.extend([0_i32, -1].map(i32::to_be_bytes).concat());
    body.extend(0_i64.to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    body.extend((-1_i64).to_be_bytes());
    body.extend((1_i32 << 20).to_be_bytes());
    // Tags of partition and topic, no forgotten topic, no rack, tags.
    body.extend([0, 0, 1, 1, 0]);
    raw.send(&request(1, 13, &body));
    let frame = raw.receive().expect("an answer");
    // length, correlation, tags, throttle, error, session, count
    let topic = 4 + 4 + 1 + 4 + 2 + 4 + 1;
    assert_eq!(frame[topic..topic + 16], id, "as it was asked for");
    let error = topic + 16 + 1 + 4;
    i16::from_be_bytes([frame[error], frame[error + 1]])
}

#[test]
fn an_id_of_no_topic_is_told_from_a_topic_that_is_there() {
    let (_dir, _node, mut raw) = started();
    raw.send(&encode_request(9, "raw", &MetadataRequestData::default()).expect("encodes"));
    let frame = raw.receive().expect("an answer").split_off(4);
    let metadata = decode_response::<MetadataRequestData>(frame.into()).expect("decodes").1;
    let good = metadata
        .topics
        .iter()
        .find(|topic| topic.name == Some(KafkaString::from("good".to_owned())))
        .expect("it is there");
    let id = topic_id(&good.topic_id);
    assert_eq!(fetch_code_by_id(&mut raw, id.0), 0);
    assert_eq!(fetch_code_by_id(&mut raw, [9; 16]), ErrorCode::UnknownTopicId.code());
    assert_eq!(fetch_code_by_id(&mut raw, [0; 16]), ErrorCode::UnknownTopicId.code());
}

#[test]
fn hostile_topic_names_make_nothing() {
    let (dir, mut node, mut other) = started();
    let long = "a".repeat(250);
    for name in ["", ".", "..", "../../etc/passwd", "a/b", "a\0b", "a b", "ä", "-\n", "__cluster_metadata", &long] {
        let code = other.metadata(name).expect("the connection stays");
        assert!(matches!(code, 17 | 3), "{name:?}: code {code}");
        let code = other.produce(-1, name, 0, &batch(1, 10)).expect("the connection stays");
        assert!(matches!(code, 17 | 3), "{name:?}: code {code}");
    }
    let names = std::fs::read_dir(dir.path().join("data")).expect("the data directory");
    let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    let strange = names.iter().find(|name| {
        !name.starts_with('.') && name.ends_with("-0") && !matches!(name.as_str(), "good-0" | "__cluster_metadata-0")
    });
    assert!(strange.is_none(), "{names:?}");
    node.stop();
}

#[test]
fn stalled_half_open_and_idle_connections_cost_little_and_disturb_nobody() {
    let (_dir, mut node, mut other) = started();
    let before = resident_kib(&node);
    let idle: Vec<Raw> = (0..2_000).map(|_| Raw::connect(node.address)).collect();
    is_served(&mut other);
    let idle_kib = resident_kib(&node).saturating_sub(before);
    assert!(idle_kib < 2_000 * 16, "2,000 idle connections cost {idle_kib} KiB");
    drop(idle);
    // Consumers that ask and never read.
    for _ in 0..100 {
        assert_eq!(other.produce(1, "good", 0, &batch(10, 60_000)), Some(0));
    }
    let mut stalled: Vec<Raw> = (0..50).map(|_| Raw::connect(node.address)).collect();
    for raw in &mut stalled {
        for _ in 0..4 {
            raw.send(&fetch_frame("good", 0, 50 << 20));
        }
    }
    // Producers that announce much and send little.
    let mut half: Vec<Raw> = (0..200).map(|_| Raw::connect(node.address)).collect();
    for raw in &mut half {
        raw.send(&(1_i32 << 20).to_be_bytes());
        raw.send(&[0; 3_000]);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        assert_eq!(other.produce(-1, "good", 0, &batch(1, 900_000)), Some(0));
    }
    let resident = resident_kib(&node);
    // The node was started with --memory 256M.
    assert!(resident < 256 * 1024 * 12 / 10, "{resident} KiB resident");
    drop((stalled, half));
    is_served(&mut other);
    node.stop();
}

fn resident_kib(node: &Node) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).expect("the node runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}
