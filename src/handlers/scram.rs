//! DescribeUserScramCredentials and AlterUserScramCredentials: nobody has credentials, and none can be set, because no
//! listener asks for them.

use super::reply::{Outcome, Started};
use super::topics::duplicates;
use super::{check_entries, decode, respond, text};
use crate::io::Env;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::alter_user_scram_credentials_request::AlterUserScramCredentialsRequestData;
use crate::protocol::cold::alter_user_scram_credentials_response::{
    AlterUserScramCredentialsResponseData, AlterUserScramCredentialsResult,
};
use crate::protocol::cold::describe_user_scram_credentials_request::DescribeUserScramCredentialsRequestData;
use crate::protocol::cold::describe_user_scram_credentials_response::{
    DescribeUserScramCredentialsResponseData, DescribeUserScramCredentialsResult,
};
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle_describe<E: Env>(frame: &Frame) -> Started<E> {
    let request: DescribeUserScramCredentialsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let mut names: Vec<&str> = request.users.iter().flatten().map(|user| user.name.as_str()).collect();
    if let Err(reason) = check_entries(names.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let twice = duplicates(names.iter().copied());
    names.sort_unstable();
    names.dedup();
    let result = |user: &str| {
        let (code, message) = if twice.binary_search_by(|name| name.as_str().cmp(user)).is_ok() {
            let text = format!("Cannot describe SCRAM credentials for the same user twice in a single request: {user}");
            (ErrorCode::DuplicateResource, text)
        } else {
            let text = format!("Attempt to describe a user credential that does not exist: {user}");
            (ErrorCode::ResourceNotFound, text)
        };
        let (user, error_code, error_message) = (text(user), code.code(), Some(text(&message)));
        DescribeUserScramCredentialsResult { user, error_code, error_message, ..Default::default() }
    };
    let results = names.into_iter().map(result).collect();
    Started::Done(respond(&frame.header, &DescribeUserScramCredentialsResponseData { results, ..Default::default() }))
}

pub(super) fn handle_alter<E: Env>(frame: &Frame) -> Started<E> {
    let request: AlterUserScramCredentialsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.deletions.len() + request.upsertions.len()) {
        return Started::Done(Outcome::Close(reason));
    }
    let result = |user: &KafkaString, code: ErrorCode, message: &str| AlterUserScramCredentialsResult {
        user: user.clone(),
        error_code: code.code(),
        error_message: Some(text(message)),
        ..Default::default()
    };
    let absent = "Attempt to delete a user credential that does not exist";
    let deletions = request.deletions.iter().map(|gone| result(&gone.name, ErrorCode::ResourceNotFound, absent));
    let not_built = "SCRAM credentials are not built: no listener asks for them";
    let upsertions = request.upsertions.iter().map(|new| result(&new.name, ErrorCode::UnsupportedVersion, not_built));
    let results = deletions.chain(upsertions).collect();
    Started::Done(respond(&frame.header, &AlterUserScramCredentialsResponseData { results, ..Default::default() }))
}
