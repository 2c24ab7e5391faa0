//! Partitions over real logs, on simulated disks.

use std::future::Future;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::io::Slice;
use crate::io::sim::{Faults, SimEnv, World};
use crate::record::build::{BatchBuilder, NewRecord};
use crate::record::{Batches, Compression, RecordError, Records, decode};
use crate::storage::sim_store::{self, SimStore};
use crate::storage::{Part, ReadPlan};
use crate::types::TopicId;

const ID: PartitionId = PartitionId { topic_id: TopicId([5; 16]), partition: 0 };

/// A process with one partition.
pub(super) struct Node {
    pub(super) world: Rc<World>,
    pub(super) sim: SimStore,
    pub(super) partition: Rc<Partition<SimEnv>>,
}

impl Node {
    fn new(seed: u64) -> Self {
        Self::start(&World::new(seed, Faults::default()), 0, Config::default())
    }

    fn with(seed: u64, config: Config) -> Self {
        Self::start(&World::new(seed, Faults::default()), 0, config)
    }

    /// Opens the partition, or makes it, under a leader epoch.
    pub(super) fn start(world: &Rc<World>, leader_epoch: i32, mut config: Config) -> Self {
        let sim = SimStore::open(world);
        let log_config = sim_store::config().log;
        config.log = LogConfig { flush_every_window: config.log.flush_every_window, ..log_config };
        let log = sim.store.log(ID).unwrap_or_else(|| {
            let (store, log_config) = (Rc::clone(&sim.store), config.log.clone());
            let name = TopicPartition { topic: "t".into(), partition: 0 };
            let made = world.block_on(&sim.rt, async move { store.create_log(ID, name, log_config).await });
            made.expect("making a log ends").expect("a log can be made")
        });
        let shared = Shared { producers: Budget::new(100), producer_id_expiration_ms: 86_400_000 };
        let state = sim.store.take_state(ID);
        let partition = Partition::open(&sim.rt, log, config, leader_epoch, &state, &shared);
        let weak = Rc::downgrade(&partition);
        let state_of = move || weak.upgrade().map(|partition| partition.state()).unwrap_or_default();
        sim.store.set_state_of(ID, Rc::new(state_of));
        Self { world: Rc::clone(world), sim, partition }
    }

    /// The process ends, cleanly or by the power, and another one begins under the epoch that goes with it.
    pub(super) fn restart(self, clean: bool) -> Self {
        let Self { world, sim, partition } = self;
        let (epoch, config) = (partition.leader_epoch(), partition.config.borrow().clone());
        // The store asks the partition for its state while it stops.
        if clean {
            sim.stop(&world);
        } else {
            drop(sim);
            world.crash();
        }
        drop(partition);
        Self::start(&world, if clean { epoch } else { epoch + 1 }, config)
    }

    fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.world.block_on(&self.sim.rt, future).expect("the future ends")
    }

    fn append(&self, batch: Vec<u8>, acks: Acks) -> Result<AppendInfo, Error> {
        let ticket = self.partition.append(job(batch, acks));
        self.block_on(ticket.done())
    }

    fn append_all(&self, batch: Vec<u8>) -> i64 {
        self.append(batch, Acks::All).expect("appended").base_offset.0
    }

    fn fetch(&self, offset: i64) -> Result<Fetched<SimEnv>, Error> {
        self.partition.read(&FetchRead {
            offset: Offset(offset),
            max_bytes: 1 << 20,
            at_least_one: true,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        })
    }

    /// The bytes that a Fetch from `offset` gets.
    fn bytes(&self, offset: i64) -> Vec<u8> {
        let Some(plan) = self.fetch(offset).expect("readable").plan else { return Vec::new() };
        let parts = match plan {
            ReadPlan::Ready(parts) => parts,
            ReadPlan::NeedsIo(parts) => self.block_on(parts).expect("read"),
        };
        let slice = |part: Part<SimEnv>| match part {
            Part::Bytes(slice) => slice.to_vec(),
            Part::File { .. } => panic!("nothing is rolled here"),
        };
        parts.into_iter().flat_map(slice).collect()
    }

    /// Every value in the log up to the high watermark, with its offset.
    pub(super) fn values(&self) -> Vec<(i64, String)> {
        let mut values = Vec::new();
        let mut offset = self.partition.log_start_offset().0;
        while offset < self.partition.high_watermark().0 {
            for batch in Batches::new(&self.bytes(offset)) {
                let batch = batch.expect("whole batches");
                batch.verify().expect("intact");
                for record in decode(batch.bytes).expect("decodable").records() {
                    let record = record.expect("a record");
                    let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
                    values.push((record.offset.0, value));
                }
                offset = batch.header.next_offset().0;
            }
        }
        values
    }

    fn find(&self, target: OffsetTarget) -> FoundOffset {
        let partition = Rc::clone(&self.partition);
        self.block_on(async move { partition.find_offset(target, -1).await }).expect("found")
    }
}

pub(super) fn job(batch: Vec<u8>, acks: Acks) -> AppendJob {
    let records = Records::from_chunks(vec![Slice::from(Bytes::from(batch))]);
    AppendJob { records, acks, produce_version: 9 }
}

fn batch(values: &[&str]) -> Vec<u8> {
    BatchBuilder::default().build(&records(values, 0))
}

fn records(values: &[&str], timestamp: i64) -> Vec<NewRecord> {
    values.iter().map(|value| NewRecord::value(timestamp, *value)).collect()
}

pub(super) fn of_producer(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Vec<u8> {
    let builder =
        BatchBuilder { producer_id, producer_epoch: epoch, base_sequence: sequence, ..BatchBuilder::default() };
    builder.build(&records(values, 0))
}

#[test]
fn records_get_offsets_and_are_read_back_with_the_epoch_stamped() {
    let node = Node::start(&World::new(1, Faults::default()), 7, Config::default());
    assert_eq!(node.append_all(batch(&["a", "b"])), 0);
    assert_eq!(node.append_all(batch(&["c"])), 2);
    assert_eq!(node.values(), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    let bytes = node.bytes(1);
    let header = Batches::new(&bytes).next().expect("a batch").expect("whole").header;
    assert_eq!((header.base_offset, header.partition_leader_epoch), (Offset(0), 7));
}

#[test]
fn nothing_is_visible_before_it_is_durable() {
    let node = Node::new(2);
    node.append_all(batch(&["a"]));
    let ticket = node.partition.append(job(batch(&["b"]), Acks::All));
    assert_eq!(node.partition.log_end_offset(), Offset(2), "an open log takes a batch at once");
    assert_eq!(node.partition.high_watermark(), Offset(1));
    let fetched = node.fetch(1).expect("between the high watermark and the end");
    assert!(fetched.plan.is_none());
    assert!(node.fetch(2).expect("the end").plan.is_none());
    assert_eq!(node.block_on(ticket.done()).expect("appended").base_offset, Offset(1));
    assert_eq!(node.partition.high_watermark(), Offset(2));
    assert_eq!(node.values().len(), 2);
}

#[test]
fn offsets_outside_the_log_are_out_of_range() {
    let node = Node::new(3);
    node.append_all(batch(&["a"]));
    assert!(matches!(
        node.fetch(2),
        Err(Error::OffsetOutOfRange { requested: Offset(2), start: Offset(0), end: Offset(1), .. })
    ));
    assert!(matches!(node.fetch(-1), Err(Error::OffsetOutOfRange { .. })));
}

#[test]
fn a_request_under_another_epoch_is_refused() {
    let node = Node::start(&World::new(4, Faults::default()), 5, Config::default());
    let read = |leader_epoch| {
        let read =
            FetchRead { offset: Offset(0), max_bytes: 1, at_least_one: false, leader_epoch, last_fetched_epoch: -1 };
        node.partition.read(&read).map(|_| ())
    };
    assert!(read(5).is_ok());
    assert!(matches!(read(4), Err(Error::FencedLeaderEpoch { requested: 4, current: 5, .. })));
    assert!(matches!(read(6), Err(Error::UnknownLeaderEpoch { requested: 6, current: 5, .. })));
}

#[test]
fn batches_that_wait_for_the_log_keep_their_order() {
    let node = Node::new(5);
    node.append_all(batch(&["first"]));
    // After a start the log must be read before it takes a batch: all of these are queued.
    let node = node.restart(true);
    let tickets: Vec<_> = (0..20)
        .map(|sequence| {
            let value = format!("{sequence}");
            node.partition.append(job(of_producer(9, 0, sequence, &[&value]), Acks::All))
        })
        .collect();
    assert!(tickets.iter().all(|ticket| ticket.refusal().is_none()));
    for (expected, ticket) in (1..).zip(tickets) {
        assert_eq!(node.block_on(ticket.done()).expect("in order").base_offset, Offset(expected));
    }
    let values: Vec<String> = node.values().into_iter().skip(1).map(|(_, value)| value).collect();
    assert_eq!(values, (0..20).map(|sequence| sequence.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_batch_sent_twice_is_stored_once_and_both_wait_for_the_flush() {
    let node = Node::new(6);
    node.append_all(of_producer(1, 0, 0, &["a"]));
    let first = node.partition.append(job(of_producer(1, 0, 1, &["b", "c"]), Acks::All));
    let again = node.partition.append(job(of_producer(1, 0, 1, &["b", "c"]), Acks::All));
    assert_eq!(node.partition.high_watermark(), Offset(1));
    let again = node.block_on(again.done()).expect("a duplicate");
    assert_eq!(again.base_offset, Offset(1));
    assert_eq!(node.partition.high_watermark(), Offset(3), "the duplicate's answer promises as much as the original's");
    assert_eq!(node.block_on(first.done()).expect("appended").base_offset, Offset(1));
    assert_eq!(node.values().len(), 3);
    let gap = node.append(of_producer(1, 0, 9, &["x"]), Acks::All);
    assert!(matches!(gap, Err(Error::Sequence { .. })), "{gap:?}");
}

#[test]
fn a_batch_that_the_log_refuses_leaves_no_trace_in_the_producers_state() {
    let node = Node::new(7);
    node.append_all(batch(&["a"]));
    let mut broken = of_producer(1, 0, 0, &["damaged"]);
    *broken.last_mut().expect("not empty") ^= 1;
    let refused = node.append(broken, Acks::All);
    assert!(matches!(refused, Err(Error::Storage(storage::Error::Corrupt { .. }))), "{refused:?}");
    assert_eq!(node.append_all(of_producer(1, 0, 0, &["whole"])), 1);
    assert_eq!(node.values().len(), 2);
}

#[test]
fn producers_are_known_after_a_clean_stop_and_after_a_crash() {
    for clean in [true, false] {
        let mut node = Node::new(8);
        for sequence in 0..7 {
            node.append_all(of_producer(1, 3, sequence, &["a"]));
        }
        node = node.restart(clean);
        assert_eq!(node.append_all(of_producer(1, 3, 4, &["a"])), 4, "a duplicate from before the stop");
        assert!(matches!(node.append(of_producer(1, 3, 1, &["a"]), Acks::All), Err(Error::Sequence { .. })));
        assert!(matches!(node.append(of_producer(1, 2, 0, &["a"]), Acks::All), Err(Error::Sequence { .. })));
        assert_eq!(node.append_all(of_producer(1, 3, 7, &["a"])), 7);
        // And once more, now that the state itself was restored.
        node = node.restart(clean);
        assert_eq!(node.append_all(of_producer(1, 3, 7, &["a"])), 7);
        assert_eq!(node.values().len(), 8);
    }
}

#[test]
fn log_append_time_stamps_every_record_and_is_answered() {
    let node = Node::with(9, Config { log_append_time: true, ..Config::default() });
    node.world.run_for_ms(50);
    let info = node.append(of_producer(1, 0, 0, &["a", "b"]), Acks::All).expect("appended");
    assert!(info.log_append_time_ms > 0);
    let bytes = node.bytes(0);
    let stored = Batches::new(&bytes).next().expect("a batch").expect("whole");
    stored.verify().expect("the checksum fits the changed header");
    assert_eq!(stored.header.max_timestamp, info.log_append_time_ms);
    assert_eq!(node.find(OffsetTarget::Timestamp(info.log_append_time_ms)).offset, Offset(0));
    node.world.run_for_ms(50);
    let again = node.append(of_producer(1, 0, 0, &["a", "b"]), Acks::All).expect("a duplicate");
    assert_eq!(again.log_append_time_ms, info.log_append_time_ms, "the original's time");
}

#[test]
fn too_few_replicas_refuse_acks_all_alone() {
    let node = Node::with(10, Config { min_insync_replicas: 2, ..Config::default() });
    let refused = node.append(batch(&["a"]), Acks::All);
    assert!(matches!(refused, Err(Error::NotEnoughReplicas { required: 2, .. })), "{refused:?}");
    assert_eq!(node.append(batch(&["a"]), Acks::Leader).expect("acks=1 asks for less").base_offset, Offset(0));
}

#[test]
fn a_topics_rules_are_kept() {
    let node = Node::with(11, Config { max_message_bytes: 100, timestamp_after_max_ms: 1000, ..Config::default() });
    let large = node.append(batch(&["x".repeat(100).as_str()]), Acks::All);
    assert!(matches!(large, Err(Error::Record { cause: RecordError::TooLarge { .. }, .. })), "{large:?}");
    let early = BatchBuilder::default().build(&records(&["a"], i64::MAX / 2));
    let early = node.append(early, Acks::All);
    assert!(matches!(early, Err(Error::Record { .. })), "{early:?}");
    assert_eq!(node.partition.log_end_offset(), Offset(0));
}

#[test]
fn a_relaxed_topic_shows_what_is_written() {
    let mut config = Config::default();
    config.log.flush_every_window = false;
    let node = Node::with(12, config);
    let info = node.append(batch(&["a"]), Acks::All).expect("written");
    assert_eq!(info.base_offset, Offset(0));
    assert_eq!(node.partition.high_watermark(), node.partition.log.written_offset());
    assert_eq!(node.values().len(), 1);
}

#[test]
fn the_high_watermark_never_falls_when_a_topic_becomes_strict_again() {
    let mut relaxed = Config::default();
    relaxed.log.flush_every_window = false;
    let node = Node::with(13, relaxed);
    node.append(batch(&["a"]), Acks::All).expect("written");
    let before = node.partition.high_watermark();
    node.partition.set_config(Config::default());
    assert!(node.partition.high_watermark() >= before);
}

#[test]
fn offsets_are_found_by_place() {
    let node = Node::new(14);
    let none = node.find(OffsetTarget::MaxTimestamp);
    assert_eq!((none, node.find(OffsetTarget::Timestamp(0))), (FoundOffset::NONE, FoundOffset::NONE));
    assert_eq!(node.find(OffsetTarget::Latest).offset, Offset(0));
    node.append_all(batch(&["a", "b"]));
    // acks=1 and then `latest`: the producer reads what it was told is there.
    node.append(batch(&["c"]), Acks::Leader).expect("written");
    let latest = node.find(OffsetTarget::Latest);
    assert_eq!((latest.offset, latest.timestamp, latest.leader_epoch), (Offset(3), -1, 0));
    for target in [OffsetTarget::Earliest, OffsetTarget::EarliestLocal] {
        let found = node.find(target);
        assert_eq!((found.offset, found.timestamp, found.leader_epoch), (Offset(0), -1, 0));
    }
    for target in [OffsetTarget::LatestTiered, OffsetTarget::EarliestPendingUpload] {
        assert_eq!(node.find(target), FoundOffset::NONE);
    }
}

#[test]
fn offsets_are_found_by_time_inside_compressed_batches() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let node = Node::new(15);
        for base in [1000, 2000, 3000] {
            let records: Vec<NewRecord> = (0..10).map(|at| NewRecord::value(base + at * 10, "v")).collect();
            node.append_all(BatchBuilder { compression, ..BatchBuilder::default() }.build(&records));
        }
        let cases =
            [(0, 0, 1000), (1000, 0, 1000), (1001, 1, 1010), (1091, 10, 2000), (2045, 15, 2050), (3090, 29, 3090)];
        for (target, offset, timestamp) in cases {
            let found = node.find(OffsetTarget::Timestamp(target));
            assert_eq!((found.offset.0, found.timestamp), (offset, timestamp), "{compression:?} {target}");
        }
        assert_eq!(node.find(OffsetTarget::Timestamp(3091)), FoundOffset::NONE);
        let newest = node.find(OffsetTarget::MaxTimestamp);
        assert_eq!((newest.offset, newest.timestamp), (Offset(29), 3090));
    }
}

#[test]
fn a_search_by_time_waits_for_records_that_were_acknowledged_but_are_not_visible() {
    let node = Node::new(16);
    node.append_all(BatchBuilder::default().build(&records(&["a"], 1000)));
    node.append(BatchBuilder::default().build(&records(&["b"], 2000)), Acks::Leader).expect("written");
    let found = node.find(OffsetTarget::Timestamp(1500));
    assert_eq!(found.offset, Offset(1));
    assert!(node.partition.high_watermark() > found.offset, "never at or above the high watermark");
}

#[test]
fn a_later_epoch_is_answered_where_it_began() {
    let mut node = Node::new(17);
    node.append_all(batch(&["a", "b"]));
    node = node.restart(false);
    assert_eq!(node.partition.end_of_epoch(0), EpochEnd { epoch: 0, end_offset: Offset(2) });
    node.append_all(batch(&["c"]));
    node = node.restart(false);
    node.append_all(batch(&["d"]));
    assert_eq!(node.partition.end_of_epoch(0), EpochEnd { epoch: 0, end_offset: Offset(2) });
    assert_eq!(node.partition.end_of_epoch(1), EpochEnd { epoch: 1, end_offset: Offset(3) });
    assert_eq!(node.partition.end_of_epoch(2), EpochEnd { epoch: 2, end_offset: Offset(4) });
    assert_eq!(node.partition.end_of_epoch(3).epoch, UNDEFINED_EPOCH);
    node = node.restart(true);
    assert_eq!(node.partition.end_of_epoch(1), EpochEnd { epoch: 1, end_offset: Offset(3) });
    let diverging = node.partition.read(&FetchRead {
        offset: Offset(4),
        max_bytes: 1,
        at_least_one: false,
        leader_epoch: -1,
        last_fetched_epoch: 1,
    });
    assert_eq!(diverging.expect("answered").diverging, Some(EpochEnd { epoch: 1, end_offset: Offset(3) }));
}

#[test]
fn a_waiting_fetch_is_woken_by_the_high_watermark_with_the_bytes_that_became_visible() {
    let node = Node::new(18);
    node.append_all(batch(&["a"]));
    let bytes = batch(&["some more"]);
    let fetch = DelayedFetch::new(bytes.len() as u64);
    let watch = node.partition.watch(&fetch, Offset(1), 1 << 20);
    let ticket = node.partition.append(job(bytes.clone(), Acks::Leader));
    assert!(!fetch.is_over(), "an append alone shows nothing");
    let waited = {
        let (fetch, partition) = (Rc::clone(&fetch), Rc::clone(&node.partition));
        node.block_on(async move {
            fetch.wait().await;
            partition.high_watermark()
        })
    };
    assert_eq!(waited, Offset(2));
    assert_eq!(fetch.gained_bytes(), bytes.len() as u64);
    node.block_on(ticket.done()).expect("appended");
    drop(watch);
    assert!(node.partition.watches.is_empty());
    node.append_all(batch(&["unwatched"]));
    assert_eq!(fetch.gained_bytes(), bytes.len() as u64);
}

#[test]
fn a_fetch_that_wants_more_waits_for_more() {
    let node = Node::new(19);
    let fetch = DelayedFetch::new(1_000);
    let _watch = node.partition.watch(&fetch, Offset(0), 1 << 20);
    node.append_all(batch(&["x".repeat(500).as_str()]));
    assert!(!fetch.is_over());
    node.append_all(batch(&["x".repeat(500).as_str()]));
    let told = Rc::clone(&fetch);
    node.block_on(async move { told.wait().await });
    assert!(fetch.gained_bytes() >= 1_000);
}

#[test]
fn closing_ends_waits_and_refuses_appends() {
    let node = Node::new(20);
    let fetch = DelayedFetch::new(1);
    let _watch = node.partition.watch(&fetch, Offset(0), 100);
    node.partition.close();
    assert!(fetch.is_over());
    assert!(matches!(node.append(batch(&["a"]), Acks::All), Err(Error::Closed { .. })));
    assert!(matches!(node.fetch(0), Err(Error::Closed { .. })));
}

#[test]
fn a_log_whose_write_failed_refuses_appends_and_serves_what_is_durable_unless_the_directory_is_offline() {
    let (mut poisoned, mut offline) = (0, 0);
    for seed in 0..40 {
        let node = Node::new(seed);
        node.append_all(batch(&["a"]));
        node.world.set_faults(Faults { write_error_ppm: 400_000, ..Faults::default() });
        // Large enough for a write of its own beside the journal's.
        let refused = node.append(batch(&["b".repeat(20_000).as_str()]), Acks::All);
        node.world.set_faults(Faults::default());
        match node.partition.log.failure() {
            None => {
                refused.expect("nothing failed");
                continue;
            }
            Some(storage::Error::Poisoned { .. }) => {
                poisoned += 1;
                assert_eq!(node.values(), [(0, "a".into())]);
                assert_eq!(node.find(OffsetTarget::Latest).offset, Offset(1), "answered at once");
                assert_eq!(node.find(OffsetTarget::Timestamp(1)), FoundOffset::NONE);
            }
            Some(error) => {
                offline += 1;
                assert!(matches!(error, storage::Error::Offline { .. }), "{error}");
                assert!(matches!(node.fetch(0), Err(Error::Storage(storage::Error::Offline { .. }))));
            }
        }
        assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");
        assert!(matches!(node.append(batch(&["c"]), Acks::Leader), Err(Error::Storage(_))));
    }
    assert!(poisoned > 0 && offline > 0, "both were seen: {poisoned} poisoned, {offline} offline");
}

#[test]
fn a_quarantined_partition_is_not_served() {
    let node = Node::new(22);
    for _ in 0..8 {
        node.append_all(batch(&["x".repeat(20_000).as_str()]));
    }
    let Node { world, sim, partition } = node;
    drop(partition);
    drop(sim);
    world.crash();
    // Deep below the durable mark, in a block that no journal record holds.
    assert!(world.flip_bit(Path::new("/data/t-0/00000000000000000000.log"), 8 * 9_000));
    let node = Node::start(&world, 1, Config::default());
    // Nothing but the checkpoint of an empty log was written before, so recovery reads all of it.
    let failure = node.partition.log.failure().expect("quarantined");
    assert!(failure.to_string().contains("below the durable offset 7"), "{failure}");
    for offset in [0, 1, 7, 8] {
        let fetched = node.fetch(offset);
        assert!(matches!(fetched, Err(Error::Storage(storage::Error::Quarantined { .. }))), "at {offset}");
    }
    for acks in [Acks::Leader, Acks::All] {
        let refused = node.append(batch(&["a"]), acks);
        assert!(matches!(refused, Err(Error::Storage(storage::Error::Quarantined { .. }))), "{refused:?}");
    }
}
