//! DescribeGroups, ListGroups, DeleteGroups, OffsetDelete, and topics that are deleted.

use super::node::{EPOCH_MS, GROUP, Joiner, Node, code, commit_request, subscription, text};
use crate::group::{AppendFailure, Reply, WaiterId};
use crate::protocol::ErrorCode;
use crate::protocol::cold::list_groups_request::ListGroupsRequestData;
use crate::protocol::cold::offset_delete_request::{
    OffsetDeleteRequestData, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

impl Node {
    fn delete(&mut self, ids: &[&str]) -> WaiterId {
        let to = self.waiter();
        let effects = self.coordinator.delete(self.now(), ids, to);
        self.run(effects);
        to
    }

    fn deleted(&mut self, to: WaiterId) -> Option<Vec<ErrorCode>> {
        match self.reply(to)? {
            Reply::Delete(results) => Some(results.iter().map(|result| code(result.error_code)).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn delete_offsets(&mut self, topic: &str, partitions: &[i32]) -> Vec<ErrorCode> {
        let partition = |index: &i32| OffsetDeleteRequestPartition {
            partition_index: *index,
            ..OffsetDeleteRequestPartition::default()
        };
        let topics = vec![OffsetDeleteRequestTopic {
            name: text(topic),
            partitions: partitions.iter().map(partition).collect(),
            ..OffsetDeleteRequestTopic::default()
        }];
        let request = OffsetDeleteRequestData { group_id: text(GROUP), topics, ..OffsetDeleteRequestData::default() };
        let to = self.waiter();
        let effects = self.coordinator.offset_delete(self.now(), &request, &|name| name != "unknown", to);
        self.run(effects);
        match self.reply(to) {
            Some(Reply::OffsetDelete(response)) if response.error_code != 0 => vec![code(response.error_code)],
            Some(Reply::OffsetDelete(response)) => {
                response.topics[0].partitions.iter().map(|partition| code(partition.error_code)).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_stable_group_is_described_with_what_its_members_brought_and_got() {
    let mut node = Node::default();
    let (id, _) = node.stable();
    let group = node.coordinator.describe(GROUP, 6);
    assert_eq!(
        (group.error_code, group.protocol_type.as_str(), group.protocol_data.as_str()),
        (0, "consumer", "range")
    );
    let member = &group.members[0];
    assert_eq!((member.member_id.as_str(), member.client_id.as_str()), (&*id, "client"));
    assert_eq!((member.client_host.as_str(), &*member.member_assignment), ("/127.0.0.1", &b"all"[..]));
    assert_eq!(member.member_metadata, subscription(&["t"]));
    node.join_twice(&Joiner::default());
    let group = node.coordinator.describe(GROUP, 6);
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("PreparingRebalance", ""));
    assert!(group.members.iter().all(|member| member.member_metadata.is_empty()));
}

#[test]
fn a_group_that_is_not_there_is_dead() {
    let node = Node::default();
    let group = node.coordinator.describe("who", 5);
    assert_eq!((group.error_code, group.group_state.as_str()), (0, "Dead"));
    let group = node.coordinator.describe("who", 6);
    assert_eq!(code(group.error_code), ErrorCode::GroupIdNotFound);
    assert_eq!(group.error_message, Some(text("Group who not found.")));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut node = Node::default();
    node.stable();
    let mut simple = commit_request("", -1, "t", 0, 1);
    simple.group_id = text("alone");
    node.commit(&simple);
    let list = |states: &[&str], types: &[&str]| -> Vec<(String, String, String, String)> {
        let request = ListGroupsRequestData {
            states_filter: states.iter().map(|name| text(name)).collect(),
            types_filter: types.iter().map(|name| text(name)).collect(),
            ..ListGroupsRequestData::default()
        };
        let listed = node.coordinator.list(&request).into_iter();
        let row = listed.map(|it| (it.group_id, it.protocol_type, it.group_state, it.group_type));
        row.map(|it| (it.0.to_string(), it.1.to_string(), it.2.to_string(), it.3.to_string())).collect()
    };
    let row = |cells: [&str; 4]| (cells[0].to_owned(), cells[1].to_owned(), cells[2].to_owned(), cells[3].to_owned());
    let alone = row(["alone", "", "Empty", "classic"]);
    let stable = row(["g", "consumer", "Stable", "classic"]);
    assert_eq!(list(&[], &[]), [alone.clone(), stable.clone()]);
    assert_eq!(list(&["stable"], &[]), std::slice::from_ref(&stable));
    assert_eq!(list(&["Empty", "Stable"], &["Classic"]), [alone, stable]);
    assert!(list(&[], &["consumer"]).is_empty());
    assert!(list(&["Dead"], &[]).is_empty());
}

#[test]
fn an_empty_group_is_deleted_with_its_offsets() {
    let mut node = Node::default();
    let (id, _) = node.stable();
    let to = node.delete(&[GROUP, "who", GROUP]);
    assert_eq!(node.deleted(to), Some(vec![ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound]));
    node.leave(5, &[(&id, None)]);
    node.commit_alone("t", 0, 5);
    node.commit_alone("t", 1, 6);
    node.durable_at_once = false;
    let to = node.delete(&[GROUP]);
    assert_eq!((node.deleted(to), node.fetch("t", 0)), (None, 5), "not durable yet");
    node.flush();
    assert_eq!((node.deleted(to), node.fetch("t", 0)), (Some(vec![ErrorCode::None]), -1));
    assert_eq!((node.state().as_str(), node.budget.used_bytes()), ("Dead", 0));
    let group = node.log.iter().rposition(|(key, _)| key[1] == 2);
    assert_eq!(group, Some(node.log.len() - 1), "the group's tombstone is the last one");
    node.restart();
    assert_eq!((node.state().as_str(), node.fetch("t", 0)), ("Dead", -1));
}

#[test]
fn a_deletion_that_is_not_stored_did_not_happen() {
    let mut node = Node::default();
    node.commit_alone("t", 0, 5);
    node.durable_at_once = false;
    let to = node.delete(&[GROUP]);
    assert_eq!(node.state(), "Dead");
    node.fail_one(AppendFailure::Unavailable);
    assert_eq!(node.deleted(to), Some(vec![ErrorCode::CoordinatorNotAvailable]));
    assert_eq!((node.state().as_str(), node.fetch("t", 0)), ("Empty", 5));
}

#[test]
fn a_group_lives_again_while_its_tombstones_are_on_their_way() {
    let mut node = Node::default();
    let (id, _) = node.stable();
    node.leave(5, &[(&id, None)]);
    node.commit_alone("t", 0, 5);
    node.durable_at_once = false;
    node.delete(&[GROUP]);
    let again = node.commit(&commit_request("", -1, "t", 1, 7));
    node.flush();
    assert!(node.committed(again).is_some());
    assert_eq!((node.fetch("t", 0), node.fetch("t", 1), node.state().as_str()), (-1, 7, "Empty"));
    node.durable_at_once = true;
    let (_, generation) = node.stable();
    assert_eq!(generation, 1, "it is another group");
    node.restart();
    assert_eq!((node.fetch("t", 0), node.fetch("t", 1), node.state().as_str()), (-1, 7, "Stable"));
}

#[test]
fn offsets_are_deleted_unless_someone_subscribes() {
    let mut node = Node::default();
    assert_eq!(node.delete_offsets("t", &[0]), [ErrorCode::GroupIdNotFound]);
    node.commit_alone("t", 0, 5);
    node.commit_alone("u", 0, 6);
    node.stable();
    assert_eq!(node.delete_offsets("t", &[0, 1]), [ErrorCode::GroupSubscribedToTopic; 2]);
    assert_eq!(node.delete_offsets("unknown", &[0]), [ErrorCode::UnknownTopicOrPartition]);
    assert_eq!(node.delete_offsets("u", &[0, 9]), [ErrorCode::None; 2]);
    assert_eq!((node.fetch("t", 0), node.fetch("u", 0)), (5, -1));
    node.restart();
    assert_eq!((node.fetch("t", 0), node.fetch("u", 0)), (5, -1));
}

#[test]
fn offsets_of_a_live_group_of_another_type_are_not_deleted() {
    let mut node = Node::default();
    let (_, waits) = node.join_twice(&Joiner { protocol_type: "connect", ..Joiner::default() });
    node.pass(3_000);
    node.joined(waits).expect("joined");
    assert_eq!(node.delete_offsets("t", &[0]), [ErrorCode::NonEmptyGroup]);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut node = Node::default();
    node.commit_alone("t", 0, 5);
    node.commit_alone("t", 1, 5);
    node.commit_alone("u", 0, 6);
    let effects = node.coordinator.topics_deleted(node.now(), &["t", "v"]);
    assert_eq!(effects.len(), 1, "one batch");
    node.run(effects);
    assert_eq!((node.fetch("t", 0), node.fetch("t", 1), node.fetch("u", 0)), (-1, -1, 6));
    assert!(node.coordinator.topics_deleted(node.now(), &["t"]).is_empty());
    assert_eq!(node.now().wall_ms, EPOCH_MS);
}
