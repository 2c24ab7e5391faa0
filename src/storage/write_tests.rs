//! The write side on the simulated disk: what reaches it, in which order, and what is promised of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::error::Error;
use super::journal::record::{self, Kind};
use super::log::{Append, Appended, Guard, Log, Recovered, Stamp, segment_path};
use super::segment::Segment;
use super::writer::{Directory, JournalStart, Writer};
use super::{Config, Disk, Goal, LogConfig};
use crate::io::device::FlushScope;
use crate::io::sim::{Faults, SimEnv, World};
use crate::io::{Job, OpenHow, Output, Prepare, Runtime};
use crate::record::Records;
use crate::record::build::{BatchBuilder, NewRecord};
use crate::types::{Offset, PartitionId, TopicId, TopicPartition};

const BLOCK: usize = 4096;
const JOURNAL_BYTES: u64 = 512 << 10;

/// One shard's write side in a world of its own.
struct Shard {
    world: Rc<World>,
    rt: Rc<Runtime<SimEnv>>,
    directory: Arc<Directory>,
    writer: Rc<Writer<SimEnv>>,
}

/// An owned journal entry, with the sequence of its record.
#[derive(Clone, Debug)]
struct Found {
    sequence: u64,
    partition: i32,
    kind: Kind,
    segment: Offset,
    tail_position: u64,
    end_offset: Offset,
    tail: Vec<u8>,
}

impl Found {
    fn end_position(&self) -> u64 {
        self.tail_position + self.tail.len() as u64
    }
}

fn config() -> Config {
    Config {
        disk: Disk { block_bytes: BLOCK, scope: FlushScope::Device, ..Disk::default() },
        log: LogConfig { segment_bytes: 256 << 10, ..LogConfig::default() },
        journal_bytes: JOURNAL_BYTES,
        window_journal_bytes: 16 << 10,
        window_segment_bytes: 256 << 10,
        prepare_bytes_min: 16 << 10,
        prepare_bytes_max: 64 << 10,
        tail_bytes: 1 << 20,
        reserve_bytes: 1 << 20,
        recycle_bytes: 1 << 20,
        ..Config::default()
    }
}

fn journal_path() -> PathBuf {
    PathBuf::from("/data/.ringmain/journal-0")
}

async fn make_journal(rt: Rc<Runtime<SimEnv>>) -> JournalStart<SimEnv> {
    rt.job(Job::CreateDir(PathBuf::from("/data/.ringmain"))).await.unwrap();
    let how = OpenHow { write: true, create: true, direct: true };
    let Output::File(file) = rt.job(Job::Open(journal_path(), how)).await.unwrap() else { panic!("no file") };
    rt.job(Job::PrepareRange(file.clone(), 0..JOURNAL_BYTES, Prepare::Zeros)).await.unwrap();
    JournalStart { file, bytes: JOURNAL_BYTES, generation: 1, position: 0, sequence: 1 }
}

impl Shard {
    fn new(seed: u64) -> Self {
        Self::with(seed, config())
    }

    fn with(seed: u64, config: Config) -> Self {
        Self::start(World::new(seed, Faults::default()), config)
    }

    fn start(world: Rc<World>, config: Config) -> Self {
        let rt = Rc::clone(&world.start(1)[0]);
        let journal = world.block_on(&rt, make_journal(Rc::clone(&rt))).unwrap();
        let directory = Directory::new(PathBuf::from("/data"));
        let writer = Writer::start(&rt, config, &directory, journal);
        Self { world, rt, directory, writer }
    }

    fn dir(partition: i32) -> PathBuf {
        PathBuf::from(format!("/data/t-{partition}"))
    }

    fn recovered(&self, partition: i32) -> Recovered<SimEnv> {
        Recovered {
            id: PartitionId { topic_id: TopicId([9; 16]), partition },
            name: TopicPartition { topic: Arc::from("t"), partition },
            dir: Self::dir(partition),
            config: self.writer.config.log.clone(),
            log_start: Offset::ZERO,
            log_end: Offset::ZERO,
            segments: Vec::new(),
            tail: None,
            place: None,
            quarantined: None,
        }
    }

    fn log(&self, partition: i32) -> Rc<Log<SimEnv>> {
        let rt = Rc::clone(&self.rt);
        self.block_on(async move { rt.job(Job::CreateDir(Self::dir(partition))).await.map(drop) }).unwrap();
        Log::open(&self.writer, self.recovered(partition))
    }

    fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.world.block_on(&self.rt, future).expect("the future ends")
    }

    /// Appends `count` batches of `bytes` each and waits until the last of them is durable.
    fn fill(&self, log: &Rc<Log<SimEnv>>, count: usize, bytes: usize) -> Offset {
        let log = Rc::clone(log);
        self.block_on(async move {
            for _ in 0..count {
                append(&log, bytes).await.unwrap();
            }
            log.wait_durable(log.log_end_offset()).await.unwrap();
            log.log_end_offset()
        })
    }

    /// All intact records of the journal, as entries in the order of their sequence.
    fn journal(&self) -> Vec<Found> {
        let bytes = self.world.file_bytes(&journal_path()).unwrap();
        let mut found = Vec::new();
        for block in 0..bytes.len() / BLOCK {
            let Ok((header, entries)) = record::decode(&bytes[block * BLOCK..]) else { continue };
            assert_eq!(header.position % JOURNAL_BYTES, (block * BLOCK) as u64, "a record lies where it says");
            found.extend(entries.map(|entry| {
                let entry = entry.unwrap();
                Found {
                    sequence: header.sequence,
                    partition: entry.id.partition,
                    kind: entry.kind,
                    segment: entry.segment,
                    tail_position: entry.tail_position,
                    end_offset: entry.end_offset,
                    tail: entry.tail.to_vec(),
                }
            }));
        }
        found.sort_by_key(|entry| entry.sequence);
        found
    }

    /// What recovery would say of a log: the newest entry laid over the segment's file.
    fn stored(&self, partition: i32) -> (Found, Vec<u8>) {
        let newest = self.journal().into_iter().rfind(|entry| entry.partition == partition).expect("an entry");
        let path = segment_path(&Self::dir(partition), newest.segment);
        let mut bytes = self.world.file_bytes(&path).unwrap_or_default();
        bytes.resize(usize::try_from(newest.tail_position).unwrap(), 0);
        bytes.extend_from_slice(&newest.tail);
        (newest, bytes)
    }
}

/// One record in a batch of exactly `bytes`.
fn batch(bytes: usize) -> Records {
    let build = |value: usize| BatchBuilder::default().build(&[NewRecord::value(1_000, vec![7; value])]);
    let mut value = bytes - build(0).len();
    while build(value).len() > bytes {
        value -= 1;
    }
    let built = build(value);
    assert_eq!(built.len(), bytes, "no varint edge at this size");
    Records::from(built)
}

fn try_append(log: &Rc<Log<SimEnv>>, records: &Records) -> Result<Appended, Error> {
    let header = records.header().unwrap();
    log.append(Append { records, header: &header, leader_epoch: 5, stamp: Stamp::Create })
}

async fn append(log: &Rc<Log<SimEnv>>, bytes: usize) -> Result<Appended, Error> {
    let records = batch(bytes);
    loop {
        match try_append(log, &records) {
            Err(Error::NotReady { .. }) => log.make_ready(bytes).await?,
            decided => return decided,
        }
    }
}

/// The offsets of the batches in `bytes`; panics where they are not whole and intact.
fn offsets(bytes: &[u8]) -> Vec<i64> {
    let mut offsets = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let header = Records::from(rest.to_vec()).header().unwrap();
        let (one, behind) = rest.split_at(header.size_bytes());
        assert_eq!(crate::record::crc::of_batch(one), Some(header.crc), "an intact batch");
        assert_eq!(header.partition_leader_epoch, 5, "a stamped batch");
        offsets.push(header.base_offset.0);
        rest = behind;
    }
    offsets
}

#[test]
fn a_small_batch_goes_to_the_journal_alone() {
    let shard = Shard::new(1);
    let log = shard.log(0);
    assert_eq!(shard.fill(&log, 3, 200), Offset(3));
    let (newest, bytes) = shard.stored(0);
    assert_eq!((newest.kind, newest.tail_position, newest.end_offset), (Kind::End, 0, Offset(3)));
    assert_eq!(offsets(&bytes), [0, 1, 2]);
    assert!(
        shard.world.file_bytes(&segment_path(&Shard::dir(0), Offset::ZERO)).is_none(),
        "no file for less than a block"
    );
}

#[test]
fn full_blocks_go_to_the_segment_and_the_rest_to_the_journal() {
    for seed in 0..20 {
        let shard = Shard::new(seed);
        let log = shard.log(0);
        shard.fill(&log, 25, 1500);
        let (newest, bytes) = shard.stored(0);
        assert_eq!(newest.tail_position, (25 * 1500 / BLOCK * BLOCK) as u64);
        assert_eq!(newest.end_position(), 25 * 1500);
        assert_eq!(offsets(&bytes), (0..25).collect::<Vec<_>>());
    }
}

#[test]
fn nobody_waits_for_a_file_to_be_made() {
    let shard = Shard::with(16, Config { window_journal_bytes: 32 << 10, ..config() });
    let log = shard.log(0);
    let first = Rc::clone(&log);
    shard.block_on(async move {
        // The first is under way when the second comes.
        append(&first, 1000).await.unwrap();
        first.wait_written(Offset(1)).await.unwrap();
        append(&first, 4500).await.unwrap();
        first.wait_durable(Offset(2)).await.unwrap();
    });
    let second = shard.journal().into_iter().find(|entry| entry.end_offset == Offset(2)).unwrap();
    assert_eq!((second.tail_position, second.end_position()), (0, 5500), "the block is in the journal");
    assert_eq!(offsets(&second.tail), [0, 1]);
    shard.world.run_for_ms(1000);
    assert_eq!(shard.stored(0).0.tail_position, 4096, "and in its segment as soon as there is one");
    assert_eq!(shard.writer.long_tails_bytes.get(), 0);
    assert_eq!(offsets(&shard.stored(0).1), [0, 1]);
}

#[test]
fn a_log_may_roll_many_times_in_a_burst() {
    let mut config = config();
    config.log.segment_bytes = 5000;
    let shard = Shard::with(17, config);
    let log = shard.log(0);
    shard.fill(&log, 120, 1500);
    shard.fill(&log, 1, 4999);
    let closing = Rc::clone(&log);
    shard.block_on(async move { closing.close().await.unwrap() });
    let segments: Vec<_> = log.segments.borrow().keys().copied().collect();
    assert_eq!(segments.len(), 41);
    let stored: Vec<_> = segments
        .iter()
        .flat_map(|base| offsets(&shard.world.file_bytes(&segment_path(&Shard::dir(0), *base)).unwrap()))
        .collect();
    assert_eq!(stored, (0..121).collect::<Vec<_>>());
    assert_eq!(recycled(&shard.world), 0, "no prepared file is left over");
}

#[test]
fn every_window_continues_where_the_one_before_ended() {
    let shard = Shard::new(3);
    let log = shard.log(0);
    for _ in 0..30 {
        shard.fill(&log, 1, 1000);
    }
    let entries = shard.journal();
    assert_eq!(entries.len(), 30, "a window for each append that was waited for");
    for (number, entry) in (1..).zip(&entries) {
        assert_eq!(entry.end_offset, Offset(number));
        assert!(entry.tail.len() < BLOCK, "full blocks do not go to the journal");
        assert_eq!(entry.tail_position % BLOCK as u64, 0);
    }
}

#[test]
fn a_bad_checksum_leaves_nothing_behind() {
    let shard = Shard::new(4);
    let log = shard.log(0);
    shard.fill(&log, 1, 300);
    let mut bytes = batch(300).parts()[0].to_vec();
    bytes[200] ^= 1;
    let refused = try_append(&log, &Records::from(bytes));
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    assert_eq!(log.log_end_offset(), Offset(1));
    shard.fill(&log, 1, 300);
    assert_eq!(offsets(&shard.stored(0).1), [0, 1]);
}

#[test]
fn a_batch_may_cross_chunks_of_memory_and_of_the_network() {
    let shard = Shard::new(5);
    let log = shard.log(0);
    shard.fill(&log, 1, 4050);
    // Its header lies across the end of the first chunk of memory, and across two chunks of the frame.
    let whole = batch(20_000).parts()[0].to_vec();
    let pieces = [&whole[..30], &whole[30..9000], &whole[9000..]];
    let records: Records = pieces.iter().map(|piece| bytes::Bytes::from(piece.to_vec()).into()).collect();
    let header = records.header().unwrap();
    let (log, again) = (Rc::clone(&log), Rc::clone(&log));
    shard.block_on(async move {
        log.make_ready(20_000).await.unwrap();
        let stamp = Stamp::LogAppend(77_000);
        let appended = log.append(Append { records: &records, header: &header, leader_epoch: 5, stamp }).unwrap();
        assert_eq!(appended.log_append_time_ms, 77_000);
        log.wait_durable(Offset(2)).await.unwrap();
    });
    let (_, bytes) = shard.stored(0);
    assert_eq!(offsets(&bytes), [0, 1]);
    assert_eq!(Records::from(bytes[4050..].to_vec()).header().unwrap().max_timestamp, 77_000);
    assert_eq!(again.durable_offset(), Offset(2));
}

#[test]
fn three_windows_are_under_way_and_acks_leave_in_order() {
    for seed in 0..50 {
        let shard = Shard::new(seed);
        let logs: Vec<_> = (0..4).map(|partition| shard.log(partition)).collect();
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let most = Rc::new(std::cell::Cell::new(0));
        let tasks: Vec<_> = (0..40)
            .map(|number| {
                let (log, order, most) = (Rc::clone(&logs[0]), Rc::clone(&order), Rc::clone(&most));
                let (rt, writer, other) =
                    (Rc::clone(&shard.rt), Rc::clone(&shard.writer), Rc::clone(&logs[number % 4]));
                shard.rt.spawn(async move {
                    rt.sleep_until(rt.now_ns() + number as u64 * 40_000).await;
                    append(&other, 900).await.unwrap();
                    let end = append(&log, 700).await.unwrap().last_offset.plus(1);
                    log.wait_written(end).await.unwrap();
                    most.set(writer.committer.under_way().max(most.get()));
                    log.wait_durable(end).await.unwrap();
                    assert!(log.durable_offset() <= log.written_offset());
                    order.borrow_mut().push(end.0);
                })
            })
            .collect();
        shard.block_on(async move {
            for task in tasks {
                task.await;
            }
        });
        let order = order.borrow();
        assert!(order.is_sorted(), "seed {seed}: {order:?}");
        assert_eq!(order.len(), 40);
        assert!((2..=3).contains(&most.get()), "seed {seed}: {} windows at once", most.get());
        for (partition, log) in (0..).zip(&logs) {
            // Those of the others may still wait for room.
            let end = log.log_end_offset().0;
            let log = Rc::clone(log);
            shard.block_on(async move { log.wait_durable(log.log_end_offset()).await.unwrap() });
            let bytes = shard.stored(partition).1;
            assert_eq!(i64::try_from(offsets(&bytes).len()), Ok(end));
        }
    }
}

#[test]
fn an_idle_log_is_carried_forward_before_the_journal_laps_its_tail() {
    let shard = Shard::new(7);
    let (idle, busy) = (shard.log(0), shard.log(1));
    shard.fill(&idle, 2, 500);
    let mut seen = BTreeMap::new();
    for _ in 0..400 {
        shard.fill(&busy, 1, 3000);
        let (newest, bytes) = shard.stored(0);
        assert_eq!(offsets(&bytes), [0, 1], "the tail of an idle log is always in the journal");
        seen.insert(newest.sequence, ());
    }
    assert!(seen.len() >= 3, "carried forward at each lap: {seen:?}");
    assert!(seen.len() <= 10, "and not much more often: {seen:?}");
}

#[test]
fn a_roll_pads_the_last_block_and_begins_another_file() {
    let mut config = config();
    config.log.segment_bytes = 20_000;
    let shard = Shard::with(8, config);
    let log = shard.log(0);
    shard.fill(&log, 30, 1500);
    shard.world.run_for_ms(1000);
    let bases: Vec<_> = log.segments.borrow().keys().copied().collect();
    assert_eq!(bases, [Offset(0), Offset(13), Offset(26)]);
    for (base, end) in [(0, 13), (13, 26)] {
        let bytes = shard.world.file_bytes(&segment_path(&Shard::dir(0), Offset(base))).unwrap();
        assert_eq!(offsets(&bytes), (base..end).collect::<Vec<_>>(), "a rolled segment has its exact length");
    }
    assert_eq!(offsets(&shard.stored(0).1), [26, 27, 28, 29]);
    let sealed: Vec<_> = shard.journal().into_iter().filter(|entry| entry.kind == Kind::Sealed).collect();
    assert_eq!(sealed.iter().map(|entry| entry.end_position()).collect::<Vec<_>>(), [19_500, 19_500]);
}

#[test]
fn a_retired_segment_is_written_again_and_its_old_bytes_do_no_harm() {
    let mut config = config();
    config.log.segment_bytes = 40_000;
    let shard = Shard::with(9, config);
    let log = shard.log(0);
    shard.fill(&log, 60, 2000);
    shard.world.run_for_ms(1000);
    let first = log.segments.borrow_mut().remove(&Offset(0)).unwrap();
    let hold = first.hold();
    let writer = Rc::clone(&shard.writer);
    let retired = Rc::clone(&first);
    shard.block_on(async move { writer.retire(vec![retired]).await.unwrap() });
    assert!(shard.world.file_bytes(&first.path).is_some(), "a reply may still read it");
    drop(hold);
    let writer = Rc::clone(&shard.writer);
    shard.block_on(async move { writer.retire(Vec::new()).await.unwrap() });
    assert!(shard.world.file_bytes(&first.path).is_none(), "it gave up its name");
    let before = recycled(&shard.world);
    assert_eq!(before, 1);
    let other = shard.log(1);
    shard.fill(&other, 10, 900);
    assert_eq!(recycled(&shard.world), 0, "another log took it");
    assert_eq!(offsets(&shard.stored(1).1), (0..10).collect::<Vec<_>>());
    let file = shard.world.file_bytes(&segment_path(&Shard::dir(1), Offset(0))).unwrap();
    assert!(file[12_000..].iter().any(|byte| *byte != 0), "stale bytes lie behind the end");
}

fn recycled(world: &World) -> usize {
    world.files().iter().filter(|(path, _)| path.starts_with("data/.ringmain/recycle")).count()
}

#[test]
fn a_failed_write_poisons_its_log_and_no_other() {
    let shard = Shard::new(10);
    let (log, other) = (shard.log(0), shard.log(1));
    shard.fill(&log, 10, 2000);
    shard.fill(&other, 1, 200);
    // The journal and the other log write as before: only this log's file is gone.
    let segment = Rc::clone(log.active.borrow().as_ref().unwrap());
    segment.file.replace(Some(read_only(&shard, &segment.path)));
    let failing = Rc::clone(&log);
    let error = shard.block_on(async move {
        append(&failing, 9000).await.unwrap();
        failing.wait_durable(Offset(11)).await.unwrap_err()
    });
    assert!(matches!(error, Error::Poisoned { .. }), "{error:?}");
    assert!(matches!(try_append(&log, &batch(200)), Err(Error::Poisoned { .. })));
    assert_eq!(log.durable_offset(), Offset(10), "what was durable stays readable");
    shard.fill(&other, 5, 200);
    shard.world.run_for_ms(100);
    let (newest, bytes) = shard.stored(0);
    assert_eq!((newest.kind, newest.end_offset), (Kind::Frozen, Offset(10)));
    assert_eq!(offsets(&bytes), (0..10).collect::<Vec<_>>());
}

fn read_only(shard: &Shard, path: &Path) -> crate::io::sim::SimFile {
    let (rt, path) = (Rc::clone(&shard.rt), path.to_owned());
    shard.block_on(async move {
        let how = OpenHow { write: false, create: false, direct: true };
        let Output::File(file) = rt.job(Job::Open(path, how)).await.unwrap() else { panic!("no file") };
        file
    })
}

#[test]
fn a_failed_flush_takes_the_directory_offline_for_every_log() {
    let shard = Shard::new(11);
    let (log, other) = (shard.log(0), shard.log(1));
    shard.fill(&log, 1, 200);
    shard.fill(&other, 1, 200);
    shard.world.set_faults(Faults { flush_error_ppm: 1_000_000, ..Faults::default() });
    let failing = Rc::clone(&log);
    let (written, durable) = shard.block_on(async move {
        append(&failing, 200).await.unwrap();
        (failing.wait_written(Offset(2)).await, failing.wait_durable(Offset(2)).await)
    });
    assert!(written.is_ok(), "the write itself had completed: {written:?}");
    assert!(matches!(durable, Err(Error::Offline { .. })), "{durable:?}");
    shard.world.set_faults(Faults::default());
    for log in [&log, &other] {
        assert!(matches!(try_append(log, &batch(200)), Err(Error::Offline { .. })), "nothing is retried");
    }
    assert_eq!((log.durable_offset(), other.durable_offset()), (Offset(1), Offset(1)));
    assert!(shard.directory.offline().is_some());
}

#[test]
fn a_full_disk_is_refused_before_it_is_full_and_clears() {
    let world = World::new(12, Faults::default());
    world.mount(Path::new("/data"), crate::io::sim::Device::Overwrite, 2 << 20);
    let shard = Shard::start(world, config());
    let log = shard.log(0);
    let filling = Rc::clone(&log);
    let refused = shard.block_on(async move {
        loop {
            if let Err(error) = append(&filling, 4000).await {
                return error;
            }
            filling.writer.rt.sleep_ms(20).await;
        }
    });
    let Error::DiskFull { free_bytes, reserve_bytes, .. } = refused else { panic!("{refused:?}") };
    assert!(free_bytes <= reserve_bytes + (64 << 10) && free_bytes > reserve_bytes / 2, "{free_bytes} bytes were left");
    // What was taken before waits for room: who waits for its acknowledgement hears of it, and nobody waits for ever.
    let end = log.log_end_offset();
    assert!(log.written_offset() < end);
    for goal in [Goal::Durable, Goal::Written, Goal::Durable] {
        let waiting = Rc::clone(&log);
        let told = shard.block_on(async move { waiting.wait_for_ack(goal, end).await });
        assert!(matches!(told, Err(Error::DiskFull { .. })), "{told:?}");
    }
    assert!(log.failure().is_none(), "it clears");
    // Another file goes away.
    let rt = Rc::clone(&shard.rt);
    let oldest = Rc::clone(log.segments.borrow().values().next().unwrap());
    shard.block_on(async move { rt.job(Job::Remove(oldest.path.clone())).await.map(drop) }).unwrap();
    shard.world.run_for_ms(3000);
    let again = Rc::clone(&log);
    shard.block_on(async move {
        again.wait_durable(end).await.unwrap();
        again.wait_for_ack(Goal::Durable, end).await.unwrap();
        append(&again, 4000).await.unwrap();
    });
}

#[test]
fn a_clean_stop_on_a_full_disk_takes_the_reserve() {
    let world = World::new(12, Faults::default());
    world.mount(Path::new("/data"), crate::io::sim::Device::Overwrite, 2 << 20);
    let shard = Shard::start(world, config());
    let log = shard.log(0);
    let (filling, writer) = (Rc::clone(&log), Rc::clone(&shard.writer));
    let closed = shard.block_on(async move {
        while append(&filling, 4000).await.is_ok() {
            filling.writer.rt.sleep_ms(20).await;
        }
        assert!(filling.written_offset() < filling.log_end_offset(), "some of it waits for room");
        writer.close_logs(vec![filling]).await
    });
    assert!(closed.is_ok(), "{closed:?}");
    assert_eq!(log.durable_offset(), log.log_end_offset());
    let files: u64 = log.segments.borrow().values().map(|segment| segment.file_bytes.get()).sum();
    let bytes: u64 = log.segments.borrow().values().map(|segment| segment.end_position.get()).sum();
    assert_eq!(files, bytes, "every byte is in its segment, and nothing behind it");
}

/// Closes `log` and opens it again as a clean start would.
fn reopen(shard: &Shard, log: &Rc<Log<SimEnv>>) -> Rc<Log<SimEnv>> {
    let closing = Rc::clone(log);
    shard.block_on(async move { closing.close().await.unwrap() });
    let base = *log.segments.borrow().keys().next_back().unwrap();
    let path = segment_path(log.dir(), base);
    let file_bytes = shard.world.file_bytes(&path).unwrap().len() as u64;
    let segment = Segment::new(base, path);
    segment.end_position.set(file_bytes);
    segment.end_offset.set(log.log_end_offset());
    segment.file_bytes.set(file_bytes);
    let found =
        Recovered { log_end: log.log_end_offset(), segments: vec![segment], ..shard.recovered(log.id().partition) };
    Log::open(&shard.writer, found)
}

#[test]
fn a_closed_log_is_whole_in_its_files() {
    for bytes in [200, 1500, 4096] {
        let shard = Shard::new(13);
        let log = shard.log(0);
        shard.fill(&log, 5, bytes);
        let again = reopen(&shard, &log);
        let file = shard.world.file_bytes(&segment_path(&Shard::dir(0), Offset(0))).unwrap();
        assert_eq!(offsets(&file), [0, 1, 2, 3, 4]);
        assert!(matches!(try_append(&log, &batch(200)), Err(Error::Closed { .. })));
        assert_eq!(again.log_end_offset(), Offset(5));
    }
}

#[test]
fn the_first_window_after_opening_protects_the_old_bytes_of_its_block() {
    let shard = Shard::new(14);
    let log = shard.log(0);
    shard.fill(&log, 5, 1000);
    let again = reopen(&shard, &log);
    let refused = try_append(&again, &batch(2000));
    assert!(matches!(refused, Err(Error::NotReady { .. })), "the last block is not in memory: {refused:?}");
    let before = shard.journal().len();
    let appending = Rc::clone(&again);
    shard.block_on(async move {
        append(&appending, 2000).await.unwrap();
        assert_eq!(appending.guard.get(), Guard::Up);
        appending.wait_written(Offset(6)).await.unwrap();
    });
    let first = shard.journal()[before].clone();
    assert_eq!((first.tail_position, first.end_position()), (4096, 7000), "old and new bytes, no block written");
    assert_eq!(again.active.borrow().as_ref().unwrap().submitted.get(), 4096);
    shard.fill(&again, 1, 3000);
    shard.fill(&again, 1, 3000);
    assert_eq!(offsets(&shard.stored(0).1), (0..8).collect::<Vec<_>>());
    assert_eq!(again.active.borrow().as_ref().unwrap().submitted.get(), 12_288);
}

#[test]
fn memory_short_of_room_makes_appends_wait_in_order() {
    let mut config = config();
    config.tail_bytes = 64 << 10;
    for seed in 0..20 {
        let shard = Shard::with(seed, config.clone());
        let logs: Vec<_> = (0..3).map(|partition| shard.log(partition)).collect();
        let tasks: Vec<_> = (0..90)
            .map(|number| {
                let log = Rc::clone(&logs[number % 3]);
                shard.rt.spawn(async move {
                    let end = append(&log, 5000).await.unwrap().last_offset.plus(1);
                    log.wait_durable(end).await.unwrap();
                })
            })
            .collect();
        shard.block_on(async move {
            for task in tasks {
                task.await;
            }
        });
        assert!(shard.writer.memory_bytes() <= 64 << 10);
        for partition in 0..3 {
            assert_eq!(offsets(&shard.stored(partition).1), (0..30).collect::<Vec<_>>());
        }
    }
}

#[test]
fn many_logs_with_a_record_each_share_windows() {
    let mut config = config();
    config.tail_bytes = 8 << 20;
    config.journal_bytes = JOURNAL_BYTES;
    let shard = Shard::with(15, config);
    let logs: Vec<_> = (0..60).map(|partition| shard.log(partition)).collect();
    for _ in 0..20 {
        for log in &logs {
            try_append(log, &batch(150)).unwrap();
        }
        let all = logs.clone();
        shard.block_on(async move {
            for log in all {
                log.wait_durable(log.log_end_offset()).await.unwrap();
            }
        });
    }
    for partition in 0..60 {
        assert_eq!(offsets(&shard.stored(partition).1), (0..20).collect::<Vec<_>>(), "partition {partition}");
    }
    assert!(shard.writer.committer.is_idle());
}
