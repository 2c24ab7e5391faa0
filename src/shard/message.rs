//! What shards send each other: owned, `Send`, one message each way.

use std::sync::Arc;

use bytes::Bytes;

use crate::io::Env;
use crate::metadata::Image;
use crate::record::Records;

/// What goes through a mailbox.
pub enum ShardMessage<E: Env> {
    /// A request of another shard. It is answered exactly once, with its slot.
    Call {
        /// The caller's slot for the answer.
        slot: u32,
        /// What is asked.
        call: Call<E>,
    },
    /// The answer to a call of this shard.
    Answer {
        /// The slot that the call named.
        slot: u32,
        /// The answer.
        answer: Answer<E>,
    },
}

/// What one shard asks of another.
pub enum Call<E: Env> {
    /// Serve this socket. From shard 0.
    Connection(E::Socket),
    /// So many connections of the caller have ended. To shard 0.
    ConnectionsEnded(usize),
    /// Serve this image: answered when the partitions it assigns to the shard are open. From shard 0.
    Image(Arc<Image>),
    /// Handle this request, which only shard 0 can.
    Forward(Records),
    /// Make these topics with default settings, for a client that asked for their metadata. To shard 0.
    AutoCreate(Vec<String>),
}

/// What a shard answers to a call.
pub enum Answer<E: Env> {
    /// It is done.
    Done,
    /// The reply frame to a forwarded request; none where its connection is to be closed.
    Forward(Option<Bytes>),
    /// Replaces the unused parameter until fetches answer files.
    Unused(E::File),
}
