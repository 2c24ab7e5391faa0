//! CreatePartitions: more partitions for topics that exist.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::topics::{code, duplicates};
use super::{Handlers, decode, respond, text};
use crate::io::Env;
use crate::metadata::NewPartitions;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::create_partitions_request::{CreatePartitionsRequestData, CreatePartitionsTopic};
use crate::protocol::cold::create_partitions_response::{CreatePartitionsResponseData, CreatePartitionsTopicResult};
use crate::protocol::{ErrorCode, Frame};
use crate::record::Records;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, bytes: &Records) -> Started<E> {
    let request: CreatePartitionsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let header = frame.header;
    handlers.on_controller(bytes, move |controller| async move {
        let twice = duplicates(request.topics.iter().map(|topic| topic.name.as_str()));
        let refused = |name: &String| answer(text(name), ErrorCode::InvalidRequest, "Duplicate topic in request.");
        let mut results: Vec<CreatePartitionsTopicResult> = twice.iter().map(refused).collect();
        let once = request.topics.iter().filter(|topic| !twice.iter().any(|name| name == topic.name.as_str()));
        let new: Vec<NewPartitions> = once.map(new_partitions).collect();
        let grown = controller.create_partitions(&new, request.validate_only).await;
        results.extend(new.iter().zip(grown).map(|(new, grown)| match grown {
            Ok(_) => CreatePartitionsTopicResult { name: text(&new.topic), ..Default::default() },
            Err(error) => answer(text(&new.topic), code(&error), &error.to_string()),
        }));
        respond(&header, &CreatePartitionsResponseData { results, ..Default::default() })
    })
}

fn new_partitions(asked: &CreatePartitionsTopic) -> NewPartitions {
    let assignments = asked.assignments.as_ref();
    NewPartitions {
        topic: asked.name.as_str().to_owned(),
        count: asked.count,
        assignments: assignments.map(|all| all.iter().map(|one| one.broker_ids.clone()).collect()),
    }
}

fn answer(name: KafkaString, code: ErrorCode, message: &str) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name,
        error_code: code.code(),
        error_message: Some(text(message)),
        ..Default::default()
    }
}
