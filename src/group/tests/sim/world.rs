//! The world around a coordinator: clients, network, log, time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::rc::Rc;

use super::check::{Checker, Counts, Stood};
use super::client::{Client, PARTITIONS, Phase, Request, TOPIC, read_assignment};
use super::{Dice, number};
use crate::group::records::{Key, OffsetCommitValue};
use crate::group::sabotage::Sabotage;
use crate::group::tests::node::{EPOCH_MS, text};
use crate::group::{
    AppendFailure, AppendId, Budget, Caller, Config, Coordinator, Effect, Now, Reply, Rewrite, RewriteState, WaiterId,
};
pub(super) use crate::protocol::cold::join_group_response::JoinGroupResponseMember as JoinMember;
use crate::protocol::cold::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::record::build::NewRecord;
use crate::types::{Offset, TopicId};

/// How long things go wrong, and how long all is quiet after that.
const CHAOS_MS: u64 = 30_000;
const QUIET_MS: u64 = 40_000;
/// The longest that a message is under way.
const DELAY_MS: u64 = 400;
/// The longest that an append is not durable.
const FLUSH_MS: u64 = 600;

/// Something that happens.
#[derive(Debug)]
enum Event {
    Step(usize),
    Arrive { client: usize, connection: u64, number: u64, request: Request },
    Answer { client: usize, connection: u64, number: u64, reply: Reply },
    Durable { life: u64 },
    Crash,
    Start,
    Compact { life: u64 },
    Revive(usize),
}

struct Scheduled {
    at_ms: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.sequence) == (other.at_ms, other.sequence)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.sequence).cmp(&(other.at_ms, other.sequence))
    }
}

/// A request that the coordinator has, and what is to be checked of its answer.
#[derive(Debug)]
struct Pending {
    client: usize,
    connection: u64,
    number: u64,
    about: About,
}

#[derive(Debug)]
enum About {
    Join,
    Sync { member_id: String, generation: i32 },
    Commit { partition: i32, value: i64, generation: i32, least: i32 },
    Other,
}

/// A record, at its offset less that of the first one.
type Record = (Vec<u8>, Option<Vec<u8>>);

pub(super) struct World {
    dice: Dice,
    now_ms: u64,
    sequence: u64,
    events: BinaryHeap<Reverse<Scheduled>>,
    clients: Vec<Client>,
    coordinator: Option<Coordinator>,
    /// Which life of the node it is.
    life: u64,
    sabotage: Sabotage,
    log: VecDeque<Record>,
    log_start: usize,
    /// Batches that are in the log and not durable: id, base offset.
    in_flight: VecDeque<(AppendId, usize, usize)>,
    rewrite: Option<Rewrite>,
    pending: BTreeMap<WaiterId, Pending>,
    numbers: u64,
    next_value: i64,
    checker: Checker,
    traced: Option<Vec<String>>,
    printed: bool,
}

impl World {
    pub(super) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut dice = Dice(seed);
        let versions = [3, 5, 7, 9];
        let mut version = || versions[usize::try_from(dice.below(4)).expect("small")];
        let mut clients: Vec<Client> = (0..3).map(|_| Client::new("a", None, version())).collect();
        clients.push(Client::new("a", Some("s-1"), version().max(5)));
        clients.push(Client::new("b", Some("s-1"), version().max(5)));
        clients.push(Client::new("b", Some("s-2"), version().max(5)));
        clients.push(Client::new("b", None, version()));
        let mut world = Self {
            dice,
            now_ms: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            clients,
            coordinator: None,
            life: 0,
            sabotage,
            log: VecDeque::new(),
            log_start: 0,
            in_flight: VecDeque::new(),
            rewrite: None,
            pending: BTreeMap::new(),
            numbers: 0,
            next_value: 0,
            checker: Checker::default(),
            traced: None,
            printed: number("GROUP_SIM_TRACE").is_some(),
        };
        world.start();
        for client in 0..world.clients.len() {
            world.after(0, 2_000, Event::Step(client));
        }
        world.after(2_000, 15_000, Event::Crash);
        world
    }

    pub(super) fn keep_trace(&mut self) {
        self.traced = Some(Vec::new());
    }

    pub(super) fn run_and_trace(mut self) -> Result<Vec<String>, String> {
        self.run_through()?;
        Ok(self.traced.unwrap_or_default())
    }

    pub(super) fn run(mut self) -> Result<Counts, String> {
        self.run_through()?;
        Ok(self.checker.counts)
    }

    fn run_through(&mut self) -> Result<(), String> {
        self.run_until(CHAOS_MS)?;
        for client in 0..self.clients.len() {
            if !self.clients[client].alive {
                self.happen(Event::Revive(client));
            }
        }
        self.run_until(CHAOS_MS + QUIET_MS)?;
        self.check_end();
        self.checker.take_fault().map_or(Ok(()), Err)
    }

    fn is_quiet(&self) -> bool {
        self.now_ms >= CHAOS_MS
    }

    fn run_until(&mut self, end_ms: u64) -> Result<(), String> {
        loop {
            let event_ms = self.events.peek().map_or(u64::MAX, |Reverse(scheduled)| scheduled.at_ms);
            let deadline = self.coordinator.as_ref().and_then(Coordinator::next_deadline);
            let tick_ms = deadline.map_or(u64::MAX, |deadline| deadline.max(self.now_ms));
            if event_ms.min(tick_ms) > end_ms {
                self.now_ms = end_ms;
                return Ok(());
            }
            if tick_ms <= event_ms {
                self.now_ms = tick_ms;
                self.call(|coordinator, now| coordinator.tick(now));
            } else if let Some(Reverse(scheduled)) = self.events.pop() {
                self.now_ms = scheduled.at_ms;
                self.happen(scheduled.event);
            }
            if let Some(fault) = self.checker.take_fault() {
                return Err(format!("at {} ms: {fault}", self.now_ms));
            }
        }
    }

    fn after(&mut self, from_ms: u64, to_ms: u64, event: Event) {
        let at_ms = self.now_ms + self.dice.between(from_ms, to_ms);
        self.sequence += 1;
        self.events.push(Reverse(Scheduled { at_ms, sequence: self.sequence, event }));
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.printed || self.traced.is_some() {
            let line = format!("{:>6} {}", self.now_ms, line());
            if self.printed {
                println!("{line}");
            }
            self.traced.iter_mut().for_each(|lines| lines.push(line.clone()));
        }
    }

    fn happen(&mut self, event: Event) {
        if !matches!(event, Event::Step(_)) {
            self.trace(|| format!("{event:?}"));
        }
        match event {
            Event::Step(client) => self.step(client),
            Event::Arrive { client, connection, number, request } => self.arrive(client, connection, number, request),
            Event::Answer { client, connection, number, reply } => self.answer(client, connection, number, reply),
            Event::Durable { life } if life == self.life => self.flush(),
            Event::Compact { life } if life == self.life => self.compact(),
            Event::Durable { .. } | Event::Compact { .. } => {}
            Event::Crash => self.crash(),
            Event::Start => self.start(),
            Event::Revive(client) => {
                self.checker.counts.static_returns += u64::from(self.clients[client].instance_id.is_some());
                self.clients[client].restart();
            }
        }
    }

    fn step(&mut self, client: usize) {
        self.after(50, 400, Event::Step(client));
        let now_ms = self.now_ms;
        if !self.clients[client].alive || self.clients[client].frozen_until_ms > now_ms {
            return;
        }
        if !self.is_quiet() {
            match self.dice.below(1_000) {
                0..4 => self.clients[client].frozen_until_ms = now_ms + self.dice.between(2_000, 12_000),
                4..8 => return self.die(client),
                8..11 => {
                    let leave = self.clients[client].leave();
                    self.send(client, leave);
                    return self.die(client);
                }
                11..20 => {
                    self.checker.counts.lost_connections += 1;
                    self.clients[client].connection += 1;
                }
                _ => {}
            }
        }
        let requests = self.clients[client].step(now_ms, &mut self.dice, &mut self.next_value);
        for request in requests {
            self.send(client, request);
        }
    }

    fn die(&mut self, client: usize) {
        self.trace(|| format!("client {client} dies"));
        self.clients[client].alive = false;
        self.after(500, 9_000, Event::Revive(client));
    }

    fn send(&mut self, client: usize, request: Request) {
        self.numbers += 1;
        let number = self.numbers;
        if matches!(request, Request::Join(_) | Request::Sync(_)) {
            self.clients[client].awaits = number;
        }
        let connection = self.clients[client].connection;
        self.after(1, DELAY_MS, Event::Arrive { client, connection, number, request });
    }

    /// A request comes to the node. If that is down, the connection is refused.
    fn arrive(&mut self, client: usize, connection: u64, number: u64, request: Request) {
        if self.coordinator.is_none() {
            return;
        }
        let to = WaiterId(number);
        let group = self.clients[client].group;
        let version = self.clients[client].version;
        let caller = Caller { client_id: "c", client_host: "/127.0.0.1", version };
        let about = match &request {
            Request::Join(_) => About::Join,
            Request::Sync(sync) => {
                About::Sync { member_id: sync.member_id.to_string(), generation: sync.generation_id }
            }
            Request::Commit(commit, partition, value) => About::Commit {
                partition: *partition,
                value: *value,
                generation: commit.generation_id_or_member_epoch,
                least: self.checker.current(group),
            },
            Request::Fetch(partition) => return self.fetch(group, *partition),
            Request::Heartbeat(_) | Request::Leave(_) => About::Other,
        };
        self.pending.insert(to, Pending { client, connection, number, about });
        self.call(|coordinator, now| match &request {
            Request::Join(request) => coordinator.join(now, caller, request, to),
            Request::Sync(request) => coordinator.sync(now, caller, request, to),
            Request::Heartbeat(request) => coordinator.heartbeat(now, request, to),
            Request::Leave(request) => coordinator.leave(now, Caller { version: 5, ..caller }, request, to),
            Request::Commit(request, ..) => coordinator.commit(now, 9, request, &|_| Some(TopicId::ZERO), to),
            Request::Fetch(_) => Vec::new(),
        });
    }

    fn fetch(&mut self, group: &'static str, partition: i32) {
        let topic = OffsetFetchRequestTopics {
            name: text(TOPIC),
            partition_indexes: vec![partition],
            ..OffsetFetchRequestTopics::default()
        };
        let request = OffsetFetchRequestGroup {
            group_id: text(group),
            topics: Some(vec![topic]),
            ..OffsetFetchRequestGroup::default()
        };
        let Some(coordinator) = &self.coordinator else { return };
        let value = coordinator.fetch(&request).topics[0].partitions[0].committed_offset;
        self.checker.read((group, partition), value);
    }

    fn call(&mut self, call: impl FnOnce(&mut Coordinator, Now) -> Vec<Effect>) {
        let wall_ms = EPOCH_MS + i64::try_from(self.now_ms).expect("not so late");
        let now = Now { monotonic_ms: self.now_ms, wall_ms };
        let Some(coordinator) = &mut self.coordinator else { return };
        for effect in call(coordinator, now) {
            self.trace(|| format!("  {effect:?}"));
            match effect {
                Effect::Reply { to, reply } => self.reply(to, reply),
                Effect::Append { id, records } => self.append(id, records),
            }
        }
    }

    /// The coordinator answers: that is checked here, and then on its way, or lost.
    fn reply(&mut self, to: WaiterId, reply: Reply) {
        self.checker.counts.replies += 1;
        let Some(Pending { client, connection, number, about }) = self.pending.remove(&to) else {
            return self.checker.fail(format!("{to:?} is answered and was not asked, or twice: {reply:?}"));
        };
        let group = self.clients[client].group;
        match (&reply, about) {
            (Reply::Join(response), About::Join) if response.error_code == 0 => {
                self.checker.joined(group, response.generation_id);
            }
            (Reply::Sync(response), About::Sync { member_id, generation }) if response.error_code == 0 => {
                let identity = self.clients[client].identity(&member_id);
                let (assigned_in, partitions) = read_assignment(&response.assignment);
                self.checker.synced(group, (&member_id, &identity), generation, (assigned_in, &partitions));
            }
            (Reply::Commit(response), About::Commit { partition, value, generation, least }) => {
                let accepted = response.topics[0].partitions[0].error_code == 0;
                self.checker.committed((group, partition), value, (generation, least), accepted);
            }
            (Reply::Join(_), About::Join)
            | (Reply::Sync(_), About::Sync { .. })
            | (Reply::Heartbeat(_) | Reply::Leave(_), About::Other) => {}
            (reply, about) => self.checker.fail(format!("{about:?} is answered by {reply:?}")),
        }
        if self.is_quiet() || !self.dice.happens(15) {
            self.after(1, DELAY_MS, Event::Answer { client, connection, number, reply });
        }
    }

    /// An answer comes to a client, unless it has another connection or none.
    fn answer(&mut self, client: usize, connection: u64, number: u64, reply: Reply) {
        let now_ms = self.now_ms;
        let state = &mut self.clients[client];
        if !state.alive || state.connection != connection {
            return;
        }
        if state.frozen_until_ms > now_ms {
            let wait_ms = state.frozen_until_ms - now_ms;
            return self.after(wait_ms, wait_ms + 100, Event::Answer { client, connection, number, reply });
        }
        let awaited = state.awaits == number;
        let next = match &reply {
            Reply::Join(response) if awaited && state.phase == Phase::Joining => state.joined(now_ms, response),
            Reply::Sync(response) if awaited && state.phase == Phase::Syncing => {
                state.synced(now_ms, response);
                None
            }
            Reply::Heartbeat(response) => {
                state.heard(now_ms, response.error_code);
                None
            }
            _ => None,
        };
        if let Some(request) = next {
            self.send(client, request);
        }
    }

    /// Records go to the log, and become durable later; now and then the log takes none.
    fn append(&mut self, id: AppendId, records: Vec<NewRecord>) {
        if !self.is_quiet() && self.dice.happens(6) {
            self.checker.counts.failed_appends += 1;
            let failure = if self.dice.happens(500) { AppendFailure::TooLarge } else { AppendFailure::Unavailable };
            return self.call(|coordinator, now| coordinator.appended(now, id, Err(failure)));
        }
        let base = self.log_start + self.log.len();
        let count = records.len();
        for record in records {
            let key = record.key.expect("records of groups have keys");
            match (Key::decode(&key).expect("our own"), &record.value) {
                (Key::OffsetCommit { .. }, Some(value)) => {
                    self.checker.appended(OffsetCommitValue::decode(value).expect("our own").offset);
                }
                (Key::GroupMetadata { group }, None) => self.checker.deleted(group),
                _ => {}
            }
            self.log.push_back((key, record.value));
        }
        self.in_flight.push_back((id, base, count));
        let life = self.life;
        self.after(1, FLUSH_MS, Event::Durable { life });
    }

    /// The oldest batches become durable, one or some.
    fn flush(&mut self) {
        while let Some((id, base, _)) = self.in_flight.pop_front() {
            let base = Offset(i64::try_from(base).expect("small"));
            self.call(|coordinator, now| coordinator.appended(now, id, Ok(base)));
            if self.dice.happens(500) {
                break;
            }
        }
    }

    /// The node dies. What is durable is kept, perhaps more: whole batches.
    fn crash(&mut self) {
        if self.is_quiet() || self.coordinator.take().is_none() {
            return;
        }
        self.checker.crashed();
        self.pending.clear();
        self.rewrite = None;
        self.life += 1;
        let kept = usize::try_from(self.dice.below(self.in_flight.len() as u64 + 1)).expect("small");
        if let Some((_, base, _)) = self.in_flight.get(kept) {
            self.log.truncate(base - self.log_start);
        }
        self.in_flight.clear();
        self.after(100, 3_000, Event::Start);
        self.after(4_000, 15_000, Event::Crash);
    }

    fn start(&mut self) {
        let config =
            Config { initial_rebalance_delay_ms: 300, offsets_retention_check_interval_ms: 5_000, ..Config::default() };
        let mut coordinator = Coordinator::new(Rc::new(config), Budget::new(1 << 20), self.dice.roll());
        coordinator.cx.sabotage = self.sabotage;
        for (offset, (key, value)) in (self.log_start..).zip(&self.log) {
            let offset = Offset(i64::try_from(offset).expect("small"));
            coordinator.replay(offset, key, value.as_deref()).expect("our own record");
        }
        self.coordinator = Some(coordinator);
        self.call(|coordinator, now| coordinator.loaded(now));
        let life = self.life;
        self.after(100, 4_000, Event::Compact { life });
    }

    /// Compaction goes on by one step.
    fn compact(&mut self) {
        let end = Offset(i64::try_from(self.log_start + self.log.len()).expect("small"));
        let Some(coordinator) = &self.coordinator else { return };
        let mut rewrite = self.rewrite.take().unwrap_or_else(|| coordinator.begin_rewrite(end));
        let state = coordinator.rewrite_state(&rewrite);
        match state {
            RewriteState::Writing => {
                let max_bytes = usize::try_from(self.dice.between(1, 1_000)).expect("small");
                self.call(|coordinator, now| coordinator.rewrite(now, &mut rewrite, max_bytes));
                self.rewrite = Some(rewrite);
            }
            RewriteState::Flushing => self.rewrite = Some(rewrite),
            RewriteState::Void => {}
            RewriteState::MayCut => {
                self.checker.counts.cuts += 1;
                let before = usize::try_from(rewrite.before().0).expect("an offset");
                self.log.drain(..before - self.log_start);
                self.log_start = before;
            }
        }
        let life = self.life;
        let pause_ms = if state == RewriteState::MayCut { 2_000 } else { 60 };
        self.after(1, pause_ms, Event::Compact { life });
    }

    /// All is quiet: everyone lives and works, and nobody waits for long.
    fn check_end(&mut self) {
        let now_ms = self.now_ms;
        let mut groups: BTreeMap<&'static str, Vec<Stood>> = BTreeMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            if client.phase != Phase::Stable {
                self.checker.fail(format!("at {now_ms} ms: client {index} is {client:?} after all was quiet"));
                return;
            }
            let member = (client.member_id.clone(), client.generation, client.owned.clone());
            groups.entry(client.group).or_default().push(member);
        }
        let Some(coordinator) = &self.coordinator else { return self.checker.fail("the node is down".to_owned()) };
        for (group, members) in groups {
            let described = coordinator.describe(group, 6);
            if described.group_state.as_str() != "Stable" || described.members.len() != members.len() {
                self.checker.fail(format!("{group}: {described:?} at the end"));
            }
            self.checker.settled(group, &members, PARTITIONS);
        }
        for client in &mut self.clients {
            client.alive = false;
        }
        if let Err(fault) = self.run_until(now_ms + DELAY_MS + 2 * FLUSH_MS + 1_000) {
            self.checker.fail(fault);
        }
        if let Some((to, pending)) = self.pending.first_key_value() {
            self.checker.fail(format!("{to:?} was never answered: {pending:?}"));
        }
    }
}
