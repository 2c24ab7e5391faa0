//! The offsets that a group committed, by topic and partition.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::context::Context;
use super::effect::AppendId;
use super::records::OffsetCommitValue;
use super::versions::{Change, Versions, Weigh};
use crate::types::{Offset, TopicId};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) commit_timestamp: i64,
    /// -1: it expires as the group does.
    pub(super) expire_timestamp: i64,
    pub(super) topic_id: TopicId,
    pub(super) metadata: Box<str>,
}

/// What a committed offset costs beside the client's words: its place in a map, half of it empty at the worst.
pub(super) const OFFSET_BYTES: usize = 224;
/// What a topic costs in a group.
pub(super) const TOPIC_BYTES: usize = 128;

impl Weigh for Commit {
    fn heap_bytes(&self) -> usize {
        self.metadata.len()
    }
}

impl Commit {
    pub(super) fn of(value: &OffsetCommitValue<'_>) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: value.expire_timestamp,
            topic_id: value.topic_id,
            metadata: value.metadata.into(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: &self.metadata,
            commit_timestamp: self.commit_timestamp,
            expire_timestamp: self.expire_timestamp,
            topic_id: self.topic_id,
        }
        .encode()
    }
}

/// The partitions of one topic.
pub(super) type Partitions = BTreeMap<i32, Versions<Commit>>;

/// The offsets that a group committed.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    pub(super) topics: BTreeMap<Rc<str>, Partitions>,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Versions<Commit>> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Whether the partition has an offset, as the next decision sees it.
    pub(super) fn has(&self, topic: &str, partition: i32) -> bool {
        self.get(topic, partition).is_some_and(|versions| versions.latest().is_some())
    }

    /// The partitions that have an offset as the next decision sees it.
    pub(super) fn latest(&self) -> impl Iterator<Item = (&Rc<str>, i32, &Commit)> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            let latest = partitions.iter().filter_map(|(partition, versions)| Some((*partition, versions.latest()?)));
            latest.map(move |(partition, commit)| (topic, partition, commit))
        })
    }

    /// What it would cost to commit for a partition: nothing where there is an offset already.
    pub(super) fn cost_of(&self, topic: &str, partition: i32) -> usize {
        match self.topics.get(topic) {
            None => OFFSET_BYTES + TOPIC_BYTES + topic.len(),
            Some(partitions) if partitions.contains_key(&partition) => 0,
            Some(_) => OFFSET_BYTES,
        }
    }

    /// Notes what `id` appends. Says what that costs.
    pub(super) fn append(&mut self, topic: &Rc<str>, partition: i32, id: AppendId, value: Option<Commit>) -> usize {
        let cost = self.cost_of(topic, partition);
        let partitions = self.topics.entry(Rc::clone(topic)).or_default();
        cost + partitions.entry(partition).or_default().append(id, value)
    }

    /// What became of `id` for a partition.
    pub(super) fn settle(&mut self, (topic, partition): (&str, i32), id: AppendId, offset: Option<Offset>) -> Change {
        let Some(versions) = self.topics.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition)) else {
            return Change::default();
        };
        let mut change = versions.settle(id, offset);
        if versions.is_gone() {
            change.fewer += self.remove(topic, partition);
        }
        change
    }

    /// Takes in what the log holds, while it is read.
    pub(super) fn load(
        &mut self,
        cx: &mut Context,
        (topic, partition): (&str, i32),
        value: Option<Commit>,
        offset: Offset,
    ) -> Change {
        let Some(value) = value else {
            let known = self.topics.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition));
            let Some(mut change) = known.map(|versions| versions.load(None, offset)) else { return Change::default() };
            change.fewer += self.remove(topic, partition);
            return change;
        };
        let new_bytes = if let Some(partitions) = self.topics.get_mut(topic) {
            if let Some(versions) = partitions.get_mut(&partition) {
                return versions.load(Some(value), offset);
            }
            OFFSET_BYTES
        } else {
            self.topics.insert(cx.topic(topic), Partitions::new());
            OFFSET_BYTES + TOPIC_BYTES + topic.len()
        };
        let partitions = self.topics.get_mut(topic).expect("known, or just inserted");
        let mut change = partitions.entry(partition).or_default().load(Some(value), offset);
        change.more += new_bytes;
        change
    }

    /// Removes a partition that has no value and none on its way. Says what it cost.
    fn remove(&mut self, topic: &str, partition: i32) -> usize {
        let Some(partitions) = self.topics.get_mut(topic) else { return 0 };
        partitions.remove(&partition);
        if !partitions.is_empty() {
            return OFFSET_BYTES;
        }
        self.topics.remove(topic);
        OFFSET_BYTES + TOPIC_BYTES + topic.len()
    }
}
