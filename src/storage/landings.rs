//! When the newest windows of a log reached the disk: what tells how long a request waited for its write and its flush.
//!
//! Noted by `progress` as its offsets rise, once a window and log; asked once for each batch whose acknowledgement was
//! waited for. More windows than are under way at once are kept, so that a request that is late to ask still finds its own.

use std::cell::Cell;

use crate::types::Offset;

/// When a batch was written and when it was durable, in monotonic nanoseconds; 0 where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Landing {
    /// Its window's writes had completed.
    pub written_ns: u64,
    /// Its window's flush had completed.
    pub durable_ns: u64,
}

/// The newest windows of one log, each by the offset at which the log ended in it.
#[derive(Default)]
pub(super) struct Landings {
    windows: [Cell<(Offset, Landing)>; KEPT],
    next: Cell<usize>,
}

impl Landings {
    /// A window is written that ends at `end`, further than all before it.
    pub(super) fn note_written(&self, end: Offset, now_ns: u64) {
        let next = self.next.get();
        self.windows[next].set((end, Landing { written_ns: now_ns, durable_ns: 0 }));
        self.next.set((next + 1) % KEPT);
    }

    /// All windows up to `end` are durable.
    pub(super) fn note_durable(&self, end: Offset, now_ns: u64) {
        for window in &self.windows {
            let (of, landing) = window.get();
            if of <= end && landing.durable_ns == 0 {
                window.set((of, Landing { durable_ns: now_ns, ..landing }));
            }
        }
    }

    /// How the window fared that holds the record before `end`.
    pub(super) fn of(&self, end: Offset) -> Landing {
        let holds = self.windows.iter().map(Cell::get).filter(|(of, _)| *of >= end);
        holds.min_by_key(|(of, _)| *of).map_or_else(Landing::default, |(_, landing)| landing)
    }
}

/// The windows of a shard under way at once (`Config::windows`, 3) and one.
const KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use super::{Landing, Landings, Offset};

    #[test]
    fn each_record_finds_its_own_window_however_late_it_asks() {
        let landings = Landings::default();
        assert_eq!(landings.of(Offset(1)), Landing::default());
        for (end, now_ns) in [(10, 100), (20, 200), (30, 300)] {
            landings.note_written(Offset(end), now_ns);
        }
        landings.note_durable(Offset(20), 500);
        assert_eq!(landings.of(Offset(10)), Landing { written_ns: 100, durable_ns: 500 });
        assert_eq!(landings.of(Offset(11)), Landing { written_ns: 200, durable_ns: 500 });
        assert_eq!(landings.of(Offset(30)), Landing { written_ns: 300, durable_ns: 0 });
        assert_eq!(landings.of(Offset(31)), Landing::default());
        landings.note_durable(Offset(30), 600);
        for (end, now_ns) in [(40, 700), (50, 800)] {
            landings.note_written(Offset(end), now_ns);
        }
        assert_eq!(landings.of(Offset(30)), Landing { written_ns: 300, durable_ns: 600 });
        // The window of the first ones is forgotten: the oldest that is known stands for it.
        assert_eq!(landings.of(Offset(5)), Landing { written_ns: 200, durable_ns: 500 });
    }
}
