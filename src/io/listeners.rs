//! Who waits for a connection, and the connections that nobody has asked for yet.
//!
//! With multishot accept (5.19) one entry in the ring brings any number of connections; [`super::Op::Accept`] asks for
//! one. This is the place where the two meet. Where the kernel refuses multishot, the same entry is submitted once per
//! connection. Called by `operations` alone.
//!
//! **Invariants.** 1. A listener has at most one accept in the ring. 2. It has waiters or arrivals, never both. 3. At
//! most [`ARRIVED_MAX`] connections and those that come while a cancellation is under way are kept unasked for; the
//! others stay in the kernel's own queue.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::kernel::Kernel;
use super::ring::Cqe;
use super::socket::Socket;
use super::{Back, Completion, Token};

/// The listening sockets of one shard.
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// Whether the kernel takes multishot accepts; it is believed to until it refuses the first one.
    pub(super) multishot: bool,
    proven: bool,
}

struct Listener {
    socket: Socket,
    waiting: VecDeque<Token>,
    arrived: VecDeque<Socket>,
    /// Whether an accept is in the ring.
    armed: bool,
}

/// Connections that are accepted before somebody asks for them.
const ARRIVED_MAX: usize = 64;

impl Default for Listeners {
    fn default() -> Self {
        Self { all: Vec::new(), multishot: true, proven: false }
    }
}

impl Listeners {
    /// Somebody asks for a connection of `socket`. Answers the socket where an accept must be submitted for it.
    pub(super) fn wait(
        &mut self,
        token: Token,
        socket: Socket,
        finished: &mut Vec<Completion<Kernel>>,
    ) -> Option<Socket> {
        let fd = socket.as_raw_fd();
        let at = self.all.iter().position(|listener| listener.socket.as_raw_fd() == fd).unwrap_or_else(|| {
            self.all.push(Listener {
                socket: socket.clone(),
                waiting: VecDeque::new(),
                arrived: VecDeque::new(),
                armed: false,
            });
            self.all.len() - 1
        });
        let listener = &mut self.all[at];
        if let Some(connection) = listener.arrived.pop_front() {
            finished.push(Completion { token, result: Ok(0), back: Back::Socket(connection) });
            return None;
        }
        listener.waiting.push_back(token);
        (!std::mem::replace(&mut listener.armed, true)).then_some(socket)
    }

    /// A completion of an accept on `socket`. Answers whether the accept must be submitted again; where it need not and
    /// no more completions follow, it is over.
    pub(super) fn arrived(&mut self, socket: &Socket, cqe: Cqe, finished: &mut Vec<Completion<Kernel>>) -> bool {
        let fd = socket.as_raw_fd();
        let at = self.all.iter().position(|listener| listener.socket.as_raw_fd() == fd);
        let at = at.expect("a listener with an accept in the ring is kept");
        let listener = &mut self.all[at];
        self.proven |= cqe.more();
        // A listener that was shut down answers EINVAL too; the single accept that follows will tell.
        let refused = cqe.raw() == -libc::EINVAL && self.multishot && !self.proven;
        self.multishot &= !refused;
        let cancelled = cqe.raw() == -libc::ECANCELED;
        match cqe.result() {
            Ok(fd) => {
                let connection = take_over(fd);
                match listener.waiting.pop_front() {
                    Some(token) => {
                        finished.push(Completion { token, result: Ok(0), back: Back::Socket(connection) });
                    }
                    None => listener.arrived.push_back(connection),
                }
            }
            Err(_) if refused || cancelled => {}
            Err(error) => {
                if let Some(token) = listener.waiting.pop_front() {
                    finished.push(Completion { token, result: Err(error), back: Back::Nothing });
                }
            }
        }
        listener.armed = cqe.more() || !listener.waiting.is_empty();
        let again = !cqe.more() && listener.armed;
        if !listener.armed && listener.arrived.is_empty() {
            self.all.swap_remove(at);
        }
        again
    }

    /// Whether connections arrive faster than anybody asks for them: the accept should be cancelled.
    pub(super) fn overflowing(&self, socket: &Socket) -> bool {
        let fd = socket.as_raw_fd();
        self.all.iter().any(|listener| listener.socket.as_raw_fd() == fd && listener.arrived.len() == ARRIVED_MAX)
    }

    /// The shard ends: nobody waits any longer.
    pub(super) fn give_up(&mut self, finished: &mut Vec<Completion<Kernel>>) {
        for listener in &mut self.all {
            for token in listener.waiting.drain(..) {
                let result = Err(io::Error::from_raw_os_error(libc::ECANCELED));
                finished.push(Completion { token, result, back: Back::Nothing });
            }
            listener.arrived.clear();
        }
        self.all.retain(|listener| listener.armed);
    }
}

#[expect(unsafe_code, reason = "a descriptor comes out of the ring as a number")]
fn take_over(fd: usize) -> Socket {
    let fd = i32::try_from(fd).expect("a descriptor is an int");
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    let connection = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    connection.prepare();
    connection
}
