//! Fetches from the leaders of a topic's partitions, each leader on a thread and a connection of its own.
//!
//! ```text
//!   Fetch at the positions -> answer -> positions moved by the batch headers -> next Fetch -> the answer handed over
//! ```
//! Records are not looked at here: an answer is handed over as it came, with where each partition's batches lie. At most
//! [`CHUNKS_AHEAD`] answers wait for a reader that is slow.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Scope, sleep};
use std::time::{Duration, Instant};

use crate::client::cluster::{EARLIEST, LATEST, Topic};
use crate::client::connection::REPLY_WAIT;
use crate::client::wire::{self, FETCH_VERSION, FetchLimits};
use crate::client::{Cluster, Connection, Error, Stop, accept};
use crate::protocol::{ApiKey, ErrorCode};
use crate::record::batches::Batches;

/// From where to read a partition, and to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub partition: i32,
    pub from: i64,
    /// Ends before this offset, or never.
    pub until: Option<i64>,
}

/// What to do at an offset that the log does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    Earliest,
    Latest,
    Fail,
}

/// An answer: the batches of some partitions.
#[derive(Debug)]
pub(crate) struct Chunk {
    frame: Vec<u8>,
    parts: Vec<(i32, i64, Range<usize>)>,
}

impl Chunk {
    /// Partition, the offset that was asked for, and whole batches from the one that holds it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (i32, i64, &[u8])> {
        self.parts.iter().map(|(partition, from, at)| (*partition, *from, &self.frame[at.clone()]))
    }
}

/// Answers to come. Ends when every partition has reached its end.
#[derive(Debug)]
pub(crate) struct Chunks {
    chunks: Receiver<Result<Chunk, Error>>,
    free: Sender<Vec<u8>>,
}

impl Chunks {
    /// The next answer with records in it; `None` at the end, [`Error::Stopped`] where none has come in time.
    pub(crate) fn next(&self, wait: Duration) -> Result<Option<Chunk>, Error> {
        match self.chunks.recv_timeout(wait) {
            Ok(chunk) => chunk.map(Some),
            Err(RecvTimeoutError::Timeout) => Err(Error::Stopped),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// Gives an answer's memory back.
    pub(crate) fn recycle(&self, chunk: Chunk) {
        // The fetchers may have come to their end.
        let _ = self.free.send(chunk.frame);
    }
}

#[derive(Debug)]
struct Shared {
    topic: String,
    reset: Reset,
    abort: Stop,
    cluster: Mutex<Cluster>,
    state: Mutex<State>,
    free: Mutex<Receiver<Vec<u8>>>,
}

#[derive(Debug)]
struct State {
    positions: Vec<Position>,
    fetchers: Vec<i32>,
}

#[derive(Debug)]
struct Position {
    span: Span,
    next: i64,
    leader: i32,
}

impl Position {
    fn is_done(&self) -> bool {
        self.span.until.is_some_and(|until| self.next >= until)
    }
}

/// Runs `body` with what `spans` of `topic` hold. Threads have ended when this returns. `abort` ends them early.
pub(crate) fn with_fetchers<T>(
    cluster: Cluster,
    topic: &Topic,
    spans: &[Span],
    reset: Reset,
    abort: &Stop,
    body: impl FnOnce(&Chunks) -> T,
) -> T {
    let position =
        |span: &Span| Position { span: *span, next: span.from, leader: topic.leader(span.partition).unwrap_or(-1) };
    let (filled, chunks) = sync_channel(CHUNKS_AHEAD);
    let (free, emptied) = channel();
    let shared = Shared {
        topic: topic.name.clone(),
        reset,
        abort: abort.clone(),
        cluster: Mutex::new(cluster),
        state: Mutex::new(State { positions: spans.iter().map(position).collect(), fetchers: Vec::new() }),
        free: Mutex::new(emptied),
    };
    let shared = &shared;
    thread::scope(|scope| {
        start_missing(scope, shared, &filled);
        drop(filled);
        let chunks = Chunks { chunks, free };
        let result = body(&chunks);
        shared.abort.set();
        // A fetcher that waits to hand something over is woken by this.
        drop(chunks);
        result
    })
}

fn start_missing<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared,
    filled: &SyncSender<Result<Chunk, Error>>,
) {
    let mut state = shared.lock();
    let mut leaders: Vec<i32> = state.positions.iter().map(|position| position.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    leaders.retain(|leader| !state.fetchers.contains(leader));
    state.fetchers.extend(&leaders);
    drop(state);
    for leader in leaders {
        let filled = filled.clone();
        scope.spawn(move || {
            if let Err(error) = run(scope, shared, leader, &filled) {
                // The reader may have left.
                let _ = filled.send(Err(error));
            }
        });
    }
}

/// Fetches what `broker` leads until every partition is done. -1 stands for no leader: it only looks for one.
fn run<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared,
    broker: i32,
    filled: &SyncSender<Result<Chunk, Error>>,
) -> Result<(), Error> {
    let mut last_good = Instant::now();
    while !shared.is_over() {
        let ended = if broker < 0 { shared.leaderless() } else { converse(shared, broker, filled, &mut last_good) };
        match ended {
            Ok(()) => last_good = Instant::now(),
            Err(Error::Stopped) => {}
            Err(error) if error.is_retriable() && last_good.elapsed() < PATIENCE => {
                sleep(BACKOFF);
                if let Ok(topic) = shared.refresh() {
                    for position in &mut shared.lock().positions {
                        position.leader = topic.leader(position.span.partition).unwrap_or(-1);
                    }
                    start_missing(scope, shared, filled);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fetches over one connection until it breaks, a leader moves, or all is done.
fn converse(
    shared: &Shared,
    broker: i32,
    filled: &SyncSender<Result<Chunk, Error>>,
    last_good: &mut Instant,
) -> Result<(), Error> {
    if !shared.leads(broker) {
        // Everything has moved away; it may come back.
        sleep(BACKOFF);
        return Ok(());
    }
    let address = shared.cluster.lock().expect("no thread panics while it asks").address(broker).unwrap_or_default();
    let mut connection = Connection::open(&address, &shared.abort)?;
    connection.require(ApiKey::Fetch, FETCH_VERSION)?;
    let mut asked = send(shared, broker, &mut connection)?;
    while let Some(Asked { correlation_id, wanted }) = asked {
        let free = shared.free.lock().expect("a plain value").try_recv();
        let mut frame = free.unwrap_or_default();
        connection.receive(&mut frame, Instant::now() + REPLY_WAIT)?;
        *last_good = Instant::now();
        let strange = || connection.strange("a Fetch answer that makes no sense".to_owned());
        let (answered, error_code, found) = wire::fetch_response(&frame).ok_or_else(strange)?;
        if answered != correlation_id {
            return Err(strange());
        }
        accept(shared.topic.as_str(), error_code, None)?;
        let mut parts = Vec::new();
        let mut wrong = Ok(());
        for part in found {
            let from = wanted.iter().find(|(partition, _)| *partition == part.partition).map(|(_, from)| *from);
            let from = from.ok_or_else(strange)?;
            match shared.advance(part.partition, from, part.error_code, &frame[part.records.clone()]) {
                Ok(0) => {}
                Ok(whole) => {
                    let at = part.records.start..part.records.start + whole;
                    parts.push((part.partition, from, at));
                }
                Err(error) => wrong = Err(error),
            }
        }
        // The next answer is on its way while this one is read.
        asked = if wrong.is_ok() { send(shared, broker, &mut connection)? } else { None };
        if !parts.is_empty() && filled.send(Ok(Chunk { frame, parts })).is_err() {
            return Err(Error::Stopped);
        }
        wrong?;
    }
    Ok(())
}

/// A Fetch that is under way: which partitions, from which offsets.
struct Asked {
    correlation_id: i32,
    wanted: Vec<(i32, i64)>,
}

/// Asks for everything that `broker` leads. `None` where there is nothing left to ask for.
fn send(shared: &Shared, broker: i32, connection: &mut Connection) -> Result<Option<Asked>, Error> {
    if shared.abort.is_set() {
        return Err(Error::Stopped);
    }
    let state = shared.lock();
    let led = state.positions.iter().filter(|position| position.leader == broker && !position.is_done());
    let mut wanted: Vec<(i32, i64)> = led.map(|position| (position.span.partition, position.next)).collect();
    drop(state);
    if wanted.is_empty() {
        return Ok(None);
    }
    let correlation_id = connection.next_correlation_id();
    // Whoever comes first in the request is served first when the answer is full: each in turn.
    let turn = usize::try_from(correlation_id).unwrap_or(0) % wanted.len();
    wanted.rotate_left(turn);
    let limits =
        FetchLimits { max_wait_ms: MAX_WAIT_MS, max_bytes: MAX_BYTES, partition_max_bytes: PARTITION_MAX_BYTES };
    let topics = [(shared.topic.as_str(), wanted.as_slice())];
    let frame = wire::fetch_request(correlation_id, &limits, topics.into_iter());
    connection.send(&mut [IoSlice::new(&frame)], Instant::now() + REPLY_WAIT)?;
    Ok(Some(Asked { correlation_id, wanted }))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the state")
    }

    fn is_over(&self) -> bool {
        self.abort.is_set() || self.lock().positions.iter().all(Position::is_done)
    }

    fn leads(&self, broker: i32) -> bool {
        self.lock().positions.iter().any(|position| position.leader == broker && !position.is_done())
    }

    /// Fails, so that leaders are looked for, while a partition has none.
    fn leaderless(&self) -> Result<(), Error> {
        if self.leads(-1) {
            return accept(self.topic.as_str(), ErrorCode::LeaderNotAvailable.code(), None);
        }
        sleep(BACKOFF);
        Ok(())
    }

    fn refresh(&self) -> Result<Topic, Error> {
        self.cluster.lock().expect("no thread panics while it asks").topic(&self.topic, false)
    }

    /// Moves a position past the whole batches of `records`; answers how many bytes these are.
    fn advance(&self, partition: i32, from: i64, error_code: i16, records: &[u8]) -> Result<usize, Error> {
        let what = || format!("{}-{partition}", self.topic);
        if ErrorCode::from_code(error_code) == Some(ErrorCode::OffsetOutOfRange) {
            self.reset(partition, from)?;
            return Ok(0);
        }
        accept(what(), error_code, None)?;
        let (mut next, mut whole) = (from, 0);
        for batch in Batches::new(records) {
            // An answer may end in the middle of a batch.
            let Ok(batch) = batch else { break };
            next = next.max(batch.header.next_offset().0);
            whole = batch.position + batch.bytes.len();
        }
        if whole == 0 && !records.is_empty() {
            let error = Batches::new(records).next().and_then(Result::err);
            return Err(error.map_or(Error::Stopped, |error| Error::Record { what: what(), error }));
        }
        self.move_to(partition, next);
        Ok(whole)
    }

    fn move_to(&self, partition: i32, next: i64) {
        let mut state = self.lock();
        if let Some(position) = state.positions.iter_mut().find(|position| position.span.partition == partition) {
            position.next = next;
        }
    }

    fn reset(&self, partition: i32, from: i64) -> Result<(), Error> {
        let mut cluster = self.cluster.lock().expect("no thread panics while it asks");
        let mut at = |moment| {
            let found = cluster.offsets_at(&self.topic, &[(partition, moment)])?;
            Ok::<_, Error>(found.get(&partition).copied().unwrap_or(0))
        };
        let next = match self.reset {
            Reset::Earliest => at(EARLIEST)?,
            Reset::Latest => at(LATEST)?,
            Reset::Fail => {
                let (start, end) = (at(EARLIEST)?, at(LATEST)?);
                let message =
                    format!("offset {from}; the log has {start} to {end}. --reset earliest or latest goes there");
                return accept(
                    format!("{}-{partition}", self.topic),
                    ErrorCode::OffsetOutOfRange.code(),
                    Some(&message.into()),
                );
            }
        };
        self.move_to(partition, next);
        Ok(())
    }
}

/// Answers that wait to be read, beside the one that is on its way.
const CHUNKS_AHEAD: usize = 2;
const MAX_WAIT_MS: i32 = 500;
const MAX_BYTES: i32 = 16 << 20;
const PARTITION_MAX_BYTES: i32 = 8 << 20;
/// A node that restarts is back before this; one that is not is told to the user.
const PATIENCE: Duration = Duration::from_secs(120);
const BACKOFF: Duration = Duration::from_millis(100);
