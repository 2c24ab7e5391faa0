//! Ringmain: a log storage node for Linux that speaks the Apache Kafka protocol.
pub mod cli;
pub mod config;
pub mod handlers;
pub mod io;
pub mod limits;
pub mod metadata;
pub mod partition;
pub mod protocol;
pub mod record;
pub mod server;
pub mod shard;
pub mod storage;
pub mod types;
