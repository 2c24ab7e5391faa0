//! DescribeTopicPartitions: topics and their partitions, page by page: what kafka-topics --describe asks.

use std::rc::Rc;

use super::metadata::TOPIC_OPERATIONS;
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode, respond, text};
use crate::io::Env;
use crate::metadata::names::{CLUSTER_METADATA, is_internal, validate};
use crate::metadata::{Image, PartitionImage, Topic};
use crate::protocol::cold::describe_topic_partitions_request::DescribeTopicPartitionsRequestData;
use crate::protocol::cold::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponseData, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::cold::uuid;
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DescribeTopicPartitionsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.topics.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let image = handlers.shard.image();
    let mut names: Vec<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    if names.is_empty() {
        names = image.topics().map(|topic| &*topic.name).filter(|name| *name != CLUSTER_METADATA).collect();
    }
    names.sort_unstable();
    names.dedup();
    let cursor = request.cursor.as_deref().map(|cursor| (cursor.topic_name.as_str(), cursor.partition_index));
    if let Some((_, ..0)) = cursor {
        let topics = names.into_iter().map(|name| refused(name, ErrorCode::InvalidRequest)).collect();
        let response = DescribeTopicPartitionsResponseData { topics, ..Default::default() };
        return Started::Done(respond(&frame.header, &response));
    }
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_A_PAGE);
    Started::Done(respond(&frame.header, &page(&image, &names, cursor, limit)))
}

/// So many partitions from the cursor on, and the next cursor where there are more.
fn page(
    image: &Image,
    names: &[&str],
    cursor: Option<(&str, i32)>,
    limit: usize,
) -> DescribeTopicPartitionsResponseData {
    let mut response = DescribeTopicPartitionsResponseData::default();
    let mut left = limit;
    let from = names.partition_point(|name| cursor.is_some_and(|(first, _)| *name < first));
    for name in &names[from..] {
        let first = cursor.filter(|(first, _)| first == name).map_or(0, |(_, partition)| partition);
        if left == 0 {
            response.next_cursor = Some(next_cursor(name, first));
            break;
        }
        let Some(topic) = image.topic(name).filter(|_| *name != CLUSTER_METADATA) else {
            let known = validate(name).map(|()| ErrorCode::UnknownTopicOrPartition);
            response.topics.push(refused(name, known.unwrap_or(ErrorCode::InvalidTopicException)));
            continue;
        };
        let shown = show(topic, first, left);
        let next = first.saturating_add(i32::try_from(shown.partitions.len()).unwrap_or(i32::MAX));
        left -= shown.partitions.len();
        response.topics.push(shown);
        if topic.partition(next).is_some() {
            response.next_cursor = Some(next_cursor(name, next));
            break;
        }
    }
    response
}

fn next_cursor(topic: &str, partition_index: i32) -> Box<Cursor> {
    Box::new(Cursor { topic_name: text(topic), partition_index, ..Default::default() })
}

fn show(topic: &Topic, first: i32, limit: usize) -> DescribeTopicPartitionsResponseTopic {
    let partitions = (0..).zip(&topic.partitions).skip(usize::try_from(first).unwrap_or(usize::MAX)).take(limit);
    DescribeTopicPartitionsResponseTopic {
        name: Some(text(&topic.name)),
        topic_id: uuid(topic.id),
        is_internal: is_internal(&topic.name),
        partitions: partitions.map(|(index, partition)| show_partition(index, partition)).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn show_partition(partition_index: i32, partition: &PartitionImage) -> DescribeTopicPartitionsResponsePartition {
    let error = if partition.leader < 0 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
    DescribeTopicPartitionsResponsePartition {
        error_code: error.code(),
        partition_index,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    }
}

fn refused(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(text(name)),
        is_internal: is_internal(name),
        ..Default::default()
    }
}

/// `max.request.partition.size.limit`, at its default.
const PARTITIONS_A_PAGE: usize = 2000;
