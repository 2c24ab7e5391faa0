//! The bare ring and what is under way in it: all that is unsafe about the floor.
//!
//! A flight owns what its entry points to from its start to its one completion, and comes back with it. There are no
//! futures, no continued transfers and no counters here: each entry of the queue is written by hand.
//!
//! **Invariants.** 1. `user_data` is the slot of the flight, and a slot is freed by its one completion. 2. What an entry
//! points to is heap memory that the flight in its slot owns: it neither moves nor is freed meanwhile. 3. Flights that
//! are still under way when this is dropped are left to the kernel for ever.
#![expect(unsafe_code, reason = "entries of a ring point to memory")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::super::probe::Rung;
use super::super::ring::{Ring, Wait};
use super::super::socket::Socket;
use super::super::{AppendBuf, Slice};

/// Something under way.
#[derive(Debug)]
pub(super) enum Flight {
    /// Waits for a connection.
    Accept { listener: Socket },
    /// Waits for a byte, or the end, of what tells the server to stop.
    Stop,
    /// Receives at most `len` bytes behind those in `buf`; `all`: exactly so many.
    Receive { connection: usize, socket: Socket, buf: AppendBuf, len: usize, all: bool },
    /// Sends all of it; `more` follows at once.
    Send { connection: usize, socket: Socket, bytes: Vec<u8>, more: bool },
    /// Sends all of it.
    SendSlice { connection: usize, socket: Socket, slice: Slice },
    /// Waits until the socket takes bytes.
    Writable { connection: usize, socket: Socket },
    /// Writes one window.
    Write { window: u64, file: Rc<fs::File>, position: u64, slices: Vec<Slice>, pieces: Pieces },
    /// Makes a file's writes durable.
    Flush { flush: u64, file: Rc<fs::File> },
}

/// What a gathering write points to: filled when it is submitted.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<libc::iovec>);

/// A flight that has ended.
pub(super) struct Landed {
    pub(super) flight: Flight,
    pub(super) result: io::Result<usize>,
    /// Of a receive: there are more bytes in the socket.
    pub(super) nonempty: bool,
}

/// The ring and its slots.
pub(super) struct Flights {
    ring: Ring,
    slots: Vec<Option<Flight>>,
    free: Vec<usize>,
    poll_first: bool,
}

impl Flights {
    /// A ring for this thread, its workers on `core`.
    pub(super) fn new(core: Option<usize>) -> io::Result<Self> {
        let ring = Ring::new(ENTRIES, Rung::Defer)?;
        ring.limit_workers(WORKERS, core);
        let poll_first = ring.facts().rung != Rung::Plain;
        Ok(Self { ring, slots: Vec::new(), free: Vec::new(), poll_first })
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts a flight into the queue; it leaves with the next enter.
    pub(super) fn start(&mut self, flight: Flight) {
        self.submit(flight, How::Plain);
    }

    /// As [`Self::start`], of a receive from a socket that was empty a moment ago.
    pub(super) fn start_when_readable(&mut self, flight: Flight) {
        self.submit(flight, if self.poll_first { How::PollFirst } else { How::Plain });
    }

    /// As [`Self::start`], of a file operation that could not be done at once.
    pub(super) fn start_on_worker(&mut self, flight: Flight) {
        self.submit(flight, How::Worker);
    }

    /// A file descriptor that becomes readable when the server is to stop. It must stay open while the server runs.
    pub(super) fn watch(&mut self, stop: RawFd) {
        let slot = self.slot(Flight::Stop);
        let entry = opcode::PollAdd::new(types::Fd(stop), POLLIN).build();
        self.push(&entry.user_data(slot as u64));
    }

    /// Ends whatever waits (5.19; before, what the server shuts down ends by itself).
    pub(super) fn cancel_all(&mut self) {
        let entry = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        self.push(&entry.user_data(IGNORED));
    }

    /// Submits what was started and waits.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.ring.enter(wait).map(drop)
    }

    /// The next flight that has ended.
    pub(super) fn landed(&mut self) -> Option<Landed> {
        let cqe = loop {
            let cqe = self.ring.next()?;
            if cqe.user_data != IGNORED {
                break cqe;
            }
        };
        let slot = usize::try_from(cqe.user_data).expect("a slot's number");
        let mut flight = self.slots[slot].take().expect("a flight ends once");
        self.free.push(slot);
        if let Flight::Receive { buf, .. } = &mut flight {
            buf.publish(cqe.result().unwrap_or(0));
        }
        Some(Landed { flight, result: cqe.result(), nonempty: cqe.socket_nonempty() })
    }

    /// The connection that an accept has brought.
    pub(super) fn accepted(landed: &io::Result<usize>) -> Option<Socket> {
        let fd = RawFd::try_from(*landed.as_ref().ok()?).expect("a descriptor is an int");
        // SAFETY: the kernel has just made this descriptor for us, and this is called once for each completion.
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.prepare();
        Some(socket)
    }

    fn slot(&mut self, flight: Flight) -> usize {
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(flight);
            return slot;
        }
        self.slots.push(Some(flight));
        self.slots.len() - 1
    }

    fn submit(&mut self, flight: Flight, how: How) {
        let slot = self.slot(flight);
        let entry = self.slots[slot].as_mut().expect("put there").entry(how);
        self.push(&entry.user_data(slot as u64));
    }

    /// The entry points into its slot (invariant 2), or to nothing.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: see above: the slot is kept until the entry's one completion.
        while !unsafe { self.ring.push(entry) } {
            self.ring.enter(Wait::No).expect("a ring that worked goes on working");
        }
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        if self.under_way() > 0 {
            Box::leak(Box::new(std::mem::take(&mut self.slots)));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Plain,
    PollFirst,
    Worker,
}

impl Flight {
    fn entry(&mut self, how: How) -> squeue::Entry {
        let entry = match self {
            Self::Accept { listener } => opcode::Accept::new(fd(listener), std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            Self::Stop => unreachable!("watched, not started"),
            Self::Receive { socket, buf, len, all, .. } => {
                let len = u32::try_from((*len).min(buf.remaining())).expect("a frame is below 4 GiB");
                let ioprio = if how == How::PollFirst { RECVSEND_POLL_FIRST } else { 0 };
                let flags = if *all { libc::MSG_WAITALL } else { 0 };
                opcode::Recv::new(fd(socket), buf.spare_ptr(), len).ioprio(ioprio).flags(flags).build()
            }
            Self::Send { socket, bytes, more, .. } => {
                let len = u32::try_from(bytes.len()).expect("an answer is below 4 GiB");
                let flags = SEND_FLAGS | if *more { libc::MSG_MORE } else { 0 };
                opcode::Send::new(fd(socket), bytes.as_ptr(), len).flags(flags).build()
            }
            Self::SendSlice { socket, slice, .. } => {
                let len = u32::try_from(slice.len()).expect("an answer is below 4 GiB");
                opcode::Send::new(fd(socket), slice.as_ptr(), len).flags(SEND_FLAGS).build()
            }
            Self::Writable { socket, .. } => opcode::PollAdd::new(fd(socket), POLLOUT).build(),
            Self::Write { file, position, slices, pieces, .. } => match slices.as_slice() {
                [one] => {
                    let len = u32::try_from(one.len()).expect("a window is below 4 GiB");
                    opcode::Write::new(fd(&**file), one.as_ptr(), len).offset(*position).build()
                }
                many => {
                    let piece = |slice: &Slice| libc::iovec {
                        // The kernel only reads what a write points to.
                        iov_base: slice.as_ptr().cast_mut().cast(),
                        iov_len: slice.len(),
                    };
                    pieces.0.clear();
                    pieces.0.extend(many.iter().map(piece));
                    let count = u32::try_from(pieces.0.len()).expect("a window is few buffers");
                    opcode::Writev::new(fd(&**file), pieces.0.as_ptr(), count).offset(*position).build()
                }
            },
            Self::Flush { file, .. } => opcode::Fsync::new(fd(&**file)).flags(types::FsyncFlags::DATASYNC).build(),
        };
        if how == How::Worker { entry.flags(squeue::Flags::ASYNC) } else { entry }
    }
}

fn fd(of: &impl AsRawFd) -> types::Fd {
    types::Fd(of.as_raw_fd())
}

/// Whether the kernel wants an operation to be tried again.
pub(super) fn again(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}

/// Entries of the submission queue.
const ENTRIES: u32 = 1024;
/// Kernel workers, as in the node.
const WORKERS: u32 = 8;
/// Completions that nobody waits for.
const IGNORED: u64 = u64::MAX;

const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
const RECVSEND_POLL_FIRST: u16 = 1 << 0;
const POLLIN: u32 = 0x001;
const POLLOUT: u32 = 0x004;
