//! ElectLeaders: the one replica of a partition leads it already.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode, respond, text};
use crate::io::Env;
use crate::metadata::Image;
use crate::protocol::cold::elect_leaders_request::{ElectLeadersRequestData, TopicPartitions};
use crate::protocol::cold::elect_leaders_response::{ElectLeadersResponseData, PartitionResult, ReplicaElectionResult};
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: ElectLeadersRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    // Without a list all partitions are meant, and those that need no election are not named: so none.
    let asked = request.topic_partitions.unwrap_or_default();
    if let Err(reason) = check_entries(asked.iter().map(|topic| 1 + topic.partitions.len()).sum()) {
        return Started::Done(Outcome::Close(reason));
    }
    let mut response = ElectLeadersResponseData::default();
    let image = handlers.shard.image();
    if ![PREFERRED, UNCLEAN].contains(&request.election_type) {
        response.error_code = ErrorCode::InvalidRequest.code();
    } else {
        response.replica_election_results = asked.iter().map(|topic| answer(&image, topic)).collect();
    }
    Started::Done(respond(&frame.header, &response))
}

fn answer(image: &Image, asked: &TopicPartitions) -> ReplicaElectionResult {
    let name = asked.topic.as_str();
    let topic = image.topic(name);
    let result = |partition_id: i32| {
        let (code, message) = match topic {
            None => (ErrorCode::UnknownTopicOrPartition, format!("No such topic as {name}")),
            Some(topic) if topic.partition(partition_id).is_none() => {
                (ErrorCode::UnknownTopicOrPartition, format!("No such partition as {name}-{partition_id}"))
            }
            Some(_) => (ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition.".to_owned()),
        };
        let (error_code, error_message) = (code.code(), Some(text(&message)));
        PartitionResult { partition_id, error_code, error_message, ..Default::default() }
    };
    let partition_result = asked.partitions.iter().copied().map(result).collect();
    ReplicaElectionResult { topic: asked.topic.clone(), partition_result, ..Default::default() }
}

/// `ElectionType`.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
