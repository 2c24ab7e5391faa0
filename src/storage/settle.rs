//! Ending segments and logs: what is in memory and in the journal goes to the files, which get their exact length.

use std::io;
use std::rc::Rc;

use super::error::Error;
use super::log::{Log, NO_PLACE, State};
use super::memory::either;
use super::segment::Segment;
use super::writer::Writer;
use crate::io::{Env, Job, OpenHow, Output};

impl<E: Env> Writer<E> {
    /// A rolled segment whose bytes are all durable gets its exact length; then whoever writes indexes, checkpoints and
    /// retires old segments is told.
    pub(super) fn finish_segment(self: &Rc<Self>, log: &Rc<Log<E>>, segment: &Rc<Segment<E>>) {
        let (writer, log, segment) = (Rc::clone(self), Rc::clone(log), Rc::clone(segment));
        log.finishing.set(log.finishing.get() + 1);
        self.rt
            .spawn(async move {
                while segment.preparing.get() {
                    let news = segment.news.wait();
                    if segment.preparing.get() {
                        news.await;
                    }
                }
                if let Err(error) = writer.cut(&segment, Job::Truncate).await {
                    // Recovery does without: the journal, or the next segment's base offset, says where it ends.
                    tracing::warn!(path = %segment.path.display(), %error, "a rolled segment keeps its unused end");
                }
                let told = writer.on_sealed.borrow().clone();
                if let Some(told) = told.filter(|_| !log.is_closed()) {
                    told(&log, &segment);
                }
                log.finishing.set(log.finishing.get() - 1);
                log.progress.changed.notify_all();
            })
            .detach();
    }

    /// Gives a segment's file its exact length, and closes it.
    async fn cut(
        self: &Rc<Self>,
        segment: &Rc<Segment<E>>,
        truncate: impl FnOnce(E::File, u64) -> Job<E>,
    ) -> io::Result<()> {
        let Some(file) = segment.file.take() else { return Ok(()) };
        let end_position = segment.end_position.get();
        self.rt.job(truncate(file, end_position)).await?;
        segment.file_bytes.set(end_position);
        Ok(())
    }

    /// Closes logs, several at a time: afterwards every byte of them is in its segment, and the files have their exact length,
    /// durably after `Writer::flush_all`. Answers the first error; the logs that failed are left to recovery.
    pub(super) async fn close_logs(self: &Rc<Self>, logs: Vec<Rc<Log<E>>>) -> Result<(), Error> {
        self.space.release_reserve();
        // The journal keeps no place for a closed log, whose last bytes are nowhere else until that flush: so no log is closed
        // while another's may still go there. A failure is met again below.
        let _ = self.at_once(&logs, |log| async move { log.wait_for_all().await }).await;
        self.at_once(&logs, |log| async move { log.close().await }).await
    }

    /// Does something with all logs, several at a time. Answers the first error.
    async fn at_once<F>(self: &Rc<Self>, logs: &[Rc<Log<E>>], each: impl Fn(Rc<Log<E>>) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + 'static,
    {
        let mut result = Ok(());
        for some in logs.chunks(CLOSED_AT_ONCE) {
            let tasks: Vec<_> = some.iter().map(|log| self.rt.spawn(each(Rc::clone(log)))).collect();
            for task in tasks {
                result = result.and(task.await);
            }
        }
        result
    }
}

impl<E: Env> Writer<E> {
    /// Makes durable what closing logs has written. The file system's flush need not reach the device where no metadata of it
    /// changed; that of a file does.
    pub(super) async fn flush_all(self: &Rc<Self>) -> io::Result<()> {
        let flushed = self.rt.job(Job::FlushFileSystem(self.directory.path().clone())).await;
        flushed.map(drop).inspect_err(|error| self.take_offline("a flush", error))?;
        self.flush_found(&self.journal_file).await
    }
}

impl<E: Env> Log<E> {
    /// Ends the log cleanly: waits until all of it is durable, writes the last partial block to the segment, cuts the file
    /// to its exact length; durably after `Writer::flush_all`, once for all logs. The block's bytes are in a flushed journal
    /// record, so a crash meanwhile costs nothing.
    pub async fn close(self: &Rc<Self>) -> Result<(), Error> {
        let result = match self.wait_for_all().await {
            Ok(()) => self.settle().await,
            Err(error) => Err(error),
        };
        self.retire();
        result
    }

    /// Ends when everything appended is durable and no window or task works on the log any more, or never will.
    async fn wait_for_all(self: &Rc<Self>) -> Result<(), Error> {
        loop {
            let changed = self.changed().wait();
            if let Some(error) = self.failure() {
                return Err(error);
            }
            let no_window =
                matches!(self.newest_place.get(), NO_PLACE) || self.newest_place.get() == self.flushed_place.get();
            if no_window && !self.has_news() && self.finishing.get() == 0 {
                return Ok(());
            }
            // Without space some of it has no room, perhaps for ever. What was acknowledged is in the journal.
            if let Some(error) = self.writer.space.refusal() {
                return Err(error);
            }
            either(changed, self.writer.rt.sleep_ms(RETRY_MS)).await;
        }
    }

    /// Takes the log out of service at once; its directory is removed by the caller.
    pub fn delete(self: &Rc<Self>) {
        self.retire();
    }

    fn retire(self: &Rc<Self>) {
        if self.state.replace(State::Closed) != State::Closed {
            self.writer.forget(self);
            self.fail(Error::Closed { log: self.name.clone() });
        }
    }

    async fn settle(self: &Rc<Self>) -> Result<(), Error> {
        let Some(segment) = self.active.borrow().clone() else { return Ok(()) };
        let failed = |error| Error::io("cannot end", &segment.path, error);
        while segment.preparing.get() {
            let news = segment.news.wait();
            if self.writer.space.refusal().is_some() {
                return Err(failed(io::ErrorKind::StorageFull.into()));
            }
            if segment.preparing.get() {
                either(news, self.writer.rt.sleep_ms(RETRY_MS)).await;
            }
        }
        if self.newest_place.get() != NO_PLACE && segment.end_position.get() > segment.submitted.get() {
            self.settle_tail(&segment).await.map_err(failed)?;
        }
        if segment.file.borrow().is_some() {
            segment.wait_placed().await.map_err(failed)?;
        } else if segment.file_bytes.get() > segment.end_position.get() {
            let how = OpenHow { write: true, create: false, direct: true };
            if let Output::File(file) =
                self.writer.rt.job(Job::Open(segment.path.clone(), how)).await.map_err(failed)?
            {
                segment.file.replace(Some(file));
            }
        }
        self.writer.cut(&segment, Job::TruncateLater).await.map_err(failed)
    }

    /// Through the page cache: most logs of a node of thousands have no file yet, and making one that is ready for overwrites
    /// takes many times as long as writing one.
    async fn settle_tail(self: &Rc<Self>, segment: &Rc<Segment<E>>) -> io::Result<()> {
        let (from, end) = (segment.submitted.get(), segment.end_position.get());
        let slices = self.tail.borrow().slices(segment.base_offset, from..end).expect("the tail is in memory");
        let file = segment.file.take();
        if file.is_some() {
            segment.wait_placed().await?;
        }
        drop(file);
        self.writer.rt.job(Job::WriteEnd(segment.path.clone(), from, slices)).await?;
        segment.submitted.set(self.writer.config.block_ceil(end));
        segment.file_bytes.set(end);
        Ok(())
    }
}

/// Between two looks at whether the disk is full.
const RETRY_MS: u64 = 20;
/// Logs that are closed at the same time: their jobs queue at one thread anyway.
const CLOSED_AT_ONCE: usize = 64;
