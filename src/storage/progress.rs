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
use super::landings::{Landing, Landings};
use crate::io::local::Notify;
use crate::types::Offset;

/// The offsets of one log, each the offset after the last record that has come so far.
pub(super) struct Progress {
    /// First offset that may be read.
    pub(super) log_start: Cell<Offset>,
    /// First offset that may be read as the last checkpoint of this start says it.
    pub(super) saved_start: Cell<Offset>,
    /// Flushed below.
    pub(super) durable: Cell<Offset>,
    /// Written below.
    pub(super) written: Cell<Offset>,
    /// Appended below.
    pub(super) log_end: Cell<Offset>,
    /// Told whenever `written` or `durable` rises, or the log fails.
    pub(super) changed: Notify,
    landings: Landings,
    failure: RefCell<Option<Error>>,
    /// Records up to here were appended and wait for room on a full disk, of which acknowledgements are told.
    refused: RefCell<(Offset, Option<Error>)>,
    written_waits: Waits,
    durable_waits: Waits,
}

/// Which of the two offsets a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
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
            saved_start: Cell::new(Offset::ZERO),
            durable: Cell::new(log_end),
            written: Cell::new(log_end),
            log_end: Cell::new(log_end),
            changed: Notify::default(),
            landings: Landings::default(),
            failure: RefCell::default(),
            refused: RefCell::new((log_start, None)),
            written_waits: Waits::default(),
            durable_waits: Waits::default(),
        }
    }

    /// Records up to `offset` were appended.
    pub(super) fn append(&self, offset: Offset) {
        assert!(offset >= self.log_end.get(), "the log end only rises");
        self.log_end.set(offset);
    }

    /// Records up to `offset` are written, since now. Nothing below it changes, so a lower offset is no news.
    pub(super) fn advance_written(&self, offset: Offset, now_ns: u64) {
        assert!(offset <= self.log_end.get(), "written before it was appended");
        if offset > self.written.get() {
            self.written.set(offset);
            self.landings.note_written(offset, now_ns);
            self.written_waits.wake(offset);
            self.changed.notify_all();
        }
    }

    /// Records up to `offset` are durable, since now.
    pub(super) fn advance_durable(&self, offset: Offset, now_ns: u64) {
        assert!(offset <= self.written.get(), "durable before it was written");
        if offset > self.durable.get() {
            self.durable.set(offset);
            self.landings.note_durable(offset, now_ns);
            self.durable_waits.wake(offset);
            self.changed.notify_all();
        }
    }

    /// When the record before `end` was written and durable, as far as that is known.
    pub(super) fn landing(&self, end: Offset) -> Landing {
        self.landings.of(end)
    }

    /// Readable from `offset` on.
    pub(super) fn advance_log_start(&self, offset: Offset) {
        assert!(offset <= self.log_end.get(), "a log starts before its end");
        self.log_start.set(offset.max(self.log_start.get()));
    }

    /// A checkpoint that says where the log starts is durable.
    pub(super) fn advance_saved_start(&self, offset: Offset) {
        assert!(offset <= self.log_start.get(), "saved before it was raised");
        self.saved_start.set(offset.max(self.saved_start.get()));
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

    /// What was appended and is not written waits for something that may never come: those who wait for an acknowledgement
    /// are told so now. The records stay, and are written once it comes.
    pub(super) fn refuse_unwritten(&self, error: &Error) {
        let log_end = self.log_end.get();
        if self.written.get() == log_end || self.refused.borrow().0 == log_end {
            return;
        }
        self.refused.replace((log_end, Some(error.clone())));
        self.written_waits.wake(log_end);
        self.durable_waits.wake(log_end);
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
        Wait { progress: self, goal, offset, refusable: false, waker: None }
    }

    /// The same, but also with what the log waits for itself ([`Self::refuse_unwritten`]).
    pub(super) fn wait_for_ack(&self, goal: Goal, offset: Offset) -> Wait<'_> {
        Wait { progress: self, goal, offset, refusable: true, waker: None }
    }

    fn reached(&self, goal: Goal, offset: Offset, refusable: bool) -> Option<Result<(), Error>> {
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
            None if refusable && self.written.get() < offset => {
                let refused = self.refused.borrow();
                refused.1.as_ref().filter(|_| offset <= refused.0).cloned().map(Err)
            }
            None => None,
        }
    }
}

/// The future of [`Progress::wait`].
pub(super) struct Wait<'a> {
    progress: &'a Progress,
    goal: Goal,
    offset: Offset,
    refusable: bool,
    waker: Option<Waker>,
}

impl Future for Wait<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(reached) = self.progress.reached(self.goal, self.offset, self.refusable) {
            return Poll::Ready(reached);
        }
        let waits = match self.goal {
            Goal::Written => &self.progress.written_waits,
            Goal::Durable => &self.progress.durable_waits,
        };
        // A wait that was woken without reaching its goal (the log failed, its flush is to come) enters the queue again.
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            || !waits.holds(self.offset, cx.waker())
        {
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

    fn holds(&self, offset: Offset, waker: &Waker) -> bool {
        let waits = self.0.borrow();
        let first = waits.partition_point(|(other, _)| *other < offset);
        waits.range(first..).take_while(|(other, _)| *other == offset).any(|(_, other)| other.will_wake(waker))
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Error, Goal, Offset, Progress};
    use crate::types::TopicPartition;

    /// A task that notes that it was woken.
    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn two_that_wait_for_one_offset_are_both_woken_again() {
        let progress = Progress::new(Offset(0), Offset(0));
        progress.append(Offset(5));
        progress.advance_written(Offset(5), 1);
        let tasks: [Arc<Task>; 2] = Default::default();
        let wakers = tasks.clone().map(Waker::from);
        let (mut one, mut other) =
            (pin!(progress.wait(Goal::Durable, Offset(5))), pin!(progress.wait(Goal::Durable, Offset(5))));
        let mut poll = || {
            let polled = [(one.as_mut(), &wakers[0]), (other.as_mut(), &wakers[1])]
                .map(|(wait, waker)| wait.poll(&mut Context::from_waker(waker)).is_ready());
            assert_eq!(polled, [false; 2]);
        };
        poll();
        // The log fails, but the flush of what is written is still to come: both are woken and wait on.
        let log = TopicPartition { topic: "t".into(), partition: 0 };
        progress.fail(Error::Poisoned { log, cause: Arc::new(io::Error::other("EIO")) });
        poll();
        tasks.iter().for_each(|task| task.0.store(false, Ordering::Relaxed));
        progress.advance_durable(Offset(5), 1);
        assert!(tasks.iter().all(|task| task.0.load(Ordering::Relaxed)));
    }

    #[test]
    fn acknowledgements_of_what_waits_for_room_are_refused_and_nothing_else() {
        let progress = Progress::new(Offset(0), Offset(0));
        progress.append(Offset(5));
        progress.advance_written(Offset(2), 1);
        let full = Error::DiskFull { dir: "/data".into(), free_bytes: 1, reserve_bytes: 2 };
        progress.refuse_unwritten(&full);
        progress.append(Offset(7));
        let mut cx = Context::from_waker(Waker::noop());
        let mut ack = |goal, offset| pin!(progress.wait_for_ack(goal, Offset(offset))).poll(&mut cx);
        assert!(matches!(ack(Goal::Written, 2), Poll::Ready(Ok(()))));
        assert!(ack(Goal::Durable, 2).is_pending(), "its flush is to come");
        assert!(matches!(ack(Goal::Durable, 5), Poll::Ready(Err(Error::DiskFull { .. }))));
        assert!(matches!(ack(Goal::Written, 4), Poll::Ready(Err(Error::DiskFull { .. }))));
        assert!(ack(Goal::Written, 7).is_pending(), "taken since");
        assert!(
            pin!(progress.wait(Goal::Durable, Offset(5))).poll(&mut Context::from_waker(Waker::noop())).is_pending(),
            "a checkpoint waits"
        );
        progress.advance_written(Offset(7), 1);
        assert!(matches!(ack(Goal::Written, 5), Poll::Ready(Ok(()))));
    }
}
