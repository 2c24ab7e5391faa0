//! DescribeCluster: the brokers and who controls them. A standalone node is both.

use std::rc::Rc;

use super::metadata::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED};
use super::reply::{Outcome, Started};
use super::{Handlers, decode, respond, text};
use crate::io::Env;
use crate::protocol::cold::describe_cluster_request::DescribeClusterRequestData;
use crate::protocol::cold::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponseData};
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DescribeClusterRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let mut response = DescribeClusterResponseData { endpoint_type: request.endpoint_type, ..Default::default() };
    if request.endpoint_type == BROKERS {
        let config = &handlers.config;
        response.cluster_id = text(&handlers.cluster_id);
        response.controller_id = config.node_id;
        response.brokers = vec![DescribeClusterBroker {
            broker_id: config.node_id,
            host: text(&config.advertised.0),
            port: i32::from(config.advertised.1),
            ..Default::default()
        }];
        let asked = request.include_cluster_authorized_operations;
        response.cluster_authorized_operations = if asked { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    } else {
        // Kafka's answer of a broker that is asked for controllers.
        let error = if request.endpoint_type == CONTROLLERS {
            ErrorCode::MismatchedEndpointType
        } else {
            ErrorCode::UnsupportedEndpointType
        };
        response.error_code = error.code();
        response.error_message = Some(text("this node answers for brokers only (endpoint type 1)"));
    }
    Started::Done(respond(&frame.header, &response))
}

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
