//! DescribeGroups: the state of groups and their members.

use std::rc::Rc;

use super::groups::refusal;
use super::metadata::OPERATIONS_NOT_ASKED;
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode};
use crate::io::Env;
use crate::protocol::cold::describe_groups_request::DescribeGroupsRequestData;
use crate::protocol::cold::describe_groups_response::{DescribeGroupsResponseData, DescribedGroup};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DescribeGroupsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.groups.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let version = frame.header.api_version;
    let (names, operations) = (request.groups.clone(), request.include_authorized_operations);
    let asks = request.groups.iter().map(|group| {
        let group_id = group.as_str();
        (group_id, GroupRequest::Describe(group_id.into(), version))
    });
    handlers.ask_groups(frame.header, asks, move |replies| {
        let groups = names.into_iter().zip(replies).map(|(group_id, reply)| {
            let mut group = match reply {
                GroupReply::Describe(group) => DescribedGroup { group_id, ..*group },
                other => DescribedGroup { group_id, error_code: refusal(&other).code(), ..Default::default() },
            };
            let is_shown = operations && group.error_code == ErrorCode::None.code();
            group.authorized_operations = if is_shown { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
            group
        });
        DescribeGroupsResponseData { groups: groups.collect(), ..Default::default() }
    })
}

/// Every operation that Kafka knows of a group: read, delete, describe, and configs described and altered.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
