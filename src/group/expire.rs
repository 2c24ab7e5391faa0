//! Offsets that nobody wants any more, and groups that have none.
//!
//! Every `offsets.retention.check.interval.ms` all groups are looked at, some at a time. An offset expires when
//! `offsets.retention.minutes` have passed since the group became empty; of a group without members of its own (a simple
//! one), or of a topic to which a stable group of consumers does not subscribe, since it was committed. An empty group
//! goes with its last offset.

use std::rc::Rc;

use super::admin::Tombstones;
use super::classic::{Group, State};
use super::context::Context;
use super::coordinator::Coordinator;
use super::effect::Now;
use super::offsets::Commit;

/// Where the look at all groups stands.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// When the next one begins; `None` before the coordinator is loaded.
    pub(super) due_ms: Option<u64>,
    /// Groups of the present one that are still to be looked at.
    left: Vec<Rc<str>>,
}

/// Offsets and groups that are looked at before others get their turn.
const LOOKS_A_TURN: usize = 4_096;

impl Expiry {
    /// When there is something to do.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.left.is_empty() { self.due_ms } else { Some(0) }
    }

    pub(super) fn start(&mut self, now: Now, interval_ms: u64) {
        self.due_ms = Some(now.monotonic_ms.saturating_add(interval_ms));
    }
}

impl Coordinator {
    /// Looks at some groups, if it is time.
    pub(super) fn expire(&mut self, now: Now) {
        if self.expiry.left.is_empty() {
            if self.expiry.due_ms.is_none_or(|due_ms| due_ms > now.monotonic_ms) {
                return;
            }
            self.expiry.start(now, self.cx.config.offsets_retention_check_interval_ms);
            self.cx.sweep_topics();
            self.expiry.left = self.groups.keys().cloned().collect();
        }
        let Self { groups, cx, expiry, .. } = self;
        let mut tombstones = Tombstones::new(now);
        let mut looks = 0;
        while looks < LOOKS_A_TURN
            && let Some(id) = expiry.left.pop()
        {
            if let Some(group) = groups.get_mut(&id).filter(|group| group.alive) {
                looks += 1 + group.expire(cx, &mut tombstones, now);
            }
        }
        tombstones.submit(cx, None);
    }
}

impl Group {
    /// Drops what has expired. Says how many offsets were looked at.
    fn expire(&mut self, cx: &mut Context, tombstones: &mut Tombstones, now: Now) -> usize {
        let may_expire = match self.protocol_type {
            None => true,
            Some(_) => self.is_in(State::Empty) || (self.is_in(State::Stable) && self.knows_subscriptions()),
        };
        if !may_expire {
            return 1;
        }
        let mut looks = 0;
        let mut kept = false;
        let mut expired: Vec<(Rc<str>, i32)> = Vec::new();
        let mut of_topic: Option<(&Rc<str>, bool)> = None;
        for (topic, partition, commit) in self.offsets.latest() {
            looks += 1;
            let subscribed = match of_topic {
                Some((known, subscribed)) if Rc::ptr_eq(known, topic) => subscribed,
                _ => self.is_subscribed_to(topic),
            };
            of_topic = Some((topic, subscribed));
            if !subscribed && self.has_expired(cx, commit, now) {
                expired.push((Rc::clone(topic), partition));
            } else {
                kept = true;
            }
        }
        if !kept && self.is_in(State::Empty) {
            self.delete(cx, tombstones);
        } else {
            for (topic, partition) in expired {
                self.delete_offset(cx, tombstones, &topic, partition);
            }
        }
        looks
    }

    fn has_expired(&self, cx: &Context, commit: &Commit, now: Now) -> bool {
        if commit.expire_timestamp != -1 {
            return now.wall_ms >= commit.expire_timestamp;
        }
        let empty_since = self.state_since_ms.filter(|_| self.protocol_type.is_some() && self.is_in(State::Empty));
        let since = empty_since.unwrap_or(commit.commit_timestamp);
        let retention_ms = i64::try_from(cx.config.offsets_retention_ms).unwrap_or(i64::MAX);
        now.wall_ms.saturating_sub(since) >= retention_ms
    }
}
