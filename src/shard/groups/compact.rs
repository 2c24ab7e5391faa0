//! Compaction of a partition of `__consumer_offsets`, which no other topic has: no segment is rewritten, but what its
//! keys hold now is appended once more, and then the log begins behind all that was there before.
//!
//! ```text
//!   |  old records, mostly superseded  | mark = log end; a new segment begins here
//!                                      | <- latest value of each key that has no record above the mark, in small batches
//!                                           between what clients commit meanwhile
//!   all of it durable -> the log start offset is raised to the mark -> whole segments below are given up
//! ```
//!
//! **Durability.** A crash at any point loses nothing: until the log start is raised both the old records and the new ones
//! are replayed, in order; after it every key that lives has its newest record above the mark.

use std::rc::Rc;

use super::{Hosted, State};
use crate::group::RewriteState;
use crate::io::Env;
use crate::shard::Shard;
use crate::storage;
use crate::types::Offset;

/// Why a compaction came to nothing; the next growth tries again.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("an append failed meanwhile")]
    Void,
    #[error("the coordinator has ended")]
    Gone,
}

impl<E: Env> Shard<E> {
    /// Begins to compact a partition where more than half of its records are superseded. Called as it grows: counting
    /// what lives goes through all groups, so it is done when enough can have been superseded and not before.
    pub(super) fn note_growth(self: &Rc<Self>, hosted: &Rc<Hosted<E>>) {
        let end = hosted.partition.log_end_offset();
        if end < hosted.count_at.get() || hosted.compacting.get() || hosted.state.get() != State::Ready {
            return;
        }
        let (live, skipped) = {
            let coordinator = hosted.coordinator.borrow();
            (coordinator.live_records(), coordinator.skipped_records())
        };
        let live = i64::try_from(live).unwrap_or(i64::MAX);
        let superseded = end.0.saturating_sub(hosted.partition.log_start_offset().0).saturating_sub(live);
        let missing = live.max(SUPERSEDED_MIN).saturating_sub(superseded);
        if missing > 0 {
            return hosted.count_at.set(Offset(end.0.saturating_add(missing)));
        }
        // Records that the coordinator does not know would be lost.
        if skipped > 0 {
            return hosted.count_at.set(Offset(i64::MAX));
        }
        hosted.compacting.set(true);
        let (shard, hosted) = (Rc::clone(self), Rc::clone(hosted));
        let compact = async move {
            let begun_ns = shard.rt.now_ns();
            let before = hosted.partition.log_start_offset();
            let compacted = shard.compact(&hosted).await;
            let (end, took_ms) = (hosted.partition.log_end_offset(), (shard.rt.now_ns() - begun_ns) / 1_000_000);
            let partition = hosted.partition.name();
            match compacted {
                Ok(start) => {
                    let (superseded, kept) = (start.0 - before.0, end.0 - start.0);
                    tracing::info!(%partition, superseded, kept, took_ms, "groups: compacted");
                    hosted.count_at.set(Offset::ZERO);
                }
                Err(Stopped::Gone) => {}
                Err(error) => {
                    tracing::warn!(%partition, "groups: not compacted: {error}");
                    hosted.count_at.set(end.plus(SUPERSEDED_MIN));
                }
            }
            hosted.compacting.set(false);
        };
        self.rt.spawn(compact).detach();
    }

    /// Answers where the log starts now.
    async fn compact(self: &Rc<Self>, hosted: &Rc<Hosted<E>>) -> Result<Offset, Stopped> {
        let log = hosted.partition.log();
        log.roll()?;
        let mark = log.log_end_offset();
        let mut rewrite = hosted.coordinator.borrow().begin_rewrite(mark);
        loop {
            let heard = hosted.heard.wait();
            if hosted.state.get() != State::Ready {
                return Err(Stopped::Gone);
            }
            let state = hosted.coordinator.borrow().rewrite_state(&rewrite);
            match state {
                RewriteState::MayCut => break,
                RewriteState::Void => return Err(Stopped::Void),
                RewriteState::Flushing => heard.await,
                RewriteState::Writing => {
                    let effects = hosted.coordinator.borrow_mut().rewrite(self.group_time(), &mut rewrite, BATCH_BYTES);
                    let wrote = !effects.is_empty();
                    self.run_effects(hosted, effects);
                    // One batch after the other: requests that came meanwhile have their turn.
                    if wrote {
                        heard.await;
                    }
                }
            }
        }
        let raised = self.store().raise_log_starts(&[(Rc::clone(log), mark)]).await.pop();
        raised
            .unwrap_or_else(|| Err(storage::Error::Closed { log: hosted.partition.name().clone() }))
            .map_err(Stopped::from)
    }
}

/// Superseded records that are worth a compaction, at the least: about 1 MiB.
const SUPERSEDED_MIN: i64 = 10_000;
/// Bytes that are appended anew at a time: a fraction of a millisecond of work.
const BATCH_BYTES: usize = 32 << 10;
