//! ApiVersions: which requests this node serves.

use super::reply::{Outcome, Started};
use super::{decode, respond};
use crate::io::Env;
use crate::protocol::cold::api_versions_request::ApiVersionsRequestData;
use crate::protocol::cold::api_versions_response::{ApiVersion, ApiVersionsResponseData};
use crate::protocol::{ApiKey, ErrorCode, Frame, api_versions};

pub(super) fn handle<E: Env>(frame: &Frame) -> Started<E> {
    let header = &frame.header;
    if !header.is_served() {
        let bytes = api_versions::encode_unsupported(header.correlation_id);
        return Started::Done(Outcome::Reply(bytes.into()));
    }
    let request: ApiVersionsRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let named = |text: &str| api_versions::is_client_software_text(text);
    let valid = header.api_version < FIRST_NAMED_VERSION
        || named(request.client_software_name.as_str()) && named(request.client_software_version.as_str());
    let mut response = ApiVersionsResponseData::default();
    if valid {
        let entry = |api_key: ApiKey| ApiVersion {
            api_key: api_key.code(),
            min_version: api_key.min_version(),
            max_version: api_key.max_version(),
            ..ApiVersion::default()
        };
        response.api_keys = ApiKey::ALL.into_iter().map(entry).collect();
    } else {
        response.error_code = ErrorCode::InvalidRequest.code();
    }
    Started::Done(respond(header, &response))
}

/// The first version that names the client's software (KIP-511).
const FIRST_NAMED_VERSION: i16 = 3;
