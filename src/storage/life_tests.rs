//! Whole lives of a log directory on the simulated disk: start, append, stop or crash, start again.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::checkpoint::PartitionState;
use super::recovery::{Found, RecoveryError, Rules, Start, recover};
use super::stop::finish;
use super::{Append, Config, Directory, Disk, Error, Log, LogConfig, NewLog, Part, ReadPlan, Stamp, Store};
use crate::io::device::FlushScope;
use crate::io::sim::{Faults, SimEnv, World};
use crate::io::{Job, Output, Runtime, Slice};
use crate::record::build::{BatchBuilder, NewRecord};
use crate::record::{BatchHeader, Batches, Records};
use crate::types::{Offset, PartitionId, TopicId, TopicPartition};

pub(super) const BLOCK: usize = 4096;

/// A machine with a log directory, and the process in it while one lives.
pub(super) struct Life {
    pub(super) world: Rc<World>,
    pub(super) config: Config,
    pub(super) shards: Vec<Shard>,
    pub(super) start: Start,
    random: u64,
}

pub(super) struct Shard {
    pub(super) rt: Rc<Runtime<SimEnv>>,
    pub(super) store: Rc<Store<SimEnv>>,
}

pub(super) fn config() -> Config {
    Config {
        disk: Disk { block_bytes: BLOCK, scope: FlushScope::Device, ..Disk::default() },
        log: LogConfig { segment_bytes: 128 << 10, retention_ms: -1, ..LogConfig::default() },
        journal_bytes: 512 << 10,
        window_journal_bytes: 16 << 10,
        window_segment_bytes: 64 << 10,
        prepare_bytes_min: 16 << 10,
        prepare_bytes_max: 64 << 10,
        tail_bytes: 1 << 20,
        read_bytes: 4 << 20,
        reserve_bytes: 1 << 20,
        recycle_bytes: 1 << 20,
        ..Config::default()
    }
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/data")
}

pub(super) fn id(partition: i32) -> PartitionId {
    PartitionId { topic_id: TopicId([9; 16]), partition }
}

pub(super) fn name(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}

/// One batch as a client sends it.
pub(super) fn batch(records: usize, value_bytes: usize, timestamp: i64, fill: u8) -> Vec<u8> {
    let record = NewRecord::value(timestamp, vec![fill; value_bytes]);
    BatchBuilder::default().build(&vec![record; records])
}

pub(super) fn records(bytes: Vec<u8>) -> Records {
    Records::from_chunks(vec![Slice::from(bytes::Bytes::from(bytes))])
}

async fn open_store(
    rt: Rc<Runtime<SimEnv>>,
    directory: Arc<Directory>,
    config: Config,
    share: super::Share,
) -> Result<Rc<Store<SimEnv>>, RecoveryError> {
    let log_config = config.log.clone();
    Store::open(&rt, config, &directory, share, |_| log_config.clone()).await
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, config())
    }

    pub(super) fn with(seed: u64, config: Config) -> Self {
        let world = World::new(seed, Faults::default());
        Self {
            world,
            config,
            shards: Vec::new(),
            start: Start::Fresh,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// A number below `bound`, from the seed.
    pub(super) fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    pub(super) fn recover(&self, rt: &Rc<Runtime<SimEnv>>, salvage: bool) -> Result<Found, RecoveryError> {
        let inner = Rc::clone(rt);
        let rules = Rules { block_bytes: BLOCK, salvage };
        self.world.block_on(rt, async move { recover(&inner, &dir(), rules).await }).expect("recovery ends")
    }

    /// Starts a process; logs belong to shards by their partition's number.
    pub(super) fn open(&mut self, shards: u16) {
        self.try_open(shards, false).expect("the directory opens");
    }

    pub(super) fn try_open(&mut self, shards: u16, salvage: bool) -> Result<(), RecoveryError> {
        let found = self.open_some(shards, salvage, usize::from(shards))?;
        let rt = Rc::clone(&self.shards[0].rt);
        let inner = Rc::clone(&rt);
        self.world.block_on(&rt, async move { found.finish(&inner, shards).await }).expect("finishing ends");
        Ok(())
    }

    /// Opens the first `opened` of so many shards; the start is not finished.
    fn open_some(&mut self, shards: u16, salvage: bool, opened: usize) -> Result<Found, RecoveryError> {
        self.world.take_lock();
        let rts = self.world.start(shards);
        let mut found = self.recover(&rts[0], salvage)?;
        self.start = found.start;
        let directory = Directory::new(dir());
        for (shard, rt) in rts.iter().enumerate().take(opened) {
            let share = found.take_share(|log| usize::try_from(log.id.partition).unwrap() % rts.len() == shard);
            let store = open_store(Rc::clone(rt), Arc::clone(&directory), self.config.clone(), share);
            if shard == 0 {
                // In the order that `server/` keeps: the mark of the clean stop goes before anything changes.
                let rt = Rc::clone(rt);
                found = self.world.block_on(&rts[0], async move { found.begin(&rt).await.map(|()| found) }).unwrap()?;
            }
            let store = self.world.block_on(rt, store).expect("opening ends")?;
            self.shards.push(Shard { rt: Rc::clone(rt), store });
        }
        Ok(found)
    }

    pub(super) fn shard(&self, partition: i32) -> &Shard {
        &self.shards[usize::try_from(partition).unwrap() % self.shards.len()]
    }

    pub(super) fn create(&self, partition: i32) -> Rc<Log<SimEnv>> {
        let shard = self.shard(partition);
        let store = Rc::clone(&shard.store);
        let log_config = self.config.log.clone();
        let made = async move { store.create_log(id(partition), name(partition), log_config).await };
        self.world.block_on(&shard.rt, made).unwrap().unwrap()
    }

    pub(super) fn log(&self, partition: i32) -> Rc<Log<SimEnv>> {
        self.shard(partition).store.log(id(partition)).expect("the log is there")
    }

    pub(super) fn block_on<T: 'static>(&self, partition: i32, future: impl Future<Output = T> + 'static) -> T {
        self.world.block_on(&self.shard(partition).rt, future).expect("the future ends")
    }

    /// Appends one batch; answers the offset behind it.
    pub(super) fn append(&self, partition: i32, bytes: Vec<u8>) -> Result<Offset, Error> {
        let log = self.log(partition);
        self.block_on(partition, async move { append(&log, bytes).await })
    }

    pub(super) fn wait_durable(&self, partition: i32) {
        let log = self.log(partition);
        self.block_on(partition, async move { log.wait_durable(log.log_end_offset()).await }).unwrap();
    }

    /// Everything that a consumer can read of a log from its start, by fetches of `max_bytes`.
    pub(super) fn contents(&self, partition: i32, max_bytes: usize) -> Vec<u8> {
        let log = self.log(partition);
        let rt = Rc::clone(&self.shard(partition).rt);
        self.block_on(partition, async move {
            let mut all = Vec::new();
            let mut from = log.log_start_offset();
            while from < log.durable_offset() {
                let bytes = fetch(&rt, &log, from, log.durable_offset(), max_bytes).await.unwrap();
                assert!(!bytes.is_empty(), "a fetch below the high watermark gets the first batch at least, at {from}");
                for batch in Batches::new(&bytes) {
                    let batch = batch.unwrap();
                    batch.verify().unwrap();
                    assert_eq!(batch.header.base_offset, from, "batches follow one another");
                    from = batch.header.next_offset();
                }
                all.extend_from_slice(&bytes);
            }
            all
        })
    }

    pub(super) fn stop(&mut self) -> bool {
        let number = 4711;
        let mut stopped = Vec::new();
        for Shard { rt, store } in self.shards.drain(..) {
            stopped.push(self.world.block_on(&rt, async move { store.close(number).await }).expect("closing ends"));
        }
        assert!(stopped.iter().all(|stopped| stopped.failed.is_none()), "{stopped:?}");
        let rt = self.world.client();
        let inner = Rc::clone(&rt);
        let clean = self.world.block_on(&rt, async move { finish(&inner, &dir(), number, &stopped).await });
        self.world.kill();
        clean.expect("finishing ends").unwrap()
    }

    pub(super) fn crash(&mut self) {
        self.shards.clear();
        self.world.crash();
    }

    pub(super) fn kill(&mut self) {
        self.shards.clear();
        self.world.kill();
    }

    pub(super) fn remove(&self, path: &Path) {
        let rt = self.world.client();
        let inner = Rc::clone(&rt);
        let path = path.to_path_buf();
        self.world.block_on(&rt, async move { inner.job(Job::Remove(path)).await.map(drop) }).unwrap().unwrap();
    }

    pub(super) fn names(&self, under: &str) -> Vec<String> {
        let rt = self.world.client();
        let inner = Rc::clone(&rt);
        let path = dir().join(under);
        let listed = self.world.block_on(&rt, async move { inner.job(Job::List(path)).await }).unwrap();
        match listed.unwrap() {
            Output::Entries(entries) => entries.into_iter().map(|entry| entry.name).collect(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn append(log: &Rc<Log<SimEnv>>, bytes: Vec<u8>) -> Result<Offset, Error> {
    let len = bytes.len();
    let records = records(bytes);
    let header = records.header().unwrap();
    loop {
        let appended = log.append(Append { records: &records, header: &header, leader_epoch: 3, stamp: Stamp::Create });
        match appended {
            Ok(appended) => return Ok(appended.last_offset.plus(1)),
            Err(Error::NotReady { .. }) => log.make_ready(len).await?,
            Err(error) => return Err(error),
        }
    }
}

/// What one fetch gives, as bytes.
pub(super) async fn fetch(
    rt: &Rc<Runtime<SimEnv>>,
    log: &Rc<Log<SimEnv>>,
    from: Offset,
    upto: Offset,
    max_bytes: usize,
) -> Result<Vec<u8>, Error> {
    let parts = match log.plan_read(from, upto, max_bytes, true)? {
        ReadPlan::Ready(parts) => parts,
        ReadPlan::NeedsIo(reading) => reading.await?,
    };
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(slice) => bytes.extend_from_slice(&slice),
            Part::File { file, position, len, keep } => {
                let buf = crate::io::AppendBuf::with_capacity(len);
                let (read, buf) = rt.read(&file, position, len, buf).await;
                assert_eq!(read.unwrap(), len);
                bytes.extend_from_slice(buf.filled());
                drop(keep);
            }
        }
    }
    Ok(bytes)
}

/// What a log must hold: the batches as they were appended, with their offsets.
#[derive(Default)]
pub(super) struct Model {
    pub(super) batches: Vec<Vec<u8>>,
    pub(super) ends: Vec<Offset>,
}

impl Model {
    pub(super) fn push(&mut self, bytes: Vec<u8>, end: Offset) {
        self.batches.push(bytes);
        self.ends.push(end);
    }

    /// Asserts that `stored` is a prefix of what was appended that reaches to `at_least`; forgets the rest.
    pub(super) fn check(&mut self, stored: &[u8], at_least: Offset, what: &str) {
        let mut end = Offset::ZERO;
        let mut count = 0;
        for (batch, sent) in Batches::new(stored).zip(&self.batches) {
            let batch = batch.unwrap();
            let sent = BatchHeader::read(sent).unwrap();
            assert_eq!((batch.header.crc, batch.header.record_count), (sent.crc, sent.record_count), "batch {count}");
            end = batch.header.next_offset();
            assert_eq!(end, self.ends[count]);
            count += 1;
        }
        assert_eq!(Batches::new(stored).count(), count, "no more than was appended");
        assert!(end >= at_least, "{what}: the log ends at {end}, {at_least} was acknowledged");
        self.batches.truncate(count);
        self.ends.truncate(count);
    }
}

/// Some lives of three logs, ended in every way, opened by other numbers of shards.
fn lives(seed: u64) {
    let mut life = Life::new(seed);
    let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
    let mut acked = [(Offset::ZERO, Offset::ZERO); 3];
    life.open(1);
    for partition in 0..3 {
        drop(life.create(partition));
    }
    for round in 0..4_u8 {
        for step in 0..8 + life.draw(40) {
            let partition = i32::try_from(life.draw(3)).unwrap();
            let at = usize::try_from(partition).unwrap();
            let value_bytes =
                usize::try_from(if life.draw(8) == 0 { life.draw(40_000) } else { life.draw(900) }).unwrap();
            let count = usize::try_from(1 + life.draw(3)).unwrap();
            let bytes = batch(count, value_bytes, i64::try_from(step).unwrap(), round);
            let end = life.append(partition, bytes.clone()).unwrap();
            models[at].push(bytes, end);
            match life.draw(6) {
                0 => life.wait_durable(partition),
                1 => life.world.run_for_us(life.random % 300),
                _ => {}
            }
            for (partition, acked) in acked.iter_mut().enumerate() {
                let log = life.log(i32::try_from(partition).unwrap());
                *acked = (log.durable_offset(), log.written_offset());
            }
        }
        let (how, survives) = match life.draw(3) {
            0 => {
                life.crash();
                ("crash", acked.map(|(durable, _)| durable))
            }
            1 => {
                life.kill();
                ("kill", acked.map(|(_, written)| written))
            }
            _ => {
                assert!(life.stop());
                ("stop", [0, 1, 2].map(|at: usize| models[at].ends.last().copied().unwrap_or_default()))
            }
        };
        let shards = u16::try_from(1 + life.draw(3)).unwrap();
        life.open(shards);
        for partition in 0..3 {
            let at = usize::try_from(partition).unwrap();
            assert_eq!(life.log(partition).failure().map(|error| error.to_string()), None, "seed {seed}");
            let what = format!("seed {seed}, round {round}, {how}, {:?}, log {partition}", life.start);
            models[at].check(&life.contents(partition, 10_000), survives[at], &what);
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_end() {
    for seed in 0..150 {
        lives(seed);
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = || {
        let mut life = Life::new(5);
        life.open(2);
        drop(life.create(0));
        life.append(0, batch(2, 5000, 1, 1)).unwrap();
        life.wait_durable(0);
        life.crash();
        life.open(1);
        life.world.trace()
    };
    assert_eq!(trace(), trace());
}

/// A life with two logs, the first with some rolled segments.
fn filled(seed: u64) -> (Life, Vec<Vec<u8>>) {
    let mut life = Life::new(seed);
    life.open(1);
    for partition in 0..2 {
        drop(life.create(partition));
        for step in 0..60_u8 {
            life.append(partition, batch(3, 2000, 1000 + i64::from(step), step)).unwrap();
        }
        life.wait_durable(partition);
    }
    life.world.run_for_ms(2000);
    let contents = (0..2).map(|partition| life.contents(partition, 1 << 20)).collect();
    (life, contents)
}

#[test]
fn a_clean_stop_is_proven_and_opens_no_segment() {
    let (mut life, contents) = filled(1);
    assert!(life.stop());
    let reads = life.world.file_bytes(&dir().join(".kafka_cleanshutdown")).unwrap();
    assert_eq!(reads, br#"{"version":0,"brokerEpoch":4711}"#);
    let text = |name: &str| String::from_utf8(life.world.file_bytes(&dir().join(name)).unwrap()).unwrap();
    assert_eq!(text("recovery-point-offset-checkpoint"), "0\n2\nt 0 180\nt 1 180\n");
    assert_eq!(text("log-start-offset-checkpoint"), "0\n0\n");
    assert_eq!(text("t-0/partition.metadata"), format!("version: 0\ntopic_id: {}", id(0).topic_id));
    life.open(1);
    assert_eq!(life.start, Start::Clean);
    assert!(!life.names("").contains(&".kafka_cleanshutdown".to_owned()), "the mark goes with the first change");
    assert!(life.log(0).segments.borrow().values().all(|segment| segment.file.borrow().is_none()));
    assert_eq!(life.contents(0, 50_000), contents[0]);
    assert_eq!(life.contents(1, 50_000), contents[1]);
}

#[test]
fn a_directory_without_our_files_is_read_by_kafkas_rule() {
    let (mut life, contents) = filled(2);
    assert!(life.stop());
    life.remove(&dir().join(".ringmain"));
    life.open(2);
    assert_eq!(life.start, Start::Kafka);
    assert_eq!(life.contents(0, 1 << 20), contents[0]);
    assert_eq!(life.contents(1, 1 << 20), contents[1]);
    life.append(1, batch(1, 10, 1, 1)).unwrap();
    life.wait_durable(1);
}

#[test]
fn a_stop_of_kafkas_in_between_is_noticed() {
    let (mut life, contents) = filled(3);
    assert!(life.stop());
    let rt = life.world.client();
    let inner = Rc::clone(&rt);
    let path = dir().join(".kafka_cleanshutdown");
    let text = br#"{"version":0,"brokerEpoch":12}"#.to_vec();
    life.world.block_on(&rt, async move { inner.job(Job::WriteFile(path, text)).await.map(drop) }).unwrap().unwrap();
    life.open(1);
    assert_eq!(life.start, Start::Kafka);
    assert_eq!(life.contents(0, 1 << 20), contents[0]);
}

#[test]
fn a_lost_journal_is_refused_with_the_command_that_salvages() {
    let (mut life, contents) = filled(4);
    life.kill();
    for name in life.names(".ringmain").into_iter().filter(|name| name.starts_with("journal")) {
        life.remove(&dir().join(".ringmain").join(name));
    }
    let refused = life.try_open(1, false).expect_err("where logs end is not known");
    assert!(refused.to_string().contains("ringmain log close --salvage /data"), "{refused}");
    life.kill();
    life.try_open(1, true).expect("the operator's word");
    assert_eq!(life.start, Start::Salvaged);
    let salvaged = life.contents(0, 1 << 20);
    assert!(contents[0].starts_with(&salvaged) && salvaged.len() > 200_000, "all but the last blocks");
}

#[test]
fn a_flipped_bit_below_the_durable_mark_quarantines_its_log_alone() {
    let mut life = Life::new(6);
    life.open(1);
    for partition in 0..2 {
        drop(life.create(partition));
        for step in 0..20 {
            life.append(partition, batch(3, 1000, step, 7)).unwrap();
        }
        life.wait_durable(partition);
    }
    let whole = life.contents(1, 1 << 20);
    life.kill();
    let segment = dir().join("t-0/00000000000000000000.log");
    assert!(life.world.flip_bit(&segment, 8 * 9000 + 3));
    let before = life.world.file_bytes(&segment);
    life.open(1);
    let failure = life.log(0).failure().expect("quarantined");
    assert!(
        matches!(&failure, Error::Quarantined { reason, .. } if reason.contains("below the durable offset")),
        "{failure}"
    );
    assert_eq!(life.log(1).failure().map(|error| error.to_string()), None);
    assert_eq!(life.contents(1, 1 << 20), whole);
    assert_eq!(life.world.file_bytes(&segment), before, "the evidence stays");
    assert!(life.names(".ringmain/quarantine").iter().any(|name| name.starts_with("journal-0-")));
    assert!(life.stop());
    life.open(1);
    assert!(matches!(life.log(0).failure(), Some(Error::Quarantined { .. })), "a quarantine outlives a clean stop");
    life.kill();
    life.open(1);
    assert!(matches!(life.log(0).failure(), Some(Error::Quarantined { .. })), "and a crash");
}

#[test]
fn an_unreadable_block_costs_what_only_it_holds() {
    let (mut life, contents) = filled(14);
    let block = BLOCK as u64;
    let journal = dir().join(".ringmain/journal-0-1");
    let last = |log: &Log<SimEnv>| {
        let segments = log.segments.borrow();
        let (base, segment) = segments.last_key_value().expect("a segment");
        (log.dir().join(format!("{:020}.log", base.0)), segment.end_position.get())
    };
    let ((first, _), (second, end)) = (last(&life.log(0)), last(&life.log(1)));
    life.kill();
    // Where no record lies; where a log's last bytes will lie, which are in the journal.
    assert!(life.world.break_block(&journal, life.config.journal_bytes - block));
    assert!(life.world.break_block(&second, end / block * block));
    life.open(1);
    for partition in 0..2 {
        assert_eq!(life.log(partition).failure().map(|error| error.to_string()), None, "log {partition}");
        assert_eq!(life.contents(partition, 1 << 20), contents[usize::try_from(partition).unwrap()]);
    }
    life.kill();
    assert!(life.world.break_block(&first, 0));
    life.remove(&dir().join(".ringmain/checkpoint-0-2"));
    life.open(1);
    let failure = life.log(0).failure().expect("quarantined");
    assert!(failure.to_string().contains("at position 0"), "{failure}");
    assert_eq!(life.contents(1, 1 << 20), contents[1]);
}

#[test]
fn a_flipped_bit_in_the_journal_is_put_right() {
    for bit in (0..60_000).step_by(997) {
        let mut life = Life::new(7);
        life.open(1);
        for partition in 0..2 {
            drop(life.create(partition));
        }
        for step in 0..6_u8 {
            life.append(i32::from(step % 2), batch(1, 300, 1, step)).unwrap();
            life.wait_durable(i32::from(step % 2));
        }
        let whole = [life.contents(0, 1 << 20), life.contents(1, 1 << 20)];
        life.kill();
        let journal = life.names(".ringmain").into_iter().find(|name| name.starts_with("journal")).unwrap();
        let path = dir().join(".ringmain").join(journal);
        assert!(life.world.flip_bit(&path, bit));
        life.open(1);
        for partition in 0..2 {
            let log = life.log(partition);
            let served = log.failure().is_none();
            // The last record is like one that was torn on its way: nothing says that it was flushed.
            let last = log.log_end_offset() >= Offset(2);
            assert!(
                last && (!served
                    || whole[usize::try_from(partition).unwrap()].starts_with(&life.contents(partition, 1 << 20))),
                "bit {bit}"
            );
        }
        let ends = life.log(0).log_end_offset().0 + life.log(1).log_end_offset().0;
        assert!(ends >= 5, "bit {bit}: at most the last record is lost, {ends} of 6 are there");
    }
}

#[test]
fn producers_and_epochs_are_moved_forward_to_the_end() {
    let mut life = Life::new(8);
    life.open(1);
    drop(life.create(0));
    for step in 0..7 {
        let builder =
            BatchBuilder { producer_id: 77, producer_epoch: 1, base_sequence: step * 2, ..BatchBuilder::default() };
        let bytes = builder.build(&[NewRecord::value(1, "a"), NewRecord::value(2, "b")]);
        life.append(0, bytes).unwrap();
    }
    life.wait_durable(0);
    life.crash();
    life.open(1);
    let state: PartitionState = life.shards[0].store.take_state(id(0));
    assert_eq!(state.up_to, 14);
    assert_eq!(state.leader_epochs.iter().map(|entry| (entry.epoch, entry.start_offset)).collect::<Vec<_>>(), [(3, 0)]);
    let producer = &state.producers[0];
    assert_eq!((producer.producer_id, producer.epoch, producer.batches.len()), (77, 1, 5));
    assert_eq!(producer.batches[4].last_sequence, 13);
}

#[test]
fn closing_a_crashed_directory_makes_it_kafkas() {
    let (mut life, contents) = filled(11);
    life.kill();
    life.world.take_lock();
    let rt = life.world.start(1).remove(0);
    let (inner, config) = (Rc::clone(&rt), life.config.clone());
    let closed =
        life.world.block_on(&rt, async move { super::close::close_directory(&inner, config, &dir(), false).await });
    let closed = closed.expect("closing ends").unwrap();
    assert_eq!((closed.start, closed.logs, closed.quarantined.len(), closed.clean), (Start::Crashed, 2, 0, true));
    drop(rt);
    life.world.kill();
    life.remove(&dir().join(".ringmain"));
    life.open(1);
    assert_eq!(life.start, Start::Kafka);
    assert_eq!(life.contents(0, 1 << 20), contents[0]);
    assert_eq!(life.contents(1, 1 << 20), contents[1]);
}

#[test]
fn a_deleted_log_stays_deleted() {
    let (mut life, _) = filled(9);
    let store = Rc::clone(&life.shards[0].store);
    life.block_on(0, async move { store.delete_log(id(0)).await }).unwrap();
    life.crash();
    life.open(1);
    assert!(life.shards[0].store.log(id(0)).is_none());
    assert!(!life.names("").iter().any(|name| name.starts_with("t-0")), "{:?}", life.names(""));
    assert_eq!(life.log(1).log_end_offset(), Offset(180));
}

#[test]
fn a_start_that_dies_half_open_leaves_the_checkpoints_before_it() {
    for clean in [true, false] {
        let (mut life, contents) = filled(11);
        let log = life.log(1);
        life.block_on(1, async move { log.delete_before(Offset(99)).await }).unwrap();
        let kept = life.contents(1, 1 << 20);
        assert!(kept.len() < contents[1].len());
        life.world.run_for_ms(3000);
        if clean {
            assert!(life.stop())
        } else {
            life.crash()
        }
        life.open_some(2, false, 1).expect("the first shard opens");
        let names = life.names(".ringmain");
        assert!(["checkpoint-0-1", "checkpoint-0-2"].iter().all(|name| names.contains(&(*name).into())), "{names:?}");
        life.crash();
        life.open(3);
        let log = life.log(1);
        assert_eq!((log.log_start_offset(), log.failure().map(|error| error.to_string())), (Offset(99), None));
        assert_eq!(life.contents(0, 1 << 20), contents[0]);
        assert_eq!(life.contents(1, 1 << 20), kept);
        let own: Vec<String> = life.names(".ringmain").into_iter().filter(|name| name.contains('-')).collect();
        assert!(own.iter().all(|name| name.ends_with("-3")), "what no start needs any more is gone: {own:?}");
    }
}

#[test]
fn segments_given_up_at_the_same_time_go_in_their_order() {
    let mut config = config();
    config.log.segment_bytes = 32 << 10;
    let mut life = Life::with(12, config);
    life.open(1);
    drop(life.create(1));
    for step in 0..60 {
        life.append(1, batch(3, 2000, 1, step)).unwrap();
    }
    life.wait_durable(1);
    life.world.run_for_ms(500);
    let log = life.log(1);
    let (first, second) = (Rc::clone(&log), Rc::clone(&log));
    let rt = Rc::clone(&life.shard(1).rt);
    life.block_on(1, async move {
        let many = rt.spawn(async move { first.delete_before(Offset(120)).await });
        let few = rt.spawn(async move { second.delete_before(Offset(150)).await });
        (few.await.unwrap(), many.await.unwrap())
    });
    let waiting: Vec<Offset> =
        life.shard(1).store.writer().take_waiting().iter().map(|(_, segment)| segment.base_offset).collect();
    assert!(waiting.len() > 5 && waiting.is_sorted(), "{waiting:?}");
}

#[test]
fn rolled_segments_give_their_memory_back() {
    let mut life = Life::new(13);
    life.open(1);
    let log = life.create(0);
    let chunks = life.config.tail_bytes / BLOCK;
    for _ in 0..chunks + 10 {
        life.append(0, batch(1, 10, 1, 1)).expect("memory for it");
        log.roll().unwrap();
        life.wait_durable(0);
    }
}

#[test]
fn retention_gives_whole_segments_to_be_written_again() {
    let mut config = config();
    config.log.retention_bytes = 300 << 10;
    let mut life = Life::with(10, config);
    life.open(1);
    drop(life.create(0));
    for step in 0..300_u16 {
        life.append(0, batch(1, 6000, 1, u8::try_from(step % 256).unwrap())).unwrap();
        if step % 10 == 0 {
            life.wait_durable(0);
            life.world.run_for_ms(5);
        }
    }
    life.wait_durable(0);
    life.world.run_for_ms(3000);
    let log = life.log(0);
    let start = log.log_start_offset();
    let kept: u64 = log.segments.borrow().values().map(|segment| segment.end_position.get()).sum();
    assert!(start > Offset(200) && (300 << 10..500 << 10).contains(&kept), "start {start}, {kept} bytes kept");
    drop(log);
    let whole = life.contents(0, 1 << 20);
    life.crash();
    life.open(1);
    assert_eq!(life.log(0).failure().map(|error| error.to_string()), None);
    assert_eq!(life.log(0).log_start_offset(), start);
    assert_eq!(life.contents(0, 1 << 20), whole);
}

#[test]
fn a_log_of_old_timestamps_does_not_roll_at_every_roll() {
    let mut config = config();
    config.log.retention_ms = 10;
    let mut life = Life::with(32, config);
    life.open(1);
    drop(life.create(0));
    life.append(0, batch(1, 3000, 1, 1)).unwrap();
    life.log(0).roll().unwrap();
    life.append(0, batch(1, 3000, 1, 2)).unwrap();
    life.wait_durable(0);
    life.world.run_for_ms(20_000);
    assert_eq!(life.log(0).log_start_offset(), Offset(1), "the rolled segment went");
    assert!(life.log(0).active.borrow().is_some(), "the active one was not rolled because another was");
}

#[test]
fn a_long_read_of_an_active_segment_takes_no_more_than_the_read_buffers() {
    let mut config = config();
    (config.tail_bytes, config.read_bytes) = (256 << 10, 256 << 10);
    config.log.segment_bytes = 64 << 20;
    let mut life = Life::with(33, config);
    life.open(1);
    drop(life.create(0));
    for step in 0..200_u8 {
        life.append(0, batch(1, 8000, 1, step)).unwrap();
    }
    life.wait_durable(0);
    let (log, rt) = (life.log(0), Rc::clone(&life.shard(0).rt));
    let got = life.block_on(0, async move { fetch(&rt, &log, Offset::ZERO, Offset(200), 2 << 20).await }).unwrap();
    assert!((8000..=64 << 10).contains(&got.len()), "{} bytes", got.len());
    assert_eq!(life.contents(0, 2 << 20).len(), 200 * batch(1, 8000, 1, 0).len());
}

#[test]
fn retention_looks_as_often_as_it_is_told() {
    for (check_ms, gone) in [(1_000, true), (600_000, false)] {
        let mut config = config();
        (config.log.retention_ms, config.retention_check_ms) = (5_000, check_ms);
        let mut life = Life::with(29, config);
        life.open(1);
        drop(life.create(0));
        life.append(0, batch(1, 3000, 1, 1)).unwrap();
        life.wait_durable(0);
        life.world.run_for_ms(20_000);
        assert_eq!(life.log(0).log_start_offset() == Offset(1), gone, "every {check_ms} ms");
    }
}

#[test]
fn the_journal_before_last_is_written_again_and_its_old_records_do_not_count() {
    let mut life = Life::new(34);
    let mut model = Model::default();
    for start in 1..=6_u8 {
        life.open(1);
        if start == 1 {
            drop(life.create(0));
        }
        let mut names = life.names(".ringmain/recycle");
        names.retain(|name| name.starts_with("journal-"));
        let spare = if start == 1 { Vec::new() } else { vec![format!("journal-0-{}", start - 1)] };
        assert_eq!(names, spare, "start {start}");
        // Fewer records each time: those of the start before last lie behind them.
        for step in 0..40 - 5 * start {
            let bytes = batch(1, 300, i64::from(step), start);
            let end = life.append(0, bytes.clone()).unwrap();
            life.wait_durable(0);
            model.push(bytes, end);
        }
        let acked = life.log(0).durable_offset();
        if start < 6 {
            assert!(life.stop());
            continue;
        }
        life.crash();
        life.open(1);
        model.check(&life.contents(0, 1 << 20), acked, "after a crash");
    }
}

#[test]
fn logs_made_together_are_there_after_a_crash_or_can_be_made_again() {
    for seed in 0..30 {
        let mut life = Life::new(seed);
        life.open(1);
        let new: Vec<_> =
            (0..50).map(|at| NewLog { id: id(at), name: name(at), config: life.config.log.clone() }).collect();
        let (store, again) = (Rc::clone(&life.shard(0).store), new.clone());
        let making =
            life.shard(0).rt.spawn(async move { store.create_logs(new).await.into_iter().all(|log| log.is_ok()) });
        // The power fails somewhere on the way, or when all are made.
        let cut_us = life.draw(20_000);
        life.world.run_for_us(cut_us);
        let made = making.is_finished();
        drop(making);
        life.crash();
        life.open(1);
        let there = life.shard(0).store.logs();
        assert!(there.iter().all(|log| log.failure().is_none()), "seed {seed}: none is quarantined");
        assert!(!made || there.len() == 50, "seed {seed}: {} are there", there.len());
        let missing = again.into_iter().filter(|new| there.iter().all(|log| log.id() != new.id)).collect();
        let store = Rc::clone(&life.shard(0).store);
        assert!(life.block_on(0, async move { store.create_logs(missing).await.into_iter().all(|log| log.is_ok()) }));
        for partition in [0, 31, 49] {
            assert_eq!(life.append(partition, batch(1, 100, 1, 1)).unwrap(), Offset(1));
            life.wait_durable(partition);
        }
        life.crash();
        life.open(1);
        assert_eq!(life.shard(0).store.logs().len(), 50, "seed {seed}");
        assert_eq!(life.log(49).log_end_offset(), Offset(1), "seed {seed}");
    }
}

#[test]
fn a_file_shorter_than_its_log_gets_room_without_a_hole() {
    for batches in 1..40 {
        let mut life = Life::new(35);
        life.open(1);
        drop(life.create(0));
        for _ in 0..batches {
            life.append(0, batch(1, 3000, 1, 1)).unwrap();
            life.wait_durable(0);
        }
        // What the file has no room for yet is in the journal.
        life.kill();
        life.open(1);
        life.append(0, batch(1, 9000, 1, 2)).unwrap();
        life.wait_durable(0);
        life.world.run_for_ms(100);
        let active = life.log(0).active.borrow().clone().expect("nothing is rolled");
        assert!(!active.flush_alone.get(), "a hole after {batches} batches");
    }
}

#[test]
fn a_log_deleted_while_its_segment_gets_a_name_leaves_nothing_in_the_pool() {
    for pause_us in (0..4_500).step_by(15) {
        let mut life = Life::new(pause_us);
        life.open(1);
        drop(life.create(0));
        let log = life.log(0);
        let appending = life.shard(0).rt.spawn(async move {
            for step in 0..4 {
                append(&log, batch(1, 9000, 1, step)).await?;
            }
            Ok::<(), Error>(())
        });
        life.world.run_for_us(pause_us);
        let store = Rc::clone(&life.shard(0).store);
        life.block_on(0, async move { store.delete_log(id(0)).await }).unwrap();
        life.world.run_for_ms(5_000);
        drop(appending);
        let pooled = |(path, _): &(PathBuf, u64)| path.to_string_lossy().contains("recycle");
        let left: Vec<_> = life.world.files().into_iter().filter(pooled).collect();
        assert!(left.is_empty(), "deleted after {pause_us} us: {left:?}");
    }
}

#[test]
fn a_start_on_a_full_disk_makes_do_with_a_small_journal() {
    let mut life = Life::new(36);
    life.open(1);
    drop(life.create(0));
    let mut model = Model::default();
    for step in 0..40_u8 {
        let bytes = batch(1, 3000, i64::from(step), step);
        let end = life.append(0, bytes.clone()).unwrap();
        model.push(bytes, end);
    }
    life.wait_durable(0);
    let acked = life.log(0).durable_offset();
    assert!(life.stop());
    let least = super::Writer::<SimEnv>::journal_bytes_min(&life.config);
    assert!(least < life.config.journal_bytes);
    life.world.leave_bytes(&dir(), least + (64 << 10));
    life.open(1);
    model.check(&life.contents(0, 1 << 20), acked, "on a full disk");
    assert!(life.stop());
}
