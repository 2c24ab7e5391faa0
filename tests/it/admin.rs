//! The APIs of administration over raw connections: codes, orders of answers, odd and hostile requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use ringmain::protocol::ApiKey;
use ringmain::protocol::cold::{KafkaString, Request, decode_response, encode_request};
use ringmain::protocol::cold::{
    alter_client_quotas_request as alter_quotas, alter_configs_request as whole,
    alter_partition_reassignments_request as reassign, alter_replica_log_dirs_request as move_dirs,
    alter_user_scram_credentials_request as alter_scram, create_acls_request as create_acls,
    create_topics_request as create, delete_acls_request as delete_acls, delete_records_request as delete,
    describe_acls_request as describe_acls, describe_client_quotas_request as quotas,
    describe_configs_request as describe, describe_log_dirs_request as dirs, describe_producers_request as producers,
    describe_topic_partitions_request as pages, describe_user_scram_credentials_request as scram,
    elect_leaders_request as elect, incremental_alter_configs_request as alter,
    list_config_resources_request as resources, list_offsets_request as offsets,
    list_partition_reassignments_request as reassigned,
};

use crate::node::{Node, PROGRAM, scratch};
use crate::raw::{Raw, batch, fetch_frame, is_served};

fn ask<R: Request>(raw: &mut Raw, request: &R) -> R::Response {
    raw.send(&encode_request(8, "admin", request).expect("encodes"));
    let frame = raw.receive().expect("an answer").split_off(4);
    decode_response::<R>(frame.into()).expect("decodes").1
}

fn text(of: &str) -> KafkaString {
    KafkaString::from(of.to_owned())
}

fn make(raw: &mut Raw, topic: &str, num_partitions: i32, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| create::CreatableTopicConfig {
        name: text(name),
        value: Some(text(value)),
        ..Default::default()
    };
    let new = create::CreatableTopic {
        name: text(topic),
        num_partitions,
        replication_factor: -1,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    let made = ask(raw, &create::CreateTopicsRequestData { topics: vec![new], timeout_ms: 5000, ..Default::default() });
    assert_eq!(made.topics[0].error_code, 0, "{made:?}");
}

fn delete_before(raw: &mut Raw, asked: &[(&str, i32, i64)]) -> Vec<(i16, i64)> {
    let topic = |(name, partition_index, offset): &(&str, i32, i64)| delete::DeleteRecordsTopic {
        name: text(name),
        partitions: vec![delete::DeleteRecordsPartition {
            partition_index: *partition_index,
            offset: *offset,
            ..Default::default()
        }],
        ..Default::default()
    };
    let topics = asked.iter().map(topic).collect();
    let answer = ask(raw, &delete::DeleteRecordsRequestData { topics, timeout_ms: 5000, ..Default::default() });
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|one| (one.error_code, one.low_watermark)).collect()
}

fn offset(raw: &mut Raw, topic: &str, timestamp: i64) -> i64 {
    let partitions = vec![offsets::ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() }];
    let topics = vec![offsets::ListOffsetsTopic { name: text(topic), partitions, ..Default::default() }];
    let answer = ask(raw, &offsets::ListOffsetsRequestData { replica_id: -1, topics, ..Default::default() });
    answer.topics[0].partitions[0].offset
}

/// Error code of a Fetch (version 4).
fn fetch_code(raw: &mut Raw, topic: &str, from: i64) -> i16 {
    raw.send(&fetch_frame(topic, from, 1 << 20));
    let frame = raw.receive().expect("an answer");
    // length, correlation, throttle, count, name, count, index, error
    let error = 4 + 4 + 4 + 4 + 2 + topic.len() + 4 + 4;
    i16::from_be_bytes([frame[error], frame[error + 1]])
}

#[test]
fn deleted_records_stay_deleted_when_the_node_is_killed_after_the_answer() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    make(&mut raw, "gone", 2, &[]);
    make(&mut raw, "kept", 1, &[("flush.messages", "2")]);
    for _ in 0..10 {
        assert_eq!(raw.produce(-1, "gone", 0, &batch(10, 500)), Some(0));
    }
    assert_eq!(raw.produce(-1, "kept", 0, &batch(10, 10)), Some(0));
    assert_eq!(delete_before(&mut raw, &[("gone", 0, 101), ("gone", 0, -2)])[0], (1, -1), "above the end");
    assert_eq!(
        delete_before(&mut raw, &[("gone", 0, 55), ("gone", 1, -1), ("kept", 0, -1), ("gone", 2, 0), ("not", 0, 0)]),
        [(0, 55), (0, 0), (0, 10), (3, -1), (3, -1)]
    );
    assert_eq!(delete_before(&mut raw, &[("gone", 0, 20)]), [(0, 55)], "never lower");
    node.kill();
    for clean in [true, false] {
        node = Node::start(dir.path());
        let mut raw = Raw::connect(node.address);
        assert_eq!(offset(&mut raw, "gone", -2), 55);
        assert_eq!(offset(&mut raw, "gone", -1), 100);
        assert_eq!(offset(&mut raw, "gone", 0), 55, "no deleted record is found by its time");
        assert_eq!(offset(&mut raw, "gone", -3), 55, "nor as the latest");
        assert_eq!((fetch_code(&mut raw, "gone", 54), fetch_code(&mut raw, "gone", 55)), (1, 0));
        assert_eq!((offset(&mut raw, "kept", -2), offset(&mut raw, "kept", -1)), (10, 10));
        if clean {
            node.stop();
        }
    }
    let mut raw = Raw::connect(node.address);
    assert_eq!(raw.produce(-1, "kept", 0, &batch(1, 10)), Some(0));
    assert_eq!((offset(&mut raw, "kept", -2), offset(&mut raw, "kept", -1)), (10, 11));
    assert_eq!(delete_before(&mut raw, &[("kept", 0, -1), ("gone", 0, 70)]), [(0, 11), (0, 70)]);
    node.kill();
    // The files that Kafka reads say it, too.
    let data = dir.path().join("data");
    for command in ["close", "verify"] {
        let done = Command::new(PROGRAM).args(["log", command]).arg(&data).output().expect("the program runs");
        assert!(done.status.success(), "{done:?}");
    }
    let mut starts: Vec<String> = std::fs::read_to_string(data.join("log-start-offset-checkpoint"))
        .expect("written")
        .lines()
        .skip(2)
        .map(str::to_owned)
        .collect();
    starts.sort();
    assert_eq!(starts, ["gone 0 70", "kept 0 11"]);
}

/// Key, operation, value.
type Operation<'a> = (&'a str, i8, Option<&'a str>);
/// Type and name of a resource, and what becomes of it.
type Change<'a> = (i8, &'a str, Vec<Operation<'a>>);

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn alter(raw: &mut Raw, changes: &[Change<'_>], validate_only: bool) -> Vec<(i16, String)> {
    let resource = |(resource_type, name, configs): &Change<'_>| alter::AlterConfigsResource {
        resource_type: *resource_type,
        resource_name: text(name),
        configs: configs
            .iter()
            .map(|(name, config_operation, value)| alter::AlterableConfig {
                name: text(name),
                config_operation: *config_operation,
                value: value.map(text),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let resources = changes.iter().map(resource).collect();
    let answer =
        ask(raw, &alter::IncrementalAlterConfigsRequestData { resources, validate_only, ..Default::default() });
    assert_eq!(answer.responses.len(), changes.len());
    let named = answer.responses.iter().map(|one| (one.resource_type, one.resource_name.as_str().to_owned()));
    assert!(named.eq(changes.iter().map(|(kind, name, _)| (*kind, (*name).to_owned()))), "in the request's order");
    let shown = |message: &Option<KafkaString>| message.as_ref().map(|text| text.as_str().to_owned());
    answer.responses.iter().map(|one| (one.error_code, shown(&one.error_message).unwrap_or_default())).collect()
}

/// Value and source of each setting, and those that it hides as (name, value, source).
type Shown = BTreeMap<String, (Option<String>, i8, Vec<(String, String, i8)>, bool)>;

fn described(raw: &mut Raw, resource_type: i8, name: &str) -> Result<Shown, (i16, String)> {
    let resource = describe::DescribeConfigsResource { resource_type, resource_name: text(name), ..Default::default() };
    let request = describe::DescribeConfigsRequestData {
        resources: vec![describe::DescribeConfigsResource { configuration_keys: None, ..resource }],
        include_synonyms: true,
        ..Default::default()
    };
    let answer = ask(raw, &request).results.remove(0);
    if answer.error_code != 0 {
        return Err((
            answer.error_code,
            answer.error_message.map_or_else(String::new, |text| text.as_str().to_owned()),
        ));
    }
    let owned = |text: &KafkaString| text.as_str().to_owned();
    let entry = |entry: &ringmain::protocol::cold::describe_configs_response::DescribeConfigsResourceResult| {
        let synonyms = entry.synonyms.iter();
        let synonyms =
            synonyms.map(|one| (owned(&one.name), one.value.as_ref().map_or_else(String::new, owned), one.source));
        (
            owned(&entry.name),
            (entry.value.as_ref().map(owned), entry.config_source, synonyms.collect(), entry.read_only),
        )
    };
    Ok(answer.configs.iter().map(entry).collect())
}

/// Changes of a topic that are refused, with Kafka's code and text.
const REFUSED: [(Operation<'_>, i16, &str); 6] = [
    (
        ("retention.bytes", SET, Some("abc")),
        40,
        "Invalid value abc for configuration retention.bytes: Not a number of type LONG",
    ),
    (
        ("segment.bytes", SET, Some("1")),
        40,
        "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576",
    ),
    (("retentoin.bytes", SET, Some("1")), 40, "Unknown topic config name: retentoin.bytes"),
    (("retention.bytes", APPEND, Some("1")), 40, "Can't APPEND to key retention.bytes because its type is not LIST."),
    (("retention.bytes", SET, None), 42, "Null value not supported for : retention.bytes"),
    (("retention.bytes", 9, Some("1")), 42, "Unknown operation type 9"),
];

#[test]
fn topic_configs_are_changed_checked_and_kept() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    make(&mut raw, "t", 2, &[("retention.ms", "1000000")]);
    let one =
        |raw: &mut Raw, change: (&str, i8, Option<&str>)| alter(raw, &[(TOPIC, "t", vec![change])], false).remove(0);
    assert_eq!(
        alter(
            &mut raw,
            &[(TOPIC, "t", vec![("max.message.bytes", SET, Some("300")), ("retention.ms", DELETE, None)])],
            false
        ),
        [(0, String::new())]
    );
    // Both shards obey before the answer.
    for partition in 0..2 {
        assert_eq!(raw.produce(-1, "t", partition, &batch(1, 1000)), Some(10), "MESSAGE_TOO_LARGE");
    }
    for (change, code, message) in REFUSED {
        assert_eq!(one(&mut raw, change), (code, message.to_owned()));
    }
    let compacted = one(&mut raw, ("cleanup.policy", APPEND, Some("compact")));
    assert_eq!(compacted.0, 40, "what has no effect is not taken: {compacted:?}");
    assert!(compacted.1.contains("cleanup.policy") && compacted.1.contains("delete"), "{compacted:?}");
    assert_eq!(one(&mut raw, ("cleanup.policy", SUBTRACT, Some("compact"))).0, 0);
    assert_eq!(one(&mut raw, ("retentoin.bytes", DELETE, None)).0, 0, "as Kafka: there is nothing to delete");
    let many = alter(
        &mut raw,
        &[
            (TOPIC, "not", vec![("retention.bytes", SET, Some("1"))]),
            (TOPIC, "no pe", vec![]),
            (TOPIC, "", vec![]),
            (TOPIC, "__cluster_metadata", vec![]),
            (TOPIC, "t", vec![("retention.bytes", SET, Some("1")), ("retention.bytes", SET, Some("2"))]),
            (GROUP, "g", vec![("consumer.session.timeout.ms", SET, Some("1"))]),
            (METRICS, "m", vec![("interval.ms", SET, Some("1"))]),
            (LOGGER, "1", vec![("kafka", SET, Some("DEBUG"))]),
            (77, "x", vec![]),
        ],
        false,
    );
    assert_eq!(many.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [3, 17, 42, 3, 42, 40, 42, 40, 42], "{many:?}");
    let twice = alter(&mut raw, &[(TOPIC, "t", vec![]), (TOPIC, "t", vec![])], false);
    assert!(twice.iter().all(|(code, text)| *code == 42 && text == "Each resource must appear at most once."));
    assert_eq!(
        alter(&mut raw, &[(TOPIC, "t", vec![("retention.bytes", SET, Some("77"))])], true),
        [(0, String::new())]
    );
    node.kill();
    node = Node::start(dir.path());
    let shown = described(&mut Raw::connect(node.address), TOPIC, "t").expect("described");
    assert_eq!(shown["max.message.bytes"].0.as_deref(), Some("300"));
    assert_eq!((shown["max.message.bytes"].1, shown["retention.ms"].1, shown["retention.bytes"].1), (1, 5, 5));
    node.stop();
}

#[test]
fn a_whole_change_replaces_all_that_was_set() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    make(&mut raw, "t", 1, &[("retention.ms", "1000000"), ("segment.bytes", "2000000")]);
    let config = |name: &str, value: Option<&str>| whole::AlterableConfig {
        name: text(name),
        value: value.map(text),
        ..Default::default()
    };
    let mut alter = |configs: Vec<whole::AlterableConfig>, validate_only: bool| {
        let resources = vec![whole::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: text("t"),
            configs,
            ..Default::default()
        }];
        let request = whole::AlterConfigsRequestData { resources, validate_only, ..Default::default() };
        ask(&mut raw, &request).responses[0].error_code
    };
    assert_eq!(alter(vec![config("retention.ms", None)], false), 42);
    assert_eq!(alter(vec![config("retention.ms", Some("x"))], false), 40);
    assert_eq!(alter(vec![], true), 0);
    assert_eq!(
        alter(vec![config("retention.bytes", Some("5000")), config("segment.bytes", Some("2000000"))], false),
        0
    );
    let shown = described(&mut raw, TOPIC, "t").expect("described");
    let sources = ["retention.ms", "segment.bytes", "retention.bytes"].map(|name| shown[name].1);
    assert_eq!(sources, [5, 1, 1]);
    node.stop();
}

#[test]
fn broker_configs_are_defaults_of_every_topic_in_kafkas_order() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    make(&mut raw, "t", 2, &[]);
    make(&mut raw, "own", 1, &[("max.message.bytes", "5000")]);
    let set = |raw: &mut Raw, broker: &str, key: &str, value: &str| {
        alter(raw, &[(BROKER, broker, vec![(key, SET, Some(value))])], false).remove(0)
    };
    assert_eq!(set(&mut raw, "", "message.max.bytes", "300").0, 0);
    for partition in 0..2 {
        assert_eq!(raw.produce(-1, "t", partition, &batch(1, 1000)), Some(10));
    }
    assert_eq!(raw.produce(-1, "own", 0, &batch(1, 1000)), Some(0), "its own setting is stronger");
    assert_eq!(set(&mut raw, "1", "message.max.bytes", "2000").0, 0);
    assert_eq!(raw.produce(-1, "t", 0, &batch(1, 1000)), Some(0), "the broker's own is stronger");
    let refused = [
        ("1", "log.dirs", "/x", "Cannot update these configs dynamically: [log.dirs]"),
        ("", "log.retention.hours", "1", "Cannot update these configs dynamically: [log.retention.hours]"),
        ("1", "num.io.threads", "4", "Cannot update these configs dynamically: [num.io.threads]"),
        ("1", "log.retention.ms", "x", "Invalid value x for configuration log.retention.ms: Not a number of type LONG"),
        (
            "1",
            "log.segment.bytes",
            "1",
            "Invalid value 1 for configuration log.segment.bytes: Value must be at least 1048576",
        ),
        ("2", "log.retention.ms", "1", "Unexpected broker id, expected 1, but received 2"),
        ("x", "log.retention.ms", "1", "Node id must be an integer, but it is: x"),
    ];
    for (broker, key, value, message) in refused {
        assert_eq!(set(&mut raw, broker, key, value), (42, message.to_owned()));
    }
    let appended = alter(&mut raw, &[(BROKER, "1", vec![("log.retention.ms", APPEND, Some("4"))])], false);
    assert_eq!(appended, [(40, "Config value append is not allowed for config key: log.retention.ms".to_owned())]);
    node.kill();
    node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    let expected = [("300", 3), ("2000", 2)];
    let synonyms: Vec<(String, String, i8)> = expected
        .iter()
        .rev()
        .map(|(value, source)| ("message.max.bytes".to_owned(), (*value).to_owned(), *source))
        .chain([("message.max.bytes".to_owned(), "1048588".to_owned(), 5)])
        .collect();
    let topic = described(&mut raw, TOPIC, "t").expect("described");
    assert_eq!(topic["max.message.bytes"], (Some("2000".to_owned()), 2, synonyms.clone(), false));
    let broker = described(&mut raw, BROKER, "1").expect("described");
    assert_eq!(broker["message.max.bytes"], (Some("2000".to_owned()), 2, synonyms, false));
    assert!(broker["log.dirs"].3, "read-only");
    let all = described(&mut raw, BROKER, "").expect("described");
    assert_eq!(all.keys().collect::<Vec<_>>(), ["message.max.bytes"]);
    assert_eq!((all["message.max.bytes"].1, all["message.max.bytes"].2.len()), (3, 1));
    assert_eq!(raw.produce(-1, "t", 1, &batch(1, 3000)), Some(10), "obeyed after a start, too");
    let gone = alter(
        &mut raw,
        &[(BROKER, "1", vec![("message.max.bytes", DELETE, None), ("never.set", DELETE, None)])],
        false,
    );
    assert_eq!(gone[0].0, 0);
    assert_eq!(described(&mut raw, TOPIC, "t").expect("described")["max.message.bytes"].1, 3);
    assert_eq!(described(&mut raw, BROKER, "2").expect_err("not this one").0, 42);
    assert_eq!(described(&mut raw, LOGGER, "1"), Ok(Shown::new()));
    assert_eq!(described(&mut raw, LOGGER, "").expect_err("refused").0, 42);
    assert_eq!(described(&mut raw, GROUP, "g"), Ok(Shown::new()));
    assert_eq!(described(&mut raw, GROUP, ""), Err((42, "Group name must not be empty".to_owned())));
    assert_eq!(described(&mut raw, METRICS, "m"), Ok(Shown::new()));
    node.stop();
}

#[test]
fn config_resources_are_listed_by_type() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    make(&mut raw, "t", 1, &[]);
    let mut list = |resource_types: Vec<i8>| {
        let answer = ask(&mut raw, &resources::ListConfigResourcesRequestData { resource_types, ..Default::default() });
        let mut listed: Vec<(i8, String)> = answer
            .config_resources
            .iter()
            .map(|one| (one.resource_type, one.resource_name.as_str().to_owned()))
            .collect();
        listed.sort();
        (answer.error_code, listed)
    };
    let named = |kind: i8, name: &str| (kind, name.to_owned());
    assert_eq!(list(vec![]), (0, vec![named(TOPIC, "t"), named(BROKER, "1"), named(LOGGER, "1")]));
    assert_eq!(list(vec![TOPIC]), (0, vec![named(TOPIC, "t")]));
    assert_eq!(list(vec![GROUP, METRICS]), (0, vec![]));
    assert_eq!(list(vec![3]), (35, vec![]));
    node.stop();
}

#[test]
fn the_log_directory_is_described_and_nothing_moves_out_of_it() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    make(&mut raw, "t", 2, &[]);
    let bytes = batch(10, 500);
    assert_eq!(raw.produce(-1, "t", 0, &bytes), Some(0));
    let all = ask(&mut raw, &dirs::DescribeLogDirsRequestData { topics: None, ..Default::default() });
    let [found] = &all.results[..] else { panic!("one directory: {all:?}") };
    let data = dir.path().join("data").display().to_string();
    assert_eq!((found.error_code, found.log_dir.as_str()), (0, data.as_str()));
    assert!(found.total_bytes > found.usable_bytes && found.usable_bytes > 0, "{found:?}");
    let sizes = |found: &ringmain::protocol::cold::describe_log_dirs_response::DescribeLogDirsResult| {
        let partitions = found.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|one| (one.partition_index, one.partition_size, one.offset_lag)).collect::<Vec<_>>()
    };
    let size = i64::try_from(bytes.len()).expect("small");
    assert_eq!(sizes(found), [(0, size, 0), (1, 0, 0)]);
    let topic = |name: &str, partitions: &[i32]| dirs::DescribableLogDirTopic {
        topic: text(name),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    let topics = Some(vec![topic("t", &[0, 0, 7, -1]), topic("not", &[0])]);
    let some = ask(&mut raw, &dirs::DescribeLogDirsRequestData { topics, ..Default::default() });
    assert_eq!(sizes(&some.results[0]), [(0, size, 0)]);
    let mut alter = |path: &str, name: &str, partition: i32| {
        let topics = vec![move_dirs::AlterReplicaLogDirTopic {
            name: text(name),
            partitions: vec![partition],
            ..Default::default()
        }];
        let dirs = vec![move_dirs::AlterReplicaLogDir { path: text(path), topics, ..Default::default() }];
        let answer = ask(&mut raw, &move_dirs::AlterReplicaLogDirsRequestData { dirs, ..Default::default() });
        answer.results[0].partitions[0].error_code
    };
    assert_eq!((alter(&data, "t", 0), alter("/elsewhere", "t", 0), alter("data", "t", 0)), (0, 57, 57));
    assert_eq!((alter(&data, "t", 2), alter(&data, "not", 0)), (3, 3));
    node.stop();
}

#[test]
fn topics_are_described_page_by_page() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    for (name, partitions) in [("a", 3), ("b", 1), ("c", 2)] {
        make(&mut raw, name, partitions, &[]);
    }
    let mut page = |names: &[&str], limit: i32, cursor: Option<(&str, i32)>| {
        let topics = names.iter().map(|name| pages::TopicRequest { name: text(name), ..Default::default() }).collect();
        let cursor = cursor.map(|(topic, partition_index)| {
            Box::new(pages::Cursor { topic_name: text(topic), partition_index, ..Default::default() })
        });
        let request = pages::DescribeTopicPartitionsRequestData {
            topics,
            response_partition_limit: limit,
            cursor,
            ..Default::default()
        };
        let answer = ask(&mut raw, &request);
        let shown: Vec<(String, i16, Vec<i32>)> = answer
            .topics
            .iter()
            .map(|topic| {
                let name = topic.name.as_ref().map_or_else(String::new, |name| name.as_str().to_owned());
                (name, topic.error_code, topic.partitions.iter().map(|one| one.partition_index).collect())
            })
            .collect();
        (shown, answer.next_cursor.map(|next| (next.topic_name.as_str().to_owned(), next.partition_index)))
    };
    let topic = |name: &str, partitions: &[i32]| (name.to_owned(), 0, partitions.to_vec());
    let next = |name: &str, partition: i32| Some((name.to_owned(), partition));
    let whole = vec![topic("a", &[0, 1, 2]), topic("b", &[0]), topic("c", &[0, 1])];
    assert_eq!(page(&[], 100, None), (whole.clone(), None));
    assert_eq!(page(&["c", "a", "b", "a"], 100, None), (whole, None), "sorted, each once");
    assert_eq!(page(&[], 2, None), (vec![topic("a", &[0, 1])], next("a", 2)));
    assert_eq!(page(&[], 2, Some(("a", 2))), (vec![topic("a", &[2]), topic("b", &[0])], next("c", 0)));
    assert_eq!(page(&[], 2, Some(("c", 0))), (vec![topic("c", &[0, 1])], None));
    assert_eq!(page(&[], 3, None), (vec![topic("a", &[0, 1, 2])], next("b", 0)));
    assert_eq!(page(&[], 100, Some(("aa", 0))), (vec![topic("b", &[0]), topic("c", &[0, 1])], None));
    assert_eq!(page(&[], 100, Some(("c", 9))), (vec![topic("c", &[])], None));
    assert_eq!(page(&[], -5, None), (vec![topic("a", &[0])], next("a", 1)), "at least one");
    let refused = [("not", 3), ("no pe", 17), ("__cluster_metadata", 3)];
    for (name, code) in refused {
        assert_eq!(page(&[name], 5, None), (vec![(name.to_owned(), code, vec![])], None));
    }
    assert_eq!(page(&["a"], 5, Some(("a", -1))), (vec![("a".to_owned(), 42, vec![])], None));
    node.stop();
}

#[test]
fn what_one_node_need_not_do_is_answered_as_kafka_answers_it() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    make(&mut raw, "t", 1, &[]);
    let mut elections = |election_type: i8, asked: Option<Vec<(&str, i32)>>| {
        let topic = |(name, partition): (&str, i32)| elect::TopicPartitions {
            topic: text(name),
            partitions: vec![partition],
            ..Default::default()
        };
        let topic_partitions = asked.map(|asked| asked.into_iter().map(topic).collect());
        let answer = ask(
            &mut raw,
            &elect::ElectLeadersRequestData { election_type, topic_partitions, timeout_ms: 1, ..Default::default() },
        );
        let results = answer.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        (answer.error_code, results.map(|one| one.error_code).collect::<Vec<_>>())
    };
    assert_eq!(elections(0, Some(vec![("t", 0), ("t", 5), ("not", 0)])), (0, vec![84, 3, 3]));
    assert_eq!(elections(1, Some(vec![("t", 0)])), (0, vec![84]));
    assert_eq!(elections(0, None), (0, vec![]));
    assert_eq!(elections(7, None), (42, vec![]));
    let mut reassigned = |name: &str, partition_index: i32, replicas: Option<Vec<i32>>| {
        let partitions = vec![reassign::ReassignablePartition { partition_index, replicas, ..Default::default() }];
        let topics = vec![reassign::ReassignableTopic { name: text(name), partitions, ..Default::default() }];
        let request = reassign::AlterPartitionReassignmentsRequestData { topics, timeout_ms: 1, ..Default::default() };
        let answer = ask(&mut raw, &request);
        assert_eq!(answer.error_code, 0);
        answer.responses[0].partitions[0].error_code
    };
    assert_eq!(reassigned("t", 0, Some(vec![1])), 0);
    assert_eq!([vec![2], vec![1, 1], vec![], vec![-1], vec![1, 2]].map(|to| reassigned("t", 0, Some(to))), [39; 5]);
    assert_eq!((reassigned("t", 0, None), reassigned("t", 1, None), reassigned("not", 0, Some(vec![1]))), (85, 3, 3));
    let listed =
        ask(&mut raw, &reassigned::ListPartitionReassignmentsRequestData { topics: None, ..Default::default() });
    assert_eq!((listed.error_code, listed.topics.len()), (0, 0));
    let topic = producers::TopicRequest { name: text("t"), partition_indexes: vec![0, 3], ..Default::default() };
    let known = ask(&mut raw, &producers::DescribeProducersRequestData { topics: vec![topic], ..Default::default() });
    let codes: Vec<(i16, usize)> =
        known.topics[0].partitions.iter().map(|one| (one.error_code, one.active_producers.len())).collect();
    assert_eq!(codes, [(0, 0), (3, 0)]);
    node.stop();
}

#[test]
fn security_and_quotas_say_that_they_are_not_there() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut raw = Raw::connect(node.address);
    assert_eq!(ask(&mut raw, &describe_acls::DescribeAclsRequestData::default()).error_code, 54);
    let creations = vec![create_acls::AclCreation::default(); 2];
    let created = ask(&mut raw, &create_acls::CreateAclsRequestData { creations, ..Default::default() });
    assert_eq!(created.results.iter().map(|one| one.error_code).collect::<Vec<_>>(), [54, 54]);
    let filters = vec![delete_acls::DeleteAclsFilter::default()];
    let deleted = ask(&mut raw, &delete_acls::DeleteAclsRequestData { filters, ..Default::default() });
    assert_eq!(deleted.filter_results.iter().map(|one| one.error_code).collect::<Vec<_>>(), [54]);
    let none = ask(&mut raw, &quotas::DescribeClientQuotasRequestData::default());
    assert_eq!((none.error_code, none.entries.map(|entries| entries.len())), (0, Some(0)));
    let entity = vec![alter_quotas::EntityData { entity_type: text("user"), entity_name: None, ..Default::default() }];
    let ops = vec![alter_quotas::OpData { key: text("producer_byte_rate"), value: 1.0, ..Default::default() }];
    let entries = vec![alter_quotas::EntryData { entity, ops, ..Default::default() }];
    let refused = ask(&mut raw, &alter_quotas::AlterClientQuotasRequestData { entries, ..Default::default() });
    assert_eq!((refused.entries[0].error_code, refused.entries[0].entity.len()), (35, 1));
    let user = |name: &str| scram::UserName { name: text(name), ..Default::default() };
    let users = Some(vec![user("a"), user("b"), user("a")]);
    let found = ask(&mut raw, &scram::DescribeUserScramCredentialsRequestData { users, ..Default::default() });
    let codes: Vec<(&str, i16)> = found.results.iter().map(|one| (one.user.as_str(), one.error_code)).collect();
    assert_eq!(codes, [("a", 92), ("b", 91)]);
    let all = ask(&mut raw, &scram::DescribeUserScramCredentialsRequestData { users: None, ..Default::default() });
    assert_eq!((all.error_code, all.results.len()), (0, 0));
    let altered = ask(
        &mut raw,
        &alter_scram::AlterUserScramCredentialsRequestData {
            deletions: vec![alter_scram::ScramCredentialDeletion {
                name: text("a"),
                mechanism: 1,
                ..Default::default()
            }],
            upsertions: vec![alter_scram::ScramCredentialUpsertion { name: text("b"), ..Default::default() }],
            ..Default::default()
        },
    );
    assert_eq!(altered.results.iter().map(|one| one.error_code).collect::<Vec<_>>(), [91, 35]);
    node.stop();
}

/// The APIs of this file.
const KEYS: [ApiKey; 19] = [
    ApiKey::DeleteRecords,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::DescribeClientQuotas,
    ApiKey::AlterClientQuotas,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::AlterUserScramCredentials,
    ApiKey::DescribeProducers,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

/// Every version with bodies that end early, or say that they hold what no memory could: the connection is answered or closed,
/// and nobody else is disturbed.
#[test]
fn hostile_lengths_of_every_api_cost_their_connection_at_the_most() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let mut other = Raw::connect(node.address);
    make(&mut other, "good", 1, &[]);
    let endless: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0x7f; 40],
        // An array or a text of 2^31 - 1, in both encodings, where the first of them may stand.
        [&[0x7f, 0xff, 0xff, 0xff][..], &[1; 60]].concat(),
        [&[0xff, 0xff, 0xff, 0xff, 0x07][..], &[2; 60]].concat(),
        [&[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff][..], &[0; 60]].concat(),
        [&[2, 0xff, 0xff, 0xff, 0xff, 0x07][..], &[0; 60]].concat(),
        [&[2, 2, b'a', 0xff, 0xff, 0xff, 0xff, 0x07][..], &[0; 60]].concat(),
    ];
    for key in KEYS {
        for version in key.min_version()..=key.max_version() {
            for body in &endless {
                send_raw(node.address, key, version, body);
            }
        }
        is_served(&mut other);
    }
    node.stop();
}

fn send_raw(address: SocketAddr, key: ApiKey, version: i16, body: &[u8]) {
    let mut header =
        [&key.code().to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes(), &[0, 1, b'x']].concat();
    if key.is_flexible(version) {
        header.push(0);
    }
    let bytes = [&header[..], body].concat();
    let length = i32::try_from(bytes.len()).expect("small");
    let mut raw = Raw::connect(address);
    raw.send(&[&length.to_be_bytes()[..], &bytes].concat());
    let _answered_or_closed = raw.receive();
}
