//! Loading what a log holds.

use std::rc::Rc;

use super::node::{Joiner, Node, commit_request, text};
use crate::group::records::{GroupMetadataValue, Key, MemberMetadata, OffsetCommitValue, RecordError};
use crate::group::{Budget, Config, Coordinator, Now};
use crate::protocol::ErrorCode;
use crate::protocol::cold::offset_fetch_request::OffsetFetchRequestGroup;
use crate::types::{Offset, TopicId};

const NOW: Now = Now { monotonic_ms: 1_000, wall_ms: 1_000 };

fn empty() -> Coordinator {
    Coordinator::new(Rc::new(Config::default()), Budget::new(1 << 20), 1)
}

#[test]
fn a_stable_group_goes_on_after_a_restart() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    node.commit_now(&commit_request(&id, generation, "t", 0, 5));
    let before = node.coordinator.describe("g", 6);
    node.pass(9_000);
    node.restart();
    assert_eq!(node.coordinator.describe("g", 6), before);
    node.pass(9_000);
    assert_eq!(node.heartbeat(&id, generation), ErrorCode::None, "its session began anew");
    let to = node.sync_as(&id, generation, &[]);
    assert_eq!(*node.synced(to).expect("stable").assignment, *b"all");
    assert_eq!(node.commit_now(&commit_request(&id, generation, "t", 0, 6)), ErrorCode::None);
    node.pass(10_000);
    assert_eq!(node.heartbeat(&id, generation), ErrorCode::UnknownMemberId);
}

#[test]
fn a_generation_that_was_not_stored_is_made_again() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    let joined = node.join_now(&Joiner::known(&id));
    assert_eq!(joined.generation_id, generation + 1);
    node.restart();
    assert_eq!(node.heartbeat(&id, generation + 1), ErrorCode::IllegalGeneration);
    assert_eq!(node.join_now(&Joiner::known(&id)).generation_id, generation + 1);
}

#[test]
fn newer_and_unreadable_records_are_counted_and_skipped() {
    let mut coordinator = empty();
    assert_eq!(coordinator.replay(Offset(0), &[0, 3, 0, 1, b'g'], Some(&[0, 0])), Ok(()));
    assert_eq!(coordinator.replay(Offset(1), &[0, 21, 1], None), Ok(()));
    assert_eq!(coordinator.skipped_records(), 2);
    let key = Key::OffsetCommit { group: "g", topic: "t", partition: 0 }.encode();
    assert_eq!(coordinator.replay(Offset(2), &key, Some(&[0, 9])), Err(RecordError::Version(9)));
    assert_eq!(coordinator.replay(Offset(3), &key[..5], Some(&[0, 0])), Err(RecordError::Truncated));
    assert_eq!(coordinator.skipped_records(), 4);
    assert_eq!(coordinator.live_records(), 0);
}

#[test]
fn groups_of_odd_records_do_no_harm() {
    let member = |id, instance| MemberMetadata {
        member_id: id,
        group_instance_id: instance,
        client_id: "",
        client_host: "",
        rebalance_timeout: -1,
        session_timeout: i32::MIN,
        subscription: &[],
        assignment: &[],
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer",
        generation: -7,
        protocol: Some("range"),
        leader: Some("who"),
        current_state_timestamp: -1,
        members: vec![member("a", None), member("a", None), member("b", Some("i")), member("c", Some("i"))],
    };
    let mut coordinator = empty();
    let key = Key::GroupMetadata { group: "g" }.encode();
    for offset in 0..2 {
        coordinator.replay(Offset(offset), &key, Some(&value.encode())).expect("readable");
    }
    coordinator.loaded(NOW);
    assert_eq!(coordinator.describe("g", 6).members.len(), 2);
    coordinator.tick(NOW);
    coordinator.tick(Now { monotonic_ms: u64::from(u32::MAX), ..NOW });
    assert_eq!(coordinator.describe("g", 6).members.len(), 0);
}

#[test]
fn offsets_of_a_group_that_was_deleted_are_those_of_a_simple_one() {
    let mut coordinator = empty();
    let offset = Key::OffsetCommit { group: "g", topic: "t", partition: 0 }.encode();
    let value = OffsetCommitValue {
        offset: 5,
        leader_epoch: -1,
        metadata: "",
        commit_timestamp: 0,
        expire_timestamp: -1,
        topic_id: TopicId::ZERO,
    };
    coordinator.replay(Offset(0), &offset, Some(&value.encode())).expect("readable");
    coordinator.replay(Offset(1), &Key::GroupMetadata { group: "g" }.encode(), None).expect("readable");
    coordinator.replay(Offset(2), &Key::GroupMetadata { group: "h" }.encode(), None).expect("readable");
    coordinator.loaded(NOW);
    assert_eq!(coordinator.describe("g", 6).group_state.as_str(), "Empty");
    assert_eq!(coordinator.live_records(), 1);
}

/// What loading costs: `GROUP_LOAD_COMMITS=1000000 cargo test --release --lib a_million -- --nocapture` prints the time.
#[test]
fn a_million_commits_are_loaded() {
    let commits: usize = std::env::var("GROUP_LOAD_COMMITS").map_or(20_000, |count| count.parse().expect("a number"));
    let mut records = Vec::with_capacity(commits);
    for commit in 0..commits {
        let group = format!("application-{}", commit / 10 % 500);
        let topic = format!("orders-of-the-day-{}", commit % 10);
        let partition = i32::try_from(commit / 5_000 % 20).expect("small");
        let value = OffsetCommitValue {
            offset: i64::try_from(commit).expect("small"),
            leader_epoch: 3,
            metadata: "",
            commit_timestamp: 1_700_000_000_000,
            expire_timestamp: -1,
            topic_id: TopicId([1; 16]),
        };
        let key = Key::OffsetCommit { group: &group, topic: &topic, partition };
        records.push((key.encode(), value.encode()));
    }
    let mut coordinator = empty();
    #[expect(clippy::disallowed_methods, reason = "measures, and asserts nothing of it")]
    let start = std::time::Instant::now();
    for (offset, (key, value)) in (0..).zip(&records) {
        coordinator.replay(Offset(offset), key, Some(value)).expect("readable");
    }
    println!("{commits} commits of {} keys in {:?}", coordinator.live_records(), start.elapsed());
    coordinator.loaded(NOW);
    let request =
        OffsetFetchRequestGroup { group_id: text("application-0"), topics: None, ..OffsetFetchRequestGroup::default() };
    assert_eq!(coordinator.fetch(&request).topics.len(), 10);
}
