//! What can go wrong between a command and a node, and which of it may be tried again.

use std::io;

use thiserror::Error;

use crate::protocol::cold::KafkaString;
use crate::protocol::{ApiKey, ErrorCode};
use crate::record::RecordError;

/// A request that did not do what it was for.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The socket failed.
    #[error("{server}: {error}")]
    Io {
        /// `host:port`.
        server: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Nobody listens there.
    #[error("{server}: {error}. Is a node running there? --bootstrap-server HOST:PORT names another")]
    Connect {
        /// `host:port`.
        server: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// What came is not Kafka's protocol.
    #[error("{server}: {reason}")]
    Protocol {
        /// `host:port`.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// The node does not serve this.
    #[error("{server}: {api_key:?} is not supported in a version that this command knows ({shown})")]
    Unsupported {
        /// `host:port`.
        server: String,
        /// The API.
        api_key: ApiKey,
        /// What the node shows.
        shown: String,
    },
    /// The node's answer is an error.
    #[error("{what}: {code}{}", message.as_ref().map_or_else(String::new, |message| format!(": {message}")))]
    Kafka {
        /// What it is about: a topic, a partition, a group.
        what: String,
        /// Kafka's code.
        code: Code,
        /// What the node says besides.
        message: Option<String>,
    },
    /// A batch that came is damaged.
    #[error("{what}: {error}")]
    Record {
        /// Partition and offset.
        what: String,
        /// What is wrong.
        error: RecordError,
    },
    /// What the user gave cannot be sent: a line, a file.
    #[error("{0}")]
    Input(String),
    /// Waiting has no sense any more.
    #[error("{0}")]
    GaveUp(String),
    /// The user stopped it.
    #[error("stopped")]
    Stopped,
}

/// An error code as the wire has it: Kafka's name for those that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub i16);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(code_name(self.0))
    }
}

impl Error {
    /// Whether the same request may do better a moment later, on a new connection or after a look at the leaders.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Connect { .. } => true,
            Self::Kafka { code, .. } => is_retriable(code.0),
            _ => false,
        }
    }

    /// Kafka's code, where the node answered one.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Kafka { code, .. } => ErrorCode::from_code(code.0),
            _ => None,
        }
    }
}

/// Kafka's retriable errors (`RetriableException`), as far as these commands can meet them.
pub(crate) fn is_retriable(code: i16) -> bool {
    matches!(
        ErrorCode::from_code(code),
        Some(
            ErrorCode::CorruptMessage
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::RequestTimedOut
                | ErrorCode::ReplicaNotAvailable
                | ErrorCode::NetworkException
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::NotEnoughReplicasAfterAppend
                | ErrorCode::NotController
                | ErrorCode::KafkaStorageError
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::OffsetNotAvailable
                | ErrorCode::UnknownTopicId
                | ErrorCode::ConcurrentTransactions
                | ErrorCode::UnstableOffsetCommit
                | ErrorCode::ThrottlingQuotaExceeded
        )
    )
}

/// Ok for code 0; else the error, about `what`.
pub(crate) fn accept(what: impl Into<String>, code: i16, message: Option<&KafkaString>) -> Result<(), Error> {
    if code == 0 {
        return Ok(());
    }
    let message = message.map(|message| message.as_str().to_owned());
    Err(Error::Kafka { what: what.into(), code: Code(code), message })
}

pub(crate) fn code_name(code: i16) -> &'static str {
    ErrorCode::from_code(code).map_or("an error that this version does not know", ErrorCode::name)
}
