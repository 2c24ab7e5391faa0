//! Zeros over what a segment will overwrite: a thread with glommio's direct files.
//!
//! The workers leave ranges here. The thread waits for them on an ordinary park and enters glommio's executor only while it
//! has some: an executor that sleeps counts as I/O wait, a parked thread does not.
//!
//! **Invariant: nobody wakes the executor but its own reads and writes.** Where something has come to the latency ring of
//! glommio 0.9 when it is about to run tasks, it runs none, takes that for having none, and sleeps with work at hand, until
//! something else happens to come (glommio/glommio#53, mended in no release). What comes to that ring are wakes by other
//! threads, those of its pool for blocking calls among them, its timer against long tasks, and what many completions at
//! once set off. So no waker leaves the thread, blocking calls are made elsewhere, the timer is a year away, few writes are
//! under way; and new ranges are looked for whenever a piece has been written.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Poll, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

use super::Answer;
use crate::io::Output;
use crate::io::kernel::File;

/// Where workers leave ranges.
#[derive(Clone)]
pub(super) struct Zeros(Arc<Shared>);

#[derive(Default)]
struct Shared {
    fills: SegQueue<Fill>,
    thread: OnceLock<Thread>,
    stop: AtomicBool,
}

/// A range whose blocks are allocated.
pub(super) struct Fill {
    pub(super) file: File,
    pub(super) range: Range<u64>,
    pub(super) answer: Answer,
}

/// The running thread.
pub(super) struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// Starts the thread; an error where glommio cannot make its executor.
pub(super) fn start() -> io::Result<(Zeros, Running)> {
    let shared = Arc::<Shared>::default();
    let (made, is_made) = mpsc::channel();
    let thread = std::thread::Builder::new().name("zeros".into()).spawn({
        let shared = Arc::clone(&shared);
        move || match executor() {
            Ok(executor) => {
                // The starter waits for this; it has not gone away.
                let _ = made.send(Ok(()));
                write_what_comes(&shared, &executor);
            }
            Err(error) => drop(made.send(Err(error))),
        }
    })?;
    is_made.recv().unwrap_or_else(|_panicked| Err(io::Error::other("the thread that writes zeros did not start")))?;
    // The first in wins, and nobody else sets it.
    let _ = shared.thread.set(thread.thread().clone());
    Ok((Zeros(Arc::clone(&shared)), Running { shared, thread }))
}

impl Zeros {
    /// Hands a range over. It is answered when its zeros are durable.
    pub(super) fn write(&self, fill: Fill) {
        self.0.fills.push(fill);
        self.0.unpark();
    }
}

impl Running {
    /// Answers what was handed over, and ends the thread. Nobody hands over anything any more.
    pub(super) fn stop(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.unpark();
        // A panic there has been printed; the ranges it took are lost with it.
        let _ = self.thread.join();
    }
}

impl Shared {
    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

fn executor() -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("zeros")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(NEVER)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(plain_error)
}

fn write_what_comes(shared: &Arc<Shared>, executor: &LocalExecutor) {
    loop {
        while shared.fills.is_empty() {
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
            std::thread::park();
        }
        let writer = Writer { shared: Arc::clone(shared), under_way: Cell::new(0), waker: RefCell::default() };
        executor.run(Rc::new(writer).write_all());
    }
}

/// One stay in the executor.
struct Writer {
    shared: Arc<Shared>,
    under_way: Cell<usize>,
    /// Of the one that waits for the end.
    waker: RefCell<Option<Waker>>,
}

impl Writer {
    /// Writes until there is nothing left to do.
    async fn write_all(self: Rc<Self>) {
        self.begin_more();
        poll_fn(|cx| {
            if self.under_way.get() == 0 {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Begins as many ranges as may be under way.
    fn begin_more(self: &Rc<Self>) {
        while self.under_way.get() < RANGES_AT_A_TIME {
            let Some(Fill { file, range, answer }) = self.shared.fills.pop() else { return };
            self.under_way.set(self.under_way.get() + 1);
            let writer = Rc::clone(self);
            glommio::spawn_local(async move {
                let written = writer.write(&file, range).await;
                answer.give(written.map(|()| Output::None));
                writer.end_one();
            })
            .detach();
        }
    }

    fn end_one(self: &Rc<Self>) {
        self.under_way.set(self.under_way.get() - 1);
        self.begin_more();
        if self.under_way.get() == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Zeros over the range, a few writes at a time, then a flush.
    async fn write(self: &Rc<Self>, file: &File, range: Range<u64>) -> io::Result<()> {
        // glommio opens files by path alone: this path is the open file itself, wherever its name has gone.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let direct = Rc::new(OpenOptions::new().read(true).write(true).dma_open(path).await.map_err(plain_error)?);
        let written = self.write_pieces(&direct, range).await;
        let flushed = match written {
            Ok(()) => direct.fdatasync().await.map_err(plain_error),
            failed => failed,
        };
        direct.close_rc().await.map_err(plain_error)?;
        flushed
    }

    async fn write_pieces(self: &Rc<Self>, file: &Rc<DmaFile>, range: Range<u64>) -> io::Result<()> {
        let mut zeros = file.alloc_dma_buffer(ZERO_BYTES);
        zeros.as_bytes_mut().fill(0);
        let zeros = Rc::new(zeros);
        let next = Rc::new(Cell::new(range.start));
        let lanes: Vec<_> = (0..WRITES_OF_A_RANGE)
            .map(|_| {
                let (writer, file, zeros, next) =
                    (Rc::clone(self), Rc::clone(file), Rc::clone(&zeros), Rc::clone(&next));
                glommio::spawn_local(async move {
                    while next.get() < range.end {
                        let position = next.get();
                        let len = ZERO_BYTES.min(usize::try_from(range.end - position).unwrap_or(ZERO_BYTES));
                        next.set(position + len as u64);
                        write_piece(&file, &zeros, position, len).await?;
                        writer.begin_more();
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
}

async fn write_piece(file: &DmaFile, zeros: &Rc<DmaBuffer>, position: u64, len: usize) -> io::Result<()> {
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
/// Entries of its rings; as many completions at once write to its latency ring.
const RING_DEPTH: usize = 64;
/// For its timer against tasks that run too long: ours are short.
const NEVER: Duration = Duration::from_secs(365 * 86_400);
/// Ranges under way, writes under way for each, and the size of one: together far fewer than the rings' entries.
const RANGES_AT_A_TIME: usize = 4;
const WRITES_OF_A_RANGE: usize = 2;
const ZERO_BYTES: usize = 256 << 10;
