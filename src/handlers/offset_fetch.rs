//! OffsetFetch: the offsets that one group has committed, or from version 8 on many groups.

use std::rc::Rc;

use super::groups::refusal;
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode, text};
use crate::io::Env;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::protocol::cold::offset_fetch_response::{
    OffsetFetchResponseData, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: OffsetFetchRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let version = frame.header.api_version;
    let groups = if version >= FIRST_VERSION_OF_MANY { request.groups } else { vec![only_group(request)] };
    if let Err(reason) = check_entries(groups.iter().map(entries).sum()) {
        return Started::Done(Outcome::Close(reason));
    }
    let asked: Vec<OffsetFetchRequestGroup> = groups.clone();
    let asks = groups.iter().map(|group| (group.group_id.as_str(), GroupRequest::Fetch(group.clone())));
    handlers.ask_groups(frame.header, asks, move |replies| {
        let groups = asked.into_iter().zip(replies).map(|(asked, reply)| match reply {
            GroupReply::Fetch(mut response) => {
                response.group_id = asked.group_id;
                response
            }
            other => refused(&asked, refusal(&other), version),
        });
        let mut groups: Vec<OffsetFetchResponseGroup> = groups.collect();
        if version >= FIRST_VERSION_OF_MANY {
            return OffsetFetchResponseData { groups, ..Default::default() };
        }
        groups.pop().map_or_else(OffsetFetchResponseData::default, only_response)
    })
}

fn entries(group: &OffsetFetchRequestGroup) -> usize {
    1 + group.topics.iter().flatten().map(|topic| 1 + topic.partition_indexes.len()).sum::<usize>()
}

/// What versions that ask for one group ask, in the form of the later ones.
fn only_group(request: OffsetFetchRequestData) -> OffsetFetchRequestGroup {
    let topics = request.topics.map(|topics| {
        let topic = |topic: crate::protocol::cold::offset_fetch_request::OffsetFetchRequestTopic| {
            let (name, partition_indexes) = (topic.name, topic.partition_indexes);
            OffsetFetchRequestTopics { name, partition_indexes, ..Default::default() }
        };
        topics.into_iter().map(topic).collect()
    });
    OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() }
}

fn only_response(group: OffsetFetchResponseGroup) -> OffsetFetchResponseData {
    let partition = |one: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: one.partition_index,
        committed_offset: one.committed_offset,
        committed_leader_epoch: one.committed_leader_epoch,
        metadata: one.metadata,
        error_code: one.error_code,
        ..Default::default()
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        ..Default::default()
    };
    OffsetFetchResponseData {
        topics: group.topics.into_iter().map(topic).collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}

/// Before version 2 each partition carries the refusal.
fn refused(asked: &OffsetFetchRequestGroup, error: ErrorCode, version: i16) -> OffsetFetchResponseGroup {
    let (group_id, error_code): (KafkaString, i16) = (asked.group_id.clone(), error.code());
    if version >= FIRST_VERSION_OF_ONE_ERROR {
        return OffsetFetchResponseGroup { group_id, error_code, ..Default::default() };
    }
    let partition = |partition_index: &i32| OffsetFetchResponsePartitions {
        partition_index: *partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(text("")),
        error_code,
        ..Default::default()
    };
    let topic = |topic: &OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        name: topic.name.clone(),
        partitions: topic.partition_indexes.iter().map(partition).collect(),
        ..Default::default()
    };
    let topics = asked.topics.iter().flatten().map(topic).collect();
    OffsetFetchResponseGroup { group_id, topics, ..Default::default() }
}

const FIRST_VERSION_OF_MANY: i16 = 8;
const FIRST_VERSION_OF_ONE_ERROR: i16 = 2;
