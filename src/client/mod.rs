//! A Kafka client for the commands that talk to a node over the network: `topics`, `groups`, `produce`, `consume`.
//!
//! ```text
//!   connection   one socket: ApiVersions first, then frames; a version that both sides know for each request
//!   cluster      bootstrap address -> brokers, leaders of a topic, coordinator of a group, offsets
//!   producer     batches, partitions, in-flight requests, retries, sequences
//!   consumer     fetches per leader, positions, membership of a group
//! ```
//! Blocking sockets and threads: a command owns its process. Nothing here prints; errors are values of [`Error`], and
//! every wait looks at a [`Stop`] at least ten times a second.
//!
//! **Invariants.** 1. It asks for nothing that the node's ApiVersions did not show, so it works against Apache Kafka
//! too. 2. No bytes from the network make it panic.

pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod consumer;
mod error;
pub(crate) mod producer;
mod stop;
mod wire;

pub(crate) use cluster::Cluster;
pub(crate) use connection::Connection;
pub(crate) use error::{Code, Error, accept, code_name};
pub(crate) use stop::Stop;

/// What the node's log and its quotas know these commands by.
pub(crate) const CLIENT_ID: &str = "ringmain-cli";
