//! Which shard serves which partition: chosen once, remembered in the partition's record, chosen again only when the
//! node no longer has the shard.
//!
//! Pure. Called by the topic operations and at start. A new partition goes to the shard that serves the fewest; on a tie
//! to the next one after the shard chosen last, so that a topic's partitions lie on different shards. Partitions of a
//! shard that exists stay where they are, also when shards are added: what is served where must not change because a
//! core was added, and new partitions even it out.

use std::collections::BTreeMap;

use crate::types::{PartitionId, ShardId};

use super::image::Image;

/// How many partitions each shard serves, while new ones are being given out.
#[derive(Clone, Debug)]
pub struct Assignment {
    counts: Vec<usize>,
    last: usize,
}

impl Assignment {
    /// The counts of `image` on a node of `shards` shards.
    #[must_use]
    pub fn of(image: &Image, shards: u16) -> Self {
        let shards = usize::from(shards.max(1));
        let mut counts = vec![0; shards];
        for topic in image.topics() {
            for shard in topic.partitions.iter().filter_map(|partition| partition.shard) {
                if let Some(count) = counts.get_mut(shard.index()) {
                    *count += 1;
                }
            }
        }
        Self { counts, last: shards - 1 }
    }

    /// The shard of one more partition.
    pub fn next(&mut self) -> ShardId {
        let shards = self.counts.len();
        let after_last = (1..=shards).map(|step| (self.last + step) % shards);
        let chosen = after_last.min_by_key(|shard| self.counts[*shard]).expect("there is at least one shard");
        self.counts[chosen] += 1;
        self.last = chosen;
        ShardId(u16::try_from(chosen).expect("made from a u16"))
    }

    /// The partitions of `image` that no shard of this node serves, each with the shard that will.
    pub fn homeless(image: &Image, shards: u16) -> Vec<(PartitionId, ShardId)> {
        let mut assignment = Self::of(image, shards);
        let served = |shard: &Option<ShardId>| shard.is_some_and(|shard| shard.0 < shards.max(1));
        let all = image.topics().flat_map(|topic| topic.partition_ids());
        all.filter(|(_, partition)| !served(&partition.shard)).map(|(id, _)| (id, assignment.next())).collect()
    }
}

/// The shard that serves each partition of `image` on a node of so many shards, once the metadata log is open.
#[must_use]
pub fn owners(image: &Image, shards: u16) -> BTreeMap<PartitionId, ShardId> {
    let all = image.topics().flat_map(|topic| topic.partition_ids());
    let known = all.filter_map(|(id, partition)| Some((id, partition.shard?)));
    known.chain(Assignment::homeless(image, shards)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::records::{PartitionChangeRecord, PartitionRecord, Record, TopicRecord};
    use crate::types::{Offset, TopicId};

    const ID: TopicId = TopicId([1; 16]);

    fn image(shards: &[Option<u16>]) -> Image {
        let mut image = Image::default();
        let mut records = vec![Record::Topic(TopicRecord { name: "t".to_owned(), topic_id: ID })];
        for (partition_id, shard) in (0..).zip(shards) {
            let shard = shard.map(ShardId);
            records.push(Record::Partition(PartitionRecord {
                partition_id,
                topic_id: ID,
                shard,
                ..PartitionRecord::default()
            }));
        }
        image.apply(&records, Offset(1)).expect("fits");
        image
    }

    #[test]
    fn a_topics_partitions_go_to_different_shards() {
        let mut assignment = Assignment::of(&image(&[]), 3);
        let chosen: Vec<u16> = (0..6).map(|_| assignment.next().0).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn the_emptiest_shard_comes_first() {
        let mut assignment = Assignment::of(&image(&[Some(0), Some(0), Some(2)]), 3);
        let chosen: Vec<u16> = (0..4).map(|_| assignment.next().0).collect();
        assert_eq!(chosen, [1, 2, 1, 2]);
    }

    #[test]
    fn partitions_of_shards_that_stay_do_not_move() {
        let before = image(&[Some(0), Some(1), Some(2), Some(3), None]);
        assert_eq!(Assignment::homeless(&before, 4).len(), 1);
        let moved = Assignment::homeless(&before, 2);
        let partitions: Vec<i32> = moved.iter().map(|(id, _)| id.partition).collect();
        assert_eq!(partitions, [2, 3, 4]);
        assert!(Assignment::homeless(&image(&[Some(0), Some(1)]), 8).is_empty(), "more shards move nothing");
    }

    proptest! {
        #[test]
        fn every_partition_finds_a_shard_and_none_is_overfull(
            shards in prop::collection::vec(prop::option::of(0..9_u16), 0..60),
            count in 1..6_u16,
        ) {
            let mut image = image(&shards);
            let moved = Assignment::homeless(&image, count);
            let changes: Vec<Record> = moved.iter().map(|(id, shard)| {
                let mut change = PartitionChangeRecord::of(id.topic_id, id.partition);
                change.shard = Some(*shard);
                Record::PartitionChange(change)
            }).collect();
            image.apply(&changes, Offset(2)).expect("fits");
            prop_assert!(Assignment::homeless(&image, count).is_empty());
            let counts = Assignment::of(&image, count).counts;
            prop_assert_eq!(counts.iter().sum::<usize>(), shards.len());
            // A shard that was given a partition had no more than any other at that moment.
            if let Some((_, last)) = moved.last() {
                prop_assert!(counts[last.index()] <= counts.iter().min().copied().unwrap_or(0) + 1);
            }
        }
    }
}
