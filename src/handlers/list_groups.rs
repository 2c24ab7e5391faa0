//! ListGroups: the groups of every shard, by state and type.

use std::rc::Rc;

use super::groups::refusal;
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode, later, respond};
use crate::io::Env;
use crate::protocol::Frame;
use crate::protocol::cold::list_groups_request::ListGroupsRequestData;
use crate::protocol::cold::list_groups_response::ListGroupsResponseData;
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: ListGroupsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.states_filter.len() + request.types_filter.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let header = frame.header;
    let asked = handlers.shard.ask_all_groups(|| GroupRequest::List(Box::new(request.clone())));
    later(async move {
        let mut response = ListGroupsResponseData::default();
        for reply in asked.all().await {
            match reply {
                GroupReply::List(mut groups) => response.groups.append(&mut groups),
                other => response.error_code = refusal(&other).code(),
            }
        }
        if response.error_code != 0 {
            response.groups.clear();
        }
        respond(&header, &response)
    })
}
