//! DescribeAcls, CreateAcls, DeleteAcls: there is no authorizer, in the words of a Kafka that has none.

use super::reply::{Outcome, Started};
use super::{check_entries, decode, respond, text};
use crate::io::Env;
use crate::protocol::cold::create_acls_request::CreateAclsRequestData;
use crate::protocol::cold::create_acls_response::{AclCreationResult, CreateAclsResponseData};
use crate::protocol::cold::delete_acls_request::DeleteAclsRequestData;
use crate::protocol::cold::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsResponseData};
use crate::protocol::cold::describe_acls_request::DescribeAclsRequestData;
use crate::protocol::cold::describe_acls_response::DescribeAclsResponseData;
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle_describe<E: Env>(frame: &Frame) -> Started<E> {
    if let Err(reason) = decode::<DescribeAclsRequestData>(frame) {
        return Started::Done(Outcome::Close(reason));
    }
    let (error_code, error_message) = (DISABLED, Some(text("No Authorizer is configured on the broker")));
    let response = DescribeAclsResponseData { error_code, error_message, ..Default::default() };
    Started::Done(respond(&frame.header, &response))
}

pub(super) fn handle_create<E: Env>(frame: &Frame) -> Started<E> {
    let request: CreateAclsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.creations.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let refused = AclCreationResult { error_code: DISABLED, error_message: Some(text(NONE)), ..Default::default() };
    let results = vec![refused; request.creations.len()];
    Started::Done(respond(&frame.header, &CreateAclsResponseData { results, ..Default::default() }))
}

pub(super) fn handle_delete<E: Env>(frame: &Frame) -> Started<E> {
    let request: DeleteAclsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.filters.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let refused =
        DeleteAclsFilterResult { error_code: DISABLED, error_message: Some(text(NONE)), ..Default::default() };
    let filter_results = vec![refused; request.filters.len()];
    Started::Done(respond(&frame.header, &DeleteAclsResponseData { filter_results, ..Default::default() }))
}

const DISABLED: i16 = ErrorCode::SecurityDisabled.code();
const NONE: &str = "No Authorizer is configured.";
