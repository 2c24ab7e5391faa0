//! The housekeeping thread: a glommio executor for whatever may block.
//!
//! Shards submit jobs; their answers come back through the `seat` of the shard, as completions like any other. The thread
//! waits outside the executor, on an ordinary park, and enters it only while there is work: a glommio executor that
//! sleeps counts as I/O wait, a parked thread does not. Zeros are written through glommio's direct files, in a queue with
//! few shares, so that preparing segments does not starve the rest; everything else is a plain call on glommio's pool of
//! blocking threads (see `jobs`).
//!
//! **Order.** None between jobs: who needs one waits, or submits a sequence. **Shutdown.** Jobs that were submitted are
//! answered before the thread ends.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};
use std::task::{Poll, Waker};
use std::thread::{JoinHandle, Thread};

use crossbeam_queue::{ArrayQueue, SegQueue};
use glommio::io::{DmaFile, OpenOptions};
use glommio::{
    GlommioError, Latency, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle,
};

use super::kernel::{File, Kernel};
use super::seat::Seat;
use super::{Back, Completion, Job, Output, Prepare, Token, jobs};

/// Where shards leave jobs. Cloning counts; the thread ends when [`Running::stop`] says so.
#[derive(Clone)]
pub(super) struct Housekeeping(Arc<Shared>);

struct Shared {
    requests: SegQueue<Request>,
    closes: SegQueue<OwnedFd>,
    /// The executor's main task while it runs: at most one waker.
    waker: ArrayQueue<Waker>,
    thread: OnceLock<Thread>,
    stop: AtomicBool,
}

struct Request {
    from: Arc<Seat>,
    token: Token,
    job: Job<Kernel>,
}

/// The running thread.
pub(super) struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// Starts the thread; an error where glommio cannot make its executor. io_uring must have been probed before: glommio
/// panics without it.
pub(super) fn start() -> io::Result<(Housekeeping, Running)> {
    let shared = Arc::new(Shared {
        requests: SegQueue::new(),
        closes: SegQueue::new(),
        waker: ArrayQueue::new(1),
        thread: OnceLock::new(),
        stop: AtomicBool::new(false),
    });
    let (made, is_made) = mpsc::channel();
    let thread = std::thread::Builder::new().name("housekeeping".into()).spawn({
        let shared = Arc::clone(&shared);
        move || match executor() {
            Ok(executor) => {
                // The starter waits for this; it has not gone away.
                let _ = made.send(Ok(()));
                keep_house(&shared, &executor);
            }
            Err(error) => drop(made.send(Err(error))),
        }
    })?;
    is_made.recv().unwrap_or_else(|_panicked| Err(io::Error::other("the housekeeping thread did not start")))?;
    // The first in wins, and nobody else sets it.
    let _ = shared.thread.set(thread.thread().clone());
    Ok((Housekeeping(Arc::clone(&shared)), Running { shared, thread }))
}

impl Housekeeping {
    /// Hands a job over; its answer goes to `from` under `token`.
    pub(super) fn submit(&self, from: Arc<Seat>, token: Token, job: Job<Kernel>) {
        self.0.requests.push(Request { from, token, job });
        self.0.wake();
    }

    /// Closes a file where waiting is allowed.
    pub(super) fn close(&self, fd: OwnedFd) {
        self.0.closes.push(fd);
        if self.0.stop.load(Ordering::SeqCst) {
            // Nobody else comes to close it.
            self.0.close_all();
        } else {
            self.0.wake();
        }
    }
}

impl Running {
    /// Answers what was submitted, and ends the thread.
    pub(super) fn stop(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
        // A panic there has been printed; the jobs it took are lost with it.
        let _ = self.thread.join();
    }
}

impl Shared {
    fn close_all(&self) {
        while let Some(fd) = self.closes.pop() {
            drop(fd);
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.pop() {
            waker.wake();
        }
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

fn executor() -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("housekeeping")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .make()
        .map_err(plain_error)
}

fn keep_house(shared: &Arc<Shared>, executor: &LocalExecutor) {
    let house = Rc::new(House { shared: Arc::clone(shared), busy: Cell::new(0), waker: RefCell::default() });
    let prepare = OnceLock::new();
    loop {
        loop {
            shared.close_all();
            if !shared.requests.is_empty() {
                break;
            }
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
            std::thread::park();
        }
        executor.run(serve(Rc::clone(&house), &prepare));
    }
}

/// One stay in the executor.
struct House {
    shared: Arc<Shared>,
    busy: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// Runs jobs until there are no more.
async fn serve(house: Rc<House>, prepare: &OnceLock<TaskQueueHandle>) {
    let prepare = *prepare.get_or_init(|| {
        glommio::executor().create_task_queue(Shares::Static(PREPARE_SHARES), Latency::NotImportant, "prepare")
    });
    loop {
        while let Some(request) = house.shared.requests.pop() {
            house.busy.set(house.busy.get() + 1);
            let house = Rc::clone(&house);
            glommio::spawn_local(async move {
                let Request { from, token, job } = request;
                let keeper = Housekeeping(Arc::clone(&house.shared));
                let (result, back) = match run(job, prepare, &keeper).await {
                    Ok(output) => (Ok(0), Back::Output(output)),
                    Err(error) => (Err(error), Back::Nothing),
                };
                from.answer(Completion { token, result, back });
                house.busy.set(house.busy.get() - 1);
                if let Some(waker) = house.waker.take() {
                    waker.wake();
                }
            })
            .detach();
        }
        if house.busy.get() == 0 {
            // A waker left behind would be woken for a task that is no more.
            drop(house.shared.waker.pop());
            return;
        }
        let busy = house.busy.get();
        poll_fn(|cx| {
            drop(house.shared.waker.force_push(cx.waker().clone()));
            house.waker.replace(Some(cx.waker().clone()));
            let news = !house.shared.requests.is_empty() || house.busy.get() != busy;
            if news { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

async fn run(job: Job<Kernel>, prepare: TaskQueueHandle, keeper: &Housekeeping) -> io::Result<Output<Kernel>> {
    match job {
        Job::PrepareRange(file, range, Prepare::Zeros) if file.is_direct() => {
            let task = glommio::spawn_local_into(async move { write_zeros(&file, range).await }, prepare)
                .map_err(plain_error)?;
            task.await.map(|()| Output::None)
        }
        Job::Sequence(jobs) => {
            let mut last = Output::None;
            for job in jobs {
                last = Box::pin(run(job, prepare, keeper)).await?;
            }
            Ok(last)
        }
        job => {
            let keeper = keeper.clone();
            glommio::executor().spawn_blocking(move || jobs::run(job, &keeper)).await
        }
    }
}

/// Zeros over the range, a few writes at a time, then a flush: blocks first, so that the zeros lie together.
async fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    let (blocks, whole) = (file.clone(), range.clone());
    glommio::executor().spawn_blocking(move || jobs::allocate(&blocks, &whole)).await?;
    // glommio opens files by path alone: this path is the open file itself, wherever its name has gone.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let direct = Rc::new(OpenOptions::new().read(true).write(true).dma_open(path).await.map_err(plain_error)?);
    let written = write_pieces(&direct, range).await;
    let flushed = match written {
        Ok(()) => direct.fdatasync().await.map_err(plain_error),
        failed => failed,
    };
    direct.close_rc().await.map_err(plain_error)?;
    flushed
}

async fn write_pieces(file: &Rc<DmaFile>, range: Range<u64>) -> io::Result<()> {
    let mut zeros = file.alloc_dma_buffer(ZERO_BYTES);
    zeros.as_bytes_mut().fill(0);
    let zeros = Rc::new(zeros);
    let next = Rc::new(Cell::new(range.start));
    let lanes: Vec<_> = (0..ZERO_WRITES)
        .map(|_| {
            let (file, zeros, next) = (Rc::clone(file), Rc::clone(&zeros), Rc::clone(&next));
            glommio::spawn_local(async move {
                while next.get() < range.end {
                    let position = next.get();
                    let len = ZERO_BYTES.min(usize::try_from(range.end - position).unwrap_or(ZERO_BYTES));
                    next.set(position + len as u64);
                    write_piece(&file, &zeros, position, len).await?;
                }
                Ok::<(), io::Error>(())
            })
        })
        .collect();
    let mut result = Ok(());
    for lane in lanes {
        result = result.and(lane.await);
    }
    result
}

async fn write_piece(file: &DmaFile, zeros: &Rc<glommio::io::DmaBuffer>, position: u64, len: usize) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let rest = len - done;
        let wrote = if rest == ZERO_BYTES {
            file.write_rc_at(Rc::clone(zeros), position).await
        } else {
            let mut short = file.alloc_dma_buffer(rest);
            short.as_bytes_mut().fill(0);
            file.write_at(short, position + done as u64).await
        };
        match wrote.map_err(plain_error)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// What the kernel said, without what glommio wraps around it.
fn plain_error<T>(error: GlommioError<T>) -> io::Error
where
    io::Error: From<GlommioError<T>>,
{
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}

/// Memory that glommio registers with its rings at the start.
const IO_MEMORY_BYTES: usize = 1 << 20;
/// Entries of its rings.
const RING_DEPTH: usize = 64;
/// Threads for what blocks.
const BLOCKING_THREADS: usize = 4;
/// Of 1000 for everything else.
const PREPARE_SHARES: usize = 100;
/// One write of zeros, and how many are under way for one range.
const ZERO_BYTES: usize = 256 << 10;
const ZERO_WRITES: usize = 2;
