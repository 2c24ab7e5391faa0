//! Replies as each version of its API can carry them.

use bytes::Bytes;

use super::classic::Group;
use super::context::Context;
use super::effect::Reply;
use super::member::Waiting;
use crate::protocol::ErrorCode;
use crate::protocol::cold::KafkaString;
use crate::protocol::cold::join_group_response::{JoinGroupResponseData, JoinGroupResponseMember};
use crate::protocol::cold::leave_group_response::LeaveGroupResponseData;
use crate::protocol::cold::offset_delete_response::OffsetDeleteResponseData;
use crate::protocol::cold::sync_group_response::SyncGroupResponseData;

/// A string of ours as the codec has it.
pub(super) fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

/// A JoinGroup's answer that is none.
pub(super) fn join_error(waiting: Waiting, member_id: &str, error: ErrorCode) -> Reply {
    join(
        waiting,
        JoinGroupResponseData {
            error_code: error.code(),
            member_id: text(member_id),
            ..JoinGroupResponseData::default()
        },
    )
}

/// A JoinGroup's answer. Below version 7 the protocol's name cannot be null.
fn join(waiting: Waiting, mut response: JoinGroupResponseData) -> Reply {
    if waiting.version < 7 && response.protocol_name.is_none() {
        response.protocol_name = Some(KafkaString::default());
    }
    if waiting.version < 7 {
        response.protocol_type = None;
    }
    Reply::Join(Box::new(response))
}

/// A SyncGroup's answer that is none.
pub(super) fn sync_error(error: ErrorCode) -> Reply {
    Reply::Sync(Box::new(SyncGroupResponseData { error_code: error.code(), ..SyncGroupResponseData::default() }))
}

impl Group {
    /// A JoinGroup's answer for the present generation: the leader gets the members where it has to assign.
    pub(super) fn joined(&self, waiting: Waiting, member_id: &str, leader: Option<&str>, with_members: bool) -> Reply {
        let protocol = self.protocol.as_deref();
        let member = |(id, member): (&std::rc::Rc<str>, &super::member::Member)| JoinGroupResponseMember {
            member_id: text(id),
            group_instance_id: member.instance_id.as_deref().map(text),
            metadata: member.metadata(protocol),
            ..JoinGroupResponseMember::default()
        };
        join(
            waiting,
            JoinGroupResponseData {
                generation_id: self.generation,
                protocol_type: self.protocol_type.as_deref().map(text),
                protocol_name: protocol.map(text),
                leader: text(leader.unwrap_or_default()),
                member_id: text(member_id),
                members: if with_members { self.members.iter().map(member).collect() } else { Vec::new() },
                ..JoinGroupResponseData::default()
            },
        )
    }

    /// A SyncGroup's answer for the present generation.
    pub(super) fn synced(&self, waiting: Waiting, assignment: Bytes) -> Reply {
        let since_5 = |name: Option<&str>| name.filter(|_| waiting.version >= 5).map(text);
        Reply::Sync(Box::new(SyncGroupResponseData {
            protocol_type: since_5(self.protocol_type.as_deref()),
            protocol_name: since_5(self.protocol.as_deref()),
            assignment,
            ..SyncGroupResponseData::default()
        }))
    }
}

/// Answers a request that another one of the same member took the place of. Kafka never answers it; its client is gone
/// or has given it up, and joins again if it did not.
pub(super) fn supersede_join(cx: &mut Context, member_id: &str, waiting: Waiting) {
    cx.reply(waiting.to, join_error(waiting, member_id, ErrorCode::RebalanceInProgress));
}

impl Reply {
    /// The reply where its records were not appended.
    #[must_use]
    pub(super) fn failed(self, error: ErrorCode) -> Self {
        let code = error.code();
        match self {
            Self::Commit(mut response) => {
                let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                partitions.filter(|partition| partition.error_code == 0).for_each(|it| it.error_code = code);
                Self::Commit(response)
            }
            Self::Delete(mut results) => {
                results.iter_mut().filter(|result| result.error_code == 0).for_each(|it| it.error_code = code);
                Self::Delete(results)
            }
            Self::OffsetDelete(_) => Self::OffsetDelete(Box::new(OffsetDeleteResponseData {
                error_code: code,
                ..OffsetDeleteResponseData::default()
            })),
            Self::Leave(_) => {
                Self::Leave(Box::new(LeaveGroupResponseData { error_code: code, ..LeaveGroupResponseData::default() }))
            }
            Self::Join(mut response) => {
                response.error_code = code;
                Self::Join(response)
            }
            Self::Sync(_) => sync_error(error),
            Self::Heartbeat(mut response) => {
                response.error_code = code;
                Self::Heartbeat(response)
            }
        }
    }
}
