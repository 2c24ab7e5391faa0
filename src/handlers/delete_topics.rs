//! DeleteTopics: by name or by id; a deleted topic is gone from every shard when the answer leaves.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::topics::code;
use super::{Handlers, decode, respond, text};
use crate::io::Env;
use crate::metadata::TopicRef;
use crate::metadata::names::CLUSTER_METADATA;
use crate::protocol::cold::delete_topics_request::{DeleteTopicState, DeleteTopicsRequestData};
use crate::protocol::cold::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponseData};
use crate::protocol::cold::{topic_id, uuid};
use crate::protocol::{ErrorCode, Frame};
use crate::record::Records;
use crate::shard::{Controller, TopicResult};
use crate::types::TopicId;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, bytes: &Records) -> Started<E> {
    let request: DeleteTopicsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let header = frame.header;
    handlers.on_controller(bytes, move |controller| async move {
        // Until version 5 a list of names, from 6 on names or ids.
        let named = request.topic_names.iter().map(|name| Ok(TopicRef::Name(name.as_str().to_owned())));
        let asked: Vec<Result<TopicRef, DeletableTopicResult>> =
            named.chain(request.topics.iter().map(reference)).collect();
        let responses = delete(&controller, asked).await;
        respond(&header, &DeleteTopicsResponseData { responses, ..Default::default() })
    })
}

fn reference(asked: &DeleteTopicState) -> Result<TopicRef, DeletableTopicResult> {
    let id = topic_id(&asked.topic_id);
    match &asked.name {
        Some(name) if id == TopicId::ZERO => Ok(TopicRef::Name(name.as_str().to_owned())),
        None if id != TopicId::ZERO => Ok(TopicRef::Id(id)),
        name => Err(DeletableTopicResult {
            name: name.clone(),
            topic_id: asked.topic_id,
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some(text("a topic is named either by its name or by its id")),
            ..Default::default()
        }),
    }
}

async fn delete<E: Env>(
    controller: &Controller<E>,
    asked: Vec<Result<TopicRef, DeletableTopicResult>>,
) -> Vec<DeletableTopicResult> {
    let mut responses = Vec::with_capacity(asked.len());
    let mut topics = Vec::with_capacity(asked.len());
    for asked in asked {
        match asked {
            Ok(TopicRef::Name(name)) if name == CLUSTER_METADATA => {
                responses.push(answer(&TopicRef::Name(name), ErrorCode::InvalidTopicException, "is not a client's"));
            }
            Ok(topic) => topics.push(topic),
            Err(refused) => responses.push(refused),
        }
    }
    let deleted = controller.delete_topics(&topics).await;
    responses.extend(topics.iter().zip(deleted).map(|(asked, deleted)| show(asked, deleted)));
    responses
}

fn show(asked: &TopicRef, deleted: TopicResult) -> DeletableTopicResult {
    match deleted {
        Ok(topic) => {
            DeletableTopicResult { name: Some(text(&topic.name)), topic_id: uuid(topic.id), ..Default::default() }
        }
        Err(error) => answer(asked, code(&error), &error.to_string()),
    }
}

fn answer(asked: &TopicRef, code: ErrorCode, message: &str) -> DeletableTopicResult {
    let (name, id) = match asked {
        TopicRef::Name(name) => (Some(text(name)), TopicId::ZERO),
        TopicRef::Id(id) => (None, *id),
    };
    DeletableTopicResult {
        name,
        topic_id: uuid(id),
        error_code: code.code(),
        error_message: Some(text(message)),
        ..Default::default()
    }
}
