//! A fetch that waits: for bytes that become visible in any of its partitions, or for something that ends the wait.
//!
//! The handler makes one [`DelayedFetch`] for the bytes that its answer lacks and has every partition watch for it
//! ([`Partition::watch`](super::Partition::watch)); another shard's partitions report to one of their own there, whose
//! gains travel by message. It ends when the bytes are there, not by a timer: the deadline is the caller's.
//!
//! **Cancellation.** Dropping the [`DelayedFetch`] and its watches leaves nothing behind.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use crate::types::Offset;

/// Bytes that are waited for, over any number of partitions.
#[derive(Debug)]
pub struct DelayedFetch {
    missing_bytes: Cell<u64>,
    gained_bytes: Cell<u64>,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl DelayedFetch {
    /// Waits for so many bytes.
    #[must_use]
    pub fn new(missing_bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            missing_bytes: Cell::new(missing_bytes),
            gained_bytes: Cell::new(0),
            ended: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// So many bytes have become visible.
    pub fn gain(&self, bytes: u64) {
        self.gained_bytes.set(self.gained_bytes.get().saturating_add(bytes));
        if self.is_over() {
            self.wake();
        }
    }

    /// Ends the wait whatever is missing: a partition has gone, or its answer has become an error.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    /// Bytes that have become visible since it was made, or armed again.
    #[must_use]
    pub fn gained_bytes(&self) -> u64 {
        self.gained_bytes.get()
    }

    /// Whether there is nothing to wait for any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.get() || self.gained_bytes.get() >= self.missing_bytes.get()
    }

    /// Begins another wait under the same watches, and answers what the last one gained: for a shard that reports gains to
    /// another one.
    pub fn arm_again(&self, missing_bytes: u64) -> u64 {
        self.missing_bytes.set(missing_bytes);
        self.gained_bytes.take()
    }

    /// Ends when the bytes are there or the wait was ended. One task at a time may wait.
    #[must_use]
    pub fn wait(&self) -> Waiting<'_> {
        Waiting { fetch: self }
    }

    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The future of [`DelayedFetch::wait`].
#[derive(Debug)]
pub struct Waiting<'a> {
    fetch: &'a DelayedFetch,
}

impl Future for Waiting<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.fetch.is_over() {
            return Poll::Ready(());
        }
        *self.fetch.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The delayed fetches of one partition, and how many bytes lie where.
///
/// `sizes` knows, for each batch that was appended and is not visible yet, how many bytes the log has had up to its end.
/// That is enough to say how many bytes become visible without asking the log.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: RefCell<Vec<Entry>>,
    sizes: RefCell<Sizes>,
    next_key: Cell<u64>,
}

#[derive(Debug, Default)]
struct Sizes {
    /// Offset after a batch, and the bytes appended up to there since the partition was opened.
    unseen: VecDeque<(Offset, u64)>,
    /// Bytes appended.
    appended_bytes: u64,
    /// Bytes visible.
    visible_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    fetch: Weak<DelayedFetch>,
    /// Bytes of the log that the fetch does not want, or has been told of.
    told_bytes: u64,
    /// What one partition may give to one answer.
    left_bytes: u64,
}

impl Watches {
    /// A batch of `bytes` was appended and ends before `next_offset`.
    pub(super) fn note_append(&self, next_offset: Offset, bytes: usize) {
        let mut sizes = self.sizes.borrow_mut();
        sizes.appended_bytes += bytes as u64;
        let appended_bytes = sizes.appended_bytes;
        sizes.unseen.push_back((next_offset, appended_bytes));
    }

    /// Forgets the sizes of batches that are visible already and that nobody watches for.
    pub(super) fn forget_seen(&self, high_watermark: Offset) {
        if self.is_empty() {
            self.sizes.borrow_mut().see(high_watermark);
        }
    }

    /// The high watermark is `high_watermark` now: reports what has become visible.
    pub(super) fn advance(&self, high_watermark: Offset) {
        let visible_bytes = self.sizes.borrow_mut().see(high_watermark);
        let mut gains = Vec::new();
        self.watches.borrow_mut().retain_mut(|entry| {
            let Some(fetch) = entry.fetch.upgrade() else { return false };
            let gained = visible_bytes.saturating_sub(entry.told_bytes).min(entry.left_bytes);
            if gained > 0 {
                entry.told_bytes = visible_bytes;
                entry.left_bytes -= gained;
                gains.push((fetch, gained));
            }
            true
        });
        // Outside the borrow: a woken task may watch again.
        for (fetch, gained) in gains {
            fetch.gain(gained);
        }
    }

    /// Reports bytes from `from` on that become visible after `high_watermark`, at most `max_bytes` of them.
    pub(super) fn add(&self, fetch: &Rc<DelayedFetch>, from: Offset, high_watermark: Offset, max_bytes: u64) -> u64 {
        let mut sizes = self.sizes.borrow_mut();
        let visible_bytes = sizes.see(high_watermark);
        let before = sizes.unseen.iter().take_while(|(next, _)| *next <= from).last();
        let told_bytes = before.map_or(visible_bytes, |(_, bytes)| *bytes);
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        let fetch = Rc::downgrade(fetch);
        self.watches.borrow_mut().push(Entry { key, fetch, told_bytes, left_bytes: max_bytes });
        key
    }

    pub(super) fn remove(&self, key: u64) {
        self.watches.borrow_mut().retain(|entry| entry.key != key);
    }

    /// Ends every wait.
    pub(super) fn end_all(&self) {
        let ended = std::mem::take(&mut *self.watches.borrow_mut());
        for fetch in ended.iter().filter_map(|entry| entry.fetch.upgrade()) {
            fetch.end();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watches.borrow().is_empty()
    }
}

impl Sizes {
    fn see(&mut self, high_watermark: Offset) -> u64 {
        while let Some((_, bytes)) = self.unseen.pop_front_if(|(next, _)| *next <= high_watermark) {
            self.visible_bytes = bytes;
        }
        self.visible_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition of batches of one record and so many bytes.
    fn appended(sizes: &[usize]) -> Watches {
        let watches = Watches::default();
        for (next, bytes) in (1..).zip(sizes) {
            watches.note_append(Offset(next), *bytes);
        }
        watches
    }

    #[test]
    fn bytes_count_once_they_are_visible() {
        let watches = appended(&[100, 10]);
        let fetch = DelayedFetch::new(110);
        watches.add(&fetch, Offset(0), Offset(0), 1000);
        assert!(!fetch.is_over());
        watches.advance(Offset(1));
        assert_eq!(fetch.gained_bytes(), 100);
        assert!(!fetch.is_over());
        watches.advance(Offset(1));
        assert_eq!(fetch.gained_bytes(), 100, "told once");
        watches.advance(Offset(2));
        assert_eq!(fetch.gained_bytes(), 110);
        assert!(fetch.is_over());
    }

    #[test]
    fn bytes_visible_before_do_not_count() {
        let watches = appended(&[100, 10]);
        let fetch = DelayedFetch::new(1);
        watches.add(&fetch, Offset(1), Offset(1), 1000);
        watches.advance(Offset(1));
        assert_eq!(fetch.gained_bytes(), 0);
        watches.advance(Offset(2));
        assert_eq!(fetch.gained_bytes(), 10);
    }

    #[test]
    fn bytes_before_the_fetch_offset_do_not_count() {
        let watches = appended(&[100, 10, 1]);
        let fetch = DelayedFetch::new(1);
        // From the log end's last record on, while nothing is visible yet.
        watches.add(&fetch, Offset(2), Offset(0), 1000);
        watches.advance(Offset(2));
        assert_eq!(fetch.gained_bytes(), 0);
        watches.advance(Offset(3));
        assert_eq!(fetch.gained_bytes(), 1);
    }

    #[test]
    fn a_partition_gives_no_more_than_its_share() {
        let watches = appended(&[100, 100]);
        let fetch = DelayedFetch::new(500);
        watches.add(&fetch, Offset(0), Offset(0), 150);
        watches.advance(Offset(2));
        assert_eq!(fetch.gained_bytes(), 150);
        watches.note_append(Offset(3), 100);
        watches.advance(Offset(3));
        assert_eq!(fetch.gained_bytes(), 150);
    }

    #[test]
    fn a_removed_watch_is_told_nothing_and_a_dropped_fetch_is_forgotten() {
        let watches = appended(&[100]);
        let fetch = DelayedFetch::new(1);
        let key = watches.add(&fetch, Offset(0), Offset(0), 1000);
        watches.add(&DelayedFetch::new(1), Offset(0), Offset(0), 1000);
        watches.remove(key);
        watches.advance(Offset(1));
        assert_eq!(fetch.gained_bytes(), 0);
        assert!(watches.is_empty());
    }

    #[test]
    fn a_report_begins_another_wait() {
        let watches = appended(&[100, 10]);
        let fetch = DelayedFetch::new(1);
        watches.add(&fetch, Offset(0), Offset(0), 1000);
        watches.advance(Offset(1));
        assert_eq!(fetch.arm_again(1), 100);
        assert!(!fetch.is_over());
        watches.advance(Offset(2));
        assert_eq!(fetch.arm_again(1), 10);
    }

    #[test]
    fn ending_wakes_whatever_is_missing() {
        let watches = appended(&[]);
        let fetch = DelayedFetch::new(1_000_000);
        watches.add(&fetch, Offset(0), Offset(0), 1000);
        watches.end_all();
        assert!(fetch.is_over());
        assert!(watches.is_empty());
    }
}
