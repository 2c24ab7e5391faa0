//! Offsets and groups that expire.

use super::node::{GROUP, Joiner, Node, code, commit_request, subscription};
use crate::group::{AppendFailure, Config};
use crate::protocol::ErrorCode;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn node() -> Node {
    Node::new(Config { offsets_retention_ms: DAY_MS, ..Config::default() })
}

/// Lets time pass while a member lives.
fn pass_with(node: &mut Node, member: (&str, i32), ms: u64) {
    for _ in 0..ms / 9_000 {
        node.pass(9_000);
        assert_eq!(node.heartbeat(member.0, member.1), ErrorCode::None);
    }
}

#[test]
fn a_simple_groups_offsets_expire_each_at_its_time_and_the_group_with_the_last() {
    let mut node = node();
    node.commit_alone("t", 0, 5);
    node.pass(DAY_MS / 2);
    node.commit_alone("t", 1, 6);
    node.pass(DAY_MS / 2 + 600_000);
    assert_eq!((node.fetch("t", 0), node.fetch("t", 1)), (-1, 6));
    node.pass(DAY_MS / 2);
    assert_eq!((node.fetch("t", 1), node.state().as_str()), (-1, "Dead"));
    assert_eq!((node.budget.used_bytes(), node.coordinator.live_records()), (0, 0));
    node.restart();
    assert_eq!(node.state(), "Dead");
}

#[test]
fn an_empty_groups_offsets_expire_after_its_last_member_left() {
    let mut node = node();
    let (id, generation) = node.stable();
    node.commit_now(&commit_request(&id, generation, "t", 0, 5));
    pass_with(&mut node, (&id, generation), 2 * DAY_MS);
    assert_eq!(node.fetch("t", 0), 5, "its members subscribe to the topic");
    node.leave(5, &[(&id, None)]);
    node.restart();
    node.pass(DAY_MS - 700_000);
    assert_eq!(node.fetch("t", 0), 5);
    node.pass(700_000 + 600_000);
    assert_eq!((node.fetch("t", 0), node.state().as_str()), (-1, "Dead"));
}

#[test]
fn a_stable_groups_offsets_of_topics_that_it_left_expire() {
    let mut node = node();
    node.commit_alone("t", 0, 5);
    node.commit_alone("u", 0, 6);
    let (id, generation) = node.stable();
    pass_with(&mut node, (&id, generation), DAY_MS + 600_000);
    assert_eq!((node.fetch("t", 0), node.fetch("u", 0), node.state().as_str()), (5, -1, "Stable"));
}

#[test]
fn a_live_group_of_another_type_keeps_its_offsets() {
    let mut node = node();
    node.commit_alone("u", 0, 6);
    let joiner = Joiner { protocol_type: "connect", protocols: vec![("v1", subscription(&[]))], ..Joiner::default() };
    let (id, waits) = node.join_twice(&joiner);
    node.pass(3_000);
    let generation = node.joined(waits).expect("joined").generation_id;
    node.sync_as(&id, generation, &[]);
    pass_with(&mut node, (&id, generation), 2 * DAY_MS);
    assert_eq!(node.fetch("u", 0), 6);
}

#[test]
fn an_expire_time_of_its_own_is_kept() {
    let mut node = node();
    let mut request = commit_request("", -1, "t", 0, 5);
    request.retention_time_ms = 3_600_000;
    let to = node.commit_version(&request, 2);
    assert_eq!(code(node.committed(to).expect("durable").topics[0].partitions[0].error_code), ErrorCode::None);
    node.restart();
    node.pass(3_500_000);
    assert_eq!(node.fetch("t", 0), 5);
    node.pass(100_000 + 600_000);
    assert_eq!(node.fetch("t", 0), -1);
}

#[test]
fn a_group_that_nobody_came_back_to_goes() {
    let mut node = node();
    for _ in 0..1_000 {
        node.join_now(&Joiner::default());
    }
    assert_eq!(node.state(), "Empty");
    node.pass(700_000);
    assert_eq!((node.state().as_str(), node.budget.used_bytes()), ("Dead", 0));
}

#[test]
fn expired_offsets_are_back_if_their_tombstones_are_not_stored() {
    let mut node = node();
    node.commit_alone("t", 0, 5);
    node.durable_at_once = false;
    node.pass(DAY_MS + 600_000);
    node.fail_one(AppendFailure::Unavailable);
    assert_eq!((node.fetch("t", 0), node.state().as_str()), (5, "Empty"));
    node.pass(600_000);
    node.flush();
    assert_eq!((node.fetch("t", 0), node.coordinator.describe(GROUP, 0).group_state.to_string()), (-1, "Dead".into()));
}

#[test]
fn many_groups_are_looked_at_some_at_a_time() {
    let mut node = node();
    for group in 0..10_000 {
        let mut request = commit_request("", -1, "t", 0, 5);
        request.group_id = super::node::text(&format!("g-{group}"));
        assert_eq!(node.commit_now(&request), ErrorCode::None);
    }
    node.now_ms += 2 * DAY_MS;
    let effects = node.coordinator.tick(node.now());
    assert!(effects.len() == 1 && node.coordinator.next_deadline() == Some(0), "more is due at once");
    node.run(effects);
    node.pass(1);
    assert_eq!((node.coordinator.live_records(), node.budget.used_bytes()), (0, 0));
}
