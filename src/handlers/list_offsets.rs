//! ListOffsets: the first offset, the next one, or the first record of a time.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::scatter::{Asked, Courier};
use super::{Handlers, decode, later, respond};
use crate::io::Env;
use crate::metadata::Image;
use crate::partition::{FoundOffset, OffsetTarget};
use crate::protocol::cold::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequestData};
use crate::protocol::cold::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponseData, ListOffsetsTopicResponse,
};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{Answer, Call, OffsetQuery};
use crate::types::PartitionId;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: ListOffsetsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let (handlers, header) = (Rc::clone(handlers), frame.header);
    later(async move {
        let image = handlers.shard.image();
        let asked: Vec<Asked<OffsetQuery>> = request
            .topics
            .iter()
            .flat_map(|topic| {
                let asked = topic.partitions.iter();
                asked.map(|partition| query(&image, topic.name.as_str(), header.api_version, partition))
            })
            .collect();
        let courier = Courier {
            call: Call::Offsets,
            answers: |answer| match answer {
                Answer::Offsets(found) => Some(found),
                _ => None,
            },
        };
        let here = async |queries: Vec<OffsetQuery>| handlers.shard.find_offsets(&queries).await;
        let mut answers = handlers.scatter(&asked, courier, here).await.into_iter();
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .zip(answers.by_ref())
                .map(|(asked, found)| show(header.api_version, asked, found))
                .collect(),
            ..Default::default()
        });
        let response = ListOffsetsResponseData { topics: topics.collect(), ..Default::default() };
        respond(&header, &response)
    })
}

fn query(image: &Image, topic: &str, version: i16, asked: &ListOffsetsPartition) -> Asked<OffsetQuery> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(asked.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let shard = partition.shard.ok_or(ErrorCode::NotLeaderOrFollower)?;
    let target = OffsetTarget::from_timestamp(asked.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
    if version < first_version(target) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let id = PartitionId { topic_id: topic.id, partition: asked.partition_index };
    // Versions below 4 carry no leader epoch; the codec then gives -1.
    Ok((shard, OffsetQuery { id, target, leader_epoch: asked.current_leader_epoch }))
}

/// The first version whose answer names the leader epoch (KIP-320).
const LEADER_EPOCH_FROM: i16 = 4;

/// The first version in which a target means something (KIP-734, 405, 1005, 1023).
fn first_version(target: OffsetTarget) -> i16 {
    match target {
        OffsetTarget::Latest | OffsetTarget::Earliest | OffsetTarget::Timestamp(_) => 0,
        OffsetTarget::MaxTimestamp => 7,
        OffsetTarget::EarliestLocal => 8,
        OffsetTarget::LatestTiered => 9,
        OffsetTarget::EarliestPendingUpload => 11,
    }
}

fn show(
    version: i16,
    asked: &ListOffsetsPartition,
    found: Result<FoundOffset, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
        ..Default::default()
    };
    match found {
        Ok(found) => {
            response.timestamp = found.timestamp;
            response.offset = found.offset.0;
            // A field that the version does not have is an error to the codec, unless it holds its default.
            if version >= LEADER_EPOCH_FROM {
                response.leader_epoch = found.leader_epoch;
            }
        }
        Err(code) => response.error_code = code.code(),
    }
    response
}
