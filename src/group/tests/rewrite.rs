//! Compaction.

use super::node::{Joiner, Node, commit_request};
use crate::group::{AppendFailure, Rewrite, RewriteState};
use crate::types::Offset;

impl Node {
    fn mark(&self) -> Rewrite {
        self.coordinator.begin_rewrite(Offset(i64::try_from(self.log.len()).expect("short")))
    }

    fn rewrite(&mut self, rewrite: &mut Rewrite, max_bytes: usize) -> usize {
        let effects = self.coordinator.rewrite(self.now(), rewrite, max_bytes);
        let count = effects.len();
        self.run(effects);
        count
    }

    /// Drops what lies below the mark, as the log does.
    fn cut(&mut self, rewrite: &Rewrite) {
        assert_eq!(self.coordinator.rewrite_state(rewrite), RewriteState::MayCut);
        let mark = usize::try_from(rewrite.before().0).expect("an offset");
        // An emptied record keeps the offsets of the others; nothing knows its key's version.
        self.log[..mark].fill((vec![0, 99], None));
    }
}

#[test]
fn each_keys_latest_value_outlives_a_cut() {
    let mut node = Node::default();
    let (id, generation) = node.stable();
    for offset in 0..100 {
        node.commit_now(&commit_request(&id, generation, "t", i32::try_from(offset % 3).expect("small"), offset));
    }
    let mut rewrite = node.mark();
    let before = node.log.len();
    assert_eq!(node.coordinator.rewrite_state(&rewrite), RewriteState::Writing);
    assert_eq!(node.rewrite(&mut rewrite, 1 << 16), 1);
    assert_eq!((node.log.len() - before, node.coordinator.live_records()), (4, 4));
    node.cut(&rewrite);
    node.restart();
    assert_eq!([0, 1, 2].map(|partition| node.fetch("t", partition)), [99, 97, 98]);
    assert_eq!((node.state().as_str(), node.heartbeat(&id, generation).code()), ("Stable", 0));
}

#[test]
fn what_is_in_flight_is_copied_and_what_comes_after_the_mark_is_not() {
    let mut node = Node::default();
    node.commit_alone("t", 0, 1);
    node.commit_alone("t", 1, 1);
    node.commit_alone("t", 2, 1);
    node.durable_at_once = false;
    node.commit(&commit_request("", -1, "t", 0, 2));
    let in_flight = Offset(i64::try_from(node.log.len() + 1).expect("short"));
    let mut rewrite = node.coordinator.begin_rewrite(in_flight);
    node.commit(&commit_request("", -1, "t", 1, 2));
    node.rewrite(&mut rewrite, 1 << 16);
    assert_eq!(node.in_flight.back().expect("copies").1.len(), 2, "of partitions 0 and 2");
    assert_eq!(node.coordinator.rewrite_state(&rewrite), RewriteState::Flushing);
    node.flush_one();
    node.flush_one();
    assert_eq!(node.coordinator.rewrite_state(&rewrite), RewriteState::Flushing);
    node.flush();
    node.cut(&rewrite);
    node.restart();
    assert_eq!([0, 1, 2].map(|partition| node.fetch("t", partition)), [2, 2, 1]);
}

#[test]
fn small_batches_lead_to_the_same_end() {
    for max_bytes in [1, 200, 1_000] {
        let mut node = Node::default();
        for partition in 0..20 {
            node.commit_alone(if partition % 2 == 0 { "t" } else { "u" }, partition, partition.into());
        }
        let mut rewrite = node.mark();
        let mut batches = 0;
        while node.coordinator.rewrite_state(&rewrite) == RewriteState::Writing {
            batches += node.rewrite(&mut rewrite, max_bytes);
        }
        assert!(batches >= 2, "{batches} batches of {max_bytes} bytes");
        node.cut(&rewrite);
        node.restart();
        let committed = |partition: i32| node.fetch(if partition % 2 == 0 { "t" } else { "u" }, partition);
        assert!((0..20).all(|partition| committed(partition) == i64::from(partition)));
    }
}

#[test]
fn a_failed_append_voids_a_compaction() {
    let mut node = Node::default();
    node.commit_alone("t", 0, 1);
    let mut rewrite = node.mark();
    node.durable_at_once = false;
    node.commit(&commit_request("", -1, "t", 0, 2));
    node.rewrite(&mut rewrite, 1 << 16);
    node.fail_one(AppendFailure::TooLarge);
    node.flush();
    assert_eq!(node.coordinator.rewrite_state(&rewrite), RewriteState::Void);
}

#[test]
fn an_empty_coordinator_may_be_cut_at_once() {
    let mut node = Node::default();
    let mut rewrite = node.mark();
    assert_eq!(node.rewrite(&mut rewrite, 1_000), 0);
    assert_eq!(node.coordinator.rewrite_state(&rewrite), RewriteState::MayCut);
}

#[test]
fn groups_that_come_and_go_meanwhile_do_no_harm() {
    let mut node = Node::default();
    node.commit_alone("t", 0, 1);
    node.join_now(&Joiner { group: "new", ..Joiner::default() });
    let mut rewrite = node.mark();
    let to = node.waiter();
    let effects = node.coordinator.delete(node.now(), &["g"], to);
    node.run(effects);
    while node.coordinator.rewrite_state(&rewrite) == RewriteState::Writing {
        node.rewrite(&mut rewrite, 1);
        let member = node.join_now(&Joiner { group: "newer", ..Joiner::default() });
        assert!(!member.member_id.is_empty());
    }
    node.cut(&rewrite);
    node.restart();
    let listed = node.coordinator.list(&crate::protocol::cold::list_groups_request::ListGroupsRequestData::default());
    assert_eq!(listed.iter().map(|group| group.group_id.as_str()).collect::<Vec<_>>(), ["new", "newer"]);
}
