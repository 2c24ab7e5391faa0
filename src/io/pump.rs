//! One pinned thread per shard, each turning its [`Runtime`] and sleeping in its ring.
//!
//! ```text
//!   turn: completions -> futures, timers, tasks (at most BUDGET steps)      Runtime::turn
//!   enter: submit everything, sleep if nothing is left to do                one io_uring_enter
//!   ... until the body has ended; then: tasks dropped, waits cancelled, turn and enter until nothing is under way
//! ```
//!
//! The whole node runs inside [`run_shards`], called once from `cli serve`, from tests and from benches.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};

use super::housekeeping::{self, Housekeeping};
use super::lock::Lock;
use super::probe::Rung;
use super::ring::Wait;
use super::seat::Seat;
use super::{Env, Kernel, Runtime, probe, stats};
use crate::types::ShardId;

/// One shard to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPlan<S> {
    /// Its number, 0 to n - 1 in order.
    pub shard: ShardId,
    /// The CPU to pin it to; `None` leaves it to the scheduler.
    pub core: Option<usize>,
    /// What the body gets to start with: its mailbox, its listener ...
    pub seat: S,
}

/// How the rings and the pumps are set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Entries of each submission queue; a power of two.
    pub ring_entries: u32,
    /// The cap of each shard's receive pool, see [`Kernel::receive_pool`].
    pub receive_pool_bytes: usize,
    /// Bytes of one buffer that the kernel fills for a receive without a buffer; a size class of the pool.
    pub receive_buffer_bytes: usize,
    /// Kernel workers per shard for what may not run inline (flushes, punted writes).
    pub workers: u32,
    /// How long a shard waits for its operations under way after its body has ended.
    pub drain_ms: u64,
    /// The first rung of the flag ladder to try. Lower ones are for tests.
    pub top_rung: Rung,
    /// Whether to try provided buffers. Without them is for tests.
    pub provided_buffers: bool,
    /// Whether to try multishot accepts. Without them is for tests.
    pub multishot_accept: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring_entries: 1024,
            receive_pool_bytes: 64 << 20,
            receive_buffer_bytes: 64 << 10,
            workers: 8,
            drain_ms: 5_000,
            top_rung: Rung::Defer,
            provided_buffers: true,
            multishot_accept: true,
        }
    }
}

/// Why the shards could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// io_uring cannot be used here.
    #[error(transparent)]
    Blocked(#[from] probe::Blocked),
    /// Housekeeping could not be started.
    #[error("housekeeping could not be started: {0}")]
    Housekeeping(#[source] io::Error),
    /// A thread or ring could not be made.
    #[error("shard {} could not be started: {source}", shard.0)]
    Start {
        /// Which.
        shard: ShardId,
        /// Why.
        source: io::Error,
    },
}

/// The cores that this process may use (affinity mask and cpuset), in order.
#[must_use]
pub fn usable_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Runs `body` once on each shard's own thread and answers what each gave, in the order of `plans`. `locks` are held by
/// every ring until its last operation has ended, even where this process is killed.
///
/// # Errors
/// When io_uring is blocked or a thread cannot be started; then no body was begun.
pub fn run_shards<S, F, T>(
    plans: Vec<ShardPlan<S>>,
    config: &Config,
    locks: &[Lock],
    body: impl Fn(Rc<Runtime<Kernel>>, S) -> F + Send + Clone + 'static,
) -> Result<Vec<T>, Error>
where
    S: Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    probe::io_uring()?;
    let first = plans.first().map_or(ShardId::FIRST, |plan| plan.shard);
    let seats: Result<Vec<_>, _> = plans.iter().map(|_| Seat::new().map(Arc::new)).collect();
    let seats: Arc<[Arc<Seat>]> = seats.map_err(|source| Error::Start { shard: first, source })?.into();
    seats.iter().for_each(stats::register);
    let (housekeeping, running) = housekeeping::start().map_err(Error::Housekeeping)?;
    let start = Arc::new(Start { barrier: Barrier::new(plans.len() + 1), abandoned: AtomicBool::new(false) });
    let (report, reports) = mpsc::channel();
    let threads: Vec<_> = plans
        .into_iter()
        .map(|plan| {
            let (config, locks, seats) = (config.clone(), locks.to_vec(), Arc::clone(&seats));
            let (housekeeping, start, report, body) =
                (housekeeping.clone(), Arc::clone(&start), report.clone(), body.clone());
            std::thread::Builder::new().name(format!("shard-{}", plan.shard.0)).spawn(move || {
                let made = make(plan.shard, plan.core, &config, &locks, seats, housekeeping);
                let made = made.map_err(|source| Error::Start { shard: plan.shard, source });
                let (runtime, result) = made.map_or_else(|error| (None, Err(error)), |made| (Some(made), Ok(())));
                // The starter is waiting for this report.
                let _ = report.send(result);
                start.barrier.wait();
                let begun = runtime.filter(|_| !start.abandoned.load(Ordering::SeqCst));
                begun.map(|runtime| run(&runtime, body(Rc::clone(&runtime), plan.seat), config.drain_ms))
            })
        })
        .map(|spawned| spawned.expect("a thread for each core can be made"))
        .collect();
    drop(report);
    let mut failed = None;
    for _ in &threads {
        if let Ok(Err(error)) = reports.recv() {
            start.abandoned.store(true, Ordering::SeqCst);
            failed = Some(error);
        }
    }
    start.barrier.wait();
    let ended: Vec<_> = threads.into_iter().map(std::thread::JoinHandle::join).collect();
    running.stop();
    if let Some(error) = failed {
        return Err(error);
    }
    let each = |joined: std::thread::Result<Option<T>>| match joined {
        Ok(value) => value.expect("a shard that began has ended"),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    Ok(ended.into_iter().map(each).collect())
}

/// Shards begin together, or not at all.
struct Start {
    barrier: Barrier,
    abandoned: AtomicBool,
}

fn make(
    shard: ShardId,
    core: Option<usize>,
    config: &Config,
    locks: &[Lock],
    seats: Arc<[Arc<Seat>]>,
    housekeeping: Housekeeping,
) -> io::Result<Rc<Runtime<Kernel>>> {
    if let Some(id) = core {
        // A core outside our cpuset is refused: the shard then runs where the scheduler puts it.
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
    Ok(Runtime::new(Kernel::new(shard, core, config, locks, seats, housekeeping)?, shard))
}

fn run<T: 'static>(runtime: &Rc<Runtime<Kernel>>, body: impl Future<Output = T> + 'static, drain_ms: u64) -> T {
    let ended = Rc::new(RefCell::new(None));
    let into = Rc::clone(&ended);
    runtime
        .spawn(async move {
            let value = body.await;
            into.replace(Some(value));
        })
        .detach();
    let value = loop {
        let busy = runtime.turn(BUDGET);
        if let Some(value) = ended.take() {
            break value;
        }
        enter(runtime, busy, u64::MAX);
    };
    drain(runtime, drain_ms);
    value
}

fn drain(runtime: &Rc<Runtime<Kernel>>, drain_ms: u64) {
    runtime.abandon();
    runtime.env().cancel_waits();
    let deadline_ns = runtime.now_ns().saturating_add(drain_ms.saturating_mul(1_000_000));
    loop {
        let busy = runtime.turn(BUDGET);
        let now_ns = runtime.now_ns();
        if runtime.under_way() == 0 && !runtime.env().under_way() {
            return;
        }
        if now_ns >= deadline_ns {
            tracing::warn!(under_way = runtime.under_way(), "operations still under way after {drain_ms} ms are left");
            return;
        }
        enter(runtime, busy, deadline_ns);
    }
}

fn enter(runtime: &Runtime<Kernel>, busy: bool, until_ns: u64) {
    let wait = match runtime.next_timer_ns().unwrap_or(u64::MAX).min(until_ns) {
        _ if busy => Wait::No,
        u64::MAX => Wait::Forever,
        at_ns => match at_ns.saturating_sub(runtime.env().now_ns()) {
            0 => Wait::No,
            ns => Wait::AtMostNs(ns),
        },
    };
    runtime.env().enter(wait).expect("a ring that worked goes on working");
}

/// Task steps between two enters: enough to share one among many requests, few enough that what they started begins soon.
const BUDGET: usize = 256;
