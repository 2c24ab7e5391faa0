//! What is due when: sessions of members, rebalances, syncs.
//!
//! A [`Timer`] lives with the member or group that it is about; [`Timers`] holds one entry for each that runs. A heartbeat
//! only writes the later time into the timer: its entry is moved when its old time comes.

use std::collections::BTreeSet;
use std::rc::Rc;

/// What a timer is about, within its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// The join phase ends.
    Join,
    /// Members that sent no SyncGroup are removed.
    Sync,
    /// A member's session ends, or the wait for a pending member.
    Member(Rc<str>),
}

/// One entry: when to look at a timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    at_ms: u64,
    pub(super) group: Rc<str>,
    pub(super) about: About,
}

/// The state of one timer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timer {
    /// When it is due; `None` where it does not run.
    due_ms: Option<u64>,
    /// Where its entry is: never later than `due_ms`.
    entry_ms: Option<u64>,
}

/// The entries of all timers that run.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<Entry>,
}

impl Timers {
    /// Starts the timer, or moves it.
    pub(super) fn start(&mut self, timer: &mut Timer, group: &Rc<str>, about: About, due_ms: u64) {
        timer.due_ms = Some(due_ms);
        if timer.entry_ms.is_some_and(|entry_ms| entry_ms <= due_ms) {
            return;
        }
        let mut entry = Entry { at_ms: due_ms, group: Rc::clone(group), about };
        if let Some(at_ms) = timer.entry_ms {
            entry.at_ms = at_ms;
            self.entries.remove(&entry);
            entry.at_ms = due_ms;
        }
        timer.entry_ms = Some(due_ms);
        self.entries.insert(entry);
    }

    /// Stops the timer.
    pub(super) fn stop(&mut self, timer: &mut Timer, group: &Rc<str>, about: About) {
        if let Some(at_ms) = timer.entry_ms {
            self.entries.remove(&Entry { at_ms, group: Rc::clone(group), about });
        }
        *timer = Timer::default();
    }

    /// The first entry whose time has come, taken out: [`Timers::fires`] says whether its timer is due.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<Entry> {
        let first = self.entries.first()?;
        if first.at_ms > now_ms { None } else { self.entries.pop_first() }
    }

    /// Whether the timer whose entry was popped is due. If it was moved meanwhile, its entry is put where it is due.
    pub(super) fn fires(&mut self, timer: &mut Timer, entry: Entry, now_ms: u64) -> bool {
        timer.entry_ms = None;
        match timer.due_ms {
            Some(due_ms) if due_ms > now_ms => {
                self.start(timer, &entry.group, entry.about, due_ms);
                false
            }
            due_ms => {
                timer.due_ms = None;
                due_ms.is_some()
            }
        }
    }

    /// When to look next.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.entries.first().map(|entry| entry.at_ms)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{About, Timer, Timers};

    #[test]
    fn a_moved_timer_fires_once_and_at_its_last_time() {
        let (mut timers, mut timer, group) = (Timers::default(), Timer::default(), Rc::from("g"));
        timers.start(&mut timer, &group, About::Join, 10);
        timers.start(&mut timer, &group, About::Join, 20);
        assert_eq!((timers.next_ms(), timers.len()), (Some(10), 1));
        let entry = timers.pop(10).expect("an entry");
        assert!(!timers.fires(&mut timer, entry, 10));
        timers.start(&mut timer, &group, About::Join, 15);
        assert_eq!((timers.next_ms(), timers.len()), (Some(15), 1), "moved to an earlier time");
        let entry = timers.pop(16).expect("an entry");
        assert!(timers.fires(&mut timer, entry, 16));
        assert!(timers.pop(u64::MAX).is_none());
        timers.start(&mut timer, &group, About::Join, 30);
        timers.stop(&mut timer, &group, About::Join);
        assert_eq!(timers.next_ms(), None);
    }
}
