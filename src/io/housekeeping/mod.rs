//! Housekeeping: threads for whatever may block.
//!
//! Shards leave jobs in a queue; their answers come back through the `seat` of the shard, as completions like any other.
//! A few workers do them by plain system calls (see `jobs`). Only the zeros of files that are opened for direct writes go
//! on from there to a thread of their own (see `zeros`), once their blocks are allocated, so that preparing segments
//! does not starve the rest.
//!
//! An eventfd counts what was left in the queues, and each worker takes one of it before it looks: a shard waits for no
//! lock, every job wakes exactly one thread, and a thread that sleeps there counts as idle, not as I/O wait.
//!
//! **Order.** None between jobs: who needs one waits, or submits a sequence. **Shutdown.** Jobs that were submitted are
//! answered before the threads end.

mod zeros;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_queue::SegQueue;
use rustix::event::EventfdFlags;

use self::zeros::{Fill, Zeros};
use super::kernel::Kernel;
use super::seat::Seat;
use super::{Back, Completion, Job, Output, Prepare, Token, jobs};

/// Where shards leave jobs. Cloning counts; the threads end when [`Running::stop`] says so.
#[derive(Clone)]
pub(super) struct Housekeeping(Arc<Shared>);

struct Shared {
    requests: SegQueue<Request>,
    closes: SegQueue<OwnedFd>,
    /// How much was put into the queues and not yet looked for: eventfd(2) as a semaphore.
    left: OwnedFd,
    zeros: Zeros,
    stop: AtomicBool,
}

struct Request {
    job: Job<Kernel>,
    answer: Answer,
}

/// Whom the answer of a job goes to.
struct Answer {
    to: Arc<Seat>,
    token: Token,
}

/// The running threads.
pub(super) struct Running {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    zeros: zeros::Running,
}

/// Starts the threads; an error where one cannot be made, or glommio cannot make its executor. io_uring must have been
/// probed before: glommio panics without it.
pub(super) fn start() -> io::Result<(Housekeeping, Running)> {
    let (zeros, writing) = zeros::start()?;
    let shared = Arc::new(Shared {
        requests: SegQueue::new(),
        closes: SegQueue::new(),
        left: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::SEMAPHORE)?,
        zeros,
        stop: AtomicBool::new(false),
    });
    let worker = |_| {
        let shared = Arc::clone(&shared);
        std::thread::Builder::new().name("housekeeping".into()).spawn(move || work(&shared))
    };
    let workers = (0..WORKERS).map(worker).collect::<io::Result<_>>()?;
    Ok((Housekeeping(Arc::clone(&shared)), Running { shared, workers, zeros: writing }))
}

impl Housekeeping {
    /// Hands a job over; its answer goes to `to` under `token`.
    pub(super) fn submit(&self, to: Arc<Seat>, token: Token, job: Job<Kernel>) {
        self.0.requests.push(Request { job, answer: Answer { to, token } });
        self.0.one_more();
    }

    /// Closes a file where waiting is allowed.
    pub(super) fn close(&self, fd: OwnedFd) {
        self.0.closes.push(fd);
        self.0.one_more();
        if self.0.stop.load(Ordering::SeqCst) {
            // Nobody else may come to close it.
            self.0.close_all();
        }
    }
}

impl Running {
    /// Answers what was submitted, and ends the threads. No shard submits any more.
    pub(super) fn stop(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Each job has its own: a worker that finds none is the last to take one of these.
        self.workers.iter().for_each(|_| self.shared.one_more());
        for worker in self.workers {
            // A panic there has been printed; the job that it did is lost with it.
            let _ = worker.join();
        }
        self.shared.close_all();
        self.zeros.stop();
    }
}

impl Shared {
    #[expect(clippy::host_endian_bytes, reason = "eventfd(2) counts in the machine's own order")]
    fn one_more(&self) {
        // Only a counter that overflows would make this fail, and memory ends long before.
        let _ = rustix::io::write(&self.left, &1_u64.to_ne_bytes());
    }

    /// Waits until there is one more to look for.
    fn take_one(&self) {
        let mut count = [0; 8];
        while rustix::io::read(&self.left, &mut count).is_err() {
            // EINTR: a signal that this thread had to handle.
        }
    }

    fn close_all(&self) {
        while let Some(fd) = self.closes.pop() {
            drop(fd);
        }
    }
}

fn work(shared: &Arc<Shared>) {
    loop {
        shared.take_one();
        shared.close_all();
        match shared.requests.pop() {
            Some(Request { job, answer }) => run(shared, job, answer),
            None if shared.stop.load(Ordering::SeqCst) => return,
            None => {}
        }
    }
}

fn run(shared: &Arc<Shared>, job: Job<Kernel>, answer: Answer) {
    match job {
        Job::PrepareRange(file, range, Prepare::Zeros) if file.is_direct() => {
            // Blocks first, so that the zeros lie together.
            match jobs::allocate(&file, &range) {
                Ok(()) => shared.zeros.write(Fill { file, range, answer }),
                Err(error) => answer.give(Err(error)),
            }
        }
        job => answer.give(jobs::run(job, &Housekeeping(Arc::clone(shared)))),
    }
}

impl Answer {
    fn give(self, result: io::Result<Output<Kernel>>) {
        let (result, back) = match result {
            Ok(output) => (Ok(0), Back::Output(output)),
            Err(error) => (Err(error), Back::Nothing),
        };
        self.to.answer(Completion { token: self.token, result, back });
    }
}

/// Jobs done at a time: what waits for the disk should not keep what does not.
const WORKERS: usize = 4;
