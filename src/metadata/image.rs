//! The image: what the records of the metadata log add up to, as one immutable value.
//!
//! Shard 0 applies records to a copy and publishes the result ([`MetadataLog`](super::MetadataLog)); every shard holds an
//! `Arc` of the newest one and reads it without asking anybody. A topic is shared between images until it changes, so
//! that a new image costs one pointer for each topic and nothing for each partition.
//!
//! **Invariants.** 1. Names and ids map one to one. 2. A topic's partitions are numbered from 0 without gaps (asserted by
//! [`Image::apply`]: a record that would break it is an error). 3. `partition_count` is the sum over topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::{Offset, PartitionId, ShardId, TopicId};

use super::records::{
    ConfigRecord, NO_LEADER_CHANGE, PartitionChangeRecord, PartitionRecord, RESOURCE_BROKER, RESOURCE_TOPIC, Record,
    RegisterBrokerRecord, TopicRecord,
};
use super::topic_config::{DynamicDefaults, TopicConfig, TopicDefaults};

/// All that the metadata log says, up to one offset.
#[derive(Clone, Debug, Default)]
pub struct Image {
    defaults: Arc<TopicDefaults>,
    next_offset: Offset,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    names: BTreeMap<TopicId, Arc<str>>,
    partition_count: usize,
    features: BTreeMap<String, i16>,
    brokers: BTreeMap<i32, Arc<RegisterBrokerRecord>>,
    broker_configs: BTreeMap<(String, String), String>,
    next_producer_id: i64,
}

/// One topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id: another one in each life of the name.
    pub id: TopicId,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionImage>,
    /// What was set of it.
    pub configs: BTreeMap<String, String>,
    /// What its partitions obey.
    pub config: TopicConfig,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// The broker that leads it, or -1.
    pub leader: i32,
    /// Raised whenever a leader is named, and at every start that was not a proven clean stop.
    pub leader_epoch: i32,
    /// Raised at every change of the partition.
    pub partition_epoch: i32,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub isr: Vec<i32>,
    /// The shard of this node that serves it; `None` in a log that another program wrote, until it is assigned.
    pub shard: Option<ShardId>,
}

/// A record that does not fit the image: the log is not what it should be, and the node must not go on.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A partition or a removal of a topic that does not exist.
    #[error("{record} of topic id {topic_id}, which does not exist")]
    UnknownTopic {
        /// The record's type.
        record: &'static str,
        /// The id.
        topic_id: TopicId,
    },
    /// A change of a partition that does not exist, or a partition that leaves a gap.
    #[error("{record} of partition {partition} of topic {topic}, which has {count} partitions")]
    UnknownPartition {
        /// The record's type.
        record: &'static str,
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// How many there are.
        count: usize,
    },
    /// A topic under a name that is taken.
    #[error("TopicRecord of {name} with id {new}, which exists with id {old}")]
    TopicExists {
        /// The name.
        name: Arc<str>,
        /// The id it has.
        old: TopicId,
        /// The id in the record.
        new: TopicId,
    },
}

impl Image {
    /// An image of nothing; topics resolve their configuration against `defaults`.
    #[must_use]
    pub fn new(defaults: Arc<TopicDefaults>) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// The operator's topic defaults.
    #[must_use]
    pub fn defaults(&self) -> &TopicDefaults {
        &self.defaults
    }

    /// Records of the metadata log below this offset are in the image.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// A topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// A partition by identity.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionImage> {
        self.topic_by_id(id.topic_id)?.partition(id.partition)
    }

    /// The shard that serves a partition.
    #[must_use]
    pub fn shard(&self, id: PartitionId) -> Option<ShardId> {
        self.partition(id)?.shard
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// A feature's level; 0 where it was never set.
    #[must_use]
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// A broker's registration.
    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&Arc<RegisterBrokerRecord>> {
        self.brokers.get(&id)
    }

    /// What was set of one broker, or of all of them (the empty name), while they ran.
    pub fn broker_configs(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let of_it = self.broker_configs.iter().filter(move |((of, _), _)| of == name);
        of_it.map(|((_, key), value)| (key.as_str(), value.as_str()))
    }

    /// The first producer id that no block holds yet.
    #[must_use]
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Takes the records of one batch, which ends before `next_offset`. All or none: on an error the image must be dropped.
    pub fn apply(&mut self, records: &[Record], next_offset: Offset) -> Result<(), ApplyError> {
        for record in records {
            self.apply_one(record)?;
        }
        if records
            .iter()
            .any(|record| matches!(record, Record::Config(config) if config.resource_type == RESOURCE_BROKER))
        {
            self.renew_defaults();
        }
        self.next_offset = next_offset;
        Ok(())
    }

    fn apply_one(&mut self, record: &Record) -> Result<(), ApplyError> {
        match record {
            Record::Topic(topic) => self.add_topic(topic)?,
            Record::Partition(partition) => self.add_partition(partition, record.name())?,
            Record::PartitionChange(change) => self.change_partition(change, record.name())?,
            Record::RemoveTopic(topic_id) => self.remove_topic(*topic_id, record.name())?,
            Record::Config(config) => self.set_config(config),
            Record::FeatureLevel(feature) if feature.feature_level == 0 => {
                self.features.remove(&feature.name);
            }
            Record::FeatureLevel(feature) => {
                self.features.insert(feature.name.clone(), feature.feature_level);
            }
            Record::ProducerIds(block) => self.next_producer_id = block.next_producer_id,
            Record::RegisterBroker(broker) => {
                self.brokers.insert(broker.broker_id, Arc::new(broker.clone()));
            }
            Record::BrokerRegistrationChange(change) => {
                if let Some(broker) = self.brokers.get_mut(&change.broker_id) {
                    let broker = Arc::make_mut(broker);
                    broker.fenced = (broker.fenced || change.fenced > 0) && change.fenced >= 0;
                    broker.in_controlled_shutdown |= change.in_controlled_shutdown > 0;
                }
            }
            Record::NoOp => {}
        }
        Ok(())
    }

    fn add_topic(&mut self, record: &TopicRecord) -> Result<(), ApplyError> {
        let name: Arc<str> = Arc::from(record.name.as_str());
        if let Some(old) = self.topics.get(&name) {
            return Err(ApplyError::TopicExists { name, old: old.id, new: record.topic_id });
        }
        let (config, _) = self.defaults.resolve_stored(&name, &BTreeMap::new());
        let topic = Topic {
            name: Arc::clone(&name),
            id: record.topic_id,
            partitions: Vec::new(),
            configs: BTreeMap::new(),
            config,
        };
        self.names.insert(topic.id, Arc::clone(&name));
        self.topics.insert(name, Arc::new(topic));
        Ok(())
    }

    fn topic_mut(&mut self, topic_id: TopicId, record: &'static str) -> Result<&mut Topic, ApplyError> {
        let topic = self.names.get(&topic_id).and_then(|name| self.topics.get_mut(name));
        topic.map(Arc::make_mut).ok_or(ApplyError::UnknownTopic { record, topic_id })
    }

    fn add_partition(&mut self, record: &PartitionRecord, name: &'static str) -> Result<(), ApplyError> {
        let topic = self.topic_mut(record.topic_id, name)?;
        let count = topic.partitions.len();
        if usize::try_from(record.partition_id) != Ok(count) {
            let (topic, partition) = (Arc::clone(&topic.name), record.partition_id);
            return Err(ApplyError::UnknownPartition { record: name, topic, partition, count });
        }
        topic.partitions.push(PartitionImage {
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            shard: record.shard,
        });
        self.partition_count += 1;
        Ok(())
    }

    fn change_partition(&mut self, change: &PartitionChangeRecord, name: &'static str) -> Result<(), ApplyError> {
        let topic = self.topic_mut(change.topic_id, name)?;
        let count = topic.partitions.len();
        let at = usize::try_from(change.partition_id).unwrap_or(usize::MAX);
        let Some(partition) = topic.partitions.get_mut(at) else {
            let (topic, partition) = (Arc::clone(&topic.name), change.partition_id);
            return Err(ApplyError::UnknownPartition { record: name, topic, partition, count });
        };
        if change.leader != NO_LEADER_CHANGE {
            partition.leader = change.leader;
            partition.leader_epoch += 1;
        }
        partition.partition_epoch += 1;
        if let Some(replicas) = &change.replicas {
            partition.replicas.clone_from(replicas);
        }
        if let Some(isr) = &change.isr {
            partition.isr.clone_from(isr);
        }
        if change.shard.is_some() {
            partition.shard = change.shard;
        }
        Ok(())
    }

    fn remove_topic(&mut self, topic_id: TopicId, record: &'static str) -> Result<(), ApplyError> {
        let name = self.names.remove(&topic_id).ok_or(ApplyError::UnknownTopic { record, topic_id })?;
        if let Some(topic) = self.topics.remove(&name) {
            self.partition_count -= topic.partitions.len();
        }
        Ok(())
    }

    /// What was set of the broker while it ran are defaults of every topic. A standalone node's image has one broker; what was set
    /// of a broker by its number was set of this one.
    fn renew_defaults(&mut self) {
        let mut dynamic = DynamicDefaults::default();
        for ((of, key), value) in &self.broker_configs {
            let layer = if of.is_empty() { &mut dynamic.all } else { &mut dynamic.broker };
            layer.insert(key.clone(), value.clone());
        }
        self.defaults = Arc::new(self.defaults.with_dynamic(dynamic));
        let (unset, _) = self.defaults.resolve_stored("", &BTreeMap::new());
        for topic in self.topics.values_mut() {
            let config = if topic.configs.is_empty() {
                unset.clone()
            } else {
                self.defaults.resolve_stored(&topic.name, &topic.configs).0
            };
            if topic.config != config {
                Arc::make_mut(topic).config = config;
            }
        }
    }

    /// A key of a topic that does not exist is kept by nobody: Kafka removes a topic's keys with it.
    fn set_config(&mut self, record: &ConfigRecord) {
        match record.resource_type {
            RESOURCE_TOPIC => {
                let Some(topic) = self.topics.get_mut(record.resource_name.as_str()) else { return };
                let topic = Arc::make_mut(topic);
                match &record.value {
                    Some(value) => topic.configs.insert(record.name.clone(), value.clone()),
                    None => topic.configs.remove(&record.name),
                };
                topic.config = self.defaults.resolve_stored(&topic.name, &topic.configs).0;
            }
            RESOURCE_BROKER => {
                let key = (record.resource_name.clone(), record.name.clone());
                match &record.value {
                    Some(value) => self.broker_configs.insert(key, value.clone()),
                    None => self.broker_configs.remove(&key),
                };
            }
            _ => {}
        }
    }
}

impl Topic {
    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, partition: i32) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    /// Whether its `cleanup.policy` deletes: of a topic that is only compacted nobody may.
    #[must_use]
    pub fn deletes_records(&self) -> bool {
        let policy = self.configs.get("cleanup.policy");
        policy.is_none_or(|policy| policy.split(',').any(|word| word.trim() == "delete"))
    }

    /// Its partitions with their identities.
    pub fn partition_ids(&self) -> impl Iterator<Item = (PartitionId, &PartitionImage)> {
        let topic_id = self.id;
        (0..).zip(&self.partitions).map(move |(partition, image)| (PartitionId { topic_id, partition }, image))
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
