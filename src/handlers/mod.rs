//! Kafka semantics: one file for each API.
//!
//! Called by `server/` with one request at a time per connection; calls `shard/`, `partition/` and `metadata/`. A
//! handler runs in two phases. Phase 1 is synchronous and runs in the order in which requests arrived: it decodes,
//! checks and hands record batches to their logs. Phase 2 is a future that waits (for durability, for data, for the
//! metadata log) and encodes the reply; dropping it forgets the reply and undoes nothing.
//!
//! *What it does not do:* it never looks inside a record batch, never names a file or a socket, never logs an error
//! that it answers.

pub mod reply;

/// What the operator sets of Kafka's semantics. Names are Kafka's keys.
#[derive(Clone, Debug)]
pub struct Config {
    /// `node.id`, as clients see it in Metadata.
    pub node_id: i32,
    /// The host and port that Metadata names (`advertised.listeners`).
    pub advertised: (String, u16),
    /// `auto.create.topics.enable`.
    pub auto_create_topics_enable: bool,
    /// `num.partitions`: partitions of a topic made without a count.
    pub num_partitions: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: 1,
            advertised: ("127.0.0.1".to_owned(), 9092),
            auto_create_topics_enable: true,
            num_partitions: 1,
            fetch_max_bytes: crate::limits::FETCH_BYTES_MAX,
        }
    }
}
