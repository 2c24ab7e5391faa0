//! ListConfigResources: what DescribeConfigs can be asked about.

use std::rc::Rc;

use super::describe_configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use super::reply::{Outcome, Started};
use super::{Handlers, decode, respond, text};
use crate::io::Env;
use crate::metadata::names::CLUSTER_METADATA;
use crate::protocol::cold::list_config_resources_request::ListConfigResourcesRequestData;
use crate::protocol::cold::list_config_resources_response::{ConfigResource, ListConfigResourcesResponseData};
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: ListConfigResourcesRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let mut response = ListConfigResourcesResponseData::default();
    // Version 0 was ListClientMetricsResources.
    let listed: &[i8] = if frame.header.api_version == 0 { &[CLIENT_METRICS] } else { &ALL };
    if request.resource_types.iter().any(|kind| !listed.contains(kind)) {
        response.error_code = ErrorCode::UnsupportedVersion.code();
        return Started::Done(respond(&frame.header, &response));
    }
    let asked = |kind: i8| {
        listed.contains(&kind) && (request.resource_types.is_empty() || request.resource_types.contains(&kind))
    };
    let image = handlers.shard.image();
    let node = handlers.config.node_id.to_string();
    let resource =
        |kind: i8, name: &str| ConfigResource { resource_name: text(name), resource_type: kind, ..Default::default() };
    // No group and no subscription to client metrics has settings here.
    let brokers = [BROKER_LOGGER, BROKER].into_iter().filter(|kind| asked(*kind)).map(|kind| resource(kind, &node));
    let topics = image.topics().filter(|topic| asked(TOPIC) && &*topic.name != CLUSTER_METADATA);
    response.config_resources = brokers.chain(topics.map(|topic| resource(TOPIC, &topic.name))).collect();
    Started::Done(respond(&frame.header, &response))
}

const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
