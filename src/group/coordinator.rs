//! The coordinator of one partition of `__consumer_offsets`: what may be asked of it.
//!
//! Each entry point takes the time and answers what the caller is to do. How a request is handled is in the file of its
//! name; loading is in `load.rs`.

use std::collections::HashMap;
use std::rc::Rc;

use super::budget::Budget;
use super::classic::{GROUP_BYTES, Group};
use super::config::Config;
use super::context::{Append, Context, OwnedKey, Then};
use super::effect::{AppendFailure, AppendId, Caller, Effect, Now, WaiterId};
use super::expire::Expiry;
use super::join::Join;
use super::member::Waiting;
use super::random::SeededHash;
use super::rewrite::{Rewrite, RewriteState};
use super::timers::{About, Entry, Timers};
use crate::protocol::ErrorCode;
use crate::protocol::cold::describe_groups_response::DescribedGroup;
use crate::protocol::cold::heartbeat_request::HeartbeatRequestData;
use crate::protocol::cold::join_group_request::JoinGroupRequestData;
use crate::protocol::cold::leave_group_request::LeaveGroupRequestData;
use crate::protocol::cold::list_groups_request::ListGroupsRequestData;
use crate::protocol::cold::list_groups_response::ListedGroup;
use crate::protocol::cold::offset_commit_request::OffsetCommitRequestData;
use crate::protocol::cold::offset_delete_request::OffsetDeleteRequestData;
use crate::protocol::cold::offset_fetch_request::OffsetFetchRequestGroup;
use crate::protocol::cold::offset_fetch_response::OffsetFetchResponseGroup;
use crate::protocol::cold::sync_group_request::SyncGroupRequestData;
use crate::types::{Offset, TopicId};

/// Groups by id.
pub(super) type Groups = HashMap<Rc<str>, Box<Group>, SeededHash>;

/// The groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) groups: Groups,
    pub(super) cx: Context,
    pub(super) expiry: Expiry,
    pub(super) skipped_records: u64,
}

impl Coordinator {
    /// No groups yet. `seed` decides the ids of members and the order of maps: production takes it from the kernel.
    #[must_use]
    pub fn new(config: Rc<Config>, budget: Rc<Budget>, seed: u64) -> Self {
        Self {
            groups: HashMap::with_hasher(SeededHash(seed)),
            cx: Context::new(config, budget, seed),
            expiry: Expiry::default(),
            skipped_records: 0,
        }
    }

    /// Records that were skipped while loading: of newer types of groups, or not readable. Where there are any, a cut of
    /// the log would lose them.
    #[must_use]
    pub fn skipped_records(&self) -> u64 {
        self.skipped_records
    }

    /// The coordinator goes away while the node lives: everything that waits is answered NOT_COORDINATOR.
    pub fn unload(&mut self) -> Vec<Effect> {
        for append in self.cx.take_appends() {
            for (to, reply) in append.replies {
                self.cx.reply(to, reply.failed(ErrorCode::NotCoordinator));
            }
        }
        for (_, mut group) in self.groups.drain() {
            group.abandon(&mut self.cx, ErrorCode::NotCoordinator);
        }
        self.cx.timers = Timers::default();
        self.expiry = Expiry::default();
        self.effects()
    }

    /// JoinGroup.
    pub fn join(&mut self, now: Now, caller: Caller<'_>, request: &JoinGroupRequestData, to: WaiterId) -> Vec<Effect> {
        self.handle_join(now, &Join::new(caller, request, to));
        self.effects()
    }

    /// SyncGroup.
    pub fn sync(&mut self, now: Now, caller: Caller<'_>, request: &SyncGroupRequestData, to: WaiterId) -> Vec<Effect> {
        self.handle_sync(now, request, Waiting { to, version: caller.version });
        self.effects()
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, now: Now, request: &HeartbeatRequestData, to: WaiterId) -> Vec<Effect> {
        self.handle_heartbeat(now, request, to);
        self.effects()
    }

    /// LeaveGroup.
    pub fn leave(
        &mut self,
        now: Now,
        caller: Caller<'_>,
        request: &LeaveGroupRequestData,
        to: WaiterId,
    ) -> Vec<Effect> {
        self.handle_leave(now, request, Waiting { to, version: caller.version });
        self.effects()
    }

    /// OffsetCommit of `version`. `topic_id` answers the id to be stored of a topic that exists ([`TopicId::ZERO`] to store none);
    /// partitions of others get UNKNOWN_TOPIC_OR_PARTITION.
    pub fn commit(
        &mut self,
        now: Now,
        version: i16,
        request: &OffsetCommitRequestData,
        topic_id: &dyn Fn(&str) -> Option<TopicId>,
        to: WaiterId,
    ) -> Vec<Effect> {
        self.handle_commit(now, version, request, topic_id, to);
        self.effects()
    }

    /// One group of an OffsetFetch; versions below 8, which ask for one group, in the same form. What it answers is
    /// durable. A topic id of the request comes back with its topic, whose name the caller has filled in.
    #[must_use]
    pub fn fetch(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        self.handle_fetch(request)
    }

    /// One group of a DescribeGroups of `version`.
    #[must_use]
    pub fn describe(&self, group_id: &str, version: i16) -> DescribedGroup {
        self.handle_describe(group_id, version)
    }

    /// The groups that pass ListGroups' filters, by id.
    #[must_use]
    pub fn list(&self, request: &ListGroupsRequestData) -> Vec<ListedGroup> {
        self.handle_list(request)
    }

    /// DeleteGroups, as far as it names groups of this coordinator. One named twice is answered once.
    pub fn delete(&mut self, now: Now, group_ids: &[&str], to: WaiterId) -> Vec<Effect> {
        // A session that is over by now is over, though the timer may come to it later: the group may be empty.
        self.fire_due(now);
        self.handle_delete(now, group_ids, to);
        self.effects()
    }

    /// OffsetDelete. `exists` tells topics that exist; partitions of others get UNKNOWN_TOPIC_OR_PARTITION.
    pub fn offset_delete(
        &mut self,
        now: Now,
        request: &OffsetDeleteRequestData,
        exists: &dyn Fn(&str) -> bool,
        to: WaiterId,
    ) -> Vec<Effect> {
        self.handle_offset_delete(now, request, exists, to);
        self.effects()
    }

    /// Topics are gone: so are the offsets committed for them.
    pub fn topics_deleted(&mut self, now: Now, names: &[&str]) -> Vec<Effect> {
        self.handle_topics_deleted(now, names);
        self.effects()
    }

    /// What became of a batch: durable from this base offset on, or not in the log. To be told once for each, in any
    /// order; a batch whose fate is not known is not told of until the log has been read again.
    pub fn appended(&mut self, now: Now, id: AppendId, result: Result<Offset, AppendFailure>) -> Vec<Effect> {
        if let Some(append) = self.cx.settle(id) {
            self.handle_appended(now, id, result, append);
        }
        self.effects()
    }

    /// Does what is due: sessions, rebalances, expiry. To be called at [`Coordinator::next_deadline`] or soon after.
    pub fn tick(&mut self, now: Now) -> Vec<Effect> {
        self.fire_due(now);
        self.expire(now);
        self.effects()
    }

    /// When the next [`Coordinator::tick`] has something to do, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.cx.timers.next_ms().into_iter().chain(self.expiry.next_ms()).min()
    }

    /// Keys that have a value or soon will: what a log compacted now would hold, in records. Counts through all groups.
    #[must_use]
    pub fn live_records(&self) -> usize {
        let of_group = |group: &Group| {
            usize::from(group.record.latest().is_some())
                + group.offsets.topics.values().map(|it| it.len()).sum::<usize>()
        };
        self.groups.values().map(|group| of_group(group)).sum()
    }

    /// Begins a compaction: `before` is the log's end offset now, and every append given out so far is in the log or on
    /// its way there.
    #[must_use]
    pub fn begin_rewrite(&self, before: Offset) -> Rewrite {
        self.start_rewrite(before)
    }

    /// The next batch of a compaction, as at most one [`Effect::Append`] of about `max_bytes`: the latest appended value
    /// of each key whose newest record lies before the mark.
    pub fn rewrite(&mut self, now: Now, rewrite: &mut Rewrite, max_bytes: usize) -> Vec<Effect> {
        self.continue_rewrite(now, rewrite, max_bytes);
        self.effects()
    }

    /// Where a compaction stands: whether the log may be cut.
    #[must_use]
    pub fn rewrite_state(&self, rewrite: &Rewrite) -> RewriteState {
        self.state_of(rewrite)
    }

    /// The effects of the call that ends.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.cx.effects)
    }

    pub(super) fn has_room_for_group(&self, group_id: &str, more_bytes: usize) -> bool {
        self.cx.budget.has_room(GROUP_BYTES + 2 * group_id.len() + more_bytes)
    }

    /// Makes a group that is not there, or is on its way out.
    pub(super) fn create(&mut self, now: Now, group_id: &str) {
        if let Some(group) = self.groups.get_mut(group_id) {
            return group.revive(&mut self.cx, now);
        }
        let group = Group::new(&mut self.cx, group_id, now.wall_ms);
        self.groups.insert(Rc::clone(&group.id), Box::new(group));
    }

    /// Drops the place of a group of which nothing is left.
    pub(super) fn forget_if_gone(&mut self, group_id: &str) {
        if self.groups.get(group_id).is_some_and(|group| group.is_gone()) {
            self.groups.remove(group_id);
        }
    }

    fn handle_appended(&mut self, now: Now, id: AppendId, result: Result<Offset, AppendFailure>, append: Append) {
        let Append { keys, replies, then } = append;
        let failed = result.err().map(AppendFailure::error_code);
        self.cx.failed_appends += u64::from(failed.is_some());
        let mut offset = result.ok();
        for key in &keys {
            self.settle(key, id, offset);
            offset = offset.map(|offset| offset.plus(1));
        }
        for (to, reply) in replies {
            let reply = match failed {
                None => reply,
                Some(error) => reply.failed(error),
            };
            self.cx.reply(to, reply);
        }
        self.go_on(now, id, failed, then);
        for key in keys {
            self.forget_if_gone(key.group());
        }
    }

    fn settle(&mut self, key: &OwnedKey, id: AppendId, offset: Option<Offset>) {
        let Some(group) = self.groups.get_mut(key.group()) else { return };
        let change = match key {
            OwnedKey::Group(_) => group.record.settle(id, offset),
            OwnedKey::Offset { topic, partition, .. } => group.offsets.settle((topic, *partition), id, offset),
        };
        group.charge.add(change.more);
        group.charge.sub(change.fewer);
    }

    /// What an append meant to its group beside the log.
    fn go_on(&mut self, now: Now, id: AppendId, failed: Option<ErrorCode>, then: Then) {
        let Self { groups, cx, .. } = self;
        match then {
            Then::Nothing => {}
            Then::Assign { group, life, generation, assignments } => {
                let Some(group) = groups.get_mut(&group).filter(|group| group.life == life) else { return };
                let meant = group.assigning == Some(id) && group.generation == generation;
                if !meant && !group.takes_any_assignment(cx) {
                    return;
                }
                match failed {
                    None => group.assigned(cx, now, &assignments),
                    Some(error) => group.assign_failed(cx, now, error),
                }
            }
            Then::Replace(replacement) => {
                let life = replacement.life;
                let Some(group) = groups.get_mut(&replacement.group).filter(|group| group.life == life) else { return };
                match failed {
                    None => group.finish_replacement(cx, now, &replacement),
                    Some(error) => group.undo_replacement(cx, now, *replacement, error),
                }
            }
            Then::Delete(deleted) => {
                for (group, life) in deleted {
                    let group = groups.get_mut(&group).filter(|group| group.life == life);
                    if let Some(group) = group.filter(|_| failed.is_some()) {
                        group.alive = true;
                    }
                }
            }
        }
    }

    fn fire_due(&mut self, now: Now) {
        while let Some(entry) = self.cx.timers.pop(now.monotonic_ms) {
            self.fire(now, entry);
        }
    }

    /// Sees to one timer whose time may have come.
    fn fire(&mut self, now: Now, entry: Entry) {
        let Self { groups, cx, .. } = self;
        let Some(group) = groups.get_mut(&entry.group) else { return };
        let about = entry.about.clone();
        let timer = match &about {
            About::Join => Some(&mut group.join_timer),
            About::Sync => Some(&mut group.sync_timer),
            About::Member(id) => {
                let pending = group.pending_members.get_mut(id);
                pending.or_else(|| group.members.get_mut(id).map(|member| &mut member.session))
            }
        };
        if !timer.is_some_and(|timer| cx.timers.fires(timer, entry, now.monotonic_ms)) {
            return;
        }
        match about {
            About::Join => group.join_is_due(cx, now),
            About::Sync => group.sync_is_due(cx, now),
            About::Member(id) => group.session_is_due(cx, now, &id),
        }
    }
}
