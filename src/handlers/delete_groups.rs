//! DeleteGroups: groups without members, with the offsets that they have committed.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::groups::refusal;
use super::reply::{Outcome, Started};
use super::{Handlers, check_entries, decode};
use crate::group::Reply;
use crate::io::Env;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::delete_groups_request::DeleteGroupsRequestData;
use crate::protocol::cold::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponseData};
use crate::protocol::{ErrorCode, Frame};
use crate::shard::{GroupReply, GroupRequest};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame) -> Started<E> {
    let request: DeleteGroupsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.groups_names.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let mut seen = BTreeSet::new();
    let names: Vec<KafkaString> =
        request.groups_names.iter().filter(|name| seen.insert(name.as_str().to_owned())).cloned().collect();
    let asked = names.clone();
    let asks = asked.iter().map(|name| (name.as_str(), GroupRequest::Delete(name.as_str().into())));
    handlers.ask_groups(frame.header, asks, move |replies| {
        let results = names.into_iter().zip(replies).map(|(group_id, reply)| {
            let error_code = match reply {
                GroupReply::Of(Reply::Delete(results)) => {
                    results.first().map_or(ErrorCode::UnknownServerError.code(), |result| result.error_code)
                }
                other => refusal(&other).code(),
            };
            DeletableGroupResult { group_id, error_code, ..Default::default() }
        });
        DeleteGroupsResponseData { results: results.collect(), ..Default::default() }
    })
}
