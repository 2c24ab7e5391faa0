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
//! **Time** is virtual: while any task can run it stands still, and then it jumps to the next event or timer.
//!
//! **What it does not do**: threads, real time, more than one process alive, reads that see half of a write under way.

mod disk;
mod env;
mod inode;
mod jobs;
mod names;
mod net;
mod panics;
mod random;
mod state;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub use env::{SimEnv, SimFile, SimSocket};
use jobs::key;
use state::{CLIENTS, State};

use super::Runtime;
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
    /// A flush fails (EIO): the device loses some of what no flush made durable, and reads show what was there before.
    pub flush_error_ppm: u32,
    /// A job fails (EIO or ENOSPC) without effect.
    pub job_error_ppm: u32,
    /// An operation on a file takes seconds.
    pub stall_ppm: u32,
    /// A block that a power failure destroys cannot be read (EIO) until it is written again.
    pub unreadable_ppm: u32,
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
    state: Rc<RefCell<State>>,
    /// Of the process alive.
    shards: RefCell<Vec<Rc<Runtime<SimEnv>>>>,
    client: Rc<Runtime<SimEnv>>,
}

impl World {
    /// A machine with one empty disk, and no process yet.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Rc<Self> {
        panics::count();
        let state = Rc::new(RefCell::new(State::new(seed, faults)));
        let caller = state.borrow_mut().add_caller(CLIENTS, ShardId::FIRST);
        let client = Runtime::new(SimEnv { state: Rc::clone(&state), caller }, ShardId::FIRST);
        Rc::new(Self { seed, state, shards: RefCell::default(), client })
    }

    /// The seed that everything here is drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Prints every operation and what comes of it to standard error, from now on.
    pub fn narrate(&self) {
        self.state.borrow_mut().narrated = true;
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// Says what lies under `dir` and how many bytes it has. Everything else lies on the first device.
    pub fn mount(&self, dir: &Path, device: Device, bytes: u64) {
        self.state.borrow_mut().disk.mount(key(dir), device, bytes);
    }

    /// Makes the volume that `dir` lies on so small that it has `bytes` left.
    pub fn leave_bytes(&self, dir: &Path, bytes: u64) {
        self.state.borrow_mut().disk.leave_bytes(&key(dir), bytes);
    }

    /// Sets what the file system allocates and the device destroys at once (4096 bytes), before there is any file.
    pub fn set_block_bytes(&self, bytes: u64) {
        self.state.borrow_mut().disk.set_block(bytes);
    }

    /// Flushes that failed so far: what was written and not flushed before is promised to nobody any more.
    #[must_use]
    pub fn flushes_failed(&self) -> u64 {
        self.state.borrow().disk.flushes_failed
    }

    /// Starts a process of so many shards; it lives until [`World::kill`] or [`World::crash`]. Panics while one lives.
    pub fn start(&self, shards: u16) -> Vec<Rc<Runtime<SimEnv>>> {
        assert!(self.shards.borrow().is_empty(), "a process is alive already");
        self.state.borrow_mut().process += 1;
        let made: Vec<_> = (0..shards).map(|shard| self.add_shard(ShardId(shard))).collect();
        self.shards.borrow_mut().clone_from(&made);
        made
    }

    fn add_shard(&self, shard: ShardId) -> Rc<Runtime<SimEnv>> {
        let caller = {
            let mut state = self.state.borrow_mut();
            let process = state.process;
            state.add_caller(process, shard)
        };
        Runtime::new(SimEnv { state: Rc::clone(&self.state), caller }, shard)
    }

    /// A runtime on another machine, for client code. It outlives the process.
    #[must_use]
    pub fn client(&self) -> Rc<Runtime<SimEnv>> {
        Rc::clone(&self.client)
    }

    /// Runs the world until `future`, spawned on `runtime`, has ended. `None`: it can never end, because nothing is left
    /// to happen or because its process died; or it took an hour of the world's time.
    pub fn block_on<T: 'static>(
        &self,
        runtime: &Rc<Runtime<SimEnv>>,
        future: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let ended = Rc::new(RefCell::new(None));
        let answer = Rc::clone(&ended);
        runtime.spawn(async move { *answer.borrow_mut() = Some(future.await) }).detach();
        self.run_until(|| ended.borrow().is_some());
        ended.take()
    }

    /// Runs the world until `done` says so. False: nothing was left to happen before, or an hour of its time went by.
    /// Panics where a task did.
    pub fn run_until(&self, mut done: impl FnMut() -> bool) -> bool {
        let deadline_ns = self.now_ns() + PATIENCE_NS;
        loop {
            let ready = self.turn();
            if done() {
                return true;
            }
            if !ready && (self.now_ns() > deadline_ns || !self.advance(u64::MAX)) {
                return false;
            }
        }
    }

    /// Runs the world for so many milliseconds of its time.
    pub fn run_for_ms(&self, ms: u64) {
        self.run_for_us(ms * 1_000);
    }

    /// Runs the world for so many microseconds of its time.
    pub fn run_for_us(&self, us: u64) {
        let until_ns = self.now_ns() + us * 1_000;
        while self.turn() || self.advance(until_ns) {}
        self.state.borrow_mut().now_ns = until_ns;
    }

    /// The world's monotonic time.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.state.borrow().now_ns
    }

    /// Every shard runs a while, in a drawn order. Answers whether anything was left ready.
    fn turn(&self) -> bool {
        let mut runtimes = self.shards.borrow().clone();
        runtimes.push(Rc::clone(&self.client));
        let (first, budget) = {
            let random = &mut self.state.borrow_mut().random;
            (random.index(runtimes.len()), 1 + random.index(TURN_STEPS_MAX))
        };
        let panics = panics::so_far();
        let mut ready = false;
        for index in 0..runtimes.len() {
            ready |= runtimes[(first + index) % runtimes.len()].turn(budget);
        }
        assert_eq!(panics::so_far(), panics, "a task panicked in the world of seed {}", self.seed);
        let state = self.state.borrow();
        ready || state.callers.iter().any(|inbox| inbox.alive && (inbox.mail || !inbox.arrived.is_empty()))
    }

    /// Time jumps to the next event or timer, and the event happens. False: there is none up to `until_ns`.
    fn advance(&self, until_ns: u64) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.notice_closed();
        let shards = self.shards.borrow();
        let runtimes = shards.iter().chain([&self.client]);
        let timer = runtimes.filter_map(|runtime| runtime.next_timer_ns()).min();
        let Some(next_ns) = timer.into_iter().chain(state.next_event_ns()).min() else { return false };
        if next_ns > until_ns {
            return false;
        }
        state.now_ns = state.now_ns.max(next_ns);
        state.fire();
        true
    }

    /// Kills the process as `kill -9` does: its tasks are gone, its connections are reset, completed writes stay in the
    /// files, writes under way land later. Not to be called from a task.
    pub fn kill(&self) {
        self.state.borrow_mut().kill();
        self.drop_tasks();
    }

    /// Takes the power away: as [`World::kill`], and what was not durable is lost, torn or destroyed.
    pub fn crash(&self) {
        self.state.borrow_mut().crash();
        self.drop_tasks();
    }

    fn drop_tasks(&self) {
        for runtime in self.shards.take() {
            runtime.abandon();
        }
    }

    /// Whether no write of a killed process is under way any more: what the lock of the data directory tells.
    #[must_use]
    pub fn lock_is_free(&self) -> bool {
        self.state.borrow().ghosts == 0
    }

    /// Runs the world until the lock of the data directory is free.
    pub fn take_lock(&self) {
        let free = self.run_until(|| self.lock_is_free());
        assert!(free, "a write of a killed process never ends");
    }

    /// Flips one bit of a stored file, in what is read now and in what survives. False: the file has no such bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.narrate(|| format!("bit {bit} of {} flips", path.display()));
        state.inode(&key(path)).is_some_and(|inode| state.disk.flip(inode, bit))
    }

    /// Makes the block at `position` of a file unreadable (EIO) until it is written again. False: there is no such file.
    pub fn break_block(&self, path: &Path, position: u64) -> bool {
        let state = &mut *self.state.borrow_mut();
        let inode = state.inode(&key(path));
        inode.map(|inode| state.disk.break_block(inode, position)).is_some()
    }

    /// Shares the blocks of a file with a copy, as `cp --reflink` does: overwrites of them allocate from now on.
    pub fn reflink(&self, path: &Path) -> bool {
        let state = &mut *self.state.borrow_mut();
        let inode = state.inode(&key(path));
        inode.map(|inode| state.disk.share(inode)).is_some()
    }

    /// Every file with its length, in the order of their names, which have no leading `/`.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state.borrow();
        state.names.files().map(|(path, inode)| (PathBuf::from(path), state.disk.len(inode))).collect()
    }

    /// A file's bytes as a read would see them now.
    #[must_use]
    pub fn file_bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        state.inode(&key(path)).map(|inode| state.disk.bytes(inode).to_vec())
    }

    /// A listening socket of the process alive.
    #[must_use]
    pub fn listen(&self) -> SimSocket {
        let state = &mut *self.state.borrow_mut();
        state.net.listen(state.process)
    }

    /// From now on every accept fails for want of descriptors (EMFILE), or none does.
    pub fn fail_accepts(&self, fail: bool) {
        self.state.borrow_mut().net.accepts_fail = fail;
    }

    /// Connects to a listening socket; the answer is the client's end, to be used through [`World::client`].
    pub fn connect(&self, listener: &SimSocket) -> io::Result<SimSocket> {
        let state = &mut *self.state.borrow_mut();
        let client = state.net.connect(listener.id(), CLIENTS)?;
        state.soon(listener.id());
        Ok(client)
    }

    /// Resets a connection, as seen by both ends.
    pub fn cut(&self, socket: &SimSocket) {
        let state = &mut *self.state.borrow_mut();
        state.net.reset(socket.id());
        let peer = state.net.peer(socket.id());
        state.soon(socket.id());
        state.soon(peer);
    }

    /// A hash over everything that has happened so far, in order.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state.borrow().trace.value()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        // The client's tasks hold its runtime.
        self.client.abandon();
    }
}

/// A length or an address as a number of bytes.
fn to_bytes(count: usize) -> u64 {
    u64::try_from(count).expect("a 64-bit machine")
}

/// A number of bytes as an index.
fn to_index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a 64-bit machine")
}

/// Task steps that a shard takes in a row at the most, so that a budget that ends early is met too.
const TURN_STEPS_MAX: usize = 64;
/// How long a test waits for something, in the world's time.
const PATIENCE_NS: u64 = 3_600_000_000_000;
