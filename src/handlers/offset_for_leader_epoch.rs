//! OffsetForLeaderEpoch: where a leader epoch ended, so that a client can tell whether it was cut off.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::scatter::{Asked, Courier};
use super::{Handlers, decode, later, respond};
use crate::io::Env;
use crate::metadata::Image;
use crate::partition::EpochEnd;
use crate::protocol::cold::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequestData, OffsetForLeaderPartition,
};
use crate::protocol::cold::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponseData, OffsetForLeaderTopicResult,
};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{Answer, Call, EpochQuery};
use crate::types::PartitionId;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: OffsetForLeaderEpochRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let (handlers, header) = (Rc::clone(handlers), frame.header);
    later(async move {
        let image = handlers.shard.image();
        let asked: Vec<Asked<EpochQuery>> = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| query(&image, topic.topic.as_str(), partition)))
            .collect();
        let courier = Courier {
            call: Call::Epochs,
            answers: |answer| match answer {
                Answer::Epochs(ends) => Some(ends),
                _ => None,
            },
        };
        let here = async |queries: Vec<EpochQuery>| handlers.shard.ends_of_epochs(&queries);
        let mut answers = handlers.scatter(&asked, courier, here).await.into_iter();
        let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().zip(answers.by_ref()).map(|(asked, end)| show(asked, end)).collect(),
            ..Default::default()
        });
        let response = OffsetForLeaderEpochResponseData { topics: topics.collect(), ..Default::default() };
        respond(&header, &response)
    })
}

fn query(image: &Image, topic: &str, asked: &OffsetForLeaderPartition) -> Asked<EpochQuery> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(asked.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let shard = partition.shard.ok_or(ErrorCode::NotLeaderOrFollower)?;
    let id = PartitionId { topic_id: topic.id, partition: asked.partition };
    Ok((shard, EpochQuery { id, epoch: asked.leader_epoch, leader_epoch: asked.current_leader_epoch }))
}

fn show(asked: &OffsetForLeaderPartition, end: Result<EpochEnd, ErrorCode>) -> EpochEndOffset {
    let mut shown =
        EpochEndOffset { partition: asked.partition, leader_epoch: -1, end_offset: -1, ..Default::default() };
    match end {
        Ok(end) => {
            shown.leader_epoch = end.epoch;
            shown.end_offset = end.end_offset.0;
        }
        Err(code) => shown.error_code = code.code(),
    }
    shown
}
