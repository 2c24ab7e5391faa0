//! What operators ask for: DescribeGroups, ListGroups, DeleteGroups, OffsetDelete.

use std::rc::Rc;

use super::classic::{DEAD, Group, State};
use super::context::{Batch, Context, OwnedKey, Then};
use super::coordinator::Coordinator;
use super::effect::{Now, Reply, WaiterId};
use super::join::key_of;
use super::member::Member;
use super::reply::text;
use crate::protocol::ErrorCode;
use crate::protocol::cold::delete_groups_response::DeletableGroupResult;
use crate::protocol::cold::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::cold::list_groups_request::ListGroupsRequestData;
use crate::protocol::cold::list_groups_response::ListedGroup;
use crate::protocol::cold::offset_delete_request::OffsetDeleteRequestData;
use crate::protocol::cold::offset_delete_response::{
    OffsetDeleteResponseData, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

/// The first version of DescribeGroups that says of an unknown group that it is unknown.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 6;

/// The type of all groups here.
const CLASSIC: &str = "classic";

impl Coordinator {
    pub(super) fn handle_describe(&self, group_id: &str, version: i16) -> DescribedGroup {
        let Some(group) = self.groups.get(group_id).filter(|group| group.alive) else {
            let mut dead =
                DescribedGroup { group_id: text(group_id), group_state: text(DEAD), ..DescribedGroup::default() };
            if version >= GROUP_ID_NOT_FOUND_SINCE {
                dead.error_code = ErrorCode::GroupIdNotFound.code();
                dead.error_message = Some(text(&format!("Group {group_id} not found.")));
            }
            return dead;
        };
        let protocol = group.protocol.as_deref().filter(|_| group.is_in(State::Stable));
        let member = |(id, member): (&Rc<str>, &Member)| DescribedGroupMember {
            member_id: text(id),
            group_instance_id: member.instance_id.as_deref().map(text),
            client_id: text(&member.client_id),
            client_host: text(&member.client_host),
            member_metadata: protocol.map(|protocol| member.metadata(Some(protocol))).unwrap_or_default(),
            member_assignment: member.assignment.clone(),
            ..DescribedGroupMember::default()
        };
        DescribedGroup {
            group_id: text(group_id),
            group_state: text(group.state.name()),
            protocol_type: text(group.protocol_type.as_deref().unwrap_or_default()),
            protocol_data: text(protocol.unwrap_or_default()),
            members: group.members.iter().map(member).collect(),
            ..DescribedGroup::default()
        }
    }

    pub(super) fn handle_list(&self, request: &ListGroupsRequestData) -> Vec<ListedGroup> {
        let wanted_type = |name: &str| name.trim().eq_ignore_ascii_case(CLASSIC);
        let types = &request.types_filter;
        if !types.is_empty() && !types.iter().any(|name| wanted_type(name.as_str())) {
            return Vec::new();
        }
        let states = &request.states_filter;
        let wanted = |group: &&Group| {
            let named = |state: &str| state.trim().eq_ignore_ascii_case(group.state.name());
            group.alive && (states.is_empty() || states.iter().any(|state| named(state.as_str())))
        };
        let mut groups: Vec<&Group> = self.groups.values().map(|group| &**group).filter(wanted).collect();
        groups.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let listed = groups.into_iter().map(|group| ListedGroup {
            group_id: text(&group.id),
            protocol_type: text(group.protocol_type.as_deref().unwrap_or_default()),
            group_state: text(group.state.name()),
            group_type: text(CLASSIC),
            ..ListedGroup::default()
        });
        listed.collect()
    }

    pub(super) fn handle_delete(&mut self, now: Now, group_ids: &[&str], to: WaiterId) {
        let Self { groups, cx, .. } = self;
        let mut tombstones = Tombstones::new(now);
        let mut results: Vec<DeletableGroupResult> = Vec::new();
        for id in group_ids {
            if results.iter().any(|result| result.group_id.as_str() == *id) {
                continue;
            }
            let error = match groups.get_mut(*id).filter(|group| group.alive) {
                None => ErrorCode::GroupIdNotFound,
                Some(group) if !group.is_in(State::Empty) => ErrorCode::NonEmptyGroup,
                Some(group) => {
                    group.delete(cx, &mut tombstones);
                    ErrorCode::None
                }
            };
            let group_id = text(id);
            results.push(DeletableGroupResult {
                group_id,
                error_code: error.code(),
                ..DeletableGroupResult::default()
            });
        }
        tombstones.submit(cx, Some((to, Reply::Delete(results))));
    }

    pub(super) fn handle_offset_delete(
        &mut self,
        now: Now,
        request: &OffsetDeleteRequestData,
        exists: &dyn Fn(&str) -> bool,
        to: WaiterId,
    ) {
        let Self { groups, cx, .. } = self;
        let refuse = |error: ErrorCode| OffsetDeleteResponseData {
            error_code: error.code(),
            ..OffsetDeleteResponseData::default()
        };
        let response = match groups.get_mut(request.group_id.as_str()).filter(|group| group.alive) {
            None => refuse(ErrorCode::GroupIdNotFound),
            Some(group) if !group.is_in(State::Empty) && !group.speaks_consumer() => refuse(ErrorCode::NonEmptyGroup),
            Some(group) => {
                let mut tombstones = Tombstones::new(now);
                let topics = request.topics.iter().map(|topic| {
                    let name = topic.name.as_str();
                    let error = if !exists(name) {
                        ErrorCode::UnknownTopicOrPartition
                    } else if group.is_subscribed_to(name) {
                        ErrorCode::GroupSubscribedToTopic
                    } else {
                        ErrorCode::None
                    };
                    let partitions = topic.partitions.iter().map(|partition| {
                        if error == ErrorCode::None {
                            group.delete_offset(cx, &mut tombstones, name, partition.partition_index);
                        }
                        OffsetDeleteResponsePartition {
                            partition_index: partition.partition_index,
                            error_code: error.code(),
                            ..OffsetDeleteResponsePartition::default()
                        }
                    });
                    OffsetDeleteResponseTopic {
                        name: topic.name.clone(),
                        partitions: partitions.collect(),
                        ..OffsetDeleteResponseTopic::default()
                    }
                });
                let response =
                    OffsetDeleteResponseData { topics: topics.collect(), ..OffsetDeleteResponseData::default() };
                return tombstones.submit(cx, Some((to, Reply::OffsetDelete(Box::new(response)))));
            }
        };
        cx.reply(to, Reply::OffsetDelete(Box::new(response)));
    }

    pub(super) fn handle_topics_deleted(&mut self, now: Now, names: &[&str]) {
        let Self { groups, cx, .. } = self;
        let mut tombstones = Tombstones::new(now);
        for group in groups.values_mut() {
            for name in names {
                let Some(partitions) = group.offsets.topics.get(*name) else { continue };
                let partitions: Vec<i32> = partitions.keys().copied().collect();
                for partition in partitions {
                    group.delete_offset(cx, &mut tombstones, name, partition);
                }
            }
        }
        tombstones.submit(cx, None);
    }
}

/// Tombstones on their way into as many batches as they need.
#[derive(Debug)]
pub(super) struct Tombstones {
    now: Now,
    batch: Option<Batch>,
    deleted: Vec<(Rc<str>, u64)>,
}

impl Tombstones {
    pub(super) fn new(now: Now) -> Self {
        Self { now, batch: None, deleted: Vec::new() }
    }

    /// The batch that the next tombstone goes into.
    fn batch(&mut self, cx: &mut Context) -> &mut Batch {
        let full =
            self.batch.as_ref().is_some_and(|batch| batch.bytes + TOMBSTONE_BYTES_MAX > cx.config.append_bytes_max);
        if full {
            self.submit_batch(cx);
        }
        self.batch.get_or_insert_with(|| cx.batch())
    }

    fn submit_batch(&mut self, cx: &mut Context) {
        if let Some(mut batch) = self.batch.take() {
            batch.append.then = Then::Delete(std::mem::take(&mut self.deleted));
            cx.submit(batch);
        }
    }

    /// Gives the last batch out, and the reply once it is durable; at once where nothing was to be deleted.
    pub(super) fn submit(mut self, cx: &mut Context, reply: Option<(WaiterId, Reply)>) {
        let last = self.batch.as_ref().map(|batch| batch.id);
        self.submit_batch(cx);
        match (reply, last) {
            (Some((to, reply)), Some(id)) => cx.reply_after(id, to, reply),
            (Some((to, reply)), None) => cx.reply(to, reply),
            (None, _) => {}
        }
    }
}

/// The most that a tombstone takes: a group id and a topic name of Kafka's longest strings.
const TOMBSTONE_BYTES_MAX: usize = 2 * (32 << 10) + 64;

impl Group {
    /// Appends tombstones for all it has, itself last, and has no members and no name from now on.
    pub(super) fn delete(&mut self, cx: &mut Context, tombstones: &mut Tombstones) {
        let offsets: Vec<(Rc<str>, i32)> = self.offsets.latest().map(|(topic, it, _)| (Rc::clone(topic), it)).collect();
        for (topic, partition) in offsets {
            self.delete_offset(cx, tombstones, &topic, partition);
        }
        let now = tombstones.now;
        let batch = tombstones.batch(cx);
        self.charge.add(self.record.append(batch.id, None));
        batch.push(now, key_of(self), None);
        let pending: Vec<Rc<str>> = self.pending_members.keys().cloned().collect();
        for id in pending {
            self.remove_pending(cx, &id);
        }
        self.stop_timers(cx);
        self.alive = false;
        tombstones.deleted.push((Rc::clone(&self.id), self.life));
    }

    /// Appends a tombstone for an offset, if there is one.
    pub(super) fn delete_offset(&mut self, cx: &mut Context, tombstones: &mut Tombstones, topic: &str, partition: i32) {
        if !self.offsets.has(topic, partition) {
            return;
        }
        let topic = cx.topic(topic);
        let now = tombstones.now;
        let batch = tombstones.batch(cx);
        self.charge.add(self.offsets.append(&topic, partition, batch.id, None));
        batch.push(now, OwnedKey::Offset { group: Rc::clone(&self.id), topic, partition }, None);
    }
}
