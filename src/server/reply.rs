//! From replies to a socket: the only writer to one.
//!
//! Called by `connection`, which pushes replies in request order and polls. Small replies that are ready together go
//! out in one ring send, which rides on the one `io_uring_enter` of the shard's turn. Larger ones go out by calls that
//! never wait, in pieces of at most 256 KiB, each followed by the turn of the other connections.
//!
//! ```text
//!   queue:  [encoded 60][encoded 60][encoded 212][records 64 KiB ..][encoded 40][file 1 MiB ....................]
//!           '------- ring send -----'----------- try_send ----------------------'try_sendfile 256 KiB, resident
//!                                                                                 first; else read ahead off the shard
//! ```
//!
//! A peer that does not read pins nothing: [`Sender::release`] gives record buffers back, and what they held is read
//! again, from wherever it is by then, when the peer goes on.
//!
//! **Invariants.** 1. Bytes leave in the order in which they were pushed. 2. At most one operation of a sender is under
//! way. 3. `sendfile` is called for resident ranges only, so that a shard never sleeps on a disk.
//!
//! **Cancellation.** A dropped [`Sender`] leaves its operation to end by itself; the connection shuts the socket down.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::handlers::figures::{Figures, Trip};
use crate::handlers::reply::{Again, Reply, ReplyPart, Rereading};
use crate::io::buf::CLASSES_BYTES;
use crate::io::runtime::{Pending, Sleep};
use crate::io::{AppendBuf, Back, Env, Job, Op, Pool, Runtime, Slice};
use crate::limits::{SEND_PIECE_BYTES, SEND_RING_BYTES};
use crate::storage::Part;

/// The sending half of a connection.
pub struct Sender<E: Env> {
    rt: Rc<Runtime<E>>,
    socket: E::Socket,
    /// Where bytes go that are on no page cache page and may not be waited for.
    read_pool: Pool,
    queue: VecDeque<ReplyPart<E>>,
    queued_bytes: usize,
    figures: Arc<Figures>,
    /// Bytes that were pushed so far, and where among them replies end, whose requests are over then.
    pushed_bytes: u64,
    ends: VecDeque<(u64, Trip)>,
    step: Step<E>,
    /// Times that the range at the front was found missing from the page cache.
    misses: u8,
}

enum Step<E: Env> {
    /// Nothing under way.
    Idle,
    /// A ring send of everything queued when it began.
    Ring(Pending<E>, usize),
    /// The socket was full.
    Stalled(Pending<E>),
    /// The range at the front is being brought into the page cache.
    ReadAhead(Pending<E>),
    /// The range at the front is being read into a buffer of ours.
    Read(Pending<E>),
    /// The bytes at the front, whose memory was given back, are being found again.
    Again(Rereading<E>),
    /// No buffer was free.
    Room(Sleep<E>),
}

impl<E: Env> Sender<E> {
    /// A sender for a socket that nobody else writes to.
    #[must_use]
    pub fn new(rt: Rc<Runtime<E>>, socket: E::Socket, read_pool: Pool, figures: Arc<Figures>) -> Self {
        Self {
            rt,
            socket,
            read_pool,
            queue: VecDeque::new(),
            queued_bytes: 0,
            figures,
            pushed_bytes: 0,
            ends: VecDeque::new(),
            step: Step::Idle,
            misses: 0,
        }
    }

    /// Puts a reply behind those that wait.
    pub fn push(&mut self, reply: Reply<E>) {
        for part in reply.parts {
            if !part.is_empty() {
                self.queued_bytes += part.len();
                self.pushed_bytes += part.len() as u64;
                self.queue.push_back(part);
            }
        }
        if let Some(trip) = reply.trip {
            self.ends.push_back((self.pushed_bytes, trip));
        }
    }

    /// The kernel has all but the bytes queued: tells the requests whose answers it has.
    fn note_sent(&mut self, at_ns: impl FnOnce(&Runtime<E>) -> u64) {
        let sent_bytes = self.pushed_bytes - self.queued_bytes as u64;
        if self.ends.front().is_none_or(|(end, _)| *end > sent_bytes) {
            return;
        }
        let at_ns = at_ns(&self.rt);
        while let Some((_, trip)) = self.ends.pop_front_if(|(end, _)| *end <= sent_bytes) {
            self.figures.replied(trip, at_ns);
        }
    }

    /// Bytes that have not been handed to the kernel for good.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Gives the buffers of record bytes back, if the peer has not been reading.
    pub fn release(&mut self) {
        if !matches!(self.step, Step::Stalled(_)) {
            return;
        }
        for part in &mut self.queue {
            if let ReplyPart::Records { slice, again } = part
                && let Some(again) = again.take()
            {
                *part = ReplyPart::GivenBack { again, len: slice.len() };
            }
        }
    }

    /// Sends until nothing is left (`Ready(Ok)`), something must be waited for, or the others' turn has come.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_step(cx))?;
            if self.queue.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.queued_bytes <= SEND_RING_BYTES && self.begin_ring_send() {
                continue;
            }
            let sent_before = self.queued_bytes;
            match self.send_piece() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stall(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            if self.queued_bytes < sent_before && !self.queue.is_empty() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Ends what is under way, if it has ended.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Step::Ring(pending, _) | Step::Stalled(pending) | Step::ReadAhead(pending) | Step::Read(pending)) =
            &mut self.step
        else {
            return self.poll_wait(cx);
        };
        let done = ready!(Pin::new(&mut *pending).poll(cx));
        let arrived_ns = pending.arrived_ns();
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Ring(_, bytes) => {
                done.result?;
                self.queued_bytes -= bytes;
                self.note_sent(|_| arrived_ns);
            }
            Step::Stalled(_) => {
                done.result?;
            }
            // Whatever it came to, the next look at the page cache decides.
            Step::ReadAhead(_) | Step::Idle | Step::Again(_) | Step::Room(_) => {}
            Step::Read(_) => {
                let read = done.result?;
                match done.back {
                    Back::Buf(buf) if read > 0 => self.replace_front(&buf),
                    _ => return Poll::Ready(Err(cut_short())),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.step {
            Step::Room(sleep) => ready!(Pin::new(sleep).poll(cx)),
            Step::Again(reading) => {
                let parts = ready!(reading.as_mut().poll(cx));
                if !parts.is_some_and(|parts| self.put_back(parts)) {
                    return Poll::Ready(Err(cut_short()));
                }
            }
            _ => return Poll::Ready(Ok(())),
        }
        self.step = Step::Idle;
        Poll::Ready(Ok(()))
    }

    /// Puts bytes that were found again where those stood that were given back. False: they are not all there.
    fn put_back(&mut self, parts: Vec<Part<E>>) -> bool {
        let Some(ReplyPart::GivenBack { again, len }) = self.queue.pop_front() else { return false };
        let found: usize = parts.iter().map(Part::len).sum();
        let mut at = again.at + found;
        for part in parts.into_iter().rev() {
            at -= part.len();
            self.queue.push_front(ReplyPart::of(part, Some(Again { source: Rc::clone(&again.source), at })));
        }
        found == len
    }

    /// Hands everything queued to the ring, if none of it is record bytes: a peer that stalls must pin no segment buffer.
    fn begin_ring_send(&mut self) -> bool {
        if self.queue.iter().any(|part| !matches!(part, ReplyPart::Encoded(_))) {
            return false;
        }
        let encoded = |part| match part {
            ReplyPart::Encoded(bytes) => bytes,
            _ => unreachable!("looked at above"),
        };
        let parts = self.queue.drain(..).map(|part| Slice::from(encoded(part))).collect();
        let socket = self.socket.clone();
        self.step = Step::Ring(self.rt.submit(Op::Send { socket, parts }), self.queued_bytes);
        true
    }

    /// Sends at most one piece without waiting.
    fn send_piece(&mut self) -> io::Result<()> {
        match self.queue.front() {
            Some(ReplyPart::File { file, position, len, .. }) => {
                let (file, position, len) = (file.clone(), *position, (*len).min(SEND_PIECE_BYTES));
                self.send_file(&file, position, len)
            }
            Some(ReplyPart::GivenBack { again, len }) => {
                self.step = Step::Again(again.source.read(again.at..again.at + len));
                Ok(())
            }
            Some(_) => self.send_memory(),
            None => Ok(()),
        }
    }

    fn send_memory(&mut self) -> io::Result<()> {
        let mut pieces: [&[u8]; PIECES_MAX] = [&[]; PIECES_MAX];
        let (mut count, mut bytes) = (0, 0);
        for part in &self.queue {
            let memory: &[u8] = match part {
                ReplyPart::Encoded(encoded) => encoded,
                ReplyPart::Records { slice, .. } => slice,
                ReplyPart::File { .. } | ReplyPart::GivenBack { .. } => break,
            };
            if count == PIECES_MAX || bytes == SEND_PIECE_BYTES {
                break;
            }
            pieces[count] = &memory[..memory.len().min(SEND_PIECE_BYTES - bytes)];
            bytes += pieces[count].len();
            count += 1;
        }
        let sent = self.rt.env().try_send(&self.socket, &pieces[..count])?;
        self.advance(sent);
        Ok(())
    }

    fn send_file(&mut self, file: &E::File, position: u64, len: usize) -> io::Result<()> {
        if self.rt.env().resident(file, position, len) < len {
            self.bring_in(file, position, len);
            return Ok(());
        }
        self.misses = 0;
        let sent = self.rt.env().try_sendfile(&self.socket, file, position, len)?;
        if sent == 0 {
            return Err(cut_short());
        }
        self.advance(sent);
        Ok(())
    }

    /// First the page cache is asked to read ahead; pages that do not stay are read into a buffer of ours.
    fn bring_in(&mut self, file: &E::File, position: u64, len: usize) {
        self.misses = self.misses.saturating_add(1);
        if self.misses == 1 {
            let ahead = self.queue.front().map_or(len, ReplyPart::len).min(READ_AHEAD_BYTES);
            let end = position + u64::try_from(ahead).expect("a length fits in 64 bits");
            self.step = Step::ReadAhead(self.rt.submit(Op::Job(Job::ReadAhead(file.clone(), position..end))));
            return;
        }
        // A budget that is smaller than a piece is used in smaller ones.
        let half = self.read_pool.cap_bytes() / 2;
        let len = CLASSES_BYTES.iter().rev().find(|class| **class <= half).map_or(len, |class| len.min(*class));
        let Some(buf) = self.read_pool.take(len) else {
            self.step = Step::Room(self.rt.sleep_ms(ROOM_RETRY_MS));
            return;
        };
        self.misses = 0;
        self.step = Step::Read(self.rt.submit(Op::Read { file: file.clone(), position, len, buf }));
    }

    /// Puts the bytes just read in front of what is left of the range that they came from.
    fn replace_front(&mut self, buf: &AppendBuf) {
        if let Some(ReplyPart::File { position, len, .. }) = self.queue.front_mut() {
            let read = buf.len().min(*len);
            *position += u64::try_from(read).expect("a length fits in 64 bits");
            *len -= read;
            if *len == 0 {
                self.queue.pop_front();
            }
            self.queue.push_front(ReplyPart::Records { slice: buf.slice(0..read), again: None });
        }
    }

    fn stall(&mut self) {
        let socket = self.socket.clone();
        self.step = Step::Stalled(self.rt.submit(Op::Writable { socket }));
    }

    fn advance(&mut self, mut sent: usize) {
        self.queued_bytes -= sent;
        self.note_sent(|rt| rt.now_ns());
        while let Some(part) = self.queue.front_mut() {
            let len = part.len();
            if sent >= len {
                sent -= len;
                self.queue.pop_front();
                if sent == 0 {
                    return;
                }
                continue;
            }
            match part {
                ReplyPart::Encoded(bytes) => drop(bytes.split_to(sent)),
                ReplyPart::Records { slice, again } => {
                    *slice = slice.slice(sent..len);
                    if let Some(again) = again {
                        again.at += sent;
                    }
                }
                ReplyPart::GivenBack { .. } => unreachable!("nothing of it can have been sent"),
                ReplyPart::File { position, len, .. } => {
                    *position += u64::try_from(sent).expect("a length fits in 64 bits");
                    *len -= sent;
                }
            }
            return;
        }
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a segment is shorter than the range that was to be sent")
}

/// Pieces of one gathered send: headers and records of a few dozen partitions. The kernel takes 1,024 (UIO_MAXIOV).
const PIECES_MAX: usize = 64;
const READ_AHEAD_BYTES: usize = 1 << 20;
const ROOM_RETRY_MS: u64 = 2;
