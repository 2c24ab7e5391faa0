//! Reading one segment as recovery sees it: the file's blocks with the journal's copies laid over them, batch by batch.
//!
//! A journal's tail holds bytes that were acknowledged before their block was written to the segment; if that block was
//! destroyed on its way, the copies restore them. Where the copies differ from the file, the block is remembered and
//! written back before the old journals go ([`SegmentReader::repairs`]). So it is with a block that a power failure left
//! unreadable: it is an error only where bytes of it are asked for that no journal has.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::io::{AppendBuf, Env, Job, OpenHow, Output, Runtime, Slice};
use crate::record::{Batch, Batches, RecordError};
use crate::types::Offset;

/// One segment's bytes.
pub(super) struct SegmentReader<E: Env> {
    rt: Rc<Runtime<E>>,
    path: PathBuf,
    /// Offset of its first record.
    base: Offset,
    file: Option<E::File>,
    block_bytes: u64,
    /// Journal tails, in the order of their records: (position, bytes).
    overlays: Vec<(u64, Slice)>,
    /// Blocks that the journal knows better than the file: what they should be.
    repairs: BTreeMap<u64, Vec<u8>>,
    /// Blocks that cannot be read, and what the device says.
    unreadable: BTreeMap<u64, io::Error>,
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Position of the next batch.
    pub(super) position: u64,
    /// Offset that the next batch begins with.
    pub(super) offset: Offset,
}

/// What a walk does behind a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Goes on.
    On,
    /// Ends.
    Stop,
}

/// Why a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It came to its limit exactly.
    AtLimit,
    /// The callback ended it, behind the batch that it saw last.
    Told,
    /// What follows is no batch of this log.
    Bad(Rc<str>),
}

impl<E: Env> SegmentReader<E> {
    /// A reader of the segment's file; a missing one reads as zeros.
    pub(super) async fn open(
        rt: &Rc<Runtime<E>>,
        path: &Path,
        base: Offset,
        block_bytes: usize,
        overlays: Vec<(u64, Slice)>,
    ) -> io::Result<Self> {
        let how = OpenHow { direct: true, ..OpenHow::default() };
        let file = match rt.job(Job::Open(path.into(), how)).await {
            Ok(Output::File(file)) => Some(file),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(file) = &file {
            // What was completed and never flushed may be read now and gone after the next power failure.
            rt.flush(file).await?;
        }
        let rt = Rc::clone(rt);
        let block_bytes = block_bytes as u64;
        let (repairs, unreadable) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { rt, path: path.into(), base, file, block_bytes, overlays, repairs, unreadable })
    }

    /// The bytes of `range`, journal's copies included. What lies behind the file's end reads as zeros.
    pub(super) async fn load(&mut self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let from = range.start / self.block_bytes * self.block_bytes;
        let to = range.end.next_multiple_of(self.block_bytes);
        let mut bytes = self.read_blocks(from..to).await?;
        self.overlay(from, &mut bytes);
        self.check_readable(&range, from, &bytes)?;
        let cut = usize::try_from(range.start - from).expect("less than a block");
        let len = usize::try_from(range.end - range.start).expect("it was read into memory");
        bytes.drain(..cut);
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Whole blocks; one that cannot be read is zeros, and noted.
    async fn read_blocks(&mut self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let len = usize::try_from(range.end - range.start).expect("a range that is read into memory");
        let mut bytes = Vec::with_capacity(len);
        let Some(file) = &self.file else {
            bytes.resize(len, 0);
            return Ok(bytes);
        };
        let mut buf = AppendBuf::with_capacity(len.min(READ_BYTES));
        let block = usize::try_from(self.block_bytes).expect("a block");
        let mut most = READ_BYTES;
        while bytes.len() < len {
            let (position, wanted) = (range.start + bytes.len() as u64, (len - bytes.len()).min(most));
            let (result, back) = self.rt.read(file, position, wanted, buf).await;
            buf = back;
            match result {
                Ok(read) => {
                    // copies: what recovery looks at, once, before anything is served
                    bytes.extend_from_slice(buf.filled());
                    if read < wanted {
                        break;
                    }
                }
                // One by one: then it shows which of them it is.
                Err(_) if wanted > block => most = block,
                Err(error) => {
                    self.unreadable.insert(position, error);
                    bytes.resize(bytes.len() + wanted, 0);
                }
            }
            if !buf.reset() {
                break;
            }
        }
        bytes.resize(len, 0);
        Ok(bytes)
    }

    fn overlay(&mut self, from: u64, bytes: &mut [u8]) {
        let to = from + bytes.len() as u64;
        let mut changed: Vec<u64> = Vec::new();
        for (position, tail) in &self.overlays {
            let start = (*position).max(from);
            let end = (position + tail.len() as u64).min(to);
            if start >= end {
                continue;
            }
            let within = |at: u64, base: u64| usize::try_from(at - base).expect("within memory");
            let target = &mut bytes[within(start, from)..within(end, from)];
            let source = &tail[within(start, *position)..within(end, *position)];
            if *target != *source {
                // copies: acknowledged bytes from the journal over a block that was lost
                target.copy_from_slice(source);
                changed.extend(
                    (start / self.block_bytes..=(end - 1) / self.block_bytes).map(|block| block * self.block_bytes),
                );
            }
        }
        for block in changed {
            let at = usize::try_from(block - from).expect("within memory");
            let len = usize::try_from(self.block_bytes).expect("a block");
            // copies: a block that will be written back
            self.repairs.insert(block, bytes[at..at + len].to_vec());
        }
    }

    /// An error where a byte of `range` can be had neither from the file nor from a journal. Unreadable blocks whose bytes a
    /// journal has are written anew, like those that it knows better.
    fn check_readable(&mut self, range: &Range<u64>, from: u64, bytes: &[u8]) -> io::Result<()> {
        let to = from + bytes.len() as u64;
        for (block, error) in self.unreadable.range(from..to) {
            let needed = range.start.max(*block)..range.end.min(block + self.block_bytes);
            if needed.is_empty() {
                continue;
            }
            if !self.is_overlaid(&needed) {
                return Err(io::Error::new(error.kind(), format!("at position {block}: {error}")));
            }
            let at = usize::try_from(block - from).expect("within memory");
            let len = usize::try_from(self.block_bytes).expect("a block");
            // copies: a block that will be written back
            self.repairs.insert(*block, bytes[at..at + len].to_vec());
        }
        Ok(())
    }

    /// Whether a journal has every byte of `range`.
    fn is_overlaid(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        while at < range.end {
            let ends = self.overlays.iter().filter(|(position, _)| *position <= at);
            let behind = ends.map(|(position, tail)| position + tail.len() as u64).max().unwrap_or(0);
            if behind <= at {
                return false;
            }
            at = behind;
        }
        true
    }

    /// Walks whole batches from `cursor` up to `limit`, checksums and offsets verified. `gaps` admits offsets that jump
    /// ahead, as compaction leaves them. `each` sees every good batch with its position and may end the walk behind it.
    pub(super) async fn walk(
        &mut self,
        cursor: &mut Cursor,
        limit: u64,
        gaps: bool,
        mut each: impl FnMut(u64, &Batch<'_>) -> Step,
    ) -> io::Result<Stop> {
        let mut window = WINDOW_BYTES;
        while cursor.position < limit {
            let begin = cursor.position;
            let bytes = self.load(begin..limit.min(begin + window)).await?;
            let last = begin + bytes.len() as u64 == limit;
            for batch in Batches::new(&bytes) {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(RecordError::Truncated { needed, .. }) if !last && needed as u64 <= limit - cursor.position => {
                        window = WINDOW_BYTES.max(needed as u64);
                        break;
                    }
                    Err(error) => return Ok(Stop::Bad(format!("at position {}: {error}", cursor.position).into())),
                };
                if let Some(reason) = refused(&batch, self.base, cursor.offset, gaps) {
                    return Ok(Stop::Bad(format!("at position {}: {reason}", cursor.position).into()));
                }
                let step = each(begin + batch.position as u64, &batch);
                cursor.position += batch.bytes.len() as u64;
                cursor.offset = batch.header.next_offset();
                if step == Step::Stop {
                    return Ok(Stop::Told);
                }
            }
            if cursor.position == begin && window <= bytes.len() as u64 {
                return Ok(Stop::Bad(format!("at position {begin}: no batch").into()));
            }
        }
        Ok(Stop::AtLimit)
    }

    /// Writes back what the journal knew better, flushed. Blocks at or behind `active_from` are left: they stay in the
    /// journal. Answers where the last block written ends, 0 where none was.
    pub(super) async fn repair(&mut self, active_from: u64) -> io::Result<u64> {
        let mut repairs = std::mem::take(&mut self.repairs);
        repairs.retain(|block, _| *block < active_from);
        let Some(end) = repairs.last_key_value().map(|(block, bytes)| block + bytes.len() as u64) else { return Ok(0) };
        // A file that is not there yet gets its name last: then it is whole.
        let made = self.path.with_extension("log.recovered");
        let path = if self.file.is_some() { &self.path } else { &made };
        let how = OpenHow { write: true, create: true, direct: true };
        let Output::File(file) = self.rt.job(Job::Open(path.clone(), how)).await? else { return Ok(0) };
        for (position, bytes) in repairs {
            let mut block = AppendBuf::with_capacity(bytes.len());
            block.append(&bytes);
            self.rt.write(&file, position, vec![block.slice(0..bytes.len())]).await?;
        }
        self.rt.flush(&file).await?;
        if self.file.is_none() {
            self.rt.job(Job::Rename(made, self.path.clone())).await?;
        }
        Ok(end)
    }
}

/// All of a file, for the end that it has; blocks that cannot be read are zeros.
pub(super) async fn what_can_be_read<E: Env>(
    rt: &Rc<Runtime<E>>,
    path: &Path,
    block_bytes: usize,
) -> io::Result<Vec<u8>> {
    let Output::Stat(stat) = rt.job(Job::Stat(path.into())).await? else { return Ok(Vec::new()) };
    let mut reader = SegmentReader::open(rt, path, Offset::ZERO, block_bytes, Vec::new()).await?;
    reader.read_blocks(0..stat.len).await
}

/// Why a whole batch cannot be the next one of its log, if so.
fn refused(batch: &Batch<'_>, base: Offset, expected: Offset, gaps: bool) -> Option<String> {
    let header = &batch.header;
    if header.base_offset < expected || (!gaps && header.base_offset > expected) {
        return Some(format!("base offset {} where {expected} follows", header.base_offset));
    }
    // A segment spans fewer offsets than that, or its indexes could not name them.
    if header.last_offset_delta < 0 || header.last_offset().0.saturating_sub(base.0) > i64::from(i32::MAX) {
        return Some(format!("base offset {}, last offset delta {}", header.base_offset, header.last_offset_delta));
    }
    batch.verify().err().map(|error| error.to_string())
}

/// One read: large enough to be fast, small enough for a start beside others.
const READ_BYTES: usize = 1 << 20;
/// What is looked at in one piece; a larger batch gets a piece of its own.
const WINDOW_BYTES: u64 = 4 << 20;
