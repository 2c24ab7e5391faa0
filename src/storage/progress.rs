//! How far a log has come: the one place where its ordered offsets change, and those who wait for them.
//!
//! **Invariant** (asserted at every change): `log_start <= log_end` and `durable <= written <= log_end`.
//!
//! A wait costs one entry in a queue and is woken once. Dropping it leaves a waker that wakes a task for nothing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::error::Error;
use crate::io::local::Notify;
use crate::types::Offset;

/// The offsets of one log, each the offset after the last record that has come so far.
pub(super) struct Progress {
    /// First offset that may be read.
    pub(super) log_start: Cell<Offset>,
    /// Flushed below.
    pub(super) durable: Cell<Offset>,
    /// Written below.
    pub(super) written: Cell<Offset>,
    /// Appended below.
    pub(super) log_end: Cell<Offset>,
    /// Told whenever `written` or `durable` rises, or the log fails.
    pub(super) changed: Notify,
    failure: RefCell<Option<Error>>,
    written_waits: Waits,
    durable_waits: Waits,
}

/// Which of the two offsets a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// acks=1.
    Written,
    /// acks=all.
    Durable,
}

impl Progress {
    /// A log whose records are all durable.
    pub(super) fn new(log_start: Offset, log_end: Offset) -> Self {
        assert!(log_start <= log_end, "a log starts before its end");
        Self {
            log_start: Cell::new(log_start),
            durable: Cell::new(log_end),
            written: Cell::new(log_end),
            log_end: Cell::new(log_end),
            changed: Notify::default(),
            failure: RefCell::default(),
            written_waits: Waits::default(),
            durable_waits: Waits::default(),
        }
    }

    /// Records up to `offset` were appended.
    pub(super) fn append(&self, offset: Offset) {
        assert!(offset >= self.log_end.get(), "the log end only rises");
        self.log_end.set(offset);
    }

    /// Records up to `offset` are written. Nothing below it changes, so a lower offset is no news.
    pub(super) fn advance_written(&self, offset: Offset) {
        assert!(offset <= self.log_end.get(), "written before it was appended");
        if offset > self.written.get() {
            self.written.set(offset);
            self.written_waits.wake(offset);
            self.changed.notify_all();
        }
    }

    /// Records up to `offset` are durable.
    pub(super) fn advance_durable(&self, offset: Offset) {
        assert!(offset <= self.written.get(), "durable before it was written");
        if offset > self.durable.get() {
            self.durable.set(offset);
            self.durable_waits.wake(offset);
            self.changed.notify_all();
        }
    }

    /// Readable from `offset` on.
    pub(super) fn advance_log_start(&self, offset: Offset) {
        assert!(offset <= self.log_end.get(), "a log starts before its end");
        self.log_start.set(offset.max(self.log_start.get()));
    }

    /// Nothing more will be written. The first cause is kept, unless a later one says more: a directory offline ends also
    /// the waits for what is written and not yet durable.
    pub(super) fn fail(&self, error: Error) {
        let mut failure = self.failure.borrow_mut();
        if failure.as_ref().is_none_or(|known| matches!(known, Error::Poisoned { .. })) {
            *failure = Some(error);
        }
        drop(failure);
        self.written_waits.wake(Offset(i64::MAX));
        self.durable_waits.wake(Offset(i64::MAX));
        self.changed.notify_all();
    }

    /// Why nothing more will be written, if so.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.borrow().clone()
    }

    /// Whether nothing more will be written.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Ends when all records below `offset` have reached the goal, or with what keeps them from it.
    pub(super) fn wait(&self, goal: Goal, offset: Offset) -> Wait<'_> {
        Wait { progress: self, goal, offset, waker: None }
    }

    fn reached(&self, goal: Goal, offset: Offset) -> Option<Result<(), Error>> {
        let at = match goal {
            Goal::Written => &self.written,
            Goal::Durable => &self.durable,
        };
        if at.get() >= offset {
            return Some(Ok(()));
        }
        match &*self.failure.borrow() {
            // Its flush is still to come, and may end well.
            Some(Error::Poisoned { .. }) if self.written.get() >= offset => None,
            Some(error) => Some(Err(error.clone())),
            None => None,
        }
    }
}

/// The future of [`Progress::wait`].
pub(super) struct Wait<'a> {
    progress: &'a Progress,
    goal: Goal,
    offset: Offset,
    waker: Option<Waker>,
}

impl Future for Wait<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(reached) = self.progress.reached(self.goal, self.offset) {
            return Poll::Ready(reached);
        }
        let waits = match self.goal {
            Goal::Written => &self.progress.written_waits,
            Goal::Durable => &self.progress.durable_waits,
        };
        // A wait that was woken without reaching its goal (the log failed, its flush is to come) enters the queue again.
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) || !waits.holds(self.offset) {
            waits.add(self.offset, cx.waker().clone());
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Wakers by the offset that they wait for, ascending.
#[derive(Default)]
struct Waits(RefCell<VecDeque<(Offset, Waker)>>);

impl Waits {
    fn add(&self, offset: Offset, waker: Waker) {
        let mut waits = self.0.borrow_mut();
        // Requests come in the order of their offsets, so this is the end nearly always.
        let at = match waits.back() {
            Some((last, _)) if *last > offset => waits.partition_point(|(other, _)| *other <= offset),
            _ => waits.len(),
        };
        waits.insert(at, (offset, waker));
    }

    fn holds(&self, offset: Offset) -> bool {
        self.0.borrow().binary_search_by_key(&offset, |(other, _)| *other).is_ok()
    }

    fn wake(&self, reached: Offset) {
        loop {
            let mut waits = self.0.borrow_mut();
            let due = match waits.front() {
                Some((offset, _)) if *offset <= reached => waits.pop_front(),
                _ => return,
            };
            drop(waits);
            if let Some((_, waker)) = due {
                waker.wake();
            }
        }
    }
}
