//! One task for each shard that has coordinators: sleeps until the first of their deadlines.
//!
//! A heartbeat usually moves a deadline back, which wakes nobody: the task finds nothing due and sleeps again.

use std::cell::Cell;
use std::rc::Rc;

use super::{Hosted, State};
use crate::io::Env;
use crate::io::local::Notify;
use crate::shard::{Shard, before};

/// What the task waits for.
#[derive(Default)]
pub(super) struct Timer {
    started: Cell<bool>,
    /// When it wakes, in monotonic milliseconds; nothing where it waits for a deadline to come up.
    armed_ms: Cell<Option<u64>>,
    earlier: Notify,
}

impl Timer {
    /// Makes it look again.
    pub(super) fn notify(&self) {
        self.earlier.notify_all();
    }
}

impl<E: Env> Shard<E> {
    /// Starts the task, once.
    pub(super) fn start_group_timer(self: &Rc<Self>) {
        if !self.groups.timer.started.replace(true) {
            let shard = Rc::clone(self);
            self.rt.spawn(async move { shard.tick_groups().await }).detach();
        }
    }

    /// Wakes the task where a coordinator's next deadline is before the one that it sleeps for.
    pub(super) fn note_deadline(&self, hosted: &Hosted<E>) {
        let deadline_ms = hosted.coordinator.borrow().next_deadline();
        let armed_ms = self.groups.timer.armed_ms.get();
        if deadline_ms.is_some_and(|deadline_ms| armed_ms.is_none_or(|armed_ms| deadline_ms < armed_ms)) {
            self.groups.timer.notify();
        }
    }

    async fn tick_groups(self: Rc<Self>) {
        let timer = &self.groups.timer;
        while !self.stopping() {
            let earlier = timer.earlier.wait();
            let ready = self.groups.all().into_iter().filter(|hosted| hosted.state.get() == State::Ready);
            let first_ms = ready.filter_map(|hosted| hosted.coordinator.borrow().next_deadline()).min();
            timer.armed_ms.set(first_ms);
            match first_ms {
                None => earlier.await,
                Some(at_ms) => drop(before(&self.rt, at_ms.saturating_mul(1_000_000), earlier).await),
            }
            self.tick_due();
        }
    }

    fn tick_due(self: &Rc<Self>) {
        let now = self.group_time();
        for hosted in self.groups.all().into_iter().filter(|hosted| hosted.state.get() == State::Ready) {
            let due = hosted.coordinator.borrow().next_deadline().is_some_and(|at_ms| at_ms <= now.monotonic_ms);
            if due {
                let effects = hosted.coordinator.borrow_mut().tick(now);
                self.run_effects(&hosted, effects);
            }
        }
    }
}
