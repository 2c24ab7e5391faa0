//! OffsetDelete: takes a group's offsets of some partitions away.

use std::rc::Rc;

use super::groups::refusal;
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode};
use crate::group::Reply;
use crate::io::Env;
use crate::protocol::Frame;
use crate::protocol::cold::offset_delete_request::OffsetDeleteRequestData;
use crate::protocol::cold::offset_delete_response::OffsetDeleteResponseData;
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: OffsetDeleteRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let partitions: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if let Err(reason) = check_entries(request.topics.len() + partitions) {
        return Started::Done(Outcome::Close(reason));
    }
    let group_id = request.group_id.clone();
    let request = GroupRequest::OffsetDelete(Box::new(request));
    handlers.ask_group(frame.header, group_id.as_str(), request, |reply| match reply {
        GroupReply::Of(Reply::OffsetDelete(response)) => *response,
        other => OffsetDeleteResponseData { error_code: refusal(&other).code(), ..Default::default() },
    })
}
