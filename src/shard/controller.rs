//! Shard 0's part as controller: topic operations, and images to every shard.
//!
//! An operation is answered when its records are durable *and* every shard serves by an image that holds them, so that a
//! client whose topic was made finds it wherever its next connection goes.
//!
//! **Invariant.** Images reach every shard in the order of their offsets, one at a time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::{Call, Shard};
use crate::io::Env;
use crate::io::local::Notify;
use crate::metadata::configs::ConfigChange;
use crate::metadata::names::CONSUMER_OFFSETS;
use crate::metadata::{MetadataLog, NewPartitions, NewTopic, ProducerIdBlock, Topic, TopicError, TopicRef};
use crate::types::Offset;

/// The controller of a standalone node. Lives on shard 0.
pub struct Controller<E: Env> {
    shard: Rc<Shard<E>>,
    metadata: Rc<MetadataLog<E>>,
    /// Every shard serves by the metadata log up to here.
    applied: Cell<Offset>,
    applied_changed: Notify,
    producer_ids: RefCell<ProducerIdBlock>,
}

/// What `__consumer_offsets` is made with. Names are Kafka's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsTopic {
    /// `offsets.topic.num.partitions`.
    pub num_partitions: i32,
    /// `offsets.topic.segment.bytes`.
    pub segment_bytes: i32,
}

impl Default for OffsetsTopic {
    fn default() -> Self {
        Self { num_partitions: 50, segment_bytes: 104_857_600 }
    }
}

/// What became of one topic.
pub type TopicResult = Result<Arc<Topic>, TopicError>;

impl<E: Env> Controller<E> {
    /// A controller whose shards all serve by the metadata log's present image. [`Self::follow`] must run.
    #[must_use]
    pub fn new(shard: Rc<Shard<E>>, metadata: Rc<MetadataLog<E>>) -> Rc<Self> {
        let applied = Cell::new(metadata.image().next_offset());
        Rc::new(Self { shard, metadata, applied, applied_changed: Notify::default(), producer_ids: RefCell::default() })
    }

    /// The metadata log.
    #[must_use]
    pub fn metadata(&self) -> &Rc<MetadataLog<E>> {
        &self.metadata
    }

    /// Makes topics; see [`MetadataLog::create_topics`].
    pub async fn create_topics(&self, new: &[NewTopic], validate_only: bool) -> Vec<TopicResult> {
        let made = self.metadata.create_topics(new, validate_only).await;
        self.wait_applied().await;
        made
    }

    /// Makes topics of default settings for a client that asked for them; answers which could not be made. One that another
    /// client made meanwhile is there as wanted.
    pub async fn auto_create(&self, names: &[String]) -> Vec<(String, TopicError)> {
        let new = |name: &String| NewTopic {
            name: name.clone(),
            num_partitions: -1,
            replication_factor: -1,
            ..NewTopic::default()
        };
        let new: Vec<NewTopic> = names.iter().map(new).collect();
        let made = self.create_topics(&new, false).await;
        let refused = names.iter().zip(made).filter_map(|(name, made)| Some((name.clone(), made.err()?)));
        refused.filter(|(_, error)| !matches!(error, TopicError::Exists(_))).collect()
    }

    /// Makes the topic of the group coordinators, unless it is there.
    pub async fn make_offsets_topic(&self, wanted: &OffsetsTopic) -> Result<(), TopicError> {
        let config = |name: &str, value: String| (name.to_owned(), Some(value));
        let new = NewTopic {
            name: CONSUMER_OFFSETS.to_owned(),
            num_partitions: wanted.num_partitions,
            replication_factor: 1,
            configs: vec![
                config("cleanup.policy", "compact".to_owned()),
                config("compression.type", "producer".to_owned()),
                config("segment.bytes", wanted.segment_bytes.to_string()),
            ],
            ..NewTopic::default()
        };
        match self.create_topics(&[new], false).await.pop() {
            None | Some(Ok(_) | Err(TopicError::Exists(_))) => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    /// Adds partitions; see [`MetadataLog::create_partitions`].
    pub async fn create_partitions(&self, new: &[NewPartitions], validate_only: bool) -> Vec<TopicResult> {
        let grown = self.metadata.create_partitions(new, validate_only).await;
        self.wait_applied().await;
        grown
    }

    /// Deletes topics; see [`MetadataLog::delete_topics`].
    pub async fn delete_topics(&self, topics: &[TopicRef]) -> Vec<TopicResult> {
        let deleted = self.metadata.delete_topics(topics).await;
        self.wait_applied().await;
        deleted
    }

    /// Changes configuration; see [`MetadataLog::alter_configs`]. Every shard obeys it when this returns.
    pub async fn alter_configs(&self, changes: &[ConfigChange], validate_only: bool) -> Vec<Result<(), TopicError>> {
        let altered = self.metadata.alter_configs(changes, validate_only).await;
        self.wait_applied().await;
        altered
    }

    /// A producer id that nobody had before.
    pub async fn next_producer_id(&self) -> Result<i64, TopicError> {
        loop {
            let id = self.producer_ids.borrow_mut().take();
            if let Some(id) = id {
                return Ok(id);
            }
            // Two that ask at once get a block each; the rest of the one replaced is lost, as after a restart.
            let block = self.metadata.allocate_producer_ids().await?;
            self.producer_ids.replace(block);
        }
    }

    /// Brings every new image to every shard, for as long as the shard lives.
    pub async fn follow(self: Rc<Self>) {
        loop {
            let changed = self.metadata.changed().wait();
            let image = self.metadata.image();
            if image.next_offset() == self.applied.get() {
                changed.await;
                continue;
            }
            let mut calls = Vec::new();
            for other in self.shard.router().others() {
                self.shard.router().wait_for_room(other).await;
                calls.push(self.shard.router().call(other, Call::Image(Arc::clone(&image))));
            }
            self.shard.apply(Arc::clone(&image)).await;
            for call in calls {
                call.await;
            }
            self.applied.set(image.next_offset());
            self.applied_changed.notify_all();
        }
    }

    async fn wait_applied(&self) {
        let durable = self.metadata.image().next_offset();
        loop {
            let changed = self.applied_changed.wait();
            if self.applied.get() >= durable {
                return;
            }
            changed.await;
        }
    }
}
