//! Files that are ready for overwrites and belong to no log: retired segments, and pieces prepared for a log that did not
//! need them.
//!
//! A retired segment keeps its written extents, so a log that takes it writes without a metadata commit for each flush;
//! its old bytes do no harm, because the journal says where a log ends. It is taken only once no reply may read it.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::segment::Segment;
use super::writer::Writer;
use crate::io::{Env, Job, OpenHow, Output, Runtime};
use crate::types::PartitionId;

/// The pool of one shard.
pub(super) struct Recycle<E: Env> {
    dir: PathBuf,
    prefix: String,
    made: Cell<u64>,
    has_dir: Cell<bool>,
    bytes_max: u64,
    bytes: Cell<u64>,
    spares: RefCell<Vec<Spare<E>>>,
    /// Retired, but some reply may still read them.
    held: RefCell<Vec<Rc<Segment<E>>>>,
    /// Given up by their logs; their files stay until a checkpoint says so (`Writer::retire_later`).
    waiting: RefCell<Vec<(PartitionId, Rc<Segment<E>>)>>,
}

/// A file in the pool.
pub(super) struct Spare<E: Env> {
    pub(super) path: PathBuf,
    pub(super) file: E::File,
    /// Its length: whole blocks, all of them written.
    pub(super) bytes: u64,
}

impl<E: Env> Recycle<E> {
    pub(super) fn new(log_dir: &Path, prefix: &str, bytes_max: u64) -> Self {
        Self {
            dir: log_dir.join(".ringmain").join("recycle"),
            prefix: prefix.to_owned(),
            made: Cell::new(0),
            has_dir: Cell::new(false),
            bytes_max,
            bytes: Cell::new(0),
            spares: RefCell::default(),
            held: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Makes the pool's directory where it is missing.
    pub(super) async fn make_dir(&self, rt: &Rc<Runtime<E>>) -> io::Result<()> {
        if !self.has_dir.get() {
            rt.job(Job::CreateDir(self.dir.clone())).await?;
            self.has_dir.set(true);
        }
        Ok(())
    }

    /// A path of the pool that no file had in this start of the node.
    pub(super) fn new_path(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        self.dir.join(format!("{}-{}", self.prefix, self.made.get()))
    }

    /// The spare that fits best: the smallest of at least `bytes`, but none beyond `bytes_max`, which would be wasted.
    pub(super) fn take(&self, bytes: u64, bytes_max: u64) -> Option<Spare<E>> {
        let mut spares = self.spares.borrow_mut();
        let fitting = spares.iter().enumerate().filter(|(_, spare)| (bytes..=bytes_max).contains(&spare.bytes));
        let (at, _) = fitting.min_by_key(|(_, spare)| spare.bytes)?;
        let spare = spares.swap_remove(at);
        self.bytes.set(self.bytes.get() - spare.bytes);
        Some(spare)
    }

    /// Adds a file; false where the pool is full of them.
    fn add(&self, spare: Spare<E>) -> bool {
        let bytes = self.bytes.get() + spare.bytes;
        let fits = bytes <= self.bytes_max;
        if fits {
            self.bytes.set(bytes);
            self.spares.borrow_mut().push(spare);
        }
        fits
    }

    /// Whether a segment of the same log is held.
    fn holds_one_of(&self, segment: &Segment<E>) -> bool {
        self.held.borrow().iter().any(|other| other.path.parent() == segment.path.parent())
    }

    fn has_place_for(&self, bytes: u64) -> bool {
        self.bytes.get() + bytes <= self.bytes_max
    }
}

impl<E: Env> Writer<E> {
    /// Takes note of segments that a log gave up. Journal records still speak of them: a start that found neither their
    /// files nor a checkpoint that begins behind them could not tell them from lost ones. So they are retired after the
    /// next checkpoint.
    pub(super) fn retire_later(&self, segments: impl IntoIterator<Item = (PartitionId, Rc<Segment<E>>)>) {
        self.recycle.waiting.borrow_mut().extend(segments);
    }

    /// Gives back what a checkpoint said nothing new of, before what came meanwhile.
    pub(super) fn wait_again(&self, segments: impl IntoIterator<Item = (PartitionId, Rc<Segment<E>>)>) {
        self.recycle.waiting.borrow_mut().splice(0..0, segments);
    }

    /// What waits for a checkpoint. One that is begun after this call speaks of none of it.
    pub(super) fn take_waiting(&self) -> Vec<(PartitionId, Rc<Segment<E>>)> {
        self.recycle.waiting.take()
    }

    /// Whether anything waits for a checkpoint.
    pub(super) fn has_waiting(&self) -> bool {
        !self.recycle.waiting.borrow().is_empty()
    }

    /// Takes over the segments that retention removed from a log: their files go to the pool, or are removed. Ends when
    /// their names are gone, durably; a segment that some reply may still read follows later.
    pub(super) async fn retire(self: &Rc<Self>, segments: Vec<Rc<Segment<E>>>) -> io::Result<()> {
        let mut result = Ok(());
        let held = self.recycle.held.take();
        for segment in held.into_iter().chain(segments) {
            // Those behind it wait too: a log's files never have a gap.
            let waits = segment.is_held() || self.recycle.holds_one_of(&segment);
            if waits {
                self.recycle.held.borrow_mut().push(segment);
            } else {
                result = result.and(self.retire_one(&segment).await);
            }
        }
        result
    }

    async fn retire_one(self: &Rc<Self>, segment: &Rc<Segment<E>>) -> io::Result<()> {
        let bytes = self.config.block_floor(segment.end_position.get());
        segment.reader.take();
        segment.file.take();
        if bytes < self.config.prepare_bytes_min || !self.recycle.has_place_for(bytes) {
            return self.rt.job(Job::Remove(segment.path.clone())).await.map(drop);
        }
        self.recycle.make_dir(&self.rt).await?;
        let path = self.recycle.new_path();
        self.rt.job(Job::Rename(segment.path.clone(), path.clone())).await?;
        self.adopt(path, bytes).await
    }

    /// Takes a file that lies in the pool's directory: at the start those that an earlier start left.
    pub(super) async fn adopt(self: &Rc<Self>, path: PathBuf, bytes: u64) -> io::Result<()> {
        let how = OpenHow { write: true, create: false, direct: true };
        let Output::File(file) = self.rt.job(Job::Open(path.clone(), how)).await? else { return Ok(()) };
        // A start that was killed may have left it extended and never flushed: overwrites of such a file need more than a flush of
        // the device.
        self.flush_found(&file).await?;
        let bytes = self.config.block_floor(bytes);
        if !self.recycle.add(Spare { path: path.clone(), file, bytes }) {
            self.rt.job(Job::Remove(path)).await?;
        }
        Ok(())
    }
}
