//! Reading a partition of `__consumer_offsets` back into its coordinator.
//!
//! The next piece is read while the one before is replayed, and other tasks of the shard get their turn every few hundred
//! records, so that heartbeats of other groups and produce requests do not wait for a load.

use std::rc::Rc;

use super::{Hosted, State};
use crate::io::local::yield_now;
use crate::io::{AppendBuf, Env, Runtime, Slice, Task};
use crate::record::{self, Batch, Batches, HEADER_BYTES, RecordError};
use crate::shard::Shard;
use crate::storage::{self, Log, Part, ReadPlan};
use crate::types::Offset;

/// Why a partition could not be read back. Its groups have no coordinator until the next start.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("cannot read it: {0}")]
    Io(#[from] std::io::Error),
    #[error("at offset {offset}: {cause}")]
    Batch { offset: Offset, cause: RecordError },
}

/// What a load has come to.
#[derive(Default)]
struct Loaded {
    records: u64,
    /// Records that the coordinator could not read, and the first of them with the reason.
    odd: u64,
    first_odd: Option<String>,
}

impl<E: Env> Shard<E> {
    /// Loads one coordinator; afterwards it answers, or is gone.
    pub(super) async fn load_coordinator(self: &Rc<Self>, hosted: &Rc<Hosted<E>>) {
        let (begun_ns, name) = (self.rt.now_ns(), hosted.partition.name());
        let loaded = load(&self.rt, hosted).await;
        if hosted.state.get() == State::Gone {
            return;
        }
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(partition = %name, "groups: cannot load the coordinator: {error}");
                self.groups.hosted.borrow_mut().remove(&hosted.id().partition);
                return self.end_coordinator(hosted);
            }
        };
        if let Some(first) = loaded.first_odd {
            tracing::warn!(partition = %name, records = loaded.odd, "groups: records were left out, the first {first}");
        }
        if loaded.records > 0 {
            let (records, took_ms) = (loaded.records, (self.rt.now_ns() - begun_ns) / 1_000_000);
            let live = hosted.coordinator.borrow().live_records();
            let skipped = hosted.coordinator.borrow().skipped_records();
            tracing::info!(partition = %name, records, live, skipped, took_ms, "groups: loaded");
        }
        hosted.state.set(State::Ready);
        let effects = hosted.coordinator.borrow_mut().loaded(self.group_time());
        self.run_effects(hosted, effects);
        // Whatever deadline it has, the timer has not seen it.
        self.groups.timer.notify();
        self.note_growth(hosted);
    }
}

async fn load<E: Env>(rt: &Rc<Runtime<E>>, hosted: &Rc<Hosted<E>>) -> Result<Loaded, LoadError> {
    let log = hosted.partition.log();
    let (mut from, end) = (log.log_start_offset(), log.log_end_offset());
    let mut loaded = Loaded::default();
    if from >= end {
        return Ok(loaded);
    }
    let mut piece = read_piece(rt, log, from, end).await?;
    loop {
        let next = next_offset(&piece, from)?;
        let ahead = (next < end).then(|| read_ahead(rt, log, next, end));
        replay(hosted, &piece, &mut loaded).await?;
        match ahead {
            Some(ahead) if hosted.state.get() == State::Loading => piece = ahead.await?,
            _ => return Ok(loaded),
        }
        from = next;
    }
}

fn read_ahead<E: Env>(
    rt: &Rc<Runtime<E>>,
    log: &Rc<Log<E>>,
    from: Offset,
    end: Offset,
) -> Task<Result<Slice, LoadError>> {
    let (of, log) = (Rc::clone(rt), Rc::clone(log));
    rt.spawn(async move { read_piece(&of, &log, from, end).await })
}

/// Offset behind the whole batches of a piece.
fn next_offset(piece: &[u8], from: Offset) -> Result<Offset, LoadError> {
    let mut next = from;
    for batch in Batches::new(piece) {
        next = batch.map_err(|cause| LoadError::Batch { offset: next, cause })?.header.next_offset();
    }
    if next > from {
        return Ok(next);
    }
    let cause = RecordError::Truncated { needed: HEADER_BYTES, available: piece.len() };
    Err(LoadError::Batch { offset: from, cause })
}

async fn replay<E: Env>(hosted: &Hosted<E>, piece: &[u8], loaded: &mut Loaded) -> Result<(), LoadError> {
    let mut since_yield = 0;
    for batch in Batches::new(piece) {
        let fault = |cause| LoadError::Batch { offset: Offset::ZERO, cause };
        let batch = batch.map_err(fault)?;
        let offset = batch.header.base_offset;
        let fault = |cause| LoadError::Batch { offset, cause };
        batch.verify().map_err(fault)?;
        since_yield += replay_batch(hosted, &batch, loaded).map_err(fault)?;
        if since_yield >= RECORDS_A_TURN {
            since_yield = 0;
            yield_now().await;
        }
    }
    Ok(())
}

/// Hands the records of one batch to the coordinator; answers how many there were.
fn replay_batch<E: Env>(hosted: &Hosted<E>, batch: &Batch<'_>, loaded: &mut Loaded) -> Result<u64, RecordError> {
    // Control batches are marks of transactions, which have no records of groups.
    if batch.header.is_control() {
        return Ok(0);
    }
    let mut coordinator = hosted.coordinator.borrow_mut();
    let mut records = 0;
    for one in record::decode(batch.bytes)?.records() {
        let one = one?;
        records += 1;
        let Some(key) = one.key else { continue };
        if let Err(error) = coordinator.replay(one.offset, key, one.value) {
            loaded.odd += 1;
            loaded.first_odd.get_or_insert_with(|| format!("at offset {}: {error}", one.offset));
        }
    }
    loaded.records += records;
    Ok(records)
}

/// Whole batches from `from` on, in one piece.
async fn read_piece<E: Env>(
    rt: &Rc<Runtime<E>>,
    log: &Rc<Log<E>>,
    from: Offset,
    end: Offset,
) -> Result<Slice, LoadError> {
    let parts = loop {
        let read = match log.plan_read(from, end, PIECE_BYTES, true)? {
            ReadPlan::Ready(parts) => Ok(parts),
            ReadPlan::NeedsIo(reading) => reading.await,
        };
        match read {
            Ok(parts) => break parts,
            // Buffers come back without telling.
            Err(storage::Error::ReadsBusy { .. }) => rt.sleep_ms(BUSY_RETRY_MS).await,
            Err(error) => return Err(error.into()),
        }
    };
    let mut slices = Vec::new();
    for part in parts {
        slices.push(match part {
            Part::Bytes(slice) => slice,
            Part::File { file, position, len, keep } => {
                let (read, buf) = rt.read(&file, position, len, AppendBuf::with_capacity(len)).await;
                read?;
                drop(keep);
                buf.slice(0..buf.filled().len())
            }
        });
    }
    if let [one] = &mut slices[..] {
        return Ok(one.clone());
    }
    let mut whole = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
    // copies: a piece whose end is still in memory, once in a load
    slices.iter().for_each(|slice| whole.extend_from_slice(slice));
    Ok(Slice::from(bytes::Bytes::from(whole)))
}

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 512 << 10;
/// Records that are replayed before other tasks get their turn: a fraction of a millisecond.
const RECORDS_A_TURN: u64 = 256;
const BUSY_RETRY_MS: u64 = 10;
