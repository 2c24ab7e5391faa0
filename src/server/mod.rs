//! Sockets and bytes in flight: connections, framing, replies in order; the only writer to a socket.
//!
//! Called by `main` (through `cli/`) and by the whole-node simulation, through `node::Node`.

mod accept;
mod connection;
mod connections;
mod first;
mod mail;
pub mod metrics;
pub mod node;
mod peer_log;
mod receive;
mod reply;
mod report;
pub mod status;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::group;
use crate::handlers;
use crate::limits::{self, Memory};

/// What the operator sets of the node as a whole. Names are Kafka's keys.
#[derive(Clone, Debug)]
pub struct Config {
    /// `log.dirs`: the one data directory.
    pub log_dir: PathBuf,
    /// `node.id`, where the operator set one; else the directory's own, or 1.
    pub node_id: Option<i32>,
    /// Shards of this run: one for each core that the process may use.
    pub shards: usize,
    /// `--memory`.
    pub memory: Memory,
    /// `socket.request.max.bytes`.
    pub socket_request_max_bytes: usize,
    /// `connections.max.idle.ms`.
    pub connections_max_idle_ms: u64,
    /// `max.connections`.
    pub max_connections: usize,
    /// How long a clean stop may wait for replies under way before their connections are cut, in milliseconds.
    pub stop_wait_ms: u64,
    /// Take what the segments show as the truth where a journal is lost: `log close --salvage` sets it.
    pub salvage: bool,
    /// What handlers need to know.
    pub handlers: handlers::Config,
    /// What holds for consumer groups.
    pub groups: group::Config,
}

impl Config {
    /// Kafka's defaults over a data directory.
    #[must_use]
    pub fn new(log_dir: PathBuf, shards: usize, memory: Memory) -> Self {
        Self {
            log_dir,
            node_id: None,
            shards,
            memory,
            socket_request_max_bytes: limits::SOCKET_REQUEST_MAX_BYTES,
            connections_max_idle_ms: 600_000,
            max_connections: memory.connections_max(),
            stop_wait_ms: 5_000,
            salvage: false,
            handlers: handlers::Config::default(),
            groups: group::Config::default(),
        }
    }
}
