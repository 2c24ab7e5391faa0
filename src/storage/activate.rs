//! Making a log ready for appends: its last partial block in memory, and memory for the next batch.

use std::rc::Rc;

use super::error::Error;
use super::log::{Guard, Log, SEALING_MAX, State};
use super::writer::Writer;
use crate::io::{AppendBuf, Env, Job, OpenHow, Output};

impl<E: Env> Log<E> {
    /// Waits until a batch of so many bytes would be taken, in the order of the calls, and keeps memory for it. What only
    /// waiting cannot mend (poisoned, offline, disk full, too large) is an error.
    pub async fn make_ready(self: &Rc<Self>, bytes: usize) -> Result<(), Error> {
        loop {
            match self.check_open(bytes) {
                Ok(()) => {}
                Err(Error::NotReady { .. }) if self.state.get() == State::Idle => self.activate().await?,
                Err(Error::NotReady { .. }) => self.wait_for_windows().await,
                Err(error) => return Err(error),
            }
            let writer = Rc::clone(&self.writer);
            let attempt = || match self.check_open(bytes) {
                Ok(()) => self.reserve(bytes, self.would_roll(bytes), true).then_some(Ok(())),
                Err(error) => Some(Err(error)),
            };
            match writer.memory.wait_until(&writer.rt, attempt).await {
                Err(Error::NotReady { .. }) => {}
                decided => return decided,
            }
        }
    }

    /// Ends when fewer rolled segments wait for room, or the log has failed, or appends are refused.
    async fn wait_for_windows(&self) {
        loop {
            let changed = self.changed().wait();
            let refused = self.failure().is_some() || self.writer.space.refusal().is_some();
            if self.sealing.borrow().len() < SEALING_MAX || refused {
                return;
            }
            changed.await;
        }
    }

    /// Reads the bytes after the last full block, so that the log can go on behind them.
    pub(super) async fn activate(self: &Rc<Self>) -> Result<(), Error> {
        let writer = Rc::clone(&self.writer);
        let Some(segment) = self.active.borrow().clone() else {
            return Ok(());
        };
        let start = segment.submitted.get();
        let tail_bytes = usize::try_from(segment.end_position.get() - start).expect("less than a block");
        let tail = if tail_bytes == 0 {
            Vec::new()
        } else {
            let read = read_tail(&writer, &segment.path, start, tail_bytes).await;
            read.map_err(|error| Error::io("cannot read the end of", &segment.path, error))?
        };
        // Whoever waits for the same log may have been first.
        if self.state.get() == State::Idle {
            self.load_tail(&tail);
        }
        Ok(())
    }

    /// Takes the bytes after the last full block into memory: the log can go on behind them. Until a journal record of this
    /// start holds them, flushed, their block is not written again.
    pub(super) fn load_tail(&self, tail: &[u8]) {
        let active = self.active.borrow();
        if let Some(segment) = active.as_ref().filter(|_| !tail.is_empty()) {
            let start = segment.submitted.get();
            assert!(start + tail.len() as u64 == segment.end_position.get(), "a tail ends where its segment does");
            let chunk_bytes = self.writer.memory.chunk_bytes_min();
            let buf = self.writer.memory.take(chunk_bytes);
            // Without these bytes no other log's memory is freed either, so they may pass the cap.
            let buf = buf.unwrap_or_else(|| AppendBuf::with_capacity(chunk_bytes));
            self.tail.borrow_mut().load(segment.base_offset, start, buf, tail);
            self.guard.set(Guard::Up);
        }
        self.state.set(State::Active);
    }
}

async fn read_tail<E: Env>(
    writer: &Writer<E>,
    path: &std::path::Path,
    start: u64,
    tail_bytes: usize,
) -> std::io::Result<Vec<u8>> {
    let how = OpenHow { write: false, create: false, direct: true };
    let Output::File(file) = writer.rt.job(Job::Open(path.to_owned(), how)).await? else { return Ok(Vec::new()) };
    let block_bytes = writer.config.disk.block_bytes;
    let buf = AppendBuf::with_capacity(block_bytes);
    let (read, buf) = writer.rt.read(&file, start, block_bytes, buf).await;
    if read? < tail_bytes {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    // copies: less than a block, once for each opened log
    Ok(buf.filled()[..tail_bytes].to_vec())
}
