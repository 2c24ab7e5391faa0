//! Rules of the log broken on purpose, one at a time, to show that the simulation notices.
//!
//! Set by `tests/it/sim/planted.rs` alone; `committer`, `window` and `log_start` ask at the places where the rule is kept.

use std::rc::Rc;

use super::flush::Touched;
use super::log::{Log, Mark};
use super::segment::Segment;
use super::window::Part;
use crate::io::runtime::Pending;
use crate::io::{AppendBuf, Env, Op};

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// One file of each window that should be flushed is not.
    FlushOneLess,
    /// acks=all is answered when a window is written; its flush follows.
    AckEarly,
    /// A log's last block is written to its segment while it is partial, and again when there is more.
    RewriteBlocks,
    /// The journal's records are not written.
    SkipJournal,
    /// A raised log start is answered before a checkpoint says so.
    AnswerDeleteEarly,
}

impl Sabotage {
    /// The operation that takes the place of a journal record's write.
    pub(super) fn journal_write<E: Env>(self, op: Op<E>) -> Op<E> {
        match op {
            Op::Write { file, .. } if self == Self::SkipJournal => Op::Flush { file },
            op => op,
        }
    }

    /// Says that a window is durable when it is written.
    pub(super) fn ack_early<E: Env>(self, parts: &[Part<E>]) {
        for part in parts.iter().filter(|part| self == Self::AckEarly && part.mark.offset <= part.log.written_offset())
        {
            part.log.progress.advance_durable(part.mark.offset, part.log.writer.rt.turn_ns());
        }
    }
}

/// Forgets one of the files that a window should flush.
pub(super) fn flush_less<E: Env>(parts: &[Part<E>], touched: &mut Touched<E>) {
    let broken = parts.first().is_some_and(|part| part.log.writer.config.sabotage == Sabotage::FlushOneLess);
    if broken && touched.alone.pop().is_none() {
        touched.others.pop();
    }
}

/// Writes the active segment's last block although it is partial, and notes that the segment was written to. `None`: the
/// rule is kept, or there is no room.
pub(super) fn rewrite_block<E: Env>(log: &Log<E>, mark: Mark, touched: &mut Vec<Rc<Segment<E>>>) -> Option<Pending<E>> {
    let config = &log.writer.config;
    if config.sabotage != Sabotage::RewriteBlocks {
        return None;
    }
    let segment = log.active.borrow().clone()?;
    let from = segment.submitted.get();
    let due = mark.position > from;
    let file = segment.file.borrow().clone().filter(|_| due && segment.has_room(config.block_ceil(mark.position)))?;
    let mut block = AppendBuf::with_capacity(config.disk.block_bytes);
    for slice in log.tail.borrow().slices(segment.base_offset, from..mark.position)? {
        block.append(&slice);
    }
    block.append_zeros(config.disk.block_bytes - block.len());
    if !touched.iter().any(|other| Rc::ptr_eq(other, &segment)) {
        touched.push(Rc::clone(&segment));
    }
    let slices = vec![block.slice(0..block.len())];
    Some(log.writer.rt.submit(Op::Write { file, position: from, slices }))
}
