//! DescribeProducers: the idempotent producers that partitions remember. None of them has a transaction.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::scatter::{Asked, Courier};
use super::{Handlers, check_entries, decode, later, respond, text};
use crate::io::Env;
use crate::metadata::Image;
use crate::protocol::cold::describe_producers_request::DescribeProducersRequestData;
use crate::protocol::cold::describe_producers_response::{
    DescribeProducersResponseData, PartitionResponse, ProducerState, TopicResponse,
};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{Answer, Call};
use crate::storage::checkpoint::ProducerEntry;
use crate::types::PartitionId;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DescribeProducersRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.topics.iter().map(|topic| 1 + topic.partition_indexes.len()).sum()) {
        return Started::Done(Outcome::Close(reason));
    }
    let (handlers, header) = (Rc::clone(handlers), frame.header);
    later(async move {
        let image = handlers.shard.image();
        let asked: Vec<Asked<PartitionId>> = request
            .topics
            .iter()
            .flat_map(|topic| topic.partition_indexes.iter().map(|index| query(&image, topic.name.as_str(), *index)))
            .collect();
        let courier = Courier {
            call: Call::Producers,
            answers: |answer| match answer {
                Answer::Producers(found) => Some(found),
                _ => None,
            },
        };
        let here = async |ids: Vec<PartitionId>| handlers.shard.producers(&ids);
        let mut answers = handlers.scatter(&asked, courier, here).await.into_iter();
        let topics = request.topics.iter().map(|topic| TopicResponse {
            name: topic.name.clone(),
            partitions: topic.partition_indexes.iter().zip(answers.by_ref()).map(show).collect(),
            ..Default::default()
        });
        let response = DescribeProducersResponseData { topics: topics.collect(), ..Default::default() };
        respond(&header, &response)
    })
}

fn query(image: &Image, topic: &str, index: i32) -> Asked<PartitionId> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let shard = partition.shard.ok_or(ErrorCode::NotLeaderOrFollower)?;
    Ok((shard, PartitionId { topic_id: topic.id, partition: index }))
}

fn show((index, found): (&i32, Result<Vec<ProducerEntry>, ErrorCode>)) -> PartitionResponse {
    let mut response = PartitionResponse { partition_index: *index, ..Default::default() };
    match found {
        Ok(producers) => response.active_producers = producers.iter().map(show_producer).collect(),
        Err(code) => {
            response.error_code = code.code();
            let message = "This server does not host this topic-partition.";
            response.error_message = (code == ErrorCode::UnknownTopicOrPartition).then(|| text(message));
        }
    }
    response
}

fn show_producer(producer: &ProducerEntry) -> ProducerState {
    let last = producer.batches.last();
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: last.map_or(-1, |batch| batch.last_sequence),
        last_timestamp: last.map_or(-1, |batch| batch.timestamp),
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
        ..Default::default()
    }
}
