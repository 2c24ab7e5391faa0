//! What one key of the log holds: its durable value, and those on their way there.
//!
//! ```text
//!   durable value, its offset      what OffsetFetch answers, what a crash leaves
//!   in flight: (append, value)...  in the order of the log; the last one is what the next decision goes by
//! ```
//!
//! **Invariants.** 1. A value moves from in flight to durable when its append is durable, never otherwise. 2. The durable
//! value never goes back to one that is older in the log: an append settled late is dropped.

use super::effect::AppendId;
use crate::types::Offset;

/// What a value costs beyond its own size.
pub(super) trait Weigh {
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;
}

/// The values of one key. `None` as a value is a tombstone.
#[derive(Debug)]
pub(super) struct Versions<T> {
    durable: Option<Stored<T>>,
    in_flight: Option<Box<InFlight<T>>>,
}

#[derive(Debug)]
struct Stored<T> {
    value: T,
    offset: Offset,
}

/// Rare and short: most keys have nothing in flight.
#[derive(Debug)]
struct InFlight<T> {
    oldest_first: Vec<(AppendId, Option<T>)>,
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self { durable: None, in_flight: None }
    }
}

impl<T: Weigh> Versions<T> {
    /// The value that is durable.
    pub(super) fn durable(&self) -> Option<&T> {
        self.durable.as_ref().map(|stored| &stored.value)
    }

    fn newest_in_flight(&self) -> Option<&(AppendId, Option<T>)> {
        self.in_flight.as_ref().and_then(|flight| flight.oldest_first.last())
    }

    /// The value that was appended last, durable or not.
    pub(super) fn latest(&self) -> Option<&T> {
        match self.newest_in_flight() {
            Some((_, value)) => value.as_ref(),
            None => self.durable(),
        }
    }

    /// Whether the key has no value and none on its way.
    pub(super) fn is_gone(&self) -> bool {
        self.durable.is_none() && self.in_flight.is_none()
    }

    /// Notes what `id` appends, and says how many bytes that takes.
    pub(super) fn append(&mut self, id: AppendId, value: Option<T>) -> usize {
        let bytes = in_flight_bytes(value.as_ref());
        let flight = self.in_flight.get_or_insert_with(|| Box::new(InFlight { oldest_first: Vec::with_capacity(1) }));
        flight.oldest_first.push((id, value));
        bytes
    }

    /// What became of `id`: durable at an offset, or nowhere. Says how many bytes more and fewer are held.
    pub(super) fn settle(&mut self, id: AppendId, offset: Option<Offset>) -> Change {
        let mut change = Change::default();
        let Some(flight) = &mut self.in_flight else { return change };
        let Some(at) = flight.oldest_first.iter().position(|(other, _)| *other == id) else { return change };
        match offset {
            Some(offset) => {
                // Those before it are older in the log, whatever becomes of them.
                for (_, value) in flight.oldest_first.drain(..at) {
                    change.fewer += in_flight_bytes(value.as_ref());
                }
                let (_, value) = flight.oldest_first.remove(0);
                change.fewer += in_flight_bytes(value.as_ref()) + self.durable.as_ref().map_or(0, Stored::heap_bytes);
                self.durable = value.map(|value| Stored { value, offset });
                change.more = self.durable.as_ref().map_or(0, Stored::heap_bytes);
            }
            None => {
                let (_, value) = flight.oldest_first.remove(at);
                change.fewer = in_flight_bytes(value.as_ref());
            }
        }
        if flight.oldest_first.is_empty() {
            self.in_flight = None;
        }
        change
    }

    /// Takes in what the log holds, while it is read.
    pub(super) fn load(&mut self, value: Option<T>, offset: Offset) -> Change {
        let fewer = self.durable.as_ref().map_or(0, Stored::heap_bytes);
        self.durable = value.map(|value| Stored { value, offset });
        Change { more: self.durable.as_ref().map_or(0, Stored::heap_bytes), fewer }
    }

    /// The value that has to be appended again before the log is cut at `before`, where appends from `from` on lie behind
    /// that place: the latest one, unless that is there already or on its way there.
    pub(super) fn to_rewrite(&self, before: Offset, from: AppendId) -> Option<&T> {
        match self.newest_in_flight() {
            Some((id, _)) if *id >= from => None,
            Some((_, value)) => value.as_ref(),
            None => self.durable.as_ref().filter(|stored| stored.offset < before).map(|stored| &stored.value),
        }
    }

    /// Bytes of all values held.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let in_flight = self.in_flight.iter().flat_map(|flight| &flight.oldest_first);
        let in_flight: usize = in_flight.map(|(_, value)| in_flight_bytes(value.as_ref())).sum();
        in_flight + self.durable.as_ref().map_or(0, Stored::heap_bytes)
    }
}

impl<T: Weigh> Stored<T> {
    fn heap_bytes(&self) -> usize {
        self.value.heap_bytes()
    }
}

/// What a value in flight takes: its own bytes, its place in a vector of its own, and its key among the append's.
fn in_flight_bytes<T: Weigh>(value: Option<&T>) -> usize {
    192 + value.map_or(0, Weigh::heap_bytes)
}

/// Bytes that a step takes and gives back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub(super) more: usize,
    pub(super) fewer: usize,
}

#[cfg(test)]
mod tests {
    use super::{Versions, Weigh};
    use crate::group::AppendId;
    use crate::types::Offset;

    impl Weigh for u8 {
        fn heap_bytes(&self) -> usize {
            10
        }
    }

    #[test]
    fn a_value_is_durable_when_its_append_is() {
        let mut versions = Versions::default();
        versions.append(AppendId(1), Some(1_u8));
        assert_eq!((versions.durable(), versions.latest()), (None, Some(&1)));
        versions.append(AppendId(2), Some(2));
        versions.settle(AppendId(1), Some(Offset(7)));
        assert_eq!((versions.durable(), versions.latest()), (Some(&1), Some(&2)));
        versions.settle(AppendId(2), None);
        assert_eq!((versions.durable(), versions.latest()), (Some(&1), Some(&1)), "the second one failed");
        versions.append(AppendId(3), None);
        assert_eq!((versions.durable(), versions.latest()), (Some(&1), None));
        versions.settle(AppendId(3), Some(Offset(8)));
        assert!(versions.is_gone());
        assert_eq!(versions.heap_bytes(), 0);
    }

    #[test]
    fn an_append_settled_late_changes_nothing() {
        let mut versions = Versions::default();
        versions.append(AppendId(1), Some(1_u8));
        versions.append(AppendId(2), Some(2));
        versions.settle(AppendId(2), Some(Offset(8)));
        versions.settle(AppendId(1), Some(Offset(7)));
        assert_eq!(versions.durable(), Some(&2));
    }

    #[test]
    fn the_latest_appended_value_is_rewritten() {
        let mut versions = Versions::default();
        versions.load(Some(1_u8), Offset(5));
        assert_eq!(versions.to_rewrite(Offset(5), AppendId(9)), None, "it lies behind the cut");
        assert_eq!(versions.to_rewrite(Offset(6), AppendId(9)), Some(&1));
        versions.append(AppendId(8), Some(2));
        assert_eq!(versions.to_rewrite(Offset(6), AppendId(9)), Some(&2), "in flight, perhaps before the cut");
        assert_eq!(versions.to_rewrite(Offset(6), AppendId(8)), None, "in flight, behind the cut");
        versions.append(AppendId(9), None);
        assert_eq!(versions.to_rewrite(Offset(6), AppendId(10)), None, "a tombstone needs no copy");
    }

    #[test]
    fn what_is_taken_is_given_back() {
        let mut versions = Versions::default();
        let mut held = 0;
        for id in 1..=5 {
            held += versions.append(AppendId(id), (id != 3).then_some(1_u8));
            assert_eq!(held, versions.heap_bytes());
        }
        for (id, offset) in [(2, Some(Offset(2))), (3, None), (1, Some(Offset(1))), (5, Some(Offset(5))), (4, None)] {
            let change = versions.settle(AppendId(id), offset);
            held = held + change.more - change.fewer;
            assert_eq!(held, versions.heap_bytes(), "{id}");
        }
    }
}
