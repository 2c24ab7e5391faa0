//! From the files of a log directory to what every log is: the first thing that a start does.
//!
//! `server/` calls [`recover`] on one shard while it holds the directory's lock and before any other file is touched;
//! it gives each shard its logs ([`Found::take_share`]); each shard opens its [`Store`](crate::storage::Store) with them; then
//! [`Found::finish`] puts the journals of earlier starts away.
//!
//! ```text
//!   .kafka_cleanshutdown  our checkpoints      journals        what happens
//!   our number in it      the same number      not read        Clean    nothing but the checkpoints is read
//!   another number        any                  not read        Kafka    every log is scanned by Kafka's rule
//!   none                  any                  all there       Crashed  `journals`, then `decide` for each log
//!   none                  any                  one missing     refused, with the command that salvages
//!   none                  none                 none            Fresh, or refused where there are segments with bytes
//! ```
//!
//! **Invariants.** 1. Nothing is read before what was completed is flushed: a start must not build on what a power failure
//! would take back. 2. Nothing below a log's durable mark is changed, but for blocks that a journal knows better. 3. The
//! journals of earlier starts go only when every live tail is flushed in a new one. 4. A bad log is quarantined and costs
//! no other log anything; the node starts.
//!
//! **Cancellation.** Dropping the future, or losing power, leaves a directory that the next start recovers to the same
//! logs.

mod carry;
mod decide;
mod journals;
mod kafka;
mod mend;
mod own_files;
mod scan;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

pub(super) use carry::open_journal;
use decide::Known;
use journals::Journals;
use own_files::{OwnFile, OwnFiles};
use scan::SegmentReader;
use thiserror::Error;

use super::checkpoint::{self, Checkpoint, LogCheckpoint, PartitionState, SegmentCheckpoint};
use super::kafka_files::{
    CLEAN_SHUTDOWN, LOG_START_CHECKPOINT, PARTITION_METADATA, clean_shutdown, offsets, parse_partition_dir,
    partition_metadata, segment_file_name,
};
use super::segment_index::SegmentIndex;
use super::store::Share;
use crate::io::{Entry, Env, Job, OpenHow, Output, Runtime};
use crate::types::{Offset, PartitionId, ShardId, TopicId, TopicPartition};

/// What a start found in a log directory.
#[derive(Debug)]
pub struct Found {
    /// The directory.
    pub dir: PathBuf,
    /// The number of this start: higher than any before.
    pub generation: u64,
    /// How the last stop was.
    pub start: Start,
    /// All logs, by identity.
    pub logs: Vec<FoundLog>,
    /// Files that an earlier start left ready for overwrites, with their lengths.
    pub recycled: Vec<(PathBuf, u64)>,
    /// Checkpoints of earlier starts, by path.
    old_checkpoints: Vec<PathBuf>,
    /// Journals of earlier starts, by path.
    old_journals: Vec<PathBuf>,
    /// Directories of deleted logs that are not gone yet.
    deleted: Vec<PathBuf>,
    /// Some log was quarantined by this recovery: the journals are evidence.
    evidence: bool,
    block_bytes: usize,
}

/// How the last stop was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There was none: the directory is new.
    Fresh,
    /// Proven clean: leader epochs stay.
    Clean,
    /// Kafka's, or of a directory without our own files: clean too, but every log was scanned.
    Kafka,
    /// Not clean.
    Crashed,
    /// Not clean and without a journal: what the segments show was taken for the truth, on the operator's word.
    Salvaged,
}

/// One log. Plain data: it may go to the shard that will own it.
#[derive(Clone, Debug)]
pub struct FoundLog {
    /// Its identity.
    pub id: PartitionId,
    /// Its name.
    pub name: TopicPartition,
    /// Its directory.
    pub dir: PathBuf,
    /// First offset that may be read.
    pub log_start: Offset,
    /// Offset after its last record. Everything below is durable.
    pub log_end: Offset,
    /// Its segments, ascending.
    pub segments: Vec<FoundSegment>,
    /// What `partition/` keeps beside it, moved forward to the log's end.
    pub state: PartitionState,
    /// Why it is not served, if so. Its files stay as they are.
    pub quarantined: Option<Arc<str>>,
    /// The end comes from a journal: it must be carried into the next one, with `tail`.
    pub(super) journaled: bool,
    /// Bytes after the last full block of an unsealed last segment, where a journal has them.
    pub(super) tail: Vec<u8>,
    /// Segment files behind the end, by base offset: they never became part of the log.
    pub(super) beyond: Vec<Offset>,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct FoundSegment {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset after its last record.
    pub end_offset: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Largest timestamp, or -1.
    pub max_timestamp: i64,
    /// Last offset of the batch that holds it.
    pub max_timestamp_offset: Offset,
    /// When its first record was appended, or -1.
    pub first_append_ms: i64,
    /// Whether it was rolled.
    pub sealed: bool,
    /// Its indexes, where they are known without their files.
    pub(super) index: Option<SegmentIndex>,
    /// Length of its file, where it was looked at.
    pub(super) file_bytes: Option<u64>,
}

/// Why a log directory cannot be opened.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// A journal without which nobody knows where logs end.
    #[error(
        "log directory {} was not stopped cleanly and {missing} is missing: where its logs end is not known. \
         To take what the segments show as the truth, run: ringmain log close --salvage {}", dir.display(), dir.display()
    )]
    JournalLost {
        /// The directory.
        dir: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// A file or directory that the whole start depends on.
    #[error("{what} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel answered.
        cause: io::Error,
    },
}

/// How to recover.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `Disk::block_bytes` of the directory.
    pub block_bytes: usize,
    /// Take what the segments show as the truth where a journal is lost: `log close --salvage`.
    pub salvage: bool,
}

/// Reads a log directory. The caller holds its lock and is alone.
///
/// # Errors
/// [`RecoveryError`]: the directory stays as it is, and the text says what to do.
pub async fn recover<E: Env>(rt: &Rc<Runtime<E>>, dir: &Path, rules: Rules) -> Result<Found, RecoveryError> {
    let mut reading = Reading { rt: Rc::clone(rt), dir: dir.into(), rules };
    let own = reading.own_files().await?;
    let entries = reading.list(dir).await?;
    let stop = entries.iter().any(|entry| entry.name == CLEAN_SHUTDOWN && !entry.is_dir);
    let number = if stop { reading.clean_number().await? } else { None };
    let dirs: Vec<String> = entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect();
    let generation = own.generation() + 1;
    let (start, logs) = if stop && own.stopped_cleanly(number) {
        (Start::Clean, reading.clean_logs(&own, &dirs).await)
    } else if stop {
        (Start::Kafka, reading.scanned_logs(&own, &dirs, false).await)
    } else if let Some(missing) = own.missing_journal() {
        reading.without_journal(&own, missing, &dirs).await?
    } else if own.journals.is_empty() {
        reading.without_journal(&own, "its journal".into(), &dirs).await?
    } else {
        (Start::Crashed, reading.journaled_logs(&own, &dirs).await?)
    };
    let old_checkpoints = own.checkpoints.into_iter().map(|file| file.path).collect();
    let old_journals = own.journals.into_iter().map(|file| file.path).collect();
    let deleted = dirs.iter().filter(|name| name.ends_with(DELETED_SUFFIX)).map(|name| dir.join(name)).collect();
    let evidence = start == Start::Crashed && logs.iter().any(|log| log.quarantined.is_some());
    let recycled = reading.recycled().await?;
    Ok(Found {
        dir: dir.into(),
        generation,
        start,
        logs,
        recycled,
        old_checkpoints,
        old_journals,
        deleted,
        evidence,
        block_bytes: rules.block_bytes,
    })
}

impl Found {
    /// Says, durably, that the directory is in use: the mark of a clean stop goes. Before the first change of any log.
    ///
    /// # Errors
    /// The mark stays, and so must the directory.
    pub async fn begin<E: Env>(&self, rt: &Rc<Runtime<E>>) -> Result<(), RecoveryError> {
        let path = self.dir.join(CLEAN_SHUTDOWN);
        match rt.job(Job::Remove(path.clone())).await {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(RecoveryError::Io { what: "remove", path, cause })
            }
            _ => Ok(()),
        }
    }

    /// Takes out what one shard is given: its logs, and for the first shard the files ready for overwrites.
    #[must_use]
    pub fn take_share(&mut self, belongs: impl Fn(&FoundLog) -> bool) -> Share {
        let logs = self.logs.extract_if(.., |log| belongs(log)).collect();
        Share { generation: self.generation, logs, recycled: std::mem::take(&mut self.recycled) }
    }

    /// The batches of one log, back to back, from its first segment to its end: what a start must know of the metadata log
    /// before it can give the others to their shards.
    ///
    /// # Errors
    /// What reading met.
    pub async fn contents<E: Env>(&self, rt: &Rc<Runtime<E>>, log: &FoundLog) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for segment in &log.segments {
            let path = log.dir.join(segment_file_name(segment.base_offset, "log"));
            let live = !segment.sealed && log.journaled;
            let in_file = if live { segment.bytes - log.tail.len() as u64 } else { segment.bytes };
            let base = segment.base_offset;
            let mut reader = SegmentReader::open(rt, &path, base, self.block_bytes, Vec::new()).await?;
            bytes.append(&mut reader.load(0..in_file).await?);
            if live {
                // copies: the end of the metadata log, once a start
                bytes.extend_from_slice(&log.tail);
            }
        }
        Ok(bytes)
    }

    /// Removes what earlier starts left: deleted logs, checkpoints, journals, where every one of `shards` has written a
    /// checkpoint of its own. Every shard has opened its store. Journals that are evidence of a quarantine are put aside;
    /// others become the files of the next start's journals.
    pub async fn finish<E: Env>(self, rt: &Rc<Runtime<E>>, shards: u16) {
        for path in &self.deleted {
            removed(rt, path).await;
        }
        if !self.is_covered(rt, shards).await {
            tracing::warn!(dir = %self.dir.display(), "no new checkpoints: those of earlier starts stay, with their journals");
            return;
        }
        // A checkpoint says that its journal is there, so it goes first.
        for path in &self.old_checkpoints {
            if !removed(rt, path).await {
                return;
            }
        }
        let aside = self.dir.join(OWN_DIR).join(if self.evidence { QUARANTINE_DIR } else { RECYCLE_DIR });
        if !self.evidence {
            for spare in carry::spares(rt, &self.dir).await {
                // Nobody took it at this start: it has another length.
                removed(rt, &spare.path).await;
            }
        }
        let kept = rt.job(Job::CreateDir(aside.clone())).await.is_ok();
        for path in &self.old_journals {
            match path.file_name().filter(|_| kept) {
                Some(name) => told(path, rt.job(Job::Rename(path.clone(), aside.join(name))).await),
                None => removed(rt, path).await,
            };
        }
    }

    /// Whether the checkpoints of this start, one of each shard, speak of every log.
    async fn is_covered<E: Env>(&self, rt: &Rc<Runtime<E>>, shards: u16) -> bool {
        let Ok(Output::Entries(files)) = rt.job(Job::List(self.dir.join(OWN_DIR))).await else { return false };
        let names: BTreeSet<String> = files.into_iter().map(|file| file.name).collect();
        (0..shards).all(|shard| names.contains(&Checkpoint::file_name(ShardId(shard), self.generation)))
    }
}

impl FoundLog {
    pub(super) fn new(id: PartitionId, name: TopicPartition, dir: PathBuf) -> Self {
        Self {
            id,
            name,
            dir,
            log_start: Offset::ZERO,
            log_end: Offset::ZERO,
            segments: Vec::new(),
            state: PartitionState::default(),
            quarantined: None,
            journaled: false,
            tail: Vec::new(),
            beyond: Vec::new(),
        }
    }

    fn of_checkpoint(log: &LogCheckpoint, dir: PathBuf) -> Self {
        let mut segments: Vec<FoundSegment> = log.segments.iter().map(FoundSegment::from).collect();
        if let Some(last) = segments.last_mut() {
            last.index = Some(decide::resumed_index(last, log));
        }
        for segment in &mut segments {
            // After a clean stop a file is as long as its batches.
            segment.file_bytes = Some(segment.bytes);
        }
        Self {
            log_start: Offset(log.log_start),
            log_end: log.end(),
            segments,
            state: log.state.clone(),
            quarantined: log.quarantined.as_deref().map(Arc::from),
            ..Self::new(log.id(), log.name(), dir)
        }
    }
}

impl FoundSegment {
    pub(super) fn empty(base_offset: Offset) -> Self {
        Self {
            base_offset,
            end_offset: base_offset,
            bytes: 0,
            max_timestamp: -1,
            max_timestamp_offset: base_offset,
            first_append_ms: -1,
            sealed: false,
            index: None,
            file_bytes: None,
        }
    }
}

impl From<&SegmentCheckpoint> for FoundSegment {
    fn from(segment: &SegmentCheckpoint) -> Self {
        Self {
            end_offset: Offset(segment.end_offset),
            bytes: segment.bytes,
            max_timestamp: segment.max_timestamp,
            max_timestamp_offset: Offset(segment.max_timestamp_offset),
            first_append_ms: segment.first_append_ms,
            sealed: segment.sealed,
            ..Self::empty(Offset(segment.base_offset))
        }
    }
}

/// Removes a file or directory of an earlier start.
async fn removed<E: Env>(rt: &Rc<Runtime<E>>, path: &Path) -> bool {
    told(path, rt.job(Job::Remove(path.into())).await)
}

/// Whether it went away; if not, the next start reads it again, and it says nothing new.
fn told<T>(path: &Path, done: io::Result<T>) -> bool {
    done.map_err(|error| tracing::warn!(path = %path.display(), %error, "a file of an earlier start stays")).is_ok()
}

/// What journals and checkpoints say of logs.
struct Said {
    journals: RefCell<Journals>,
    /// Of each log the newest one, the generation that wrote it, and whether a clean stop did.
    checkpoints: BTreeMap<PartitionId, (LogCheckpoint, u64, bool)>,
}

/// One reading of a directory.
struct Reading<E: Env> {
    rt: Rc<Runtime<E>>,
    dir: PathBuf,
    rules: Rules,
}

impl<E: Env> Clone for Reading<E> {
    fn clone(&self) -> Self {
        Self { rt: Rc::clone(&self.rt), dir: self.dir.clone(), rules: self.rules }
    }
}

impl<E: Env> Reading<E> {
    async fn list(&self, path: &Path) -> Result<Vec<Entry>, RecoveryError> {
        match self.rt.job(Job::List(path.into())).await {
            Ok(Output::Entries(entries)) => Ok(entries),
            Ok(_) => Ok(Vec::new()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(RecoveryError::Io { what: "list", path: path.into(), cause }),
        }
    }

    async fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.rt.job(Job::ReadFile(path.into(), FILE_BYTES_MAX)).await? {
            Output::Bytes(bytes) => Ok(bytes),
            _ => Ok(Vec::new()),
        }
    }

    /// A journal. A record on its way when the power failed may have left blocks that cannot be read; the others count.
    async fn read_journal(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.read(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "read block by block");
                scan::what_can_be_read(&self.rt, path, self.rules.block_bytes).await
            }
            read => read,
        }
    }

    async fn own_files(&mut self) -> Result<OwnFiles, RecoveryError> {
        let dir = self.dir.join(OWN_DIR);
        let mut own = OwnFiles::default();
        for entry in self.list(&dir).await? {
            let path = dir.join(&entry.name);
            if let Some((shard, generation)) = parse_name(&entry.name, checkpoint::FILE_PREFIX) {
                // A checkpoint that cannot be read costs reading, nothing else: journals and segments say it all.
                own.decoded.extend(self.read(&path).await.ok().and_then(|bytes| Checkpoint::decode(&bytes).ok()));
                own.checkpoints.push(OwnFile { path, shard, generation });
            } else if let Some((shard, generation)) = parse_name(&entry.name, JOURNAL_PREFIX) {
                own.journals.push(OwnFile { path, shard, generation });
            }
        }
        Ok(own)
    }

    async fn recycled(&self) -> Result<Vec<(PathBuf, u64)>, RecoveryError> {
        let dir = self.dir.join(OWN_DIR).join(RECYCLE_DIR);
        let files = self.list(&dir).await?;
        let segment = |file: &Entry| !file.is_dir && !file.name.starts_with(JOURNAL_PREFIX);
        Ok(files.into_iter().filter(segment).map(|file| (dir.join(&file.name), file.len)).collect())
    }

    async fn clean_number(&self) -> Result<Option<i64>, RecoveryError> {
        let path = self.dir.join(CLEAN_SHUTDOWN);
        let text = self.read(&path).await.map_err(|cause| RecoveryError::Io { what: "read", path, cause })?;
        Ok(clean_shutdown::decode(&String::from_utf8_lossy(&text)))
    }

    /// After a proven clean stop: the checkpoints say everything.
    async fn clean_logs(&self, own: &OwnFiles, dirs: &[String]) -> Vec<FoundLog> {
        let scan = self.scan(own, false).await;
        let known = own.newest().flat_map(|checkpoint| &checkpoint.logs);
        let by_name: BTreeMap<String, &LogCheckpoint> = known.map(|log| (log.name().to_string(), log)).collect();
        let mut logs = Vec::with_capacity(dirs.len());
        for name in dirs {
            if let Some(log) = by_name.get(name) {
                logs.push(FoundLog::of_checkpoint(log, self.dir.join(name)));
            } else if let Some(partition) = parse_partition_dir(name) {
                logs.push(scan.read(partition).await);
            }
        }
        logs
    }

    async fn scanned_logs(&self, own: &OwnFiles, dirs: &[String], salvage: bool) -> Vec<FoundLog> {
        let scan = self.scan(own, salvage).await;
        let mut logs = Vec::new();
        for partition in dirs.iter().filter_map(|name| parse_partition_dir(name)) {
            logs.push(scan.read(partition).await);
        }
        logs
    }

    /// Where logs begin is what the clean stop said; after a crash that file may be of other topics of these names.
    async fn scan(&self, own: &OwnFiles, salvage: bool) -> kafka::Scan<'_, E> {
        let (rt, log_dir, block_bytes) = (&self.rt, self.dir.as_path(), self.rules.block_bytes);
        let mut scan =
            kafka::Scan { rt, log_dir, block_bytes, salvage, starts: BTreeMap::new(), own_starts: BTreeMap::new() };
        if salvage {
            scan.own_starts = own.logs().into_iter().map(|(id, (log, _))| (id, Offset(log.log_start))).collect();
        } else {
            let text = self.read(&self.dir.join(LOG_START_CHECKPOINT)).await.unwrap_or_default();
            scan.starts = offsets::decode(&String::from_utf8_lossy(&text)).unwrap_or_default().into_iter().collect();
        }
        scan
    }

    /// Not stopped cleanly, and no journal: fine where there is nothing to lose.
    async fn without_journal(
        &self,
        own: &OwnFiles,
        missing: String,
        dirs: &[String],
    ) -> Result<(Start, Vec<FoundLog>), RecoveryError> {
        if self.rules.salvage {
            return Ok((Start::Salvaged, self.scanned_logs(own, dirs, true).await));
        }
        let mut logs = Vec::new();
        for (name, partition) in dirs.iter().filter_map(|name| Some((name, parse_partition_dir(name)?))) {
            let files = self.list(&self.dir.join(name)).await?;
            if decide::segment_files(&files).values().any(|len| *len > 0) {
                return Err(RecoveryError::JournalLost { dir: self.dir.clone(), missing });
            }
            if let Some(log) = self.identified(partition).await {
                logs.push(log);
            }
        }
        Ok((Start::Fresh, logs))
    }

    async fn journaled_logs(&self, own: &OwnFiles, dirs: &[String]) -> Result<Vec<FoundLog>, RecoveryError> {
        let mut journals = Journals::default();
        for OwnFile { path, shard, generation } in &own.journals {
            let failed = |cause| RecoveryError::Io { what: "read", path: path.clone(), cause };
            self.flush(path).await.map_err(failed)?;
            journals.add(*shard, *generation, self.read_journal(path).await.map_err(failed)?, self.rules.block_bytes);
        }
        let of = |(id, (log, by)): (PartitionId, (&LogCheckpoint, &Checkpoint))| {
            (id, (log.clone(), by.generation, by.clean_stop.is_some()))
        };
        let checkpoints = own.logs().into_iter().map(of).collect();
        let said = Rc::new(Said { journals: RefCell::new(journals), checkpoints });
        let mut logs = Vec::new();
        let mut names = dirs.iter().filter_map(|name| parse_partition_dir(name));
        loop {
            // Each waits for a few small reads: side by side, thousands of logs wait for little more than one does.
            let tasks: Vec<_> = names
                .by_ref()
                .take(LOGS_AT_ONCE)
                .map(|name| {
                    let (reading, said) = (self.clone(), Rc::clone(&said));
                    self.rt.spawn(async move { reading.journaled_log(name, &said).await })
                })
                .collect();
            if tasks.is_empty() {
                return Ok(logs);
            }
            for task in tasks {
                logs.extend(task.await?);
            }
        }
    }

    /// One log of a directory that was not stopped cleanly.
    async fn journaled_log(&self, name: TopicPartition, said: &Said) -> Result<Option<FoundLog>, RecoveryError> {
        let Some(found) = self.identified(name).await else { return Ok(None) };
        if found.quarantined.is_some() {
            return Ok(Some(found));
        }
        let id = found.id;
        let files = self.list(&found.dir).await?;
        let checkpoint = said.checkpoints.get(&id).cloned();
        let entries = said.journals.borrow_mut().entries.remove(&id).unwrap_or_default();
        let lost = said.journals.borrow().lost_end(id, entries.last());
        let log_start = checkpoint.as_ref().map_or(Offset::ZERO, |(log, ..)| Offset(log.log_start));
        if let Some((log, ..)) = checkpoint.as_ref().filter(|(log, ..)| log.quarantined.is_some()) {
            return Ok(Some(FoundLog::of_checkpoint(log, found.dir)));
        }
        let known = Known { found: FoundLog { log_start, ..found }, checkpoint, entries, files };
        let mut log = decide::recover(&self.rt, known, self.rules.block_bytes).await;
        if let (Some((_, sequence)), None) = (lost, &log.quarantined) {
            log.quarantined =
                Some(format!("journal record {sequence}, which may say where it ends, cannot be read").into());
        }
        Ok(Some(log))
    }

    /// A log by its directory: `None` where its making was cut short, quarantined where nothing says whose it is.
    async fn identified(&self, name: TopicPartition) -> Option<FoundLog> {
        let dir = self.dir.join(name.to_string());
        let id = |topic_id| PartitionId { topic_id, partition: name.partition };
        let text = match self.read(&dir.join(PARTITION_METADATA)).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let reason = Some(format!("{PARTITION_METADATA}: {error}").into());
                return Some(FoundLog { quarantined: reason, ..FoundLog::new(id(TopicId::ZERO), name, dir) });
            }
        };
        // It is written before the log takes its first batch, and may be there empty where the power failed before that.
        if text.iter().all(|byte| *byte == 0) {
            let files = self.list(&dir).await.unwrap_or_default();
            let holds = decide::segment_files(&files).values().any(|len| *len > 0);
            let reason = holds.then(|| Arc::from(format!("no {PARTITION_METADATA}: nothing says whose it is")))?;
            return Some(FoundLog { quarantined: Some(reason), ..FoundLog::new(id(TopicId::ZERO), name, dir) });
        }
        Some(match partition_metadata::decode(&String::from_utf8_lossy(&text)) {
            Ok(topic_id) => FoundLog::new(id(topic_id), name, dir),
            Err(error) => {
                let reason = Some(format!("{PARTITION_METADATA}: {error}").into());
                FoundLog { quarantined: reason, ..FoundLog::new(id(TopicId::ZERO), name, dir) }
            }
        })
    }

    async fn flush(&self, path: &Path) -> io::Result<()> {
        let how = OpenHow { write: true, ..OpenHow::default() };
        match self.rt.job(Job::Open(path.into(), how)).await? {
            Output::File(file) => self.rt.flush(&file).await,
            _ => Ok(()),
        }
    }
}

/// The name of a shard's journal of one start.
#[must_use]
pub fn journal_name(shard: ShardId, generation: u64) -> String {
    format!("{JOURNAL_PREFIX}{}-{generation}", shard.0)
}

/// Shard and generation of a journal's or a checkpoint's name.
fn parse_name(name: &str, prefix: &str) -> Option<(u16, u64)> {
    let (shard, generation) = name.strip_prefix(prefix)?.split_once('-')?;
    Some((shard.parse().ok()?, generation.parse().ok()?))
}

/// The node's own files within a log directory.
pub const OWN_DIR: &str = ".ringmain";
/// Retired and prepared segments, within [`OWN_DIR`].
const RECYCLE_DIR: &str = "recycle";
/// Journals put aside as evidence, within [`OWN_DIR`].
const QUARANTINE_DIR: &str = "quarantine";
/// Ends the name of a log's directory that is being removed, as Kafka's does.
pub(super) const DELETED_SUFFIX: &str = "-delete";
const JOURNAL_PREFIX: &str = "journal-";
/// The largest file that is read whole: a journal.
const FILE_BYTES_MAX: usize = 2 << 30;
/// Logs that are read side by side; each holds a piece of a segment in memory meanwhile.
const LOGS_AT_ONCE: usize = 16;
