//! OffsetCommit and OffsetFetch.

use super::node::{GROUP, Joiner, Node, code, commit_request, text};
use crate::group::AppendFailure;
use crate::protocol::ErrorCode;
use crate::protocol::cold::offset_fetch_request::OffsetFetchRequestGroup;

fn error(
    node: &mut Node,
    request: &crate::protocol::cold::offset_commit_request::OffsetCommitRequestData,
) -> ErrorCode {
    node.commit_now(request)
}

#[test]
fn a_commit_is_seen_and_answered_once_it_is_durable() {
    let mut node = Node { durable_at_once: false, ..Node::default() };
    let first = node.commit(&commit_request("", -1, "t", 0, 5));
    let second = node.commit(&commit_request("", -1, "t", 0, 6));
    assert!(node.committed(first).is_none());
    assert_eq!(node.fetch("t", 0), -1);
    node.flush_one();
    assert_eq!((node.fetch("t", 0), node.committed(second).is_none()), (5, true));
    assert!(node.committed(first).is_some());
    node.flush_one();
    assert_eq!((node.fetch("t", 0), node.fetch("t", 1), node.fetch("u", 0)), (6, -1, -1));
}

#[test]
fn what_is_fetched_is_what_was_committed() {
    let mut node = Node::default();
    let mut request = commit_request("", -1, "t", 3, 5);
    request.topics[0].partitions[0].committed_leader_epoch = 9;
    assert_eq!(node.commit_now(&request), ErrorCode::None);
    let all = OffsetFetchRequestGroup { group_id: text(GROUP), topics: None, ..OffsetFetchRequestGroup::default() };
    for _ in 0..2 {
        let fetched = node.coordinator.fetch(&all);
        let partition = &fetched.topics[0].partitions[0];
        assert_eq!((fetched.topics.len(), fetched.topics[0].name.as_str()), (1, "t"));
        assert_eq!(
            (partition.partition_index, partition.committed_offset, partition.committed_leader_epoch),
            (3, 5, 9)
        );
        assert_eq!(partition.metadata, Some(text("m")));
        node.restart();
    }
    let nobody = OffsetFetchRequestGroup { group_id: text("nobody"), ..all };
    assert!(node.coordinator.fetch(&nobody).topics.is_empty());
}

#[test]
fn a_commit_that_is_not_appended_is_not_seen() {
    for (failure, error) in [
        (AppendFailure::TooLarge, ErrorCode::UnknownServerError),
        (AppendFailure::Unavailable, ErrorCode::CoordinatorNotAvailable),
        (AppendFailure::NotCoordinator, ErrorCode::NotCoordinator),
    ] {
        let mut node = Node { durable_at_once: false, ..Node::default() };
        let to = node.commit(&commit_request("", -1, "t", 0, 5));
        node.fail_one(failure);
        let response = node.committed(to).expect("failed");
        assert_eq!(code(response.topics[0].partitions[0].error_code), error);
        assert_eq!((node.fetch("t", 0), node.state().as_str()), (-1, "Dead"), "nothing is left of the group");
        assert_eq!(node.budget.used_bytes(), 0);
    }
}

#[test]
fn who_may_commit() {
    let mut node = Node::default();
    assert_eq!(error(&mut node, &commit_request("m", 1, "t", 0, 1)), ErrorCode::GroupIdNotFound);
    let to = node.commit_version(&commit_request("m", 1, "t", 0, 1), 8);
    let response = node.committed(to).expect("at once");
    assert_eq!(code(response.topics[0].partitions[0].error_code), ErrorCode::IllegalGeneration);
    let (id, generation) = node.stable();
    assert_eq!(error(&mut node, &commit_request(&id, generation, "t", 0, 1)), ErrorCode::None);
    assert_eq!(error(&mut node, &commit_request(&id, generation - 1, "t", 0, 1)), ErrorCode::IllegalGeneration);
    assert_eq!(error(&mut node, &commit_request("m", generation, "t", 0, 1)), ErrorCode::UnknownMemberId);
    assert_eq!(node.commit_alone("t", 0, 1), ErrorCode::UnknownMemberId, "the group has members");
    assert_eq!(error(&mut node, &commit_request(&id, -1, "t", 0, 1)), ErrorCode::IllegalGeneration);
    let (_, waits) = node.join_twice(&Joiner::default());
    assert_eq!(node.state(), "PreparingRebalance");
    assert_eq!(error(&mut node, &commit_request(&id, generation, "t", 0, 2)), ErrorCode::None, "before it rejoins");
    node.join(&Joiner::known(&id));
    node.joined(waits).expect("all joined");
    let early = commit_request(&id, generation + 1, "t", 0, 3);
    assert_eq!(error(&mut node, &early), ErrorCode::RebalanceInProgress);
    node.leave(5, &[(&id, None)]);
    assert_eq!(error(&mut node, &early), ErrorCode::UnknownMemberId);
}

#[test]
fn anyone_commits_while_a_group_is_empty() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    node.leave(5, &[(&id, None)]);
    assert_eq!(node.commit_alone("t", 0, 1), ErrorCode::None);
    let stale = commit_request(&id, generation, "t", 0, 1);
    assert_eq!(error(&mut node, &stale), ErrorCode::UnknownMemberId, "a member of a generation that is over");
}

#[test]
fn a_commit_keeps_the_session() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    for offset in 0..4 {
        node.pass(8_000);
        assert_eq!(error(&mut node, &commit_request(&id, generation, "t", 0, offset)), ErrorCode::None);
    }
}

#[test]
fn partitions_are_refused_one_by_one() {
    let mut node = Node::default();
    let mut request = commit_request("", -1, "t", 0, 1);
    let mut wordy = request.topics[0].partitions[0].clone();
    wordy.partition_index = 1;
    wordy.committed_metadata = Some(text(&"m".repeat(4_097)));
    request.topics[0].partitions.push(wordy.clone());
    wordy.committed_metadata = Some(text(&"m".repeat(4_096)));
    wordy.partition_index = 2;
    request.topics[0].partitions.push(wordy);
    let mut unknown = request.topics[0].clone();
    unknown.name = text("unknown");
    request.topics.push(unknown);
    let to = node.commit(&request);
    let response = node.committed(to).expect("durable");
    let codes = |topic: usize| -> Vec<ErrorCode> {
        response.topics[topic].partitions.iter().map(|partition| code(partition.error_code)).collect()
    };
    assert_eq!(codes(0), [ErrorCode::None, ErrorCode::OffsetMetadataTooLarge, ErrorCode::None]);
    assert_eq!(codes(1), [ErrorCode::UnknownTopicOrPartition; 3]);
    assert_eq!((node.fetch("t", 0), node.fetch("t", 1), node.fetch("t", 2)), (1, -1, 1));
}

#[test]
fn a_commit_that_no_batch_can_hold_is_refused() {
    let mut node = Node::default();
    let mut request = commit_request("", -1, "t", 0, 1);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = vec![one; 10_000];
    assert_eq!(error(&mut node, &request), ErrorCode::InvalidCommitOffsetSize);
    assert_eq!(node.state(), "Dead", "it made no group");
}
