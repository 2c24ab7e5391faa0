//! One thread of a load: it waits for its sockets and its schedule, and for nothing else.
//!
//! **Invariants.** 1. In a closed loop a connection has at most `in_flight` requests under way. 2. In an open loop every
//! due request is sent, however late, and counted from when it was due. 3. After the window nothing new is sent; an open
//! loop then waits for every answer that it is owed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use super::clock::{Shared, Window, thread_cpu};
use super::connection::{Connection, Frame};
use super::measure::Measure;
use super::plan::{Plan, Request, Schedule};
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
    /// Sent or being sent, not answered: when each was due, and which it is.
    owed: VecDeque<(u64, usize)>,
}

struct Consumer {
    connection: Connection,
    /// The partitions it reads, and where it is in each.
    positions: Vec<(i32, i64)>,
    /// When the Fetch under way was sent.
    asked_ns: u64,
    request: Vec<u8>,
}

impl Worker {
    pub(super) fn new(
        plan: Plan,
        shared: Arc<Shared>,
        topic: &str,
        parameters: &Parameters,
        window: Duration,
        schedule: Option<Schedule>,
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
                Consumer { connection, positions, asked_ns: 0, request: Vec::new() }
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
            schedule,
            turn: 0,
            due: vec![Vec::new(); if plan.matches { partitions } else { 0 }],
            measure: Measure::new(window),
            last_answer_ns: 0,
        })
    }

    /// Runs to the window's end.
    pub(super) fn run(mut self) -> io::Result<Measure> {
        let mut events = Vec::with_capacity(self.producers.len() + self.consumers.len());
        let mut cpu_at_start = None;
        let mut busy = None;
        for index in 0..self.consumers.len() {
            self.ask(index)?;
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
        Ok(self.measure)
    }

    /// Whether everything that the window promised has come. A closed loop promises nothing.
    fn is_done(&mut self, now: u64, window: Window) -> bool {
        let Some(schedule) = &self.schedule else { return true };
        if schedule.due_ns() < window.to {
            return false;
        }
        let owed = self.producers.iter().any(|producer| !producer.owed.is_empty() || !producer.waiting.is_empty());
        let unread = self.consumers.iter().any(|consumer| {
            consumer.positions.iter().any(|(partition, offset)| {
                let sent = self.due.get(index_of(*partition)).map_or(0, Vec::len);
                offset / self.records_per_batch() < i64::try_from(sent).unwrap_or(0)
            })
        });
        if !owed && !unread {
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

    fn check_patience(&self, now: u64) -> io::Result<()> {
        let waits = self.producers.iter().any(|producer| !producer.owed.is_empty());
        if waits && now.saturating_sub(self.last_answer_ns) > PATIENCE_NS {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the broker has answered no request for 60 s"));
        }
        Ok(())
    }

    /// Sends what may be sent now. Answers how long nothing more is due.
    fn send(&mut self, now: u64, window: Window) -> io::Result<u64> {
        let Some(mut schedule) = self.schedule else {
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
        let producer = &mut self.producers[index];
        loop {
            if !producer.connection.is_sending() {
                let now = self.shared.now_ns();
                let due = if self.parameters.mode == Mode::Rate {
                    let Some(due) = producer.waiting.pop_front() else { break };
                    due
                } else if producer.owed.len() < self.parameters.in_flight && now < self.shared.window().to {
                    now
                } else {
                    break;
                };
                let number = producer.next;
                producer.next = (number + 1) % producer.requests.len();
                let request = &producer.requests[number];
                if !self.due.is_empty() {
                    request.partitions.iter().for_each(|partition| self.due[index_of(*partition)].push(due));
                }
                producer.owed.push_back((due, number));
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
        if let Some((due, number)) = producer.owed.pop_front() {
            let request = Arc::clone(&producer.requests[number]);
            self.count(&request, due, now);
        }
    }

    fn count(&mut self, request: &Request, due: u64, now: u64) {
        let window = self.shared.window();
        let shown = self.consumers.is_empty();
        self.measure.acknowledged(window, due, now, request.records, request.bytes, shown);
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
                let (due, number) = producer.owed.pop_front().ok_or_else(|| strange("an answer to no request"))?;
                let request = Arc::clone(&producer.requests[number]);
                match answers.iter().find(|(_, error, _)| *error != 0) {
                    Some((_, error, _)) => self.measure.error(&error_name(*error)),
                    None => self.count(&request, due, now),
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
            if self.take_answer(index)? {
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
