//! What the requests about topics share: they are shard 0's, and their refusals read alike.

use std::rc::Rc;

use bytes::Bytes;

use super::reply::{CloseReason, Outcome, ReplyPart, Started};
use super::{Handlers, later};
use crate::io::Env;
use crate::metadata::TopicError;
use crate::protocol::{ErrorCode, Frame};
use crate::record::Records;
use crate::shard::{Answer, Call, Controller};
use crate::types::ShardId;

impl<E: Env> Handlers<E> {
    /// Runs `here` on shard 0; on any other shard sends it the request.
    pub(super) fn on_controller<F>(
        self: &Rc<Self>,
        request: &Records,
        here: impl FnOnce(Rc<Controller<E>>) -> F,
    ) -> Started<E>
    where
        F: Future<Output = Outcome<E>> + 'static,
    {
        if let Some(controller) = self.controller() {
            return later(here(controller));
        }
        let answer = self.shard.router().call(ShardId::FIRST, Call::Forward(request.clone()));
        later(async move {
            match answer.await {
                Some(Answer::Forward(Some(frame))) => Outcome::Reply(frame.into()),
                _ => Outcome::Close(CloseReason::Unanswerable("the controller gave none".to_owned())),
            }
        })
    }

    /// Handles a request that another shard has forwarded. The answer is its reply frame.
    pub async fn forwarded(self: &Rc<Self>, request: &Records) -> Option<Bytes> {
        let frame = Frame::parse(request).ok()?;
        // Its time is told by the shard that its connection is on.
        let outcome = match self.dispatch_cold(&frame, request, None) {
            Started::Done(outcome) => outcome,
            Started::Later(future) => future.await,
        };
        let Outcome::Reply(mut reply) = outcome else { return None };
        match (reply.parts.pop(), reply.parts.is_empty()) {
            (Some(ReplyPart::Encoded(frame)), true) => Some(frame),
            _ => None,
        }
    }
}

/// Kafka's code of a refused topic operation.
pub(super) fn code(error: &TopicError) -> ErrorCode {
    match error {
        TopicError::InvalidName(_) => ErrorCode::InvalidTopicException,
        TopicError::Exists(_) => ErrorCode::TopicAlreadyExists,
        TopicError::InvalidRequest(_) => ErrorCode::InvalidRequest,
        TopicError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        TopicError::InvalidReplicationFactor(_) => ErrorCode::InvalidReplicationFactor,
        TopicError::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
        TopicError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        TopicError::TooManyPartitions { .. } | TopicError::TooManyOfATopic { .. } => ErrorCode::PolicyViolation,
        TopicError::UnknownTopic | TopicError::NoSuchTopic(_) => ErrorCode::UnknownTopicOrPartition,
        TopicError::UnknownTopicId => ErrorCode::UnknownTopicId,
        TopicError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}

/// Names that stand more than once. Kafka refuses each of them, once.
pub(super) fn duplicates<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    let mut twice: Vec<String> =
        sorted.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0].to_owned()).collect();
    twice.dedup();
    twice
}
