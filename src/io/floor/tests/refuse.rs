//! What ends a connection, and what keeps the server from beginning.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Config, Error, Running, Stage, batch, framed, produce, request, serve};
use crate::io::files::scratch_dir;

/// Frames that no stage but the echo answers.
fn wrong() -> Vec<(&'static str, Vec<u8>)> {
    let right = produce(1, "topic", 3, &batch(500));
    let cut = |len: usize| framed(&right[4..len]);
    let with = |at: usize, byte: u8| {
        let mut frame = right.clone();
        frame[at] ^= byte;
        frame
    };
    vec![
        ("a negative length", (-5_i32).to_be_bytes().to_vec()),
        ("the longest length", i32::MAX.to_be_bytes().to_vec()),
        ("the lowest length", i32::MIN.to_be_bytes().to_vec()),
        ("a length of nothing", 0_i32.to_be_bytes().to_vec()),
        ("the longest that is allowed, of zeros", framed(&vec![0; 1 << 20])),
        ("words", b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n".to_vec()),
        ("another key", with(5, 18)),
        ("another version", with(7, 1)),
        ("a client id beyond the frame", with(12, 0x7f)),
        ("no acks", framed(&[&right[4..20], &[0; 2], &right[22..]].concat())),
        ("a header alone", framed(&request(0, 7, 1))),
        ("half a batch", cut(right.len() - 100)),
        ("bytes behind the batch", framed(&[&right[4..], &[1; 10]].concat())),
        ("a wrong format", with(right.len() - 500 + 16, 1)),
        ("a batch with another length", with(right.len() - 500 + 11, 1)),
    ]
}

#[test]
fn what_is_no_request_ends_its_connection_and_nothing_else() {
    for stage in [Stage::Receive, Stage::Checksum, Stage::Copy, Stage::Flush, Stage::Sendfile, Stage::Memory] {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let mut stays = running.connect();
        let produces = !matches!(stage, Stage::Sendfile | Stage::Memory);
        for (what, bytes) in wrong() {
            let mut peer = running.connect();
            // The server may have ended it before all is sent.
            let _ = std::io::Write::write_all(&mut peer.0, &bytes);
            assert_eq!(peer.receive(), None, "{what} is answered by {}", stage.name());
            if produces {
                stays.produce(1, &batch(100));
            }
        }
        let stats = running.stop();
        assert_eq!(stats.refused, wrong().len() as u64, "{}", stage.name());
    }
}

#[test]
fn a_wrong_checksum_ends_its_connection_where_checksums_are_looked_at() {
    for stage in [Stage::Receive, Stage::Checksum, Stage::Copy, Stage::Write, Stage::Flush] {
        let dir = scratch_dir();
        let running = Running::start(stage, dir.path());
        let mut wrong = batch(500);
        wrong[400] ^= 1;
        let mut peer = running.connect();
        peer.send(&produce(1, "topic", 3, &wrong));
        assert_eq!(peer.receive().is_some(), stage == Stage::Receive, "{}", stage.name());
        running.connect().produce(2, &batch(500));
        assert_eq!(running.stop().refused, u64::from(stage != Stage::Receive));
    }
}

#[test]
fn a_frame_that_never_ends_holds_nobody_up() {
    let dir = scratch_dir();
    let running = Running::start(Stage::Flush, dir.path());
    let right = produce(1, "topic", 3, &batch(300 << 10));
    let mut halves: Vec<_> = (0..10).map(|_| running.connect()).collect();
    for (peer, len) in halves.iter_mut().zip([1, 3, 4, 5, 20, 100, 1000, 100_000, 250_000, right.len() - 1]) {
        peer.send(&right[..len]);
    }
    let mut peer = running.connect();
    for number in 0..20 {
        peer.produce(number, &batch(2000));
    }
    // And it goes on where it was left.
    let last = halves.last_mut().expect("ten");
    last.send(&right[right.len() - 1..]);
    assert!(last.receive().is_some());
    assert_eq!(running.stop().refused, 0);
}

fn begin(stage: Stage, address: &str, dir: &Path, batch: Vec<u8>) -> Error {
    let config = Config::new(stage, address.parse().expect("an address"), dir.to_owned(), batch);
    let (_stop, stopped) = UnixStream::pair().expect("a pair");
    serve(&config, &[stopped.as_fd()], |_| panic!("it listens")).expect_err("it cannot begin")
}

#[test]
fn what_keeps_it_from_beginning_is_said() {
    let dir = scratch_dir();
    let file = dir.path().join("file");
    std::fs::write(&file, b"not a directory").expect("written");
    for stage in [Stage::Write, Stage::Flush, Stage::Sendfile] {
        let error = begin(stage, "127.0.0.1:0", &file, batch(100)).to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
    let tmpfs = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let error = begin(Stage::Flush, "127.0.0.1:0", tmpfs.path(), batch(100)).to_string();
    assert!(error.contains("O_DIRECT") && error.contains("tmpfs"), "{error}");
    let error = begin(Stage::Memory, "127.0.0.1:0", dir.path(), vec![0; 100]).to_string();
    assert!(error.contains("batch"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let error = begin(Stage::Echo, &address, dir.path(), Vec::new()).to_string();
    assert!(error.contains(&address), "{error}");
}
