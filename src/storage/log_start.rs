//! Raising the first offset that may be read, at the word of a user (DeleteRecords) or of a group coordinator that has
//! written anew what it needs of the records below.
//!
//! `shard/` calls [`Store::raise_log_starts`]. Any offset will do, also one within a batch: what lies below is not read any
//! more, segments wholly below are given up, and an active segment wholly below is rolled so that it can follow.
//!
//! ```text
//!   wait_durable(offset) -> log start rises in memory -> checkpoint written -> answered
//!                                                        ^ a crash before: either; after: never below again
//! ```
//!
//! The checkpoint is the only place that says where a log begins within a segment, so the answer waits for one that was
//! begun after the rise. Many that ask at once share one.
//!
//! **Cancellation.** Dropping the future leaves the rise as it is; the checkpoint under way is written all the same.

use std::rc::Rc;

use super::error::Error;
use super::log::Log;
use super::progress::Goal;
use super::sabotage::Sabotage;
use super::store::Store;
use crate::io::Env;
use crate::io::local;
use crate::types::Offset;

impl<E: Env> Store<E> {
    /// Raises the first readable offset of logs, each to at most its end; one that is not above the present start changes
    /// nothing. Answers for each, in order, where the log starts now: durably, no crash brings the records below back.
    ///
    /// To give back the space of a small log whose records are to be written anew, [`Log::roll`] it before writing them.
    pub async fn raise_log_starts(self: &Rc<Self>, wanted: &[(Rc<Log<E>>, Offset)]) -> Vec<Result<Offset, Error>> {
        let mut raised = Vec::with_capacity(wanted.len());
        for (log, offset) in wanted {
            raised.push(log.raise_start(*offset).await);
        }
        let mut answers = Vec::with_capacity(wanted.len());
        for (raised, (log, offset)) in raised.into_iter().zip(wanted) {
            answers.push(match raised {
                Ok(()) => self.save_start(log, *offset).await.map(|()| log.log_start_offset()),
                Err(error) => Err(error),
            });
        }
        answers
    }

    /// Ends when a checkpoint says that the log starts at `offset` or later.
    async fn save_start(self: &Rc<Self>, log: &Log<E>, offset: Offset) -> Result<(), Error> {
        let is_saved =
            || log.progress.saved_start.get() >= offset || self.writer().config.sabotage == Sabotage::AnswerDeleteEarly;
        while !is_saved() {
            let news = self.news.wait();
            if self.closed.get() {
                return Err(Error::Closed { log: log.name.clone() });
            }
            if self.busy.get() {
                // It may have been begun before the rise.
                news.await;
                continue;
            }
            self.save_now().await?;
            if !is_saved() {
                // Deleted, or failed before any checkpoint spoke of it.
                return Err(log.failure().unwrap_or_else(|| Error::Closed { log: log.name.clone() }));
            }
        }
        Ok(())
    }

    /// Writes a checkpoint when nobody else does; none any more once the store is being closed.
    ///
    /// # Errors
    /// The file could not be written; the one before stays.
    pub(super) async fn save(self: &Rc<Self>) -> Result<(), Error> {
        loop {
            let news = self.news.wait();
            if self.closed.get() {
                return Ok(());
            }
            if !self.busy.get() {
                return self.save_now().await;
            }
            news.await;
        }
    }

    /// In a task of its own: a checkpoint whose caller has gone must not be overtaken by the next one.
    async fn save_now(self: &Rc<Self>) -> Result<(), Error> {
        assert!(!self.busy.replace(true), "one checkpoint at a time");
        let (sender, receiver) = local::oneshot();
        let store = Rc::clone(self);
        let task = async move {
            let written = store.write_checkpoint(None).await;
            store.busy.set(false);
            store.news.notify_all();
            sender.send(written);
        };
        self.rt.spawn(task).detach();
        match receiver.await {
            Some(written) => written,
            // The shard has ended, and nobody hears the answer.
            None => std::future::pending().await,
        }
    }
}

impl<E: Env> Log<E> {
    /// In memory alone, and only over what is durable: a start above what a crash leaves would be no start.
    async fn raise_start(self: &Rc<Self>, offset: Offset) -> Result<(), Error> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let (start, end) = (self.log_start_offset(), self.log_end_offset());
        if offset > end {
            return Err(Error::OutOfRange { requested: offset, start, end });
        }
        self.wait_for_ack(Goal::Durable, offset).await?;
        self.delete_before(offset).await?;
        if self.log_start_offset() == self.log_end_offset() {
            // What was rolled is given up when it is settled. A log that cannot roll now keeps its last segment.
            let _kept = self.roll();
        }
        Ok(())
    }
}
