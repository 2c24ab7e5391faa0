//! Heartbeat: keeps a member's session, and tells it of a rebalance.

use std::rc::Rc;

use super::groups::refusal;
use super::reply::{Outcome, Started};
use super::{Handlers, decode};
use crate::group::Reply;
use crate::io::Env;
use crate::protocol::Frame;
use crate::protocol::cold::heartbeat_request::HeartbeatRequestData;
use crate::protocol::cold::heartbeat_response::HeartbeatResponseData;
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: HeartbeatRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let group_id = request.group_id.clone();
    let request = GroupRequest::Heartbeat(Box::new(request));
    handlers.ask_group(frame.header, group_id.as_str(), request, |reply| match reply {
        GroupReply::Of(Reply::Heartbeat(response)) => response,
        other => HeartbeatResponseData { error_code: refusal(&other).code(), ..Default::default() },
    })
}
