//! A producer: records in, acknowledgements counted, or one error that says where it stopped.
//!
//! ```text
//!   caller --push--> open batch of a partition --close--> queue --(sealers)--> sender of the leader --> broker
//!                                                           ^---------- again, in order <--------------'
//! ```
//! The caller's thread writes records into batches. Sealers compress (where there is a codec). One sender a leader keeps
//! requests in flight; a thread of its own reads the answers. See [`queue`] for what they share.
//!
//! **Invariants.** 1. Batches of a partition are numbered when they are closed and leave in that order; with a producer
//! id their sequences follow, so that a broker appends each once whatever is sent again. 2. Nothing that was pushed is
//! given up silently: [`Producer::flush`] ends well only when all of it is acknowledged.

mod batch;
mod partitioner;
mod queue;
#[cfg(test)]
mod queue_tests;
mod sender;

use std::thread;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, Topic};
use super::{Error, accept};
use crate::protocol::ErrorCode;
use crate::protocol::cold::init_producer_id_request as init;
use crate::record::Compression;

pub(crate) use batch::{NewRecord, Place, ProducerId, encode_headers};
pub(crate) use queue::Progress;

use batch::{OpenBatch, compressed, seal};
use queue::Shared;

/// How to produce; the names are Kafka's where it has one.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// -1 for all.
    pub acks: i16,
    pub compression: Compression,
    pub enable_idempotence: bool,
    /// Bytes of records in a batch before compression; one record may have more.
    pub batch_size: usize,
    pub linger: Duration,
    pub max_in_flight: usize,
    /// Bytes of batches that wait or are in flight.
    pub buffer_memory: usize,
    pub delivery_timeout: Duration,
    /// The largest batch that the topic takes, where it is known.
    pub max_message_bytes: Option<usize>,
    /// What [`Place::source`] counts: names for messages.
    pub sources: Vec<String>,
}

/// The caller's side.
#[derive(Debug)]
pub(crate) struct Producer<'a> {
    shared: &'a Shared,
    open: Vec<Option<OpenBatch>>,
    next_id: Vec<u64>,
    next_sequence: Vec<i32>,
    /// Where records without a key go until its batch is closed.
    sticky: usize,
    producer_id: ProducerId,
}

/// Runs `body` with a producer for `topic`. Threads have ended when this returns; what was not flushed is dropped.
pub(crate) fn with_producer<T>(
    config: Config,
    mut cluster: Cluster,
    topic: Topic,
    body: impl FnOnce(&mut Producer<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let producer_id = if config.enable_idempotence { init_producer_id(&mut cluster)? } else { ProducerId::NONE };
    let count = topic.partitions.len();
    if count == 0 {
        return Err(Error::GaveUp(format!("{}: no partitions", topic.name)));
    }
    let sealers = if config.compression == Compression::None { 0 } else { sealer_count() };
    let shared = Shared::new(config, cluster, topic);
    thread::scope(|scope| {
        for _ in 0..sealers {
            scope.spawn(|| shared.seal_batches());
        }
        sender::start_missing(scope, &shared);
        let mut producer = Producer {
            shared: &shared,
            open: (0..count).map(|_| None).collect(),
            next_id: vec![0; count],
            next_sequence: vec![0; count],
            sticky: usize::from(first_choice()) % count,
            producer_id,
        };
        let result = body(&mut producer);
        shared.end();
        result
    })
}

impl Producer<'_> {
    /// Takes a record: to `partition`, or by its key, or where the last one without a key went. Waits while the buffer
    /// is full.
    pub(crate) fn push(&mut self, partition: Option<usize>, record: &NewRecord<'_>) -> Result<(), Error> {
        let partition = match (partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partitioner::of_key(key, self.open.len()),
            (None, None) => self.sticky,
        };
        let full = self.open[partition].as_ref();
        if full.is_some_and(|open| !open.has_room(record, self.shared.batch_bytes_max())) {
            self.close(partition)?;
            if partition == self.sticky {
                // As Kafka does: a batch to each in turn, rather than a record to each.
                self.sticky = (partition + 1) % self.open.len();
                if record.key.is_none() && self.open.len() > 1 {
                    return self.push(None, record);
                }
            }
        }
        let shared = self.shared;
        self.open[partition].get_or_insert_with(|| OpenBatch::new(shared.take_buffer(), Instant::now())).push(record);
        Ok(())
    }

    /// Closes batches that have waited for `linger`, where nothing of their partition waits already.
    pub(crate) fn linger(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        for partition in 0..self.open.len() {
            let opened = self.open[partition].as_ref().map(|open| open.opened);
            let waited = opened.is_some_and(|opened| now.duration_since(opened) >= self.shared.config().linger);
            if waited && self.shared.is_idle(partition) {
                self.close(partition)?;
                if partition == self.sticky {
                    self.sticky = (partition + 1) % self.open.len();
                }
            }
        }
        self.shared.check()
    }

    /// Whether a batch is open, which [`Self::linger`] must close in time.
    pub(crate) fn is_lingering(&self) -> bool {
        self.open.iter().any(Option::is_some)
    }

    /// Sends all that was pushed and waits until it is acknowledged, or until `until`.
    pub(crate) fn flush(&mut self, until: Option<Instant>) -> Result<(), Error> {
        for partition in 0..self.open.len() {
            self.close(partition)?;
        }
        self.shared.wait_until_acknowledged(until)
    }

    /// What is acknowledged so far.
    pub(crate) fn progress(&self) -> Progress {
        let mut progress = self.shared.progress();
        // Places in batches that are still open lie after those in closed ones of the same partition only.
        let open = self.open.iter().flatten().map(OpenBatch::first).min();
        progress.unacknowledged = [progress.unacknowledged, open].into_iter().flatten().min();
        progress
    }

    fn close(&mut self, partition: usize) -> Result<(), Error> {
        let Some(open) = self.open[partition].take() else { return Ok(()) };
        let id = self.next_id[partition];
        self.next_id[partition] += 1;
        let base_sequence = if self.producer_id == ProducerId::NONE { -1 } else { self.next_sequence[partition] };
        let batch = open.close(id, self.producer_id, base_sequence, Instant::now());
        // Sequences wrap from 2^31 - 1 to 0.
        let next = self.next_sequence[partition].cast_unsigned().wrapping_add(batch.count.cast_unsigned());
        self.next_sequence[partition] = (next & i32::MAX.cast_unsigned()).cast_signed();
        self.shared.enqueue(partition, batch)
    }
}

/// The id by which a broker knows what it has appended already.
fn init_producer_id(cluster: &mut Cluster) -> Result<ProducerId, Error> {
    let request =
        init::InitProducerIdRequestData::default().with_transactional_id(None).with_transaction_timeout_ms(i32::MAX);
    let begun = Instant::now();
    loop {
        let answer = cluster.call(&request)?;
        match accept("InitProducerId", answer.error_code, None) {
            Ok(()) => return Ok(ProducerId { id: answer.producer_id, epoch: answer.producer_epoch }),
            Err(error) if error.is_retriable() && begun.elapsed() < INIT_WAIT => thread::sleep(INIT_PAUSE),
            Err(error) => return Err(error),
        }
    }
}

/// Any number: which partition is the first to get records without a key.
fn first_choice() -> u16 {
    uuid::Uuid::new_v4().as_fields().1
}

fn sealer_count() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(SEALERS_MAX))
}

/// Whether an answer means that the batch is in the log.
fn is_appended(code: i16) -> bool {
    matches!(ErrorCode::from_code(code), Some(ErrorCode::None | ErrorCode::DuplicateSequenceNumber))
}

const SEALERS_MAX: usize = 4;
const INIT_WAIT: Duration = Duration::from_secs(15);
const INIT_PAUSE: Duration = Duration::from_millis(100);
