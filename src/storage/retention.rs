//! Which segments a log may give up: whole ones, oldest first, by size and by time.
//!
//! Called by `store` at every roll and every few minutes. The rules are Kafka's (`UnifiedLog.deleteOldSegments`): by time, a
//! segment goes when its largest timestamp is older than `retention.ms`; by size, when the log without it still holds
//! `retention.bytes`. Only what is durable goes, and the active segment stays; an active segment that is too old is
//! rolled every few minutes, so that it can go next time. Segments wholly below the log start (`log_start`) go with them.

use std::rc::Rc;

use super::config::LogConfig;
use super::error::Error;
use super::kafka_files::segment_file_name;
use super::log::Log;
use super::segment::Segment;
use crate::io::{Env, Job};
use crate::types::Offset;

/// What the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    bytes: u64,
    /// Largest timestamp, or when it was first written; -1: not known, and then time spares it.
    newest_ms: i64,
    /// Rolled, and all of it durable.
    complete: bool,
}

/// How many of a log's segments go, oldest first, and whether the one behind them is an active one that is too old.
fn expired(segments: &[Candidate], config: &LogConfig, now_ms: i64) -> (usize, bool) {
    let too_old = |segment: &Candidate| {
        config.retention_ms >= 0 && segment.newest_ms >= 0 && now_ms - segment.newest_ms > config.retention_ms
    };
    let mut rest: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut count = 0;
    for segment in segments {
        let too_much = u64::try_from(config.retention_bytes).is_ok_and(|kept| rest - segment.bytes >= kept);
        if !segment.complete || !(too_old(segment) || too_much) {
            break;
        }
        rest -= segment.bytes;
        count += 1;
    }
    let rolls = segments
        .get(count)
        .is_some_and(|next| !next.complete && next.bytes > 0 && count + 1 == segments.len() && too_old(next));
    (count, rolls)
}

impl<E: Env> Log<E> {
    /// Applies the log's retention. Answers how many segments went. `rolls`: an active segment that is too old is rolled;
    /// a roll must not lead to the next one, or a log of old timestamps would get a segment for each batch.
    ///
    /// # Errors
    /// The active segment is too old, and rolling it failed.
    pub async fn apply_retention(self: &Rc<Self>, now_ms: i64, rolls: bool) -> Result<usize, Error> {
        let durable = self.durable_offset();
        let segments: Vec<Rc<Segment<E>>> = self.segments.borrow().values().cloned().collect();
        let candidates: Vec<Candidate> = segments.iter().map(|segment| self.candidate(segment, durable)).collect();
        let (count, too_old) = expired(&candidates, &self.config(), now_ms);
        if too_old && rolls && self.failure().is_none() {
            self.roll()?;
        }
        // A user may have deleted records up to behind segments that were not settled then.
        let given_up = self.log_start_offset();
        let start = count.checked_sub(1).map_or(given_up, |last| segments[last].end_offset.get().max(given_up));
        match candidates.first().zip(segments.first()) {
            Some((first, segment)) if first.complete && segment.end_offset.get() <= start => {
                self.delete_before(start).await
            }
            _ => Ok(0),
        }
    }

    /// Gives up every whole segment that ends at or below `offset`, which lies below the durable offset. The log starts at
    /// `offset` from now on; the files go after the next checkpoint. Answers how many segments went.
    ///
    /// # Errors
    /// None at present.
    pub async fn delete_before(self: &Rc<Self>, offset: Offset) -> Result<usize, Error> {
        let offset = offset.min(self.durable_offset());
        self.progress.advance_log_start(offset);
        let retired: Vec<Rc<Segment<E>>> = {
            let mut segments = self.segments.borrow_mut();
            let gone = |segment: &Rc<Segment<E>>| self.candidate(segment, offset).complete;
            let bases: Vec<Offset> =
                segments.values().take_while(|segment| gone(segment)).map(|segment| segment.base_offset).collect();
            bases.iter().filter_map(|base| segments.remove(base)).collect()
        };
        // Before anything is waited for: another call may come meanwhile, and files go in the order of their segments.
        self.writer.retire_later(retired.iter().map(|segment| (self.id(), Rc::clone(segment))));
        {
            let mut gone = self.gone.borrow_mut();
            gone.retain(|_, segment| segment.strong_count() > 0);
            gone.extend(retired.iter().map(|segment| (segment.base_offset, Rc::downgrade(segment))));
        }
        for segment in &retired {
            for suffix in ["index", "timeindex"] {
                let path = self.dir.join(segment_file_name(segment.base_offset, suffix));
                // An index without its segment is no harm: the next start removes nothing and reads nothing of it.
                let _ = self.writer.rt.job(Job::Remove(path)).await;
            }
        }
        Ok(retired.len())
    }

    fn candidate(&self, segment: &Segment<E>, below: Offset) -> Candidate {
        let newest = segment.max_timestamp.get();
        let end_position = segment.end_position.get();
        // Its file has its exact length: nothing more happens to it.
        let settled = segment.submitted.get() == u64::MAX || segment.file_bytes.get() == end_position;
        Candidate {
            bytes: end_position,
            newest_ms: if newest >= 0 { newest } else { segment.first_append_ms.get() },
            complete: self.is_stored(segment) && settled && segment.end_offset.get() <= below,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, LogConfig, expired};

    fn segments(newest_ms: [i64; 4]) -> Vec<Candidate> {
        let all = newest_ms.into_iter().enumerate();
        all.map(|(at, newest_ms)| Candidate { bytes: 100, newest_ms, complete: at < 3 }).collect()
    }

    fn config(retention_bytes: i64, retention_ms: i64) -> LogConfig {
        LogConfig { retention_bytes, retention_ms, ..LogConfig::default() }
    }

    #[test]
    fn by_size_the_log_keeps_at_least_what_is_asked() {
        let all = segments([1, 2, 3, 4]);
        for (bytes, gone) in [(400, 0), (301, 0), (300, 1), (250, 1), (200, 2), (100, 3), (0, 3), (-1, 0)] {
            assert_eq!(expired(&all, &config(bytes, -1), 1000), (gone, false), "retention.bytes={bytes}");
        }
    }

    #[test]
    fn by_time_the_largest_timestamp_decides_and_order_is_kept() {
        assert_eq!(expired(&segments([10, 20, 30, 1000]), &config(-1, 900), 925), (2, false));
        assert_eq!(
            expired(&segments([10, 500, 30, 1000]), &config(-1, 900), 1000),
            (1, false),
            "a young one keeps those behind it"
        );
        assert_eq!(expired(&segments([-1, 20, 30, 40]), &config(-1, 0), 1000), (0, false), "unknown is spared");
    }

    #[test]
    fn an_old_active_segment_is_rolled_and_never_taken() {
        assert_eq!(expired(&segments([1, 2, 3, 4]), &config(-1, 10), 1000), (3, true));
        assert_eq!(expired(&segments([1, 2, 3, 995]), &config(-1, 10), 1000), (3, false));
        let not_durable = [
            Candidate { bytes: 100, newest_ms: 1, complete: false },
            Candidate { bytes: 100, newest_ms: 1, complete: false },
        ];
        assert_eq!(expired(&not_durable, &config(-1, 10), 1000), (0, false));
    }
}
