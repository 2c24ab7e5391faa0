//! Where each leader epoch of a log began: what a client asks when it wants to know whether its records still stand.
//!
//! A pure cache of the entries of `leader-epoch-checkpoint`, with the semantics of Kafka's `LeaderEpochFileCache`. Kept by
//! [`Partition`](super::Partition), which notes an epoch when it opens the log under it, and persisted by storage's
//! checkpoint and at a clean stop.
//!
//! ```text
//!    epoch     3            5               6
//!    offsets   [0 ......... [40 ........... [90 ......... log end
//!    end of 2: (2, 0)  of 3: (3, 40)  of 4: (3, 40)  of 5: (5, 90)  of 6: (6, log end)  of 7: undefined
//! ```
//!
//! **Invariant.** Epochs and start offsets both rise strictly from entry to entry.

use crate::storage::checkpoint::LeaderEpochEntry;
use crate::types::Offset;

/// An epoch that is not known, on the wire.
pub const UNDEFINED_EPOCH: i32 = -1;
/// An end offset that is not known, on the wire.
pub const UNDEFINED_OFFSET: Offset = Offset(-1);

/// An epoch and the offset after its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch that is not above the one asked for.
    pub epoch: i32,
    /// Where the next one began.
    pub end_offset: Offset,
}

/// The leader epochs of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<LeaderEpochEntry>,
}

impl LeaderEpochs {
    /// Takes over entries; those that do not rise are dropped, as a file may hold anything.
    #[must_use]
    pub fn from_entries(entries: &[LeaderEpochEntry]) -> Self {
        let mut epochs = Self::default();
        for entry in entries {
            epochs.assign(entry.epoch, Offset(entry.start_offset));
        }
        epochs
    }

    /// The entries, ascending.
    #[must_use]
    pub fn entries(&self) -> &[LeaderEpochEntry] {
        &self.entries
    }

    /// Notes that `epoch` begins at `start`. An epoch without a record gives way to the one that begins where it did. Nothing
    /// happens where the epoch is not above the last one.
    pub fn assign(&mut self, epoch: i32, start: Offset) {
        if epoch < 0 || self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        while self.entries.last().is_some_and(|last| last.start_offset >= start.0) {
            self.entries.pop();
        }
        self.entries.push(LeaderEpochEntry { epoch, start_offset: start.0 });
    }

    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The epoch of the record at `offset`, as far as it is known.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset.0);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The end of an epoch, in a log that ends at `log_end`.
    #[must_use]
    pub fn end_of(&self, epoch: i32, log_end: Offset) -> EpochEnd {
        let undefined = EpochEnd { epoch: UNDEFINED_EPOCH, end_offset: UNDEFINED_OFFSET };
        if epoch == UNDEFINED_EPOCH {
            return undefined;
        }
        if self.latest() == Some(epoch) {
            return EpochEnd { epoch, end_offset: log_end };
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let Some(next) = self.entries.get(above) else { return undefined };
        let floor = above.checked_sub(1).map_or(epoch, |at| self.entries[at].epoch);
        EpochEnd { epoch: floor, end_offset: Offset(next.start_offset) }
    }

    /// Forgets what lies before a new start of the log; the epoch that holds the start begins there from now on.
    pub fn truncate_start(&mut self, log_start: Offset) {
        let after = self.entries.partition_point(|entry| entry.start_offset <= log_start.0);
        if let Some(holder) = after.checked_sub(1) {
            self.entries.drain(..holder);
            self.entries[0].start_offset = log_start.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epochs() -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in [(3, 0), (5, 40), (6, 90)] {
            epochs.assign(epoch, Offset(start));
        }
        epochs
    }

    fn end(epoch: i32, end_offset: i64) -> EpochEnd {
        EpochEnd { epoch, end_offset: Offset(end_offset) }
    }

    #[test]
    fn ends_are_as_kafka_answers_them() {
        let epochs = epochs();
        let cases = [
            (-1, end(-1, -1)),
            (0, end(0, 0)),
            (2, end(2, 0)),
            (3, end(3, 40)),
            (4, end(3, 40)),
            (5, end(5, 90)),
            (6, end(6, 100)),
            (7, end(-1, -1)),
        ];
        for (epoch, expected) in cases {
            assert_eq!(epochs.end_of(epoch, Offset(100)), expected, "epoch {epoch}");
        }
        assert_eq!(LeaderEpochs::default().end_of(0, Offset(5)), end(-1, -1));
    }

    #[test]
    fn an_epoch_without_records_gives_way() {
        let mut epochs = epochs();
        epochs.assign(7, Offset(100));
        epochs.assign(8, Offset(100));
        assert_eq!(epochs.entries().len(), 4);
        assert_eq!(epochs.end_of(7, Offset(120)), end(6, 100));
        assert_eq!(epochs.end_of(8, Offset(120)), end(8, 120));
    }

    #[test]
    fn an_epoch_that_is_known_already_changes_nothing() {
        let mut again = epochs();
        again.assign(6, Offset(95));
        again.assign(4, Offset(95));
        again.assign(-1, Offset(95));
        assert_eq!(again, epochs());
    }

    #[test]
    fn offsets_have_epochs() {
        let epochs = epochs();
        assert_eq!(epochs.epoch_at(Offset(39)), Some(3));
        assert_eq!(epochs.epoch_at(Offset(40)), Some(5));
        assert_eq!(epochs.epoch_at(Offset(1000)), Some(6));
        assert_eq!(LeaderEpochs::default().epoch_at(Offset(0)), None);
    }

    #[test]
    fn a_later_start_keeps_the_epoch_that_holds_it() {
        let mut epochs = epochs();
        epochs.truncate_start(Offset(50));
        let entries: Vec<_> = epochs.entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect();
        assert_eq!(entries, [(5, 50), (6, 90)]);
        assert_eq!(epochs.end_of(4, Offset(100)), end(4, 50));
    }

    proptest! {
        /// Whatever is assigned, the answer of `end_of` is where the first larger epoch begins.
        #[test]
        fn the_entries_stay_sorted(assigned in prop::collection::vec((0..20_i32, 0..50_i64), 0..20), cut in 0..60_i64, asked in 0..21_i32) {
            let mut epochs = LeaderEpochs::default();
            let mut log_end = 0;
            for (epoch, ahead) in assigned {
                log_end += ahead;
                epochs.assign(epoch, Offset(log_end));
            }
            epochs.truncate_start(Offset(cut.min(log_end)));
            let entries = epochs.entries();
            prop_assert!(entries.windows(2).all(|two| two[0].epoch < two[1].epoch && two[0].start_offset < two[1].start_offset));
            let end = epochs.end_of(asked, Offset(log_end));
            let next = entries.iter().find(|entry| entry.epoch > asked);
            let expected = next.map_or(if epochs.latest() == Some(asked) { log_end } else { -1 }, |next| next.start_offset);
            prop_assert_eq!(end.end_offset.0, expected);
            prop_assert!(end.epoch <= asked);
        }
    }
}
