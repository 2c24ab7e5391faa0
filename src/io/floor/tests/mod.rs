//! Each stage over real sockets: what it answers, what it leaves in its files, and what ends a connection.

mod read;
mod refuse;
mod write;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Config, Error, Stage, Stats, serve};

/// A record batch of so many bytes in all, its checksum right.
pub(super) fn batch(len: usize) -> Vec<u8> {
    assert!(len >= 61, "a header is 61 bytes");
    let mut bytes = vec![0; len];
    for (at, byte) in bytes.iter_mut().enumerate().skip(61) {
        *byte = u8::try_from((at * 131 + len) % 251).expect("small");
    }
    bytes[8..12].copy_from_slice(&i32::try_from(len - 12).expect("short").to_be_bytes());
    bytes[16] = 2;
    bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A server on a thread of its own.
struct Running {
    address: SocketAddr,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<Stats, Error>>>,
}

impl Running {
    fn start(stage: Stage, dir: &Path) -> Self {
        let address = "127.0.0.1:0".parse().expect("an address");
        let usual = Config::new(stage, address, dir.to_owned(), batch(1000));
        Self::with(Config { segment_bytes: 4 << 20, fetch_bytes: 64 << 20, ..usual })
    }

    fn with(config: Config) -> Self {
        let (stop, stopped) = UnixStream::pair().expect("a pair");
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            serve(&config, &[stopped.as_fd()], |address| tell.send(address).expect("somebody waits"))
        });
        match told.recv() {
            Ok(address) => Self { address, stop: Some(stop), thread: Some(thread) },
            Err(_) => panic!("it did not begin: {:?}", thread.join().expect("no panic")),
        }
    }

    /// Ends it by closing what it watches.
    fn stop(mut self) -> Stats {
        drop(self.stop.take());
        self.thread.take().expect("once").join().expect("no panic").expect("no error")
    }

    fn connect(&self) -> Peer {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
        Peer(stream)
    }
}

/// The other end of a connection.
struct Peer(TcpStream);

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    /// The next frame without its length; `None` where the connection has ended.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.0.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    /// Sends a Produce request and checks its answer.
    fn produce(&mut self, correlation: i32, batch: &[u8]) {
        self.send(&produce(correlation, "topic", 3, batch));
        assert_eq!(self.receive().expect("an answer"), produced(correlation, "topic", 3));
    }
}

/// A Produce v7 request at acks=all.
fn produce(correlation: i32, topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut body = request(0, 7, correlation);
    body.extend_from_slice(&(-1_i16).to_be_bytes()); // no transactional id
    body.extend_from_slice(&(-1_i16).to_be_bytes());
    body.extend_from_slice(&30_000_i32.to_be_bytes());
    one_partition(&mut body, topic, partition);
    body.extend_from_slice(&i32::try_from(batch.len()).expect("short").to_be_bytes());
    body.extend_from_slice(batch);
    framed(&body)
}

/// The body of its answer.
fn produced(correlation: i32, topic: &str, partition: i32) -> Vec<u8> {
    let mut body = correlation.to_be_bytes().to_vec();
    one_partition(&mut body, topic, partition);
    body.extend_from_slice(&[0; 2 + 8]);
    body.extend_from_slice(&(-1_i64).to_be_bytes());
    body.extend_from_slice(&[0; 8 + 4]);
    body
}

fn request(key: i16, version: i16, correlation: i32) -> Vec<u8> {
    let mut body = key.to_be_bytes().to_vec();
    body.extend_from_slice(&version.to_be_bytes());
    body.extend_from_slice(&correlation.to_be_bytes());
    body.extend_from_slice(&4_i16.to_be_bytes());
    body.extend_from_slice(b"test");
    body
}

fn one_partition(body: &mut Vec<u8>, topic: &str, partition: i32) {
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&i16::try_from(topic.len()).expect("short").to_be_bytes());
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&partition.to_be_bytes());
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("short").to_be_bytes();
    [&length, body].concat()
}
