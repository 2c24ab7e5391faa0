//! From an image to the partitions of one shard: those it assigns here are open, those it lost are gone.

use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use crate::io::Env;
use crate::metadata::{Image, TopicConfig};
use crate::partition::{self, Partition};
use crate::storage::{Log, NewLog};
use crate::types::TopicPartition;

impl<E: Env> Shard<E> {
    /// Opens, changes and closes partitions until they are those of `image`, then serves by it. A partition whose log
    /// cannot be made is logged and not served; its clients are told to come back.
    pub async fn apply(self: &Rc<Self>, image: Arc<Image>) {
        let kept = |partition: &Rc<Partition<E>>| image.partition(partition.id()).is_some();
        for partition in self.partitions().into_iter().filter(|partition| !kept(partition)) {
            self.remove(partition.id());
            partition.close();
            if let Err(error) = self.store().delete_log(partition.id()).await {
                tracing::error!(partition = %partition.name(), "cannot delete a partition: {error}");
            }
        }
        let me = self.rt().shard();
        let (mut new, mut served) = (Vec::new(), Vec::new());
        for topic in image.topics() {
            let config = partition_config(&topic.config);
            for (id, assigned) in topic.partition_ids().filter(|(_, assigned)| assigned.shard == Some(me)) {
                if let Some(partition) = self.partition(id) {
                    partition.set_leader_epoch(assigned.leader_epoch);
                    partition.set_config(config.clone());
                    continue;
                }
                let name = TopicPartition { topic: Arc::clone(&topic.name), partition: id.partition };
                new.push(NewLog { id, name: name.clone(), config: config.log.clone() });
                served.push((name, config.clone(), assigned.leader_epoch));
            }
        }
        if !new.is_empty() {
            let made = self.store().create_logs(new).await;
            for (made, (name, config, leader_epoch)) in made.into_iter().zip(served) {
                match made {
                    Ok(log) => self.open_partition(log, config, leader_epoch),
                    Err(error) => tracing::error!(partition = %name, "cannot make a partition: {error}"),
                }
            }
        }
        let old = self.image();
        self.set_image(Arc::clone(&image));
        self.follow_groups(&old, &image);
    }
}

impl<E: Env> Shard<E> {
    /// Serves a log of this shard's store as a partition.
    pub fn open_partition(&self, log: Rc<Log<E>>, config: partition::Config, leader_epoch: i32) {
        let id = log.id();
        let state = self.store().take_state(id);
        let partition = Partition::open(self.rt(), log, config, leader_epoch, &state, self.shared());
        let of = Rc::downgrade(&partition);
        let state_of = move || of.upgrade().map(|partition| partition.state()).unwrap_or_default();
        self.store().set_state_of(id, Rc::new(state_of));
        self.add(partition);
    }
}

/// What a partition obeys of its topic's configuration.
#[must_use]
pub fn partition_config(topic: &TopicConfig) -> partition::Config {
    partition::Config {
        log: topic.log.clone(),
        max_message_bytes: topic.max_message_bytes,
        log_append_time: topic.log_append_time,
        timestamp_before_max_ms: topic.timestamp_before_max_ms,
        timestamp_after_max_ms: topic.timestamp_after_max_ms,
        min_insync_replicas: topic.min_insync_replicas,
    }
}
