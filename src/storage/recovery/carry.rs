//! The journal of a new start, with every live tail of the earlier ones in its first records.
//!
//! A tail (the bytes after a log's last full block) lives in journals only. So before the journals of earlier starts may
//! go, each log whose end came from one gets an entry in the new journal, flushed: its end, its tail, chain 0. The record
//! says that itself is flushed, because all it speaks of was read back after a flush.
//!
//! A journal's blocks must be written ones before the first record, which takes 128 MiB of zeros a shard. So the journal of the
//! start before last is used again where there is one: `Found::finish` puts it into the pool under its own name. What it
//! still holds is of an earlier start by every record's own word, and does not count.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{FoundLog, JOURNAL_PREFIX, OWN_DIR, RECYCLE_DIR, RecoveryError, journal_name, parse_name};
use crate::io::{AppendBuf, Entry as DirEntry, Env, Job, OpenHow, Output, Prepare, Runtime, Slice};
use crate::storage::Config;
use crate::storage::journal::record::{ENTRY_BYTES, Encoder, Entry, HEADER_BYTES, Header, Kind};
use crate::storage::writer::{JournalStart, Writer};
use crate::types::PartitionId;

/// Makes the shard's journal and carries the live tails of `logs` into it. Answers, for each log carried, the logical
/// position of its record. Durable when it returns.
pub(in crate::storage) async fn open_journal<E: Env>(
    rt: &Rc<Runtime<E>>,
    dir: &Path,
    generation: u64,
    config: &Config,
    logs: &[FoundLog],
) -> Result<(JournalStart<E>, Vec<(PartitionId, u64)>), RecoveryError> {
    let path = dir.join(OWN_DIR).join(journal_name(rt.shard(), generation));
    let failed = |cause| RecoveryError::Io { what: "make the journal", path: path.clone(), cause };
    let live: Vec<&FoundLog> = logs.iter().filter(|log| log.journaled && log.quarantined.is_none()).collect();
    let tails: u64 = live.iter().map(|log| (2 * ENTRY_BYTES + log.tail.len()) as u64).sum();
    let least = Writer::<E>::journal_bytes_min(config).max(tails * TAILS_SHARE);
    let (least, mut bytes) = (config.block_ceil(least), config.block_ceil(config.journal_bytes.max(least)));
    let file = match spare(rt, dir, &path, generation, bytes).await {
        Some(file) => file,
        None => match prepare(rt, &path, bytes).await {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && bytes > least => {
                // Better a node whose records can be read, and whose retention makes space, than none.
                tracing::warn!(path = %path.display(), bytes, least, "no space for a whole journal: a small one until the next start");
                bytes = least;
                rt.job(Job::Remove(path.clone())).await.map_err(failed)?;
                prepare(rt, &path, bytes).await.map_err(failed)?
            }
            prepared => prepared.map_err(failed)?,
        },
    };
    let mut start = JournalStart { file, bytes, generation, position: 0, sequence: FIRST_SEQUENCE };
    let places = carry(rt, config, &mut start, &live).await.map_err(failed)?;
    rt.flush(&start.file).await.map_err(failed)?;
    Ok((start, places))
}

/// A journal of an earlier start, in the pool.
pub(super) struct SpareJournal {
    pub(super) path: PathBuf,
    generation: u64,
    bytes: u64,
}

/// The journals in the pool.
pub(super) async fn spares<E: Env>(rt: &Rc<Runtime<E>>, dir: &Path) -> Vec<SpareJournal> {
    let dir = dir.join(OWN_DIR).join(RECYCLE_DIR);
    let Ok(Output::Entries(files)) = rt.job(Job::List(dir.clone())).await else { return Vec::new() };
    let spare = |file: DirEntry| {
        let (_, generation) = parse_name(&file.name, JOURNAL_PREFIX)?;
        Some(SpareJournal { path: dir.join(&file.name), generation, bytes: file.len })
    };
    files.into_iter().filter_map(spare).collect()
}

/// Takes a journal of just this length from the pool. Other shards do so at the same time: a rename has one winner.
async fn spare<E: Env>(rt: &Rc<Runtime<E>>, dir: &Path, path: &Path, generation: u64, bytes: u64) -> Option<E::File> {
    let fits = |spare: &SpareJournal| spare.bytes == bytes && spare.generation < generation;
    for spare in spares(rt, dir).await.into_iter().filter(fits) {
        if rt.job(Job::Rename(spare.path, path.into())).await.is_err() {
            continue;
        }
        let how = OpenHow { write: true, create: false, direct: true };
        let Output::File(file) = rt.job(Job::Open(path.into(), how)).await.ok()? else { return None };
        // A start that was killed may have made it and never flushed.
        return rt.flush(&file).await.ok().map(|()| file);
    }
    None
}

async fn prepare<E: Env>(rt: &Rc<Runtime<E>>, path: &Path, bytes: u64) -> io::Result<E::File> {
    if let Some(dir) = path.parent() {
        rt.job(Job::CreateDir(dir.into())).await?;
    }
    let how = OpenHow { write: true, create: true, direct: true };
    let Output::File(file) = rt.job(Job::Open(path.into(), how)).await? else {
        return Err(io::Error::other("opening gave no file"));
    };
    rt.job(Job::PrepareRange(file.clone(), 0..bytes, Prepare::Zeros)).await?;
    Ok(file)
}

async fn carry<E: Env>(
    rt: &Rc<Runtime<E>>,
    config: &Config,
    start: &mut JournalStart<E>,
    live: &[&FoundLog],
) -> io::Result<Vec<(PartitionId, u64)>> {
    let mut places = Vec::with_capacity(live.len());
    let block_bytes = config.disk.block_bytes;
    let largest =
        config.window_journal_bytes.next_multiple_of(block_bytes).max(HEADER_BYTES + 2 * (ENTRY_BYTES + block_bytes));
    let mut rest = live;
    while !rest.is_empty() {
        let mut record = Encoder::new(AppendBuf::with_capacity(largest));
        let position = start.position;
        while let Some((log, behind)) = rest.split_first() {
            if record.record_bytes() + 2 * ENTRY_BYTES + log.tail.len() > largest {
                break;
            }
            add(&mut record, log);
            places.push((log.id, position));
            rest = behind;
        }
        let sequence = start.sequence;
        let (record_bytes, entries) = (record.record_bytes(), record.entries());
        let header = Header {
            generation: start.generation,
            sequence,
            flushed_sequence: sequence,
            position,
            record_bytes,
            entries,
        };
        let buf = record.finish(header, rt.shard(), block_bytes);
        rt.write(&start.file, position, vec![buf.slice(0..buf.len())]).await?;
        start.position += buf.len() as u64;
        start.sequence += 1;
    }
    Ok(places)
}

fn add(record: &mut Encoder, log: &FoundLog) {
    let last = log.segments.last();
    let (segment, end) = last.map_or((log.log_end, 0), |last| (last.base_offset, last.bytes));
    let entry = Entry {
        id: log.id,
        kind: Kind::End,
        segment,
        tail_position: end - log.tail.len() as u64,
        end_offset: log.log_end,
        chain: 0,
        tail: &[],
    };
    if last.is_some_and(|last| last.sealed) {
        record.entry(&Entry { kind: Kind::Sealed, tail_position: end, ..entry.clone() }, &[]);
    }
    // copies: nothing; the encoder takes counted views
    let tail = Slice::from(bytes::Bytes::from(log.tail.clone()));
    record.entry(&entry, &[tail]);
}

/// The name says it: a journal holds the live tails this many times over.
const TAILS_SHARE: u64 = 4;
const FIRST_SEQUENCE: u64 = 1;
