//! The load engine: connections that produce and fetch, on threads that share nothing but a clock.
//!
//! ```text
//!   plan         who sends what where; every frame is made before the clock starts
//!   worker       one thread: epoll, its schedule, its connections
//!   connection   one socket: frames out from where they lie, frames in
//!   measure      counters and histograms of a thread, and their sum
//!   clock        the beginning, and the window in which things count
//! ```
//! [`run`] is called by `bench::row` for each row, and by the gate for each slice of a pair. It blocks until the load has
//! ended; its caller's thread does nothing but look at the clock meanwhile.
//!
//! Two modes. *Closed loop*: a connection keeps a number of requests under way, and what is measured is how many get
//! through. *Open loop*: requests are due at fixed moments, whatever the answers do, and a latency counts from the moment
//! at which its request was due: a broker that stalls for a second owes that second to every request of it.

mod clock;
mod connection;
mod measure;
mod plan;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

pub(super) use clock::thread_cpu;
pub use measure::{Measure, Slice};
pub use plan::Target;

use super::parameters::{Parameters, Workload};
use super::server;
use super::wire;
use clock::Shared;
use plan::{Schedule, plans};
use worker::Worker;

/// How long a load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Nothing counts before this has passed.
    pub warm_up: Duration,
    /// And before this many payload bytes were answered.
    pub warm_up_bytes: u64,
    /// How long things count.
    pub window: Duration,
}

/// Where the load runs.
#[derive(Clone, Debug, Default)]
pub struct Seats {
    /// A core for each thread; empty: one thread, wherever the kernel puts it.
    pub cores: Vec<usize>,
}

/// What its caller is told while a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The window has begun.
    Begun,
    /// Some time has passed: payload bytes and requests answered since the beginning.
    Passing {
        /// Payload bytes.
        bytes: u64,
        /// Requests.
        requests: u64,
        /// Time since the load began.
        elapsed: Duration,
    },
    /// The window is over; an open loop may still wait for answers.
    Over,
}

/// Runs a load and answers what was measured in its window. `told` is called from this thread; where
/// it answers `false`, the load is given up.
///
/// # Errors
/// Where a connection cannot be made or ends, where the broker answers nothing for a minute, and where what it answers is
/// no answer; [`io::ErrorKind::Interrupted`] where it was given up. Kafka's own error codes are counted in
/// [`Measure::errors`] instead.
pub fn run(
    target: &Target,
    workload: Workload,
    parameters: &Parameters,
    timing: &Timing,
    seats: &Seats,
    told: &mut dyn FnMut(Moment) -> bool,
) -> io::Result<Measure> {
    let shape = parameters.batch_shape(wall_ms()).map_err(io::Error::other)?;
    let batch: Arc<[u8]> = wire::batch_of(&shape).into();
    let threads = seats.cores.len().max(1);
    let plans = plans(target, workload, parameters, &batch, threads)?;
    let threads = plans.len();
    let shared = Arc::new(Shared::new(Instant::now() + Duration::from_millis(20), timing.window));
    let mut handles = Vec::new();
    for (index, plan) in plans.into_iter().enumerate() {
        let schedule = Schedule::of(parameters, index, threads);
        let clock = Arc::clone(&shared);
        let worker = Worker::new(plan, clock, &target.topic, parameters, timing.window, schedule)?;
        let (core, shared) = (seats.cores.get(index).copied(), Arc::clone(&shared));
        handles.push(thread::spawn(move || {
            let result = settle(core).and_then(|()| worker.run());
            if result.is_err() {
                shared.give_up();
            }
            result
        }));
    }
    let whole = watch(&shared, timing, told);
    let mut sum = Measure::new(timing.window);
    let mut failed = None;
    for handle in handles {
        match handle.join().map_err(|_| io::Error::other("a thread of the load panicked"))? {
            Ok(measure) => sum.add(&measure),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if !whole => Err(io::Error::from(io::ErrorKind::Interrupted)),
        None => Ok(sum),
    }
}

/// The calling thread's place: its core, and wakes to the nanosecond.
fn settle(core: Option<usize>) -> io::Result<()> {
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    core.map_or(Ok(()), server::pin)
}

/// Starts the window when the warm-up is over, and tells of time passing until its end. Answers whether it came to that.
fn watch(shared: &Shared, timing: &Timing, told: &mut dyn FnMut(Moment) -> bool) -> bool {
    let begun = Instant::now();
    let mut from = None;
    let mut shown = Instant::now();
    loop {
        thread::sleep(TICK);
        if shared.given_up() {
            return false;
        }
        let bytes = shared.bytes.load(Ordering::Relaxed);
        let mut go_on = true;
        if from.is_none() && begun.elapsed() >= timing.warm_up && bytes >= timing.warm_up_bytes {
            go_on &= told(Moment::Begun);
            shared.start_window();
            from = Some(Instant::now());
        }
        if from.is_some_and(|from| from.elapsed() >= timing.window) {
            return told(Moment::Over);
        }
        if shown.elapsed() >= SHOW {
            shown = Instant::now();
            let requests = shared.requests.load(Ordering::Relaxed);
            go_on &= told(Moment::Passing { bytes, requests, elapsed: begun.elapsed() });
        }
        if !go_on {
            shared.give_up();
            return false;
        }
    }
}

fn wall_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(0)
}

const TICK: Duration = Duration::from_millis(10);
const SHOW: Duration = Duration::from_millis(200);
