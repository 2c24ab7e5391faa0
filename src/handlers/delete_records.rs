//! DeleteRecords: raises the log start of partitions, each on its shard; the answer says where it is, durably.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::scatter::{Asked, Courier};
use super::{Handlers, decode, later, respond};
use crate::io::Env;
use crate::metadata::{Image, names};
use crate::protocol::cold::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequestData};
use crate::protocol::cold::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponseData, DeleteRecordsTopicResult,
};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{Answer, Call, DeleteQuery};
use crate::types::{Offset, PartitionId};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DeleteRecordsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let (handlers, header) = (Rc::clone(handlers), frame.header);
    later(async move {
        let image = handlers.shard.image();
        let mut seen = BTreeSet::new();
        let asked: Vec<Asked<DeleteQuery>> = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| query(&image, topic.name.as_str(), partition)))
            .map(|asked| {
                // Kafka keeps one entry of each partition.
                let (shard, query) = asked?;
                if seen.insert(query.id) { Ok((shard, query)) } else { Err(ErrorCode::InvalidRequest) }
            })
            .collect();
        let courier = Courier {
            call: Call::Delete,
            answers: |answer| match answer {
                Answer::Deleted(starts) => Some(starts),
                _ => None,
            },
        };
        let here = async |queries: Vec<DeleteQuery>| handlers.shard.delete_records(&queries).await;
        let mut answers = handlers.scatter(&asked, courier, here).await.into_iter();
        let topics = request.topics.iter().map(|topic| DeleteRecordsTopicResult {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .zip(answers.by_ref())
                .map(|(asked, start)| show(asked, start))
                .collect(),
            ..Default::default()
        });
        let response = DeleteRecordsResponseData { topics: topics.collect(), ..Default::default() };
        respond(&header, &response)
    })
}

fn query(image: &Image, name: &str, asked: &DeleteRecordsPartition) -> Asked<DeleteQuery> {
    let topic = image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(asked.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if names::is_internal(name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !topic.deletes_records() {
        return Err(ErrorCode::PolicyViolation);
    }
    let shard = partition.shard.ok_or(ErrorCode::NotLeaderOrFollower)?;
    let id = PartitionId { topic_id: topic.id, partition: asked.partition_index };
    Ok((shard, DeleteQuery { id, before: Offset(asked.offset) }))
}

fn show(asked: &DeleteRecordsPartition, start: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (low_watermark, code) = match start {
        Ok(start) => (start.0, 0),
        Err(code) => (INVALID_LOW_WATERMARK, code.code()),
    };
    let partition_index = asked.partition_index;
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code: code, ..Default::default() }
}

/// `DeleteRecordsResponse.INVALID_LOW_WATERMARK`.
const INVALID_LOW_WATERMARK: i64 = -1;
