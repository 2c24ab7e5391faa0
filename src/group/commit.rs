//! OffsetCommit and OffsetFetch.
//!
//! A commit is answered when it is durable, and seen by OffsetFetch from then on. Who may commit: the members of a
//! generation while it lasts, and anyone, without a generation, while the group has no members.

use std::rc::Rc;

use super::classic::{Group, State};
use super::context::{Context, OwnedKey, record_bytes};
use super::coordinator::Coordinator;
use super::effect::{Now, Reply, WaiterId};
use super::offsets::{Commit, Partitions};
use super::reply::text;
use crate::protocol::ErrorCode;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::offset_commit_request::{OffsetCommitRequestData, OffsetCommitRequestPartition};
use crate::protocol::cold::offset_commit_response::{
    OffsetCommitResponseData, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::cold::offset_fetch_request::OffsetFetchRequestGroup;
use crate::protocol::cold::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use crate::types::TopicId;

/// The first version of OffsetCommit that says of an unknown group that it is unknown.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;

/// The retention that clients ask for who ask for none.
const DEFAULT_RETENTION_MS: i64 = -1;

/// An offset to be stored.
type Accepted = (Rc<str>, i32, Commit);

impl Coordinator {
    pub(super) fn handle_commit(
        &mut self,
        now: Now,
        version: i16,
        request: &OffsetCommitRequestData,
        topic_id: &dyn Fn(&str) -> Option<TopicId>,
        to: WaiterId,
    ) {
        if let Err(error) = self.check_commit(now, version, request) {
            let reply = answer(request, |_, _| error);
            return self.cx.reply(to, reply);
        }
        let Self { groups, cx, .. } = self;
        let Some(group) = groups.get_mut(request.group_id.as_str()) else { return };
        if matches!(group.state, State::Stable | State::PreparingRebalance) {
            group.renew_session(cx, now, request.member_id.as_str());
        }
        let mut accepted: Vec<Accepted> = Vec::new();
        let mut cost = 0;
        let mut bytes = 0;
        let expire_timestamp = match request.retention_time_ms {
            DEFAULT_RETENTION_MS => -1,
            retention_ms => now.wall_ms.saturating_add(retention_ms),
        };
        let reply = answer(request, |topic, partition| {
            let metadata = partition.committed_metadata.as_ref().map_or("", |metadata| metadata.as_str());
            let Some(id) = topic_id(topic) else { return ErrorCode::UnknownTopicOrPartition };
            if metadata.encode_utf16().count() > cx.config.offset_metadata_max_bytes {
                return ErrorCode::OffsetMetadataTooLarge;
            }
            cost += group.offsets.cost_of(topic, partition.partition_index) + metadata.len();
            bytes += record_bytes(64 + request.group_id.len() + topic.len(), 64 + metadata.len());
            let commit = Commit {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                commit_timestamp: now.wall_ms,
                expire_timestamp,
                topic_id: id,
                metadata: metadata.into(),
            };
            accepted.push((cx.topic(topic), partition.partition_index, commit));
            ErrorCode::None
        });
        if accepted.is_empty() {
            cx.reply(to, reply);
        } else if bytes > cx.config.append_bytes_max || !cx.budget.has_room(cost) {
            cx.reply(to, reply.failed(ErrorCode::InvalidCommitOffsetSize));
        } else {
            group.store_commits(cx, now, accepted, to, reply);
        }
        self.forget_if_gone(request.group_id.as_str());
    }

    /// Whether the sender may commit. A group that is not there is made, if it needs no members.
    fn check_commit(&mut self, now: Now, version: i16, request: &OffsetCommitRequestData) -> Result<(), ErrorCode> {
        let group_id = request.group_id.as_str();
        let has_generation = request.generation_id_or_member_epoch >= 0;
        if !self.groups.get(group_id).is_some_and(|group| group.alive) {
            if has_generation {
                let not_found = version >= GROUP_ID_NOT_FOUND_SINCE;
                return Err(if not_found { ErrorCode::GroupIdNotFound } else { ErrorCode::IllegalGeneration });
            }
            if !self.has_room_for_group(group_id, 0) {
                return Err(ErrorCode::InvalidCommitOffsetSize);
            }
            self.create(now, group_id);
        }
        let Some(group) = self.groups.get(group_id) else { return Err(ErrorCode::GroupIdNotFound) };
        #[cfg(test)]
        if self.cx.sabotage == super::sabotage::Sabotage::AnyGeneration {
            return Ok(());
        }
        group.check_commit(request, has_generation)
    }

    pub(super) fn handle_fetch(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        let group = self.groups.get(request.group_id.as_str());
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| {
                    let known = group.and_then(|group| group.offsets.topics.get(topic.name.as_str()));
                    let committed = |partition: &i32| fetched(*partition, known.and_then(|it| durable(it, *partition)));
                    OffsetFetchResponseTopics {
                        name: topic.name.clone(),
                        topic_id: topic.topic_id,
                        partitions: topic.partition_indexes.iter().map(committed).collect(),
                        ..OffsetFetchResponseTopics::default()
                    }
                })
                .collect(),
            None => group.map(|group| all_durable(group)).unwrap_or_default(),
        };
        OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, ..OffsetFetchResponseGroup::default() }
    }
}

impl Group {
    fn check_commit(&self, request: &OffsetCommitRequestData, has_generation: bool) -> Result<(), ErrorCode> {
        if !has_generation && self.is_in(State::Empty) {
            return Ok(());
        }
        let instance_id = request.group_instance_id.as_ref().map(|id| id.as_str());
        if !has_generation && request.member_id.is_empty() && instance_id.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(request.member_id.as_str(), instance_id)?;
        if request.generation_id_or_member_epoch != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.is_in(State::CompletingRebalance) { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
    }

    fn store_commits(&mut self, cx: &mut Context, now: Now, accepted: Vec<Accepted>, to: WaiterId, reply: Reply) {
        let mut batch = cx.batch();
        for (topic, partition, commit) in accepted {
            let value = commit.encode();
            let held = self.offsets.append(&topic, partition, batch.id, Some(commit));
            self.charge.add(held);
            batch.push(now, OwnedKey::Offset { group: Rc::clone(&self.id), topic, partition }, Some(value));
        }
        let id = batch.id;
        cx.submit(batch);
        cx.reply_after(id, to, reply);
    }
}

/// The response to a commit, with a code for each partition.
fn answer(
    request: &OffsetCommitRequestData,
    mut code: impl FnMut(&str, &OffsetCommitRequestPartition) -> ErrorCode,
) -> Reply {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code(topic.name.as_str(), partition).code(),
            ..OffsetCommitResponsePartition::default()
        });
        OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..OffsetCommitResponseTopic::default()
        }
    });
    Reply::Commit(Box::new(OffsetCommitResponseData {
        topics: topics.collect(),
        ..OffsetCommitResponseData::default()
    }))
}

fn durable(partitions: &Partitions, partition: i32) -> Option<&Commit> {
    partitions.get(&partition).and_then(|versions| versions.durable())
}

/// What OffsetFetch says of a partition.
fn fetched(partition: i32, commit: Option<&Commit>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: commit.map_or(-1, |commit| commit.offset),
        committed_leader_epoch: commit.map_or(-1, |commit| commit.leader_epoch),
        metadata: Some(commit.map_or_else(KafkaString::default, |commit| text(&commit.metadata))),
        ..OffsetFetchResponsePartitions::default()
    }
}

/// All that a group has committed.
fn all_durable(group: &Group) -> Vec<OffsetFetchResponseTopics> {
    let of_topic = |(name, partitions): (&Rc<str>, &Partitions)| OffsetFetchResponseTopics {
        name: text(name),
        partitions: partitions
            .iter()
            .filter_map(|(partition, versions)| Some(fetched(*partition, Some(versions.durable()?))))
            .collect(),
        ..OffsetFetchResponseTopics::default()
    };
    let topics = group.offsets.topics.iter().map(of_topic);
    topics.filter(|topic| !topic.partitions.is_empty()).collect()
}
