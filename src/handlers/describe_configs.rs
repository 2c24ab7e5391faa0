//! DescribeConfigs: every setting of a topic or of the broker, with its source and what it hides.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::{Handlers, decode, respond, text};
use crate::io::Env;
use crate::metadata::names::{CLUSTER_METADATA, validate};
use crate::metadata::topic_config::ConfigSynonym;
use crate::metadata::{ConfigEntry, Image};
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::describe_configs_request::{DescribeConfigsRequestData, DescribeConfigsResource};
use crate::protocol::cold::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponseData, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DescribeConfigsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let image = handlers.shard.image();
    let answer = |resource| describe(&image, handlers.config.node_id, resource, &request);
    let results = request.resources.iter().map(answer).collect();
    Started::Done(respond(&frame.header, &DescribeConfigsResponseData { results, ..Default::default() }))
}

fn describe(
    image: &Image,
    node_id: i32,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequestData,
) -> DescribeConfigsResult {
    let mut result = DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    match entries(image, node_id, resource) {
        Ok(entries) => {
            let keys = resource.configuration_keys.as_ref();
            let keys: Option<BTreeSet<&str>> = keys.map(|keys| keys.iter().map(KafkaString::as_str).collect());
            let wanted = |entry: &&ConfigEntry| keys.as_ref().is_none_or(|keys| keys.contains(entry.name.as_str()));
            result.configs = entries.iter().filter(wanted).map(|entry| show(entry, request)).collect();
        }
        Err((error, message)) => {
            result.error_code = error.code();
            result.error_message = Some(text(&message));
        }
    }
    result
}

fn entries(
    image: &Image,
    node_id: i32,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => {
            validate(name).map_err(|reason| (ErrorCode::InvalidTopicException, reason))?;
            let topic = image.topic(name).filter(|_| name != CLUSTER_METADATA);
            let topic = topic.ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, String::new()))?;
            Ok(image.defaults().describe(&topic.configs))
        }
        BROKER if name.is_empty() => Ok(image.defaults().describe_all_brokers()),
        BROKER | BROKER_LOGGER if name.parse() == Ok(node_id) => {
            // Loggers are the operator's, by RUST_LOG: none has a level that could be changed here.
            Ok(if resource.resource_type == BROKER { broker_entries(image, node_id) } else { Vec::new() })
        }
        BROKER => {
            let message = format!("Unexpected broker id, expected {node_id} or empty string, but received {name}");
            Err((ErrorCode::InvalidRequest, message))
        }
        BROKER_LOGGER if name.is_empty() => Err((ErrorCode::InvalidRequest, "Broker id must not be empty".to_owned())),
        BROKER_LOGGER => {
            let message = format!("Unexpected broker id, expected {node_id} but received {name}");
            Err((ErrorCode::InvalidRequest, message))
        }
        CLIENT_METRICS if name.is_empty() => {
            Err((ErrorCode::InvalidRequest, "Client metrics subscription name must not be empty".to_owned()))
        }
        GROUP if name.is_empty() => Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_owned())),
        // Kafka's are of protocols that are not here: nothing of a group or a subscription can be set.
        CLIENT_METRICS | GROUP => Ok(Vec::new()),
        unknown => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {unknown}"))),
    }
}

fn broker_entries(image: &Image, node_id: i32) -> Vec<ConfigEntry> {
    let id = node_id.to_string();
    image.defaults().describe_broker(&[("node.id", id.clone()), ("broker.id", id)])
}

fn show(entry: &ConfigEntry, request: &DescribeConfigsRequestData) -> DescribeConfigsResourceResult {
    let synonyms: &[ConfigSynonym] = if request.include_synonyms { &entry.synonyms } else { &[] };
    DescribeConfigsResourceResult {
        name: text(&entry.name),
        value: entry.value.as_deref().map(text),
        read_only: entry.read_only,
        config_source: entry.source.code(),
        synonyms: synonyms
            .iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: text(&synonym.name),
                value: synonym.value.as_deref().map(text),
                source: synonym.source.code(),
                ..Default::default()
            })
            .collect(),
        config_type: entry.kind,
        documentation: request.include_documentation.then(|| text(entry.doc)),
        ..Default::default()
    }
}

/// Kafka's numbers of resource types (`ConfigResource.Type`).
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;
