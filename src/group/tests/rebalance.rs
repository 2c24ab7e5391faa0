//! When a rebalance ends, and for whom.

use super::node::{Joiner, Node, code};
use crate::group::Config;
use crate::protocol::ErrorCode;

#[test]
fn the_initial_delay_is_extended_while_members_come_up_to_the_rebalance_timeout() {
    let mut node = Node::default();
    let (_, first) = node.join_twice(&Joiner { rebalance_timeout_ms: 7_000, ..Joiner::default() });
    for _ in 0..2 {
        node.pass(2_500);
        node.join_twice(&Joiner { rebalance_timeout_ms: 7_000, ..Joiner::default() });
    }
    node.pass(1_900);
    assert!(node.joined(first).is_none(), "at 6.9 s");
    node.pass(100);
    assert_eq!(node.joined(first).expect("at 7 s").members.len(), 3);
}

#[test]
fn the_initial_delay_is_not_extended_for_nobody() {
    let mut node = Node::default();
    let (_, first) = node.join_twice(&Joiner::default());
    node.pass(3_000);
    assert!(node.joined(first).is_some());
}

#[test]
fn the_longest_rebalance_timeout_counts_and_who_is_late_is_removed() {
    let mut node = Node::default();
    let (late, first) = node.join_twice(&Joiner { rebalance_timeout_ms: 8_000, ..Joiner::default() });
    node.pass(3_000);
    node.joined(first).expect("joined");
    node.sync_as(&late, 1, &[]);
    let (_, waits) = node.join_twice(&Joiner { rebalance_timeout_ms: 2_000, ..Joiner::default() });
    node.pass(7_900);
    assert!(node.joined(waits).is_none());
    assert_eq!(node.heartbeat(&late, 1), ErrorCode::RebalanceInProgress);
    node.pass(100);
    let joined = node.joined(waits).expect("8 s are over");
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
    assert_eq!(joined.leader, joined.member_id, "the old leader did not come");
    assert_eq!(node.heartbeat(&late, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn who_joins_and_does_not_sync_is_removed() {
    let mut node = Node::default();
    let joiner = Joiner { rebalance_timeout_ms: 8_000, session_timeout_ms: 30_000, ..Joiner::default() };
    let (one, first) = node.join_twice(&joiner);
    let (two, _) = node.join_twice(&joiner);
    node.pass(6_000);
    let leader = node.joined(first).expect("joined").leader.to_string();
    let silent = if leader == one { two } else { one };
    node.sync_as(&leader, 1, &[(&leader, b"x")]);
    assert_eq!(node.state(), "Stable");
    node.pass(7_900);
    assert_eq!(node.heartbeat(&leader, 1), ErrorCode::None);
    node.pass(100);
    assert_eq!(node.heartbeat(&leader, 1), ErrorCode::RebalanceInProgress);
    assert_eq!(node.heartbeat(&silent, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_leader_that_never_assigns_does_not_hold_up_the_others_for_ever() {
    let mut node = Node::default();
    let joiner = Joiner { rebalance_timeout_ms: 8_000, session_timeout_ms: 30_000, ..Joiner::default() };
    let (one, first) = node.join_twice(&joiner);
    let (two, _) = node.join_twice(&joiner);
    node.pass(6_000);
    let leader = node.joined(first).expect("joined").leader.to_string();
    let follower = if leader == one { two } else { one };
    let waits = node.sync_as(&follower, 1, &[]);
    node.pass(8_000);
    assert_eq!(code(node.synced(waits).expect("given up").error_code), ErrorCode::RebalanceInProgress);
    assert_eq!(node.heartbeat(&leader, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn who_waits_is_not_silent_but_a_new_member_is_given_up_after_five_minutes() {
    let mut node = Node::default();
    let (old, first) = node.join_twice(&Joiner { rebalance_timeout_ms: 600_000, ..Joiner::default() });
    node.pass(3_000);
    node.joined(first).expect("joined");
    node.sync_as(&old, 1, &[]);
    let (_, waits) = node.join_twice(&Joiner::default());
    let keep = |node: &mut Node, ms: u64| {
        for _ in 0..ms / 9_000 {
            node.pass(9_000);
            assert_eq!(node.heartbeat(&old, 1), ErrorCode::RebalanceInProgress);
        }
    };
    keep(&mut node, 290_000);
    assert!(node.joined(waits).is_none(), "its session timeout of 10 s does not count while it waits");
    keep(&mut node, 20_000);
    assert_eq!(code(node.joined(waits).expect("given up").error_code), ErrorCode::UnknownMemberId);
}

#[test]
fn a_pending_member_holds_up_the_rebalance_until_it_is_given_up() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    node.join_now(&Joiner { session_timeout_ms: 6_000, ..Joiner::default() });
    let waits = node.join(&Joiner::known(&id));
    assert!(node.joined(waits).is_none(), "the leader joins, one with a new id is awaited");
    node.pass(6_000);
    assert_eq!(node.joined(waits).expect("given up").generation_id, generation + 1);
}

#[test]
fn generations_begin_again_after_the_last_one() {
    let mut node = Node::default();
    let (id, _) = node.stable();
    node.coordinator.groups.get_mut("g").expect("the group").generation = i32::MAX;
    assert_eq!(node.join_now(&Joiner::known(&id)).generation_id, 1);
}

#[test]
fn a_lowered_limit_turns_the_last_ones_away() {
    let mut node = Node::default();
    let (one, first) = node.join_twice(&Joiner::default());
    let (two, _) = node.join_twice(&Joiner::default());
    node.pass(6_000);
    let leader = node.joined(first).expect("joined").leader.to_string();
    node.sync_as(&leader, 1, &[]);
    let other = if leader == one { two } else { one };
    node.sync_as(&other, 1, &[]);
    node.config = std::rc::Rc::new(Config { max_size: 1, ..Config::default() });
    node.restart();
    assert_eq!(node.heartbeat(&other, 1), ErrorCode::RebalanceInProgress);
    let waits = node.join(&Joiner::known(&other));
    assert!(node.joined(waits).is_none());
    assert_eq!(code(node.join_now(&Joiner::known(&leader)).error_code), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn fifty_members_rebalance_in_no_time_of_their_own() {
    let mut node = Node::default();
    let waits: Vec<_> = (0..50).map(|_| node.join_twice(&Joiner::default())).collect();
    node.pass(6_000);
    let joined: Vec<_> = waits.into_iter().map(|(_, to)| node.joined(to).expect("joined")).collect();
    let leader = joined[0].leader.clone();
    for member in &joined {
        let to = node.sync_as(member.member_id.as_str(), 1, &[]);
        assert_eq!(node.synced(to).is_some(), member.member_id == leader || node.state() == "Stable");
    }
    assert_eq!((node.state().as_str(), node.log.len()), ("Stable", 2), "the new group, and its one assignment");
}

#[test]
fn static_members_without_patience_do_not_keep_the_node_busy() {
    let mut node = Node::default();
    let impatient = |instance| Joiner { rebalance_timeout_ms: -1, ..Joiner::fixed(instance) };
    let waits = node.join(&impatient("one"));
    node.pass(3_000);
    let leader = node.joined(waits).expect("joined").member_id.to_string();
    node.sync_as(&leader, 1, &[]);
    let waits = node.join(&impatient("two"));
    node.leave(5, &[("", Some("two"))]);
    assert!(node.joined(waits).is_some());
    assert_eq!(node.state(), "PreparingRebalance");
    let before = node.now_ms;
    assert!(node.coordinator.tick(node.now()).is_empty());
    assert!(node.coordinator.next_deadline().is_some_and(|due| due > before), "it looks again later");
    node.pass(10_000);
    assert_eq!(node.state(), "Empty", "the session decides");
}
