//! DescribeClientQuotas and AlterClientQuotas: nobody has a quota, and none can be set, because none would be kept.

use super::reply::{Outcome, Started};
use super::{check_entries, decode, respond, text};
use crate::io::Env;
use crate::protocol::cold::alter_client_quotas_request::AlterClientQuotasRequestData;
use crate::protocol::cold::alter_client_quotas_response::{AlterClientQuotasResponseData, EntityData, EntryData};
use crate::protocol::cold::describe_client_quotas_request::DescribeClientQuotasRequestData;
use crate::protocol::cold::describe_client_quotas_response::DescribeClientQuotasResponseData;
use crate::protocol::{ErrorCode, Frame};

pub(super) fn handle_describe<E: Env>(frame: &Frame) -> Started<E> {
    match decode::<DescribeClientQuotasRequestData>(frame) {
        Ok(_) => {
            let response = DescribeClientQuotasResponseData { entries: Some(Vec::new()), ..Default::default() };
            Started::Done(respond(&frame.header, &response))
        }
        Err(reason) => Started::Done(Outcome::Close(reason)),
    }
}

pub(super) fn handle_alter<E: Env>(frame: &Frame) -> Started<E> {
    let request: AlterClientQuotasRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    if let Err(reason) = check_entries(request.entries.iter().map(|entry| 1 + entry.entity.len()).sum()) {
        return Started::Done(Outcome::Close(reason));
    }
    let entries = request.entries.into_iter().map(|entry| {
        let entity = entry.entity.into_iter().map(|entity| EntityData {
            entity_type: entity.entity_type,
            entity_name: entity.entity_name,
            ..Default::default()
        });
        EntryData {
            error_code: ErrorCode::UnsupportedVersion.code(),
            error_message: Some(text("client quotas are not built: no client is throttled")),
            entity: entity.collect(),
            ..Default::default()
        }
    });
    let response = AlterClientQuotasResponseData { entries: entries.collect(), ..Default::default() };
    Started::Done(respond(&frame.header, &response))
}
