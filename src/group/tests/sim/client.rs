//! A member as a client makes one: it joins, assigns by range if it leads, commits and reads, and obeys what it is told.

use bytes::Bytes;

use super::Dice;
use crate::group::tests::node::{commit_request, subscription, text};
use crate::protocol::ErrorCode;
use crate::protocol::cold::heartbeat_request::HeartbeatRequestData;
use crate::protocol::cold::join_group_request::{JoinGroupRequestData, JoinGroupRequestProtocol};
use crate::protocol::cold::join_group_response::JoinGroupResponseData;
use crate::protocol::cold::leave_group_request::{LeaveGroupRequestData, MemberIdentity};
use crate::protocol::cold::offset_commit_request::OffsetCommitRequestData;
use crate::protocol::cold::sync_group_request::{SyncGroupRequestAssignment, SyncGroupRequestData};
use crate::protocol::cold::sync_group_response::SyncGroupResponseData;

/// Partitions of the one topic.
pub(super) const PARTITIONS: i32 = 4;
pub(super) const TOPIC: &str = "t";
const SESSION_TIMEOUT_MS: i32 = 6_000;
const REBALANCE_TIMEOUT_MS: i32 = 5_000;
/// How long a client waits for a reply.
const REQUEST_TIMEOUT_MS: u64 = 4_000;
const HEARTBEAT_MS: u64 = 1_000;

/// What a client sends.
#[derive(Debug)]
pub(super) enum Request {
    Join(JoinGroupRequestData),
    Sync(SyncGroupRequestData),
    Heartbeat(HeartbeatRequestData),
    Leave(LeaveGroupRequestData),
    Commit(OffsetCommitRequestData, i32, i64),
    Fetch(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Out,
    Joining,
    Syncing,
    Stable,
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) group: &'static str,
    pub(super) instance_id: Option<&'static str>,
    pub(super) version: i16,
    pub(super) alive: bool,
    pub(super) frozen_until_ms: u64,
    /// Replies on an older connection are lost.
    pub(super) connection: u64,
    pub(super) member_id: String,
    pub(super) generation: i32,
    pub(super) phase: Phase,
    pub(super) owned: Vec<i32>,
    /// The join or sync that it waits for, by the number of its request.
    pub(super) awaits: u64,
    give_up_ms: u64,
    heartbeat_ms: u64,
    last_heard_ms: u64,
}

impl Client {
    pub(super) fn new(group: &'static str, instance_id: Option<&'static str>, version: i16) -> Self {
        Self {
            group,
            instance_id,
            version,
            alive: true,
            frozen_until_ms: 0,
            connection: 0,
            member_id: String::new(),
            generation: -1,
            phase: Phase::Out,
            owned: Vec::new(),
            awaits: 0,
            give_up_ms: 0,
            heartbeat_ms: 0,
            last_heard_ms: 0,
        }
    }

    /// Who it is to others, whatever its member id.
    pub(super) fn identity(&self, member_id: &str) -> String {
        self.instance_id.map_or_else(|| member_id.to_owned(), str::to_owned)
    }

    /// Forgets who it was, as a process that starts does.
    pub(super) fn restart(&mut self) {
        *self = Self { connection: self.connection + 1, ..Self::new(self.group, self.instance_id, self.version) };
    }

    /// What it does now, of its own accord.
    pub(super) fn step(&mut self, now_ms: u64, dice: &mut Dice, next_value: &mut i64) -> Vec<Request> {
        match self.phase {
            Phase::Out => vec![self.join(now_ms)],
            Phase::Joining | Phase::Syncing if now_ms >= self.give_up_ms => {
                self.connection += 1;
                vec![self.join(now_ms)]
            }
            Phase::Joining | Phase::Syncing => Vec::new(),
            Phase::Stable => self.work(now_ms, dice, next_value),
        }
    }

    fn work(&mut self, now_ms: u64, dice: &mut Dice, next_value: &mut i64) -> Vec<Request> {
        let mut requests = Vec::new();
        if now_ms >= self.heartbeat_ms {
            self.heartbeat_ms = now_ms + HEARTBEAT_MS;
            if now_ms > self.last_heard_ms + REQUEST_TIMEOUT_MS {
                self.connection += 1;
                self.last_heard_ms = now_ms;
            }
            requests.push(Request::Heartbeat(HeartbeatRequestData {
                group_id: text(self.group),
                generation_id: self.generation,
                member_id: text(&self.member_id),
                group_instance_id: self.instance_id.map(text),
                ..HeartbeatRequestData::default()
            }));
        }
        for _ in 0..dice.below(3) {
            let Some(partition) = self.pick(dice) else { break };
            *next_value += 1;
            let mut commit = commit_request(&self.member_id, self.generation, TOPIC, partition, *next_value);
            commit.group_id = text(self.group);
            commit.group_instance_id = self.instance_id.map(text);
            requests.push(Request::Commit(commit, partition, *next_value));
        }
        if dice.happens(300) {
            let partition = i32::try_from(dice.below(PARTITIONS.unsigned_abs().into())).expect("small");
            requests.push(Request::Fetch(partition));
        }
        requests
    }

    fn pick(&self, dice: &mut Dice) -> Option<i32> {
        let at = dice.below(self.owned.len().max(1) as u64);
        self.owned.get(usize::try_from(at).expect("small")).copied()
    }

    fn join(&mut self, now_ms: u64) -> Request {
        self.phase = Phase::Joining;
        self.give_up_ms = now_ms + REQUEST_TIMEOUT_MS + u64::from(REBALANCE_TIMEOUT_MS.unsigned_abs());
        let protocol = JoinGroupRequestProtocol {
            name: text("range"),
            metadata: subscription(&[TOPIC]),
            ..JoinGroupRequestProtocol::default()
        };
        Request::Join(JoinGroupRequestData {
            group_id: text(self.group),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: text(&self.member_id),
            group_instance_id: self.instance_id.map(text),
            protocol_type: text("consumer"),
            protocols: vec![protocol],
            ..JoinGroupRequestData::default()
        })
    }

    pub(super) fn leave(&mut self) -> Request {
        let member = MemberIdentity {
            member_id: text(&self.member_id),
            group_instance_id: self.instance_id.map(text),
            ..MemberIdentity::default()
        };
        Request::Leave(LeaveGroupRequestData {
            group_id: text(self.group),
            members: vec![member],
            ..LeaveGroupRequestData::default()
        })
    }

    /// What it sends next, after the answer to its join.
    pub(super) fn joined(&mut self, now_ms: u64, response: &JoinGroupResponseData) -> Option<Request> {
        match ErrorCode::from_code(response.error_code) {
            Some(ErrorCode::MemberIdRequired) => {
                self.member_id = response.member_id.to_string();
                return Some(self.join(now_ms));
            }
            Some(ErrorCode::None) => {}
            error => {
                self.obey(error);
                return None;
            }
        }
        self.member_id = response.member_id.to_string();
        self.generation = response.generation_id;
        self.phase = Phase::Syncing;
        self.give_up_ms = now_ms + REQUEST_TIMEOUT_MS;
        Some(Request::Sync(SyncGroupRequestData {
            group_id: text(self.group),
            generation_id: self.generation,
            member_id: text(&self.member_id),
            group_instance_id: self.instance_id.map(text),
            assignments: if response.skip_assignment { Vec::new() } else { assign(response) },
            ..SyncGroupRequestData::default()
        }))
    }

    pub(super) fn synced(&mut self, now_ms: u64, response: &SyncGroupResponseData) {
        match ErrorCode::from_code(response.error_code) {
            Some(ErrorCode::None) => {
                self.phase = Phase::Stable;
                self.owned = read_assignment(&response.assignment).1;
                self.last_heard_ms = now_ms;
            }
            error => self.obey(error),
        }
    }

    /// Whether the answer to a heartbeat or commit of its present generation lets it go on.
    pub(super) fn heard(&mut self, now_ms: u64, error: i16) {
        self.last_heard_ms = now_ms;
        if self.phase == Phase::Stable && error != 0 {
            self.obey(ErrorCode::from_code(error));
        }
    }

    fn obey(&mut self, error: Option<ErrorCode>) {
        self.phase = Phase::Out;
        match error {
            Some(ErrorCode::UnknownMemberId) => self.member_id = String::new(),
            // Another one has its instance id. It starts again, as its supervisor would let it.
            Some(ErrorCode::FencedInstanceId) => self.restart(),
            _ => {}
        }
        if self.member_id.is_empty() {
            self.generation = -1;
            self.owned = Vec::new();
        }
    }
}

/// Partitions in ranges to the members in order; the generation is in it, to be checked.
fn assign(response: &JoinGroupResponseData) -> Vec<SyncGroupRequestAssignment> {
    let members = i32::try_from(response.members.len()).expect("few").max(1);
    let assignment = |(index, member): (i32, &super::world::JoinMember)| {
        let from = index * PARTITIONS / members;
        let to = (index + 1) * PARTITIONS / members;
        let mut bytes = response.generation_id.to_be_bytes().to_vec();
        (from..to).for_each(|partition| bytes.push(u8::try_from(partition).expect("small")));
        SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: Bytes::from(bytes),
            ..SyncGroupRequestAssignment::default()
        }
    };
    (0..).zip(&response.members).map(assignment).collect()
}

/// The generation that assigned it, and the partitions.
pub(super) fn read_assignment(bytes: &[u8]) -> (i32, Vec<i32>) {
    match bytes.split_first_chunk() {
        None => (-1, Vec::new()),
        Some((generation, partitions)) => {
            (i32::from_be_bytes(*generation), partitions.iter().copied().map(i32::from).collect())
        }
    }
}
