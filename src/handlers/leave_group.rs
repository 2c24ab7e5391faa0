//! LeaveGroup: takes one member out of a group, or from version 3 on many.

use std::net::SocketAddr;
use std::rc::Rc;

use super::groups::{caller, refusal};
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode};
use crate::group::Reply;
use crate::io::Env;
use crate::protocol::Frame;
use crate::protocol::cold::leave_group_request::LeaveGroupRequestData;
use crate::protocol::cold::leave_group_response::LeaveGroupResponseData;
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, peer: Option<SocketAddr>) -> Started<E> {
    let request: LeaveGroupRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.members.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let group_id = request.group_id.clone();
    let request = GroupRequest::Leave(caller(frame, peer), Box::new(request));
    handlers.ask_group(frame.header, group_id.as_str(), request, |reply| match reply {
        GroupReply::Of(Reply::Leave(response)) => *response,
        other => LeaveGroupResponseData { error_code: refusal(&other).code(), ..Default::default() },
    })
}
