//! CreateTopics: each topic made or refused by itself, answered when every shard serves it.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::topics::{code, duplicates};
use super::{Handlers, decode, respond, text};
use crate::io::Env;
use crate::limits::CREATE_TOPICS_MAX;
use crate::metadata::{Image, NewTopic, Topic, TopicError};
use crate::protocol::cold::create_topics_request::{CreatableTopic, CreateTopicsRequestData};
use crate::protocol::cold::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponseData,
};
use crate::protocol::cold::uuid;
use crate::protocol::{ErrorCode, Frame};
use crate::record::Records;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, bytes: &Records) -> Started<E> {
    let request: CreateTopicsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let header = frame.header;
    handlers.on_controller(bytes, move |controller| async move {
        let twice = duplicates(request.topics.iter().map(|topic| topic.name.as_str()));
        let mut topics: Vec<CreatableTopicResult> = twice.iter().map(|name| named_twice(name)).collect();
        let once: Vec<&CreatableTopic> =
            request.topics.iter().filter(|topic| !twice.iter().any(|name| name == topic.name.as_str())).collect();
        if once.len() > CREATE_TOPICS_MAX {
            topics.extend(once.iter().map(|topic| too_many(topic.name.as_str())));
        } else {
            let new: Vec<NewTopic> = once.into_iter().map(new_topic).collect();
            let made = controller.create_topics(&new, request.validate_only).await;
            let image = controller.metadata().image();
            topics.extend(new.iter().zip(made).map(|(new, made)| match made {
                Ok(topic) => show(&image, &topic),
                Err(error) => refused(&new.name, &error),
            }));
        }
        respond(&header, &CreateTopicsResponseData { topics, ..Default::default() })
    })
}

fn new_topic(asked: &CreatableTopic) -> NewTopic {
    let value =
        |value: &Option<crate::protocol::cold::KafkaString>| value.as_ref().map(|value| value.as_str().to_owned());
    NewTopic {
        name: asked.name.as_str().to_owned(),
        num_partitions: asked.num_partitions,
        replication_factor: asked.replication_factor,
        assignments: asked.assignments.iter().map(|one| (one.partition_index, one.broker_ids.clone())).collect(),
        configs: asked.configs.iter().map(|one| (one.name.as_str().to_owned(), value(&one.value))).collect(),
    }
}

fn show(image: &Image, topic: &Topic) -> CreatableTopicResult {
    let entries = image.defaults().describe(&topic.configs);
    let configs = entries.iter().map(|entry| CreatableTopicConfigs {
        name: text(&entry.name),
        value: entry.value.as_deref().map(text),
        read_only: entry.read_only,
        config_source: entry.source.code(),
        ..Default::default()
    });
    CreatableTopicResult {
        name: text(&topic.name),
        topic_id: uuid(topic.id),
        num_partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: 1,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn refused(name: &str, error: &TopicError) -> CreatableTopicResult {
    answer(name, code(error), &error.to_string())
}

fn named_twice(name: &str) -> CreatableTopicResult {
    answer(name, ErrorCode::InvalidRequest, "Duplicate topic name.")
}

fn too_many(name: &str) -> CreatableTopicResult {
    let message = format!("one request may make {CREATE_TOPICS_MAX} topics at this node");
    answer(name, ErrorCode::PolicyViolation, &message)
}

fn answer(name: &str, code: ErrorCode, message: &str) -> CreatableTopicResult {
    CreatableTopicResult {
        name: text(name),
        error_code: code.code(),
        error_message: Some(text(message)),
        num_partitions: -1,
        replication_factor: -1,
        ..Default::default()
    }
}
