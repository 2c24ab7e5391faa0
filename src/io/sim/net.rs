//! Connections: two byte pipes each, whose bytes arrive late and in pieces.
//!
//! An operation on a socket waits in it until [`Net::progress`] can end it; the world calls that at the events that a
//! send, a receive or a close schedules. The last clone of a [`super::SimSocket`] closes its end by a flag, because a
//! handle knows no world; the flag is seen at the next event of any kind.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::env::SocketHandle;
use super::random::Random;
use super::state::Caller;
use super::{SimSocket, to_bytes};
use crate::io::buf::AppendBuf;
use crate::io::{Back, Slice, Token};

/// Names one end of a connection, or a listener: its index.
pub(super) type SocketId = usize;

/// Who waits for what on a socket.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) caller: Caller,
    pub(super) token: Token,
}

/// What came of a waiting operation.
pub(super) struct Ended {
    pub(super) wait: Wait,
    pub(super) result: io::Result<usize>,
    pub(super) back: Back<super::SimEnv>,
}

#[derive(Debug, Default)]
struct End {
    peer: SocketId,
    /// The process that owns it; its end resets the connection.
    process: u32,
    closed: Arc<AtomicBool>,
    close_seen: bool,
    /// Reset by a fault, by [`super::World::cut`] or by the death of a process.
    reset: bool,
    shut: bool,
    /// Bytes on the way to this end; the first `visible` have arrived.
    incoming: VecDeque<u8>,
    visible: usize,
    accepts: VecDeque<SimSocket>,
    accepting: VecDeque<Wait>,
    receiving: Option<(Wait, Option<AppendBuf>)>,
    sending: VecDeque<(Wait, Vec<Slice>, usize)>,
    writable: Vec<Wait>,
}

/// All sockets of all machines.
#[derive(Debug, Default)]
pub(super) struct Net {
    ends: Vec<End>,
    /// Accepts fail for want of descriptors.
    pub(super) accepts_fail: bool,
}

impl Net {
    pub(super) fn listen(&mut self, process: u32) -> SimSocket {
        self.make(process)
    }

    fn make(&mut self, process: u32) -> SimSocket {
        let id = self.ends.len();
        let closed = Arc::new(AtomicBool::new(false));
        self.ends.push(End { peer: id, process, closed: Arc::clone(&closed), ..End::default() });
        SimSocket(Arc::new(SocketHandle { id, closed }))
    }

    /// Connects to a listener; the client's end belongs to `process`.
    pub(super) fn connect(&mut self, listener: SocketId, process: u32) -> io::Result<SimSocket> {
        if self.ends[listener].is_dead() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let client = self.make(process);
        let server = self.make(self.ends[listener].process);
        let (near, far) = (client.id(), server.id());
        self.ends[near].peer = far;
        self.ends[far].peer = near;
        self.ends[listener].accepts.push_back(server);
        Ok(client)
    }

    pub(super) fn accept(&mut self, listener: SocketId, wait: Wait) {
        self.ends[listener].accepting.push_back(wait);
    }

    pub(super) fn receive(&mut self, socket: SocketId, wait: Wait, buf: Option<AppendBuf>) {
        let before = self.ends[socket].receiving.replace((wait, buf));
        assert!(before.is_none(), "two receives under way on one socket");
    }

    pub(super) fn send(&mut self, socket: SocketId, wait: Wait, parts: Vec<Slice>) {
        self.ends[socket].sending.push_back((wait, parts, 0));
    }

    pub(super) fn writable(&mut self, socket: SocketId, wait: Wait) {
        self.ends[socket].writable.push(wait);
    }

    /// Sends what fits at once.
    pub(super) fn try_send(&mut self, socket: SocketId, parts: &[&[u8]], random: &mut Random) -> io::Result<usize> {
        self.usable(socket)?;
        let room = self.room(socket);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // A socket buffer has room for a part of it now and then, whatever the arithmetic says.
        let mut left = if random.one_in(4) { 1 + random.index(room) } else { room };
        let mut sent = 0;
        let peer = self.ends[socket].peer;
        for part in parts {
            let count = part.len().min(left);
            self.ends[peer].incoming.extend(&part[..count]);
            left -= count;
            sent += count;
        }
        Ok(sent)
    }

    fn usable(&self, socket: SocketId) -> io::Result<()> {
        let (end, peer) = (&self.ends[socket], &self.ends[self.ends[socket].peer]);
        if end.reset || peer.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if end.shut || peer.is_dead() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    fn room(&self, socket: SocketId) -> usize {
        PIPE_BYTES.saturating_sub(self.ends[self.ends[socket].peer].incoming.len())
    }

    pub(super) fn shutdown(&mut self, socket: SocketId) {
        self.ends[socket].shut = true;
    }

    pub(super) fn reset(&mut self, socket: SocketId) {
        let peer = self.ends[socket].peer;
        self.ends[socket].reset = true;
        self.ends[peer].reset = true;
    }

    /// The process is gone, and with it its ends of all connections.
    pub(super) fn end_process(&mut self, process: u32) {
        for socket in 0..self.ends.len() {
            if self.ends[socket].process == process {
                self.reset(socket);
                let end = &mut self.ends[socket];
                *end = End { peer: end.peer, process, closed: Arc::clone(&end.closed), reset: true, ..End::default() };
            }
        }
    }

    /// The ends whose other end belonged to `process`.
    pub(super) fn of_other_processes(&self, process: u32) -> Vec<SocketId> {
        let other =
            |id: &SocketId| self.ends[*id].process != process && self.ends[self.ends[*id].peer].process == process;
        (0..self.ends.len()).filter(other).collect()
    }

    /// The other end of a connection.
    pub(super) fn peer(&self, socket: SocketId) -> SocketId {
        self.ends[socket].peer
    }

    /// Sockets whose last handle was dropped since the last call: their peers want [`Net::progress`].
    pub(super) fn closed(&mut self) -> Vec<SocketId> {
        let mut found = Vec::new();
        for (id, end) in self.ends.iter_mut().enumerate() {
            if !end.close_seen && end.closed.load(Ordering::Relaxed) {
                end.close_seen = true;
                found.push(id);
            }
        }
        found
    }

    /// What is on the way to `socket` arrives, and all that can end on it ends.
    pub(super) fn progress(&mut self, socket: SocketId, random: &mut Random, ended: &mut Vec<Ended>) {
        let end = &mut self.ends[socket];
        end.visible = end.incoming.len();
        self.progress_accepts(socket, ended);
        self.progress_receive(socket, random, ended);
        self.progress_sends(socket, random, ended);
        if self.usable(socket).is_err() || self.room(socket) > 0 {
            for wait in std::mem::take(&mut self.ends[socket].writable) {
                ended.push(Ended { wait, result: Ok(0), back: Back::Nothing });
            }
        }
    }

    fn progress_accepts(&mut self, socket: SocketId, ended: &mut Vec<Ended>) {
        let end = &mut self.ends[socket];
        while !end.accepting.is_empty() && (end.shut || !end.accepts.is_empty()) {
            let Some(wait) = end.accepting.pop_front() else { return };
            if self.accepts_fail {
                let result = Err(io::Error::from_raw_os_error(libc::EMFILE));
                ended.push(Ended { wait, result, back: Back::Nothing });
                continue;
            }
            let (result, back) = match end.accepts.pop_front() {
                Some(accepted) if !end.shut => (Ok(0), Back::Socket(accepted)),
                Some(_) | None => (Err(io::ErrorKind::InvalidInput.into()), Back::Nothing),
            };
            ended.push(Ended { wait, result, back });
        }
    }

    fn progress_receive(&mut self, socket: SocketId, random: &mut Random, ended: &mut Vec<Ended>) {
        let peer_gone = self.ends[self.ends[socket].peer].is_dead();
        let end = &mut self.ends[socket];
        let over = end.reset || end.shut || peer_gone;
        if end.visible == 0 && !over {
            return;
        }
        let Some((wait, buf)) = end.receiving.take() else { return };
        let buf = buf.filter(|buf| buf.remaining() > 0);
        let mut buf = buf.unwrap_or_else(|| AppendBuf::with_capacity(RECEIVE_BYTES));
        if end.reset {
            ended.push(Ended { wait, result: Err(io::ErrorKind::ConnectionReset.into()), back: Back::Buf(buf) });
            return;
        }
        let most = end.visible.min(buf.remaining());
        let count = if most > 0 && random.one_in(2) { 1 + random.index(most) } else { most };
        let bytes: Vec<u8> = end.incoming.drain(..count).collect();
        end.visible -= count;
        buf.append(&bytes);
        ended.push(Ended { wait, result: Ok(count), back: Back::Buf(buf) });
    }

    fn progress_sends(&mut self, socket: SocketId, random: &mut Random, ended: &mut Vec<Ended>) {
        while let Some((wait, parts, sent)) = self.ends[socket].sending.pop_front() {
            let total: usize = parts.iter().map(|part| part.len()).sum();
            let left = after(&parts, sent);
            match self.try_send(socket, &left, random) {
                Ok(count) if sent + count < total => {
                    self.ends[socket].sending.push_front((wait, parts, sent + count));
                    return;
                }
                Ok(_) => ended.push(Ended { wait, result: Ok(total), back: Back::Nothing }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ends[socket].sending.push_front((wait, parts, sent));
                    return;
                }
                Err(error) => ended.push(Ended { wait, result: Err(error), back: Back::Nothing }),
            }
        }
    }

    /// A number that tells one state of a socket from another, for the trace.
    pub(super) fn fingerprint(&self, socket: SocketId) -> u64 {
        let (end, peer) = (&self.ends[socket], &self.ends[self.ends[socket].peer]);
        let bytes = to_bytes(end.incoming.len()) << 32 | to_bytes(peer.incoming.len()) << 2;
        bytes | u64::from(end.reset) << 1 | u64::from(end.shut)
    }
}

impl End {
    fn is_dead(&self) -> bool {
        self.reset || self.shut || self.closed.load(Ordering::Relaxed)
    }
}

/// The bytes of `parts` after the first `sent`.
fn after(parts: &[Slice], sent: usize) -> Vec<&[u8]> {
    let mut skip = sent;
    let mut left = Vec::with_capacity(parts.len());
    for part in parts {
        let here = skip.min(part.len());
        skip -= here;
        left.push(&part[here..]);
    }
    left
}

/// Bytes that a connection holds in one direction.
const PIPE_BYTES: usize = 64 << 10;
/// A receive buffer where the caller gave none.
const RECEIVE_BYTES: usize = 16 << 10;
