//! A log directory on the simulated disk over several starts: what the storage's own tests drive.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::recovery::{Found, RecoveryError, Rules, Start, recover};
use super::stop::finish;
use super::{Append, Config, Directory, Disk, Error, Log, LogConfig, Part, ReadPlan, Stamp, Store};
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
    pub(super) random: u64,
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
    pub(super) fn open_some(&mut self, shards: u16, salvage: bool, opened: usize) -> Result<Found, RecoveryError> {
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
                // copies: what a test reads
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
            // copies: what a test reads
            Part::Bytes(slice) => bytes.extend_from_slice(&slice),
            Part::File { file, position, len, keep } => {
                let buf = crate::io::AppendBuf::with_capacity(len);
                let (read, buf) = rt.read(&file, position, len, buf).await;
                assert_eq!(read.unwrap(), len);
                // copies: what a test reads
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

/// A life with two logs, the first with some rolled segments.
pub(super) fn filled(seed: u64) -> (Life, Vec<Vec<u8>>) {
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
