//! Tests of the metadata image: what each record does to it.

use super::*;
use crate::metadata::records::{BrokerRegistrationChangeRecord, FeatureLevelRecord, ProducerIdsRecord};

const ID: TopicId = TopicId([7; 16]);

fn topic(name: &str, topic_id: TopicId) -> Record {
    Record::Topic(TopicRecord { name: name.to_owned(), topic_id })
}

fn partition(topic_id: TopicId, partition_id: i32) -> Record {
    let shard = Some(ShardId(1));
    Record::Partition(PartitionRecord {
        partition_id,
        topic_id,
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        shard,
        ..PartitionRecord::default()
    })
}

fn config(name: &str, value: Option<&str>) -> Record {
    Record::Config(ConfigRecord {
        resource_type: RESOURCE_TOPIC,
        resource_name: "a".to_owned(),
        name: name.to_owned(),
        value: value.map(str::to_owned),
    })
}

fn with(records: &[Record]) -> Image {
    let mut image = Image::default();
    image.apply(records, Offset(10)).expect("records that fit");
    image
}

#[test]
fn a_topic_is_found_by_name_and_by_id() {
    let image = with(&[topic("a", ID), partition(ID, 0), partition(ID, 1)]);
    let found = image.topic("a").expect("there");
    assert!(Arc::ptr_eq(found, image.topic_by_id(ID).expect("there")));
    assert_eq!((found.partitions.len(), image.partition_count()), (2, 2));
    assert_eq!(image.shard(PartitionId { topic_id: ID, partition: 1 }), Some(ShardId(1)));
    assert!(image.partition(PartitionId { topic_id: ID, partition: 2 }).is_none());
    assert!(image.partition(PartitionId { topic_id: ID, partition: -1 }).is_none());
    assert_eq!(image.next_offset(), Offset(10));
}

#[test]
fn a_removed_topic_leaves_nothing_and_its_name_may_come_again() {
    let mut image = with(&[topic("a", ID), partition(ID, 0), config("retention.ms", Some("5"))]);
    let next = TopicId([8; 16]);
    image.apply(&[Record::RemoveTopic(ID), topic("a", next)], Offset(12)).expect("fits");
    assert_eq!(image.partition_count(), 0);
    assert!(image.topic_by_id(ID).is_none());
    let again = image.topic("a").expect("made again");
    assert_eq!(again.id, next);
    assert!(again.configs.is_empty());
}

#[test]
fn naming_the_leader_raises_its_epoch_even_if_it_stays() {
    let mut image = with(&[topic("a", ID), partition(ID, 0)]);
    let mut change = PartitionChangeRecord::of(ID, 0);
    change.leader = 1;
    image.apply(&[Record::PartitionChange(change)], Offset(11)).expect("fits");
    let mut moved = PartitionChangeRecord::of(ID, 0);
    moved.shard = Some(ShardId(0));
    image.apply(&[Record::PartitionChange(moved)], Offset(12)).expect("fits");
    let partition = &image.topic("a").expect("there").partitions[0];
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (1, 1, 2));
    assert_eq!(partition.shard, Some(ShardId(0)));
}

#[test]
fn configs_are_resolved_as_they_change() {
    let mut image = with(&[topic("a", ID), config("retention.ms", Some("5"))]);
    assert_eq!(image.topic("a").expect("there").config.log.retention_ms, 5);
    image.apply(&[config("retention.ms", None)], Offset(12)).expect("fits");
    assert_eq!(image.topic("a").expect("there").config.log.retention_ms, 604_800_000);
}

#[test]
fn an_older_image_does_not_see_a_newer_ones_changes() {
    let old = with(&[topic("a", ID), partition(ID, 0)]);
    let mut new = old.clone();
    new.apply(&[partition(ID, 1), topic("b", TopicId([9; 16]))], Offset(20)).expect("fits");
    assert_eq!((old.partition_count(), old.topics().count()), (1, 1));
    assert_eq!((new.partition_count(), new.topics().count()), (2, 2));
}

#[test]
fn records_that_do_not_fit_are_errors() {
    let base = with(&[topic("a", ID), partition(ID, 0)]);
    let unknown = TopicId([9; 16]);
    let cases = [
        topic("a", unknown),
        partition(unknown, 0),
        partition(ID, 0),
        partition(ID, 2),
        Record::RemoveTopic(unknown),
        Record::PartitionChange(PartitionChangeRecord::of(ID, 1)),
        Record::PartitionChange(PartitionChangeRecord::of(unknown, 0)),
    ];
    for record in cases {
        assert!(base.clone().apply(std::slice::from_ref(&record), Offset(11)).is_err(), "{record:?}");
    }
}

#[test]
fn brokers_features_and_producer_ids_are_kept() {
    let register = RegisterBrokerRecord { broker_id: 1, fenced: true, ..RegisterBrokerRecord::default() };
    let unfence = BrokerRegistrationChangeRecord { broker_id: 1, fenced: -1, ..Default::default() };
    let level = FeatureLevelRecord { name: "metadata.version".to_owned(), feature_level: 30 };
    let image = with(&[
        Record::FeatureLevel(level),
        Record::RegisterBroker(register),
        Record::BrokerRegistrationChange(unfence),
        Record::ProducerIds(ProducerIdsRecord { broker_id: 1, broker_epoch: 1, next_producer_id: 1000 }),
        Record::NoOp,
    ]);
    assert_eq!((image.feature("metadata.version"), image.feature("kraft.version")), (30, 0));
    assert!(!image.broker(1).expect("registered").fenced);
    assert_eq!(image.next_producer_id(), 1000);
}
