//! The metadata log's only writer, on shard 0: decides, appends, and publishes what has become durable.
//!
//! `__cluster_metadata-0` is a storage log like any other; its batches are those of a KRaft leader, so that
//! `kafka-dump-log --cluster-metadata-decoder` prints each record.
//!
//! ```text
//!   an operation:  wait until the log takes its batch -> decide against `head` -> append, apply to `head`   (no await between)
//!                  -> durable -> publish -> answer
//! ```
//!
//! At every start the writer opens a new epoch (a LeaderChange control record), registers the broker, and puts right what
//! the stop left wrong: **where the stop was not proven clean, every partition's leader epoch rises** (a
//! PartitionChangeRecord that names the same leader, as a controller writes it after an unclean restart of a broker), and
//! partitions whose shard is gone get another one.
//!
//! **Durability.** An operation's future ends after its records are durable and published. **Cancellation.** Dropping it
//! undoes nothing: what was appended is published when it is durable.
//!
//! *What it does not do:* snapshots. The log is never shortened; a start reads all of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::io::local::{self, Notify};
use crate::io::{Env, Runtime, Slice};
use crate::record::build::{BatchBuilder, NewRecord};
use crate::record::{BatchHeader, Records};
use crate::storage::{self, Append, Log, LogConfig, Stamp};
use crate::types::{Offset, PartitionId, ShardId, TopicId, TopicPartition};

use super::assignment::Assignment;
use super::configs::{self, ConfigChange};
use super::control;
use super::identity::random_id;
use super::image::{Image, Topic};
use super::names::CLUSTER_METADATA;
use super::producer_ids::{BLOCK_IDS, ProducerIdBlock};
use super::records::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, FeatureLevelRecord, METADATA_VERSION,
    METADATA_VERSION_MIN, NO_LEADER_CHANGE, PartitionChangeRecord, ProducerIdsRecord, Record, RegisterBrokerRecord,
};
use super::replay::{MetadataError, Replay};
use super::topic_config::TopicDefaults;
use super::topics::{self, Cluster, NewPartitions, NewTopic, TopicError, TopicRef};

/// The metadata log's identity.
pub const METADATA_PARTITION: PartitionId = PartitionId { topic_id: TopicId::METADATA, partition: 0 };

/// The metadata log's name, hence its directory's.
#[must_use]
pub fn metadata_partition_name() -> TopicPartition {
    TopicPartition { topic: CLUSTER_METADATA.into(), partition: 0 }
}

/// What the metadata log obeys: nothing of it is ever deleted.
#[must_use]
pub fn metadata_log_config() -> LogConfig {
    LogConfig { retention_bytes: -1, retention_ms: -1, ..LogConfig::default() }
}

/// What this start of the node says of itself.
#[derive(Clone, Debug)]
pub struct Start {
    /// The last stop was proven clean.
    pub clean: bool,
    /// How the broker is reached.
    pub end_points: Vec<BrokerEndpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// The writer.
pub struct MetadataLog<E: Env> {
    rt: Rc<Runtime<E>>,
    log: Rc<Log<E>>,
    cluster: Cluster,
    epoch: i32,
    broker_epoch: Cell<i64>,
    /// All that was appended.
    head: RefCell<Image>,
    /// What is durable.
    published: RefCell<Arc<Image>>,
    changed: Notify,
}

impl<E: Env> MetadataLog<E> {
    /// Reads the log and makes it this start's. When it returns, the image is right for this node and durable.
    pub async fn open(
        rt: &Rc<Runtime<E>>,
        log: Rc<Log<E>>,
        defaults: Arc<TopicDefaults>,
        cluster: Cluster,
        start: Start,
    ) -> Result<Rc<Self>, MetadataError> {
        let Replay { image, epoch } = Replay::read(rt, &log, defaults).await?;
        let is_new = image.next_offset() == Offset::ZERO;
        let this = Rc::new(Self {
            rt: Rc::clone(rt),
            log,
            cluster,
            epoch: epoch + 1,
            broker_epoch: Cell::new(-1),
            published: RefCell::new(Arc::new(image.clone())),
            head: RefCell::new(image),
            changed: Notify::default(),
        });
        this.begin_epoch().await?;
        if is_new {
            let name = "metadata.version".to_owned();
            let level = FeatureLevelRecord { name, feature_level: METADATA_VERSION };
            this.append(vec![Record::FeatureLevel(level)]).await?;
        }
        this.register(&start).await?;
        this.put_right(start.clean).await?;
        this.publish_when_durable().await?;
        Ok(this)
    }

    /// The leader epoch of this start.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// What is durable.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.published.borrow())
    }

    /// Told whenever [`Self::image`] has become another one.
    #[must_use]
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// What the decisions depend on beside the image.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The log itself, for those who close it.
    #[must_use]
    pub fn log(&self) -> &Rc<Log<E>> {
        &self.log
    }

    /// Makes topics. Each is made or refused by itself; with `validate_only` none is made, and the answer is what it would
    /// be, with an id of zero.
    pub async fn create_topics(
        self: &Rc<Self>,
        new: &[NewTopic],
        validate_only: bool,
    ) -> Vec<Result<Arc<Topic>, TopicError>> {
        if validate_only {
            return self.validate_topics(new);
        }
        let mut made = Vec::with_capacity(new.len());
        for new in new {
            let topic_id = random_id(self.rt.env());
            let decide = |image: &Image| topics::create(image, &self.cluster, new, topic_id);
            made.push(self.decide(decide).await.map(|()| topic_id));
        }
        let durable = self.publish_when_durable().await;
        self.answer_topics(made, durable)
    }

    /// Adds partitions to topics, each by itself. With `validate_only` nothing is added.
    pub async fn create_partitions(
        self: &Rc<Self>,
        new: &[NewPartitions],
        validate_only: bool,
    ) -> Vec<Result<Arc<Topic>, TopicError>> {
        if validate_only {
            let head = self.head.borrow();
            let answer = |new: &NewPartitions| {
                topics::add_partitions(&head, &self.cluster, new)?;
                head.topic(&new.topic).cloned().ok_or(TopicError::UnknownTopic)
            };
            return new.iter().map(answer).collect();
        }
        let mut grown = Vec::with_capacity(new.len());
        for new in new {
            let topic_id = self.head.borrow().topic(&new.topic).map(|topic| topic.id);
            let decided = self.decide(|image| topics::add_partitions(image, &self.cluster, new)).await;
            grown.push(decided.and(topic_id.ok_or(TopicError::UnknownTopic)));
        }
        let durable = self.publish_when_durable().await;
        self.answer_topics(grown, durable)
    }

    /// Deletes topics, each by itself; answers what they were.
    pub async fn delete_topics(self: &Rc<Self>, refs: &[TopicRef]) -> Vec<Result<Arc<Topic>, TopicError>> {
        let mut deleted = Vec::with_capacity(refs.len());
        for topic in refs {
            let found = RefCell::new(None);
            let decide = |image: &Image| {
                let was = topics::find(image, topic)?;
                found.replace(Some(Arc::clone(was)));
                Ok(vec![Record::RemoveTopic(was.id)])
            };
            let decided = self.decide(decide).await;
            deleted.push(decided.and(found.take().ok_or(TopicError::UnknownTopic)));
        }
        if let Err(error) = self.publish_when_durable().await {
            return deleted.into_iter().map(|one| one.and(Err(error.clone().into()))).collect();
        }
        deleted
    }

    /// Changes configuration, of each resource by itself. With `validate_only` nothing is changed.
    pub async fn alter_configs(
        self: &Rc<Self>,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Vec<Result<(), TopicError>> {
        let decide = |image: &Image, change: &ConfigChange| configs::alter(image, &self.cluster, change);
        if validate_only {
            let head = self.head.borrow();
            return changes.iter().map(|change| decide(&head, change).map(drop)).collect();
        }
        let mut altered = Vec::with_capacity(changes.len());
        for change in changes {
            altered.push(self.decide(|image| decide(image, change)).await);
        }
        let durable = self.publish_when_durable().await;
        altered.into_iter().map(|one| one.and_then(|()| Ok(durable.clone()?))).collect()
    }

    /// Gives away the next block of producer ids.
    pub async fn allocate_producer_ids(self: &Rc<Self>) -> Result<ProducerIdBlock, TopicError> {
        let first = Cell::new(0);
        let decide = |image: &Image| {
            first.set(image.next_producer_id());
            let next_producer_id = first.get() + BLOCK_IDS;
            let (broker_id, broker_epoch) = (self.cluster.node_id, self.broker_epoch.get());
            Ok(vec![Record::ProducerIds(ProducerIdsRecord { broker_id, broker_epoch, next_producer_id })])
        };
        self.decide(decide).await?;
        self.publish_when_durable().await?;
        Ok(ProducerIdBlock::new(first.get()))
    }

    fn validate_topics(&self, new: &[NewTopic]) -> Vec<Result<Arc<Topic>, TopicError>> {
        let validate = |new: &NewTopic| {
            let mut image = self.head.borrow().clone();
            let records = topics::create(&image, &self.cluster, new, TopicId::ZERO)?;
            let next_offset = image.next_offset();
            image.apply(&records, next_offset).expect("decided against this image");
            Ok(Arc::clone(image.topic(&new.name).expect("just made")))
        };
        new.iter().map(validate).collect()
    }

    fn answer_topics(
        &self,
        ids: Vec<Result<TopicId, TopicError>>,
        durable: Result<(), storage::Error>,
    ) -> Vec<Result<Arc<Topic>, TopicError>> {
        let image = self.image();
        let answer = |id: Result<TopicId, TopicError>| {
            let topic_id = id?;
            durable.clone()?;
            // It may have been deleted again by another request.
            image.topic_by_id(topic_id).cloned().ok_or(TopicError::UnknownTopic)
        };
        ids.into_iter().map(answer).collect()
    }

    /// Appends what `decide` makes of the head. Decided again where the log had to be waited for.
    async fn decide(&self, decide: impl Fn(&Image) -> Result<Vec<Record>, TopicError>) -> Result<(), TopicError> {
        loop {
            let records = decide(&self.head.borrow())?;
            if records.is_empty() {
                return Ok(());
            }
            if self.try_append(&records).await? {
                return Ok(());
            }
        }
    }

    async fn append(&self, records: Vec<Record>) -> Result<(), MetadataError> {
        while !self.try_append(&records).await? {}
        Ok(())
    }

    /// Appends one batch of records and applies them to the head, both or neither. `false` where the log had to be waited for:
    /// then nothing was appended, and what was decided may be out of date.
    async fn try_append(&self, records: &[Record]) -> Result<bool, storage::Error> {
        let timestamp = self.rt.wall_ms();
        let values: Vec<NewRecord> =
            records.iter().map(|record| NewRecord::value(timestamp, record.encode())).collect();
        let batch = BatchBuilder::default().build(&values);
        let bytes = batch.len();
        match self.append_batch(batch) {
            Ok(next_offset) => {
                self.head.borrow_mut().apply(records, next_offset).expect("decided against this image");
                Ok(true)
            }
            Err(storage::Error::NotReady { .. }) => {
                self.log.make_ready(bytes).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn append_batch(&self, batch: Vec<u8>) -> Result<Offset, storage::Error> {
        let header = BatchHeader::read(&batch).expect("built here");
        let records = Records::from_chunks(vec![Slice::from(Bytes::from(batch))]);
        let append = Append { records: &records, header: &header, leader_epoch: self.epoch, stamp: Stamp::Create };
        Ok(self.log.append(append)?.last_offset.plus(1))
    }

    async fn begin_epoch(&self) -> Result<(), MetadataError> {
        let now_ms = self.rt.wall_ms();
        loop {
            let batch = control::leader_change(Offset::ZERO, self.epoch, self.cluster.node_id, now_ms);
            let bytes = batch.len();
            match self.append_batch(batch) {
                Ok(next_offset) => {
                    self.head.borrow_mut().apply(&[], next_offset).expect("nothing to apply");
                    return Ok(());
                }
                Err(storage::Error::NotReady { .. }) => self.log.make_ready(bytes).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Registers this start of the broker. Its epoch is the offset of the registration, as a controller gives it out.
    async fn register(&self, start: &Start) -> Result<(), MetadataError> {
        let broker_epoch = self.log.log_end_offset().0;
        self.broker_epoch.set(broker_epoch);
        let broker_id = self.cluster.node_id;
        let register = RegisterBrokerRecord {
            broker_id,
            incarnation_id: random_id(self.rt.env()).0,
            broker_epoch,
            end_points: start.end_points.clone(),
            features: vec![BrokerFeature {
                name: "metadata.version".to_owned(),
                min_supported_version: METADATA_VERSION_MIN,
                max_supported_version: METADATA_VERSION,
            }],
            rack: start.rack.clone(),
            fenced: true,
            log_dirs: vec![self.cluster.directory_id],
            ..RegisterBrokerRecord::default()
        };
        let unfence = BrokerRegistrationChangeRecord { broker_id, broker_epoch, fenced: -1, ..Default::default() };
        self.append(vec![Record::RegisterBroker(register), Record::BrokerRegistrationChange(unfence)]).await
    }

    /// Raises leader epochs after a stop that was not clean, and gives a shard to partitions without one.
    async fn put_right(&self, clean: bool) -> Result<(), MetadataError> {
        let changes = {
            let head = self.head.borrow();
            changes_at_start(&head, &self.cluster, clean)
        };
        for some in changes.chunks(RECORDS_A_BATCH) {
            self.append(some.to_vec()).await?;
        }
        Ok(())
    }

    /// Waits until all that was appended is durable, then publishes it. The waiting goes on if the caller is dropped.
    async fn publish_when_durable(self: &Rc<Self>) -> Result<(), storage::Error> {
        let image = Arc::new(self.head.borrow().clone());
        if image.next_offset() == self.published.borrow().next_offset() {
            return Ok(());
        }
        let this = Rc::clone(self);
        let (answer, answered) = local::oneshot();
        let publish = async move {
            let durable = this.log.wait_durable(image.next_offset()).await;
            if durable.is_ok() && this.published.borrow().next_offset() < image.next_offset() {
                this.published.replace(image);
                this.changed.notify_all();
            }
            answer.send(durable);
        };
        self.rt.spawn(publish).detach();
        answered.await.unwrap_or_else(|| Err(storage::Error::Closed { log: self.log.name().clone() }))
    }
}

/// What must be said of partitions when the node starts.
fn changes_at_start(image: &Image, cluster: &Cluster, clean: bool) -> Vec<Record> {
    let mut homeless: std::collections::BTreeMap<PartitionId, ShardId> =
        Assignment::homeless(image, cluster.shards).into_iter().collect();
    let mut changes = Vec::new();
    for (id, partition) in image.topics().flat_map(|topic| topic.partition_ids()) {
        let mut change = PartitionChangeRecord::of(id.topic_id, id.partition);
        if !clean || partition.leader != cluster.node_id {
            change.leader = cluster.node_id;
        }
        change.shard = homeless.remove(&id);
        if change.leader != NO_LEADER_CHANGE || change.shard.is_some() {
            changes.push(Record::PartitionChange(change));
        }
    }
    changes
}

/// Records of one batch at start: a few hundred KiB at the most.
const RECORDS_A_BATCH: usize = 4096;

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
