//! The production [`Env`]: one io_uring per shard, plus housekeeping.
//!
//! Made by [`super::pump`] on the shard's own thread, once, and driven by it: the layers above submit and poll through
//! [`super::Runtime`], the pump calls `Kernel::enter` once a turn. Everything that is submitted during a turn goes into
//! the kernel with that one call.
//!
//! **When it is dropped** with operations under way (the drain's deadline passed), their buffers are left to the kernel
//! and never freed.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::housekeeping::Housekeeping;
use super::lock::Lock;
use super::operations::Operations;
use super::probe::Facts;
use super::receive::Provided;
use super::ring::{Ring, Wait};
use super::seat::{MAIL, Seat};
use super::socket::Socket;
use super::{Completion, Env, Op, Pool, Token, pump, residency};
use crate::types::ShardId;

/// The kernel, as one shard sees it. Lives on the shard's own thread.
pub struct Kernel {
    operations: RefCell<Operations>,
    shard: ShardId,
    seats: Arc<[Arc<Seat>]>,
    housekeeping: Housekeeping,
    pool: Pool,
    facts: Facts,
    random: Cell<u64>,
}

impl Kernel {
    /// The ring of `shard`, with every lock registered in it, so that the kernel holds them until its last operation ends.
    pub(super) fn new(
        shard: ShardId,
        core: Option<usize>,
        config: &pump::Config,
        locks: &[Lock],
        seats: Arc<[Arc<Seat>]>,
        housekeeping: Housekeeping,
    ) -> io::Result<Self> {
        let ring = Ring::new(config.ring_entries, config.top_rung)?;
        ring.limit_workers(config.workers, core);
        ring.hold(locks)?;
        let pool = Pool::new(config.receive_pool_bytes);
        // A kernel before 5.19 has no such ring; receives then poll first.
        let provided = if config.provided_buffers {
            Provided::register(&ring, &pool, config.receive_buffer_bytes).ok()
        } else {
            None
        };
        let facts = Facts { provided_buffers: provided.is_some(), ..ring.facts() };
        let mut seed = [0_u8; 8];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
        let seat = Arc::clone(&seats[shard.index()]);
        let mut operations = Operations::new(ring, provided, pool.clone(), config.receive_buffer_bytes, seat);
        operations.listeners.multishot = config.multishot_accept;
        operations.watch_event();
        Ok(Self {
            operations: RefCell::new(operations),
            shard,
            seats,
            housekeeping,
            pool,
            facts,
            random: Cell::new(u64::from_be_bytes(seed)),
        })
    }

    /// The pool that receives without a buffer draw from. The rest of a long frame should be received into buffers of it
    /// too, so that one cap bounds both.
    #[must_use]
    pub fn receive_pool(&self) -> Pool {
        self.pool.clone()
    }

    /// How this shard's ring is set up.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// Submits what was started and, where `wait` lets it and nothing is to be done, sleeps.
    pub(super) fn enter(&self, wait: Wait) -> io::Result<()> {
        let seat = self.seat();
        let mut operations = self.operations.borrow_mut();
        let wait = if operations.finished.is_empty() { wait } else { Wait::No };
        let entered = if wait == Wait::No {
            operations.ring.enter(Wait::No)
        } else {
            let wait = if seat.fall_asleep() { wait } else { Wait::No };
            if wait != Wait::No {
                seat.counters.sleeps.add(1);
            }
            let entered = operations.ring.enter(wait);
            seat.wake_up();
            entered
        };
        if entered? {
            seat.counters.enters.add(1);
        }
        seat.counters.turns.add(1);
        Ok(())
    }

    /// Cancels whatever waits for a peer; writes and flushes go on.
    pub(super) fn cancel_waits(&self) {
        self.operations.borrow_mut().cancel_waits();
    }

    /// Whether the kernel still owns something of ours.
    pub(super) fn under_way(&self) -> bool {
        self.operations.borrow().under_way()
    }

    /// What this shard's ring has done.
    #[cfg(test)]
    pub(super) fn counters(&self) -> &super::stats::Counters {
        &self.seat().counters
    }

    fn seat(&self) -> &Seat {
        &self.seats[self.shard.index()]
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel(shard {}, {:?})", self.shard.0, self.facts)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let operations = self.operations.get_mut();
        let _ = operations.ring.submitter().unregister_buf_ring(super::receive::GROUP);
        if operations.under_way() {
            operations.abandon();
        }
    }
}

/// A counted open file; the last clone closes it.
#[derive(Clone, Debug)]
pub struct File(Arc<Opened>);

struct Opened {
    fd: Option<OwnedFd>,
    direct: bool,
    closer: Housekeeping,
}

impl File {
    pub(super) fn new(fd: OwnedFd, direct: bool, closer: &Housekeeping) -> Self {
        Self(Arc::new(Opened { fd: Some(fd), direct, closer: closer.clone() }))
    }

    /// Whether it was opened with O_DIRECT.
    pub(super) fn is_direct(&self) -> bool {
        self.0.direct
    }
}

impl Opened {
    fn fd(&self) -> &OwnedFd {
        self.fd.as_ref().expect("taken when it is dropped")
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // The last close of a removed file frees its blocks, which may wait for the disk: not on a shard.
        if let Some(fd) = self.fd.take() {
            self.closer.close(fd);
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.fd().as_raw_fd(), if self.direct { ", direct" } else { "" })
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd().as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd().as_raw_fd()
    }
}

impl Env for Kernel {
    type File = File;
    type Socket = Socket;

    fn submit(&self, token: Token, op: Op<Self>) {
        match op {
            Op::Job(job) => {
                self.seat().counters.jobs.add(1);
                self.housekeeping.submit(Arc::clone(&self.seats[self.shard.index()]), token, job);
            }
            op => self.operations.borrow_mut().start(token, op),
        }
    }

    fn poll(&self, completions: &mut Vec<Completion<Self>>) {
        let mut operations = self.operations.borrow_mut();
        operations.collect();
        completions.append(&mut operations.finished);
        self.seat().take_answers(completions);
    }

    fn now_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).expect("monotonic time is not negative");
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("less than a second")
    }

    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014), seeded by the kernel: for jitter and identifiers, not for secrets.
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn peer(&self, socket: &Socket) -> Option<SocketAddr> {
        socket.peer_address().ok()
    }

    fn try_send(&self, socket: &Socket, parts: &[&[u8]]) -> io::Result<usize> {
        self.seat().counters.sends.add(1);
        socket.send(parts)
    }

    fn try_sendfile(&self, socket: &Socket, file: &File, position: u64, len: usize) -> io::Result<usize> {
        self.seat().counters.sendfiles.add(1);
        socket.send_file(file.as_fd(), position, len)
    }

    fn resident(&self, file: &File, position: u64, len: usize) -> usize {
        residency::resident(file.as_fd(), position, len)
    }

    fn shutdown(&self, socket: &Socket) {
        socket.shutdown();
    }

    fn wake(&self, shard: ShardId) {
        self.seat().counters.mails.add(1);
        if self.seats[shard.index()].raise(MAIL) {
            self.seat().counters.wakes.add(1);
        }
    }

    fn take_wake(&self) -> bool {
        self.seat().lower(MAIL)
    }
}
