//! A coordinator with a log in memory, for tests: what it appends is durable when the test says so.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use crate::group::{AppendFailure, AppendId, Budget, Caller, Config, Coordinator, Effect, Now, Reply, WaiterId};
use crate::protocol::ErrorCode;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::heartbeat_request::HeartbeatRequestData;
use crate::protocol::cold::join_group_request::{JoinGroupRequestData, JoinGroupRequestProtocol};
use crate::protocol::cold::join_group_response::JoinGroupResponseData;
use crate::protocol::cold::leave_group_request::{LeaveGroupRequestData, MemberIdentity};
use crate::protocol::cold::leave_group_response::LeaveGroupResponseData;
use crate::protocol::cold::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::cold::offset_commit_response::OffsetCommitResponseData;
use crate::protocol::cold::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::cold::sync_group_request::{SyncGroupRequestAssignment, SyncGroupRequestData};
use crate::protocol::cold::sync_group_response::SyncGroupResponseData;
use crate::record::build::NewRecord;
use crate::types::{Offset, TopicId};

pub(super) const GROUP: &str = "g";
/// Wall time when the monotonic clock says 0.
pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;

/// A coordinator and its log.
pub(super) struct Node {
    pub(super) coordinator: Coordinator,
    pub(super) config: Rc<Config>,
    pub(super) budget: Rc<Budget>,
    pub(super) now_ms: u64,
    /// Records by offset, durable.
    pub(super) log: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Batches that are not durable yet.
    pub(super) in_flight: VecDeque<(AppendId, Vec<NewRecord>)>,
    /// Whether batches are durable as they come.
    pub(super) durable_at_once: bool,
    pub(super) replies: Vec<(WaiterId, Reply)>,
    pub(super) waiters: u64,
}

pub(super) fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

/// A subscription of the consumer protocol.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 3];
    bytes.extend_from_slice(&u32::try_from(topics.len()).expect("few").to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&u16::try_from(topic.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&[0xff; 4]);
    Bytes::from(bytes)
}

/// What a test joins with.
#[derive(Clone)]
pub(super) struct Joiner {
    pub(super) group: &'static str,
    pub(super) member_id: String,
    pub(super) instance_id: Option<&'static str>,
    pub(super) client_id: &'static str,
    pub(super) version: i16,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) protocol_type: &'static str,
    pub(super) protocols: Vec<(&'static str, Bytes)>,
}

impl Default for Joiner {
    fn default() -> Self {
        Self {
            group: GROUP,
            member_id: String::new(),
            instance_id: None,
            client_id: "client",
            version: 9,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer",
            protocols: vec![("range", subscription(&["t"]))],
        }
    }
}

impl Joiner {
    pub(super) fn known(member_id: &str) -> Self {
        Self { member_id: member_id.to_owned(), ..Self::default() }
    }

    pub(super) fn fixed(instance_id: &'static str) -> Self {
        Self { instance_id: Some(instance_id), ..Self::default() }
    }

    fn request(&self) -> JoinGroupRequestData {
        let protocol = |(name, metadata): &(&str, Bytes)| JoinGroupRequestProtocol {
            name: text(name),
            metadata: metadata.clone(),
            ..JoinGroupRequestProtocol::default()
        };
        JoinGroupRequestData {
            group_id: text(self.group),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            member_id: text(&self.member_id),
            group_instance_id: self.instance_id.map(text),
            protocol_type: text(self.protocol_type),
            protocols: self.protocols.iter().map(protocol).collect(),
            ..JoinGroupRequestData::default()
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Node {
    pub(super) fn new(config: Config) -> Self {
        Self::with_budget(config, Budget::new(64 << 20))
    }

    pub(super) fn with_budget(config: Config, budget: Rc<Budget>) -> Self {
        let config = Rc::new(config);
        let mut node = Self {
            coordinator: Coordinator::new(Rc::clone(&config), Rc::clone(&budget), 1),
            config,
            budget,
            now_ms: 0,
            log: Vec::new(),
            in_flight: VecDeque::new(),
            durable_at_once: true,
            replies: Vec::new(),
            waiters: 0,
        };
        let effects = node.coordinator.loaded(node.now());
        node.run(effects);
        node
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall_ms: EPOCH_MS + i64::try_from(self.now_ms).expect("not so late") }
    }

    /// The node is killed, and another one reads what is durable.
    pub(super) fn restart(&mut self) {
        let seed = self.now_ms + 2;
        self.coordinator = Coordinator::new(Rc::clone(&self.config), Rc::clone(&self.budget), seed);
        self.in_flight.clear();
        self.replies.clear();
        for (offset, (key, value)) in (0..).zip(&self.log) {
            self.coordinator.replay(Offset(offset), key, value.as_deref()).expect("our own record");
        }
        let effects = self.coordinator.loaded(self.now());
        self.run(effects);
    }

    /// Lets time pass, with all that becomes due meanwhile.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(due) = self.coordinator.next_deadline().filter(|due| *due <= until) {
            self.now_ms = self.now_ms.max(due);
            let effects = self.coordinator.tick(self.now());
            self.run(effects);
        }
        self.now_ms = until;
    }

    pub(super) fn run(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { to, reply } => {
                    assert!(!self.replies.iter().any(|(other, _)| *other == to), "answered twice");
                    self.replies.push((to, reply));
                }
                Effect::Append { id, records } => self.in_flight.push_back((id, records)),
            }
        }
        if self.durable_at_once {
            self.flush();
        }
    }

    /// Makes all batches durable.
    pub(super) fn flush(&mut self) {
        while self.flush_one() {}
    }

    /// Makes the oldest batch durable.
    pub(super) fn flush_one(&mut self) -> bool {
        let Some((id, records)) = self.in_flight.pop_front() else { return false };
        let base = Offset(i64::try_from(self.log.len()).expect("a short log"));
        self.log.extend(records.into_iter().map(|record| (record.key.expect("a key"), record.value)));
        let effects = self.coordinator.appended(self.now(), id, Ok(base));
        self.run(effects);
        true
    }

    /// Refuses the oldest batch.
    pub(super) fn fail_one(&mut self, failure: AppendFailure) {
        let (id, _) = self.in_flight.pop_front().expect("a batch in flight");
        let effects = self.coordinator.appended(self.now(), id, Err(failure));
        self.run(effects);
    }

    pub(super) fn waiter(&mut self) -> WaiterId {
        self.waiters += 1;
        WaiterId(self.waiters)
    }

    /// The reply to a request, if it is there.
    pub(super) fn reply(&mut self, to: WaiterId) -> Option<Reply> {
        let at = self.replies.iter().position(|(other, _)| *other == to)?;
        Some(self.replies.remove(at).1)
    }

    pub(super) fn join(&mut self, joiner: &Joiner) -> WaiterId {
        let to = self.waiter();
        let caller = Caller { client_id: joiner.client_id, client_host: "/127.0.0.1", version: joiner.version };
        let effects = self.coordinator.join(self.now(), caller, &joiner.request(), to);
        self.run(effects);
        to
    }

    pub(super) fn joined(&mut self, to: WaiterId) -> Option<JoinGroupResponseData> {
        self.reply(to).map(|reply| match reply {
            Reply::Join(response) => *response,
            other => panic!("{other:?}"),
        })
    }

    /// Joins and expects an answer at once.
    pub(super) fn join_now(&mut self, joiner: &Joiner) -> JoinGroupResponseData {
        let to = self.join(joiner);
        self.joined(to).expect("an answer at once")
    }

    /// Joins as a new dynamic member would, until it waits for the others.
    pub(super) fn join_twice(&mut self, joiner: &Joiner) -> (String, WaiterId) {
        let given = self.join_now(joiner);
        assert_eq!(given.error_code, ErrorCode::MemberIdRequired.code());
        let member_id = given.member_id.to_string();
        let to = self.join(&Joiner { member_id: member_id.clone(), ..joiner.clone() });
        (member_id, to)
    }

    pub(super) fn sync(&mut self, request: SyncGroupRequestData, version: i16) -> WaiterId {
        let to = self.waiter();
        let caller = Caller { client_id: "client", client_host: "/127.0.0.1", version };
        let effects = self.coordinator.sync(self.now(), caller, &request, to);
        self.run(effects);
        to
    }

    pub(super) fn sync_as(&mut self, member_id: &str, generation: i32, assign: &[(&str, &'static [u8])]) -> WaiterId {
        self.sync(sync_request(member_id, generation, assign), 5)
    }

    pub(super) fn synced(&mut self, to: WaiterId) -> Option<SyncGroupResponseData> {
        self.reply(to).map(|reply| match reply {
            Reply::Sync(response) => *response,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation: i32) -> ErrorCode {
        self.heartbeat_as(member_id, generation, None)
    }

    pub(super) fn heartbeat_as(&mut self, member_id: &str, generation: i32, instance_id: Option<&str>) -> ErrorCode {
        let request = HeartbeatRequestData {
            group_id: text(GROUP),
            generation_id: generation,
            member_id: text(member_id),
            group_instance_id: instance_id.map(text),
            ..HeartbeatRequestData::default()
        };
        let to = self.waiter();
        let effects = self.coordinator.heartbeat(self.now(), &request, to);
        self.run(effects);
        match self.reply(to) {
            Some(Reply::Heartbeat(response)) => code(response.error_code),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, version: i16, leaving: &[(&str, Option<&str>)]) -> LeaveGroupResponseData {
        let members = leaving.iter().map(|(member_id, instance_id)| MemberIdentity {
            member_id: text(member_id),
            group_instance_id: instance_id.map(text),
            ..MemberIdentity::default()
        });
        let request = LeaveGroupRequestData {
            group_id: text(GROUP),
            member_id: text(leaving.first().map_or("", |(member_id, _)| *member_id)),
            members: if version >= 3 { members.collect() } else { Vec::new() },
            ..LeaveGroupRequestData::default()
        };
        let to = self.waiter();
        let caller = Caller { client_id: "client", client_host: "/127.0.0.1", version };
        let effects = self.coordinator.leave(self.now(), caller, &request, to);
        self.run(effects);
        match self.reply(to) {
            Some(Reply::Leave(response)) => *response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn commit(&mut self, commit: &OffsetCommitRequestData) -> WaiterId {
        self.commit_version(commit, 9)
    }

    pub(super) fn commit_version(&mut self, commit: &OffsetCommitRequestData, version: i16) -> WaiterId {
        let to = self.waiter();
        let known = |name: &str| (name != "unknown").then_some(TopicId([7; 16]));
        let effects = self.coordinator.commit(self.now(), version, commit, &known, to);
        self.run(effects);
        to
    }

    pub(super) fn committed(&mut self, to: WaiterId) -> Option<OffsetCommitResponseData> {
        self.reply(to).map(|reply| match reply {
            Reply::Commit(response) => *response,
            other => panic!("{other:?}"),
        })
    }

    /// The code of the first partition of a commit that is answered at once.
    pub(super) fn commit_now(&mut self, commit: &OffsetCommitRequestData) -> ErrorCode {
        let to = self.commit(commit);
        code(self.committed(to).expect("an answer at once").topics[0].partitions[0].error_code)
    }

    /// Commits for a simple group.
    pub(super) fn commit_alone(&mut self, topic: &str, partition: i32, offset: i64) -> ErrorCode {
        self.commit_now(&commit_request("", -1, topic, partition, offset))
    }

    pub(super) fn fetch(&self, topic: &str, partition: i32) -> i64 {
        let topics = vec![OffsetFetchRequestTopics {
            name: text(topic),
            partition_indexes: vec![partition],
            ..OffsetFetchRequestTopics::default()
        }];
        let request = OffsetFetchRequestGroup {
            group_id: text(GROUP),
            topics: Some(topics),
            ..OffsetFetchRequestGroup::default()
        };
        self.coordinator.fetch(&request).topics[0].partitions[0].committed_offset
    }

    pub(super) fn state(&self) -> String {
        self.coordinator.describe(GROUP, 5).group_state.to_string()
    }

    /// A stable group of one dynamic member: its id and generation.
    pub(super) fn stable(&mut self) -> (String, i32) {
        let (member_id, to) = self.join_twice(&Joiner::default());
        self.pass(self.config.initial_rebalance_delay_ms);
        let joined = self.joined(to).expect("the initial delay is over");
        assert_eq!(joined.error_code, 0);
        let to = self.sync_as(&member_id, joined.generation_id, &[(&member_id, b"all")]);
        assert_eq!(self.synced(to).expect("durable").error_code, 0);
        (member_id, joined.generation_id)
    }
}

pub(super) fn code(number: i16) -> ErrorCode {
    ErrorCode::from_code(number).expect("a code of Kafka's")
}

pub(super) fn sync_request(member_id: &str, generation: i32, assign: &[(&str, &'static [u8])]) -> SyncGroupRequestData {
    let assignment = |(member_id, bytes): &(&str, &'static [u8])| SyncGroupRequestAssignment {
        member_id: text(member_id),
        assignment: Bytes::from_static(bytes),
        ..SyncGroupRequestAssignment::default()
    };
    SyncGroupRequestData {
        group_id: text(GROUP),
        generation_id: generation,
        member_id: text(member_id),
        assignments: assign.iter().map(assignment).collect(),
        ..SyncGroupRequestData::default()
    }
}

pub(super) fn commit_request(
    member_id: &str,
    generation: i32,
    topic: &str,
    partition: i32,
    offset: i64,
) -> OffsetCommitRequestData {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_metadata: Some(text("m")),
        ..OffsetCommitRequestPartition::default()
    };
    let topics = vec![OffsetCommitRequestTopic {
        name: text(topic),
        partitions: vec![partition],
        ..OffsetCommitRequestTopic::default()
    }];
    OffsetCommitRequestData {
        group_id: text(GROUP),
        generation_id_or_member_epoch: generation,
        member_id: text(member_id),
        topics,
        ..OffsetCommitRequestData::default()
    }
}
