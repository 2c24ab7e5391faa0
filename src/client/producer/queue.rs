//! What the threads of a producer share: the batches of each partition in order, and what became of them.
//!
//! A batch is `waiting` (perhaps not sealed yet), then in flight with a sender, then gone; or back among the waiting, at
//! its place by number. `outstanding` names all of a partition that are not acknowledged.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::batch::{Batch, Place};
use super::{Config, compressed, seal};
use crate::client::error::{Code, is_retriable};
use crate::client::{Cluster, Error, Stop, cluster::Topic};
use crate::protocol::ErrorCode;
use crate::record::{Compression, HEADER_BYTES};

/// Shared by the caller's thread, the sealers, and the senders with their receivers.
#[derive(Debug)]
pub(super) struct Shared {
    config: Config,
    topic: String,
    numbers: Vec<i32>,
    /// Whoever looks for leaders has it.
    pub(super) cluster: Mutex<Cluster>,
    /// The user's wish to end.
    stop: Stop,
    /// Ends every wait on a socket.
    pub(super) abort: Stop,
    state: Mutex<State>,
    /// For those who send, seal and receive.
    pub(super) work: Condvar,
    /// For the caller, who waits for room and for the end.
    room: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) partitions: Vec<Queue>,
    to_seal: VecDeque<(usize, u64, Vec<u8>)>,
    buffered_bytes: usize,
    acknowledged_records: u64,
    free: Vec<Vec<u8>>,
    failure: Option<Error>,
    last_error: Option<String>,
    /// When to look for leaders.
    pub(super) refresh_at: Option<Instant>,
    /// The brokers that have a sender.
    pub(super) senders: Vec<i32>,
    pub(super) ended: bool,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Queue {
    /// A broker's id, or -1.
    pub(super) leader: i32,
    waiting: VecDeque<Batch>,
    outstanding: VecDeque<(u64, Place)>,
    not_before: Option<Instant>,
}

/// How far a producer is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub records: u64,
    /// The first record that is not acknowledged, in the order of places.
    pub unacknowledged: Option<Place>,
}

impl Shared {
    pub(super) fn new(config: Config, cluster: Cluster, topic: Topic) -> Self {
        let queue = |leader| Queue { leader, waiting: VecDeque::new(), outstanding: VecDeque::new(), not_before: None };
        let partitions = topic.partitions.iter().map(|partition| queue(partition.leader)).collect();
        Self {
            config,
            numbers: topic.numbers(),
            topic: topic.name,
            stop: cluster.stop().clone(),
            cluster: Mutex::new(cluster),
            abort: Stop::default(),
            state: Mutex::new(State { partitions, ..State::default() }),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// The number of the partition at `index`.
    pub(super) fn number(&self, index: usize) -> i32 {
        self.numbers[index]
    }

    /// The index of a partition's number.
    pub(super) fn index(&self, number: i32) -> Option<usize> {
        self.numbers.iter().position(|other| *other == number)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the state")
    }

    /// Bytes that a batch may have before it is closed.
    pub(super) fn batch_bytes_max(&self) -> usize {
        let max = self.config.max_message_bytes.unwrap_or(usize::MAX);
        (HEADER_BYTES + self.config.batch_size).min(max)
    }

    /// Memory for a batch.
    pub(super) fn take_buffer(&self) -> Vec<u8> {
        let free = self.lock().free.pop();
        free.unwrap_or_else(|| Vec::with_capacity(HEADER_BYTES + self.config.batch_size))
    }

    /// Puts a closed batch at the end of its partition. Waits while the buffer is full.
    pub(super) fn enqueue(&self, partition: usize, mut batch: Batch) -> Result<(), Error> {
        let (id, first, size) = (batch.id, batch.first, batch.bytes.len());
        let mut raw = None;
        let bytes = std::mem::take(&mut batch.bytes).into_vec().expect("a batch that was just closed is not lent");
        if self.config.compression == Compression::None {
            batch.bytes = seal(bytes, Compression::None).into();
            batch.sealed = true;
            self.refuse_too_large(partition, &batch)?;
        } else {
            raw = Some(bytes);
        }
        let mut state = self.lock();
        state.partitions[partition].outstanding.push_back((id, first));
        while state.buffered_bytes > 0 && state.buffered_bytes + size > self.config.buffer_memory {
            state.check()?;
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            state = self.room.wait_timeout(state, TICK).expect("no thread panics while it holds the state").0;
        }
        state.check()?;
        state.buffered_bytes += size;
        state.partitions[partition].waiting.push_back(batch);
        state.to_seal.extend(raw.map(|raw| (partition, id, raw)));
        self.work.notify_all();
        Ok(())
    }

    fn refuse_too_large(&self, partition: usize, batch: &Batch) -> Result<(), Error> {
        let Some(max) = self.config.max_message_bytes.filter(|max| batch.bytes.len() > *max) else { return Ok(()) };
        let size = batch.bytes.len();
        let topic = &self.topic;
        let message = format!(
            "a batch of {size} bytes, and max.message.bytes of the topic is {max}: \
             `ringmain topics alter {topic} --config max.message.bytes={size}` makes room"
        );
        Err(self.refused(partition, batch, ErrorCode::MessageTooLarge.code(), Some(message)))
    }

    fn refused(&self, partition: usize, batch: &Batch, code: i16, message: Option<String>) -> Error {
        Error::Kafka { what: self.whereabouts(partition, batch), code: Code(code), message }
    }

    /// `file:line: topic-partition`, or the first and the last line of the batch.
    fn whereabouts(&self, partition: usize, batch: &Batch) -> String {
        let (first, last) = (self.place(batch.first), self.place(batch.last));
        let lines = if first == last { first } else { format!("{first} to {last}") };
        format!("{lines}: {}-{}", self.topic, self.numbers[partition])
    }

    pub(super) fn place(&self, place: Place) -> String {
        let name = self.config.sources.get(place.source).map_or("", String::as_str);
        format!("{name}:{}", place.line)
    }

    /// Compresses batches until the producer ends.
    pub(super) fn seal_batches(&self) {
        let mut state = self.lock();
        while !state.ended {
            let Some((partition, id, raw)) = state.to_seal.pop_front() else {
                state = self.work.wait(state).expect("no thread panics while it holds the state");
                continue;
            };
            drop(state);
            let bytes = seal(compressed(&raw, self.config.compression), self.config.compression);
            state = self.lock();
            state.buffered_bytes = state.buffered_bytes.saturating_sub(raw.len()) + bytes.len();
            state.reuse(raw);
            let queue = &mut state.partitions[partition];
            let Some(batch) = queue.waiting.iter_mut().find(|batch| batch.id == id) else { continue };
            batch.bytes = bytes.into();
            batch.sealed = true;
            let refused = self.refuse_too_large(partition, batch);
            state.failure = state.failure.take().or(refused.err());
            self.work.notify_all();
            self.room.notify_all();
        }
    }

    /// Whether nothing of a partition waits to be sent.
    pub(super) fn is_idle(&self, partition: usize) -> bool {
        self.lock().partitions[partition].waiting.is_empty()
    }

    /// Fails once and for all if something did.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.lock().check()
    }

    pub(super) fn wait_until_acknowledged(&self, until: Option<Instant>) -> Result<(), Error> {
        let mut state = self.lock();
        while state.partitions.iter().any(|queue| !queue.outstanding.is_empty()) {
            state.check()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::Stopped);
            }
            state = self.room.wait_timeout(state, TICK).expect("no thread panics while it holds the state").0;
        }
        state.check()
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.lock();
        let firsts = state.partitions.iter().filter_map(|queue| queue.outstanding.front());
        Progress { records: state.acknowledged_records, unacknowledged: firsts.map(|(_, place)| *place).min() }
    }

    /// Ends all threads.
    pub(super) fn end(&self) {
        self.abort.set();
        self.lock().ended = true;
        self.work.notify_all();
    }

    /// Waits a moment for something to do.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.work.wait_timeout(state, TICK).expect("no thread panics while it holds the state").0
    }

    /// Fails for good.
    pub(super) fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.failure = state.failure.take().or(Some(error));
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Remembers what went wrong on the way to a broker, and looks for leaders again.
    pub(super) fn note(&self, error: &Error) {
        let mut state = self.lock();
        state.last_error = Some(error.to_string());
        state.refresh_at.get_or_insert_with(Instant::now);
    }

    /// The batches that go to a broker next: one of each partition that it leads and that has one ready.
    pub(super) fn take_ready(&self, state: &mut State, broker: i32) -> Vec<(usize, Batch)> {
        let now = Instant::now();
        let mut taken = Vec::new();
        let mut size = 0;
        for (index, queue) in state.partitions.iter_mut().enumerate() {
            let due = queue.leader == broker && queue.not_before.is_none_or(|moment| moment <= now);
            let Some(front) = queue.waiting.front().filter(|batch| due && batch.sealed) else { continue };
            if size > 0 && size + front.bytes.len() > REQUEST_BYTES_MAX {
                continue;
            }
            size += front.bytes.len();
            queue.not_before = None;
            taken.extend(queue.waiting.pop_front().map(|batch| (index, batch)));
        }
        taken
    }

    /// Gives up where a batch has waited for too long.
    pub(super) fn expire(&self, state: &mut State) {
        let now = Instant::now();
        for (index, queue) in state.partitions.iter().enumerate() {
            let Some(front) = queue.waiting.front() else { continue };
            let waited = now.duration_since(front.closed);
            if waited >= self.config.delivery_timeout && state.failure.is_none() {
                let why = state.last_error.clone().unwrap_or_else(|| "the node does not answer".to_owned());
                let text =
                    format!("{}: not delivered in {} ms: {why}", self.whereabouts(index, front), waited.as_millis());
                state.failure = Some(Error::GaveUp(text));
                self.room.notify_all();
            }
        }
    }

    /// A batch is in the log.
    pub(super) fn acknowledge(&self, state: &mut State, partition: usize, batch: Batch) {
        let queue = &mut state.partitions[partition];
        queue.outstanding.retain(|(id, _)| *id != batch.id);
        state.buffered_bytes = state.buffered_bytes.saturating_sub(batch.bytes.len());
        state.acknowledged_records += u64::from(batch.count.unsigned_abs());
        // A compressed batch lies in memory of its own size, which is of no use for the next.
        if self.config.compression == Compression::None
            && let Some(bytes) = batch.bytes.into_vec()
        {
            state.reuse(bytes);
        }
        self.room.notify_all();
    }

    /// A batch goes back to its place among the waiting.
    pub(super) fn send_again(&self, state: &mut State, partition: usize, batch: Batch, backoff: Duration) {
        let queue = &mut state.partitions[partition];
        let at = queue.waiting.partition_point(|other| other.id < batch.id);
        queue.waiting.insert(at, batch);
        queue.not_before = Some(Instant::now() + backoff);
    }

    /// What to do with a batch that was answered with an error.
    pub(super) fn answered(
        &self,
        state: &mut State,
        partition: usize,
        batch: Batch,
        code: i16,
        message: Option<String>,
    ) {
        let is_first = state.partitions[partition].outstanding.front().is_none_or(|(id, _)| *id == batch.id);
        let out_of_order = ErrorCode::from_code(code) == Some(ErrorCode::OutOfOrderSequenceNumber);
        // A batch after one that failed is out of order until that one is there.
        if is_retriable(code) || (out_of_order && !is_first) {
            let error = self.refused(partition, &batch, code, message);
            state.last_error = Some(error.to_string());
            if !out_of_order {
                state.refresh_at.get_or_insert_with(|| Instant::now() + RETRY_BACKOFF);
            }
            self.send_again(state, partition, batch, RETRY_BACKOFF);
        } else {
            let error = self.refused(partition, &batch, code, message);
            state.failure = state.failure.take().or(Some(error));
            self.room.notify_all();
        }
    }
}

impl State {
    fn reuse(&mut self, bytes: Vec<u8>) {
        if self.free.len() < FREE_MAX {
            self.free.push(bytes);
        }
    }

    /// Takes the failure out, so that it is told once; after it there is nothing to be done.
    fn check(&mut self) -> Result<(), Error> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// How often a wait looks up although nothing was notified.
const TICK: Duration = Duration::from_millis(50);
/// `retry.backoff.ms` of Kafka.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);
/// A request with batches of several partitions; one batch alone may be larger.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Buffers kept to be used again.
const FREE_MAX: usize = 128;
