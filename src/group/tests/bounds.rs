//! What is bounded, and with what code it is refused.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::node::{Joiner, Node, code, commit_request, subscription};
use crate::group::{Budget, Config};
use crate::protocol::ErrorCode;
use crate::protocol::cold::{self, Request, Response};

fn small() -> Node {
    Node::with_budget(Config::default(), Budget::new(20_000))
}

#[test]
fn members_beyond_the_budget_are_turned_away() {
    let mut node = small();
    let mut joined = 0;
    let refused = loop {
        let response = node.join_now(&Joiner::default());
        if code(response.error_code) != ErrorCode::MemberIdRequired {
            break response;
        }
        joined += 1;
        assert!(joined < 1_000, "unbounded");
    };
    assert_eq!(code(refused.error_code), ErrorCode::GroupMaxSizeReached);
    assert!(joined > 20 && node.budget.used_bytes() <= 20_000);
    assert!(node.budget.take_refused() > 0);
    node.pass(10_000);
    assert_eq!(code(node.join_now(&Joiner::default()).error_code), ErrorCode::MemberIdRequired, "ids have expired");
}

#[test]
fn large_metadata_is_turned_away_whoever_brings_it() {
    let mut node = small();
    let large = |member_id: &str| Joiner {
        protocols: vec![("range", Bytes::from(vec![0; 30_000]))],
        ..Joiner::known(member_id)
    };
    let refused = node.join_now(&large(""));
    assert_eq!(code(refused.error_code), ErrorCode::GroupMaxSizeReached, "a new group");
    let (id, generation) = node.stable();
    assert_eq!(code(node.join_now(&large(&id)).error_code), ErrorCode::GroupMaxSizeReached, "a member");
    assert_eq!((node.state().as_str(), node.heartbeat(&id, generation)), ("Stable", ErrorCode::None));
    let to = node.join(&Joiner { version: 3, ..large("") });
    assert_eq!(code(node.joined(to).expect("at once").error_code), ErrorCode::GroupMaxSizeReached, "a newcomer");
    assert!(node.budget.used_bytes() <= 20_000);
}

#[test]
fn an_assignment_beyond_the_budget_or_a_batch_begins_again() {
    static LARGE: [u8; 2 << 20] = [0; 2 << 20];
    for (budget, bytes) in [(20_000, 19_000), (64 << 20, LARGE.len())] {
        let mut node = Node::with_budget(Config::default(), Budget::new(budget));
        let (id, to) = node.join_twice(&Joiner::default());
        node.pass(3_000);
        node.joined(to).expect("joined");
        let to = node.sync_as(&id, 1, &[(&id, &LARGE[..bytes])]);
        assert_eq!(code(node.synced(to).expect("at once").error_code), ErrorCode::UnknownServerError);
        assert_eq!(node.state(), "PreparingRebalance");
    }
}

#[test]
fn new_offsets_beyond_the_budget_are_refused_and_known_ones_go_on() {
    let mut node = small();
    let refused = (0..1_000).find(|partition| node.commit_alone("t", *partition, 1) != ErrorCode::None);
    let refused = refused.expect("bounded");
    assert_eq!(node.commit_alone("t", refused, 1), ErrorCode::InvalidCommitOffsetSize);
    let mut wordless = commit_request("", -1, "t", 0, 2);
    wordless.topics[0].partitions[0].committed_metadata = None;
    assert_eq!(node.commit_now(&wordless), ErrorCode::None, "it takes no more than it has");
    assert_eq!((node.fetch("t", 0), node.fetch("t", refused)), (2, -1));
    let to = node.waiter();
    let effects = node.coordinator.delete(node.now(), &["g"], to);
    node.run(effects);
    assert_eq!(node.budget.used_bytes(), 0);
    assert_eq!(node.commit_alone("t", refused, 1), ErrorCode::None);
}

#[test]
fn what_was_committed_is_loaded_whatever_the_budget() {
    let mut node = Node::default();
    (0..200).for_each(|partition| assert_eq!(node.commit_alone("t", partition, 1), ErrorCode::None));
    node.budget = Budget::new(20_000);
    node.restart();
    assert!(node.budget.used_bytes() > 20_000);
    assert_eq!((node.fetch("t", 199), node.commit_alone("u", 0, 1)), (1, ErrorCode::InvalidCommitOffsetSize));
}

#[test]
fn a_member_does_not_hold_the_frame_that_it_came_in() {
    let mut node = Node::default();
    let frame = Bytes::from(vec![0; 1 << 20]);
    let joiner = Joiner { protocols: vec![("range", frame.slice(0..6))], version: 3, ..Joiner::default() };
    node.join(&joiner);
    drop(joiner);
    assert!(frame.is_unique());
}

#[test]
fn everything_is_given_back_in_the_end() {
    let mut node = Node::default();
    for _ in 0..3 {
        let (id, generation) = node.stable();
        let joiner = Joiner { protocols: vec![("range", subscription(&["t", "u"]))], ..Joiner::known(&id) };
        node.join_now(&joiner);
        node.sync_as(&id, generation + 1, &[(&id, b"more")]);
        node.commit_now(&commit_request(&id, generation + 1, "t", 0, 5));
        node.leave(5, &[(&id, None)]);
        let to = node.waiter();
        let effects = node.coordinator.delete(node.now(), &["g"], to);
        node.run(effects);
        assert_eq!(node.budget.used_bytes(), 0);
        assert_eq!(node.coordinator.cx.timers.len(), 0);
    }
    assert_eq!(Rc::strong_count(&node.budget), 2, "the node's, and the coordinator's own");
}

/// Every reply can be written in every version that its request may have.
#[test]
fn replies_fit_the_versions_of_their_requests() {
    fn fits<R: Request>(response: &R::Response, version: i16) {
        let mut bytes = BytesMut::new();
        response.write(&mut bytes, version).unwrap_or_else(|error| panic!("version {version}: {error}"));
    }
    for version in 0..=9 {
        let mut node = Node::default();
        let refused = node.join_now(&Joiner { version, ..Joiner::known("who") });
        fits::<cold::join_group_request::JoinGroupRequestData>(&refused, version);
        let joiner = Joiner { version, ..Joiner::default() };
        let waits = if version >= 4 { node.join_twice(&joiner).1 } else { node.join(&joiner) };
        node.pass(3_000);
        let joined = node.joined(waits).expect("joined");
        fits::<cold::join_group_request::JoinGroupRequestData>(&joined, version);
        let id = joined.member_id.to_string();
        if version <= 5 {
            for generation in [1, 2] {
                let to = node.sync(super::node::sync_request(&id, generation, &[(&id, b"x")]), version);
                fits::<cold::sync_group_request::SyncGroupRequestData>(&node.synced(to).expect("at once"), version);
            }
        }
        if (5..=6).contains(&version) {
            fits_describe(&node, version);
        }
        if version <= 5 {
            let response = node.leave(version, &[(&id, None)]);
            fits::<cold::leave_group_request::LeaveGroupRequestData>(&response, version);
        }
        if version >= 2 {
            let to = node.commit_version(&commit_request("", -1, "t", 0, 1), version);
            let response = node.committed(to).expect("at once");
            fits::<cold::offset_commit_request::OffsetCommitRequestData>(&response, version);
        }
    }
    fn fits_describe(node: &Node, version: i16) {
        for group in ["g", "who"] {
            let response = cold::describe_groups_response::DescribeGroupsResponseData {
                groups: vec![node.coordinator.describe(group, version)],
                ..Default::default()
            };
            fits::<cold::describe_groups_request::DescribeGroupsRequestData>(&response, version);
        }
    }
}

#[test]
fn a_pending_member_that_calls_itself_static_is_refused() {
    let mut node = Node::default();
    let id = node.join_now(&Joiner::default()).member_id.to_string();
    let refused = node.join_now(&Joiner { instance_id: Some("i"), ..Joiner::known(&id) });
    assert_eq!(code(refused.error_code), ErrorCode::UnknownServerError);
}
