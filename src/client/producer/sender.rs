//! The way to one broker: requests in flight on one connection, answers read beside, and a new connection where the old
//! one broke.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Mutex;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::is_appended;
use super::queue::Shared;
use crate::client::connection::REPLY_WAIT;
use crate::client::wire::{self, PRODUCE_VERSION};
use crate::client::{Connection, Error};
use crate::protocol::ApiKey;

/// One connection's requests that are not answered, oldest first.
#[derive(Debug, Default)]
struct Flight {
    requests: Mutex<VecDeque<Request>>,
}

#[derive(Debug)]
struct Request {
    correlation_id: i32,
    sent: Instant,
    batches: Vec<(usize, Batch)>,
}

/// Starts a sender for each leader that has none.
pub(super) fn start_missing<'scope>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared) {
    let mut state = shared.lock();
    let mut leaders: Vec<i32> = state.partitions.iter().map(|queue| queue.leader).filter(|id| *id >= 0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    leaders.retain(|leader| !state.senders.contains(leader));
    state.senders.extend(&leaders);
    drop(state);
    for leader in leaders {
        scope.spawn(move || run(scope, shared, leader));
    }
}

/// Sends what `broker` leads until the producer ends.
fn run<'scope>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared, broker: i32) {
    let mut backoff = RECONNECT_BACKOFF_MIN;
    let mut connection_id = 0_i32;
    while !shared.lock().ended {
        refresh_if_due(scope, shared);
        let address = shared.cluster.lock().expect("no thread panics while it asks").address(broker);
        // A broker that has left has no address any more; it may come back.
        let address = address.unwrap_or_default();
        let opened = Connection::open(&address, &shared.abort).and_then(|connection| {
            connection.require(ApiKey::Produce, PRODUCE_VERSION)?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => {
                backoff = RECONNECT_BACKOFF_MIN;
                converse(scope, shared, broker, &connection, &mut connection_id);
            }
            Err(Error::Stopped) => return,
            Err(error) if error.is_retriable() => {
                shared.note(&error);
                let until = Instant::now() + backoff;
                backoff = (backoff * 2).min(RECONNECT_BACKOFF_MAX);
                let mut state = shared.lock();
                while !state.ended && Instant::now() < until {
                    shared.expire(&mut state);
                    state = shared.wait(state);
                }
            }
            Err(error) => return shared.fail(error),
        }
    }
}

/// Looks for leaders where somebody asked for it. Nothing is changed where nobody answers.
fn refresh_if_due<'scope>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared) {
    {
        let mut state = shared.lock();
        if state.ended || state.refresh_at.is_none_or(|moment| moment > Instant::now()) {
            return;
        }
        state.refresh_at = None;
    }
    let found = shared.cluster.lock().expect("no thread panics while it asks").topic(shared.topic(), false);
    match found {
        Ok(topic) => {
            let mut state = shared.lock();
            for partition in &topic.partitions {
                if let Some(index) = shared.index(partition.partition) {
                    state.partitions[index].leader = partition.leader;
                }
            }
            if state.partitions.iter().any(|queue| queue.leader < 0) {
                state.refresh_at = Some(Instant::now() + REFRESH_PAUSE);
            }
            drop(state);
            start_missing(scope, shared);
        }
        Err(_) => shared.lock().refresh_at = Some(Instant::now() + REFRESH_PAUSE),
    }
}

/// Uses one connection until it breaks or the producer ends. What was in flight goes back to its place.
fn converse<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared,
    broker: i32,
    connection: &Connection,
    correlation_id: &mut i32,
) {
    let flight = Flight::default();
    let broken = Mutex::new(None);
    thread::scope(|here| {
        here.spawn(|| {
            if let Err(error) = receive(shared, &flight, connection, &broken) {
                broken.lock().expect("a plain value").get_or_insert(error);
                shared.work.notify_all();
            }
        });
        if let Err(error) = send(scope, shared, broker, connection, &flight, &broken, correlation_id) {
            broken.lock().expect("a plain value").get_or_insert(error);
        }
        connection.shut_down();
        shared.work.notify_all();
    });
    let error = broken.into_inner().expect("a plain value");
    let mut state = shared.lock();
    for request in flight.requests.into_inner().expect("a plain value") {
        for (partition, batch) in request.batches {
            shared.send_again(&mut state, partition, batch, Duration::ZERO);
        }
    }
    drop(state);
    match error {
        Some(Error::Stopped) | None => {}
        Some(error) if error.is_retriable() => shared.note(&error),
        Some(error) => shared.fail(error),
    }
}

/// Keeps requests in flight. Ends when the producer does, or the other direction broke.
fn send<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared,
    broker: i32,
    connection: &Connection,
    flight: &Flight,
    broken: &Mutex<Option<Error>>,
    correlation_id: &mut i32,
) -> Result<(), Error> {
    let config = shared.config();
    loop {
        refresh_if_due(scope, shared);
        let mut state = shared.lock();
        let batches = loop {
            if state.ended || broken.lock().expect("a plain value").is_some() {
                return Ok(());
            }
            let in_flight = flight.requests.lock().expect("a plain value").len();
            let batches =
                if in_flight < config.max_in_flight { shared.take_ready(&mut state, broker) } else { Vec::new() };
            if !batches.is_empty() {
                break batches;
            }
            shared.expire(&mut state);
            if state.refresh_at.is_some_and(|moment| moment <= Instant::now()) {
                break batches;
            }
            state = shared.wait(state);
        };
        drop(state);
        if batches.is_empty() {
            continue;
        }
        *correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
        let parts: Vec<_> = batches.iter().map(|(index, batch)| (shared.number(*index), batch.bytes.clone())).collect();
        let sizes: Vec<(i32, usize)> = parts.iter().map(|(number, bytes)| (*number, bytes.len())).collect();
        let frame = wire::produce_request(*correlation_id, config.acks, TIMEOUT_MS, shared.topic(), &sizes);
        let request = Request { correlation_id: *correlation_id, sent: Instant::now(), batches };
        flight.requests.lock().expect("a plain value").push_back(request);
        shared.work.notify_all();
        let mut slices = Vec::with_capacity(2 * parts.len() + 1);
        let mut from = 0;
        for (cut, (_, bytes)) in frame.cuts.iter().zip(&parts) {
            slices.push(IoSlice::new(&frame.bytes[from..*cut]));
            slices.push(IoSlice::new(bytes));
            from = *cut;
        }
        slices.push(IoSlice::new(&frame.bytes[from..]));
        connection.send(&mut slices, Instant::now() + REPLY_WAIT)?;
        drop(parts);
        if config.acks == 0 {
            acknowledge_sent(shared, flight);
        }
    }
}

/// At acks=0 what the kernel has taken is all that is ever known.
fn acknowledge_sent(shared: &Shared, flight: &Flight) {
    let request = flight.requests.lock().expect("a plain value").pop_back();
    let mut state = shared.lock();
    for (partition, batch) in request.into_iter().flat_map(|request| request.batches) {
        shared.acknowledge(&mut state, partition, batch);
    }
}

/// Reads answers until the connection ends.
fn receive(
    shared: &Shared,
    flight: &Flight,
    connection: &Connection,
    broken: &Mutex<Option<Error>>,
) -> Result<(), Error> {
    let mut answer = Vec::new();
    loop {
        let mut state = shared.lock();
        let sent = loop {
            if state.ended || broken.lock().expect("a plain value").is_some() {
                return Ok(());
            }
            let oldest = flight.requests.lock().expect("a plain value").front().map(|request| request.sent);
            match oldest.filter(|_| shared.config().acks != 0) {
                Some(sent) => break sent,
                None => state = shared.wait(state),
            }
        };
        drop(state);
        connection.receive(&mut answer, sent + REPLY_WAIT)?;
        let strange = || connection.strange("a Produce answer that makes no sense".to_owned());
        let (correlation_id, produced) = wire::produce_response(&answer).ok_or_else(strange)?;
        let request = flight.requests.lock().expect("a plain value").pop_front().ok_or_else(strange)?;
        let matches = request.correlation_id == correlation_id;
        let mut state = shared.lock();
        for (index, batch) in request.batches {
            let found = produced.iter().find(|found| found.partition == shared.number(index));
            match found.filter(|_| matches) {
                Some(found) if is_appended(found.error_code) => shared.acknowledge(&mut state, index, batch),
                Some(found) => {
                    shared.answered(&mut state, index, batch, found.error_code, found.message.clone());
                }
                None => shared.send_again(&mut state, index, batch, Duration::ZERO),
            }
        }
        drop(state);
        shared.work.notify_all();
        if !matches {
            return Err(strange());
        }
    }
}

const TIMEOUT_MS: i32 = 30_000;
const REFRESH_PAUSE: Duration = Duration::from_millis(200);
/// `reconnect.backoff.ms` and `reconnect.backoff.max.ms` of Kafka.
const RECONNECT_BACKOFF_MIN: Duration = Duration::from_millis(50);
const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(1);
