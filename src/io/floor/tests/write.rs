//! Produce requests through each stage.

use std::fs;
use std::path::Path;

use super::{Config, Peer, Running, Stage, batch, produce, produced};
use crate::io::files::scratch_dir;

const PRODUCE: [Stage; 5] = [Stage::Receive, Stage::Checksum, Stage::Copy, Stage::Write, Stage::Flush];

/// What lies in the segments, from the first to the last.
fn segments(dir: &Path) -> Vec<u8> {
    let mut paths: Vec<_> = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| fs::read(path).expect("read")).collect()
}

/// Whether some window begins with these bytes: windows begin on blocks.
fn holds(segments: &[u8], batch: &[u8]) -> bool {
    (0..segments.len()).step_by(4096).any(|at| segments[at..].starts_with(batch))
}

#[test]
fn every_stage_answers_each_request() {
    for stage in PRODUCE {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let (mut one, mut two) = (running.connect(), running.connect());
        let sizes = [61, 100, 1000, 16 << 10, 64 << 10, 200 << 10, 61];
        for (number, size) in (0..).zip(sizes) {
            one.produce(number, &batch(size));
            two.produce(1000 + number, &batch(size));
        }
        let stats = running.stop();
        assert_eq!((stats.requests, stats.refused, stats.connections), (14, 0, 2), "{}", stage.name());
        assert_eq!(stats.windows > 0, stage.writes());
        assert_eq!(stats.flushes > 0, stage == Stage::Flush);
    }
}

#[test]
fn requests_sent_ahead_are_answered_in_their_order() {
    for stage in PRODUCE {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let mut peers: Vec<Peer> = (0..4).map(|_| running.connect()).collect();
        for round in 0..10 {
            for peer in &mut peers {
                let requests: Vec<u8> =
                    (0..20).flat_map(|number| produce(round * 20 + number, "ahead", number, &batch(700))).collect();
                // Cut anywhere.
                let (first, rest) = requests.split_at(1234);
                peer.send(first);
                peer.send(rest);
            }
            for peer in &mut peers {
                for number in 0..20 {
                    let answer = peer.receive().expect("answered");
                    assert_eq!(answer, produced(round * 20 + number, "ahead", number), "{}", stage.name());
                }
            }
        }
        assert_eq!(running.stop().requests, 800);
    }
}

#[test]
fn what_was_answered_lies_in_the_segments() {
    for stage in [Stage::Write, Stage::Flush] {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let mut peer = running.connect();
        let batches: Vec<_> = [100, 5000, 64 << 10, 700 << 10, 61].map(batch).into();
        for batch in &batches {
            peer.produce(7, batch);
            // Looked at while the server runs: it was there when the answer came.
            assert!(holds(&segments(dir.path()), batch), "{} of {} bytes", stage.name(), batch.len());
        }
        running.stop();
    }
}

#[test]
fn segments_go_round_three_times_and_more() {
    let dir = scratch_dir();
    let address = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        segments: 2,
        segment_bytes: 1 << 20,
        ..Config::new(Stage::Flush, address, dir.path().to_owned(), batch(1000))
    };
    let running = Running::with(config);
    let mut peers: Vec<Peer> = (0..3).map(|_| running.connect()).collect();
    let batch = batch(100 << 10);
    for number in 0..40 {
        for peer in &mut peers {
            peer.send(&produce(number, "topic", 3, &batch));
        }
        for peer in &mut peers {
            assert_eq!(peer.receive().expect("answered"), produced(number, "topic", 3));
        }
    }
    let stats = running.stop();
    assert!(stats.turnovers >= 6, "{stats:?}");
    assert!(stats.flushes <= 2 * stats.windows, "{stats:?}");
    assert_eq!(segments(dir.path()).len(), 2 << 20, "no file has grown");
    assert!(holds(&segments(dir.path()), &batch));
}

#[test]
fn a_peer_that_leaves_before_its_answer_disturbs_nobody() {
    for stage in PRODUCE {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let mut stays = running.connect();
        for round in 0..20 {
            let mut leaves = running.connect();
            leaves.send(&produce(1, "topic", 0, &batch(50 << 10)));
            drop(leaves);
            stays.produce(round, &batch(1000));
        }
        assert_eq!(running.stop().refused, 0);
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from_for_ever() {
    let dir = scratch_dir();
    let running = Running::start(Stage::Receive, dir.path());
    let mut deaf = running.connect();
    let mut stream = deaf.0.try_clone().expect("cloned");
    let sender = std::thread::spawn(move || {
        let requests = produce(1, "topic", 3, &batch(61)).repeat(1000);
        let mut sent = 0;
        // 200 MB of answers, if they were all taken.
        while sent < 2000 && std::io::Write::write_all(&mut stream, &requests).is_ok() {
            sent += 1;
        }
        sent
    });
    // Another is served all the while.
    let mut other = running.connect();
    for number in 0..100 {
        other.produce(number, &batch(1000));
    }
    // And so is the first one, once it reads.
    for _ in 0..100_000 {
        assert_eq!(deaf.receive().expect("answered"), produced(1, "topic", 3));
    }
    deaf.0.shutdown(std::net::Shutdown::Both).expect("ended");
    assert!(sender.join().expect("no panic") >= 100);
    running.stop();
}
