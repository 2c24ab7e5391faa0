//! From a socket to frames, without copying: the bytes of a frame stay where the kernel put them.
//!
//! Called by `connection`. An idle connection owns no buffer: it waits with [`Op::Recv`] without one, and the kernel
//! takes one from the receive pool once bytes are there. A frame that does not end in that buffer goes on in the rest
//! of it, and then in chunks of the shard's [`ReceiveBudget`].
//!
//! ```text
//!   frame  = length i32 | length bytes              chunks (full buffers)          buf
//!   bytes    [ . . n n | n n a a a a a a ] [ a a a a a a a a a a a ] [ a a a a | b b b (next frame) ...   free ]
//!                                                                   ^ start
//! ```
//!
//! **Invariants.** 1. `chunks` hold bytes of the frame under way only. 2. A frame is given room for all its bytes before
//! any chunk beyond its first buffer is taken, so frames that have begun can always end. 3. Nothing is read while there
//! is no room: pressure reaches the peer as a full TCP window.
//!
//! **Cancellation.** Dropping a [`Receiver`] orphans its receive; its buffer is freed at the completion.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::handlers::figures::Arrival;
use crate::io::runtime::{Pending, Sleep};
use crate::io::{AppendBuf, Back, Env, Op, Pool, Runtime, Slice};
use crate::limits::FRAME_BYTES_MIN;
use crate::record::Records;

/// What one shard's sockets may hold of bytes that no handler has taken yet.
pub struct ReceiveBudget {
    pool: Pool,
    frame_bytes_max: usize,
    /// Promised to frames under way and not taken from the pool yet.
    promised_bytes: Cell<usize>,
    /// Promised to or taken by frames over [`LARGE_FRAME_BYTES`]; at most half, so that they cannot starve the others.
    large_bytes: Cell<usize>,
    /// When a connection last had to wait for room.
    short_since_ns: Cell<u64>,
}

impl ReceiveBudget {
    /// The budget of a receive pool, for frames of at most `frame_bytes_max`. Receives without a buffer of ours draw on
    /// the same pool, so that one cap bounds both.
    #[must_use]
    pub fn new(pool: Pool, frame_bytes_max: usize) -> Rc<Self> {
        Rc::new(Self {
            pool,
            frame_bytes_max,
            promised_bytes: Cell::new(0),
            large_bytes: Cell::new(0),
            short_since_ns: Cell::new(0),
        })
    }

    /// Whether some connection waited for room within the last second.
    #[must_use]
    pub fn short(&self, now_ns: u64) -> bool {
        let at = self.short_since_ns.get();
        at != 0 && now_ns.saturating_sub(at) < 1_000_000_000
    }

    /// Bytes held or promised at present.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.pool.outstanding_bytes() + self.promised_bytes.get()
    }

    fn promise(self: &Rc<Self>, frame_bytes: usize, missing_bytes: usize) -> Option<Promise> {
        let large = if frame_bytes > LARGE_FRAME_BYTES { missing_bytes } else { 0 };
        let fits = self.held_bytes() + missing_bytes <= self.pool.cap_bytes();
        // A large frame alone is always let in: the frame limit is at most half of the budget.
        let large_fits =
            large == 0 || self.large_bytes.get() == 0 || self.large_bytes.get() + large <= self.pool.cap_bytes() / 2;
        if !fits || !large_fits {
            return None;
        }
        self.promised_bytes.set(self.promised_bytes.get() + missing_bytes);
        self.large_bytes.set(self.large_bytes.get() + large);
        Some(Promise { budget: Rc::clone(self), left_bytes: missing_bytes, large_bytes: large })
    }
}

/// Room for the rest of one frame. Gives back what was not taken, and its part of the large frames' half.
struct Promise {
    budget: Rc<ReceiveBudget>,
    left_bytes: usize,
    large_bytes: usize,
}

impl Promise {
    fn take(&mut self, wanted_bytes: usize) -> Option<AppendBuf> {
        let buf = self.budget.pool.take(chunk_bytes(wanted_bytes))?;
        let taken = buf.capacity().min(self.left_bytes);
        self.left_bytes -= taken;
        self.budget.promised_bytes.set(self.budget.promised_bytes.get() - taken);
        Some(buf)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.budget.promised_bytes.set(self.budget.promised_bytes.get() - self.left_bytes);
        self.budget.large_bytes.set(self.budget.large_bytes.get() - self.large_bytes);
    }
}

/// What a socket gave when asked for more.
#[derive(Debug)]
pub enum Received {
    /// More bytes: look for frames.
    Bytes,
    /// The peer has ended its side.
    End,
}

/// A length that no request can have. The connection is closed: what follows cannot be told apart any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than any request header, or negative.
    #[error("a frame of {0} bytes, less than a request header")]
    TooShort(i32),
    /// Over the limit.
    #[error("a frame of {0} bytes, over socket.request.max.bytes or this memory figure's limit of {1}")]
    TooLong(i32, usize),
}

/// The receiving half of a connection.
pub struct Receiver<E: Env> {
    rt: Rc<Runtime<E>>,
    socket: E::Socket,
    budget: Rc<ReceiveBudget>,
    receive: Option<Pending<E>>,
    retry: Option<Sleep<E>>,
    buf: Option<AppendBuf>,
    start: usize,
    chunks: Vec<Slice>,
    chunks_bytes: usize,
    promise: Option<Promise>,
    /// When the frame under way began to come (0 between frames), and when the newest bytes came.
    arrival: Arrival,
    /// When the first bytes of the frame under way came, or room was made for its rest; 0 between frames.
    begun_ns: u64,
    /// Bytes of it that were there at the last look.
    frame_bytes: usize,
}

impl<E: Env> Receiver<E> {
    /// A receiver for a socket that nobody has read from.
    #[must_use]
    pub fn new(rt: Rc<Runtime<E>>, socket: E::Socket, budget: Rc<ReceiveBudget>) -> Self {
        Self {
            rt,
            socket,
            budget,
            receive: None,
            retry: None,
            buf: None,
            start: 0,
            chunks: Vec::new(),
            chunks_bytes: 0,
            promise: None,
            arrival: Arrival::default(),
            begun_ns: 0,
            frame_bytes: 0,
        }
    }

    /// Whether part of a frame is there.
    #[must_use]
    pub fn within_frame(&self) -> bool {
        self.begun_ns != 0
    }

    /// Since when the peer has been owing the rest of a frame, and how many bytes of it came so far; none between frames
    /// and while it is we who have no room.
    #[must_use]
    pub fn frame_owed(&self) -> Option<(u64, usize)> {
        (self.within_frame() && self.retry.is_none()).then_some((self.begun_ns, self.frame_bytes))
    }

    /// Waits for more bytes. At most one receive is under way.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Received>> {
        loop {
            if let Some(retry) = &mut self.retry {
                ready!(Pin::new(retry).poll(cx));
                self.retry = None;
            }
            if self.receive.is_none() && !self.begin_receive() {
                self.wait_for_room();
                continue;
            }
            let Some(receive) = &mut self.receive else { continue };
            let done = ready!(Pin::new(&mut *receive).poll(cx));
            let arrived_ns = receive.arrived_ns();
            self.receive = None;
            if let Back::Buf(buf) = done.back
                && (!buf.is_empty() || self.chunks_bytes > 0)
            {
                self.buf = Some(buf);
            }
            match done.result {
                Ok(0) => return Poll::Ready(Ok(Received::End)),
                Ok(_) => {
                    let first_ns = if self.arrival.first_ns == 0 { arrived_ns } else { self.arrival.first_ns };
                    self.arrival = Arrival { first_ns, whole_ns: arrived_ns };
                    return Poll::Ready(Ok(Received::Bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => self.wait_for_room(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The next whole frame, without its length, and when it came; or none until more bytes are received.
    pub fn next_frame(&mut self) -> Result<Option<(Records, Arrival)>, FrameError> {
        let Some(length) = self.peek_length()? else {
            self.note_partial();
            return Ok(None);
        };
        let whole = LENGTH_BYTES + length;
        if self.available() < whole {
            self.note_partial();
            return Ok(None);
        }
        let in_buf = whole - self.chunks_bytes;
        let last = self.buf.as_ref().map(|buf| buf.slice(self.start..self.start + in_buf));
        self.start += in_buf;
        let frame = if self.chunks.is_empty() {
            last.map(|last| Records::from(last.slice(LENGTH_BYTES..whole))).unwrap_or_default()
        } else {
            let chunks = self.chunks.drain(..).chain(last).collect();
            Records::from_chunks(chunks).slice(LENGTH_BYTES..whole)
        };
        self.chunks_bytes = 0;
        self.promise = None;
        self.begun_ns = 0;
        if self.buf.as_ref().is_some_and(|buf| buf.len() == self.start) {
            self.buf = None;
            self.start = 0;
        }
        let arrival = self.arrival;
        // What is left came with the newest bytes.
        self.arrival.first_ns = if self.available() > 0 { arrival.whole_ns } else { 0 };
        Ok(Some((frame, arrival)))
    }

    fn available(&self) -> usize {
        self.chunks_bytes + self.buf.as_ref().map_or(0, |buf| buf.len() - self.start)
    }

    fn note_partial(&mut self) {
        self.frame_bytes = self.available();
        if self.begun_ns == 0 && self.available() > 0 {
            self.begun_ns = self.rt.turn_ns().max(1);
        }
    }

    /// Bytes of the frame under way after its length, once the length is there.
    fn peek_length(&self) -> Result<Option<usize>, FrameError> {
        if self.available() < LENGTH_BYTES {
            return Ok(None);
        }
        let in_buf = self.buf.as_ref().map_or(&[][..], |buf| &buf.filled()[self.start..]);
        let mut bytes = self.chunks.iter().flat_map(|chunk| chunk.iter()).chain(in_buf);
        let length = i32::from_be_bytes([(); LENGTH_BYTES].map(|()| bytes.next().copied().unwrap_or(0)));
        match usize::try_from(length) {
            Ok(bytes) if bytes > self.budget.frame_bytes_max => {
                Err(FrameError::TooLong(length, self.budget.frame_bytes_max))
            }
            Ok(bytes) if bytes >= FRAME_BYTES_MIN => Ok(Some(bytes)),
            _ => Err(FrameError::TooShort(length)),
        }
    }

    /// Starts a receive into the right buffer; false where there is no room for one now.
    fn begin_receive(&mut self) -> bool {
        let Some(buf) = self.next_buf() else { return false };
        let op = Op::Recv { socket: self.socket.clone(), buf };
        self.receive = Some(self.rt.submit(op));
        true
    }

    /// `Some(None)`: any buffer will do, nothing is under way.
    fn next_buf(&mut self) -> Option<Option<AppendBuf>> {
        if self.available() == 0 {
            return Some(None);
        }
        let length = self.peek_length().ok().flatten();
        let whole = LENGTH_BYTES + length.unwrap_or(0);
        let missing = whole - self.available();
        // The rest of a first buffer that is almost full is not worth a receive; a chunk is filled to its end, because
        // the promise counted on it.
        let least = if self.promise.is_some() { 1 } else { missing.min(RECEIVE_BYTES_MIN) };
        if self.buf.as_ref().is_some_and(|buf| buf.remaining() >= least) {
            return Some(self.buf.take());
        }
        let next = match length {
            None => self.budget.promise(whole, rounded(missing))?.take(missing)?,
            Some(_) => {
                if self.promise.is_none() {
                    self.promise = self.budget.promise(whole, rounded(missing));
                    self.begun_ns = self.rt.turn_ns().max(1);
                }
                self.promise.as_mut()?.take(missing)?
            }
        };
        if let Some(full) = self.buf.take() {
            self.chunks_bytes += full.len() - self.start;
            self.chunks.push(full.slice(self.start..full.len()));
            self.start = 0;
        }
        Some(Some(next))
    }

    fn wait_for_room(&mut self) {
        self.budget.short_since_ns.set(self.rt.now_ns().max(1));
        self.retry = Some(self.rt.sleep_ms(ROOM_RETRY_MS));
    }
}

/// The size of the next chunk for a frame that misses so many bytes.
fn chunk_bytes(missing: usize) -> usize {
    missing.clamp(RECEIVE_BYTES_MIN, CHUNK_BYTES_MAX)
}

/// What the chunks of a frame that misses so many bytes take of the pool, at most: it keeps few sizes, each four times
/// the one below.
fn rounded(missing: usize) -> usize {
    let whole = missing / CHUNK_BYTES_MAX * CHUNK_BYTES_MAX;
    let rest = missing - whole;
    whole + crate::io::buf::CLASSES_BYTES.iter().copied().find(|class| *class >= chunk_bytes(rest)).unwrap_or(rest)
}

const LENGTH_BYTES: usize = 4;
/// Less free space than this is not worth a receive, where the frame needs more.
const RECEIVE_BYTES_MIN: usize = 4 << 10;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// A frame over this many bytes competes with its like only.
const LARGE_FRAME_BYTES: usize = 4 << 20;
const ROOM_RETRY_MS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn a_promise_covers_what_the_pool_rounds_up_to() {
        assert_eq!(rounded(1), 4 << 10);
        assert_eq!(rounded((64 << 10) + 1), 256 << 10);
        assert_eq!(rounded(3 << 20), (3 << 20) + (4 << 10));
    }
}
