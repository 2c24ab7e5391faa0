//! Ringmain: a log storage node for Linux that speaks the Apache Kafka protocol.
//!
//! This page is the map. Each module's own page says what it is, who calls it, and what must hold there.
//!
//! # One fact
//!
//! The bytes that a producer sends are the bytes on disk are the bytes that a consumer receives. Every module is before
//! that fact (decode, route), is it (append, index), or is after it (range, send). An append writes twelve header bytes
//! that lie outside the checksum; nobody decompresses, re-encodes or walks records on the hot path.
//!
//! # Shape
//!
//! ```text
//!              client sockets (one listener; accepted sockets go to the shard with fewest)
//!                   |                    |                    |
//!    core 0   +-----------+      +-----------+       +-----------+   one pinned thread per core, one io_uring each;
//!             |  shard 0  |<---->|  shard 1  |<----->|  shard N  |   bounded mailboxes between shards;
//!             +-----------+      +-----------+       +-----------+   nothing else is shared
//!               partitions         partitions          partitions   a partition lives on exactly one shard
//!                   |                    |                    |
//!      commit journal + segment files, O_DIRECT, overwrites only; up to 3 windows in flight, one flush each
//! ```
//!
//! Housekeeping (a few threads, one of them a glommio executor that writes the zeros of new segments) does whatever may block:
//! preparing segments, opening, renaming, deleting, checkpoints, decoding a batch for an offset by time. Another thread answers HTTP (metrics, health) from what the
//! shards have written down of themselves.
//!
//! # Layers
//!
//! A module imports from lines below its own, never from its own line or above; `tests/it/tidy.rs` checks it.
//!
//! | layer | modules | what it knows |
//! |---|---|---|
//! | 11 | [`cli`] | what people type: serve, topics, produce, consume, groups, bench, gate, log, doctor |
//! | 10 | [`mod@bench`] | the load generator, the floor, the gate: a node seen from outside |
//! | 9 | `client` | a Kafka client on blocking sockets, for the commands that talk to a node |
//! | 8 | [`config`] | Kafka's keys from file, environment and flags, merged into each module's own `Config` |
//! | 7 | [`server`] | connections, frames, replies in order; the only writer to a socket |
//! | 6 | [`handlers`] | Kafka's semantics, one file per API |
//! | 5 | [`shard`] | one core's world: its partitions and group coordinators, the way to those of other shards, its mailbox |
//! | 4 | [`partition`], [`metadata`], [`group`] | a log with Kafka's meaning; the image of topics and its records; consumer groups and their offsets |
//! | 3 | [`storage`] | the log on disk: segments, journal, commit windows, recovery, retention |
//! | 2 | [`protocol`] | the wire codec: hot views, cold codec, API keys, error codes |
//! | 1 | [`record`] | a record batch as a checked view over bytes |
//! | 0 | [`io`] | `Env`, the pump, rings, buffers, files, sockets, the simulator; all `unsafe` |
//! | - | [`types`], [`limits`] | newtypes; every bound with its arithmetic |
//!
//! # Invariants that are absences
//!
//! Storage never sees a request. Protocol never sees a file. Handlers never look inside a batch. Record bytes are copied
//! by one function, [`io::copy`]. No lock is shared between shards. Nothing logs an error that it returns. Nothing above
//! `io` names a system call, a thread or a clock: everything is generic over one parameter, [`io::Env`], so that the
//! seeded simulator can stand in for the kernel.
//!
//! # A record's way
//!
//! ```text
//! Produce   server::connection -> handlers::produce -> shard (0 or 1 hop) -> partition.append -> storage: log, window
//!           socket <- server::reply <- handlers::produce <= written (acks=1) or durable (acks=all)
//! Fetch     server::connection -> handlers::fetch -> shard (0 or 1 hop) -> partition.fetch -> storage: read plan
//!           socket <- server::reply: bytes in memory by send, file ranges by sendfile <= where the batches are
//! Group     server::connection -> handlers::{join_group, offset_commit, ...} -> shard::groups (0 or 1 hop) -> group: decides
//!           socket <- server::reply <- handlers <= when it may be seen <- its records in __consumer_offsets, durable
//! ```
//!
//! # Where to start reading
//!
//! [`storage`] for the layout and the contract of durability, [`record`] for the batch, `handlers/produce.rs` and
//! `handlers/fetch.rs` for the two straight lines, `server/connection.rs` for order, [`io`] for the kernel.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "drives other processes by real time and threads"
)]
pub mod bench;
pub mod cli;
#[expect(clippy::disallowed_methods, reason = "a client runs on real time and threads: no simulator is beneath it")]
mod client;
pub mod config;
pub mod group;
pub mod handlers;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what the rest may not name is what this folder is made of"
)]
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
