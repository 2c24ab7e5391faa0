//! What CreateTopics, CreatePartitions and DeleteTopics come to: records, or Kafka's refusal in Kafka's words.
//!
//! Pure: decided against an image, without touching it. [`MetadataLog`](super::MetadataLog) calls these, appends the
//! records and applies them. The checks and their order are those of `ReplicationControlManager` and
//! `ControllerApis` 4.3.1, for a cluster of one broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::{PARTITIONS_A_TOPIC_MAX, PARTITIONS_MAX};
use crate::storage;
use crate::types::{PartitionId, TopicId};

use super::assignment::Assignment;
use super::config_key::ConfigError;
use super::image::{Image, Topic};
use super::names;
use super::records::{ConfigRecord, PartitionRecord, RESOURCE_TOPIC, Record, TopicRecord};

/// A topic to be made, as a client asks for it.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for `num.partitions`, or with assignments.
    pub num_partitions: i32,
    /// How many replicas; -1 for the default, or with assignments.
    pub replication_factor: i16,
    /// Partition and replicas, where the client assigns them by hand.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Configuration.
    pub configs: Vec<(String, Option<String>)>,
}

/// Partitions to be added.
#[derive(Clone, Debug, Default)]
pub struct NewPartitions {
    /// The topic.
    pub topic: String,
    /// How many there shall be in all.
    pub count: i32,
    /// The replicas of the new ones, where the client assigns them by hand.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// A topic by name or by id.
#[derive(Clone, Debug)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// What the decisions depend on beside the image.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `node.id` of the only broker.
    pub node_id: i32,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// Shards of this node.
    pub shards: u16,
    /// `directory.id` of the log directory.
    pub directory_id: [u8; 16],
    /// Partitions of the node at the most; never above [`PARTITIONS_MAX`].
    pub partitions_max: usize,
}

/// Why a topic operation is refused. The text is what the client reads, and Kafka's where Kafka has one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicError {
    /// INVALID_TOPIC_EXCEPTION.
    #[error("{0}")]
    InvalidName(String),
    /// TOPIC_ALREADY_EXISTS.
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    /// INVALID_REQUEST.
    #[error("{0}")]
    InvalidRequest(String),
    /// INVALID_PARTITIONS.
    #[error("{0}")]
    InvalidPartitions(String),
    /// INVALID_REPLICATION_FACTOR.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// INVALID_REPLICA_ASSIGNMENT.
    #[error("{0}")]
    InvalidAssignment(String),
    /// INVALID_CONFIG.
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    /// POLICY_VIOLATION: a bound of this node.
    #[error("{wanted} more partitions would make {total}; this node serves {max} at the most")]
    TooManyPartitions {
        /// Asked for.
        wanted: usize,
        /// With those that exist.
        total: usize,
        /// The bound.
        max: usize,
    },
    /// POLICY_VIOLATION: a bound of this node.
    #[error("{count} partitions of one topic; this node allows {max}")]
    TooManyOfATopic {
        /// Asked for in all.
        count: i32,
        /// The bound.
        max: i32,
    },
    /// UNKNOWN_TOPIC_OR_PARTITION, of one whose configuration is to be changed.
    #[error("The topic '{0}' does not exist.")]
    NoSuchTopic(String),
    /// UNKNOWN_TOPIC_OR_PARTITION.
    #[error("This server does not host this topic-partition.")]
    UnknownTopic,
    /// UNKNOWN_TOPIC_ID.
    #[error("This server does not host this topic ID.")]
    UnknownTopicId,
    /// KAFKA_STORAGE_ERROR: the metadata log takes no more records.
    #[error("the metadata log: {0}")]
    Storage(#[from] storage::Error),
}

/// The records of a new topic.
pub fn create(image: &Image, cluster: &Cluster, new: &NewTopic, topic_id: TopicId) -> Result<Vec<Record>, TopicError> {
    check_new_name(image, &new.name)?;
    let mut records = vec![Record::Topic(TopicRecord { name: new.name.clone(), topic_id })];
    records.extend(config_records(image, new)?);
    let count = if new.assignments.is_empty() { check_counts(cluster, new)? } else { check_assignments(cluster, new)? };
    check_bounds(image, cluster, count, count)?;
    let mut assignment = Assignment::of(image, cluster.shards);
    records.extend((0..count).map(|partition| partition_record(cluster, &mut assignment, topic_id, partition)));
    Ok(records)
}

/// The records of more partitions.
pub fn add_partitions(image: &Image, cluster: &Cluster, new: &NewPartitions) -> Result<Vec<Record>, TopicError> {
    let topic = image.topic(&new.topic).ok_or(TopicError::UnknownTopic)?;
    let current = partition_count(topic);
    if new.count == current {
        return Err(TopicError::InvalidPartitions(format!("Topic already has {current} partition(s).")));
    }
    if new.count < current {
        return Err(TopicError::InvalidPartitions(format!(
            "The topic {} currently has {current} partition(s); {} would not be an increase.",
            new.topic, new.count
        )));
    }
    let added = new.count - current;
    if let Some(assignments) = &new.assignments {
        if usize::try_from(added) != Ok(assignments.len()) {
            return Err(TopicError::InvalidAssignment(format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            )));
        }
        for replicas in assignments {
            check_replicas(cluster.node_id, replicas)?;
        }
    }
    check_bounds(image, cluster, added, new.count)?;
    let mut assignment = Assignment::of(image, cluster.shards);
    let partitions = current..new.count;
    Ok(partitions.map(|partition| partition_record(cluster, &mut assignment, topic.id, partition)).collect())
}

/// The topic that is to be deleted.
pub fn find<'a>(image: &'a Image, topic: &TopicRef) -> Result<&'a Arc<Topic>, TopicError> {
    match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(TopicError::UnknownTopic),
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(TopicError::UnknownTopicId),
    }
}

/// The identities of a topic's partitions, for those who open and close them.
#[must_use]
pub fn partition_ids(topic: &Topic) -> Vec<PartitionId> {
    topic.partition_ids().map(|(id, _)| id).collect()
}

fn partition_count(topic: &Topic) -> i32 {
    i32::try_from(topic.partitions.len()).expect("limits.rs bounds the partitions of a topic")
}

fn check_new_name(image: &Image, name: &str) -> Result<(), TopicError> {
    if name == names::CLUSTER_METADATA {
        return Err(TopicError::InvalidRequest(format!("Creation of internal topic {name} is prohibited.")));
    }
    if image.topic(name).is_some() {
        return Err(TopicError::Exists(name.to_owned()));
    }
    names::validate(name).map_err(TopicError::InvalidName)?;
    // Only names with one of the two characters can collide, and few topics have either.
    if name.contains(['.', '_']) {
        let key = names::collision_key(name);
        if let Some(other) = image.topics().find(|topic| names::collision_key(&topic.name) == key) {
            let text = format!("Topic '{name}' collides with existing topic: {}", other.name);
            return Err(TopicError::InvalidName(text));
        }
    }
    Ok(())
}

fn config_records(image: &Image, new: &NewTopic) -> Result<Vec<Record>, TopicError> {
    let mut own = BTreeMap::new();
    for (name, value) in &new.configs {
        let value = value.clone().ok_or_else(|| ConfigError::Null(name.clone()))?;
        own.insert(name.clone(), value);
    }
    image.defaults().resolve(&new.name, &own)?;
    let record = |(name, value): (String, String)| {
        let (resource_name, value) = (new.name.clone(), Some(value));
        Record::Config(ConfigRecord { resource_type: RESOURCE_TOPIC, resource_name, name, value })
    };
    Ok(own.into_iter().map(record).collect())
}

fn check_counts(cluster: &Cluster, new: &NewTopic) -> Result<i32, TopicError> {
    if new.replication_factor < -1 || new.replication_factor == 0 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(TopicError::InvalidReplicationFactor(text.to_owned()));
    }
    if new.num_partitions < -1 || new.num_partitions == 0 {
        let text = "Number of partitions was set to an invalid non-positive value.";
        return Err(TopicError::InvalidPartitions(text.to_owned()));
    }
    let replicas =
        if new.replication_factor == -1 { cluster.default_replication_factor } else { new.replication_factor };
    if replicas > 1 {
        return Err(TopicError::InvalidReplicationFactor(format!(
            "Unable to replicate the partition {replicas} time(s): The target replication factor of {replicas} cannot be \
             reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."
        )));
    }
    Ok(if new.num_partitions == -1 { cluster.num_partitions } else { new.num_partitions })
}

fn check_assignments(cluster: &Cluster, new: &NewTopic) -> Result<i32, TopicError> {
    if new.replication_factor != -1 {
        let text = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return Err(TopicError::InvalidRequest(text.to_owned()));
    }
    if new.num_partitions != -1 {
        let text = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return Err(TopicError::InvalidRequest(text.to_owned()));
    }
    let mut partitions: Vec<i32> = new.assignments.iter().map(|(partition, _)| *partition).collect();
    partitions.sort_unstable();
    if let Some(twice) = partitions.windows(2).find(|two| two[0] == two[1]) {
        let text = format!("Found multiple manual partition assignments for partition {}", twice[0]);
        return Err(TopicError::InvalidAssignment(text));
    }
    for (_, replicas) in &new.assignments {
        check_replicas(cluster.node_id, replicas)?;
    }
    if !(0..).zip(&partitions).all(|(expected, partition)| *partition == expected) {
        let text = "partitions should be a consecutive 0-based integer sequence";
        return Err(TopicError::InvalidAssignment(text.to_owned()));
    }
    i32::try_from(partitions.len())
        .map_err(|_| TopicError::TooManyOfATopic { count: i32::MAX, max: PARTITIONS_A_TOPIC_MAX })
}

/// Whether a partition can have these replicas: the one node, once.
pub fn check_replicas(node_id: i32, replicas: &[i32]) -> Result<(), TopicError> {
    let text = match replicas {
        [] => "The manual partition assignment includes an empty replica list.".to_owned(),
        [only] if *only == node_id => return Ok(()),
        many => match many.iter().find(|id| **id != node_id) {
            Some(unknown) => {
                format!("The manual partition assignment includes broker {unknown}, but no such broker is registered.")
            }
            None => format!("The manual partition assignment includes the broker {node_id} more than once."),
        },
    };
    Err(TopicError::InvalidAssignment(text))
}

fn check_bounds(image: &Image, cluster: &Cluster, added: i32, of_topic: i32) -> Result<(), TopicError> {
    if of_topic > PARTITIONS_A_TOPIC_MAX {
        return Err(TopicError::TooManyOfATopic { count: of_topic, max: PARTITIONS_A_TOPIC_MAX });
    }
    let wanted = usize::try_from(added).expect("checked to be positive");
    let (total, max) = (image.partition_count() + wanted, cluster.partitions_max.min(PARTITIONS_MAX));
    if total > max { Err(TopicError::TooManyPartitions { wanted, total, max }) } else { Ok(()) }
}

fn partition_record(cluster: &Cluster, assignment: &mut Assignment, topic_id: TopicId, partition_id: i32) -> Record {
    Record::Partition(PartitionRecord {
        partition_id,
        topic_id,
        replicas: vec![cluster.node_id],
        isr: vec![cluster.node_id],
        leader: cluster.node_id,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![cluster.directory_id],
        shard: Some(assignment.next()),
        ..PartitionRecord::default()
    })
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
