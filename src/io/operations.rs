//! The operations of one ring: each in a slot that owns its buffers from submission to its last completion.
//!
//! [`super::kernel`] starts them and collects what came of them. An operation may take several turns through the ring: a
//! short write or send is continued, a receive without a buffer may first have to wait for one, an interrupted one is
//! begun again. Its owner sees one completion.
//!
//! ```text
//!   start --> slot --> entry in the ring --> completion --+--> finished: the slot is freed, buffers go back
//!                ^                                        |
//!                +------------- again --------------------+
//! ```
//!
//! **Invariants.** 1. `user_data` is the slot's number; a slot is freed only by its last completion, so a number is never
//! ambiguous. 2. What an entry points to (buffers, the slot's `iovecs` and `message`) is neither moved nor freed while
//! the slot is taken: buffers are counted heap memory, `iovecs` is not touched, `message` is boxed. 3. Nothing is
//! allocated per operation once a slot has seen its largest.
#![expect(unsafe_code, reason = "entries point to memory that the slot owns")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use super::buf::{AppendBuf, Pool, Slice};
use super::kernel::{File, Kernel};
use super::listeners::Listeners;
use super::probe::Rung;
use super::receive::{GROUP, Provided};
use super::ring::{Cqe, Ring, Wait};
use super::seat::Seat;
use super::socket::Socket;
use super::{Back, Completion, Op, Token};

/// The ring of a shard and everything under way in it.
pub(super) struct Operations {
    pub(super) ring: Ring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) listeners: Listeners,
    provided: Option<Provided>,
    pool: Pool,
    receive_buffer_bytes: usize,
    /// Whether receives may ask to poll first (5.19); before, the flag is an error.
    poll_first: bool,
    seat: Arc<Seat>,
    /// What is finished and not yet collected.
    pub(super) finished: Vec<Completion<Kernel>>,
}

struct Slot {
    token: Token,
    state: State,
    iovecs: Vec<libc::iovec>,
    message: Option<Box<libc::msghdr>>,
}

/// What an operation is, and how far it got.
enum State {
    Free,
    Read {
        file: File,
        position: u64,
        len: usize,
        done: usize,
        buf: AppendBuf,
    },
    Write {
        file: File,
        position: u64,
        slices: Vec<Slice>,
        done: usize,
    },
    Flush {
        file: File,
    },
    /// One accept, or a multishot one; its sockets go to `listeners`.
    Accept {
        listener: Socket,
    },
    /// Into a buffer of its own.
    Recv {
        socket: Socket,
        buf: AppendBuf,
    },
    /// Into a buffer that the kernel picks.
    RecvProvided {
        socket: Socket,
    },
    /// Waits for bytes, then becomes a `Recv`: where the kernel cannot pick buffers.
    Readable {
        socket: Socket,
    },
    Send {
        socket: Socket,
        parts: Vec<Slice>,
        done: usize,
    },
    Writable {
        socket: Socket,
    },
}

/// What a completion means for its operation.
enum Next {
    /// It goes on: submit it again.
    Again,
    /// The same on a worker: it cannot be done inline, and there is nothing to poll for.
    Worker,
    /// It is over.
    Finished(io::Result<usize>),
}

impl Operations {
    pub(super) fn new(
        ring: Ring,
        provided: Option<Provided>,
        pool: Pool,
        receive_buffer_bytes: usize,
        seat: Arc<Seat>,
    ) -> Self {
        let poll_first = ring.facts().rung != Rung::Plain;
        Self {
            ring,
            poll_first,
            slots: Vec::new(),
            free: Vec::new(),
            listeners: Listeners::default(),
            provided,
            pool,
            receive_buffer_bytes,
            seat,
            finished: Vec::new(),
        }
    }

    /// Starts an operation of the ring. Jobs are not.
    pub(super) fn start(&mut self, token: Token, op: Op<Kernel>) {
        let state = match op {
            Op::Read { file, position, len, buf } => {
                let len = len.min(buf.remaining());
                State::Read { file, position, len, done: 0, buf }
            }
            Op::Write { file, position, slices } => State::Write { file, position, slices, done: 0 },
            Op::Flush { file } => State::Flush { file },
            Op::Accept { listener } => return self.accept(token, listener),
            Op::Recv { buf: Some(buf), .. } if buf.remaining() == 0 => {
                // The kernel would answer 0, which means the end of the stream.
                let result = Err(io::ErrorKind::InvalidInput.into());
                return self.finished.push(Completion { token, result, back: Back::Buf(buf) });
            }
            Op::Recv { socket, buf: Some(buf) } => State::Recv { socket, buf },
            Op::Recv { socket, buf: None } if self.provided.is_some() => State::RecvProvided { socket },
            Op::Recv { socket, buf: None } => State::Readable { socket },
            Op::Send { socket, parts } => State::Send { socket, parts, done: 0 },
            Op::Writable { socket } => State::Writable { socket },
            Op::Job(_) => unreachable!("the kernel gives jobs to housekeeping"),
        };
        let slot = self.take_slot(token, state);
        self.submit(slot, false);
    }

    /// Takes the completions that have arrived in the ring.
    pub(super) fn collect(&mut self) {
        while let Some(cqe) = self.ring.next() {
            self.seat.counters.cqes.add(1);
            match cqe.user_data {
                IGNORED => {}
                WOKEN if cqe.more() => {}
                WOKEN => self.watch_event(),
                slot => self.completed(u32::try_from(slot).expect("a slot's number"), cqe),
            }
        }
    }

    /// Watches the seat's event, so that others can end a sleep.
    pub(super) fn watch_event(&mut self) {
        let event = types::Fd(self.seat.event().as_raw_fd());
        let entry = opcode::PollAdd::new(event, u32::from(POLLIN)).multi(true).build().user_data(WOKEN);
        // SAFETY: a poll points to nothing.
        unsafe { self.push(&entry) };
    }

    /// Cancels whatever waits for a peer: accepts, receives, sends, polls. File operations end by themselves.
    pub(super) fn cancel_waits(&mut self) {
        for slot in 0..self.slots.len() {
            if !matches!(
                self.slots[slot].state,
                State::Free | State::Read { .. } | State::Write { .. } | State::Flush { .. }
            ) {
                self.cancel(slot as u64);
            }
        }
        self.listeners.give_up(&mut self.finished);
    }

    /// Whether the kernel still owns something of ours.
    pub(super) fn under_way(&self) -> bool {
        self.free.len() < self.slots.len()
    }

    /// Leaves what the kernel still owns where it is, for ever: the last resort of a shutdown that could not wait.
    pub(super) fn abandon(&mut self) {
        Box::leak(Box::new((std::mem::take(&mut self.slots), self.provided.take())));
    }

    fn accept(&mut self, token: Token, listener: Socket) {
        if let Some(listener) = self.listeners.wait(token, listener, &mut self.finished) {
            let slot = self.take_slot(Token(0), State::Accept { listener });
            self.submit(slot, false);
        }
    }

    fn take_slot(&mut self, token: Token, state: State) -> u32 {
        let Some(slot) = self.free.pop() else {
            self.slots.push(Slot { token, state, iovecs: Vec::new(), message: None });
            return u32::try_from(self.slots.len() - 1).expect("limits.rs bounds the operations under way");
        };
        let at = &mut self.slots[slot as usize];
        at.token = token;
        at.state = state;
        slot
    }

    /// Pushes an entry, making room first where there is none.
    ///
    /// # Safety
    /// As [`Ring::push`].
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        self.seat.counters.sqes.add(1);
        // SAFETY: passed on to our caller.
        while !unsafe { self.ring.push(entry) } {
            self.seat.counters.enters.add(1);
            self.ring.enter(Wait::No).expect("a ring that worked goes on working");
        }
    }

    fn cancel(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data).build().user_data(IGNORED);
        // SAFETY: a cancellation points to nothing.
        unsafe { self.push(&entry) };
    }

    /// Submits what the slot holds, from where it stands.
    fn submit(&mut self, number: u32, on_worker: bool) {
        let how = How { multishot: self.listeners.multishot, poll_first: self.poll_first };
        let slot = &mut self.slots[number as usize];
        let entry = slot.entry(how).user_data(u64::from(number));
        let entry = if on_worker { entry.flags(squeue::Flags::ASYNC) } else { entry };
        // SAFETY: the entry points into the slot, which is kept until its last completion (invariants 1 and 2).
        unsafe { self.push(&entry) };
    }

    fn completed(&mut self, number: u32, cqe: Cqe) {
        let state = &mut self.slots[number as usize].state;
        if let State::Accept { listener } = state {
            let listener = listener.clone();
            return self.accepted(number, &listener, cqe);
        }
        if let State::RecvProvided { socket } = state {
            let socket = socket.clone();
            return self.received(number, &socket, cqe);
        }
        if let State::Readable { socket } = state
            && cqe.raw() >= 0
        {
            let Some(buf) = self.pool.take(self.receive_buffer_bytes) else {
                return self.finish(number, Err(io::ErrorKind::OutOfMemory.into()));
            };
            *state = State::Recv { socket: socket.clone(), buf };
            return self.submit(number, false);
        }
        match state.advance(cqe) {
            Next::Again => self.submit(number, false),
            Next::Worker => self.submit(number, true),
            Next::Finished(result) => self.finish(number, result),
        }
    }

    fn accepted(&mut self, number: u32, listener: &Socket, cqe: Cqe) {
        let again = self.listeners.arrived(listener, cqe, &mut self.finished);
        if cqe.more() {
            if self.listeners.overflowing(listener) {
                self.cancel(u64::from(number));
            }
        } else if again {
            self.submit(number, false);
        } else {
            self.free_slot(number);
        }
    }

    fn received(&mut self, number: u32, socket: &Socket, cqe: Cqe) {
        let provided = self.provided.as_mut().expect("only submitted where there is a buffer ring");
        if let Some(bid) = cqe.buffer() {
            let mut buf = provided.take(bid);
            provided.fill(&self.pool);
            socket.set_drained(!cqe.socket_nonempty());
            let result = cqe.result();
            let received = *result.as_ref().unwrap_or(&0);
            buf.publish(received);
            let token = self.free_slot(number);
            let back = if received > 0 { Back::Buf(buf) } else { Back::Nothing };
            return self.finished.push(Completion { token, result, back });
        }
        match cqe.raw() {
            NO_BUFFERS if provided.ran_out(&self.pool) => self.submit(number, false),
            NO_BUFFERS => self.finish(number, Err(io::ErrorKind::OutOfMemory.into())),
            INTERRUPTED => self.submit(number, false),
            _ => self.finish(number, cqe.result()),
        }
    }

    fn finish(&mut self, number: u32, result: io::Result<usize>) {
        let state = std::mem::replace(&mut self.slots[number as usize].state, State::Free);
        let token = self.free_slot(number);
        let (result, back) = state.end(result);
        self.finished.push(Completion { token, result, back });
    }

    fn free_slot(&mut self, number: u32) -> Token {
        let slot = &mut self.slots[number as usize];
        slot.state = State::Free;
        self.free.push(number);
        slot.token
    }
}

impl State {
    /// Takes in what a completion says.
    fn advance(&mut self, cqe: Cqe) -> Next {
        let moved = match cqe.result() {
            Ok(moved) => moved,
            Err(_) if cqe.raw() == INTERRUPTED => return Next::Again,
            Err(_) if cqe.raw() == WOULD_BLOCK && self.is_file() => return Next::Worker,
            Err(error) => return Next::Finished(Err(error)),
        };
        match self {
            Self::Read { file, len, done, .. } => {
                let before = *done;
                let reached = resume_at(before, file.is_direct()) + moved;
                *done = reached;
                // No progress is the end of the file.
                if reached >= *len || reached <= before { Next::Finished(Ok(reached.max(before))) } else { Next::Again }
            }
            Self::Write { file, slices, done, .. } => {
                let total: usize = slices.iter().map(|slice| slice.len()).sum();
                let before = *done;
                *done = resume_at(before, file.is_direct()) + moved;
                if *done >= total {
                    Next::Finished(Ok(total))
                } else if *done <= before {
                    Next::Finished(Err(io::ErrorKind::WriteZero.into()))
                } else {
                    Next::Again
                }
            }
            Self::Send { parts, done, .. } => {
                let total: usize = parts.iter().map(|part| part.len()).sum();
                *done += moved;
                if *done >= total { Next::Finished(Ok(total)) } else { Next::Again }
            }
            Self::Recv { socket, buf } => {
                socket.set_drained(!cqe.socket_nonempty());
                buf.publish(moved);
                Next::Finished(Ok(moved))
            }
            Self::Flush { .. } | Self::Writable { .. } => Next::Finished(Ok(0)),
            Self::Free | Self::Accept { .. } | Self::RecvProvided { .. } | Self::Readable { .. } => {
                unreachable!("handled before")
            }
        }
    }

    fn is_file(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Write { .. } | Self::Flush { .. })
    }

    /// The operation is over: what goes back to its owner.
    fn end(self, result: io::Result<usize>) -> (io::Result<usize>, Back<Kernel>) {
        match self {
            Self::Read { mut buf, .. } => {
                let result = result.map(|done| done.min(buf.remaining()));
                buf.publish(*result.as_ref().unwrap_or(&0));
                (result, Back::Buf(buf))
            }
            Self::Recv { buf, .. } => (result, Back::Buf(buf)),
            _ => (result, Back::Nothing),
        }
    }
}

/// Where a short transfer goes on: direct ones on a block boundary, which moves some bytes twice.
fn resume_at(done: usize, direct: bool) -> usize {
    if direct { done - done % super::buf::ALIGN_BYTES } else { done }
}

/// What the kernel takes beyond the plain entries.
#[derive(Clone, Copy)]
struct How {
    multishot: bool,
    poll_first: bool,
}

impl How {
    /// A receive on a socket that was empty a moment ago polls first, instead of trying in vain.
    fn receive(self, socket: &Socket) -> u16 {
        if self.poll_first && socket.is_drained() { RECVSEND_POLL_FIRST } else { 0 }
    }
}

impl Slot {
    /// The entry for what remains of the operation.
    fn entry(&mut self, how: How) -> squeue::Entry {
        let Self { state, iovecs, message, .. } = self;
        match state {
            State::Read { file, position, len, done, buf } => {
                let from = resume_at(*done, file.is_direct());
                // SAFETY: `from` is less than the buffer's free bytes: `len` was cut to them.
                let start = unsafe { buf.spare_ptr().add(from) };
                opcode::Read::new(fd(file), start, transfer(*len - from)).offset(*position + from as u64).build()
            }
            State::Write { file, position, slices, done } => {
                let from = resume_at(*done, file.is_direct());
                let offset = *position + from as u64;
                point_at(iovecs, slices, from);
                match iovecs.as_slice() {
                    [one] => {
                        opcode::Write::new(fd(file), one.iov_base.cast(), transfer(one.iov_len)).offset(offset).build()
                    }
                    many => {
                        let count = u32::try_from(many.len()).expect("at most IOVECS_MAX");
                        opcode::Writev::new(fd(file), many.as_ptr(), count).offset(offset).build()
                    }
                }
            }
            State::Flush { file } => opcode::Fsync::new(fd(file)).flags(types::FsyncFlags::DATASYNC).build(),
            State::Accept { listener } if how.multishot => {
                opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC).build()
            }
            State::Accept { listener } => opcode::Accept::new(fd(listener), std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            State::Recv { socket, buf } => {
                let (start, len) = (buf.spare_ptr(), transfer(buf.remaining()));
                opcode::Recv::new(fd(socket), start, len).ioprio(how.receive(socket)).build()
            }
            State::RecvProvided { socket } => opcode::Recv::new(fd(socket), std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .ioprio(how.receive(socket))
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            State::Readable { socket } => opcode::PollAdd::new(fd(socket), u32::from(POLLIN)).build(),
            State::Send { socket, parts, done } => {
                point_at(iovecs, parts, *done);
                let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
                match iovecs.as_slice() {
                    [one] => {
                        opcode::Send::new(fd(socket), one.iov_base.cast(), transfer(one.iov_len)).flags(flags).build()
                    }
                    _ => {
                        // SAFETY: an all-zero msghdr is an empty message.
                        let message = message.get_or_insert_with(|| Box::new(unsafe { std::mem::zeroed() }));
                        message.msg_iov = iovecs.as_mut_ptr();
                        message.msg_iovlen = iovecs.len();
                        let flags = u32::try_from(flags).expect("positive");
                        opcode::SendMsg::new(fd(socket), std::ptr::from_ref(&**message)).flags(flags).build()
                    }
                }
            }
            State::Writable { socket } => opcode::PollAdd::new(fd(socket), u32::from(POLLOUT)).build(),
            State::Free => unreachable!("a free slot is not submitted"),
        }
    }
}

fn fd(of: &impl AsRawFd) -> types::Fd {
    types::Fd(of.as_raw_fd())
}

/// A length for one entry: the kernel moves less than 2 GiB at once; the rest is continued.
fn transfer(len: usize) -> u32 {
    u32::try_from(len.min(TRANSFER_BYTES_MAX)).expect("bounded")
}

/// Fills `iovecs` with the bytes of `slices` after the first `skip`.
fn point_at(iovecs: &mut Vec<libc::iovec>, slices: &[Slice], skip: usize) {
    iovecs.clear();
    let mut skip = skip;
    for slice in slices {
        if skip >= slice.len() {
            skip -= slice.len();
            continue;
        }
        if iovecs.len() == IOVECS_MAX {
            return;
        }
        let rest = &slice[skip..];
        // The kernel only reads what a write or send points to.
        iovecs.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
        skip = 0;
    }
}

/// Completions that nobody waits for: of cancellations.
const IGNORED: u64 = u64::MAX;
/// Completions of the seat's event.
const WOKEN: u64 = u64::MAX - 1;

/// UIO_MAXIOV, see writev(2).
const IOVECS_MAX: usize = 1024;
/// Below MAX_RW_COUNT (write(2), NOTES), and whole blocks.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

const RECVSEND_POLL_FIRST: u16 = 1 << 0;
const POLLIN: u16 = 0x001;
const POLLOUT: u16 = 0x004;
const INTERRUPTED: i32 = -libc::EINTR;
const WOULD_BLOCK: i32 = -libc::EAGAIN;
const NO_BUFFERS: i32 = -libc::ENOBUFS;
