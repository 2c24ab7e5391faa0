//! The node copies each record byte once on its way in and never on its way out: what it says at its stop, beside what was
//! sent and fetched.

use std::fs;
use std::process::Command;

use crate::node::{Node, PROGRAM, free_address, scratch, size};
use crate::raw::{Raw, batch, fetch_frame};

const RECORDS: usize = 64;

/// A topic's batches are all the same but for what the node writes in front of their checksum.
struct Load {
    batch: Vec<u8>,
    batches: usize,
}

impl Load {
    fn bytes(&self) -> u64 {
        (self.batch.len() * self.batches) as u64
    }

    fn produce(&self, node: &Node, topic: &str) {
        let mut connection = Raw::connect(node.address);
        for _ in 0..self.batches {
            assert_eq!(connection.produce(-1, topic, 0, &self.batch), Some(0));
        }
    }

    /// Fetches from a batch to the end, compares, and answers how many bytes that were.
    fn fetch(&self, node: &Node, topic: &str, from: usize) -> u64 {
        let mut connection = Raw::connect(node.address);
        let mut at = from;
        while at < self.batches {
            // From the middle of a batch: the whole of it comes.
            let offset = i64::try_from(at * RECORDS + RECORDS / 2).expect("few");
            connection.send(&fetch_frame(topic, offset, 1 << 20));
            let frame = connection.receive().expect("an answer");
            // length, correlation, throttle, count, name, count, index, error, two marks, aborted, length of the records
            let records = &frame[4 + 4 + 4 + 4 + 2 + topic.len() + 4 + 4 + 2 + 16 + 4 + 4..];
            assert!(!records.is_empty(), "{topic}: nothing at {offset}");
            for found in records.chunks(self.batch.len()) {
                let base = i64::try_from(at * RECORDS).expect("few").to_be_bytes();
                assert_eq!(found[..8], base, "{topic}: base offset of batch {at}");
                assert!(found[16..] == self.batch[16..], "{topic}: batch {at} has changed");
                at += 1;
            }
        }
        ((self.batches - from) * self.batch.len()) as u64
    }
}

/// What the node said last: record bytes copied, `sendfile` calls.
fn copies(node: &Node) -> (u64, u64) {
    let log = node.log();
    let said = log.lines().rev().find_map(|line| line.split_once("copies: ")).expect("said at the stop").1;
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[2])
}

/// Bytes that the node has had read from the device.
fn read_bytes(node: &Node) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", node.id())).expect("our own child");
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).expect("a figure");
    line.parse().expect("a number")
}

fn create(node: &Node, topic: &str, segment_bytes: &str) {
    let segment_bytes = format!("segment.bytes={segment_bytes}");
    let server = node.bootstrap();
    let arguments = ["topics", "--bootstrap-server", &server, "create", topic, "--partitions", "1"];
    // The records are of 1970: retention by time would take them.
    let configs = ["--config", "retention.ms=-1", "--config", &segment_bytes];
    let made = Command::new(PROGRAM).args(arguments).args(configs).status().expect("the program starts");
    assert!(made.success());
}

#[test]
fn record_bytes_are_copied_once_when_produced_and_never_when_fetched() {
    let load = Load { batch: batch(RECORDS, 1000), batches: size("COPY_BATCHES", 500) };
    let dir = scratch();
    let mut node = Node::start_at(dir.path(), free_address(), &[]);
    create(&node, "rolled", "4194304");
    create(&node, "active", "1073741824");
    load.produce(&node, "rolled");
    load.produce(&node, "active");
    let before = read_bytes(&node);
    let newest = load.fetch(&node, "active", load.batches - 2);
    assert_eq!(read_bytes(&node), before, "the newest batches come from memory");
    let fetched = newest + load.fetch(&node, "active", 0) + load.fetch(&node, "rolled", 0);
    node.stop();
    let produced = 2 * load.bytes();
    let (copied, sendfiles) = copies(&node);
    println!("produced {produced} bytes, fetched {fetched}: copied {copied} ({sendfiles} sendfile calls)");
    assert!(copied.abs_diff(produced) * 100 <= produced, "copied {copied}, produced {produced}");

    // A start writes a few records of the metadata log: a life without a client says how many bytes.
    let mut node = Node::start_at(dir.path(), free_address(), &[]);
    node.stop();
    let (own, _) = copies(&node);

    let mut node = Node::start_at(dir.path(), free_address(), &[]);
    let before = read_bytes(&node);
    let cold = load.fetch(&node, "active", 0);
    let read = read_bytes(&node) - before;
    assert!(read >= cold, "{read} bytes read: the bytes of a segment that is still written are in no memory");
    let rolled = load.fetch(&node, "rolled", 0) + load.fetch(&node, "rolled", 0);
    node.stop();
    let (copied, sendfiles) = copies(&node);
    println!("fetched {} bytes after a restart, {cold} of them cold ({read} read from the device):", cold + rolled);
    println!("copied {copied}, and {own} in a life without a client ({sendfiles} sendfile calls)");
    assert_eq!(copied, own, "a Fetch copies nothing");
    assert!(sendfiles > 0, "rolled segments are sent from their files");
}
