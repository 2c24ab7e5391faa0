//! One partition: a log plus Kafka's meaning. What may be appended, what may be read, who is waiting.
//!
//! Called by `shard/` and `handlers/`; calls `storage/` and `record/`. Lives on one shard, shared there by `Rc`.
//!
//! ```text
//!   log_start          high watermark             log end
//!       |  what a Fetch answers  |  appended, not yet safe  |
//!       +------------------------+--------------------------+
//!                       = durable offset; = written offset where flush.messages relaxes the topic
//! ```
//!
//! **Append** is synchronous: it checks the header, asks the producer state, and hands the batch to the log, so that
//! batches are stored in the order in which they arrived. Where the log cannot take one at once (just opened, no memory),
//! it waits in a queue, and all that come later wait behind it. What a request's acks ask for is awaited by its
//! [`AppendTicket`]; dropping the ticket forgets the answer and nothing else.
//!
//! **Invariants.** 1. The high watermark never falls, and never passes the durable offset unless the topic is relaxed.
//! 2. A batch is in the producer state if and only if the log has taken it. 3. While the queue is not empty, nothing is
//! appended but from its front.
//!
//! *What it does not do:* it never looks inside a batch but to find an offset by time, and never logs an error that it
//! returns.

mod append;
mod delayed_fetch;
mod epochs;
mod error;
mod fetch;
mod list_offsets;
pub mod producer_state;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::io::{Env, Runtime};
use crate::storage::checkpoint::{PartitionState, ProducerEntry};
use crate::storage::{self, Log, LogConfig};
use crate::types::{Offset, PartitionId, TopicPartition};

pub use append::{Acks, AppendInfo, AppendJob, AppendTicket};
pub use delayed_fetch::DelayedFetch;
pub use epochs::{EpochEnd, LeaderEpochs, UNDEFINED_EPOCH, UNDEFINED_OFFSET};
pub use error::Error;
pub use fetch::{FetchRead, Fetched, Watch};
pub use list_offsets::{FoundOffset, OffsetTarget};

use append::Queued;
use delayed_fetch::Watches;
use producer_state::{Budget, Producers};

/// What a partition obeys: its topic's configuration, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the log obeys.
    pub log: LogConfig,
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log: LogConfig::default(),
            max_message_bytes: 1_048_588,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            min_insync_replicas: 1,
        }
    }
}

/// What the partitions of a shard share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// How many idempotent producers they may remember together.
    pub producers: Rc<Budget>,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
}

/// One partition.
pub struct Partition<E: Env> {
    rt: Rc<Runtime<E>>,
    log: Rc<Log<E>>,
    config: RefCell<Config>,
    leader_epoch: Cell<i32>,
    epochs: RefCell<LeaderEpochs>,
    producers: RefCell<Producers>,
    high_watermark: Cell<Offset>,
    queue: RefCell<VecDeque<Queued>>,
    draining: Cell<bool>,
    watches: Watches,
    watching: Cell<bool>,
    closed: Cell<bool>,
}

impl<E: Env> Partition<E> {
    /// A partition over an open log, led under `leader_epoch`; `state` is what storage recovered beside the log.
    #[must_use]
    pub fn open(
        rt: &Rc<Runtime<E>>,
        log: Rc<Log<E>>,
        config: Config,
        leader_epoch: i32,
        state: &PartitionState,
        shared: &Shared,
    ) -> Rc<Self> {
        let mut producers = Producers::new(shared.producer_id_expiration_ms, Rc::clone(&shared.producers));
        producers.restore(&state.producers, rt.env().wall_ms());
        let mut epochs = LeaderEpochs::from_entries(&state.leader_epochs);
        epochs.assign(leader_epoch, log.log_end_offset());
        let high_watermark = Cell::new(log.durable_offset());
        log.set_config(config.log.clone());
        Rc::new(Self {
            rt: Rc::clone(rt),
            log,
            config: RefCell::new(config),
            leader_epoch: Cell::new(leader_epoch),
            epochs: RefCell::new(epochs),
            producers: RefCell::new(producers),
            high_watermark,
            queue: RefCell::default(),
            draining: Cell::new(false),
            watches: Watches::default(),
            watching: Cell::new(false),
            closed: Cell::new(false),
        })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.log.id()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TopicPartition {
        self.log.name()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Rc<Log<E>> {
        &self.log
    }

    /// The epoch under which it is led.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.get()
    }

    /// Leads it under a higher epoch from the next append on.
    pub fn set_leader_epoch(&self, leader_epoch: i32) {
        if leader_epoch > self.leader_epoch.get() {
            self.leader_epoch.set(leader_epoch);
            self.epochs.borrow_mut().assign(leader_epoch, self.log.log_end_offset());
        }
    }

    /// Obeys another configuration from the next append on.
    pub fn set_config(&self, config: Config) {
        self.log.set_config(config.log.clone());
        self.config.replace(config);
        self.advance();
    }

    /// First offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log.log_start_offset()
    }

    /// Offset that the next record will get.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log.log_end_offset()
    }

    /// Records below may be read. It is also the last stable offset, as there are no transactions.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        let safe = if self.config.borrow().log.flush_every_window {
            self.log.durable_offset()
        } else {
            self.log.written_offset()
        };
        let high_watermark = self.high_watermark.get().max(safe);
        self.high_watermark.set(high_watermark);
        high_watermark
    }

    /// What storage's checkpoint keeps beside the log: true of the log up to its end at this moment.
    #[must_use]
    pub fn state(&self) -> PartitionState {
        let mut epochs = self.epochs.borrow_mut();
        epochs.truncate_start(self.log.log_start_offset());
        PartitionState {
            up_to: self.log.log_end_offset().0,
            // copies: epochs and where they start, for the checkpoint
            leader_epochs: epochs.entries().to_vec(),
            producers: self.producers.borrow_mut().snapshot(self.rt.env().wall_ms()),
        }
    }

    /// The idempotent producers that it remembers.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ProducerEntry> {
        self.producers.borrow_mut().snapshot(self.rt.env().wall_ms())
    }

    /// Kafka's check of the leader epoch that a request names; -1 names none.
    pub fn check_leader_epoch(&self, requested: i32) -> Result<(), Error> {
        let (partition, current) = (|| self.name().clone(), self.leader_epoch.get());
        match requested {
            UNDEFINED_EPOCH => Ok(()),
            _ if requested < current => Err(Error::FencedLeaderEpoch { partition: partition(), requested, current }),
            _ if requested > current => Err(Error::UnknownLeaderEpoch { partition: partition(), requested, current }),
            _ => Ok(()),
        }
    }

    /// OffsetForLeaderEpoch: the end of the largest epoch that is not above `epoch`.
    #[must_use]
    pub fn end_of_epoch(&self, epoch: i32) -> EpochEnd {
        let mut epochs = self.epochs.borrow_mut();
        epochs.truncate_start(self.log.log_start_offset());
        epochs.end_of(epoch, self.log.log_end_offset())
    }

    /// What DeleteRecords may raise the log start to: an offset up to the high watermark, which -1 stands for.
    pub fn deletable(&self, before: Offset) -> Result<Offset, Error> {
        self.check_readable()?;
        let (start, end) = (self.log_start_offset(), self.high_watermark());
        let offset = if before.0 == -1 { end } else { before };
        if offset.0 < 0 || offset > end {
            let partition = self.name().clone();
            return Err(Error::OffsetOutOfRange { partition, requested: before, start, end });
        }
        Ok(offset)
    }

    /// Ends the partition's life: waiting appends are refused, waiting fetches are ended. The log is the caller's.
    pub fn close(&self) {
        self.closed.set(true);
        self.refuse_queued(&Error::Closed { partition: self.name().clone() });
        self.watches.end_all();
    }

    /// Why nothing of the partition may be read or said, if so. A poisoned log or a full disk still serves reads.
    fn check_readable(&self) -> Result<(), Error> {
        if self.closed.get() {
            return Err(Error::Closed { partition: self.name().clone() });
        }
        match self.log.failure() {
            Some(error @ (storage::Error::Quarantined { .. } | storage::Error::Offline { .. })) => Err(error.into()),
            Some(error @ storage::Error::Closed { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Tells those who wait that the high watermark may have risen.
    fn advance(&self) {
        self.watches.advance(self.high_watermark());
    }
}

#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod tests;
