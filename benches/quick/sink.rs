//! The yardstick: a server that receives Produce requests and answers them, and does nothing else.
//!
//! No validation, no copy, no disk: what the sockets of this machine cost by themselves. One thread, epoll, plain
//! `read` and `write`. Started by the benchmark as `quick sink PORT` in a process of its own, on the node's core.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use rustix::event::epoll;

use ringmain::bench::wire;

/// Serves until it is killed.
pub fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poller, listener.as_fd(), epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN)?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; 256 << 10];
    loop {
        events.clear();
        epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let data = event.data.u64();
            if data == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let index = epoll::EventData::new_u64(peers.len() as u64);
                    epoll::add(&poller, stream.as_fd(), index, epoll::EventFlags::IN)?;
                    peers.push(Some(Peer { stream, head: Vec::new(), skip: 0, topic: Vec::new() }));
                }
                continue;
            }
            let slot = &mut peers[usize::try_from(data).expect("our own number")];
            if slot.as_mut().is_some_and(|peer| peer.serve(&mut buffer).is_err()) {
                *slot = None;
            }
        }
    }
}

struct Peer {
    stream: TcpStream,
    /// The first bytes of the frame that is arriving, as many as the answer needs.
    head: Vec<u8>,
    /// Bytes of the frame still to come that nobody looks at.
    skip: usize,
    topic: Vec<u8>,
}

impl Peer {
    fn serve(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut bytes = &buffer[..count];
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                if self.skip == 0 {
                    self.answer(&mut answers);
                }
                continue;
            }
            let wanted = (HEAD_BYTES - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.head.len() == HEAD_BYTES {
                let len = usize::try_from(wire::get_i32(&self.head, 0)).map_err(io::Error::other)?;
                self.skip = 4 + len - HEAD_BYTES;
            }
        }
        if !answers.is_empty() {
            self.stream.write_all(&answers)?;
        }
        Ok(())
    }

    /// A Produce v7 answer without an error, for the topic and partition in the request's head.
    fn answer(&mut self, into: &mut Vec<u8>) {
        let client = usize::try_from(wire::get_i16(&self.head, 12)).unwrap_or(0);
        let topic_at = 14 + client + 2 + 2 + 4 + 4;
        let topic_len = usize::try_from(wire::get_i16(&self.head, topic_at)).unwrap_or(0);
        self.topic.clear();
        self.topic.extend_from_slice(&self.head[topic_at..topic_at + 2 + topic_len]);
        let partition_at = topic_at + 2 + topic_len + 4;
        let len = 4 + 4 + self.topic.len() + 4 + 4 + 2 + 8 + 8 + 8 + 4;
        into.extend_from_slice(&i32::try_from(len).expect("short").to_be_bytes());
        into.extend_from_slice(&self.head[8..12]);
        into.extend_from_slice(&1_i32.to_be_bytes());
        into.extend_from_slice(&self.topic);
        into.extend_from_slice(&1_i32.to_be_bytes());
        into.extend_from_slice(&self.head[partition_at..partition_at + 4]);
        into.extend_from_slice(&[0; 2 + 8]);
        into.extend_from_slice(&(-1_i64).to_be_bytes());
        into.extend_from_slice(&[0; 8 + 4]);
        self.head.clear();
    }
}

/// Enough of a frame for its answer; every frame of the load is longer.
const HEAD_BYTES: usize = 96;
