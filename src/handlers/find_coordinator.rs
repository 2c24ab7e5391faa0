//! FindCoordinator: the broker that coordinates a group, which is this one. The first one who asks has the topic made
//! that groups and offsets are kept in.
//!
//! Transactions and share groups are not built: their keys are refused.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode, respond, text};
use crate::io::Env;
use crate::metadata::names::CONSUMER_OFFSETS;
use crate::protocol::cold::find_coordinator_request::FindCoordinatorRequestData;
use crate::protocol::cold::find_coordinator_response::{Coordinator, FindCoordinatorResponseData};
use crate::protocol::{ErrorCode, Frame};
use crate::record::Records;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, bytes: &Records) -> Started<E> {
    let request: FindCoordinatorRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.coordinator_keys.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let header = frame.header;
    let found = |found| respond(&header, &handlers.coordinators(header.api_version, &request, found));
    match refusal(request.key_type) {
        Some(refused) => return Started::Done(found(Err(refused))),
        None if handlers.shard.image().topic(CONSUMER_OFFSETS).is_some() => return Started::Done(found(Ok(()))),
        None => {}
    }
    let of = Rc::clone(handlers);
    handlers.on_controller(bytes, move |controller| async move {
        let made = controller.make_offsets_topic(&of.config.offsets_topic).await;
        let found = made.map_err(|error| {
            tracing::error!("cannot make {CONSUMER_OFFSETS}: {error}");
            (ErrorCode::CoordinatorNotAvailable, "The coordinator is not available.")
        });
        respond(&header, &of.coordinators(header.api_version, &request, found))
    })
}

/// A refusal, with the text that the client reads.
type Refusal = (ErrorCode, &'static str);

fn refusal(key_type: i8) -> Option<Refusal> {
    let text = match key_type {
        GROUP => return None,
        TRANSACTION => "transactions are not supported by this node",
        SHARE => "share groups are not supported by this node",
        _ => "Unknown coordinator type.",
    };
    Some((ErrorCode::InvalidRequest, text))
}

impl<E: Env> Handlers<E> {
    fn coordinators(
        &self,
        version: i16,
        request: &FindCoordinatorRequestData,
        found: Result<(), Refusal>,
    ) -> FindCoordinatorResponseData {
        let (host, port) = &self.config.advertised;
        let one = |key| match found {
            Ok(()) => Coordinator {
                key,
                node_id: self.config.node_id,
                host: text(host),
                port: i32::from(*port),
                ..Default::default()
            },
            Err((error, message)) => Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: error.code(),
                error_message: Some(text(message)),
                ..Default::default()
            },
        };
        if version >= FIRST_VERSION_OF_MANY {
            let coordinators = request.coordinator_keys.iter().cloned().map(one).collect();
            return FindCoordinatorResponseData { coordinators, ..Default::default() };
        }
        let Coordinator { node_id, host, port, error_code, error_message, .. } = one(request.key.clone());
        // Kafka says NONE in words too.
        let error_message = if found.is_ok() { Some(text("NONE")) } else { error_message };
        FindCoordinatorResponseData { node_id, host, port, error_code, error_message, ..Default::default() }
    }
}

/// The first version that asks for many coordinators at once.
const FIRST_VERSION_OF_MANY: i16 = 4;
/// Kafka's numbers of coordinators (`FindCoordinatorRequest.CoordinatorType`).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
