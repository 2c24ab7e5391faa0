//! Consumer groups over the wire, against the built program with two shards: what each API answers, to whom, and what a
//! death of the node leaves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmain::protocol::ErrorCode;
use ringmain::protocol::cold::delete_groups_request::DeleteGroupsRequestData;
use ringmain::protocol::cold::describe_groups_request::DescribeGroupsRequestData;
use ringmain::protocol::cold::describe_groups_response::DescribedGroup;
use ringmain::protocol::cold::find_coordinator_request::FindCoordinatorRequestData;
use ringmain::protocol::cold::heartbeat_request::HeartbeatRequestData;
use ringmain::protocol::cold::join_group_request::{JoinGroupRequestData, JoinGroupRequestProtocol};
use ringmain::protocol::cold::join_group_response::JoinGroupResponseData;
use ringmain::protocol::cold::leave_group_request::{LeaveGroupRequestData, MemberIdentity};
use ringmain::protocol::cold::list_groups_request::ListGroupsRequestData;
use ringmain::protocol::cold::metadata_request::{MetadataRequestData, MetadataRequestTopic};
use ringmain::protocol::cold::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ringmain::protocol::cold::offset_delete_request::{
    OffsetDeleteRequestData, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ringmain::protocol::cold::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ringmain::protocol::cold::sync_group_request::{SyncGroupRequestAssignment, SyncGroupRequestData};
use ringmain::protocol::cold::{KafkaString, Request, decode_response, encode_request};
use ringmain::record::build::{BatchBuilder, NewRecord};

use crate::node::{Node, free_address, scratch, size};
use crate::raw::{Raw, produce_frame_of};

/// Settings under which nothing waits longer than it must.
const QUICK: &[&str] = &["--set", "group.initial.rebalance.delay.ms=0", "--set", "group.min.session.timeout.ms=100"];

fn text(of: &str) -> KafkaString {
    KafkaString::from(of.to_owned())
}

fn started() -> (tempfile::TempDir, Node) {
    started_with(&[])
}

fn started_with(more: &[&str]) -> (tempfile::TempDir, Node) {
    let dir = scratch();
    let node = Node::start_at(dir.path(), free_address(), &[QUICK, more].concat());
    let mut client = Client::connect(&node);
    assert_eq!(client.raw.metadata("t"), Some(0));
    client.find("any");
    (dir, node)
}

/// One connection that asks and waits.
struct Client {
    raw: Raw,
}

impl Client {
    fn connect(node: &Node) -> Self {
        Self { raw: Raw::connect(node.address) }
    }

    /// A connection to a node that was started after a death: the socket that the dead one listened on may still take a
    /// connection, which then ends.
    fn connect_again(node: &Node) -> Self {
        let begun = Instant::now();
        loop {
            if let Some(raw) = Raw::try_connect(node.address) {
                let mut client = Self { raw };
                if client.raw.metadata("t").is_some() {
                    return client;
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "no connection is served");
        }
    }

    fn send<R: Request>(&mut self, request: &R) {
        assert!(self.raw.send(&encode_request(8, "raw", request).expect("encodes")), "the connection is open");
    }

    fn receive<R: Request>(&mut self) -> R::Response {
        let mut frame = self.raw.receive().expect("an answer");
        decode_response::<R>(Bytes::from(frame.split_off(4))).expect("decodes").1
    }

    fn ask<R: Request>(&mut self, request: &R) -> R::Response {
        self.send(request);
        self.receive::<R>()
    }

    fn find(&mut self, group: &str) {
        let request = FindCoordinatorRequestData { coordinator_keys: vec![text(group)], ..Default::default() };
        let found = self.ask(&request).coordinators.remove(0);
        assert_eq!((found.error_code, found.node_id), (0, 1), "{:?}", found.error_message);
        // It loads right after it was made.
        let begun = Instant::now();
        while self.fetch_code(group) == ErrorCode::CoordinatorLoadInProgress.code() {
            assert!(begun.elapsed() < Duration::from_secs(20), "still loading");
        }
    }

    /// Joins; a member without an id asks for one first.
    fn join(&mut self, group: &str, member: &str) -> JoinGroupResponseData {
        let answer = self.ask(&join(group, member));
        if answer.error_code != ErrorCode::MemberIdRequired.code() {
            return answer;
        }
        self.ask(&join(group, answer.member_id.as_str()))
    }

    /// Becomes the only member of a group and gives itself an assignment: member id and generation.
    fn alone(&mut self, group: &str) -> (String, i32) {
        let joined = self.join(group, "");
        assert_eq!(joined.error_code, 0);
        let member = joined.member_id.as_str().to_owned();
        let code = self.sync(group, &member, joined.generation_id, &[&member]).0;
        assert_eq!(code, 0);
        (member, joined.generation_id)
    }

    fn sync(&mut self, group: &str, member: &str, generation: i32, assign: &[&str]) -> (i16, Bytes) {
        let answer = self.ask(&sync(group, member, generation, assign));
        (answer.error_code, answer.assignment)
    }

    fn heartbeat(&mut self, group: &str, member: &str, generation: i32) -> i16 {
        let request = HeartbeatRequestData {
            group_id: text(group),
            generation_id: generation,
            member_id: text(member),
            ..Default::default()
        };
        self.ask(&request).error_code
    }

    fn commit(&mut self, group: &str, member: &str, generation: i32, offset: i64) -> i16 {
        self.ask(&commit(group, member, generation, "t", offset)).topics[0].partitions[0].error_code
    }

    fn committed(&mut self, group: &str) -> i64 {
        let topic = OffsetFetchRequestTopics { name: text("t"), partition_indexes: vec![0], ..Default::default() };
        let group = OffsetFetchRequestGroup { group_id: text(group), topics: Some(vec![topic]), ..Default::default() };
        let answer = self.ask(&OffsetFetchRequestData { groups: vec![group], ..Default::default() });
        assert_eq!(answer.groups[0].error_code, 0);
        answer.groups[0].topics[0].partitions[0].committed_offset
    }

    fn fetch_code(&mut self, group: &str) -> i16 {
        let group = OffsetFetchRequestGroup { group_id: text(group), topics: None, ..Default::default() };
        self.ask(&OffsetFetchRequestData { groups: vec![group], ..Default::default() }).groups[0].error_code
    }

    fn describe(&mut self, groups: &[&str]) -> Vec<DescribedGroup> {
        let groups = groups.iter().map(|group| text(group)).collect();
        self.ask(&DescribeGroupsRequestData { groups, ..Default::default() }).groups
    }

    fn list(&mut self) -> BTreeSet<String> {
        let answer = self.ask(&ListGroupsRequestData::default());
        assert_eq!(answer.error_code, 0);
        answer.groups.iter().map(|group| group.group_id.as_str().to_owned()).collect()
    }

    fn delete(&mut self, groups: &[&str]) -> Vec<i16> {
        let groups_names = groups.iter().map(|group| text(group)).collect();
        let answer = self.ask(&DeleteGroupsRequestData { groups_names, ..Default::default() });
        answer.results.iter().map(|result| result.error_code).collect()
    }

    fn leave(&mut self, group: &str, member: &str) -> i16 {
        let members = vec![MemberIdentity { member_id: text(member), ..Default::default() }];
        let answer = self.ask(&LeaveGroupRequestData { group_id: text(group), members, ..Default::default() });
        if answer.error_code != 0 { answer.error_code } else { answer.members[0].error_code }
    }
}

fn join(group: &str, member: &str) -> JoinGroupRequestData {
    let protocol = JoinGroupRequestProtocol { name: text("range"), metadata: vec![0, 1].into(), ..Default::default() };
    JoinGroupRequestData {
        group_id: text(group),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: text(member),
        protocol_type: text("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    }
}

fn sync(group: &str, member: &str, generation: i32, assign: &[&str]) -> SyncGroupRequestData {
    let assignment = |member: &&str| SyncGroupRequestAssignment {
        member_id: text(member),
        assignment: Bytes::from(format!("of {member}")),
        ..Default::default()
    };
    SyncGroupRequestData {
        group_id: text(group),
        generation_id: generation,
        member_id: text(member),
        protocol_type: Some(text("consumer")),
        protocol_name: Some(text("range")),
        assignments: assign.iter().map(assignment).collect(),
        ..Default::default()
    }
}

fn commit(group: &str, member: &str, generation: i32, topic: &str, offset: i64) -> OffsetCommitRequestData {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(text("note")),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic { name: text(topic), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequestData {
        group_id: text(group),
        generation_id_or_member_epoch: generation,
        member_id: text(member),
        topics: vec![topic],
        ..Default::default()
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

#[test]
fn a_group_of_two_shares_commits_and_ends() {
    let (_dir, mut node) = started();
    let (mut one, mut two) = (Client::connect(&node), Client::connect(&node));
    let (first, generation) = one.alone("g");
    assert_eq!(one.heartbeat("g", &first, generation), 0);
    let second = two.ask(&join("g", ""));
    assert_eq!(second.error_code, ErrorCode::MemberIdRequired.code());
    let second = second.member_id.as_str().to_owned();
    two.send(&join("g", &second));
    // The heartbeat tells the first member of it, whenever the join has arrived.
    let begun = Instant::now();
    while one.heartbeat("g", &first, generation) != ErrorCode::RebalanceInProgress.code() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the first member never hears of the second");
    }
    let leader = one.join("g", &first);
    let follower = two.receive::<JoinGroupRequestData>();
    assert_eq!((leader.error_code, follower.error_code), (0, 0));
    assert_eq!((leader.generation_id, follower.generation_id), (generation + 1, generation + 1));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(follower.leader, leader.leader);
    two.send(&sync("g", &second, generation + 1, &[]));
    let mine = one.sync("g", &first, generation + 1, &[&first, &second]);
    assert_eq!(mine, (0, Bytes::from(format!("of {first}"))));
    let theirs = two.receive::<SyncGroupRequestData>();
    assert_eq!((theirs.error_code, theirs.assignment), (0, Bytes::from(format!("of {second}"))));
    assert_eq!(two.commit("g", &second, generation + 1, 42), 0);
    assert_eq!(one.committed("g"), 42);
    let described = one.describe(&["g"]).remove(0);
    assert_eq!((described.group_state.as_str(), described.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(described.members.len(), 2);
    assert_eq!(described.members[0].client_host.as_str(), "/127.0.0.1");
    assert_eq!(described.members[0].client_id.as_str(), "raw");
    assert_eq!(one.leave("g", &first), 0);
    assert_eq!(two.heartbeat("g", &second, generation + 1), ErrorCode::RebalanceInProgress.code());
    assert_eq!(two.leave("g", &second), 0);
    assert_eq!(one.describe(&["g"])[0].group_state.as_str(), "Empty");
    assert_eq!(one.delete(&["g"]), [0]);
    assert!(one.list().is_empty());
    assert_eq!(one.committed("g"), -1);
    node.stop();
}

#[test]
fn each_refusal_has_kafkas_code() {
    let (_dir, mut node) = started_with(&["--set", "group.max.size=2", "--set", "offset.metadata.max.bytes=10"]);
    let mut client = Client::connect(&node);
    let code = ErrorCode::code;
    let (member, generation) = client.alone("g");
    let stranger = "nobody-1";
    assert_eq!(client.heartbeat("g", stranger, generation), code(ErrorCode::UnknownMemberId));
    assert_eq!(client.heartbeat("g", &member, generation + 1), code(ErrorCode::IllegalGeneration));
    assert_eq!(client.sync("g", &member, generation - 1, &[]).0, code(ErrorCode::IllegalGeneration));
    assert_eq!(client.sync("g", stranger, generation, &[]).0, code(ErrorCode::UnknownMemberId));
    assert_eq!(client.join("g", stranger).error_code, code(ErrorCode::UnknownMemberId));
    assert_eq!(client.leave("g", stranger), code(ErrorCode::UnknownMemberId));
    assert_eq!(client.commit("g", stranger, generation, 1), code(ErrorCode::UnknownMemberId));
    assert_eq!(client.commit("g", &member, generation + 1, 1), code(ErrorCode::IllegalGeneration));
    assert_eq!(client.commit("g", "", -1, 1), code(ErrorCode::UnknownMemberId), "the group has members");
    let mut other = join("g", "");
    other.protocols[0].name = text("sticky");
    assert_eq!(client.ask(&other).error_code, code(ErrorCode::InconsistentGroupProtocol));
    let short = JoinGroupRequestData { session_timeout_ms: 99, ..join("g", "") };
    assert_eq!(client.ask(&short).error_code, code(ErrorCode::InvalidSessionTimeout));
    let long = JoinGroupRequestData { session_timeout_ms: 1_800_001, ..join("g", "") };
    assert_eq!(client.ask(&long).error_code, code(ErrorCode::InvalidSessionTimeout));
    assert_eq!(client.ask(&join("", "")).error_code, code(ErrorCode::InvalidGroupId));
    let unknown = client.ask(&commit("g", &member, generation, "no-such-topic", 1));
    assert_eq!(unknown.topics[0].partitions[0].error_code, code(ErrorCode::UnknownTopicOrPartition));
    let mut partly = commit("g", &member, generation, "t", 7);
    let mut beyond = partly.topics[0].partitions[0].clone();
    beyond.partition_index = 9;
    partly.topics[0].partitions.insert(0, beyond);
    partly.topics.insert(0, commit("g", "", 0, "gone", 1).topics.remove(0));
    let answered = client.ask(&partly);
    let codes: Vec<Vec<i16>> = answered
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|partition| partition.error_code).collect())
        .collect();
    assert_eq!(codes, [vec![3], vec![3, 0]], "each partition by itself");
    assert_eq!(client.committed("g"), 7);
    let mut wordy = commit("g", &member, generation, "t", 8);
    wordy.topics[0].partitions[0].committed_metadata = Some(text("eleven chars"));
    assert_eq!(client.ask(&wordy).topics[0].partitions[0].error_code, code(ErrorCode::OffsetMetadataTooLarge));
    assert_eq!(client.delete(&["g", "none", "g"]), [code(ErrorCode::NonEmptyGroup), code(ErrorCode::GroupIdNotFound)]);
    let described = client.describe(&["none", "g"]);
    assert_eq!((described[0].error_code, described[1].error_code), (code(ErrorCode::GroupIdNotFound), 0));
    assert_eq!(client.fetch_code("none"), 0, "a group without offsets");
    let topics = vec![OffsetDeleteRequestTopic {
        name: text("t"),
        partitions: vec![OffsetDeleteRequestPartition::default()],
        ..Default::default()
    }];
    let none = OffsetDeleteRequestData { group_id: text("none"), topics: topics.clone(), ..Default::default() };
    assert_eq!(client.ask(&none).error_code, code(ErrorCode::GroupIdNotFound));
    assert_eq!(client.leave("g", &member), 0);
    let of_g = OffsetDeleteRequestData { group_id: text("g"), topics, ..Default::default() };
    let deleted = client.ask(&of_g);
    assert_eq!((deleted.error_code, deleted.topics[0].partitions[0].error_code), (0, 0));
    assert_eq!(client.committed("g"), -1);
    for key_type in [1, 2, 9] {
        let request = FindCoordinatorRequestData { key_type, coordinator_keys: vec![text("x")], ..Default::default() };
        let refused = client.ask(&request).coordinators.remove(0);
        assert_eq!((refused.error_code, refused.node_id, refused.port), (code(ErrorCode::InvalidRequest), -1, -1));
        assert!(refused.error_message.is_some_and(|text| !text.as_str().is_empty()));
    }
    node.stop();
}

#[test]
fn a_zombie_of_a_static_member_is_fenced_and_a_group_is_no_larger_than_it_may_be() {
    let (_dir, mut node) = started();
    let mut client = Client::connect(&node);
    let with_instance = |member: &str| JoinGroupRequestData { group_instance_id: Some(text("i")), ..join("s", member) };
    let first = client.ask(&with_instance(""));
    assert_eq!(first.error_code, 0);
    let first_id = first.member_id.as_str().to_owned();
    assert_eq!(client.sync("s", &first_id, first.generation_id, &[&first_id]).0, 0);
    let second = client.ask(&with_instance(""));
    assert_eq!(second.error_code, 0, "the same instance comes back under a new id");
    assert_ne!(second.member_id.as_str(), first_id);
    let heartbeat = HeartbeatRequestData {
        group_id: text("s"),
        generation_id: first.generation_id,
        member_id: text(&first_id),
        group_instance_id: Some(text("i")),
        ..Default::default()
    };
    assert_eq!(client.ask(&heartbeat).error_code, ErrorCode::FencedInstanceId.code());
    node.stop();
    let (_dir, mut node) = started_with(&["--set", "group.max.size=1"]);
    let mut client = Client::connect(&node);
    client.alone("one");
    assert_eq!(client.join("one", "").error_code, ErrorCode::GroupMaxSizeReached.code());
    node.stop();
}

#[test]
fn groups_of_every_shard_are_reached_from_any_connection() {
    let (_dir, mut node) = started();
    let all = names("spread", 40);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&node)).collect();
    for (number, group) in all.iter().enumerate() {
        let offset = i64::try_from(number).expect("small");
        assert_eq!(clients[number % 4].commit(group, "", -1, offset), 0, "{group}");
    }
    let topic = OffsetFetchRequestTopics { name: text("t"), partition_indexes: vec![0], ..Default::default() };
    let groups = all.iter().map(|group| OffsetFetchRequestGroup {
        group_id: text(group),
        topics: Some(vec![topic.clone()]),
        ..Default::default()
    });
    let many = OffsetFetchRequestData { groups: groups.collect(), ..Default::default() };
    let expected: BTreeSet<String> = all.iter().cloned().collect();
    let named: Vec<&str> = all.iter().map(String::as_str).collect();
    for client in &mut clients {
        let answer = client.ask(&many);
        for (number, group) in answer.groups.iter().enumerate() {
            assert_eq!(group.group_id.as_str(), all[number], "in the order of the request");
            let offset = group.topics[0].partitions[0].committed_offset;
            assert_eq!(offset, i64::try_from(number).expect("small"));
        }
        assert_eq!(client.list(), expected);
        let described = client.describe(&named);
        assert!(described.iter().zip(&all).all(|(group, name)| group.group_id.as_str() == name));
        assert!(described.iter().all(|group| group.group_state.as_str() == "Empty"));
    }
    assert_eq!(clients[1].delete(&named), vec![0; 40]);
    assert!(clients[2].list().is_empty());
    let metadata = MetadataRequestTopic { name: Some(text("__consumer_offsets")), ..Default::default() };
    let answer = clients[0].ask(&MetadataRequestData { topics: Some(vec![metadata]), ..Default::default() });
    assert_eq!((answer.topics[0].is_internal, answer.topics[0].partitions.len()), (true, 50));
    assert_eq!(clients[0].raw.produce(-1, "__consumer_offsets", 0, &crate::raw::batch(1, 10)), Some(17));
    node.stop();
}

#[test]
fn kill_9_leaves_members_generations_and_every_acknowledged_commit() {
    let (dir, mut node) = started();
    let address = node.address;
    let all = names("kept", 12);
    let mut client = Client::connect(&node);
    let members: Vec<(String, i32)> = all.iter().map(|group| client.alone(group)).collect();
    assert_eq!(client.commit("gone", "", -1, 5), 0);
    assert_eq!(client.delete(&["gone"]), [0]);
    let mut offset = 0;
    for round in 0..4 {
        for _ in 0..20 {
            offset += 1;
            for (group, (member, generation)) in all.iter().zip(&members) {
                assert_eq!(client.commit(group, member, *generation, offset), 0);
            }
        }
        if round == 3 {
            node.stop();
        } else {
            node.kill();
        }
        node = Node::start_at(dir.path(), address, QUICK);
        client = Client::connect_again(&node);
        for (group, (member, generation)) in all.iter().zip(&members) {
            client.find(group);
            assert_eq!(client.committed(group), offset, "{group}");
            assert_eq!(client.heartbeat(group, member, *generation), 0, "{group} is as it was");
        }
        client.find("gone");
        assert_eq!(client.committed("gone"), -1);
        assert_eq!(client.list().len(), all.len());
    }
    node.stop();
}

#[test]
fn a_rebalance_of_fifty_ends_soon_after_the_last_join() {
    let (_dir, mut node) = started();
    // The best of a few: others may want the cores at any moment.
    let mut took = (0..5).map(|round| rebalance_of_fifty(&node, &format!("big-{round}")));
    assert!(took.any(|took| took < Duration::from_millis(200)), "every one of them took longer");
    node.stop();
}

/// How long it takes from the last join to the last assignment.
fn rebalance_of_fifty(node: &Node, group: &str) -> Duration {
    const MEMBERS: usize = 50;
    let mut clients: Vec<Client> = (0..MEMBERS).map(|_| Client::connect(node)).collect();
    let (last, others) = clients.split_last_mut().expect("fifty");
    // The first generation has one member. The others wait until it has heard of them and joins again.
    let last_id = last.alone(group).0;
    let mut ids: Vec<String> = Vec::new();
    for client in others.iter_mut() {
        let id = client.ask(&join(group, "")).member_id;
        client.send(&join(group, id.as_str()));
        ids.push(id.as_str().to_owned());
    }
    ids.push(last_id);
    let mut watcher = Client::connect(node);
    let begun = Instant::now();
    while watcher.describe(&[group])[0].members.len() < MEMBERS {
        assert!(begun.elapsed() < Duration::from_secs(20), "the members do not arrive");
    }
    let begun = Instant::now();
    last.send(&join(group, &ids[MEMBERS - 1]));
    let joined: Vec<JoinGroupResponseData> =
        clients.iter_mut().map(|client| client.receive::<JoinGroupRequestData>()).collect();
    let leader = joined.iter().position(|joined| !joined.members.is_empty()).expect("a leader");
    let generation = joined[leader].generation_id;
    assert!(joined.iter().all(|joined| joined.error_code == 0 && joined.generation_id == generation));
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&sync(group, &ids[number], generation, if number == leader { &all } else { &[] }));
    }
    for (client, id) in clients.iter_mut().zip(&ids) {
        let synced = client.receive::<SyncGroupRequestData>();
        assert_eq!((synced.error_code, synced.assignment), (0, Bytes::from(format!("of {id}"))));
    }
    begun.elapsed()
}

#[test]
fn a_member_that_is_silent_is_put_out_and_the_others_go_on() {
    let (_dir, mut node) = started();
    let mut client = Client::connect(&node);
    let quick = JoinGroupRequestData { session_timeout_ms: 300, ..join("q", "") };
    let id = client.ask(&quick).member_id;
    let quick = JoinGroupRequestData { member_id: id.clone(), ..quick };
    let joined = client.ask(&quick);
    assert_eq!(client.sync("q", id.as_str(), joined.generation_id, &[id.as_str()]).0, 0);
    drop(client);
    let mut watcher = Client::connect(&node);
    let begun = Instant::now();
    while watcher.describe(&["q"])[0].group_state.as_str() != "Empty" {
        assert!(begun.elapsed() < Duration::from_secs(10), "the silent member stays");
    }
    node.stop();
}

#[test]
fn offsets_of_a_deleted_topic_go_with_it() {
    use ringmain::protocol::cold::delete_topics_request::{DeleteTopicState, DeleteTopicsRequestData};
    let (_dir, mut node) = started();
    let mut client = Client::connect(&node);
    let all = names("of-t", 10);
    for group in &all {
        assert_eq!(client.commit(group, "", -1, 3), 0);
    }
    let topics = vec![DeleteTopicState { name: Some(text("t")), ..Default::default() }];
    let deleted = client.ask(&DeleteTopicsRequestData { topics, timeout_ms: 10_000, ..Default::default() });
    assert_eq!(deleted.responses[0].error_code, 0);
    let begun = Instant::now();
    while all.iter().any(|group| client.committed(group) != -1) {
        assert!(begun.elapsed() < Duration::from_secs(10), "offsets of a topic that is gone stay");
    }
    node.stop();
}

#[test]
fn thousands_of_empty_groups_are_served_or_refused_and_the_node_lives() {
    let (dir, mut node) = started();
    let address = node.address;
    let mut client = Client::connect(&node);
    let all = names("empty", 5_000);
    for some in all.chunks(100) {
        for group in some {
            client.send(&commit(group, "", -1, "t", 1));
        }
        for group in some {
            let code = client.receive::<OffsetCommitRequestData>().topics[0].partitions[0].error_code;
            assert_eq!(code, 0, "{group}");
        }
    }
    assert_eq!(client.list().len(), all.len());
    node.kill();
    node = Node::start_at(dir.path(), address, QUICK);
    let mut client = Client::connect_again(&node);
    let begun = Instant::now();
    while client.ask(&ListGroupsRequestData::default()).error_code != 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "still loading");
    }
    assert_eq!(client.list().len(), all.len());
    // Until the memory figure is reached: then each new group is refused, with one line, and the old ones go on.
    let wordy = "m".repeat(4_000);
    let mut refused = 0;
    for group in names("more", 4_000) {
        let mut request = commit(&group, "", -1, "t", 1);
        request.topics[0].partitions[0].committed_metadata = Some(text(&wordy));
        refused += usize::from(client.ask(&request).topics[0].partitions[0].error_code != 0);
        if refused > 10 {
            break;
        }
    }
    assert!(refused > 10, "16 MB of text beside offsets fit into the groups' share of 256 MB");
    assert_eq!(client.commit(&all[0], "", -1, 2), 0, "a group that is there goes on");
    node.wait_for("groups: no room for more");
    node.stop();
}

#[test]
fn commits_of_few_keys_leave_a_small_topic_and_kill_9_in_the_middle_loses_none() {
    let commits = i64::try_from(size("GROUP_COMMITS", 60_000)).expect("small");
    let more: &[&str] = &["--set", "offsets.topic.num.partitions=2", "--set", "offsets.topic.segment.bytes=1048576"];
    let (dir, mut node) = started_with(more);
    let address = node.address;
    let mut client = Client::connect(&node);
    let groups = names("few", 3);
    assert_eq!(client.commit("gone", "", -1, 1), 0);
    assert_eq!(client.delete(&["gone"]), [0]);
    let mut offset = 0;
    for kill in [true, true, false] {
        // Many at once on one connection, as many as it may have under way.
        for _ in 0..commits / 3 / 100 {
            for number in 0..100_i64 {
                offset += 1;
                client.send(&commit(&groups[usize::try_from(number % 3).expect("small")], "", -1, "t", offset));
            }
            for _ in 0..100 {
                assert_eq!(client.receive::<OffsetCommitRequestData>().topics[0].partitions[0].error_code, 0);
            }
        }
        if kill {
            node.kill();
            node = Node::start_at(dir.path(), address, &[QUICK, more].concat());
            client = Client::connect_again(&node);
        }
        // 100 is one more than a multiple of 3: the groups take turns with the last offset.
        let newest: BTreeSet<i64> = groups
            .iter()
            .map(|group| {
                client.find(group);
                client.committed(group)
            })
            .collect();
        assert_eq!(newest, (offset - 2..=offset).collect());
        assert_eq!(client.list(), groups.iter().cloned().collect());
    }
    node.wait_for("groups: compacted");
    node.stop();
    let mut bytes = 0;
    for number in 0..2 {
        let partition = dir.path().join("data").join(format!("__consumer_offsets-{number}"));
        for entry in std::fs::read_dir(partition).expect("the partition's directory") {
            let entry = entry.expect("an entry");
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                bytes += entry.metadata().expect("a file").len();
            }
        }
    }
    // Each commit takes about 150 bytes; 10,000 superseded ones of each partition may stay, and the segment they are in.
    assert!(bytes < 8 << 20, "{bytes} bytes for three offsets");
}

/// A record of one committed offset as Kafka writes it: key version 1, value version 3.
fn offset_record(group: &str, partition: i32, offset: i64) -> NewRecord {
    let string = |of: &str| [&i16::try_from(of.len()).expect("short").to_be_bytes()[..], of.as_bytes()].concat();
    let key = [&1_i16.to_be_bytes()[..], &string(group), &string("t"), &partition.to_be_bytes()].concat();
    let value = [
        &3_i16.to_be_bytes()[..],
        &offset.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &string(""),
        &1_700_000_000_000_i64.to_be_bytes(),
    ]
    .concat();
    NewRecord { timestamp: 1_700_000_000_000, key: Some(key), value: Some(value), headers: Vec::new() }
}

/// Its full size, in which it must take less than a second:
/// `LOAD_COMMITS=1000000 cargo test --release --test it groups::a_large_partition -- --nocapture`.
#[test]
fn a_large_partition_is_loaded_quickly_and_then_compacted() {
    const PARTITIONS_A_COMMIT: usize = 10;
    let commits = size("LOAD_COMMITS", 100_000);
    let more: &[&str] = &["--set", "offsets.topic.num.partitions=1", "--set", "offsets.retention.minutes=2147483647"];
    let (dir, mut node) = started_with(more);
    let address = node.address;
    let groups = names("many", commits / PARTITIONS_A_COMMIT / 10);
    let mut raw = Raw::connect(address);
    // Each group commits ten partitions at a time, ten times over. Only this client may write there by itself.
    for round in 0..10_i64 {
        for some in groups.chunks(100) {
            for group in some {
                let records: Vec<NewRecord> = (0..PARTITIONS_A_COMMIT)
                    .map(|partition| offset_record(group, i32::try_from(partition).expect("small"), round))
                    .collect();
                let batch = BatchBuilder::default().build(&records);
                raw.send(&produce_frame_of("__admin_client", 1, "__consumer_offsets", 0, &batch));
            }
            for _ in some {
                raw.receive().expect("an answer");
            }
        }
    }
    node.kill();
    node = Node::start_at(dir.path(), address, &[QUICK, more].concat());
    node.wait_for("groups: loaded");
    let log = node.log();
    let line = log.lines().find(|line| line.contains("groups: loaded")).expect("just seen");
    println!("{line}");
    let figure = |name: &str| -> usize {
        let text = line.split(&format!("{name}=")).nth(1).and_then(|rest| rest.split_whitespace().next());
        text.and_then(|text| text.parse().ok()).expect("a figure")
    };
    assert_eq!(figure("records"), commits);
    assert_eq!(figure("live"), commits / 10);
    if !cfg!(debug_assertions) {
        assert!(figure("took_ms") < 1_000.max(commits / 1_000), "{line}");
    }
    let mut client = Client::connect_again(&node);
    client.find("any");
    assert_eq!(client.list().len(), groups.len());
    node.wait_for("groups: compacted");
    println!("{}", node.log().lines().find(|line| line.contains("groups: compacted")).expect("just seen"));
    let topic =
        OffsetFetchRequestTopics { name: text("t"), partition_indexes: (0..10).collect(), ..Default::default() };
    let last = OffsetFetchRequestGroup {
        group_id: text(groups.last().expect("some")),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let answer = client.ask(&OffsetFetchRequestData { groups: vec![last.clone()], ..Default::default() });
    assert!(answer.groups[0].topics[0].partitions.iter().all(|partition| partition.committed_offset == 9));
    // What the compaction left says the same.
    node.kill();
    node = Node::start_at(dir.path(), address, &[QUICK, more].concat());
    let mut client = Client::connect_again(&node);
    client.find("any");
    assert_eq!(client.list().len(), groups.len());
    let again = client.ask(&OffsetFetchRequestData { groups: vec![last], ..Default::default() });
    assert_eq!(again.groups, answer.groups);
    node.stop();
}

#[test]
fn hostile_bodies_of_every_group_api_end_their_connection_and_no_other() {
    let (_dir, mut node) = started();
    let mut good = Client::connect(&node);
    let (member, generation) = good.alone("good");
    let mut seed = 0x5eed_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_be_bytes()[0]
    };
    // Each key with its highest version, and the last one without compact encodings.
    for (key, versions) in
        [(8, [9, 7]), (9, [9, 5]), (10, [6, 2]), (11, [9, 5]), (12, [4, 3]), (13, [5, 3]), (14, [5, 3]), (15, [6, 4])]
            .into_iter()
            .chain([(16, [5, 2]), (42, [2, 1]), (47, [0, 0])])
    {
        for version in versions {
            for count in [i32::MAX, 1 << 24, -2] {
                for at in (0..40).step_by(2) {
                    let mut body = vec![0; 48];
                    body[at..at + 4].copy_from_slice(&count.to_be_bytes());
                    let mut raw = Raw::connect(node.address);
                    raw.send(&crate::raw::request(key, version, &body));
                }
            }
            for _ in 0..20 {
                let body: Vec<u8> = (0..200).map(|_| random()).collect();
                let mut raw = Raw::connect(node.address);
                raw.send(&crate::raw::request(key, version, &body));
            }
            assert_eq!(good.heartbeat("good", &member, generation), 0, "key {key} version {version}");
        }
    }
    assert_eq!(good.list(), BTreeSet::from(["good".to_owned()]));
    node.stop();
}
