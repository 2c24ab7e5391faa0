//! Appending: the order in which batches reach the log, and what each request waits for.

use std::cell::RefMut;
use std::collections::VecDeque;
use std::rc::Rc;

use super::producer_state::Verdict;
use super::{Error, Partition};
use crate::io::Env;
use crate::io::local::{self, Receiver, Sender};
use crate::record::{self, BatchHeader, CheckRules, Records, TimestampType};
use crate::storage::{self, Append, Goal, Landing, Stamp};
use crate::types::Offset;

/// What a request waits for (`acks` of Produce).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing (0).
    None,
    /// The write (1): survives the death of the process.
    Leader,
    /// The flush (-1): survives the loss of power, unless the topic is relaxed.
    All,
}

impl Acks {
    /// The number on the wire, if it is one of the three.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Leader),
            -1 => Some(Self::All),
            _ => None,
        }
    }
}

/// One partition's part of a Produce request.
#[derive(Clone, Debug)]
pub struct AppendJob {
    /// The batch as the client sent it.
    pub records: Records,
    /// What the request waits for.
    pub acks: Acks,
    /// The version of the request.
    pub produce_version: i16,
}

/// What the answer says, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// The time that the records got, or -1 where the producer's timestamps stay.
    pub log_append_time_ms: i64,
    /// First offset that may be read.
    pub log_start_offset: Offset,
    /// When what its acks ask for was there.
    pub landing: Landing,
}

/// A batch on its way: what came of it, and the wait for what its acks ask.
#[must_use = "a dropped ticket loses the answer"]
pub struct AppendTicket<E: Env> {
    partition: Rc<Partition<E>>,
    acks: Acks,
    state: State,
}

enum State {
    Refused(Error),
    Stored(Stored),
    Queued(Receiver<Result<Stored, Error>>),
}

/// A batch that the log has taken, now or earlier.
#[derive(Clone, Copy, Debug)]
struct Stored {
    base_offset: Offset,
    next_offset: Offset,
    log_append_time_ms: i64,
}

/// A batch that waits for the log to be ready.
pub(super) struct Queued {
    records: Records,
    header: BatchHeader,
    answer: Sender<Result<Stored, Error>>,
}

impl<E: Env> AppendTicket<E> {
    /// Why the batch was refused at once, if it was: what a request with acks=0 can still be told by closing its connection.
    pub fn refusal(&self) -> Option<&Error> {
        match &self.state {
            State::Refused(error) => Some(error),
            State::Stored(_) | State::Queued(_) => None,
        }
    }

    /// Ends when the batch is as safe as the request asks, or refused.
    pub async fn done(self) -> Result<AppendInfo, Error> {
        let Self { partition, acks, state } = self;
        let stored = match state {
            State::Refused(error) => return Err(error),
            State::Stored(stored) => stored,
            State::Queued(answer) => match answer.await {
                Some(answer) => answer?,
                None => return Err(Error::Closed { partition: partition.name().clone() }),
            },
        };
        let flushed = acks == Acks::All && partition.config.borrow().log.flush_every_window;
        let goal = if flushed { Goal::Durable } else { Goal::Written };
        let landing = match acks {
            Acks::None => Landing::default(),
            Acks::Leader | Acks::All => {
                partition.log.wait_for_ack(goal, stored.next_offset).await?;
                partition.log.landing(goal, stored.next_offset)
            }
        };
        Ok(AppendInfo {
            base_offset: stored.base_offset,
            log_append_time_ms: stored.log_append_time_ms,
            log_start_offset: partition.log.log_start_offset(),
            landing,
        })
    }
}

impl<E: Env> Partition<E> {
    /// Appends a batch, or refuses it, or queues it behind others: decided when this returns, in the order of the calls.
    pub fn append(self: &Rc<Self>, job: AppendJob) -> AppendTicket<E> {
        let state = match self.admit(&job) {
            Err(error) => State::Refused(error),
            Ok(header) => self.begin(job.records, header),
        };
        AppendTicket { partition: Rc::clone(self), acks: job.acks, state }
    }

    /// All that can be said of a batch without knowing what came before it.
    fn admit(&self, job: &AppendJob) -> Result<BatchHeader, Error> {
        if self.closed.get() {
            return Err(Error::Closed { partition: self.name().clone() });
        }
        let config = self.config.borrow();
        if job.acks == Acks::All && config.min_insync_replicas > 1 {
            let (partition, required) = (self.name().clone(), config.min_insync_replicas);
            return Err(Error::NotEnoughReplicas { partition, required });
        }
        let rules = CheckRules {
            produce_version: job.produce_version,
            max_message_bytes: config.max_message_bytes,
            segment_bytes: usize::try_from(config.log.segment_bytes).unwrap_or(usize::MAX),
            timestamp_type: if config.log_append_time {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            timestamp_before_max_ms: config.timestamp_before_max_ms,
            timestamp_after_max_ms: config.timestamp_after_max_ms,
            now_ms: self.rt.wall_ms(),
        };
        record::check(&job.records, &rules).map_err(|cause| Error::Record { partition: self.name().clone(), cause })
    }

    fn begin(self: &Rc<Self>, records: Records, header: BatchHeader) -> State {
        if self.queue.borrow().is_empty() && !self.draining.get() {
            match self.store(&records, &header) {
                Ok(stored) => return State::Stored(stored),
                Err(Error::Storage(storage::Error::NotReady { .. })) => {}
                Err(error) => return State::Refused(error),
            }
        }
        let (answer, answered) = local::oneshot();
        self.queue.borrow_mut().push_back(Queued { records, header, answer });
        if !self.draining.replace(true) {
            let partition = Rc::clone(self);
            self.rt.spawn(async move { partition.drain().await }).detach();
        }
        State::Queued(answered)
    }

    /// Asks the producer state and, if it agrees, hands the batch to the log.
    fn store(&self, records: &Records, header: &BatchHeader) -> Result<Stored, Error> {
        let sequence = |cause| Error::Sequence { partition: self.name().clone(), cause };
        let mut producers = self.producers.borrow_mut();
        let log_append_time = self.config.borrow().log_append_time;
        let now_ms = self.rt.wall_ms();
        match producers.check(header).map_err(sequence)? {
            Verdict::Duplicate { base_offset, last_offset, timestamp } => {
                let log_append_time_ms = if log_append_time { timestamp } else { record::batch::NO_TIMESTAMP };
                return Ok(Stored { base_offset, next_offset: last_offset.plus(1), log_append_time_ms });
            }
            Verdict::Append => {}
        }
        let stamp = if log_append_time { Stamp::LogAppend(now_ms) } else { Stamp::Create };
        let appended = self.log.append(Append { records, header, leader_epoch: self.leader_epoch.get(), stamp })?;
        let timestamp = if log_append_time { now_ms } else { header.largest_timestamp() };
        producers.commit(header, appended.base_offset, timestamp, now_ms);
        let next_offset = appended.last_offset.plus(1);
        self.watches.note_append(next_offset, records.len());
        // What is visible already need not be remembered by size.
        self.watches.forget_seen(self.high_watermark());
        let (base_offset, log_append_time_ms) = (appended.base_offset, appended.log_append_time_ms);
        Ok(Stored { base_offset, next_offset, log_append_time_ms })
    }

    /// Stores queued batches from the front, each when the log is ready for it, until none is left.
    async fn drain(self: Rc<Self>) {
        loop {
            let front = self.queue.borrow().front().map(|queued| queued.records.len());
            let Some(bytes) = front else { break };
            if let Err(error) = self.log.make_ready(bytes).await {
                self.refuse_queued(&error.into());
                break;
            }
            // The queue may have been refused meanwhile (close).
            let Some(queued) = self.queue.borrow_mut().pop_front() else { break };
            match self.store(&queued.records, &queued.header) {
                Err(Error::Storage(storage::Error::NotReady { .. })) => self.queue.borrow_mut().push_front(queued),
                answer => queued.answer.send(answer),
            }
        }
        self.draining.set(false);
    }

    /// Refuses all that wait for the log to be ready.
    pub(super) fn refuse_queued(&self, error: &Error) {
        let queued: VecDeque<Queued> = std::mem::take(&mut *self.queue_mut());
        for one in queued {
            one.answer.send(Err(error.clone()));
        }
    }

    fn queue_mut(&self) -> RefMut<'_, VecDeque<Queued>> {
        self.queue.borrow_mut()
    }
}
