//! Reading: what a Fetch gets of one partition, and how it waits for more.

use std::rc::Rc;

use super::{DelayedFetch, EpochEnd, Error, Partition};
use crate::io::Env;
use crate::record::HEADER_BYTES;
use crate::storage::ReadPlan;
use crate::types::Offset;

/// One partition's part of a Fetch request.
#[derive(Clone, Copy, Debug)]
pub struct FetchRead {
    /// The first offset wanted.
    pub offset: Offset,
    /// Bytes wanted at the most; whole batches only.
    pub max_bytes: usize,
    /// Give the first batch even if it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// The leader epoch that the client knows, or -1.
    pub leader_epoch: i32,
    /// The epoch of the last record that the client has, or -1.
    pub last_fetched_epoch: i32,
}

/// What a Fetch gets of one partition.
pub struct Fetched<E: Env> {
    /// Records below may be read; also the last stable offset.
    pub high_watermark: Offset,
    /// First offset that may be read.
    pub log_start_offset: Offset,
    /// The client's last record is not ours: it must go back to here. Then `plan` is `None`.
    pub diverging: Option<EpochEnd>,
    /// Where the bytes are; `None` where there are none to give.
    pub plan: Option<ReadPlan<E>>,
}

/// A fetch that a partition reports to. Dropping it ends the reports.
pub struct Watch<E: Env> {
    partition: Rc<Partition<E>>,
    key: u64,
}

impl<E: Env> Drop for Watch<E> {
    fn drop(&mut self) {
        self.partition.watches.remove(self.key);
    }
}

impl<E: Env> Partition<E> {
    /// Says where the bytes are that a Fetch gets. Synchronous: nothing is read here.
    pub fn read(&self, read: &FetchRead) -> Result<Fetched<E>, Error> {
        self.check_readable()?;
        self.check_leader_epoch(read.leader_epoch)?;
        let (high_watermark, log_start_offset) = (self.high_watermark(), self.log.log_start_offset());
        let log_end = self.log.log_end_offset();
        let mut fetched = Fetched { high_watermark, log_start_offset, diverging: None, plan: None };
        if let Some(end) = self.divergence(read) {
            fetched.diverging = Some(end);
            return Ok(fetched);
        }
        if read.offset < log_start_offset || read.offset > log_end {
            let (partition, requested) = (self.name().clone(), read.offset);
            return Err(Error::OffsetOutOfRange { partition, requested, start: log_start_offset, end: log_end });
        }
        // Less than a batch has is no use asking for, and asking may cost a read.
        let wanted = read.at_least_one || read.max_bytes >= HEADER_BYTES;
        if read.offset < high_watermark && wanted {
            fetched.plan = Some(self.log.plan_read(read.offset, high_watermark, read.max_bytes, read.at_least_one)?);
        }
        Ok(fetched)
    }

    /// Where a client whose last record is of `last_fetched_epoch` has left our log, if it has (KIP-595).
    fn divergence(&self, read: &FetchRead) -> Option<EpochEnd> {
        if read.last_fetched_epoch < 0 {
            return None;
        }
        let end = self.end_of_epoch(read.last_fetched_epoch);
        (end.epoch < read.last_fetched_epoch || end.end_offset < read.offset).then_some(end)
    }

    /// Reports to `fetch` the bytes from `from` on that become visible after now, at most `max_bytes` of them, until the
    /// watch is dropped.
    #[must_use]
    pub fn watch(self: &Rc<Self>, fetch: &Rc<DelayedFetch>, from: Offset, max_bytes: usize) -> Watch<E> {
        if self.check_readable().is_err() {
            fetch.end();
        }
        let key = self.watches.add(fetch, from, self.high_watermark(), max_bytes as u64);
        if !self.watching.replace(true) {
            let partition = Rc::clone(self);
            self.rt.spawn(async move { partition.follow().await }).detach();
        }
        Watch { partition: Rc::clone(self), key }
    }

    /// Follows the log while somebody watches. A partition that nobody watches costs no task.
    async fn follow(self: Rc<Self>) {
        while !self.watches.is_empty() {
            let changed = self.log.changed().wait();
            if self.check_readable().is_err() {
                self.watches.end_all();
                break;
            }
            self.advance();
            changed.await;
        }
        self.watching.set(false);
    }
}
