//! Tests of changed configuration: records and refusals.

use std::sync::Arc;

use super::*;
use crate::metadata::records::TopicRecord;
use crate::types::{Offset, TopicId};

fn cluster() -> Cluster {
    Cluster {
        node_id: 1,
        num_partitions: 1,
        default_replication_factor: 1,
        shards: 1,
        directory_id: [0; 16],
        partitions_max: 10,
    }
}

fn image(configs: &[(&str, &str)]) -> Image {
    let mut image = Image::new(Arc::new(TopicDefaults::default()));
    let mut records = vec![Record::Topic(TopicRecord { name: "t".to_owned(), topic_id: TopicId([1; 16]) })];
    records.extend(configs.iter().map(|(name, value)| {
        let (resource_type, resource_name) = (RESOURCE_TOPIC, "t".to_owned());
        let (name, value) = ((*name).to_owned(), Some((*value).to_owned()));
        Record::Config(ConfigRecord { resource_type, resource_name, name, value })
    }));
    image.apply(&records, Offset(1)).expect("applies");
    image
}

fn change(image: &Image, resource: ConfigResource, change: Change) -> Result<Vec<(String, Option<String>)>, String> {
    let records = alter(image, &cluster(), &ConfigChange { resource, change }).map_err(|error| error.to_string())?;
    let config = |record: Record| match record {
        Record::Config(config) => (config.name, config.value),
        other => panic!("{other:?}"),
    };
    Ok(records.into_iter().map(config).collect())
}

fn topic() -> ConfigResource {
    ConfigResource::Topic("t".to_owned())
}

fn some(operations: &[(&str, ConfigOp)]) -> Change {
    Change::Some(operations.iter().map(|(name, op)| ((*name).to_owned(), op.clone())).collect())
}

fn set(value: &str) -> ConfigOp {
    ConfigOp::Set(Some(value.to_owned()))
}

#[test]
fn only_what_changes_is_recorded() {
    let image = image(&[("retention.ms", "5"), ("segment.ms", "9")]);
    let same = some(&[("retention.ms", set("5")), ("flush.ms", ConfigOp::Delete)]);
    assert_eq!(change(&image, topic(), same), Ok(vec![]));
    let changed = some(&[("retention.ms", set("6")), ("segment.ms", ConfigOp::Delete)]);
    let expected = vec![("retention.ms".to_owned(), Some("6".to_owned())), ("segment.ms".to_owned(), None)];
    assert_eq!(change(&image, topic(), changed), Ok(expected));
    let all = Change::All(vec![("segment.ms".to_owned(), Some("9".to_owned()))]);
    assert_eq!(change(&image, topic(), all), Ok(vec![("retention.ms".to_owned(), None)]));
}

#[test]
fn what_was_there_before_is_no_reason_to_refuse() {
    let image = image(&[("cleanup.policy", "compact"), ("of.another.version", "1")]);
    assert_eq!(change(&image, topic(), some(&[("retention.ms", set("5"))])).map(|records| records.len()), Ok(1));
    let refused = change(&image, topic(), some(&[("cleanup.policy", set("compact,delete"))]));
    assert!(refused.is_err_and(|text| text.contains("log compaction is not built yet")));
    assert_eq!(change(&image, topic(), some(&[("of.another.version", ConfigOp::Delete)])).map(|all| all.len()), Ok(1));
}

#[test]
fn lists_grow_and_shrink_by_items_once_each() {
    assert_eq!(changed_list("delete", "compact, delete,compact", true), "delete,compact");
    assert_eq!(changed_list("delete,compact", "compact,other", false), "delete");
    assert_eq!(changed_list("", "", true), "");
    let (appended, subtracted) = (ConfigOp::Append(None), ConfigOp::Subtract(None));
    let refused = change(&image(&[]), topic(), some(&[("cleanup.policy", appended), ("retention.ms", subtracted)]));
    assert_eq!(refused, Err("Null value not supported for : cleanup.policy, retention.ms".to_owned()));
}

#[test]
fn broker_values_reach_every_topic_and_only_the_possible_ones() {
    let mut image = image(&[]);
    let record = |resource_name: &str, name: &str, value: Option<&str>| {
        let (resource_name, name, value) = (resource_name.to_owned(), name.to_owned(), value.map(str::to_owned));
        Record::Config(ConfigRecord { resource_type: RESOURCE_BROKER, resource_name, name, value })
    };
    let retention = |image: &Image| image.topic("t").expect("made").config.log.retention_ms;
    image.apply(&[record("", "log.retention.ms", Some("7"))], Offset(2)).expect("applies");
    assert_eq!(retention(&image), 7);
    image.apply(&[record("1", "log.retention.ms", Some("8"))], Offset(3)).expect("applies");
    assert_eq!(retention(&image), 8);
    image.apply(&[record("1", "log.retention.ms", Some("of another version"))], Offset(4)).expect("applies");
    assert_eq!(retention(&image), 7);
    image.apply(&[record("", "log.retention.ms", None)], Offset(5)).expect("applies");
    assert_eq!(retention(&image), 604_800_000);
    let ours = ConfigResource::Broker("1".to_owned());
    let hours = change(&image, ours, some(&[("log.retention.hours", set("1"))]));
    assert_eq!(hours, Err("Cannot update these configs dynamically: [log.retention.hours]".to_owned()));
}
