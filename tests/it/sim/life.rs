//! One life of a node's storage, on any [`Env`]: comes up, checks what it finds, serves clients, and is closed or not.
//!
//! The same body runs on the simulator and on the kernel. It never knows when it dies: the promises that it hands to the
//! [`Model`] are those that the store had answered by then.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringmain::io::sim::Faults;
use ringmain::io::{Env, Runtime, Slice};
use ringmain::record::build::{BatchBuilder, NewRecord};
use ringmain::record::{BatchHeader, Records};
use ringmain::storage::{Append, Error, Log, Stamp, Store};
use ringmain::types::Offset;

use super::model::{End, Model};
use super::script::{Chance, Script};
use super::store::{self, Opened, Seat};

/// A life as each shard of it sees it. Crosses threads on the kernel.
#[derive(Clone)]
pub struct Lived {
    pub script: Arc<Script>,
    pub model: Arc<Model>,
    /// Which of the script's lives.
    number: usize,
    /// How the one before ended; `None` for the first.
    before: Option<End>,
    /// A flush failed since the last time that a node was up.
    weak: bool,
    /// Operations of all lives so far, at which the clients of this one go home.
    until_ops: u64,
    /// The store is closed at the end.
    closes: bool,
    up: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    closes_failed: Arc<AtomicUsize>,
}

impl Lived {
    pub fn new(
        script: &Script,
        model: &Arc<Model>,
        number: usize,
        before: Option<End>,
        weak: bool,
        until_ops: u64,
        closes: bool,
    ) -> Self {
        let (script, model) = (Arc::new(script.clone()), Arc::clone(model));
        let (up, done, closes_failed) = Default::default();
        Self { script, model, number, before, weak, until_ops, closes, up, done, closes_failed }
    }

    /// Shards that have come up and found what was promised.
    pub fn up(&self) -> usize {
        self.up.load(Ordering::Relaxed)
    }

    /// Shards whose clients have gone home, and whose store is closed if it is to be.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Whether the store of some shard could not be closed: then its close promises nothing.
    pub fn close_failed(&self) -> bool {
        self.closes_failed.load(Ordering::Relaxed) > 0
    }

    /// Whether the clients may go home.
    pub fn is_worked_off(&self) -> bool {
        self.model.ops() >= self.until_ops
    }

    fn chance(&self, salt: u64) -> Chance {
        Chance::new(self.script.seed ^ (self.number as u64) << 32 ^ salt << 40)
    }

    /// Whether errors of the device may show in this life.
    fn errors(&self) -> bool {
        self.script.faults != Faults::default() || self.model.any_flipped()
    }
}

/// One log of this shard.
pub struct Held<E: Env> {
    pub number: usize,
    pub log: Rc<Log<E>>,
    pub store: Rc<Store<E>>,
}

/// One shard's life.
pub async fn shard<E: Env>(rt: Rc<Runtime<E>>, lived: Lived, seat: Seat) {
    let opened = store::open(&rt, &lived.script, seat).await;
    for held in opened.logs.iter() {
        check_recovered(&rt, &lived, held).await;
    }
    lived.up.fetch_add(1, Ordering::Relaxed);
    let clients: Vec<_> = (0..lived.script.clients)
        .filter(|_| !opened.logs.is_empty())
        .map(|number| {
            let salt = u64::from(rt.shard().0) << 8 | number;
            rt.spawn(client(Rc::clone(&rt), lived.clone(), Rc::clone(&opened.logs), lived.chance(salt)))
        })
        .collect();
    for client in clients {
        client.await;
    }
    if lived.closes {
        close(&lived, opened).await;
    }
    lived.done.fetch_add(1, Ordering::Relaxed);
}

async fn close<E: Env>(lived: &Lived, opened: Opened<E>) {
    let logs = Rc::clone(&opened.logs);
    match store::close(opened).await {
        Ok(()) => {
            for Held { number, log, .. } in logs.iter().filter(|held| held.log.failure().is_none()) {
                assert_eq!(log.durable_offset().0, lived.model.end(*number), "log {number} is closed and not durable");
                lived.model.closed(*number);
            }
        }
        Err(error) => {
            assert!(lived.errors(), "the close fails: {error}");
            lived.closes_failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Compares what recovery says of a log, and all that can be read of it, with what was promised.
async fn check_recovered<E: Env>(rt: &Rc<Runtime<E>>, lived: &Lived, held: &Held<E>) {
    let Held { number, log, .. } = held;
    if matches!(log.failure(), Some(Error::Quarantined { .. })) {
        assert!(lived.model.is_flipped(*number), "log {number} is quarantined: {:?}", log.failure());
        return;
    }
    if let Some(before) = lived.before {
        lived.model.recovered(*number, log.log_start_offset(), log.log_end_offset(), before, lived.weak);
    }
    let end = log.durable_offset();
    assert_eq!(end, log.log_end_offset(), "log {number}: what recovery found is durable");
    let mut from = log.log_start_offset().0;
    if from > 0 {
        let read = store::read(rt, log, from - 1, end, 1).await;
        assert!(matches!(read, Err(Error::OutOfRange { .. })), "log {number}: a deleted record is read");
    }
    while from < end.0 {
        from = read(rt, lived, held, from, 1 << 20).await;
    }
}

/// Reads once, compares, and answers where to go on.
async fn read<E: Env>(rt: &Rc<Runtime<E>>, lived: &Lived, held: &Held<E>, from: i64, most: usize) -> i64 {
    let upto = held.log.durable_offset();
    lived.model.durable(held.number, upto);
    match store::read(rt, &held.log, from, upto, most).await {
        Ok(bytes) => {
            let next = lived.model.read(held.number, from, &bytes);
            assert!(next > from, "log {}: a read at {from} of {upto} gives nothing", held.number);
            next
        }
        // Deleted meanwhile, or a device that reports errors.
        Err(Error::OutOfRange { start, .. }) if start.0 > from => start.0,
        Err(error) => {
            assert!(lived.errors(), "log {}: a read at {from} of {upto} fails: {error}", held.number);
            // Behind a flipped bit the other batches are there.
            if lived.model.is_flipped(held.number) { lived.model.next_batch(held.number, from) } else { upto.0 }
        }
    }
}

async fn client<E: Env>(rt: Rc<Runtime<E>>, lived: Lived, logs: Rc<Vec<Held<E>>>, mut chance: Chance) {
    let mut acks = Vec::new();
    while !lived.is_worked_off() {
        lived.model.op();
        let held = &logs[usize::try_from(chance.within(0, logs.len() as u64 - 1)).expect("few")];
        let log = &held.log;
        if log.failure().is_some() {
            assert!(lived.errors(), "log {}: {:?}", held.number, log.failure());
            rt.sleep_ms(chance.within(1, 3)).await;
            continue;
        }
        match chance.within(0, 99) {
            0..=69 => {
                if let Some(ack) = produce(&rt, &lived, held, &mut chance).await {
                    acks.push(ack);
                }
            }
            70..=84 => {
                let (start, end) = (log.log_start_offset().0, log.durable_offset().0);
                if start < end {
                    let from = i64::try_from(chance.within(0, (end - start - 1).unsigned_abs())).expect("few") + start;
                    let most = usize::try_from(chance.within(1, 20_000)).expect("few");
                    read(&rt, &lived, held, from, most).await;
                }
            }
            85..=89 => drop(log.roll()),
            90..=93 => delete(&lived, held, &mut chance).await,
            _ => rt.sleep_ms(chance.within(0, 3)).await,
        }
        // Five requests of one connection are under way at the most, as with an idempotent producer.
        while acks.len() > 4 {
            acks.remove(0).await;
        }
    }
    for ack in acks {
        ack.await;
    }
}

/// Gives up records: as retention does, or as a user who wants them gone for good.
async fn delete<E: Env>(lived: &Lived, held: &Held<E>, chance: &mut Chance) {
    let Held { number, log, .. } = held;
    let (start, end) = (log.log_start_offset().0, log.durable_offset().0);
    let below = i64::try_from(chance.within(0, (end - start).unsigned_abs())).expect("few") + start;
    lived.model.deleted(*number, Offset(below));
    let deleted = if below % 2 == 0 {
        store::delete_before(log, below).await
    } else {
        // To the end now and then, where no segment is left.
        let below = if below % 8 == 1 { end } else { below };
        lived.model.deleted(*number, Offset(below));
        store::delete_records(held, below).await.map(|start| {
            assert!(start.0 >= below, "log {number}: starts at {start}, deleted below {below}");
            lived.model.deleted_for_good(*number, Offset(below));
        })
    };
    if let Err(error) = deleted {
        assert!(lived.errors(), "log {number}: deleting below {below} fails: {error}");
    }
}

/// Appends a batch and, in a task of its own, waits for what its acks ask for.
async fn produce<E: Env>(
    rt: &Rc<Runtime<E>>,
    lived: &Lived,
    held: &Held<E>,
    chance: &mut Chance,
) -> Option<async_task::Task<()>> {
    let (number, log) = (held.number, Rc::clone(&held.log));
    let bytes = batch(chance, rt.env().wall_ms(), lived.script.segment_bytes);
    let records = Records::from_chunks(pieces(&bytes, chance));
    let header = BatchHeader::read(&bytes).expect("a built batch");
    let append = Append { records: &records, header: &header, leader_epoch: 3, stamp: Stamp::Create };
    let appended = loop {
        match log.append(append) {
            Ok(appended) => break appended,
            Err(Error::NotReady { .. }) => match log.make_ready(records.len()).await {
                Ok(()) => {}
                Err(error) => return refused(lived, number, &error),
            },
            Err(error) => return refused(lived, number, &error),
        }
    };
    lived.model.appended(number, appended.base_offset, appended.last_offset, Arc::from(bytes));
    let (next, model) = (appended.last_offset.plus(1), Arc::clone(&lived.model));
    let (acks, errors) = (chance.within(0, 3), lived.errors());
    let waits = async move {
        let waited = match acks {
            0 => return,
            1 => log.wait_written(next).await.map(|()| model.written(number, next)),
            _ => log.wait_durable(next).await.map(|()| model.durable(number, next)),
        };
        if let Err(error) = waited {
            assert!(errors, "log {number}: acks={acks} of {next} fails: {error}");
        }
    };
    Some(rt.spawn(waits))
}

fn refused<T>(lived: &Lived, log: usize, error: &Error) -> Option<T> {
    assert!(lived.errors(), "log {log}: an append is refused: {error}");
    None
}

/// A batch of a few records; now and then one longer than a block, seldom one that nearly fills a segment.
fn batch(chance: &mut Chance, now_ms: i64, segment_bytes: u32) -> Vec<u8> {
    let largest = u64::from(segment_bytes) - 256;
    let value_bytes = match chance.within(0, 19) {
        0 => chance.within(largest / 2, largest),
        1..=4 => chance.within(500, 3_000),
        _ => chance.within(1, 300),
    };
    let count = if value_bytes < 300 { chance.within(1, 5) } else { 1 };
    let record = |_| {
        let mut value = vec![0; usize::try_from(value_bytes.min(largest / count)).expect("small")];
        for piece in value.chunks_mut(8) {
            let len = piece.len();
            piece.copy_from_slice(&chance.next().to_be_bytes()[..len]);
        }
        NewRecord::value(now_ms, value)
    };
    let records: Vec<_> = (0..count).map(record).collect();
    BatchBuilder::default().build(&records)
}

/// The batch as receive buffers would hold it.
fn pieces(bytes: &[u8], chance: &mut Chance) -> Vec<Slice> {
    let whole = Slice::from(bytes::Bytes::copy_from_slice(bytes));
    if chance.one_in(3) {
        let cut = usize::try_from(chance.within(1, bytes.len() as u64 - 1)).expect("small");
        return vec![whole.slice(0..cut), whole.slice(cut..bytes.len())];
    }
    vec![whole]
}
