//! AlterPartitionReassignments and ListPartitionReassignments: on one node a partition is where it can be.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::topics::code;
use super::{Handlers, check_entries, decode, respond, text};
use crate::io::Env;
use crate::metadata::Image;
use crate::metadata::topics::check_replicas;
use crate::protocol::cold::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequestData, ReassignablePartition,
};
use crate::protocol::cold::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponseData, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::protocol::cold::list_partition_reassignments_request::ListPartitionReassignmentsRequestData;
use crate::protocol::cold::list_partition_reassignments_response::ListPartitionReassignmentsResponseData;
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle_alter<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: AlterPartitionReassignmentsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()) {
        return Started::Done(Outcome::Close(reason));
    }
    let (image, node_id) = (handlers.shard.image(), handlers.config.node_id);
    let responses = request.topics.iter().map(|topic| {
        let answer = |asked: &ReassignablePartition| answer(&image, node_id, topic.name.as_str(), asked);
        ReassignableTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(answer).collect(),
            ..Default::default()
        }
    });
    let response = AlterPartitionReassignmentsResponseData {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
        ..Default::default()
    };
    Started::Done(respond(&frame.header, &response))
}

pub(super) fn handle_list<E: Env>(_handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    match decode::<ListPartitionReassignmentsRequestData>(frame) {
        // None is ever under way.
        Ok(_) => Started::Done(respond(&frame.header, &ListPartitionReassignmentsResponseData::default())),
        Err(reason) => Started::Done(Outcome::Close(reason)),
    }
}

fn answer(image: &Image, node_id: i32, topic: &str, asked: &ReassignablePartition) -> ReassignablePartitionResponse {
    let partition_index = asked.partition_index;
    let mut response = ReassignablePartitionResponse { partition_index, ..Default::default() };
    if let Err((code, message)) = reassign(image, node_id, topic, asked) {
        (response.error_code, response.error_message) = (code.code(), Some(text(&message)));
    }
    response
}

fn reassign(
    image: &Image,
    node_id: i32,
    topic: &str,
    asked: &ReassignablePartition,
) -> Result<(), (ErrorCode, String)> {
    let unknown = |message: String| (ErrorCode::UnknownTopicOrPartition, message);
    let found = image.topic(topic).ok_or_else(|| unknown(format!("Unable to find a topic named {topic}.")))?;
    if found.partition(asked.partition_index).is_none() {
        return Err(unknown(format!("Unable to find partition {topic}:{}.", asked.partition_index)));
    }
    match &asked.replicas {
        None => Err((ErrorCode::NoReassignmentInProgress, "No partition reassignment is in progress.".to_owned())),
        Some(replicas) => check_replicas(node_id, replicas).map_err(|error| (code(&error), error.to_string())),
    }
}
