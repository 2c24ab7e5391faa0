//! A rebalance: all members are called to join, then given an assignment.
//!
//! [`Group::prepare_rebalance`] calls them, [`Group::complete_join`] goes on with those who came in time, `sync.rs` hands
//! out what the leader assigns. Members that are silent, that do not join, or that do not sync are removed.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::classic::{Group, GroupRecord, InitialRebalance, State};
use super::context::{Context, Then};
use super::effect::{AppendId, Now};
use super::join::key_of;
use super::records::{GroupMetadataValue, MemberMetadata};
use super::reply::{join_error, sync_error};
use super::timers::{About, Timer};
use crate::protocol::ErrorCode;

/// What a rebalance is for, as the operator reads it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Why {
    Joins,
    Changed,
    Replaced,
    Leaves,
    Silent,
    Unsynced,
    NotStored,
    TooLarge,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::Joins => "a member joins",
            Self::Changed => "a member or the leader joins again",
            Self::Replaced => "a static member is back under another id",
            Self::Leaves => "members leave",
            Self::Silent => "a member was silent for its session timeout",
            Self::Unsynced => "members did not sync in time",
            Self::NotStored => "the assignment could not be stored",
            Self::TooLarge => "it is larger than group.max.size",
        }
    }
}

/// A group's name for the log: one line, whatever a client has called it, and not too long.
fn shown(group_id: &str) -> String {
    let cut = group_id.char_indices().nth(SHOWN_CHARS).map_or(group_id, |(end, _)| &group_id[..end]);
    cut.escape_debug().to_string()
}

const SHOWN_CHARS: usize = 200;

/// The least time between two looks at a rebalance that nobody joins: clients may say that they have none at all.
const RETRY_MS_MIN: u64 = 1_000;

impl Group {
    /// Begins a rebalance where that is possible, or ends the join phase of the one under way if it can.
    pub(super) fn prepare_or_complete(&mut self, cx: &mut Context, now: Now, why: Why) -> Option<AppendId> {
        if self.is_in(State::PreparingRebalance) {
            self.complete_if_all_joined(cx, now)
        } else {
            self.prepare_rebalance(cx, now, why)
        }
    }

    /// Ends the join phase if nobody is missing. The first one of an empty group waits for its time in any case.
    pub(super) fn complete_if_all_joined(&mut self, cx: &mut Context, now: Now) -> Option<AppendId> {
        let can = self.is_in(State::PreparingRebalance) && self.initial_rebalance.is_none() && self.all_joined();
        if can { self.complete_join(cx, now) } else { None }
    }

    /// Calls all members to join. Says what was appended, where it ends at once with an empty group.
    pub(super) fn prepare_rebalance(&mut self, cx: &mut Context, now: Now, why: Why) -> Option<AppendId> {
        let (group, generation, members) = (shown(&self.id), self.generation, self.members.len());
        tracing::info!(group, generation, members, "groups: preparing to rebalance: {}", why.text());
        if self.is_in(State::CompletingRebalance) {
            self.reset_assignment(cx, now, ErrorCode::RebalanceInProgress);
        }
        self.stop_sync_timer(cx);
        let was_empty = self.is_in(State::Empty);
        self.transition(State::PreparingRebalance, now);
        if was_empty {
            let delay_ms = cx.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.initial_rebalance = Some(InitialRebalance { member_added: false, delay_ms, remaining_ms });
            self.start_join_timer(cx, now, delay_ms);
            return None;
        }
        if self.all_joined() {
            return self.complete_join(cx, now);
        }
        let timeout_ms = self.rebalance_timeout_ms();
        self.start_join_timer(cx, now, timeout_ms);
        None
    }

    /// The time for joining is over; an initial delay is extended while members keep coming.
    pub(super) fn join_is_due(&mut self, cx: &mut Context, now: Now) {
        if !self.is_in(State::PreparingRebalance) {
            return;
        }
        match self.initial_rebalance {
            Some(initial) if initial.member_added && initial.remaining_ms > 0 => {
                let delay_ms = cx.config.initial_rebalance_delay_ms.min(initial.remaining_ms);
                let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
                self.initial_rebalance = Some(InitialRebalance { member_added: false, delay_ms, remaining_ms });
                self.start_join_timer(cx, now, delay_ms);
            }
            _ => drop(self.complete_join(cx, now)),
        }
    }

    /// Goes on with those who joined: a new generation, or an empty group. Says what was appended.
    pub(super) fn complete_join(&mut self, cx: &mut Context, now: Now) -> Option<AppendId> {
        self.stop_join_timer(cx);
        let missing = self.members.iter().filter(|(_, it)| it.join.is_none() && it.instance_id.is_none());
        let missing: Vec<Rc<str>> = missing.map(|(id, _)| Rc::clone(id)).collect();
        for id in missing {
            self.expel(cx, &id, ErrorCode::UnknownMemberId);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Static members alone, and none of them is back: their sessions decide.
            let timeout_ms = self.rebalance_timeout_ms().max(RETRY_MS_MIN);
            self.start_join_timer(cx, now, timeout_ms);
            return None;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.transition(State::Empty, now);
            tracing::info!(group = shown(&self.id), generation = self.generation, "groups: empty");
            let value = self.encode(&BTreeMap::new());
            return Some(self.store(cx, now, value, Then::Nothing));
        }
        self.protocol = self.elect_protocol();
        self.transition(State::CompletingRebalance, now);
        let (group, generation, members) = (shown(&self.id), self.generation, self.members.len());
        tracing::info!(group, generation, members, "groups: stabilized");
        let ids: Vec<Rc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(waiting) = self.take_join(&id) {
                let reply = self.joined(waiting, &id, self.leader.as_deref(), self.is_leader(&id));
                cx.reply(waiting.to, reply);
            }
            self.renew_session(cx, now, &id);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.pending_sync.insert(id);
        }
        let due_ms = now.monotonic_ms.saturating_add(self.rebalance_timeout_ms());
        cx.timers.start(&mut self.sync_timer, &self.id, About::Sync, due_ms);
        None
    }

    /// Members that sent no SyncGroup in time are removed, and the others begin again.
    pub(super) fn sync_is_due(&mut self, cx: &mut Context, now: Now) {
        let waits = matches!(self.state, State::CompletingRebalance | State::Stable) && !self.pending_sync.is_empty();
        if !waits {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.expel(cx, &id, ErrorCode::UnknownMemberId);
        }
        self.prepare_rebalance(cx, now, Why::Unsynced);
    }

    /// A member was silent for too long, or an id that was given out did not come back.
    pub(super) fn session_is_due(&mut self, cx: &mut Context, now: Now, member_id: &str) {
        if self.pending_members.contains_key(member_id) {
            self.remove_pending(cx, member_id);
            self.complete_if_awaited(cx, now);
        } else if self.members.get(member_id).is_some_and(|member| !member.is_excused()) {
            self.expel(cx, member_id, ErrorCode::UnknownMemberId);
            match self.state {
                State::Stable | State::CompletingRebalance => drop(self.prepare_rebalance(cx, now, Why::Silent)),
                State::PreparingRebalance | State::Empty => self.complete_if_awaited(cx, now),
            }
        }
    }

    /// Whoever was waited for is gone: goes on if that was the last one.
    fn complete_if_awaited(&mut self, cx: &mut Context, now: Now) {
        if self.is_in(State::PreparingRebalance) && self.all_joined() {
            self.complete_join(cx, now);
        }
    }

    /// Takes all assignments of this generation back, and tells those who wait for one.
    pub(super) fn reset_assignment(&mut self, cx: &mut Context, now: Now, error: ErrorCode) {
        let ids: Vec<Rc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.change(&id, |member| member.assignment = Bytes::new());
            if let Some(waiting) = self.members.get_mut(&id).and_then(|member| member.sync.take()) {
                cx.reply(waiting.to, sync_error(error));
                self.renew_session(cx, now, &id);
            }
        }
    }

    /// Appends the group's record.
    pub(super) fn store(&mut self, cx: &mut Context, now: Now, value: Vec<u8>, then: Then) -> AppendId {
        let mut batch = cx.batch();
        let id = batch.id;
        let held = self.record.append(id, Some(GroupRecord(value.clone().into_boxed_slice())));
        self.charge.add(held);
        batch.push(now, key_of(self), Some(value));
        batch.append.then = then;
        cx.submit(batch);
        id
    }

    /// The group's record with these assignments.
    pub(super) fn encode(&self, assignments: &BTreeMap<Rc<str>, Bytes>) -> Vec<u8> {
        let protocol = self.protocol.as_deref();
        let subscriptions: Vec<Bytes> = self.members.values().map(|member| member.metadata(protocol)).collect();
        let members = self.members.iter().zip(&subscriptions).map(|((id, member), subscription)| MemberMetadata {
            member_id: id,
            group_instance_id: member.instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription,
            assignment: assignments.get(id).map_or(&[], |assignment| assignment),
        });
        GroupMetadataValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default(),
            generation: self.generation,
            protocol,
            leader: self.leader.as_deref(),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
        }
        .encode()
    }

    fn start_join_timer(&mut self, cx: &mut Context, now: Now, after_ms: u64) {
        self.stop_join_timer(cx);
        let due_ms = now.monotonic_ms.saturating_add(after_ms);
        cx.timers.start(&mut self.join_timer, &self.id, About::Join, due_ms);
    }

    fn stop_join_timer(&mut self, cx: &mut Context) {
        cx.timers.stop(&mut self.join_timer, &self.id, About::Join);
    }

    pub(super) fn stop_sync_timer(&mut self, cx: &mut Context) {
        self.pending_sync.clear();
        cx.timers.stop(&mut self.sync_timer, &self.id, About::Sync);
    }

    /// Answers everything that waits in the group: it is not coordinated here any more.
    pub(super) fn abandon(&mut self, cx: &mut Context, error: ErrorCode) {
        for (id, member) in &mut self.members {
            if let Some(waiting) = member.join.take() {
                cx.reply(waiting.to, join_error(waiting, id, error));
            }
            if let Some(waiting) = member.sync.take() {
                cx.reply(waiting.to, sync_error(error));
            }
            member.session = Timer::default();
        }
        self.awaiting_join = 0;
    }
}
