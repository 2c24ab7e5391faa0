//! How a node opens, reads and closes its logs, as `server/` does it: one shard recovers, all open, the last one finishes.
//!
//! Shards find each other through a [`Shared`] value and short sleeps, which works on one thread and on several.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ringmain::io::device::{DeviceFlush, FlushScope};
use ringmain::io::{AppendBuf, Env, Runtime};
use ringmain::storage::recovery::{self, Found, Rules};
use ringmain::storage::stop::{self, Stopped};
use ringmain::storage::{Config, Directory, Disk, Error, Log, LogConfig, Part, ReadPlan, Share, Store};
use ringmain::types::{Offset, PartitionId, TopicId, TopicPartition};

use super::life::Held;
use super::script::Script;

/// What the shards of one life share.
struct Shared {
    dir: PathBuf,
    shards: u16,
    directory: Arc<Directory>,
    flush: DeviceFlush,
    shares: Mutex<Vec<Option<Share>>>,
    opened: AtomicUsize,
    stopped: Mutex<Vec<Stopped>>,
}

/// What one shard starts with.
#[derive(Clone)]
pub struct Seat(Arc<Shared>);

/// One shard's logs and how to close them.
pub struct Opened<E: Env> {
    pub logs: Rc<Vec<Held<E>>>,
    rt: Rc<Runtime<E>>,
    store: Rc<Store<E>>,
    shared: Arc<Shared>,
}

/// The seats of a life of so many shards.
pub fn seats(dir: &Path, shards: u16) -> Vec<Seat> {
    let shared = Arc::new(Shared {
        dir: dir.into(),
        shards,
        directory: Directory::new(dir.into()),
        flush: DeviceFlush::default(),
        shares: Mutex::default(),
        opened: AtomicUsize::new(0),
        stopped: Mutex::default(),
    });
    (0..shards).map(|_| Seat(Arc::clone(&shared))).collect()
}

/// Opens one shard.
pub async fn open<E: Env>(rt: &Rc<Runtime<E>>, script: &Script, Seat(shared): Seat) -> Opened<E> {
    let config = config(script, shared.flush.clone());
    let first = rt.shard().index() == 0;
    let found = if first { Some(recover(rt, &config, &shared).await) } else { None };
    let share = loop {
        let given = shared.shares.lock().expect("no panic").get_mut(rt.shard().index()).and_then(Option::take);
        match given {
            Some(share) => break share,
            None => rt.sleep_ms(1).await,
        }
    };
    let log_config = config.log.clone();
    let store = Store::open(rt, config, &shared.directory, share, |_| log_config.clone()).await;
    let store = store.unwrap_or_else(|error| panic!("shard {:?} cannot open its store: {error}", rt.shard()));
    let mine = (0..script.logs).filter(|number| number % usize::from(shared.shards) == rt.shard().index());
    let mut logs = Vec::new();
    for number in mine {
        let (id, name) = identity(number);
        let log = match store.log(id) {
            Some(log) => log,
            None => store.create_log(id, name, log_config.clone()).await.expect("a log can be made"),
        };
        logs.push(Held { number, log, store: Rc::clone(&store) });
    }
    shared.opened.fetch_add(1, Ordering::SeqCst);
    if let Some(found) = found {
        while shared.opened.load(Ordering::SeqCst) < usize::from(shared.shards) {
            rt.sleep_ms(1).await;
        }
        found.finish(rt, shared.shards).await;
    }
    Opened { logs: Rc::new(logs), rt: Rc::clone(rt), store, shared }
}

async fn recover<E: Env>(rt: &Rc<Runtime<E>>, config: &Config, shared: &Shared) -> Found {
    let rules = Rules { block_bytes: config.disk.block_bytes, salvage: false };
    let found = recovery::recover(rt, &shared.dir, rules).await;
    let mut found = found.unwrap_or_else(|error| panic!("the directory cannot be recovered: {error}"));
    found.begin(rt).await.expect("the mark of a clean stop can be removed");
    let share = |shard: u16| {
        Some(found.take_share(|log| number_of(&log.name) % usize::from(shared.shards) == usize::from(shard)))
    };
    *shared.shares.lock().expect("no panic") = (0..shared.shards).map(share).collect();
    found
}

/// Closes one shard; the last one ends the stop.
pub async fn close<E: Env>(opened: Opened<E>) -> Result<(), Error> {
    let Opened { rt, store, shared, .. } = opened;
    let stopped = store.close(STOP).await;
    let failed = stopped.failed.clone();
    let last = {
        let mut all = shared.stopped.lock().expect("no panic");
        all.push(stopped);
        (all.len() == usize::from(shared.shards)).then(|| std::mem::take(&mut *all))
    };
    if let Some(all) = last {
        stop::finish(&rt, &shared.dir, STOP, &all).await?;
    }
    failed.map_or(Ok(()), Err)
}

/// The bytes of whole batches from `from` on, below `upto`.
pub async fn read<E: Env>(
    rt: &Rc<Runtime<E>>,
    log: &Rc<Log<E>>,
    from: i64,
    upto: Offset,
    most: usize,
) -> Result<Vec<u8>, Error> {
    let parts = match log.plan_read(Offset(from), upto, most, true)? {
        ReadPlan::Ready(parts) => parts,
        ReadPlan::NeedsIo(reading) => reading.await?,
    };
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(slice) => bytes.extend_from_slice(&slice),
            Part::File { file, position, len, keep } => {
                let (read, buf) = rt.read(&file, position, len, AppendBuf::with_capacity(len)).await;
                let cause = |cause| Error::Io { what: "read", path: PathBuf::from("part"), cause: Arc::new(cause) };
                assert_eq!(read.map_err(cause)?, len, "a part of a file is there");
                bytes.extend_from_slice(buf.filled());
                drop(keep);
            }
        }
    }
    Ok(bytes)
}

/// What retention does: it promises nothing.
pub async fn delete_before<E: Env>(log: &Rc<Log<E>>, below: i64) -> Result<(), Error> {
    log.delete_before(Offset(below)).await.map(drop)
}

/// What a user who deletes records does. Answers where the log starts then, for good.
pub async fn delete_records<E: Env>(held: &Held<E>, below: i64) -> Result<Offset, Error> {
    let mut raised = held.store.raise_log_starts(&[(Rc::clone(&held.log), Offset(below))]).await;
    raised.pop().expect("an answer for each")
}

fn config(script: &Script, flush: DeviceFlush) -> Config {
    let scope = if script.flush_device { FlushScope::Device } else { FlushScope::File };
    let block = script.block_bytes;
    let mut config = Config {
        disk: Disk { block_bytes: block, scope, flush },
        log: LogConfig { segment_bytes: script.segment_bytes, index_interval_bytes: 512, ..LogConfig::default() },
        journal_bytes: 0,
        window_journal_bytes: script.window_journal_bytes,
        window_segment_bytes: 64 << 10,
        windows: script.windows,
        prepare_bytes_min: 2 * block as u64,
        prepare_bytes_max: 16 * block as u64,
        tail_bytes: script.tail_bytes,
        reserve_bytes: 0,
        recycle_bytes: 256 << 10,
        sabotage: script.sabotage.rule,
        ..Config::default()
    };
    let least = ringmain::storage::Writer::<ringmain::io::sim::SimEnv>::journal_bytes_min(&config);
    config.journal_bytes = least + script.journal_blocks * block as u64;
    config
}

fn identity(number: usize) -> (PartitionId, TopicPartition) {
    let byte = u8::try_from(number + 1).expect("few logs");
    let name = TopicPartition { topic: Arc::from(format!("t{number}")), partition: 0 };
    (PartitionId { topic_id: TopicId([byte; 16]), partition: 0 }, name)
}

fn number_of(name: &TopicPartition) -> usize {
    name.topic.trim_start_matches('t').parse().expect("a name of ours")
}

/// The log that a segment's file belongs to.
pub fn log_of(path: &Path) -> Option<usize> {
    let segment = path.extension().is_some_and(|suffix| suffix == "log");
    let dir = path.parent().filter(|_| segment)?.file_name()?.to_str()?;
    dir.strip_prefix('t')?.strip_suffix("-0")?.parse().ok()
}

/// The number of a clean stop.
const STOP: i64 = 77;
