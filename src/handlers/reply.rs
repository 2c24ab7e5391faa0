//! What a handler answers: where the bytes of a reply are, not the bytes.
//!
//! Made by the handlers, sent by `server::reply`, which alone writes to sockets.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use super::figures::Trip;
use crate::io::{Env, Slice};
use crate::storage::{Part, SegmentRef};

/// A whole reply frame, its length first.
pub struct Reply<E: Env> {
    /// In the order in which they go out.
    pub parts: Vec<ReplyPart<E>>,
    /// The request that it answers, whose time ends with its last byte.
    pub trip: Option<Trip>,
}

impl<E: Env> Reply<E> {
    /// Made of parts.
    #[must_use]
    pub fn new(parts: Vec<ReplyPart<E>>) -> Self {
        Self { parts, trip: None }
    }

    /// The same as the answer to a request.
    #[must_use]
    pub fn of(self, trip: Trip) -> Self {
        Self { trip: Some(trip), ..self }
    }
}

/// A piece of a reply.
pub enum ReplyPart<E: Env> {
    /// Encoded bytes, which belong to the reply.
    Encoded(Bytes),
    /// Record bytes in memory.
    Records {
        /// The bytes.
        slice: Slice,
        /// How to find them again once their memory was given back.
        again: Option<Again<E>>,
    },
    /// Record bytes whose memory was given back while the peer did not read.
    GivenBack {
        /// How to find them again.
        again: Again<E>,
        /// How many bytes.
        len: usize,
    },
    /// Record bytes of a file opened without O_DIRECT, none of which is ever written again.
    File {
        /// The file.
        file: E::File,
        /// Where in the file.
        position: u64,
        /// How many bytes.
        len: usize,
        /// Keeps the file from being recycled, where it is a segment.
        keep: Option<SegmentRef>,
    },
}

impl<E: Env> ReplyPart<E> {
    /// A part of what a read found; `again` where that is in memory.
    #[must_use]
    pub fn of(part: Part<E>, again: Option<Again<E>>) -> Self {
        match part {
            Part::Bytes(slice) => Self::Records { slice, again },
            Part::File { file, position, len, keep } => Self::File { file, position, len, keep: Some(keep) },
        }
    }

    /// Bytes of this part.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Encoded(bytes) => bytes.len(),
            Self::Records { slice, .. } => slice.len(),
            Self::GivenBack { len, .. } | Self::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A place within bytes that can be read again.
pub struct Again<E: Env> {
    /// Reads them.
    pub source: Rc<dyn Reread<E>>,
    /// Where this part begins.
    pub at: usize,
}

/// Bytes that a reply has promised, and that are still where they were when their memory is needed.
pub trait Reread<E: Env> {
    /// This range of them, or nothing where that is not possible any more: then the reply cannot be finished.
    fn read(&self, range: Range<usize>) -> Rereading<E>;
}

/// Bytes that are being read again.
pub type Rereading<E> = Pin<Box<dyn Future<Output = Option<Vec<Part<E>>>>>>;

impl<E: Env> From<Bytes> for Reply<E> {
    fn from(frame: Bytes) -> Self {
        Self::new(vec![ReplyPart::Encoded(frame)])
    }
}

/// How a request ends.
pub enum Outcome<E: Env> {
    /// With a reply.
    Reply(Reply<E>),
    /// Without one: acks=0.
    Silent,
    /// With the end of the connection, after the replies before it.
    Close(CloseReason),
}

impl<E: Env> fmt::Debug for Outcome<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => write!(f, "Reply({} parts)", reply.parts.len()),
            Self::Silent => f.write_str("Silent"),
            Self::Close(reason) => write!(f, "Close({reason})"),
        }
    }
}

/// A request whose first phase is done.
pub enum Started<E: Env> {
    /// Nothing to wait for.
    Done(Outcome<E>),
    /// Waits. Polled only once all requests before it on the connection have been answered.
    Later(Pin<Box<dyn Future<Output = Outcome<E>>>>),
}

/// Why a request ends its connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The frame is not a request that the protocol allows.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// What there is to say cannot be said in the request's version.
    #[error("no reply can be given: {0}")]
    Unanswerable(String),
    /// The API key or its version is not served.
    #[error("unsupported request: API key {key} version {version}")]
    Unsupported {
        /// The key.
        key: i16,
        /// The version.
        version: i16,
    },
    /// More topics and partitions than any sensible request names.
    #[error("a request of {entries} topics and partitions; at most {max} are taken")]
    TooManyEntries {
        /// How many.
        entries: usize,
        /// The bound.
        max: usize,
    },
    /// A produce request with acks=0 failed: closing is the only way to say so.
    #[error("a produce request with acks=0 failed")]
    UnansweredProduceFailed,
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}
