//! The simulated side of [`Env`]: calls go to the world's state, handles are numbers.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::InodeId;
use super::net::SocketId;
use super::state::{Caller, State, eio};
use super::to_bytes;
use crate::io::{Completion, Env, Op, OpenHow, Token};
use crate::types::ShardId;

/// One shard's view of the [`super::World`].
#[derive(Clone)]
pub struct SimEnv {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) caller: Caller,
}

impl fmt::Debug for SimEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimEnv({})", self.caller)
    }
}

/// An open file of the simulated disk.
#[derive(Clone)]
pub struct SimFile(Arc<FileHandle>);

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.0.inode)
    }
}

struct FileHandle {
    inode: InodeId,
    how: OpenHow,
}

impl SimFile {
    pub(super) fn new(inode: InodeId, how: OpenHow) -> Self {
        Self(Arc::new(FileHandle { inode, how }))
    }

    pub(super) fn inode(&self) -> InodeId {
        self.0.inode
    }

    pub(super) fn direct(&self) -> bool {
        self.0.how.direct
    }

    pub(super) fn writable(&self) -> bool {
        self.0.how.write
    }
}

/// One end of a simulated connection, or a listening socket.
#[derive(Clone, Debug)]
pub struct SimSocket(pub(super) Arc<SocketHandle>);

#[derive(Debug)]
pub(super) struct SocketHandle {
    pub(super) id: SocketId,
    pub(super) closed: Arc<AtomicBool>,
}

impl SimSocket {
    pub(super) fn id(&self) -> SocketId {
        self.0.id
    }
}

impl Drop for SocketHandle {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

impl Env for SimEnv {
    type File = SimFile;
    type Socket = SimSocket;

    fn submit(&self, token: Token, op: Op<Self>) {
        self.state.borrow_mut().submit(self.caller, token, op);
    }

    fn poll(&self, completions: &mut Vec<Completion<Self>>) {
        let mut state = self.state.borrow_mut();
        let inbox = &mut state.callers[self.caller];
        completions.append(&mut inbox.arrived);
    }

    fn now_ns(&self) -> u64 {
        self.state.borrow().now_ns
    }

    fn wall_ms(&self) -> i64 {
        self.state.borrow().wall_ms()
    }

    fn random(&self) -> u64 {
        self.state.borrow_mut().random.next()
    }

    fn try_send(&self, socket: &SimSocket, parts: &[&[u8]]) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        if state.random.chance(state.faults.cut_ppm) {
            state.net.reset(socket.id());
        }
        let sent = state.net.try_send(socket.id(), parts, &mut state.random)?;
        let peer = state.net.peer(socket.id());
        state.soon(peer);
        Ok(sent)
    }

    fn try_sendfile(&self, socket: &SimSocket, file: &SimFile, position: u64, len: usize) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        let bytes = state.disk.read(file.inode(), position, len).ok_or_else(eio)?;
        let sent = state.net.try_send(socket.id(), &[bytes], &mut state.random)?;
        let peer = state.net.peer(socket.id());
        state.soon(peer);
        Ok(sent)
    }

    fn resident(&self, file: &SimFile, position: u64, len: usize) -> usize {
        let state = &mut *self.state.borrow_mut();
        let there = state.disk.read(file.inode(), position, len).map_or(0, <[u8]>::len);
        if state.random.one_in(2) { there } else { 0 }
    }

    fn peer(&self, socket: &SimSocket) -> Option<SocketAddr> {
        let peer = u16::try_from(self.state.borrow().net.peer(socket.id())).ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, peer)))
    }

    fn shutdown(&self, socket: &SimSocket) {
        let state = &mut *self.state.borrow_mut();
        state.net.shutdown(socket.id());
        let peer = state.net.peer(socket.id());
        state.soon(socket.id());
        state.soon(peer);
    }

    fn wake(&self, shard: ShardId) {
        let state = &mut *self.state.borrow_mut();
        let process = state.callers[self.caller].process;
        let target =
            state.callers.iter_mut().find(|inbox| inbox.alive && inbox.process == process && inbox.shard == shard);
        if let Some(target) = target {
            target.mail = true;
        }
        state.trace.note(to_bytes(shard.index()));
    }

    fn take_wake(&self) -> bool {
        std::mem::take(&mut self.state.borrow_mut().callers[self.caller].mail)
    }
}
