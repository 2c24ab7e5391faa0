//! The load engine: connections that produce and fetch, on threads that share nothing but a clock.
//!
//! ```text
//!   plan         who sends what where; every frame is made before the clock starts
//!   schedule     when each request of an open loop is due
//!   worker       one thread: epoll, its schedule, its connections
//!   connection   one socket: frames out from where they lie, frames in
//!   measure      counters and histograms of a thread, and their sum
//!   clock        the beginning, and the window in which things count
//! ```
//! [`run`] is called by `bench::row` for each row; the gate keeps a [`Load`] on either side and runs them in turns. Both
//! block until the run has ended; the caller's thread does nothing but look at the clock meanwhile.
//!
//! Two modes. *Closed loop*: a connection keeps a number of requests under way, and what is measured is how many get
//! through. *Open loop*: requests are due at fixed moments, whatever the answers do, and a latency counts from the moment
//! at which its request was due: a broker that stalls for a second owes that second to every request of it.

mod clock;
mod connection;
mod measure;
mod plan;
mod schedule;
mod worker;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{io, mem, thread};

pub(super) use clock::thread_cpu;
pub use measure::{Measure, Slice};
pub use plan::Target;

use super::parameters::{Mode, Parameters, Workload};
use super::server;
use super::wire;
use clock::{Shared, ns};
use plan::plans;
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

/// Connections to a broker and the threads that use them, for one run after another: what opening them costs, and that
/// none is warm, is then in no run but the first. Between two runs it does nothing.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
    mode: Mode,
}

/// A thread of a load: told how long a run's window is and when it begins, it answers what it measured.
#[derive(Debug)]
struct Thread {
    orders: mpsc::Sender<(Duration, u64)>,
    answers: mpsc::Receiver<io::Result<Measure>>,
}

impl Load {
    /// Connects, makes every frame, and starts the threads. They end when this is dropped.
    ///
    /// # Errors
    /// Where a connection cannot be made.
    pub fn open(target: &Target, workload: Workload, parameters: &Parameters, seats: &Seats) -> io::Result<Self> {
        let shape = parameters.batch_shape(wall_ms()).map_err(io::Error::other)?;
        let batch: Arc<[u8]> = wire::batch_of(&shape).into();
        let plans = plans(target, workload, parameters, &batch, seats.cores.len().max(1))?;
        let count = plans.len();
        let shared = Arc::new(Shared::new());
        let mut threads = Vec::new();
        for (index, plan) in plans.into_iter().enumerate() {
            let worker = Worker::new(plan, Arc::clone(&shared), &target.topic, parameters, (index, count))?;
            threads.push(Thread::start(worker, seats.cores.get(index).copied(), Arc::clone(&shared)));
        }
        Ok(Self { shared, threads, mode: parameters.mode })
    }

    /// One run, and what was measured in its window. `told` is called from this thread; where it answers `false`, the run
    /// is given up. After an error this load is of no more use.
    ///
    /// # Errors
    /// Where a connection ends, where the broker answers nothing for a minute, and where what it answers is no answer;
    /// [`io::ErrorKind::Interrupted`] where it was given up. Kafka's own error codes are counted in [`Measure::errors`]
    /// instead.
    pub fn run(&mut self, timing: &Timing, told: &mut dyn FnMut(Moment) -> bool) -> io::Result<Measure> {
        self.shared.prepare(timing.window);
        // All threads are awake before anything is due.
        let lead = if self.mode == Mode::Rate { LEAD } else { Duration::ZERO };
        let start_ns = self.shared.now_ns() + ns(lead);
        for thread in &self.threads {
            // One that has ended says why below.
            let _ended = thread.orders.send((timing.window, start_ns));
        }
        let whole = watch(&self.shared, timing, told);
        let mut sum = Measure::new(timing.window);
        let mut failed = None;
        for thread in &self.threads {
            match thread.answers.recv().map_err(|_| io::Error::other("a thread of the load has ended"))? {
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
}

impl Thread {
    fn start(mut worker: Worker, core: Option<usize>, shared: Arc<Shared>) -> Self {
        let (orders, to_do) = mpsc::channel();
        let (done, answers) = mpsc::channel();
        thread::spawn(move || {
            let mut settled = settle(core);
            for (window, start_ns) in to_do {
                let result = mem::replace(&mut settled, Ok(())).and_then(|()| worker.run(window, start_ns));
                let failed = result.is_err();
                if failed {
                    shared.give_up();
                }
                if done.send(result).is_err() || failed {
                    return;
                }
            }
        });
        Self { orders, answers }
    }
}

/// A load of one run.
///
/// # Errors
/// Those of [`Load::open`] and [`Load::run`].
pub fn run(
    target: &Target,
    workload: Workload,
    parameters: &Parameters,
    timing: &Timing,
    seats: &Seats,
    told: &mut dyn FnMut(Moment) -> bool,
) -> io::Result<Measure> {
    Load::open(target, workload, parameters, seats)?.run(timing, told)
}

/// The calling thread's place: its core, and wakes to the nanosecond.
fn settle(core: Option<usize>) -> io::Result<()> {
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    core.map_or(Ok(()), server::pin)
}

/// Starts the window when the warm-up is over, and tells of time passing until its end. Answers whether it came to that.
fn watch(shared: &Shared, timing: &Timing, told: &mut dyn FnMut(Moment) -> bool) -> bool {
    let begun = Instant::now();
    let before = (shared.bytes.load(Ordering::Relaxed), shared.requests.load(Ordering::Relaxed));
    let mut from: Option<Instant> = None;
    let mut shown = Instant::now();
    loop {
        // To the moment: a run may be shorter than a tick.
        let ahead = from.map_or(timing.warm_up.saturating_sub(begun.elapsed()), |from| {
            timing.window.saturating_sub(from.elapsed())
        });
        thread::sleep(if ahead.is_zero() { TICK } else { ahead.min(TICK) });
        if shared.given_up() {
            return false;
        }
        let bytes = shared.bytes.load(Ordering::Relaxed) - before.0;
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
            let requests = shared.requests.load(Ordering::Relaxed) - before.1;
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

/// How long before its first request is due an open loop begins.
const LEAD: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(10);
const SHOW: Duration = Duration::from_millis(200);
