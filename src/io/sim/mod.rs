//! A seeded world for tests: one machine with disks, a network, clocks, and a process that can be killed.
//!
//! A test makes a [`World`] from a seed, starts a process of so many shards in it ([`World::start`]), and drives
//! everything above `io/` on one thread. All that production leaves to chance (the order of completions, how long each
//! takes, which unflushed sectors survive a power failure, where a stream is cut into receives) is drawn from the seed,
//! so one seed gives one trace ([`World::trace`]).
//!
//! ```text
//!    test body                     World                      the machine
//!    block_on, run_for  --->  shard runtimes, client   --->   disk (files: live + durable image, unflushed writes)
//!    kill, crash                   | Env                      names (live + durable directory entries)
//!    connect, cut                  v                          events ordered by (time, number) -> completions
//!                               SimEnv                        sockets (two byte pipes each), clock, trace
//! ```
//!
//! **The disk** is an ext4 or XFS as `disk` says: a write over written, unshared, durable blocks needs one flush of the
//! device to be durable, any other write needs a flush of its own file. **A power failure** ([`World::crash`]) keeps the
//! durable image and, sector by sector, some of the rest, and destroys blocks that were not yet durable.
//! **A kill -9** ([`World::kill`]) keeps the files as they are; writes under way land later, and the lock of the data
//! directory is free only when they have ([`World::lock_is_free`]).
//!
//! **What it does not do**: threads, real time, more than one process alive, reads that see half of a write under way.

use std::future::Future;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::{Completion, Env, Op, Runtime, Token};
use crate::types::ShardId;

/// What goes wrong by itself, and how often: chances are out of a million operations of the kind named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A write fails (EIO), with a part of it landed or none.
    pub write_error_ppm: u32,
    /// A write fails for want of space (ENOSPC), with a part of it landed or none.
    pub write_full_ppm: u32,
    /// A read fails (EIO).
    pub read_error_ppm: u32,
    /// A flush fails (EIO); what it should have made durable may never be.
    pub flush_error_ppm: u32,
    /// A job fails (EIO or ENOSPC) without effect.
    pub job_error_ppm: u32,
    /// An operation on a file takes seconds.
    pub stall_ppm: u32,
    /// A connection is reset at a send or a receive.
    pub cut_ppm: u32,
}

/// What the file system and the device under a directory promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// ext4 with an ordered journal or XFS: overwrites of written blocks need one flush of any file of the device.
    #[default]
    Overwrite,
    /// ext4 `data=journal`: every write needs a flush of its own file.
    JournalsData,
    /// Mounted `nobarrier`: a flush makes nothing durable.
    NoBarrier,
}

/// The machine and all that runs on it. Dropping it ends the process in it.
pub struct World {
    seed: u64,
}

impl World {
    /// A machine with one empty disk, and no process yet.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Rc<Self> {
        let _ = faults;
        Rc::new(Self { seed })
    }

    /// The seed that everything here is drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let _ = faults;
    }

    /// Says what lies under `dir` and how many bytes it has. Everything else lies on the first device.
    pub fn mount(&self, dir: &Path, device: Device, bytes: u64) {
        let _ = (dir, device, bytes);
    }

    /// The environment of one shard of the process alive now. For whoever wants to make the runtime himself.
    #[must_use]
    pub fn env(self: &Rc<Self>, shard: ShardId) -> SimEnv {
        let _ = shard;
        unimplemented!("the simulator")
    }

    /// Starts a process of so many shards; it lives until [`World::kill`] or [`World::crash`]. Panics while one lives.
    pub fn start(&self, shards: u16) -> Vec<Rc<Runtime<SimEnv>>> {
        let _ = shards;
        unimplemented!("the simulator")
    }

    /// A runtime on another machine, for client code. It outlives the process.
    #[must_use]
    pub fn client(&self) -> Rc<Runtime<SimEnv>> {
        unimplemented!("the simulator")
    }

    /// Runs the world until `future`, spawned on `runtime`, has ended. `None`: it can never end, because nothing is left
    /// to happen or because its process died.
    pub fn block_on<T: 'static>(
        &self,
        runtime: &Rc<Runtime<SimEnv>>,
        future: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let _ = (runtime, future);
        unimplemented!("the simulator")
    }

    /// Runs the world until `done` says so. False: nothing was left to happen before.
    pub fn run_until(&self, done: impl FnMut() -> bool) -> bool {
        let _ = done;
        unimplemented!("the simulator")
    }

    /// Runs the world for so many milliseconds of its time.
    pub fn run_for_ms(&self, ms: u64) {
        let _ = ms;
        unimplemented!("the simulator")
    }

    /// Kills the process as `kill -9` does: its tasks are gone, its connections are reset, completed writes stay in the
    /// files, writes under way land later.
    pub fn kill(&self) {}

    /// Takes the power away: as [`World::kill`], and what was not durable is lost, torn or destroyed.
    pub fn crash(&self) {}

    /// Whether no write of a killed process is under way any more: what the lock of the data directory tells.
    #[must_use]
    pub fn lock_is_free(&self) -> bool {
        true
    }

    /// Runs the world until the lock of the data directory is free.
    pub fn take_lock(&self) {}

    /// Flips one bit of a stored file, in what is read now and in what survives. False: the file has no such bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        let _ = (path, bit);
        false
    }

    /// A listening socket of the process.
    #[must_use]
    pub fn listen(&self) -> SimSocket {
        unimplemented!("the simulator")
    }

    /// Connects to a listening socket; the answer is the client's end.
    pub fn connect(&self, listener: &SimSocket) -> io::Result<SimSocket> {
        let _ = listener;
        unimplemented!("the simulator")
    }

    /// Resets a connection, as seen by both ends.
    pub fn cut(&self, socket: &SimSocket) {
        let _ = socket;
    }

    /// A hash over everything that has happened so far, in order.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.seed
    }
}

/// One shard's view of the [`World`].
#[derive(Clone)]
pub struct SimEnv {
    shard: ShardId,
}

/// An open file of the simulated disk.
#[derive(Clone, Debug)]
pub struct SimFile(Arc<u64>);

/// One end of a simulated connection, or a listening socket.
#[derive(Clone, Debug)]
pub struct SimSocket(Arc<u64>);

impl Env for SimEnv {
    type File = SimFile;
    type Socket = SimSocket;

    fn submit(&self, token: Token, op: Op<Self>) {
        let _ = (token, op);
    }

    fn poll(&self, completions: &mut Vec<Completion<Self>>) {
        let _ = completions;
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn random(&self) -> u64 {
        0
    }

    fn try_send(&self, socket: &SimSocket, parts: &[&[u8]]) -> io::Result<usize> {
        let _ = (socket, parts);
        Ok(0)
    }

    fn try_sendfile(&self, socket: &SimSocket, file: &SimFile, position: u64, len: usize) -> io::Result<usize> {
        let _ = (socket, file, position, len);
        Ok(0)
    }

    fn resident(&self, file: &SimFile, position: u64, len: usize) -> usize {
        let _ = (file, position, len);
        0
    }

    fn shutdown(&self, socket: &SimSocket) {
        let _ = (socket, self.shard);
    }

    fn wake(&self, shard: ShardId) {
        let _ = shard;
    }

    fn take_wake(&self) -> bool {
        false
    }
}
