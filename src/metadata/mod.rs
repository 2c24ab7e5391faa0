//! The image of the cluster's metadata, the records it is made of, and the log that holds them.
//!
//! Shard 0 writes ([`MetadataLog`]); every shard reads an immutable [`Image`]. Called by `shard/` and `handlers/`; calls
//! `storage/`, `record/` and `io/`.
//!
//! ```text
//!   CreateTopics ... --> MetadataLog (shard 0) --> batch of records --> __cluster_metadata-0, durable
//!                              |                                              |
//!                              +-- head image (appended)      published image (durable) --> every shard
//! ```
//!
//! **Invariants.** 1. A published image holds only records that are durable. 2. Records reach the log in the order in
//! which they were decided, each decided against an image that holds all before it. 3. A batch is applied as a whole or not
//! at all.

mod assignment;
mod broker_config;
mod broker_records;
pub mod config_key;
pub mod configs;
mod control;
pub mod identity;
pub mod image;
mod log;
pub mod names;
pub mod producer_ids;
pub mod records;
mod replay;
pub mod topic_config;
pub mod topic_keys;
pub mod topics;
mod wire;

pub use assignment::owners;
pub use config_key::ConfigError;
pub use identity::Identity;
pub use image::{Image, PartitionImage, Topic};
pub use log::{METADATA_PARTITION, MetadataLog, Start, metadata_log_config, metadata_partition_name};
pub use producer_ids::ProducerIdBlock;
pub use replay::{MetadataError, stored_image};
pub use topic_config::{ConfigEntry, ConfigSource, DynamicDefaults, TopicConfig, TopicDefaults};
pub use topics::{Cluster, NewPartitions, NewTopic, TopicError, TopicRef};
