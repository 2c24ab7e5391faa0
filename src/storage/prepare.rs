//! Room: the stretch of a segment's file that may be overwritten without a change of metadata.
//!
//! ```text
//!   | submitted ........ | prepared: looked at ..... | file_bytes: written | (not there yet)
//!    <- windows write -> | <- 64 MiB at a time: FIEMAP -> | <- steps of 64 KiB, doubling to 64 MiB: zeros ->
//! ```
//!
//! Nothing is prepared before a log has a full block to write. Its first piece is a spare of the recycle pool if one
//! fits, else a new file in the pool's directory; either is renamed into place while windows already write to it, and
//! their acknowledgements wait for that name. Room is made ahead, so that a steady writer never waits for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use super::error::Error;
use super::log::Log;
use super::recycle::Spare;
use super::segment::Segment;
use super::writer::Writer;
use crate::io::{Env, Extents, Job, OpenHow, Output, Prepare};

/// A segment that waits for room, and its log.
type Waiting<E> = (Weak<Log<E>>, Rc<Segment<E>>);

/// Who waits for room, and how many tasks make some: a burst of new logs must not fill the housekeeper's queue, where the
/// next file of a fast log would wait behind all of them.
pub(super) struct Rooms<E: Env> {
    waiting: RefCell<VecDeque<Waiting<E>>>,
    makers: Cell<usize>,
}

impl<E: Env> Default for Rooms<E> {
    fn default() -> Self {
        Self { waiting: RefCell::default(), makers: Cell::new(0) }
    }
}

impl<E: Env> Writer<E> {
    /// Asks for room up to `position` of a log's segment. The log becomes dirty whenever some was made.
    pub(super) fn request_room(self: &Rc<Self>, log: &Rc<Log<E>>, segment: &Rc<Segment<E>>, position: u64) {
        let limit = self.config.block_ceil(u64::from(log.config.borrow().segment_bytes));
        let needed = self.config.block_ceil(segment.end_position.get());
        let wanted = self.config.block_ceil(position).min(limit.max(needed));
        segment.wanted.set(segment.wanted.get().max(wanted));
        if segment.wanted.get() <= segment.prepared.get() && segment.file.borrow().is_some() {
            return;
        }
        if segment.broken.get() || segment.preparing.replace(true) {
            return;
        }
        self.rooms.waiting.borrow_mut().push_back((Rc::downgrade(log), Rc::clone(segment)));
        if self.rooms.makers.get() < ROOMS_AT_ONCE {
            self.rooms.makers.set(self.rooms.makers.get() + 1);
            self.rt.spawn(Rc::clone(self).make_rooms()).detach();
        }
    }

    /// Makes room for those who wait, one after another.
    async fn make_rooms(self: Rc<Self>) {
        loop {
            let Some((log, segment)) = self.rooms.waiting.borrow_mut().pop_front() else { break };
            match log.upgrade() {
                Some(log) => self.make_room(&log, &segment).await,
                None => segment.preparing.set(false),
            }
        }
        self.rooms.makers.set(self.rooms.makers.get() - 1);
    }

    async fn make_room(self: &Rc<Self>, log: &Rc<Log<E>>, segment: &Rc<Segment<E>>) {
        while segment.lacks_room(self.config.block_ceil(segment.end_position.get())) {
            let made = self.make_piece(log, segment).await;
            if self.is_offline() {
                // Another shard may have taken it offline, and no window of this one may be under way to notice.
                self.fail_all();
            }
            if log.is_closed() || self.is_offline() {
                // The directory may have gone offline on another shard: nobody else tells the waits of this one.
                self.fail_all();
                break;
            }
            match made {
                Ok(()) => {
                    segment.news.notify_all();
                    self.mark_dirty(log);
                }
                Err(error) if error.kind() == io::ErrorKind::StorageFull => self.space.note_full(),
                Err(error) => {
                    tracing::error!(log = %log.name(), path = %segment.path.display(), %error, "no room can be made");
                    segment.broken.set(true);
                    log.fail(Error::Poisoned { log: log.name().clone(), cause: error.into() });
                    break;
                }
            }
        }
        segment.preparing.set(false);
        segment.news.notify_all();
    }

    /// The next piece: a file, a longer one, or a look at what the file already has.
    async fn make_piece(self: &Rc<Self>, log: &Rc<Log<E>>, segment: &Rc<Segment<E>>) -> io::Result<()> {
        if segment.file.borrow().is_none() {
            return self.open_piece(log, segment).await;
        }
        let file = segment.file.borrow().clone().expect("looked at above");
        let (prepared, file_bytes) = (segment.prepared.get(), self.config.block_floor(segment.file_bytes.get()));
        if prepared < file_bytes {
            let to = file_bytes.min(prepared + LOOK_BYTES);
            return self.look(segment, &file, prepared..to).await;
        }
        let step = self.next_step(log).min(PIECE_BYTES);
        let limit = self.config.block_ceil(u64::from(log.config.borrow().segment_bytes));
        let to = (file_bytes + step).min(limit.max(segment.wanted.get())).max(file_bytes + self.block_bytes());
        self.space.wait_for(&self.rt, to - file_bytes).await;
        self.rt.job(Job::PrepareRange(file, file_bytes..to, Prepare::Zeros)).await?;
        segment.file_bytes.set(to);
        Ok(())
    }

    /// A segment's file: its own where it has one, else a spare, else a new one.
    async fn open_piece(self: &Rc<Self>, log: &Rc<Log<E>>, segment: &Rc<Segment<E>>) -> io::Result<()> {
        if segment.placed.get() {
            return self.open_found(segment).await;
        }
        let step = self.next_step(log);
        let spare = match self.recycle.take(segment.wanted.get().min(step), step.saturating_mul(SPARE_STEPS_MAX)) {
            Some(spare) => spare,
            None => self.new_file(segment.wanted.get().max(step.min(PIECE_BYTES))).await?,
        };
        segment.file_bytes.set(spare.bytes);
        segment.file.replace(Some(spare.file));
        let named = Rc::clone(self).name_segment(Rc::clone(log), Rc::clone(segment), spare.path);
        self.rt.spawn(named).detach();
        Ok(())
    }

    /// Opens the file of a segment that an earlier start of the node wrote. What lies behind its last block is room.
    async fn open_found(self: &Rc<Self>, segment: &Rc<Segment<E>>) -> io::Result<()> {
        let how = OpenHow { write: true, create: false, direct: true };
        let Output::File(file) = self.rt.job(Job::Open(segment.path.clone(), how)).await? else { return no_output() };
        // A start that was killed may have extended it and never flushed: overwrites of such a file need more than a flush of
        // the device.
        self.flush_found(&file).await?;
        let end = self.config.block_ceil(segment.end_position.get());
        let mut file_bytes = self.config.block_floor(segment.file_bytes.get());
        if file_bytes < end {
            // The file ends within the last block, or before it: then the journal has what is behind. To write those blocks
            // would change the file's length, which is metadata. What the file has stays as it is.
            let from = self.config.block_ceil(segment.file_bytes.get());
            let to = end + self.config.prepare_bytes_min;
            self.space.wait_for(&self.rt, to - from).await;
            self.rt.job(Job::PrepareRange(file.clone(), from..to, Prepare::Zeros)).await?;
            file_bytes = to;
        }
        segment.file_bytes.set(file_bytes);
        segment.prepared.set(segment.submitted.get());
        segment.file.replace(Some(file));
        Ok(())
    }

    /// A new file in the pool's directory, of `bytes` at the least.
    async fn new_file(self: &Rc<Self>, bytes: u64) -> io::Result<Spare<E>> {
        let bytes = self.config.block_ceil(bytes);
        self.space.wait_for(&self.rt, bytes).await;
        self.recycle.make_dir(&self.rt).await?;
        let path = self.recycle.new_path();
        let how = OpenHow { write: true, create: true, direct: true };
        let Output::File(file) = self.rt.job(Job::Open(path.clone(), how)).await? else { return no_output() };
        let prepared = self.rt.job(Job::PrepareRange(file.clone(), 0..bytes, Prepare::Zeros)).await;
        if let Err(error) = prepared {
            // It gives back what space it took; if even that fails, the pool is emptied at the next start.
            let _ = self.rt.job(Job::Remove(path)).await;
            return Err(error);
        }
        Ok(Spare { path, file, bytes })
    }

    /// Renames a file of the pool into its segment's place, while windows already write to it.
    async fn name_segment(self: Rc<Self>, log: Rc<Log<E>>, segment: Rc<Segment<E>>, path: PathBuf) {
        // Names appear in the order of the segments, so that a log's files never have a gap.
        let before = log.named_before(&segment).await;
        let named = match before {
            // Another log of its name may have its directory by now.
            Ok(()) if log.is_closed() => Err(io::ErrorKind::NotFound.into()),
            Ok(()) => self.rt.job(Job::Rename(path.clone(), segment.path.clone())).await.map(drop),
            Err(error) => Err(error),
        };
        match named {
            Ok(()) => segment.placed.set(true),
            Err(error) => {
                segment.broken.set(true);
                if log.is_closed() {
                    // It was deleted meanwhile. Windows may still write to the file, so nobody else gets it.
                    let _ = self.rt.job(Job::Remove(path)).await;
                } else {
                    tracing::error!(log = %log.name(), path = %segment.path.display(), %error, "a segment got no name");
                    log.fail(Error::Poisoned { log: log.name().clone(), cause: error.into() });
                }
            }
        }
        segment.news.notify_all();
    }

    /// Looks whether overwrites of a piece need one flush of the device only, and gives it to the windows.
    async fn look(&self, segment: &Segment<E>, file: &E::File, piece: Range<u64>) -> io::Result<()> {
        if self.flusher.is_shared() && !segment.flush_alone.get() {
            let found = self.rt.job(Job::Extents(file.clone(), piece.clone())).await;
            let extents = match found {
                Ok(Output::Extents(extents)) => extents,
                // A file system that cannot tell: each file is flushed.
                _ => Extents::default(),
            };
            if !extents.overwrite_only() {
                tracing::warn!(path = %segment.path.display(), ?extents, "one flush of the device is not enough for this segment");
                segment.flush_alone.set(true);
            }
        }
        segment.prepared.set(piece.end);
        Ok(())
    }

    /// The log's next step: it doubles while steps are used up quickly.
    fn next_step(&self, log: &Log<E>) -> u64 {
        let now_ns = self.rt.now_ns();
        let since_ns = now_ns.saturating_sub(log.room_ns.replace(now_ns));
        let before = log.room_bytes.get();
        let step = match since_ns {
            0..STEP_QUICK_NS => before * 2,
            STEP_QUICK_NS..STEP_SLOW_NS => before,
            STEP_SLOW_NS.. => before / 2,
        };
        let step =
            step.clamp(self.config.prepare_bytes_min, self.config.prepare_bytes_max.max(self.config.prepare_bytes_min));
        log.room_bytes.set(step);
        step
    }

    fn block_bytes(&self) -> u64 {
        self.config.disk.block_bytes as u64
    }
}

impl<E: Env> Log<E> {
    /// Ends when all segments before `segment` have their names.
    async fn named_before(&self, segment: &Segment<E>) -> io::Result<()> {
        let before: Vec<_> =
            self.segments.borrow().range(..segment.base_offset).map(|(_, other)| Rc::clone(other)).collect();
        for other in before {
            other.wait_placed().await?;
        }
        Ok(())
    }
}

impl<E: Env> Segment<E> {
    /// Ends when the file has its name, durably.
    pub(super) async fn wait_placed(&self) -> io::Result<()> {
        loop {
            let news = self.news.wait();
            if self.placed.get() {
                return Ok(());
            }
            if self.broken.get() {
                return Err(io::Error::other("its segment got no name"));
            }
            news.await;
        }
    }

    /// Whether the task that makes room has something to do. A segment that was rolled needs no more than its last block.
    fn lacks_room(&self, last_block_end: u64) -> bool {
        let wanted = if self.sealed.get() { last_block_end } else { self.wanted.get() };
        self.prepared.get() < wanted || self.file.borrow().is_none()
    }
}

fn no_output<T>() -> io::Result<T> {
    Err(io::Error::other("a job did not answer with a file"))
}

/// Tasks that make room at a time.
const ROOMS_AT_ONCE: usize = 16;
/// FIEMAP is asked about so much at a time.
const LOOK_BYTES: u64 = 64 << 20;
/// Zeros are written in pieces of so much at the most, so that a starving log can go on with the first of them.
const PIECE_BYTES: u64 = 8 << 20;
/// A spare of more steps than this is too large for the log: it would lie there unused.
const SPARE_STEPS_MAX: u64 = 256;
/// A step that lasted less than this is followed by a larger one.
const STEP_QUICK_NS: u64 = 1_000_000_000;
/// A step that lasted so long is followed by a smaller one.
const STEP_SLOW_NS: u64 = 60_000_000_000;
