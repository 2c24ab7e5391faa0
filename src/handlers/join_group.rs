//! JoinGroup: makes a member of a group. Answered when the group's rebalance has brought all members together.

use std::net::SocketAddr;
use std::rc::Rc;

use super::groups::{caller, refusal};
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode, text};
use crate::group::Reply;
use crate::io::Env;
use crate::protocol::Frame;
use crate::protocol::cold::join_group_request::JoinGroupRequestData;
use crate::protocol::cold::join_group_response::JoinGroupResponseData;
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, peer: Option<SocketAddr>) -> Started<E> {
    let request: JoinGroupRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.protocols.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let (version, group_id, member_id) =
        (frame.header.api_version, request.group_id.clone(), request.member_id.clone());
    let request = GroupRequest::Join(caller(frame, peer), Box::new(request));
    handlers.ask_group(frame.header, group_id.as_str(), request, move |reply| {
        let mut response = match reply {
            GroupReply::Of(Reply::Join(response)) => *response,
            other => JoinGroupResponseData {
                error_code: refusal(&other).code(),
                generation_id: -1,
                member_id,
                ..Default::default()
            },
        };
        // Null is an answer from version 7 on.
        if version < FIRST_VERSION_OF_NULL && response.protocol_name.is_none() {
            response.protocol_name = Some(text(""));
        }
        response
    })
}

const FIRST_VERSION_OF_NULL: i16 = 7;
