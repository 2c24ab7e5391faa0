//! The production [`Env`]: one io_uring per shard, plus the housekeeping thread.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::socket::Socket;
use super::{Completion, Env, Op, Pool, Token};
use crate::types::ShardId;

/// The kernel, as one shard sees it. Made by [`super::pump::run_shards`] on the shard's own thread.
pub struct Kernel {
    _private: (),
}

impl Kernel {
    /// The pool that receives without a buffer draw from. The rest of a long frame should be received into buffers of it
    /// too, so that one cap bounds both.
    #[must_use]
    pub fn receive_pool(&self) -> Pool {
        unimplemented!("being built")
    }
}

/// A counted open file; the last clone closes it.
#[derive(Clone, Debug)]
pub struct File(#[expect(dead_code, reason = "being built")] Arc<OwnedFd>);

impl Env for Kernel {
    type File = File;
    type Socket = Socket;

    fn submit(&self, _token: Token, _op: Op<Self>) {
        unimplemented!("being built")
    }
    fn poll(&self, _completions: &mut Vec<Completion<Self>>) {
        unimplemented!("being built")
    }
    fn now_ns(&self) -> u64 {
        unimplemented!("being built")
    }
    fn wall_ms(&self) -> i64 {
        unimplemented!("being built")
    }
    fn random(&self) -> u64 {
        unimplemented!("being built")
    }
    fn try_send(&self, _socket: &Socket, _parts: &[&[u8]]) -> io::Result<usize> {
        unimplemented!("being built")
    }
    fn try_sendfile(&self, _socket: &Socket, _file: &File, _position: u64, _len: usize) -> io::Result<usize> {
        unimplemented!("being built")
    }
    fn resident(&self, _file: &File, _position: u64, _len: usize) -> usize {
        unimplemented!("being built")
    }
    fn shutdown(&self, _socket: &Socket) {
        unimplemented!("being built")
    }
    fn wake(&self, _shard: ShardId) {
        unimplemented!("being built")
    }
    fn take_wake(&self) -> bool {
        unimplemented!("being built")
    }
}
