//! One core's world: the partitions it owns, the way to those of other shards, and its mailbox.
//!
//! Called by `handlers/`; calls `partition/`, `metadata/` and `storage/`. What may cross between shards is the owned,
//! `Send` content of [`ShardMessage`] and nothing else; everything here is `Rc` and `Cell` inside one thread.

use crate::io::Env;

/// What one shard sends to another through its mailbox.
#[derive(Debug)]
pub enum ShardMessage<E: Env> {
    /// A socket that shard 0 accepted, for the shard with fewest connections.
    Connection(E::Socket),
}
