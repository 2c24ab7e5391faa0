//! One non-blocking socket: frames out, from where they lie, and frames in.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::bench::wire;

/// A frame to send: its beginning, and a batch that other frames share.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) head: Arc<[u8]>,
    pub(super) batch: Arc<[u8]>,
}

impl Frame {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.batch.len()
    }
}

/// A socket, the frame that goes out, and the bytes that came in.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    sending: Option<(Frame, usize)>,
    received: Vec<u8>,
    filled: usize,
    taken: usize,
    /// Whether the poller was told that it waits for room.
    pub(super) wants_write: bool,
}

impl Connection {
    /// Connects to `address`, a `host:port`.
    pub(super) fn open(address: &str) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        let stream = TcpStream::connect(address).map_err(named)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, sending: None, received: vec![0; ROOM], filled: 0, taken: 0, wants_write: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether a frame is still on its way out.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Begins to send a frame; the one before has gone.
    pub(super) fn begin(&mut self, frame: Frame) {
        debug_assert!(self.sending.is_none());
        self.sending = Some((frame, 0));
    }

    /// Sends what the socket takes. Answers whether nothing is left to send.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while let Some((frame, sent)) = &mut self.sending {
            let written = if *sent < frame.head.len() {
                let slices = [IoSlice::new(&frame.head[*sent..]), IoSlice::new(&frame.batch)];
                self.stream.write_vectored(&slices)
            } else {
                self.stream.write(&frame.batch[*sent - frame.head.len()..])
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if *sent == frame.len() {
                self.sending = None;
            }
        }
        Ok(true)
    }

    /// Reads once. Answers whether there may be more.
    pub(super) fn receive(&mut self) -> io::Result<bool> {
        if self.taken > 0 {
            self.received.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        let wanted = self.frame_len()?.map_or(ROOM, |len| len.max(ROOM));
        if self.received.len() < wanted {
            self.received.resize(wanted, 0);
        }
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the broker closed a connection")),
            Ok(count) => {
                self.filled += count;
                Ok(self.filled == self.received.len())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next whole frame among what was read, without its length.
    pub(super) fn frame(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(len) = self.frame_len()?.filter(|len| self.filled - self.taken >= *len) else { return Ok(None) };
        let from = self.taken;
        self.taken += len;
        Ok(Some(&self.received[from + 4..from + len]))
    }

    /// The length of the frame that comes next, its prefix included, once that is here.
    fn frame_len(&self) -> io::Result<Option<usize>> {
        if self.filled - self.taken < 4 {
            return Ok(None);
        }
        let len = usize::try_from(wire::get_i32(&self.received, self.taken)).ok().filter(|len| *len <= FRAME_MAX);
        let strange = || io::Error::new(ErrorKind::InvalidData, "the broker sent a frame of an impossible length");
        len.map(|len| Some(len + 4)).ok_or_else(strange)
    }
}

/// What a socket is read into at least.
const ROOM: usize = 256 << 10;
/// Kafka's own limit for a Fetch answer is `fetch.max.bytes`, 55 MB as shipped; anything near 2 GiB is no answer.
const FRAME_MAX: usize = 1 << 30;
