//! One thread of a load: it waits for its sockets and its schedule, and for nothing else.
//!
//! **Invariants.** 1. A connection has at most `in_flight` requests under way in a closed loop, `in_flight_at_rate` in an
//! open one. 2. In an open loop every due request is sent, however late, and counted from when it was due. 3. After the
//! window nothing new is sent, and every answer that is owed is waited for, so that a run leaves nothing to the next one;
//! only the long poll of a consumer beside producers may stay under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{io, mem};

use rustix::event::{Timespec, epoll};

use super::clock::{Shared, Window, thread_cpu};
use super::connection::{Connection, Frame};
use super::measure::Measure;
use super::plan::{Plan, Request};
use super::schedule::Schedule;
use crate::bench::parameters::{Mode, Parameters};
use crate::bench::wire;
use crate::protocol::ErrorCode;

/// What a thread needs beside its plan.
pub(super) struct Worker {
    shared: Arc<Shared>,
    topic: String,
    parameters: Parameters,
    poller: std::os::fd::OwnedFd,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// Which of how many threads this is.
    place: (usize, usize),
    schedule: Option<Schedule>,
    turn: usize,
    /// When each batch of each partition was due, where consumers want to know. By partition, in the order sent.
    due: Vec<Vec<u64>>,
    measure: Measure,
    last_answer_ns: u64,
}

struct Producer {
    connection: Connection,
    requests: Vec<Arc<Request>>,
    next: usize,
    /// Due and not begun, in an open loop.
    waiting: VecDeque<u64>,
    /// Sent or being sent, not answered.
    owed: VecDeque<Owed>,
}

/// A request that is to be answered: when it was due, when it was handed to the socket, and which of the connection's it is.
struct Owed {
    due: u64,
    sent: u64,
    number: usize,
}

struct Consumer {
    connection: Connection,
    /// The partitions it reads, and where it is in each.
    positions: Vec<(i32, i64)>,
    /// When the Fetch under way was sent, and whether there is one.
    asked_ns: u64,
    asked: bool,
    request: Vec<u8>,
}

impl Worker {
    pub(super) fn new(
        plan: Plan,
        shared: Arc<Shared>,
        topic: &str,
        parameters: &Parameters,
        place: (usize, usize),
    ) -> io::Result<Self> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let producers: Vec<Producer> = plan
            .producers
            .into_iter()
            .map(|(connection, requests)| Producer {
                connection,
                requests,
                next: 0,
                waiting: VecDeque::new(),
                owed: VecDeque::new(),
            })
            .collect();
        let consumers: Vec<Consumer> = plan
            .consumers
            .into_iter()
            .map(|(connection, partitions)| {
                let positions = partitions.into_iter().map(|partition| (partition, 0)).collect();
                Consumer { connection, positions, asked_ns: 0, asked: false, request: Vec::new() }
            })
            .collect();
        let sockets = producers.iter().map(|producer| &producer.connection);
        for (index, connection) in sockets.chain(consumers.iter().map(|consumer| &consumer.connection)).enumerate() {
            epoll::add(&poller, connection.fd(), data(index), epoll::EventFlags::IN)?;
        }
        let partitions = usize::try_from(parameters.partitions).unwrap_or(0);
        Ok(Self {
            shared,
            topic: topic.to_owned(),
            parameters: parameters.clone(),
            poller,
            producers,
            consumers,
            place,
            schedule: None,
            turn: 0,
            due: vec![Vec::new(); if plan.matches { partitions } else { 0 }],
            measure: Measure::new(Duration::ZERO),
            last_answer_ns: 0,
        })
    }

    /// Runs to the end of a window of this length; an open loop begins at `start_ns`.
    pub(super) fn run(&mut self, window: Duration, start_ns: u64) -> io::Result<Measure> {
        self.measure = Measure::new(window);
        self.schedule = Schedule::of(&self.parameters, self.place, start_ns);
        self.turn = 0;
        self.last_answer_ns = self.shared.now_ns();
        let mut events = Vec::with_capacity(self.producers.len() + self.consumers.len());
        let mut cpu_at_start = None;
        let mut busy = None;
        for index in 0..self.consumers.len() {
            if !self.consumers[index].asked {
                self.ask(index)?;
            }
        }
        loop {
            let (now, window) = (self.shared.now_ns(), self.shared.window());
            if cpu_at_start.is_none() && now >= window.from {
                cpu_at_start = Some((thread_cpu(), now));
            }
            if now >= window.to && busy.is_none() {
                busy = cpu_at_start.map(|(cpu, at)| (thread_cpu().saturating_sub(cpu), now - at));
            }
            if self.shared.given_up() || now >= window.to && self.is_done(now, window) {
                break;
            }
            self.check_patience(now)?;
            let sleep = self.send(now, window)?;
            events.clear();
            epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut events), Some(&timespec(sleep)))?;
            for event in &events {
                let index = usize::try_from(event.data.u64()).expect("our own number");
                if index < self.producers.len() {
                    self.serve_producer(index)?;
                } else {
                    self.serve_consumer(index - self.producers.len())?;
                }
            }
        }
        if let Some((cpu, wall)) = busy {
            self.measure.busy = cpu;
            self.measure.wall = Duration::from_nanos(wall);
        }
        Ok(mem::replace(&mut self.measure, Measure::new(Duration::ZERO)))
    }

    /// Whether everything has come that this run asked for.
    fn is_done(&mut self, now: u64, window: Window) -> bool {
        if self.schedule.as_ref().is_some_and(|schedule| schedule.due_ns() < window.to) {
            return false;
        }
        let owed = self.producers.iter().any(|producer| !producer.owed.is_empty() || !producer.waiting.is_empty());
        let asked = self.producers.is_empty() && self.consumers.iter().any(|consumer| consumer.asked);
        let unread = self.schedule.is_some() && self.is_unread();
        if !(owed || asked || unread) {
            return true;
        }
        let given_up = now > window.to.saturating_add(DRAIN_NS);
        if given_up {
            let missing =
                self.producers.iter().map(|producer| producer.owed.len() + producer.waiting.len()).sum::<usize>();
            *self.measure.errors.entry("no answer within 30 s".to_owned()).or_default() += missing.max(1) as u64;
        }
        given_up
    }

    /// Whether a consumer has not read all that was sent. A closed loop is not asked: its consumers may be far behind.
    fn is_unread(&self) -> bool {
        self.consumers.iter().any(|consumer| {
            consumer.positions.iter().any(|(partition, offset)| {
                let sent = self.due.get(index_of(*partition)).map_or(0, Vec::len);
                offset / self.records_per_batch() < i64::try_from(sent).unwrap_or(0)
            })
        })
    }

    fn check_patience(&self, now: u64) -> io::Result<()> {
        let waits = self.producers.iter().any(|producer| !producer.owed.is_empty());
        if waits && now.saturating_sub(self.last_answer_ns) > PATIENCE_NS {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the broker has answered no request for 60 s"));
        }
        Ok(())
    }

    /// Sends what may be sent now. Answers how long nothing more is due.
    fn send(&mut self, now: u64, window: Window) -> io::Result<u64> {
        let Some(mut schedule) = self.schedule.take() else {
            // A closed loop sends when it is answered; this is how it begins.
            if now < window.to && self.turn == 0 {
                self.turn = 1;
                for index in 0..self.producers.len() {
                    self.fill(index)?;
                }
            }
            return Ok(IDLE_NS);
        };
        let mut due = schedule.due_ns();
        while due <= now && due < window.to && !self.producers.is_empty() {
            let index = self.turn % self.producers.len();
            self.turn += 1;
            // Late so far is our doing; from here on it may be the broker's, where its socket takes nothing.
            if window.has(due) {
                self.measure.lag.saturating_record(self.shared.now_ns().saturating_sub(due).div_ceil(1_000));
            }
            self.producers[index].waiting.push_back(due);
            self.fill(index)?;
            schedule.advance();
            due = schedule.due_ns();
        }
        self.schedule = Some(schedule);
        Ok(due.saturating_sub(self.shared.now_ns()).min(IDLE_NS))
    }

    /// Sends on one connection whatever may go out.
    fn fill(&mut self, index: usize) -> io::Result<()> {
        let acknowledged = self.parameters.acks != "0";
        let limit = match self.parameters.mode {
            Mode::Rate => self.parameters.in_flight_at_rate.unwrap_or(usize::MAX),
            Mode::Saturate => self.parameters.in_flight,
        };
        let producer = &mut self.producers[index];
        loop {
            if !producer.connection.is_sending() {
                let now = self.shared.now_ns();
                if producer.owed.len() >= limit {
                    break;
                }
                let due = match self.parameters.mode {
                    Mode::Rate => producer.waiting.pop_front(),
                    Mode::Saturate => (now < self.shared.window().to).then_some(now),
                };
                let Some(due) = due else { break };
                let number = producer.next;
                producer.next = (number + 1) % producer.requests.len();
                let request = &producer.requests[number];
                if !self.due.is_empty() {
                    request.partitions.iter().for_each(|partition| self.due[index_of(*partition)].push(due));
                }
                producer.owed.push_back(Owed { due, sent: now, number });
                producer.connection.begin(request.frame.clone());
            }
            if !producer.connection.flush()? {
                break;
            }
            if !acknowledged {
                self.count_unacknowledged(index);
                return self.watch(index);
            }
        }
        self.watch(index)
    }

    /// With acks=0 a request is done when the socket has taken it.
    fn count_unacknowledged(&mut self, index: usize) {
        let now = self.shared.now_ns();
        self.last_answer_ns = now;
        let producer = &mut self.producers[index];
        if let Some(owed) = producer.owed.pop_front() {
            let request = Arc::clone(&producer.requests[owed.number]);
            self.count(&request, &owed, now);
        }
    }

    fn count(&mut self, request: &Request, owed: &Owed, now: u64) {
        let window = self.shared.window();
        let shown = self.consumers.is_empty();
        self.measure.acknowledged(window, owed.due, now, request.records, request.bytes, shown);
        if self.parameters.mode == Mode::Rate {
            self.measure.served(window, owed.due, owed.sent, now);
        }
        self.shared.bytes.fetch_add(request.bytes, Ordering::Relaxed);
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the poller whether the connection waits for room.
    fn watch(&mut self, index: usize) -> io::Result<()> {
        let endless = self.parameters.acks == "0" && self.parameters.mode == Mode::Saturate;
        let connection = &mut self.producers[index].connection;
        // With acks=0 there is no answer that would wake a closed loop: room in the socket does.
        let wants = connection.is_sending() || endless;
        if wants != connection.wants_write {
            connection.wants_write = wants;
            let flags = if wants { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            epoll::modify(&self.poller, connection.fd(), data(index), flags)?;
        }
        Ok(())
    }

    fn serve_producer(&mut self, index: usize) -> io::Result<()> {
        loop {
            let more = self.producers[index].connection.receive()?;
            while let Some(answers) = self.producers[index].connection.frame()?.map(wire::produce_answers) {
                let now = self.shared.now_ns();
                self.last_answer_ns = now;
                let answers = answers.ok_or_else(|| strange("a Produce answer that is none"))?;
                let producer = &mut self.producers[index];
                let owed = producer.owed.pop_front().ok_or_else(|| strange("an answer to no request"))?;
                let request = Arc::clone(&producer.requests[owed.number]);
                match answers.iter().find(|(_, error, _)| *error != 0) {
                    Some((_, error, _)) => self.measure.error(&error_name(*error)),
                    None => self.count(&request, &owed, now),
                }
            }
            if !more {
                break;
            }
        }
        self.fill(index)
    }

    fn serve_consumer(&mut self, index: usize) -> io::Result<()> {
        self.consumers[index].connection.flush()?;
        loop {
            let more = self.consumers[index].connection.receive()?;
            if self.take_answer(index)? && (self.schedule.is_some() || self.shared.now_ns() < self.shared.window().to) {
                self.ask(index)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Takes the answer to the consumer's Fetch, if it is all there.
    fn take_answer(&mut self, index: usize) -> io::Result<bool> {
        let consumer = &mut self.consumers[index];
        let Some(frame) = consumer.connection.frame()? else { return Ok(false) };
        consumer.asked = false;
        let (now, window) = (self.shared.now_ns(), self.shared.window());
        let (error, found) = wire::fetch_answers(frame).ok_or_else(|| strange("a Fetch answer that is none"))?;
        if error != 0 {
            self.measure.error(&error_name(error));
        }
        let alone = self.producers.is_empty();
        let per_batch = i64::try_from(self.parameters.records_per_batch).unwrap_or(1);
        let (mut bytes, mut records) = (0, 0);
        for fetched in found {
            let Some((_, position)) = consumer.positions.iter_mut().find(|(own, _)| *own == fetched.partition) else {
                return Err(strange("records of a partition that was not asked for"));
            };
            if fetched.error != 0 {
                self.measure.error(&error_name(fetched.error));
            }
            for (base, last, batch) in wire::batches(fetched.records) {
                if base != *position {
                    self.measure.error("a batch is missing or comes twice");
                }
                bytes += batch.len() as u64;
                records += u64::try_from(last - base + 1).unwrap_or(0);
                *position = last + 1;
                let due = self.due.get(index_of(fetched.partition)).filter(|_| !alone);
                if let Some(due) = due.and_then(|due| due.get(usize::try_from(base / per_batch).ok()?)) {
                    self.measure.arrived(window, *due, now);
                }
            }
            if alone && fetched.error == 0 && fetched.records.is_empty() {
                // The end of the log: a catch-up begins again.
                *position = 0;
            }
        }
        self.measure.fetched(window, consumer.asked_ns, now, (bytes, records), alone);
        if alone {
            self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.shared.requests.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// Sends the consumer's next Fetch.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let wait_ms = if self.producers.is_empty() { 0 } else { LONG_POLL_MS };
        let consumer = &mut self.consumers[index];
        let bytes = self.parameters.fetch_bytes;
        // Of several partitions the last may be answered empty for want of room; alone, empty means the log's end.
        let asked = if self.producers.is_empty() { &consumer.positions[..1] } else { &consumer.positions };
        wire::fetch_into(&mut consumer.request, &self.topic, asked, wait_ms, bytes);
        consumer.asked_ns = self.shared.now_ns();
        consumer.asked = true;
        consumer.connection.begin(Frame { head: consumer.request.as_slice().into(), batch: Arc::from([]) });
        if !consumer.connection.flush()? {
            return Err(strange("a broker that does not take a Fetch request"));
        }
        // Positions turn, as a client's do: the answer's bytes go to whoever stands first.
        consumer.positions.rotate_left(1);
        Ok(())
    }

    fn records_per_batch(&self) -> i64 {
        i64::try_from(self.parameters.records_per_batch).unwrap_or(1)
    }
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker is no Kafka broker, or this is a defect: {what}"))
}

fn error_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |code| code.name().to_owned())
}

fn index_of(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}

fn data(index: usize) -> epoll::EventData {
    epoll::EventData::new_u64(index as u64)
}

fn timespec(ns: u64) -> Timespec {
    let number = |value: u64| i64::try_from(value).expect("at most a second");
    Timespec { tv_sec: number(ns / 1_000_000_000), tv_nsec: number(ns % 1_000_000_000) }
}

/// How long a thread sleeps where nothing is due: it looks at the window's end that often.
const IDLE_NS: u64 = 10_000_000;
/// How long an open loop waits for its last answers.
const DRAIN_NS: u64 = 30_000_000_000;
/// How long a broker may answer nothing at all.
const PATIENCE_NS: u64 = 60_000_000_000;
const LONG_POLL_MS: i32 = 500;
