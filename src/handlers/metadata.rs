//! Metadata: the broker, the topics and who leads their partitions; topics that are missing are made first.

use std::rc::Rc;
use std::sync::Arc;

use super::reply::{Outcome, Started};
use super::topics::code;
use super::{Handlers, decode, later, respond, text};
use crate::io::Env;
use crate::metadata::names::{CLUSTER_METADATA, is_internal, validate};
use crate::metadata::{Image, PartitionImage, Topic, TopicError};
use crate::protocol::cold::metadata_request::{MetadataRequestData, MetadataRequestTopic};
use crate::protocol::cold::metadata_response::{
    MetadataResponseBroker, MetadataResponseData, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::cold::{topic_id, uuid};
use crate::protocol::{ErrorCode, Frame, RequestHeader};
use crate::shard::{Answer, Call};
use crate::types::{ShardId, TopicId};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: MetadataRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let header = frame.header;
    let missing = handlers.to_be_made(&header, &request);
    if missing.is_empty() {
        return Started::Done(handlers.metadata(&header, &request, &[]));
    }
    let handlers = Rc::clone(handlers);
    later(async move {
        let made = handlers.auto_create(missing).await;
        handlers.metadata(&header, &request, &made)
    })
}

/// A topic that was to be made, and why it was not.
pub(super) type NotMade = (String, ErrorCode);

impl<E: Env> Handlers<E> {
    /// Makes topics for another shard's client; answers which could not be made, and why.
    pub async fn auto_create_here(&self, names: &[String]) -> Vec<(String, TopicError)> {
        match self.controller() {
            Some(controller) => controller.auto_create(names).await,
            None => Vec::new(),
        }
    }

    /// Names of topics that do not exist and that this request may make.
    fn to_be_made(&self, header: &RequestHeader, request: &MetadataRequestData) -> Vec<String> {
        let allowed = request.allow_auto_topic_creation || header.api_version < FIRST_VERSION_THAT_ASKS;
        if !allowed || !self.config.auto_create_topics_enable {
            return Vec::new();
        }
        let image = self.shard.image();
        let asked = request.topics.iter().flatten().filter_map(|topic| topic.name.as_ref());
        let mut names: Vec<String> = asked
            .map(|name| name.as_str())
            .filter(|name| image.topic(name).is_none() && may_be_made(name))
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Makes topics of default settings, and says which could not be made.
    async fn auto_create(&self, names: Vec<String>) -> Vec<NotMade> {
        let not_made = match self.controller() {
            Some(controller) => controller.auto_create(&names).await,
            None => match self.shard.router().call_later(ShardId::FIRST, Call::AutoCreate(names)).await {
                Some(Answer::NotMade(not_made)) => not_made,
                _ => Vec::new(),
            },
        };
        not_made.iter().map(|(name, error)| (name.clone(), code(error))).collect()
    }

    fn metadata(&self, header: &RequestHeader, request: &MetadataRequestData, not_made: &[NotMade]) -> Outcome<E> {
        let image = self.shard.image();
        let operations =
            if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED };
        let everything = header.api_version == 0 && request.topics.as_ref().is_some_and(Vec::is_empty);
        let mut topics: Vec<MetadataResponseTopic> = match &request.topics {
            Some(asked) if !everything => asked.iter().map(|topic| answer_asked(&image, topic, not_made)).collect(),
            _ => image.topics().filter(|topic| &*topic.name != CLUSTER_METADATA).map(|topic| answer(topic)).collect(),
        };
        for topic in &mut topics {
            topic.topic_authorized_operations = operations;
        }
        let asked = request.include_cluster_authorized_operations;
        let response = MetadataResponseData {
            brokers: vec![MetadataResponseBroker {
                node_id: self.config.node_id,
                host: text(&self.config.advertised.0),
                port: i32::from(self.config.advertised.1),
                ..Default::default()
            }],
            cluster_id: Some(text(&self.cluster_id)),
            controller_id: self.config.node_id,
            topics,
            cluster_authorized_operations: if asked { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED },
            ..Default::default()
        };
        respond(header, &response)
    }
}

/// Whether a client's asking may make a topic of this name. Kafka's own topics are made by what uses them.
fn may_be_made(name: &str) -> bool {
    validate(name).is_ok() && name != CLUSTER_METADATA && !is_internal(name)
}

fn answer_asked(image: &Image, asked: &MetadataRequestTopic, not_made: &[NotMade]) -> MetadataResponseTopic {
    let id = topic_id(&asked.topic_id);
    let found: Option<&Arc<Topic>> = match &asked.name {
        Some(name) if name.as_str() != CLUSTER_METADATA => image.topic(name.as_str()),
        Some(_) => None,
        None => image.topic_by_id(id).filter(|_| id != TopicId::METADATA),
    };
    if let Some(topic) = found {
        return answer(topic);
    }
    let error = match asked.name.as_ref().map(|name| name.as_str()) {
        None => ErrorCode::UnknownTopicId,
        Some(name) if validate(name).is_err() => ErrorCode::InvalidTopicException,
        Some(name) => {
            let why = not_made.iter().find(|(made, _)| made == name).map(|(_, error)| *error);
            why.unwrap_or(ErrorCode::UnknownTopicOrPartition)
        }
    };
    MetadataResponseTopic {
        error_code: error.code(),
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        ..Default::default()
    }
}

fn answer(topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| answer_partition(partition, index));
    MetadataResponseTopic {
        name: Some(text(&topic.name)),
        topic_id: uuid(topic.id),
        is_internal: is_internal(&topic.name),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn answer_partition(partition: &PartitionImage, index: i32) -> MetadataResponsePartition {
    let error = if partition.leader < 0 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
    MetadataResponsePartition {
        error_code: error.code(),
        partition_index: index,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        ..Default::default()
    }
}

/// The first version in which a client says whether missing topics may be made; before it, they may.
const FIRST_VERSION_THAT_ASKS: i16 = 4;
/// What is answered where nobody asked for authorized operations.
pub(super) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// Every operation that Kafka knows of a topic: read, write, create, delete, alter, describe, and configs described and
/// altered (`AclEntry.supportedOperations`; the bit is the operation's code).
pub(super) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// Every operation that Kafka knows of a cluster: create, alter, describe, cluster action, configs described and
/// altered, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
