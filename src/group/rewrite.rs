//! Compaction: each key's latest value is appended again, so that the log can be cut below.
//!
//! ```text
//!   log   ... k1 k2 k1 k3 k2 | k3 k1' k2' k4 ...      k1', k2': appended again, since they lie before the mark
//!                           mark                      k3: has a newer record behind the mark, needs no copy
//! ```
//!
//! **Invariants.** 1. What is appended again is the value that was appended last, durable or not: an older one behind a
//! newer one would overtake it. 2. The log may be cut only when every append given out until then is durable, and none
//! has failed since the mark: then the newest record of each key lies behind it, whatever crashes.

use std::ops::Bound;
use std::rc::Rc;

use super::classic::{Group, GroupRecord};
use super::context::{Batch, Context, OwnedKey};
use super::coordinator::Coordinator;
use super::effect::{AppendId, Now};
use crate::types::Offset;

/// How far a compaction has come. See [`Coordinator::rewrite`].
#[derive(Debug)]
pub struct Rewrite {
    before: Offset,
    /// Appends from this one on lie behind the mark.
    from: AppendId,
    /// Failed appends when it began.
    failed_appends: u64,
    groups_left: Vec<Rc<str>>,
    /// The next key of the group under way.
    next: Option<OwnedKey>,
    /// Set when all keys are through: appends before this one have to be durable.
    until: Option<AppendId>,
}

impl Rewrite {
    /// The place below which the log is to be cut.
    #[must_use]
    pub fn before(&self) -> Offset {
        self.before
    }
}

impl Coordinator {
    pub(super) fn start_rewrite(&self, before: Offset) -> Rewrite {
        Rewrite {
            before,
            from: self.cx.next_append(),
            failed_appends: self.cx.failed_appends,
            groups_left: self.groups.keys().cloned().collect(),
            next: None,
            until: None,
        }
    }

    pub(super) fn continue_rewrite(&mut self, now: Now, rewrite: &mut Rewrite, max_bytes: usize) {
        let Self { groups, cx, .. } = self;
        let max_bytes = max_bytes.min(cx.config.append_bytes_max);
        let mut batch: Option<Batch> = None;
        while batch.as_ref().is_none_or(|batch| batch.bytes < max_bytes) {
            let Some(key) = rewrite.next.take() else {
                let Some(id) = rewrite.groups_left.pop() else { break };
                rewrite.next = Some(OwnedKey::Group(id));
                continue;
            };
            let Some(group) = groups.get_mut(key.group()) else { continue };
            rewrite.next = group.key_after(&key);
            let Some(value) = group.to_rewrite(cx, &key, rewrite) else { continue };
            // One that does not fit any more goes into the next batch.
            if batch.as_ref().is_some_and(|batch| batch.bytes + value.bytes() > max_bytes) {
                rewrite.next = Some(key);
                break;
            }
            let batch = batch.get_or_insert_with(|| cx.batch());
            group.append_again(now, batch, key, value);
        }
        if rewrite.next.is_none() && rewrite.groups_left.is_empty() && rewrite.until.is_none() {
            let until = batch.as_ref().map_or(cx.next_append(), |batch| AppendId(batch.id.0 + 1));
            rewrite.until = Some(until);
        }
        if let Some(batch) = batch {
            cx.submit(batch);
        }
    }

    pub(super) fn state_of(&self, rewrite: &Rewrite) -> RewriteState {
        match rewrite.until {
            _ if rewrite.failed_appends != self.cx.failed_appends => RewriteState::Void,
            None => RewriteState::Writing,
            Some(until) if self.cx.in_flight_below(until) => RewriteState::Flushing,
            Some(_) => RewriteState::MayCut,
        }
    }
}

/// Where a compaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteState {
    /// There are keys left: call [`Coordinator::rewrite`].
    Writing,
    /// All keys are through; appends are on their way.
    Flushing,
    /// The log may be cut at the mark.
    MayCut,
    /// An append failed since it began: nothing may be cut. Begin again.
    Void,
}

/// A value to be appended again.
enum Again {
    Group(GroupRecord),
    Offset(super::offsets::Commit),
}

impl Again {
    /// About what its record takes.
    fn bytes(&self) -> usize {
        match self {
            Self::Group(record) => 128 + record.0.len(),
            Self::Offset(commit) => 128 + commit.metadata.len(),
        }
    }
}

impl Group {
    /// The key after this one, of those that it has in the log: itself, then its offsets in order.
    fn key_after(&self, key: &OwnedKey) -> Option<OwnedKey> {
        let from = match key {
            OwnedKey::Group(_) => Bound::Unbounded,
            OwnedKey::Offset { topic, .. } => Bound::Included(&**topic),
        };
        self.offsets.topics.range::<str, _>((from, Bound::Unbounded)).find_map(|(topic, partitions)| {
            let next = match key {
                OwnedKey::Offset { topic: last, partition, .. } if last == topic => {
                    partitions.range((Bound::Excluded(partition), Bound::Unbounded)).next()
                }
                _ => partitions.iter().next(),
            };
            let (partition, _) = next?;
            Some(OwnedKey::Offset { group: Rc::clone(&self.id), topic: Rc::clone(topic), partition: *partition })
        })
    }

    /// The value of a key, if it has to be appended again.
    fn to_rewrite(&self, cx: &Context, key: &OwnedKey, rewrite: &Rewrite) -> Option<Again> {
        let (before, from) = (rewrite.before, rewrite.from);
        match key {
            OwnedKey::Group(_) => {
                self.record.to_rewrite(before, from).map(|it| Again::Group(GroupRecord(it.0.clone())))
            }
            OwnedKey::Offset { topic, partition, .. } => {
                let versions = self.offsets.get(topic, *partition)?;
                let latest = versions.to_rewrite(before, from);
                let latest = if cx.rewrites_durable() { latest.and(versions.durable()) } else { latest };
                latest.cloned().map(Again::Offset)
            }
        }
    }

    fn append_again(&mut self, now: Now, batch: &mut Batch, key: OwnedKey, value: Again) {
        let bytes = match value {
            Again::Group(record) => {
                let bytes = record.0.to_vec();
                self.charge.add(self.record.append(batch.id, Some(record)));
                bytes
            }
            Again::Offset(commit) => {
                let bytes = commit.encode();
                if let OwnedKey::Offset { topic, partition, .. } = &key {
                    self.charge.add(self.offsets.append(topic, *partition, batch.id, Some(commit)));
                }
                bytes
            }
        };
        batch.push(now, key, Some(bytes));
    }
}
