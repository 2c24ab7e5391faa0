//! AlterConfigs and IncrementalAlterConfigs: each resource changed or refused by itself, answered when every shard obeys.

use std::rc::Rc;

use super::describe_configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use super::reply::{Outcome, Started};
use super::topics::code;
use super::{Handlers, check_entries, decode, respond, text};
use crate::io::Env;
use crate::metadata::configs::{Change, ConfigChange, ConfigOp, ConfigResource};
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::alter_configs_request::AlterConfigsRequestData;
use crate::protocol::cold::alter_configs_response::{
    AlterConfigsResourceResponse as WholeResponse, AlterConfigsResponseData,
};
use crate::protocol::cold::incremental_alter_configs_request::IncrementalAlterConfigsRequestData;
use crate::protocol::cold::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponseData,
};
use crate::protocol::{ErrorCode, Frame};
use crate::record::Records;
use crate::shard::Controller;

/// A resource as a request names it.
struct Named {
    kind: i8,
    name: KafkaString,
}

/// Why a resource is refused.
type Refusal = (ErrorCode, String);

/// What a request asks of one resource, as far as it makes sense.
type Asked = Result<Change, Refusal>;

pub(super) fn handle_incremental<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, bytes: &Records) -> Started<E> {
    let request: IncrementalAlterConfigsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.resources.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let header = frame.header;
    handlers.on_controller(bytes, move |controller| async move {
        let asked = request.resources.iter().map(|resource| {
            let named = Named { kind: resource.resource_type, name: resource.resource_name.clone() };
            let operation = |config: &crate::protocol::cold::incremental_alter_configs_request::AlterableConfig| {
                let value = config.value.as_ref().map(|value| value.as_str().to_owned());
                let name = config.name.as_str().to_owned();
                operation(config.config_operation, value).map(|operation| (name, operation))
            };
            (named, resource.configs.iter().map(operation).collect::<Result<_, _>>().map(Change::Some))
        });
        let asked: Vec<(Named, Asked)> = asked.collect();
        let altered = alter(&controller, &asked, request.validate_only).await;
        let responses = asked.into_iter().zip(altered).map(|((named, _), altered)| {
            let (error_code, error_message) = shown(altered);
            AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: named.kind,
                resource_name: named.name,
                ..Default::default()
            }
        });
        let responses = responses.collect();
        respond(&header, &IncrementalAlterConfigsResponseData { responses, ..Default::default() })
    })
}

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, bytes: &Records) -> Started<E> {
    let request: AlterConfigsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.resources.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let header = frame.header;
    handlers.on_controller(bytes, move |controller| async move {
        let asked = request.resources.iter().map(|resource| {
            let named = Named { kind: resource.resource_type, name: resource.resource_name.clone() };
            let text = |value: &KafkaString| value.as_str().to_owned();
            let all = resource.configs.iter().map(|config| (text(&config.name), config.value.as_ref().map(text)));
            (named, Ok(Change::All(all.collect())))
        });
        let asked: Vec<(Named, Asked)> = asked.collect();
        let altered = alter(&controller, &asked, request.validate_only).await;
        let responses = asked.into_iter().zip(altered).map(|((named, _), altered)| {
            let (error_code, error_message) = shown(altered);
            WholeResponse {
                error_code,
                error_message,
                resource_type: named.kind,
                resource_name: named.name,
                ..Default::default()
            }
        });
        let responses = responses.collect();
        respond(&header, &AlterConfigsResponseData { responses, ..Default::default() })
    })
}

/// Changes what can be changed; answers for each resource, in order.
async fn alter<E: Env>(
    controller: &Controller<E>,
    asked: &[(Named, Asked)],
    validate_only: bool,
) -> Vec<Result<(), Refusal>> {
    let mut places: Vec<(i8, &str)> = asked.iter().map(|(named, _)| (named.kind, named.name.as_str())).collect();
    places.sort_unstable();
    let twice = |named: &Named| {
        let place = (named.kind, named.name.as_str());
        places.partition_point(|other| *other <= place) - places.partition_point(|other| *other < place) > 1
    };
    let checked: Vec<Result<ConfigChange, Refusal>> = asked
        .iter()
        .map(|(named, change)| {
            if twice(named) {
                return Err((ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned()));
            }
            let change = change.clone()?;
            Ok(ConfigChange { resource: resource(named, &change)?, change })
        })
        .collect();
    let changes: Vec<ConfigChange> = checked.iter().filter_map(|checked| checked.as_ref().ok().cloned()).collect();
    let mut altered = controller.alter_configs(&changes, validate_only).await.into_iter();
    let answer = |checked: Result<ConfigChange, Refusal>| {
        checked?;
        let altered = altered.next().expect("an answer for each");
        altered.map_err(|error| (code(&error), error.to_string()))
    };
    checked.into_iter().map(answer).collect()
}

/// What has configuration here; the rest is refused in Kafka's words for what it does not know either.
fn resource(named: &Named, change: &Change) -> Result<ConfigResource, Refusal> {
    let name = named.name.as_str().to_owned();
    let first = match change {
        Change::Some(operations) => operations.first().map(|(name, _)| name.as_str()),
        Change::All(all) => all.first().map(|(name, _)| name.as_str()),
    };
    let first = first.unwrap_or_default();
    match named.kind {
        TOPIC => Ok(ConfigResource::Topic(name)),
        BROKER => Ok(ConfigResource::Broker(name)),
        BROKER_LOGGER => Err((ErrorCode::InvalidConfig, format!("Logger {first} does not exist!"))),
        GROUP => Err((ErrorCode::InvalidConfig, format!("Unknown group config name: {first}"))),
        CLIENT_METRICS => Err((ErrorCode::InvalidRequest, format!("Unknown client metrics configuration: {first}"))),
        unknown => Err((ErrorCode::InvalidRequest, format!("Unknown resource type {unknown}"))),
    }
}

fn operation(number: i8, value: Option<String>) -> Result<ConfigOp, Refusal> {
    match number {
        0 => Ok(ConfigOp::Set(value)),
        1 => Ok(ConfigOp::Delete),
        2 => Ok(ConfigOp::Append(value)),
        3 => Ok(ConfigOp::Subtract(value)),
        unknown => Err((ErrorCode::InvalidRequest, format!("Unknown operation type {unknown}"))),
    }
}

fn shown(altered: Result<(), Refusal>) -> (i16, Option<KafkaString>) {
    match altered {
        Ok(()) => (ErrorCode::None.code(), None),
        Err((code, message)) => (code.code(), Some(text(&message))),
    }
}
