//! OffsetCommit: a group's offsets, answered when they are durable.
//!
//! As in Kafka, partitions that do not exist are refused here, each by itself; the coordinator hears of the others.

use std::rc::Rc;

use super::groups::refusal;
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode, respond};
use crate::group::Reply;
use crate::io::Env;
use crate::metadata::Image;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::offset_commit_request::OffsetCommitRequestData;
use crate::protocol::cold::offset_commit_response::{
    OffsetCommitResponseData, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let mut request: OffsetCommitRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let partitions: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if let Err(reason) = check_entries(request.topics.len() + partitions) {
        return Started::Done(Outcome::Close(reason));
    }
    let asked: Vec<Asked> = request
        .topics
        .iter()
        .map(|topic| Asked {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(|partition| partition.partition_index).collect(),
        })
        .collect();
    leave_what_exists(&handlers.shard.image(), &mut request);
    // Kafka does not ask the coordinator where nothing is left, but for a commit that was empty from the start.
    if request.topics.is_empty() && partitions > 0 {
        let response = response(&asked, &[], ErrorCode::UnknownTopicOrPartition);
        return Started::Done(respond(&frame.header, &response));
    }
    let group_id = request.group_id.clone();
    let sent: Vec<(KafkaString, Vec<i32>)> = request
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), topic.partitions.iter().map(|one| one.partition_index).collect()))
        .collect();
    let request = GroupRequest::Commit(frame.header.api_version, Box::new(request));
    handlers.ask_group(frame.header, group_id.as_str(), request, move |reply| {
        let answered = match reply {
            GroupReply::Of(Reply::Commit(response)) => response.topics,
            other => sent.iter().map(|(name, partitions)| refused(name, partitions, refusal(&other))).collect(),
        };
        response(&asked, &answered, ErrorCode::UnknownTopicOrPartition)
    })
}

/// A topic as the request named it.
struct Asked {
    name: KafkaString,
    partitions: Vec<i32>,
}

/// Takes partitions that do not exist out of a request.
fn leave_what_exists(image: &Image, request: &mut OffsetCommitRequestData) {
    request.topics.retain_mut(|topic| {
        let Some(known) = image.topic(topic.name.as_str()) else { return false };
        topic.partitions.retain(|partition| known.partition(partition.partition_index).is_some());
        !topic.partitions.is_empty()
    });
}

fn refused(name: &KafkaString, partitions: &[i32], error: ErrorCode) -> OffsetCommitResponseTopic {
    let partition = |partition_index: &i32| OffsetCommitResponsePartition {
        partition_index: *partition_index,
        error_code: error.code(),
        ..Default::default()
    };
    OffsetCommitResponseTopic {
        name: name.clone(),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    }
}

/// Everything that was asked, in its order: with what the coordinator said of it, or else with `unknown`.
fn response(asked: &[Asked], answered: &[OffsetCommitResponseTopic], unknown: ErrorCode) -> OffsetCommitResponseData {
    let mut answered = answered.iter().peekable();
    let mut topics = Vec::with_capacity(asked.len());
    for topic in asked {
        let mut response = refused(&topic.name, &topic.partitions, unknown);
        // The coordinator answers in the order of what was left of the request.
        if let Some(of_topic) = answered.next_if(|of_topic| of_topic.name == topic.name) {
            let mut said = of_topic.partitions.iter().peekable();
            for partition in &mut response.partitions {
                if let Some(said) = said.next_if(|said| said.partition_index == partition.partition_index) {
                    partition.error_code = said.error_code;
                }
            }
        }
        topics.push(response);
    }
    OffsetCommitResponseData { topics, ..Default::default() }
}
