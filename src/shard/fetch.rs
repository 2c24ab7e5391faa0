//! Reads from the partitions of one shard, and waits for what they do not have yet.
//!
//! A Fetch over several shards asks each of them within the whole budget; the shard of its connection then keeps what
//! fits, in request order, and asks again for the rest of what is left. Where too little is there, each of them is asked to
//! watch, and reports once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::message::Call;
use super::{Error, Shard};
use crate::io::{Env, Runtime};
use crate::partition::{self, DelayedFetch, FetchRead, Watch};
use crate::record::{BatchHeader, HEADER_BYTES, Records};
use crate::storage::{self, Part, Place, ReadPlan};
use crate::types::{Offset, PartitionId, ShardId};

/// One partition of a Fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchItem {
    /// The partition.
    pub id: PartitionId,
    /// The first offset wanted.
    pub offset: Offset,
    /// Bytes wanted of it at the most, but for the first batch of an answer.
    pub max_bytes: usize,
    /// The leader epoch that the client knows, or -1.
    pub leader_epoch: i32,
}

/// What the partitions of one request may give together.
#[derive(Clone, Copy, Debug)]
pub struct FetchBudget {
    /// Bytes of whole batches at the most.
    pub max_bytes: usize,
    /// The first batch of the first partition that has one is given whatever its size.
    pub at_least_one: bool,
}

/// What one partition gives.
pub struct FetchedHere<E: Env> {
    /// Records below may be read.
    pub high_watermark: Offset,
    /// First offset that may be read.
    pub log_start_offset: Offset,
    /// Whole batches.
    pub parts: Vec<Part<E>>,
    /// Their bytes.
    pub bytes: usize,
    /// Where they begin, to read them again.
    pub place: Option<Place>,
    /// There may be more, but all read buffers are in use.
    pub busy: bool,
}

/// What a shard answers for one partition.
pub type Fetched<E> = Result<FetchedHere<E>, Error>;

/// One partition of a wait for more.
#[derive(Clone, Copy, Debug)]
pub struct WatchItem {
    /// The partition.
    pub id: PartitionId,
    /// The first offset wanted.
    pub offset: Offset,
    /// Bytes wanted of it at the most.
    pub max_bytes: usize,
    /// The high watermark that the read before saw.
    pub seen: Offset,
}

/// Names a wait of one shard's connection at the other shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitId(pub u64);

/// Waits of this shard's connections that other shards report to, and waits that this shard keeps for others.
#[derive(Default)]
pub(super) struct Waits {
    next: std::cell::Cell<u64>,
    ours: RefCell<BTreeMap<u64, Rc<DelayedFetch>>>,
    theirs: RefCell<BTreeMap<(u16, u64), Rc<DelayedFetch>>>,
}

impl<E: Env> FetchedHere<E> {
    /// Whether the partition has more to read than this: then what it gives does not grow by waiting. Only asked of answers
    /// that are small.
    #[must_use]
    pub fn is_cut(&self, from: Offset) -> bool {
        let slice = |part: &Part<E>| match part {
            Part::Bytes(slice) => Some(slice.clone()),
            Part::File { .. } => None,
        };
        // A range of a file is of a rolled segment: the log goes on behind it.
        let Some(slices) = self.parts.iter().map(slice).collect::<Option<Vec<_>>>() else { return true };
        let records = Records::from_chunks(slices);
        let (mut next, mut position) = (from, 0);
        while let Some(Ok(header)) = records.array_at::<HEADER_BYTES>(position).map(|bytes| BatchHeader::parse(&bytes))
        {
            next = header.next_offset();
            position += header.size_bytes();
        }
        next < self.high_watermark
    }
}

impl<E: Env> Shard<E> {
    /// Reads what the partitions have, in order, within the budget.
    pub async fn fetch(&self, items: &[FetchItem], mut budget: FetchBudget) -> Vec<Fetched<E>> {
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let answer = self.fetch_one(item, budget).await;
            if let Ok(fetched) = &answer {
                budget.max_bytes = budget.max_bytes.saturating_sub(fetched.bytes);
                budget.at_least_one &= fetched.bytes == 0;
                if fetched.busy {
                    // What was read so far holds buffers that others wait for: the rest is not read.
                    budget = FetchBudget { max_bytes: 0, at_least_one: false };
                }
            }
            answers.push(answer);
        }
        answers
    }

    async fn fetch_one(&self, item: &FetchItem, budget: FetchBudget) -> Fetched<E> {
        let partition = self.partition(item.id).ok_or(Error::NotHere)?;
        let (max_bytes, at_least_one) = (item.max_bytes.min(budget.max_bytes), budget.at_least_one);
        let (offset, leader_epoch) = (item.offset, item.leader_epoch);
        let read = FetchRead { offset, max_bytes, at_least_one, leader_epoch, last_fetched_epoch: -1 };
        let fetched = partition.read(&read)?;
        let (high_watermark, log_start_offset) = (fetched.high_watermark, fetched.log_start_offset);
        let read = match fetched.plan {
            None => Ok(None),
            Some(ReadPlan::Ready(read)) => Ok(Some(read)),
            Some(ReadPlan::NeedsIo(reading)) => reading.await.map(Some),
        };
        let (read, busy) = match read {
            Ok(read) => (read, false),
            Err(storage::Error::ReadsBusy { .. }) => (None, true),
            Err(error) => return Err(partition::Error::from(error).into()),
        };
        let (parts, place) = read.map_or((Vec::new(), None), |read| (read.parts, read.place));
        let bytes = parts.iter().map(Part::len).sum();
        Ok(FetchedHere { high_watermark, log_start_offset, parts, bytes, place, busy })
    }

    /// Reads bytes again that a reply has promised; nothing where the partition was deleted or cannot be read any more.
    pub async fn read_again(&self, id: PartitionId, place: &Place, range: Range<usize>) -> Option<Vec<Part<E>>> {
        let partition = self.partition(id)?;
        match partition.log().read_again(place, range).await {
            Ok(parts) => Some(parts),
            Err(error) => {
                tracing::warn!(partition = %partition.name(), "a reply cannot be finished: {error}");
                None
            }
        }
    }

    /// Watches partitions of this shard for a fetch. The watches end when they are dropped. What became visible between
    /// the read and now counts as gained.
    pub fn watch(&self, fetch: &Rc<DelayedFetch>, items: &[WatchItem]) -> Vec<Watch<E>> {
        let mut watches = Vec::with_capacity(items.len());
        for item in items {
            let Some(partition) = self.partition(item.id) else {
                fetch.end();
                continue;
            };
            watches.push(partition.watch(fetch, item.offset, item.max_bytes));
            if partition.high_watermark() > item.seen {
                fetch.end();
            }
        }
        watches
    }

    /// Asks another shard to watch for a fetch of ours: it ends the wait once `missing_bytes` have become visible there.
    pub fn watch_at(self: &Rc<Self>, to: ShardId, fetch: &Rc<DelayedFetch>, watch: RemoteWatch) -> RemoteWait<E> {
        let id = self.waits.next.get();
        self.waits.next.set(id + 1);
        self.waits.ours.borrow_mut().insert(id, Rc::clone(fetch));
        let shard = Rc::clone(self);
        let RemoteWatch { items, missing_bytes, wait_ms } = watch;
        let call = Call::Watch { id: WaitId(id), items, missing_bytes, wait_ms };
        self.rt.spawn(async move { shard.router.call_later(to, call).await }).detach();
        RemoteWait { shard: Rc::clone(self), to, id }
    }

    /// Keeps a watch for another shard, and reports to it once: when the bytes are there, or something has changed.
    pub fn watch_for(self: &Rc<Self>, home: ShardId, id: WaitId, watch: &RemoteWatch) {
        let fetch = DelayedFetch::new(watch.missing_bytes);
        let watches = self.watch(&fetch, &watch.items);
        self.waits.theirs.borrow_mut().insert((home.0, id.0), Rc::clone(&fetch));
        let (shard, until_ns) = (Rc::clone(self), self.rt.now_ns() + watch.wait_ms * 1_000_000);
        let keep = async move {
            let over = before(&shard.rt, until_ns, fetch.wait()).await.is_some();
            drop(watches);
            let kept = shard.waits.theirs.borrow_mut().remove(&(home.0, id.0)).is_some();
            if over && kept {
                shard.router.call_later(home, Call::Gained(id)).await;
            }
        };
        self.rt.spawn(keep).detach();
    }

    /// Ends a watch that another shard no longer needs.
    pub fn unwatch(&self, home: ShardId, id: WaitId) {
        let fetch = self.waits.theirs.borrow_mut().remove(&(home.0, id.0));
        if let Some(fetch) = fetch {
            fetch.end();
        }
    }

    /// Takes another shard's report.
    pub fn gained(&self, id: WaitId) {
        let fetch = self.waits.ours.borrow().get(&id.0).cloned();
        if let Some(fetch) = fetch {
            fetch.end();
        }
    }
}

/// What another shard is to watch.
#[derive(Clone, Debug)]
pub struct RemoteWatch {
    /// The partitions.
    pub items: Vec<WatchItem>,
    /// Bytes after which it reports.
    pub missing_bytes: u64,
    /// How long at the most.
    pub wait_ms: u64,
}

/// A watch at another shard. Dropping it ends it there.
pub struct RemoteWait<E: Env> {
    shard: Rc<Shard<E>>,
    to: ShardId,
    id: u64,
}

impl<E: Env> Drop for RemoteWait<E> {
    fn drop(&mut self) {
        self.shard.waits.ours.borrow_mut().remove(&self.id);
        let (shard, to, id) = (Rc::clone(&self.shard), self.to, WaitId(self.id));
        let end = async move { shard.router.call_later(to, Call::Unwatch(id)).await };
        self.shard.rt.spawn(end).detach();
    }
}

/// Ends with `future`, or without its output at a time.
pub async fn before<E: Env, T>(rt: &Rc<Runtime<E>>, until_ns: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut sleep = pin!(rt.sleep_until(until_ns));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}
