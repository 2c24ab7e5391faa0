//! What goes into the coordinator beside a request, and what comes out of it.

use crate::protocol::ErrorCode;
use crate::protocol::cold::delete_groups_response::DeletableGroupResult;
use crate::protocol::cold::heartbeat_response::HeartbeatResponseData;
use crate::protocol::cold::join_group_response::JoinGroupResponseData;
use crate::protocol::cold::leave_group_response::LeaveGroupResponseData;
use crate::protocol::cold::offset_commit_response::OffsetCommitResponseData;
use crate::protocol::cold::offset_delete_response::OffsetDeleteResponseData;
use crate::protocol::cold::sync_group_response::SyncGroupResponseData;
use crate::record::build::NewRecord;

/// The two clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back: timeouts count by it.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970: what Kafka stores.
    pub wall_ms: i64,
}

/// Who sent a request: facts of its header and connection.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client id, empty where it is null.
    pub client_id: &'a str,
    /// The peer's address as Kafka prints it: `/127.0.0.1`.
    pub client_host: &'a str,
    /// The version of the request, which decides what its fields mean and what the reply may hold.
    pub version: i16,
}

/// Who waits for a reply. The caller numbers them; each gets exactly one [`Effect::Reply`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaiterId(pub u64);

/// A batch on its way to the log. Numbered upwards by the coordinator in the order of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppendId(pub u64);

/// What the caller is to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Answer a request. Given out once the answer may be seen: what it says is durable.
    Reply {
        /// Whose.
        to: WaiterId,
        /// What.
        reply: Reply,
    },
    /// Append the records as one batch, batches in the order of the effects; then tell
    /// [`Coordinator::appended`](super::Coordinator::appended).
    Append {
        /// What to tell it by.
        id: AppendId,
        /// Never empty. Keys and values of `__consumer_offsets`.
        records: Vec<NewRecord>,
    },
}

/// A response, one variant for each API that may wait.
#[derive(Debug)]
pub enum Reply {
    /// JoinGroup's.
    Join(Box<JoinGroupResponseData>),
    /// SyncGroup's.
    Sync(Box<SyncGroupResponseData>),
    /// Heartbeat's.
    Heartbeat(HeartbeatResponseData),
    /// LeaveGroup's.
    Leave(Box<LeaveGroupResponseData>),
    /// OffsetCommit's.
    Commit(Box<OffsetCommitResponseData>),
    /// The part of DeleteGroups' that is about groups of this coordinator.
    Delete(Vec<DeletableGroupResult>),
    /// OffsetDelete's.
    OffsetDelete(Box<OffsetDeleteResponseData>),
}

/// Why a batch is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFailure {
    /// The batch is larger than the topic takes; nothing was written, and the log goes on.
    TooLarge,
    /// The log could not take it now (no room, not ready in time).
    Unavailable,
    /// The log is closed or broken: this node does not coordinate these groups any more.
    NotCoordinator,
}

impl AppendFailure {
    /// Kafka's code for a request whose records were not appended.
    #[must_use]
    pub fn error_code(self) -> ErrorCode {
        match self {
            Self::TooLarge => ErrorCode::UnknownServerError,
            Self::Unavailable => ErrorCode::CoordinatorNotAvailable,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
        }
    }
}
