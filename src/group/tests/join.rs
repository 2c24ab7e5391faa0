//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup of dynamic members.

use bytes::Bytes;

use super::node::{GROUP, Joiner, Node, code, subscription, sync_request, text};
use crate::group::{AppendFailure, Caller, Config, Effect, Reply, WaiterId};
use crate::protocol::ErrorCode;

#[test]
fn a_new_member_is_given_an_id_and_comes_back_with_it() {
    let mut node = Node::default();
    let given = node.join_now(&Joiner::default());
    assert_eq!(code(given.error_code), ErrorCode::MemberIdRequired);
    let id = given.member_id.to_string();
    assert!(id.starts_with("client-") && id.len() == "client-".len() + 36, "{id}");
    assert_eq!(node.state(), "Empty");
    let to = node.join(&Joiner::known(&id));
    assert_eq!(node.state(), "PreparingRebalance");
    node.pass(2_999);
    assert!(node.joined(to).is_none(), "the initial delay");
    node.pass(1);
    let joined = node.joined(to).expect("the delay is over");
    assert_eq!((joined.generation_id, joined.leader.as_str(), joined.members.len()), (1, &*id, 1));
    assert_eq!(joined.protocol_name.map(|name| name.to_string()).as_deref(), Some("range"));
    assert_eq!(node.state(), "CompletingRebalance");
    let to = node.sync_as(&id, 1, &[(&id, b"all"), ("nobody", b"x")]);
    let synced = node.synced(to).expect("durable at once");
    assert_eq!((&*synced.assignment, node.state().as_str()), (&b"all"[..], "Stable"));
}

#[test]
fn members_below_version_4_are_taken_in_at_once() {
    let mut node = Node::default();
    let to = node.join(&Joiner { version: 3, ..Joiner::default() });
    node.pass(3_000);
    let joined = node.joined(to).expect("the delay is over");
    assert_eq!(joined.error_code, 0);
    assert!(joined.protocol_type.is_none() && joined.protocol_name.is_some());
}

#[test]
fn an_id_that_does_not_come_back_is_forgotten() {
    let mut node = Node::default();
    let id = node.join_now(&Joiner::default()).member_id.to_string();
    node.pass(10_000);
    assert_eq!(code(node.join_now(&Joiner::known(&id)).error_code), ErrorCode::UnknownMemberId);
}

#[test]
fn refusals_of_join() {
    let mut node = Node::default();
    let refused = |node: &mut Node, joiner: Joiner| code(node.join_now(&joiner).error_code);
    assert_eq!(refused(&mut node, Joiner { group: "", ..Joiner::default() }), ErrorCode::InvalidGroupId);
    for session_timeout_ms in [-1, 0, 5_999, 1_800_001] {
        let joiner = Joiner { session_timeout_ms, ..Joiner::default() };
        assert_eq!(refused(&mut node, joiner), ErrorCode::InvalidSessionTimeout);
    }
    assert_eq!(refused(&mut node, Joiner::known("who")), ErrorCode::UnknownMemberId);
    let none = Joiner { protocols: Vec::new(), ..Joiner::default() };
    assert_eq!(refused(&mut node, none), ErrorCode::InconsistentGroupProtocol);
    let untyped = Joiner { protocol_type: "", ..Joiner::default() };
    assert_eq!(refused(&mut node, untyped), ErrorCode::InconsistentGroupProtocol);
    node.stable();
    assert_eq!(refused(&mut node, Joiner::known("who")), ErrorCode::UnknownMemberId);
    let other_type = Joiner { protocol_type: "connect", ..Joiner::default() };
    assert_eq!(refused(&mut node, other_type), ErrorCode::InconsistentGroupProtocol);
    let other_name = Joiner { protocols: vec![("sticky", Bytes::new())], ..Joiner::default() };
    assert_eq!(refused(&mut node, other_name), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn the_protocol_with_most_votes_is_chosen() {
    let mut node = Node::default();
    let brings = |names: [&'static str; 2]| Joiner {
        protocols: names.map(|name| (name, Bytes::from_static(name.as_bytes()))).to_vec(),
        ..Joiner::default()
    };
    let (_, first) = node.join_twice(&brings(["range", "sticky"]));
    node.join_twice(&brings(["sticky", "range"]));
    node.join_twice(&brings(["sticky", "range"]));
    node.pass(9_000);
    let joined = node.joined(first).expect("all joined");
    assert_eq!(joined.protocol_name.map(|name| name.to_string()).as_deref(), Some("sticky"));
    assert!(joined.members.iter().all(|member| *member.metadata == *b"sticky"));
}

#[test]
fn followers_wait_for_the_leader_and_get_what_it_assigns() {
    let mut node = Node::default();
    let (one, first) = node.join_twice(&Joiner::default());
    let (two, second) = node.join_twice(&Joiner::default());
    node.pass(6_000);
    let (first, second) = (node.joined(first).expect("joined"), node.joined(second).expect("joined"));
    assert_eq!(first.leader, second.leader);
    let (leader, follower) = if first.leader.as_str() == one { (one, two) } else { (two, one) };
    let members = [&first, &second].map(|joined| joined.members.len());
    assert_eq!(members.iter().sum::<usize>(), 2, "the leader alone sees the members");
    let follows = node.sync_as(&follower, 1, &[(&follower, b"mine")]);
    assert!(node.synced(follows).is_none(), "what a follower assigns is nothing");
    node.durable_at_once = false;
    let leads = node.sync_as(&leader, 1, &[(&leader, b"1"), (&follower, b"2")]);
    assert!(node.synced(follows).is_none() && node.state() == "CompletingRebalance", "not durable yet");
    node.flush();
    assert_eq!(*node.synced(leads).expect("durable").assignment, *b"1");
    assert_eq!(*node.synced(follows).expect("durable").assignment, *b"2");
    let again = node.sync_as(&follower, 1, &[]);
    assert_eq!(*node.synced(again).expect("stable").assignment, *b"2");
}

#[test]
fn an_assignment_that_is_not_stored_begins_again() {
    for (failure, error) in [
        (AppendFailure::TooLarge, ErrorCode::UnknownServerError),
        (AppendFailure::Unavailable, ErrorCode::CoordinatorNotAvailable),
        (AppendFailure::NotCoordinator, ErrorCode::NotCoordinator),
    ] {
        let mut node = Node::default();
        let (id, to) = node.join_twice(&Joiner::default());
        node.pass(3_000);
        node.joined(to).expect("joined");
        node.durable_at_once = false;
        let to = node.sync_as(&id, 1, &[(&id, b"all")]);
        node.fail_one(failure);
        assert_eq!(code(node.synced(to).expect("failed").error_code), error);
        assert_eq!(node.state(), "PreparingRebalance");
    }
}

#[test]
fn only_the_leaders_first_word_counts() {
    let mut node = Node::default();
    let (id, to) = node.join_twice(&Joiner::default());
    node.pass(3_000);
    node.joined(to).expect("joined");
    node.durable_at_once = false;
    let first = node.sync_as(&id, 1, &[(&id, b"first")]);
    let second = node.sync_as(&id, 1, &[(&id, b"second")]);
    assert_eq!(code(node.synced(first).expect("superseded").error_code), ErrorCode::RebalanceInProgress);
    assert_eq!(node.in_flight.len(), 1, "one assignment is stored");
    node.flush();
    assert_eq!(*node.synced(second).expect("durable").assignment, *b"first");
}

#[test]
fn refusals_of_sync() {
    let mut node = Node::default();
    let refused = |node: &mut Node, request| {
        let to = node.sync(request, 5);
        code(node.synced(to).expect("at once").error_code)
    };
    let mut anonymous = sync_request("m", 1, &[]);
    anonymous.group_id = text("");
    assert_eq!(refused(&mut node, anonymous), ErrorCode::InvalidGroupId);
    assert_eq!(refused(&mut node, sync_request("m", 1, &[])), ErrorCode::UnknownMemberId);
    let (id, generation) = node.stable();
    assert_eq!(refused(&mut node, sync_request("m", generation, &[])), ErrorCode::UnknownMemberId);
    assert_eq!(refused(&mut node, sync_request(&id, generation + 1, &[])), ErrorCode::IllegalGeneration);
    let mut other = sync_request(&id, generation, &[]);
    other.protocol_name = Some(text("sticky"));
    assert_eq!(refused(&mut node, other), ErrorCode::InconsistentGroupProtocol);
    let mut other = sync_request(&id, generation, &[]);
    other.protocol_type = Some(text("connect"));
    assert_eq!(refused(&mut node, other), ErrorCode::InconsistentGroupProtocol);
    node.join(&Joiner::known(&id));
    node.join_twice(&Joiner::default());
    node.join(&Joiner::known(&id));
}

#[test]
fn refusals_of_heartbeat() {
    let mut node = Node::default();
    assert_eq!(node.heartbeat("m", 1), ErrorCode::UnknownMemberId);
    let (id, generation) = node.stable();
    assert_eq!(node.heartbeat(&id, generation), ErrorCode::None);
    assert_eq!(node.heartbeat("m", generation), ErrorCode::UnknownMemberId);
    assert_eq!(node.heartbeat(&id, generation - 1), ErrorCode::IllegalGeneration);
    node.join_twice(&Joiner::default());
    assert_eq!(node.heartbeat(&id, generation), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_silent_member_is_removed() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    for _ in 0..5 {
        node.pass(9_000);
        assert_eq!(node.heartbeat(&id, generation), ErrorCode::None);
    }
    node.pass(10_000);
    assert_eq!(node.heartbeat(&id, generation), ErrorCode::UnknownMemberId);
    assert_eq!(node.state(), "Empty");
    let record = node.log.last().expect("the empty group is stored");
    assert!(record.1.is_some());
}

#[test]
fn a_follower_with_nothing_new_is_answered_at_once_and_a_leader_begins_a_rebalance() {
    let mut node = Node::default();
    let (one, first) = node.join_twice(&Joiner::default());
    let (two, _) = node.join_twice(&Joiner::default());
    node.pass(6_000);
    let leader = node.joined(first).expect("joined").leader.to_string();
    let follower = if leader == one { two } else { one };
    let again = node.join_now(&Joiner::known(&follower));
    assert_eq!((again.error_code, again.generation_id, again.members.len()), (0, 1, 0), "completing");
    assert_eq!(node.join_now(&Joiner::known(&leader)).members.len(), 2, "completing");
    node.sync_as(&follower, 1, &[]);
    node.sync_as(&leader, 1, &[]);
    let again = node.join_now(&Joiner::known(&follower));
    assert_eq!((again.error_code, again.generation_id, node.state().as_str()), (0, 1, "Stable"));
    let waits = node.join(&Joiner::known(&leader));
    assert!(node.joined(waits).is_none() && node.state() == "PreparingRebalance");
    let changed = Joiner { protocols: vec![("range", subscription(&["t", "u"]))], ..Joiner::known(&follower) };
    let joined = node.join_now(&changed);
    assert_eq!(joined.generation_id, 2);
    assert_eq!(node.joined(waits).expect("all joined").generation_id, 2);
}

#[test]
fn changed_metadata_begins_a_rebalance() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    let (other, waits) = node.join_twice(&Joiner::default());
    let joined = node.join_now(&Joiner::known(&id));
    assert_eq!(joined.generation_id, generation + 1);
    node.joined(waits).expect("all joined");
    let changed = Joiner { protocols: vec![("range", subscription(&["u"]))], ..Joiner::known(&other) };
    let waits = node.join(&changed);
    assert!(node.joined(waits).is_none() && node.state() == "PreparingRebalance", "from completing");
}

#[test]
fn leaving_members_are_answered_one_by_one() {
    let mut node = Node::default();
    assert_eq!(code(node.leave(5, &[("m", None)]).members[0].error_code), ErrorCode::UnknownMemberId);
    assert_eq!(code(node.leave(2, &[("m", None)]).error_code), ErrorCode::UnknownMemberId);
    let (id, _) = node.stable();
    let pending = node.join_now(&Joiner::default()).member_id.to_string();
    let response = node.leave(5, &[(&pending, None), ("m", None), (&id, None)]);
    let codes: Vec<ErrorCode> = response.members.iter().map(|member| code(member.error_code)).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::None]);
    assert_eq!(node.state(), "Empty");
    let response = node.leave(1, &[("m", None)]);
    assert_eq!((code(response.error_code), response.members.len()), (ErrorCode::UnknownMemberId, 0));
}

#[test]
fn a_join_that_waits_is_answered_when_its_member_leaves() {
    let mut node = Node::default();
    let (id, waits) = node.join_twice(&Joiner::default());
    node.leave(5, &[(&id, None)]);
    assert_eq!(code(node.joined(waits).expect("answered").error_code), ErrorCode::UnknownMemberId);
}

#[test]
fn the_same_members_second_join_takes_the_place_of_the_first() {
    let mut node = Node::default();
    let (id, first) = node.join_twice(&Joiner::default());
    let second = node.join(&Joiner::known(&id));
    assert_eq!(code(node.joined(first).expect("superseded").error_code), ErrorCode::RebalanceInProgress);
    node.pass(3_000);
    assert_eq!(node.joined(second).expect("joined").generation_id, 1);
}

#[test]
fn a_group_has_as_many_members_as_it_may() {
    let mut node = Node::new(Config { max_size: 2, ..Config::default() });
    let (_, first) = node.join_twice(&Joiner::default());
    let (_, second) = node.join_twice(&Joiner::default());
    assert_eq!(code(node.join_now(&Joiner::default()).error_code), ErrorCode::GroupMaxSizeReached);
    node.pass(6_000);
    assert!(node.joined(first).is_some() && node.joined(second).is_some());
    assert_eq!(code(node.join_now(&Joiner::default()).error_code), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn everything_that_waits_is_answered_when_the_coordinator_goes_away() {
    let mut node = Node::default();
    let (_, waits) = node.join_twice(&Joiner::default());
    node.durable_at_once = false;
    let to = node.commit(&super::node::commit_request("", -1, "t", 0, 1));
    assert_eq!(
        code(node.committed(to).expect("no member").topics[0].partitions[0].error_code),
        ErrorCode::UnknownMemberId
    );
    let effects = node.coordinator.unload();
    assert_eq!(effects.len(), 1);
    let Some(Effect::Reply { to, reply: Reply::Join(response) }) = effects.into_iter().next() else {
        panic!("a reply to the join")
    };
    assert_eq!((to, code(response.error_code)), (waits, ErrorCode::NotCoordinator));
    assert_eq!(node.budget.used_bytes(), 0);
    let caller = Caller { client_id: "c", client_host: "/127.0.0.1", version: 5 };
    let effects = node.coordinator.sync(node.now(), caller, &sync_request("m", 1, &[]), waits);
    assert_eq!(effects.len(), 1);
}

#[test]
fn a_session_that_is_over_keeps_no_group_from_being_deleted() {
    let mut node = Node::default();
    node.stable();
    let delete = |node: &mut Node| {
        let effects = node.coordinator.delete(node.now(), &[GROUP], WaiterId(u64::MAX));
        let answers = effects.into_iter().filter_map(|effect| match effect {
            Effect::Reply { reply: Reply::Delete(results), .. } => Some(code(results[0].error_code)),
            _ => None,
        });
        answers.last()
    };
    // The clock goes on and nobody ticks.
    node.now_ms += 9_999;
    assert_eq!(delete(&mut node), Some(ErrorCode::NonEmptyGroup));
    node.now_ms += 1;
    assert_eq!(delete(&mut node), None, "its tombstones are on their way");
}
