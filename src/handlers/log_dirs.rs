//! DescribeLogDirs and AlterReplicaLogDirs: the one log directory, what it holds and what it has room for.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::scatter::{Asked, Courier};
use super::{Handlers, check_entries, decode, later, respond, text};
use crate::io::{Env, Job, Output};
use crate::metadata::Image;
use crate::metadata::names::CLUSTER_METADATA;
use crate::protocol::cold::alter_replica_log_dirs_request::AlterReplicaLogDirsRequestData;
use crate::protocol::cold::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsResponseData,
};
use crate::protocol::cold::describe_log_dirs_request::DescribeLogDirsRequestData;
use crate::protocol::cold::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponseData, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{Answer, Call};
use crate::types::PartitionId;

pub(super) fn handle_describe<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DescribeLogDirsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let entries = request.topics.iter().flatten().map(|topic| 1 + topic.partitions.len()).sum();
    if let Err(reason) = check_entries(entries) {
        return Started::Done(Outcome::Close(reason));
    }
    let (handlers, header) = (Rc::clone(handlers), frame.header);
    later(async move {
        let image = handlers.shard.image();
        let places = places(&image, &request);
        let mut result = DescribeLogDirsResult { log_dir: text(&handlers.log_dir()), ..Default::default() };
        result.topics = handlers.sizes(&image, &places).await;
        if header.api_version >= SPACE_FROM {
            let dir = handlers.shard.store().dir().to_owned();
            let rt = handlers.shard.rt();
            if let Ok(Output::Number(bytes)) = rt.job(Job::TotalBytes(dir.clone())).await {
                result.total_bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            }
            if let Ok(Output::Number(bytes)) = rt.job(Job::FreeBytes(dir)).await {
                result.usable_bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            }
        }
        if handlers.shard.store().offline().is_some() {
            result.error_code = ErrorCode::KafkaStorageError.code();
        }
        respond(&header, &DescribeLogDirsResponseData { results: vec![result], ..Default::default() })
    })
}

/// The partitions that are asked for and exist, each once, by topic; all of them where none is named.
fn places<'a>(image: &'a Image, request: &DescribeLogDirsRequestData) -> BTreeMap<&'a str, BTreeSet<i32>> {
    let mut places: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    match &request.topics {
        None => {
            for topic in image.topics().filter(|topic| &*topic.name != CLUSTER_METADATA) {
                places.insert(&topic.name, topic.partition_ids().map(|(id, _)| id.partition).collect());
            }
        }
        Some(asked) => {
            for asked in asked {
                let Some(topic) = image.topic(asked.topic.as_str()) else { continue };
                let known = asked.partitions.iter().copied().filter(|partition| topic.partition(*partition).is_some());
                places.entry(&topic.name).or_default().extend(known);
            }
        }
    }
    places
}

impl<E: Env> Handlers<E> {
    /// The log directory as this machine names it.
    fn log_dir(&self) -> String {
        let dir = self.shard.store().dir();
        std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string()
    }

    async fn sizes(&self, image: &Image, places: &BTreeMap<&str, BTreeSet<i32>>) -> Vec<DescribeLogDirsTopic> {
        let query = |topic: &str, partition: i32| {
            let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let shard = topic.partition(partition).and_then(|partition| partition.shard);
            let id = PartitionId { topic_id: topic.id, partition };
            Ok((shard.ok_or(ErrorCode::NotLeaderOrFollower)?, id))
        };
        let asked: Vec<Asked<PartitionId>> = places
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(|partition| query(topic, *partition)))
            .collect();
        let courier = Courier {
            call: Call::Sizes,
            answers: |answer| match answer {
                Answer::Sizes(found) => Some(found),
                _ => None,
            },
        };
        let here = async |ids: Vec<PartitionId>| self.shard.sizes(&ids);
        let mut sizes = self.scatter(&asked, courier, here).await.into_iter();
        let topics = places.iter().map(|(topic, partitions)| {
            // One that is just being made or deleted is not there.
            let found = partitions.iter().zip(sizes.by_ref()).filter_map(|(partition_index, size)| {
                let partition_size = i64::try_from(size.ok()?).unwrap_or(i64::MAX);
                Some(DescribeLogDirsPartition {
                    partition_index: *partition_index,
                    partition_size,
                    ..Default::default()
                })
            });
            DescribeLogDirsTopic { name: text(topic), partitions: found.collect(), ..Default::default() }
        });
        topics.filter(|topic| !topic.partitions.is_empty()).collect()
    }
}

pub(super) fn handle_alter<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: AlterReplicaLogDirsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let topics = request.dirs.iter().flat_map(|dir| &dir.topics);
    if let Err(reason) = check_entries(topics.map(|topic| 1 + topic.partitions.len()).sum()) {
        return Started::Done(Outcome::Close(reason));
    }
    let (image, here) = (handlers.shard.image(), handlers.log_dir());
    let results = request.dirs.iter().flat_map(|dir| dir.topics.iter().map(move |topic| (dir, topic)));
    let results = results.map(|(dir, topic)| {
        let partition = |partition_index: i32| {
            let code = match image.topic(topic.name.as_str()).and_then(|topic| topic.partition(partition_index)) {
                _ if dir.path.as_str() != here => ErrorCode::LogDirNotFound,
                None => ErrorCode::UnknownTopicOrPartition,
                Some(_) => ErrorCode::None,
            };
            AlterReplicaLogDirPartitionResult { partition_index, error_code: code.code(), ..Default::default() }
        };
        AlterReplicaLogDirTopicResult {
            topic_name: topic.name.clone(),
            partitions: topic.partitions.iter().copied().map(partition).collect(),
            ..Default::default()
        }
    });
    let response = AlterReplicaLogDirsResponseData { results: results.collect(), ..Default::default() };
    Started::Done(respond(&frame.header, &response))
}

/// The first version that names total and usable bytes.
const SPACE_FROM: i16 = 4;
