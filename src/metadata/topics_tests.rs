//! Tests of topic operations decided against the image.

use super::*;
use crate::types::Offset;

const ID: TopicId = TopicId([1; 16]);

fn cluster() -> Cluster {
    Cluster {
        node_id: 1,
        num_partitions: 2,
        default_replication_factor: 1,
        shards: 2,
        directory_id: [9; 16],
        partitions_max: 10,
    }
}

fn topic(name: &str) -> NewTopic {
    NewTopic { name: name.to_owned(), num_partitions: -1, replication_factor: -1, ..NewTopic::default() }
}

fn image_with(new: &[NewTopic]) -> Image {
    let mut image = Image::default();
    for (number, new) in (1..).zip(new) {
        let records = create(&image, &cluster(), new, TopicId([number; 16])).expect("possible");
        image.apply(&records, Offset(i64::from(number))).expect("fits");
    }
    image
}

fn refusal(image: &Image, new: &NewTopic) -> String {
    create(image, &cluster(), new, ID).expect_err("refused").to_string()
}

#[test]
fn a_topic_gets_the_defaults() {
    let image = image_with(&[topic("a")]);
    let made = image.topic("a").expect("made");
    assert_eq!(made.partitions.len(), 2);
    let shards: Vec<u16> = made.partitions.iter().map(|partition| partition.shard.expect("assigned").0).collect();
    assert_eq!(shards, [0, 1]);
    assert_eq!((made.partitions[0].leader, made.partitions[0].leader_epoch), (1, 0));
    assert_eq!(made.partitions[0].replicas, [1]);
}

#[test]
fn configs_are_kept_and_obeyed() {
    let configs = vec![("retention.ms".to_owned(), Some("5".to_owned()))];
    let image = image_with(&[NewTopic { configs, ..topic("a") }]);
    let made = image.topic("a").expect("made");
    assert_eq!(made.configs["retention.ms"], "5");
    assert_eq!(made.config.log.retention_ms, 5);
}

#[test]
fn refusals_are_kafkas_words() {
    let image = image_with(&[topic("a.b")]);
    let with = |change: &dyn Fn(&mut NewTopic)| {
        let mut new = topic("new");
        change(&mut new);
        refusal(&image, &new)
    };
    assert_eq!(refusal(&image, &topic("a.b")), "Topic 'a.b' already exists.");
    assert_eq!(refusal(&image, &topic("a_b")), "Topic 'a_b' collides with existing topic: a.b");
    assert_eq!(refusal(&image, &topic("")), "Topic name is invalid: the empty string is not allowed");
    assert_eq!(
        refusal(&image, &topic("__cluster_metadata")),
        "Creation of internal topic __cluster_metadata is prohibited."
    );
    assert_eq!(with(&|new| new.num_partitions = 0), "Number of partitions was set to an invalid non-positive value.");
    assert_eq!(
        with(&|new| new.replication_factor = 0),
        "Replication factor must be larger than 0, or -1 to use the default value."
    );
    assert_eq!(
        with(&|new| new.replication_factor = 3),
        "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 \
         broker(s) are registered or some brokers have all their log directories cordoned."
    );
    assert_eq!(with(&|new| new.configs = vec![("x".to_owned(), Some("1".to_owned()))]), "Unknown topic config name: x");
    assert_eq!(
        with(&|new| new.configs = vec![("retention.ms".to_owned(), None)]),
        "Null value not supported for topic configs: retention.ms"
    );
}

#[test]
fn manual_assignments_must_name_this_broker_and_count_from_zero() {
    let image = Image::default();
    let assigned = |assignments: &[(i32, &[i32])]| NewTopic {
        assignments: assignments.iter().map(|(partition, replicas)| (*partition, replicas.to_vec())).collect(),
        ..topic("a")
    };
    assert_eq!(create(&image, &cluster(), &assigned(&[(1, &[1]), (0, &[1])]), ID).expect("possible").len(), 3);
    type Assignment<'a> = &'a [(i32, &'a [i32])];
    let cases: [(Assignment<'_>, &str); 5] = [
        (&[(0, &[])], "The manual partition assignment includes an empty replica list."),
        (&[(0, &[1, 7])], "The manual partition assignment includes broker 7, but no such broker is registered."),
        (&[(0, &[1, 1])], "The manual partition assignment includes the broker 1 more than once."),
        (&[(0, &[1]), (0, &[1])], "Found multiple manual partition assignments for partition 0"),
        (&[(0, &[1]), (2, &[1])], "partitions should be a consecutive 0-based integer sequence"),
    ];
    for (assignments, text) in cases {
        assert_eq!(refusal(&image, &assigned(assignments)), text);
    }
    let counted = NewTopic { num_partitions: 1, ..assigned(&[(0, &[1])]) };
    assert_eq!(
        refusal(&image, &counted),
        "A manual partition assignment was specified, but numPartitions was not set to -1."
    );
}

#[test]
fn partitions_can_only_grow() {
    let image = image_with(&[topic("a")]);
    let ask = |count, assignments| {
        let new = NewPartitions { topic: "a".to_owned(), count, assignments };
        add_partitions(&image, &cluster(), &new)
    };
    let text = |result: Result<Vec<Record>, TopicError>| result.expect_err("refused").to_string();
    assert_eq!(text(ask(2, None)), "Topic already has 2 partition(s).");
    assert_eq!(text(ask(1, None)), "The topic a currently has 2 partition(s); 1 would not be an increase.");
    assert_eq!(
        text(ask(4, Some(vec![vec![1]]))),
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
    );
    let mut grown = image.clone();
    grown.apply(&ask(4, None).expect("possible"), Offset(9)).expect("fits");
    assert_eq!(grown.topic("a").expect("there").partitions.len(), 4);
    let unknown = NewPartitions { topic: "b".to_owned(), count: 3, assignments: None };
    assert!(matches!(add_partitions(&image, &cluster(), &unknown), Err(TopicError::UnknownTopic)));
}

#[test]
fn the_node_has_a_bound_and_says_so() {
    let image = image_with(&[topic("a")]);
    let many = NewTopic { num_partitions: 9, ..topic("b") };
    assert_eq!(refusal(&image, &many), "9 more partitions would make 11; this node serves 10 at the most");
    let huge = NewTopic { num_partitions: i32::MAX, ..topic("b") };
    assert!(refusal(&image, &huge).contains("10000"));
    let new = NewPartitions { topic: "a".to_owned(), count: 11, assignments: None };
    assert!(matches!(add_partitions(&image, &cluster(), &new), Err(TopicError::TooManyPartitions { .. })));
}

#[test]
fn topics_are_found_by_name_and_id() {
    let image = image_with(&[topic("a")]);
    assert_eq!(find(&image, &TopicRef::Id(ID)).expect("there").name.as_ref(), "a");
    assert_eq!(find(&image, &TopicRef::Name("a".to_owned())).expect("there").id, ID);
    assert!(matches!(find(&image, &TopicRef::Id(TopicId::ZERO)), Err(TopicError::UnknownTopicId)));
    assert!(matches!(find(&image, &TopicRef::Name("b".to_owned())), Err(TopicError::UnknownTopic)));
}
