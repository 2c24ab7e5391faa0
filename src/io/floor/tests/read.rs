//! Fetch requests and echoes.

use super::{Peer, Running, Stage, batch, framed, one_partition, request};
use crate::io::files::scratch_dir;

/// A Fetch v11 request.
fn fetch(correlation: i32, topic: &str, offset: i64, bytes_max: i32) -> Vec<u8> {
    let mut body = request(1, 11, correlation);
    for field in [-1, 500, 1, bytes_max] {
        body.extend_from_slice(&i32::to_be_bytes(field));
    }
    body.push(0);
    body.extend_from_slice(&[0; 8]);
    one_partition(&mut body, topic, 3);
    body.extend_from_slice(&(-1_i32).to_be_bytes());
    body.extend_from_slice(&offset.to_be_bytes());
    body.extend_from_slice(&(-1_i64).to_be_bytes());
    body.extend_from_slice(&bytes_max.to_be_bytes());
    body.extend_from_slice(&[0; 4 + 2]);
    framed(&body)
}

/// The records of the next answer.
fn fetched(peer: &mut Peer, correlation: i32, topic: &str) -> Vec<u8> {
    let frame = peer.receive().expect("answered");
    assert_eq!(frame[..4], correlation.to_be_bytes());
    let at = 4 + 4 + 2 + 4 + 4 + 2 + topic.len() + 4;
    assert_eq!(frame[at..at + 4], 3_i32.to_be_bytes(), "the partition");
    assert_eq!(frame[at + 4..at + 6], [0, 0], "no error");
    let records_at = at + 4 + 2 + 8 + 8 + 8 + 4 + 4;
    let len = i32::from_be_bytes(frame[records_at..records_at + 4].try_into().expect("four bytes"));
    assert_eq!(frame.len() - records_at - 4, usize::try_from(len).expect("not negative"));
    frame[records_at + 4..].to_vec()
}

#[test]
fn both_ways_of_reading_send_the_same_batches() {
    for stage in [Stage::Sendfile, Stage::Memory] {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let mut peer = running.connect();
        for (correlation, offset, bytes_max) in
            [(1, 0, 1 << 20), (2, 1048, 1 << 20), (3, 60_000, 10), (4, 5, 3_999_999)]
        {
            peer.send(&fetch(correlation, "topic", offset, bytes_max));
            let records = fetched(&mut peer, correlation, "topic");
            let count = (usize::try_from(bytes_max).expect("positive") / 1000).max(1);
            assert_eq!(records.len(), count * 1000, "{}", stage.name());
            for (index, one) in (0..).zip(records.chunks(1000)) {
                assert_eq!(one[..8], (offset + index).to_be_bytes());
                assert_eq!(one[8..], batch(1000)[8..]);
            }
        }
        // Behind the end there is nothing.
        for (correlation, offset) in [(5, 128 << 20), (6, -1)] {
            peer.send(&fetch(correlation, "topic", offset, 1 << 20));
            assert!(fetched(&mut peer, correlation, "topic").is_empty());
        }
        assert_eq!(running.stop().refused, 0);
    }
}

#[test]
fn fetches_sent_ahead_and_read_slowly_come_whole_and_in_order() {
    for stage in [Stage::Sendfile, Stage::Memory] {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let mut peers = [running.connect(), running.connect()];
        for peer in &mut peers {
            for correlation in 0..8 {
                peer.send(&fetch(correlation, "ahead", i64::from(correlation) * 100, 6 << 20));
            }
        }
        for correlation in 0..8 {
            for peer in &mut peers {
                let records = fetched(peer, correlation, "ahead");
                assert_eq!(records[..8], (i64::from(correlation) * 100).to_be_bytes());
                assert_eq!(records.len(), (6 << 20) / 1000 * 1000);
            }
        }
        // One leaves in the middle of an answer.
        peers[0].send(&fetch(9, "ahead", 0, 6 << 20));
        let [first, mut second] = peers;
        drop(first);
        second.send(&fetch(10, "ahead", 0, 1000));
        assert_eq!(fetched(&mut second, 10, "ahead").len(), 1000);
        running.stop();
    }
}

#[test]
fn an_echo_is_the_frame_itself() {
    let dir = scratch_dir();
    let running = Running::start(Stage::Echo, dir.path());
    let mut peer = running.connect();
    for len in [10, 64, 4096, 1_000_000] {
        let body: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).expect("small")).collect();
        peer.send(&framed(&body).repeat(3));
        for _ in 0..3 {
            assert_eq!(peer.receive().expect("echoed"), body);
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0, "it needs no files");
    assert_eq!(running.stop().requests, 12);
}
