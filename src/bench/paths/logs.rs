//! Paths of a log: its index, an append into its buffers, the plan of a fetch from them.
//!
//! The log is a real one in the simulator's world, which stands still while a path is gone: an append changes memory and
//! wakes a committer that never runs, a plan finds its bytes in the buffers. What the simulator itself does in a path is
//! to tell the time.

use std::hint::black_box;
use std::rc::Rc;

use super::Path;
use super::batches::{SIZES, batch};
use crate::io::sim::{Faults, SimEnv, World};
use crate::partition::producer_state::Budget;
use crate::partition::{Acks, AppendJob, Config, FetchRead, Partition, Shared};
use crate::record::Records;
use crate::storage::offset_index::OffsetIndex;
use crate::storage::sim_store::{self, SimStore};
use crate::storage::{LogConfig, ReadPlan};
use crate::types::{Offset, PartitionId, TopicId, TopicPartition};

pub(super) fn all() -> Vec<Path> {
    let mut paths: Vec<Path> = [16, 262_144].map(index_lookup).into();
    paths.push(index_append());
    paths.extend(SIZES.map(append));
    // The newest records of a busy topic: one batch of 64 KiB, as much as a usual consumer takes at once, small batches.
    for (name, size, max_bytes) in
        [("1-batch", SIZES[2], 65_536), ("16-batches", SIZES[2], 1 << 20), ("small-batches", SIZES[0], 65_536)]
    {
        paths.push(Path::new(format!("fetch/plan/{name}"), move || plan(size, max_bytes)));
    }
    paths
}

/// A segment of 1 GiB has up to 262,144 entries.
fn index_lookup(entries: u64) -> Path {
    Path::new(format!("index/lookup/{entries}"), move || {
        let mut index = OffsetIndex::new(Offset(0));
        let offset_of = |entry: u64| Offset(i64::try_from(entry * 100 + 99).expect("small"));
        (0..entries).for_each(|entry| index.append(offset_of(entry), entry * 4096));
        let mut at = 0_u64;
        move || {
            // All over the segment, the same way each time.
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            black_box(index.lookup(black_box(offset_of((at >> 33) % entries))));
        }
    })
}

fn index_append() -> Path {
    let path = Path::new("index/append", || {
        let (mut index, mut next) = (OffsetIndex::new(Offset(0)), 0_u32);
        move || {
            index.append(Offset(i64::from(next) * 100 + 99), u64::from(next) * 4096);
            next += 1;
        }
    });
    path.limited(262_144)
}

/// A batch that was cut out of a frame: check, sequence, offsets, the one copy, the index, the list of dirty logs.
fn append((name, records, record_bytes): (&'static str, usize, usize)) -> Path {
    let bytes = batch(records, record_bytes).len();
    let path = Path::new(format!("append/{name}"), move || {
        let (log, batch) = (SimLog::full_of(batch(records, record_bytes)), Records::from(batch(records, record_bytes)));
        move || {
            let job = AppendJob { records: batch.clone(), acks: Acks::All, produce_version: 7 };
            let ticket = log.partition.append(black_box(job));
            assert!(ticket.refusal().is_none(), "the path is gone within its limit");
            drop(black_box(ticket));
        }
    });
    // Less than all of the memory: what is not stored yet is never freed, and a chunk may be partly filled.
    path.of_bytes(bytes).limited((memory_bytes(bytes) / 2 / bytes) as u64)
}

/// A fetch from the middle of what memory holds.
fn plan((_, records, record_bytes): (&str, usize, usize), max_bytes: usize) -> impl FnMut() {
    let log = SimLog::full_of(batch(records, record_bytes));
    // Twice as much was appended as memory holds.
    let middle = Offset(log.partition.high_watermark().0 / 4 * 3);
    move || {
        let read = FetchRead {
            offset: black_box(middle),
            max_bytes,
            at_least_one: true,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        let fetched = log.partition.read(&read).expect("the offset is there");
        let Some(ReadPlan::Ready(parts)) = fetched.plan else { unreachable!("the bytes are in memory") };
        drop(black_box(parts));
    }
}

/// One partition over a log in the simulator.
struct SimLog {
    partition: Rc<Partition<SimEnv>>,
    _store: SimStore,
    _world: Rc<World>,
}

impl SimLog {
    /// A log whose memory is full of such batches, all of them durable: what comes next takes the place of the oldest, as
    /// in a node that has run for a while.
    fn full_of(batch: Vec<u8>) -> Self {
        let world = World::new(1, Faults::default());
        let log_config = LogConfig { segment_bytes: 1 << 30, ..sim_store::config().log };
        let memory_bytes = memory_bytes(batch.len());
        let config = crate::storage::Config {
            log: log_config.clone(),
            window_segment_bytes: 4 << 20,
            tail_bytes: memory_bytes,
            index_bytes: 4 << 20,
            ..sim_store::config()
        };
        let sim = SimStore::open_with(&world, config);
        let id = PartitionId { topic_id: TopicId([5; 16]), partition: 0 };
        let (store, made_config) = (Rc::clone(&sim.store), log_config.clone());
        let name = TopicPartition { topic: "bench".into(), partition: 0 };
        let log = world.block_on(&sim.rt, async move { store.create_log(id, name, made_config).await });
        let log = log.expect("making a log ends").expect("a log can be made");
        let shared = Shared { producers: Budget::new(1), producer_id_expiration_ms: 86_400_000 };
        let config = Config { log: log_config, ..Config::default() };
        let partition = Partition::open(&sim.rt, log, config, 0, &sim.store.take_state(id), &shared);
        let this = Self { partition, _store: sim, _world: world };
        this.fill(batch, memory_bytes);
        this
    }

    fn fill(&self, batch: Vec<u8>, memory_bytes: usize) {
        let (count, at_once) = (2 * memory_bytes / batch.len(), memory_bytes / 8 / batch.len());
        let (partition, batch) = (Rc::clone(&self.partition), Records::from(batch));
        let filled = self._world.block_on(&self._store.rt, async move {
            for appended in 1..=count {
                let job = AppendJob { records: batch.clone(), acks: Acks::All, produce_version: 7 };
                let ticket = partition.append(job);
                if appended % at_once == 0 || appended == count {
                    ticket.done().await.expect("appended");
                }
            }
        });
        filled.expect("appending ends");
    }
}

/// Memory for the newest bytes of a log of such batches: enough for some hundred of them and for a fetch.
fn memory_bytes(batch_bytes: usize) -> usize {
    if batch_bytes < 1 << 10 { 1 << 20 } else { 8 << 20 }
}
