//! The commit window's way, and the acknowledgement contract: `Writer::commit` is all of it.
//!
//! There is no timer. A window forms at the end of a burst of tasks in which some log became dirty, while fewer than
//! three are under way; what is appended meanwhile gathers for the next one.
//!
//! ```text
//!   window n     [ writes + record ]----> written, in order: acks=1 ----[ flush ]----> durable, in order: acks=all
//!   window n+1        [ writes + record ]------>|                          [ flush ]------->|
//!   window n+2             [ writes + record ]------->|                        [ flush ]----------->|
//! ```
//!
//! **A failed write** of a segment poisons its log: that window does not move the log, and no later one does. **A failed
//! write of the journal, or a failed flush,** says nothing about any log: the directory goes offline on every shard.
//!
//! **Cancellation.** A window's task is never dropped before the runtime is; waits for it may be.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::error::Error;
use super::log::{Guard, Log};
use super::window::{Added, Part, Sent, Window};
use super::writer::Writer;
use crate::io::Env;
use crate::io::local::Notify;

/// Where the windows of one shard are on their way.
pub(super) struct Committer {
    /// Windows under way.
    under_way: Cell<usize>,
    /// Sequence of the last written, and of the last durable window.
    written: Turn,
    durable: Turn,
    /// Told when a log becomes dirty, a window becomes durable, or the writer closes.
    pub(super) work: Notify,
}

impl Committer {
    /// `sequence` is that of the first window to come.
    pub(super) fn new(sequence: u64) -> Self {
        let before = sequence.saturating_sub(1);
        Self {
            under_way: Cell::new(0),
            written: Turn::new(before),
            durable: Turn::new(before),
            work: Notify::default(),
        }
    }

    /// Windows under way.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.under_way.get()
    }

    /// Whether no window is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.get() == 0
    }
}

impl<E: Env> Writer<E> {
    /// Takes one window to the disk. **The acknowledgement contract is these lines.**
    async fn commit(self: Rc<Self>, mut window: Sent<E>) {
        let sequence = window.sequence;
        let landed = self.landed(&mut window).await;
        self.committer.written.await_turn(sequence).await;
        self.note_written(&window, &landed);
        self.committer.written.pass();

        self.config.sabotage.ack_early(&window.parts);
        let writer = Rc::clone(&self);
        let failed = move |error: &io::Error| writer.take_offline("a flush", error);
        let flushed = self.flusher.flush(&self.rt, window.touched(&self.journal_file), failed).await;
        self.committer.durable.await_turn(sequence).await;
        self.note_durable(&window, flushed);
        self.committer.durable.pass();

        self.journal.borrow_mut().give_back(window.record);
        self.committer.under_way.set(self.committer.under_way.get() - 1);
        self.committer.work.notify_all();
    }

    /// Ends when every write of the window and its journal record have ended, and its new segments have their names.
    async fn landed(&self, window: &mut Sent<E>) -> Landed {
        let mut failed = Vec::new();
        for (part, write) in std::mem::take(&mut window.writes) {
            if let Err(error) = write.await.result {
                failed.push((part, error));
            }
        }
        for (number, part) in window.parts.iter().enumerate() {
            for segment in &part.touched {
                if let Err(error) = segment.wait_placed().await {
                    failed.push((number, error));
                }
            }
        }
        Landed { failed, journal: (&mut window.journal).await.result.map(drop) }
    }

    /// acks=1: the window's writes, every earlier window's and their journal records have completed.
    fn note_written(self: &Rc<Self>, window: &Sent<E>, landed: &Landed) {
        if let Err(error) = &landed.journal {
            self.take_offline("a journal write", error);
        }
        if self.is_offline() {
            return;
        }
        for (part, error) in &landed.failed {
            let log = &window.parts[*part].log;
            tracing::error!(log = %log.name(), %error, "a write failed: the log takes no more appends");
            let cause = Arc::new(io::Error::new(error.kind(), error.to_string()));
            self.journal.borrow_mut().failed(window.sequence, log);
            log.fail(Error::Poisoned { log: log.name().clone(), cause });
        }
        let now_ns = self.rt.turn_ns();
        for part in &window.parts {
            if !part.log.progress.has_failed() {
                part.log.written_mark.set(part.mark);
                part.log.progress.advance_written(part.mark.offset, now_ns);
            }
        }
    }

    /// acks=all: a flush that began after all of this has ended well, and so have those of all earlier windows.
    fn note_durable(self: &Rc<Self>, window: &Sent<E>, flushed: io::Result<()>) {
        if flushed.is_err() || self.is_offline() {
            self.fail_all();
            return;
        }
        self.journal.borrow_mut().flushed(window.sequence);
        let now_ns = self.rt.turn_ns();
        for part in &window.parts {
            part.log.flushed_place.set(window.place);
            if part.freezes {
                self.journal.borrow_mut().frozen(&part.log);
            }
            // A poisoned log goes on up to what was written before its failure.
            if part.mark.offset <= part.log.written_offset() {
                part.log.progress.advance_durable(part.mark.offset, now_ns);
                self.note_stored(part);
            }
        }
        self.memory.note_stored();
    }

    fn note_stored(self: &Rc<Self>, part: &Part<E>) {
        let log = &part.log;
        if let Some(stored) = part.stored {
            log.stored.set(log.stored.get().max(stored));
        }
        if part.guards {
            log.guard.set(Guard::Down);
        }
        if log.guard.get() == Guard::Down && !log.progress.has_failed() && log.has_news() {
            self.mark_dirty(log);
        }
        for segment in part.touched.iter().take(part.sealed) {
            self.finish_segment(log, segment);
        }
    }

    /// Forms windows as long as the writer lives.
    pub(super) async fn form_windows(self: Rc<Self>) {
        loop {
            let work = self.committer.work.wait();
            if self.has_work() {
                // Behind all tasks that are ready now: what they append belongs to this window.
                Yield(false).await;
                while self.has_work() && self.form() {}
            }
            if self.is_closed() {
                return;
            }
            work.await;
        }
    }

    fn has_work(&self) -> bool {
        self.committer.under_way.get() < self.config.windows && !self.dirty.borrow().is_empty()
    }

    /// Forms one window of the dirty logs. False where none could be formed.
    fn form(self: &Rc<Self>) -> bool {
        if self.is_offline() {
            self.fail_all();
            self.dirty.borrow_mut().clear();
            return false;
        }
        let mut journal = self.journal.borrow_mut();
        if !journal.has_room() {
            // The next flush moves the floor. The bound on live logs keeps this from happening without one under way.
            assert!(!self.committer.is_idle(), "the journal is full of live tails");
            return false;
        }
        let urgent = journal.urgent(CARRIED_MAX);
        let mut window = Window::new(&mut journal);
        for log in urgent {
            if window.carry(&log) == Added::Full {
                break;
            }
        }
        self.add_dirty(&mut window);
        if window.is_empty() {
            window.discard(&mut journal);
            return !self.dirty.borrow().is_empty();
        }
        let sent = window.send(&mut journal, |op| self.rt.submit(self.config.sabotage.journal_write(op)));
        drop(journal);
        self.committer.under_way.set(self.committer.under_way.get() + 1);
        self.rt.spawn(Rc::clone(self).commit(sent)).detach();
        true
    }

    fn add_dirty(&self, window: &mut Window<E>) {
        while window.segment_bytes() < self.config.window_segment_bytes {
            let Some(first) = self.dirty.borrow_mut().pop_front() else { return };
            let Some(log) = first.upgrade() else { continue };
            if window.add(&log) == Added::Full {
                self.dirty.borrow_mut().push_front(first);
                return;
            }
            log.dirty.set(false);
        }
    }

    /// Puts a log on the dirty list.
    pub(super) fn mark_dirty(&self, log: &Rc<Log<E>>) {
        if !log.dirty.replace(true) {
            self.dirty.borrow_mut().push_back(Rc::downgrade(log));
            self.committer.work.notify_all();
        }
    }

    /// Puts a log at the front of the dirty list.
    pub(super) fn mark_dirty_first(&self, log: &Rc<Log<E>>) {
        log.dirty.set(true);
        self.dirty.borrow_mut().push_front(Rc::downgrade(log));
        self.committer.work.notify_all();
    }
}

/// What came of a window's writes.
struct Landed {
    /// Parts whose writes failed.
    failed: Vec<(usize, io::Error)>,
    /// The journal record.
    journal: io::Result<()>,
}

/// Lets windows through one after another.
struct Turn {
    passed: Cell<u64>,
    moved: Notify,
}

impl Turn {
    fn new(passed: u64) -> Self {
        Self { passed: Cell::new(passed), moved: Notify::default() }
    }

    async fn await_turn(&self, sequence: u64) {
        loop {
            let moved = self.moved.wait();
            if self.passed.get() + 1 == sequence {
                return;
            }
            moved.await;
        }
    }

    fn pass(&self) {
        self.passed.set(self.passed.get() + 1);
        self.moved.notify_all();
    }
}

/// Lets every task that is ready run first.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Logs that one window carries forward at the most.
const CARRIED_MAX: usize = 4096;
