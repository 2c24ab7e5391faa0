//! InitProducerId: a producer's identity for idempotence. Transactions are not built: a transactional id is refused.
//!
//! Ids come from blocks that the metadata log has given away durably; shard 0 hands them out.

use std::rc::Rc;

use super::reply::{Outcome, Started};
use super::topics::code;
use super::{Handlers, decode, respond};
use crate::io::Env;
use crate::protocol::cold::init_producer_id_request::InitProducerIdRequestData;
use crate::protocol::cold::init_producer_id_response::InitProducerIdResponseData;
use crate::protocol::{ErrorCode, Frame};
use crate::record::Records;

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, bytes: &Records) -> Started<E> {
    let request: InitProducerIdRequestData = match decode(frame) {
        Ok(request) => request,
        Err(reason) => return Started::Done(Outcome::Close(reason)),
    };
    let header = frame.header;
    if request.transactional_id.is_some() {
        let response = refused(ErrorCode::InvalidRequest);
        return Started::Done(respond(&header, &response));
    }
    handlers.on_controller(bytes, move |controller| async move {
        // A producer that asks again with its old id gets a new one: without transactions nothing ties it to the old.
        let response = match controller.next_producer_id().await {
            Ok(producer_id) => InitProducerIdResponseData { producer_id, producer_epoch: 0, ..Default::default() },
            Err(error) => refused(code(&error)),
        };
        respond(&header, &response)
    })
}

fn refused(code: ErrorCode) -> InitProducerIdResponseData {
    InitProducerIdResponseData { error_code: code.code(), producer_id: -1, producer_epoch: -1, ..Default::default() }
}
