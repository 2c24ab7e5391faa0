//! What a partition remembers of its idempotent producers, so that a batch sent twice is stored once and in order.
//!
//! A pure state machine: [`Producers::check`] says what to do with a batch and changes nothing; [`Producers::commit`]
//! takes a batch that the log has taken. Between the two nothing else may happen to the partition, which is why both are
//! synchronous. The state runs ahead of durability: batches that are appended and not yet durable are in it, so that a
//! producer may have several in flight.
//!
//! The rules are Kafka's (`ProducerAppendInfo`, `ProducerStateEntry`):
//!
//! ```text
//!   producer unknown                          any sequence begins it
//!   epoch < known                             INVALID_PRODUCER_EPOCH
//!   epoch > known                             must begin at sequence 0; earlier batches are forgotten
//!   same epoch, same range as one of last 5   duplicate: answered with the original's offset, not stored
//!   same epoch, first == last + 1             appended (i32::MAX is followed by 0)
//!   same epoch, anything else                 OUT_OF_ORDER_SEQUENCE
//! ```
//!
//! **Invariants.** 1. At most [`PRODUCER_BATCHES_MAX`] batches of a producer are kept, oldest first, all of its current
//! epoch. 2. The producers of a shard are bounded by a [`Budget`]: a partition over it forgets those that were silent
//! longest, never its only one. 3. A producer that was silent for `producer.id.expiration.ms` is forgotten when another
//! one comes, or at the next snapshot.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::record::BatchHeader;
use crate::storage::checkpoint::{PRODUCER_BATCHES_MAX, ProducerBatch, ProducerEntry};
use crate::types::Offset;

/// All idempotent producers of one partition.
#[derive(Debug)]
pub struct Producers {
    entries: BTreeMap<i64, Producer>,
    expiration_ms: i64,
    budget: Rc<Budget>,
}

/// How many producers the partitions of one shard may remember together.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    used: Cell<usize>,
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Store it, then [`Producers::commit`] it.
    Append,
    /// It is stored already: answer as for the original, once that is as safe as the request asks.
    Duplicate {
        /// Offset of the original's first record.
        base_offset: Offset,
        /// Offset of the original's last record.
        last_offset: Offset,
        /// The original's largest timestamp; its append time under LogAppendTime.
        timestamp: i64,
    },
}

/// Why a batch is refused. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A newer incarnation of the producer has taken over.
    #[error("epoch of producer {producer_id} is {epoch}, which is smaller than the last seen epoch {current}")]
    StaleEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The epoch of the batches before.
        current: i16,
    },
    /// A new epoch that does not begin at 0.
    #[error("producer {producer_id} begins epoch {epoch} after {current} with sequence number {sequence} instead of 0")]
    NewEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The epoch of the batches before.
        current: i16,
        /// The batch's first sequence number.
        sequence: i32,
    },
    /// A gap, or a batch so old that it is no longer known.
    #[error(
        "out of order sequence number for producer {producer_id}: {sequence} (incoming seq. number), {last} (current end sequence number)"
    )]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// The batch's first sequence number.
        sequence: i32,
        /// The last one stored.
        last: i32,
    },
}

#[derive(Clone, Debug)]
struct Producer {
    epoch: i16,
    batches: Recent,
    /// Wall clock of its last append, or of the start of the node: never the records' own timestamps, which may be years
    /// old while the producer is alive.
    heard_ms: i64,
}

/// The last batches, oldest first, without an allocation of their own.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    batches: [ProducerBatch; PRODUCER_BATCHES_MAX],
    count: usize,
}

impl Recent {
    fn as_slice(&self) -> &[ProducerBatch] {
        &self.batches[..self.count]
    }

    fn push(&mut self, batch: ProducerBatch) {
        if self.count == PRODUCER_BATCHES_MAX {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[self.count] = batch;
        self.count += 1;
    }
}

impl Budget {
    /// Room for so many producers.
    #[must_use]
    pub fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max, used: Cell::new(0) })
    }

    /// Producers remembered now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.get()
    }
}

impl Producers {
    /// A partition that has heard of nobody. `expiration_ms` is Kafka's `producer.id.expiration.ms`.
    #[must_use]
    pub fn new(expiration_ms: i64, budget: Rc<Budget>) -> Self {
        Self { entries: BTreeMap::new(), expiration_ms, budget }
    }

    /// Producers remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is to be done with a batch. Batches without a producer id are always appended.
    pub fn check(&self, header: &BatchHeader) -> Result<Verdict, SequenceError> {
        if !header.has_producer_id() {
            return Ok(Verdict::Append);
        }
        let (producer_id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
        let Some(producer) = self.entries.get(&producer_id) else { return Ok(Verdict::Append) };
        let current = producer.epoch;
        if epoch < current {
            return Err(SequenceError::StaleEpoch { producer_id, epoch, current });
        }
        if epoch > current {
            return match sequence {
                0 => Ok(Verdict::Append),
                _ => Err(SequenceError::NewEpoch { producer_id, epoch, current, sequence }),
            };
        }
        let range = (sequence, header.last_sequence());
        let batches = producer.batches.as_slice();
        if let Some(original) = batches.iter().find(|batch| (batch.base_sequence, batch.last_sequence) == range) {
            return Ok(Verdict::Duplicate {
                base_offset: Offset(original.base_offset),
                last_offset: Offset(original.last_offset),
                timestamp: original.timestamp,
            });
        }
        match batches.last() {
            Some(last) if next_sequence(last.last_sequence) != sequence => {
                Err(SequenceError::OutOfOrder { producer_id, sequence, last: last.last_sequence })
            }
            _ => Ok(Verdict::Append),
        }
    }

    /// Takes a batch that [`Self::check`] let through and that the log stored at `base_offset`.
    pub fn commit(&mut self, header: &BatchHeader, base_offset: Offset, timestamp: i64, now_ms: i64) {
        if !header.has_producer_id() {
            return;
        }
        let batch = ProducerBatch {
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: base_offset.0,
            last_offset: base_offset.0 + i64::from(header.last_offset_delta),
            timestamp,
        };
        if !self.entries.contains_key(&header.producer_id) {
            self.make_room(now_ms);
            self.budget.used.set(self.budget.used.get() + 1);
        }
        let new = || Producer { epoch: header.producer_epoch, batches: Recent::default(), heard_ms: now_ms };
        let producer = self.entries.entry(header.producer_id).or_insert_with(new);
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches = Recent::default();
        }
        producer.batches.push(batch);
        producer.heard_ms = producer.heard_ms.max(now_ms);
    }

    /// The state as plain data, ascending by producer id, without those that have expired.
    #[must_use]
    pub fn snapshot(&mut self, now_ms: i64) -> Vec<ProducerEntry> {
        self.expire(now_ms);
        let entry = |(producer_id, producer): (&i64, &Producer)| ProducerEntry {
            producer_id: *producer_id,
            epoch: producer.epoch,
            // copies: sequence numbers of batches, not batches
            batches: producer.batches.as_slice().to_vec(),
        };
        self.entries.iter().map(entry).collect()
    }

    /// Takes over what a snapshot, or recovery's reading of the log, says. All producers count as heard now: a restart must
    /// not forget one that is about to send again.
    pub fn restore(&mut self, entries: &[ProducerEntry], now_ms: i64) {
        for entry in entries {
            let mut batches = Recent::default();
            for batch in &entry.batches {
                batches.push(*batch);
            }
            let producer = Producer { epoch: entry.epoch, batches, heard_ms: now_ms };
            if !self.entries.contains_key(&entry.producer_id) {
                self.make_room(now_ms);
                self.budget.used.set(self.budget.used.get() + 1);
            }
            self.entries.insert(entry.producer_id, producer);
        }
    }

    fn expire(&mut self, now_ms: i64) {
        let (before, expiration_ms) = (self.entries.len(), self.expiration_ms);
        self.entries.retain(|_, producer| now_ms.saturating_sub(producer.heard_ms) < expiration_ms);
        self.give_back(before);
    }

    /// Makes room for one more producer. Over the budget an eighth of them goes at once, so that the search for the
    /// longest silent ones is paid once for many newcomers.
    fn make_room(&mut self, now_ms: i64) {
        if self.budget.used.get() < self.budget.max {
            return;
        }
        self.expire(now_ms);
        if self.budget.used.get() < self.budget.max || self.entries.is_empty() {
            return;
        }
        let mut silent: Vec<(i64, i64)> = self.entries.iter().map(|(id, producer)| (producer.heard_ms, *id)).collect();
        silent.sort_unstable();
        let before = self.entries.len();
        for (_, producer_id) in silent.iter().take(before.div_ceil(8)) {
            self.entries.remove(producer_id);
        }
        self.give_back(before);
    }

    fn give_back(&self, before: usize) {
        self.budget.used.set(self.budget.used.get() - (before - self.entries.len()));
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        let before = self.entries.len();
        self.entries.clear();
        self.give_back(before);
    }
}

/// Sequence numbers wrap from the largest number to 0.
fn next_sequence(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

#[cfg(test)]
#[path = "producer_state_tests.rs"]
mod tests;
