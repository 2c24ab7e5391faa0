//! Static members: those that bring a `group.instance.id`.

use super::node::{Joiner, Node, code, commit_request, subscription, text};
use crate::group::{AppendFailure, Config};
use crate::protocol::ErrorCode;

/// A stable group of two static members; the ids of the leader and of the other, by instance.
fn two(node: &mut Node) -> [(&'static str, String); 2] {
    let (first, second) = (node.join(&Joiner::fixed("one")), node.join(&Joiner::fixed("two")));
    node.pass(6_000);
    let (first, second) = (node.joined(first).expect("joined"), node.joined(second).expect("joined"));
    assert!(first.member_id.as_str().starts_with("one-"), "{}", first.member_id);
    let mut members = [("one", first.member_id.to_string()), ("two", second.member_id.to_string())];
    if first.leader != first.member_id {
        members.reverse();
    }
    let [(_, leader), (_, other)] = &members;
    node.sync_as(other, 1, &[]);
    node.sync_as(leader, 1, &[(leader, b"L"), (other, b"O")]);
    assert_eq!(node.state(), "Stable");
    members
}

#[test]
fn one_that_comes_back_gets_its_assignment_without_a_rebalance() {
    let mut node = Node::default();
    let [_, (instance, old)] = two(&mut node);
    let records = node.log.len();
    let joined = node.join_now(&Joiner::fixed(instance));
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 0));
    assert_eq!((node.state().as_str(), node.log.len()), ("Stable", records + 1), "the new id is stored");
    let new = joined.member_id.to_string();
    assert_ne!(new, old);
    let to = node.sync_as(&new, 1, &[]);
    assert_eq!(*node.synced(to).expect("stable").assignment, *b"O");
    assert_eq!(node.heartbeat_as(&old, 1, Some(instance)), ErrorCode::FencedInstanceId);
    assert_eq!(node.heartbeat(&old, 1), ErrorCode::UnknownMemberId);
    let mut commit = commit_request(&old, 1, "t", 0, 1);
    commit.group_instance_id = Some(text(instance));
    assert_eq!(node.commit_now(&commit), ErrorCode::FencedInstanceId);
    let fenced = node.join_now(&Joiner { member_id: old, ..Joiner::fixed(instance) });
    assert_eq!(code(fenced.error_code), ErrorCode::FencedInstanceId);
    node.restart();
    assert_eq!(node.heartbeat_as(&new, 1, Some(instance)), ErrorCode::None, "its id outlives a restart");
}

#[test]
fn a_leader_that_comes_back_may_skip_the_assignment() {
    let mut node = Node::default();
    let [(instance, old), _] = two(&mut node);
    let joined = node.join_now(&Joiner::fixed(instance));
    assert_eq!((joined.skip_assignment, joined.members.len()), (true, 2));
    assert_eq!(joined.leader, joined.member_id);
    let old_client = node.join_now(&Joiner { version: 8, ..Joiner::fixed(instance) });
    assert_eq!((old_client.skip_assignment, old_client.members.len()), (false, 0));
    assert_eq!(old_client.leader, joined.member_id, "it is told of the leader before it, so as not to lead");
    assert_ne!(old_client.leader.as_str(), old);
}

#[test]
fn one_that_comes_back_with_another_protocol_begins_a_rebalance() {
    let mut node = Node::default();
    let both = |names: [&'static str; 2]| names.map(|name| (name, subscription(&["t"]))).to_vec();
    let first = node.join(&Joiner { protocols: both(["range", "sticky"]), ..Joiner::fixed("one") });
    node.pass(3_000);
    let joined = node.joined(first).expect("joined");
    let id = joined.member_id.to_string();
    node.sync_as(&id, 1, &[]);
    let waits = node.join(&Joiner { protocols: both(["sticky", "range"]), ..Joiner::fixed("one") });
    let joined = node.joined(waits).expect("alone, so all have joined");
    assert_eq!((joined.generation_id, node.state().as_str()), (2, "CompletingRebalance"));
}

#[test]
fn an_id_that_is_not_stored_is_taken_back() {
    let mut node = Node::default();
    let [_, (instance, old)] = two(&mut node);
    node.durable_at_once = false;
    let waits = node.join(&Joiner::fixed(instance));
    assert!(node.joined(waits).is_none(), "not durable yet");
    node.fail_one(AppendFailure::Unavailable);
    assert_eq!(code(node.joined(waits).expect("failed").error_code), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(node.heartbeat_as(&old, 1, Some(instance)), ErrorCode::None);
    node.pass(10_000);
    assert_ne!(node.heartbeat_as(&old, 1, Some(instance)), ErrorCode::None, "and its session runs");
}

#[test]
fn one_that_comes_back_while_the_leader_assigns_begins_a_rebalance() {
    let mut node = Node::default();
    let (first, second) = (node.join(&Joiner::fixed("one")), node.join(&Joiner::fixed("two")));
    node.pass(6_000);
    let (first, second) = (node.joined(first).expect("joined"), node.joined(second).expect("joined"));
    let follower = if first.leader == first.member_id { ("two", second) } else { ("one", first) };
    let old = node.sync_as(follower.1.member_id.as_str(), 1, &[]);
    let waits = node.join(&Joiner::fixed(follower.0));
    assert_eq!(code(node.synced(old).expect("fenced").error_code), ErrorCode::FencedInstanceId);
    assert!(node.joined(waits).is_none() && node.state() == "PreparingRebalance");
}

#[test]
fn an_operator_removes_one_by_its_instance_id() {
    let mut node = Node::default();
    let [_, (instance, old)] = two(&mut node);
    let response = node.leave(5, &[("", Some("who")), ("wrong", Some(instance)), ("", Some(instance))]);
    let codes: Vec<ErrorCode> = response.members.iter().map(|member| code(member.error_code)).collect();
    assert_eq!(codes, [ErrorCode::UnknownMemberId, ErrorCode::FencedInstanceId, ErrorCode::None]);
    assert_eq!(node.heartbeat(&old, 1), ErrorCode::UnknownMemberId);
    assert_eq!(node.state(), "PreparingRebalance");
}

#[test]
fn a_rebalance_waits_for_static_members_until_their_sessions_end() {
    let mut node = Node::new(Config::default());
    let members = two(&mut node);
    let (_, waits) = node.join_twice(&Joiner { rebalance_timeout_ms: 1_000, ..Joiner::default() });
    let joined = node.joined(waits);
    assert!(joined.is_none());
    for _ in 0..7 {
        node.pass(9_000);
        for (instance, id) in &members {
            node.heartbeat_as(id, 1, Some(instance));
        }
    }
    let joined = node.joined(waits).expect("the rebalance timeout is over");
    assert_eq!(joined.members.len(), 3, "static members stay: their sessions live");
}
