//! The metadata log over a real log, on simulated disks.

use super::*;
use crate::io::sim::{Faults, SimEnv, World};
use crate::storage::sim_store::SimStore;

/// A process with an open metadata log.
struct Node {
    world: Rc<World>,
    sim: SimStore,
    metadata: Rc<MetadataLog<SimEnv>>,
}

fn cluster(shards: u16) -> Cluster {
    Cluster {
        node_id: 1,
        num_partitions: 3,
        default_replication_factor: 1,
        shards,
        directory_id: [9; 16],
        partitions_max: 50,
    }
}

impl Node {
    fn start(world: &Rc<World>, shards: u16, clean: bool) -> Self {
        let sim = SimStore::open(world);
        let (rt, store) = (Rc::clone(&sim.rt), Rc::clone(&sim.store));
        let opened = world.block_on(&sim.rt, async move {
            let log = match store.log(METADATA_PARTITION) {
                Some(log) => log,
                None => store
                    .create_log(METADATA_PARTITION, metadata_partition_name(), metadata_log_config())
                    .await
                    .expect("made"),
            };
            let start = Start { clean, end_points: Vec::new(), rack: None };
            MetadataLog::open(&rt, log, Arc::default(), cluster(shards), start).await
        });
        let metadata = opened.expect("opening ends").expect("a log that can be read");
        Self { world: Rc::clone(world), sim, metadata }
    }

    fn new(seed: u64) -> Self {
        Self::start(&World::new(seed, Faults::default()), 2, true)
    }

    fn restart(self, shards: u16, clean: bool) -> Self {
        let Self { world, sim, metadata } = self;
        drop(metadata);
        if clean {
            sim.stop(&world);
        } else {
            drop(sim);
            world.crash();
        }
        Self::start(&world, shards, clean)
    }

    fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.world.block_on(&self.sim.rt, future).expect("the future ends")
    }

    fn create(&self, names: &[&str]) -> Vec<Result<Arc<Topic>, TopicError>> {
        let new: Vec<NewTopic> = names.iter().map(|name| topic(name)).collect();
        let metadata = Rc::clone(&self.metadata);
        self.block_on(async move { metadata.create_topics(&new, false).await })
    }
}

fn topic(name: &str) -> NewTopic {
    NewTopic { name: name.to_owned(), num_partitions: -1, replication_factor: -1, ..NewTopic::default() }
}

fn epochs(image: &Image, name: &str) -> Vec<i32> {
    image.topic(name).expect("there").partitions.iter().map(|partition| partition.leader_epoch).collect()
}

#[test]
fn topics_survive_clean_stops_and_crashes_with_ids_configs_and_shards() {
    for clean in [true, false] {
        let node = Node::new(1);
        let new = NewTopic { configs: vec![("retention.ms".to_owned(), Some("5".to_owned()))], ..topic("kept") };
        let metadata = Rc::clone(&node.metadata);
        let made = node.block_on(async move { metadata.create_topics(&[new], false).await });
        let made = Arc::clone(made[0].as_ref().expect("made"));
        let node = node.restart(2, clean);
        let image = node.metadata.image();
        let found = image.topic("kept").expect("kept");
        assert_eq!((found.id, found.partitions.len(), found.config.log.retention_ms), (made.id, 3, 5));
        let shards = |topic: &Topic| topic.partitions.iter().map(|partition| partition.shard).collect::<Vec<_>>();
        assert_eq!(shards(found), shards(&made));
        assert_eq!(epochs(&image, "kept"), if clean { [0, 0, 0] } else { [1, 1, 1] });
    }
}

#[test]
fn each_topic_of_a_request_is_made_or_refused_by_itself() {
    let node = Node::new(2);
    let made = node.create(&["a", "bad/name", "b", "a"]);
    assert!(made[0].is_ok() && made[2].is_ok());
    assert!(matches!(made[1], Err(TopicError::InvalidName(_))));
    assert!(matches!(made[3], Err(TopicError::Exists(_))));
    assert_eq!(node.metadata.image().partition_count(), 6);
}

#[test]
fn validating_makes_nothing() {
    let node = Node::new(3);
    let (metadata, new) = (Rc::clone(&node.metadata), vec![topic("a"), topic("")]);
    let before = node.metadata.image().next_offset();
    let answers = node.block_on(async move { metadata.create_topics(&new, true).await });
    assert_eq!(answers[0].as_ref().expect("possible").partitions.len(), 3);
    assert!(answers[1].is_err());
    assert_eq!(node.metadata.image().next_offset(), before);
}

#[test]
fn a_topic_deleted_and_made_again_is_another_one() {
    let node = Node::new(4);
    let first = node.create(&["a"]).remove(0).expect("made");
    let metadata = Rc::clone(&node.metadata);
    let refs = [TopicRef::Name("a".to_owned()), TopicRef::Id(first.id), TopicRef::Name("b".to_owned())];
    let deleted = node.block_on(async move { metadata.delete_topics(&refs).await });
    assert_eq!(deleted[0].as_ref().expect("deleted").id, first.id);
    assert!(matches!(deleted[1], Err(TopicError::UnknownTopicId)), "gone already");
    assert!(matches!(deleted[2], Err(TopicError::UnknownTopic)));
    let second = node.create(&["a"]).remove(0).expect("made again");
    assert_ne!(first.id, second.id);
    let node = node.restart(2, true);
    assert_eq!(node.metadata.image().topic("a").expect("there").id, second.id);
}

#[test]
fn partitions_are_added() {
    let node = Node::new(5);
    node.create(&["a"]);
    let metadata = Rc::clone(&node.metadata);
    let ask = |count| NewPartitions { topic: "a".to_owned(), count, assignments: None };
    let new = [ask(5), ask(5)];
    let grown = node.block_on(async move { metadata.create_partitions(&new, false).await });
    assert_eq!(grown[0].as_ref().expect("grown").partitions.len(), 5);
    assert!(matches!(grown[1], Err(TopicError::InvalidPartitions(_))));
}

#[test]
fn producer_ids_are_never_given_twice() {
    let mut node = Node::new(6);
    let mut firsts = Vec::new();
    for clean in [true, false, true] {
        for _ in 0..2 {
            let metadata = Rc::clone(&node.metadata);
            let block = node.block_on(async move { metadata.allocate_producer_ids().await });
            firsts.push(block.expect("given").next());
        }
        node = node.restart(2, clean);
    }
    assert_eq!(firsts, [0, 1000, 2000, 3000, 4000, 5000]);
}

#[test]
fn partitions_of_shards_that_are_gone_get_others_and_keep_them() {
    let node = Node::start(&World::new(7, Faults::default()), 3, true);
    node.create(&["a", "b"]);
    let node = node.restart(1, true);
    let shards = |node: &Node| {
        let image = node.metadata.image();
        image
            .topics()
            .flat_map(|topic| topic.partitions.clone())
            .map(|one| one.shard.expect("assigned").0)
            .collect::<Vec<_>>()
    };
    assert_eq!(shards(&node), [0; 6]);
    assert_eq!(epochs(&node.metadata.image(), "a"), [0; 3], "the leader is the same node: its epoch stays");
    let node = node.restart(3, true);
    assert_eq!(shards(&node), [0; 6], "more shards move nothing");
}

#[test]
fn a_published_image_is_durable() {
    let node = Node::new(8);
    let (metadata, new) = (Rc::clone(&node.metadata), vec![topic("a")]);
    node.sim.rt.spawn(async move { metadata.create_topics(&new, false).await }).detach();
    let world = Rc::clone(&node.world);
    let seen = node.world.run_until(|| node.metadata.image().topic("a").is_some());
    assert!(seen, "published in the end");
    drop(node);
    world.crash();
    let node = Node::start(&world, 2, false);
    assert!(node.metadata.image().topic("a").is_some());
}

#[test]
fn an_operation_whose_caller_is_gone_is_published_all_the_same() {
    let node = Node::new(9);
    let (metadata, new) = (Rc::clone(&node.metadata), vec![topic("a")]);
    let task = node.sim.rt.spawn(async move { metadata.create_topics(&new, false).await });
    let appended = node.world.run_until(|| node.metadata.log.log_end_offset() > node.metadata.image().next_offset());
    assert!(appended);
    drop(task);
    assert!(node.world.run_until(|| node.metadata.image().topic("a").is_some()));
}

#[test]
fn each_start_is_an_epoch_of_its_own() {
    let mut node = Node::new(10);
    for expected in 1..4 {
        assert_eq!(node.metadata.epoch, expected);
        let broker = Arc::clone(node.metadata.image().broker(1).expect("registered"));
        assert!(!broker.fenced);
        assert_eq!(broker.broker_epoch, node.metadata.broker_epoch.get());
        node = node.restart(2, expected != 2);
    }
    assert_eq!(node.metadata.image().feature("metadata.version"), METADATA_VERSION);
}
