//! JoinGroup: how a member comes into a group, or back into it.
//!
//! A member without an id gets one and has to come back with it (version 4 and later), unless it is static. A join that
//! may change the assignment begins a rebalance; one that cannot is answered at once.

use std::rc::Rc;

use bytes::Bytes;

use super::classic::{Group, PENDING_MEMBER_BYTES, State, millis};
use super::context::{Context, OwnedKey, Replacement, Then};
use super::coordinator::Coordinator;
use super::effect::{Caller, Now, WaiterId};
use super::member::{Member, Protocol, Waiting, bytes_of_new};
use super::rebalance::Why;
use super::reply::{join_error, sync_error};
use super::timers::{About, Timer};
use crate::protocol::ErrorCode;
use crate::protocol::cold::join_group_request::JoinGroupRequestData;

/// A JoinGroup with what its version says of it.
pub(super) struct Join<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) request: &'a JoinGroupRequestData,
    pub(super) waiting: Waiting,
}

/// How long a member may be silent that does not know its id yet, since it cannot send heartbeats.
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1_000;

/// The first version in which a member has to come back with the id that it was given.
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// The first version in which a leader can be told that there is nothing to assign.
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

impl<'a> Join<'a> {
    pub(super) fn new(caller: Caller<'a>, request: &'a JoinGroupRequestData, to: WaiterId) -> Self {
        Self { caller, request, waiting: Waiting { to, version: caller.version } }
    }

    pub(super) fn member_id(&self) -> &str {
        self.request.member_id.as_str()
    }

    fn instance_id(&self) -> Option<&str> {
        self.request.group_instance_id.as_ref().map(|id| id.as_str())
    }

    fn protocol_names(&self) -> impl Iterator<Item = &str> {
        self.request.protocols.iter().map(|protocol| protocol.name.as_str())
    }

    /// Version 0 knows one timeout.
    fn rebalance_timeout_ms(&self) -> i32 {
        if self.caller.version == 0 { self.request.session_timeout_ms } else { self.request.rebalance_timeout_ms }
    }

    fn refuse(&self, cx: &mut Context, member_id: &str, error: ErrorCode) {
        cx.reply(self.waiting.to, join_error(self.waiting, member_id, error));
    }
}

impl Coordinator {
    pub(super) fn handle_join(&mut self, now: Now, join: &Join<'_>) {
        let (request, config) = (join.request, Rc::clone(&self.cx.config));
        let group_id = request.group_id.as_str();
        if group_id.is_empty() {
            return join.refuse(&mut self.cx, join.member_id(), ErrorCode::InvalidGroupId);
        }
        if !(config.min_session_timeout_ms..=config.max_session_timeout_ms).contains(&request.session_timeout_ms) {
            return join.refuse(&mut self.cx, join.member_id(), ErrorCode::InvalidSessionTimeout);
        }
        let is_unknown = request.member_id.is_empty();
        let is_new_group = !self.groups.get(group_id).is_some_and(|group| group.alive);
        if is_new_group {
            if !is_unknown {
                return join.refuse(&mut self.cx, join.member_id(), ErrorCode::UnknownMemberId);
            }
            if request.protocol_type.is_empty() || request.protocols.is_empty() {
                return join.refuse(&mut self.cx, "", ErrorCode::InconsistentGroupProtocol);
            }
            if !self.has_room_for_group(group_id, bytes_of_new(&request.protocols)) {
                return join.refuse(&mut self.cx, "", ErrorCode::GroupMaxSizeReached);
            }
            self.create(now, group_id);
        }
        let Self { groups, cx, .. } = self;
        let Some(group) = groups.get_mut(group_id) else { return };
        if !group.accepts_member(cx, join.member_id()) {
            group.expel(cx, join.member_id(), ErrorCode::GroupMaxSizeReached);
            join.refuse(cx, "", ErrorCode::GroupMaxSizeReached);
        } else if !group.accepts_protocols(request.protocol_type.as_str(), join.protocol_names()) {
            join.refuse(cx, join.member_id(), ErrorCode::InconsistentGroupProtocol);
        } else if is_unknown {
            group.join_new(cx, now, join);
        } else {
            group.join_known(cx, now, join);
        }
        if is_new_group {
            group.store_created(cx, now);
        }
    }
}

impl Group {
    /// Whether there is room for one more under `group.max.size`, or it is one of them.
    fn accepts_member(&self, cx: &Context, member_id: &str) -> bool {
        let max_size = cx.config.max_size;
        match self.state {
            State::Empty => true,
            // Those who have joined count: the last ones to rejoin are turned away where the limit was lowered.
            State::PreparingRebalance => {
                let waits = self.members.get(member_id).is_some_and(|member| member.join.is_some());
                waits || self.awaiting_join < max_size
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(member_id) || self.members.len() < max_size
            }
        }
    }

    /// Removes a member, or an id that was given out, and answers what waits for it.
    pub(super) fn expel(&mut self, cx: &mut Context, member_id: &str, error: ErrorCode) {
        if let Some(waiting) = self.take_join(member_id) {
            cx.reply(waiting.to, join_error(waiting, "", error));
        }
        if let Some(waiting) = self.members.get_mut(member_id).and_then(|member| member.sync.take()) {
            cx.reply(waiting.to, sync_error(error));
        }
        self.remove(cx, member_id);
    }

    fn join_new(&mut self, cx: &mut Context, now: Now, join: &Join<'_>) {
        if let Some(instance_id) = join.instance_id() {
            let new_id: Rc<str> = cx.random.member_id(instance_id).into();
            return match self.static_members.get(instance_id).cloned() {
                Some(old_id) => self.replace_static(cx, now, join, &old_id, &new_id),
                None => self.add_member(cx, now, join, &new_id),
            };
        }
        let new_id: Rc<str> = cx.random.member_id(join.caller.client_id).into();
        if join.caller.version < MEMBER_ID_REQUIRED_SINCE {
            return self.add_member(cx, now, join, &new_id);
        }
        let bytes = PENDING_MEMBER_BYTES + new_id.len();
        if !cx.budget.has_room(bytes) {
            return join.refuse(cx, "", ErrorCode::GroupMaxSizeReached);
        }
        let due_ms = now.monotonic_ms.saturating_add(millis(join.request.session_timeout_ms));
        let mut timer = Timer::default();
        cx.timers.start(&mut timer, &self.id, About::Member(Rc::clone(&new_id)), due_ms);
        self.charge.add(bytes);
        join.refuse(cx, &new_id, ErrorCode::MemberIdRequired);
        self.pending_members.insert(new_id, timer);
    }

    fn join_known(&mut self, cx: &mut Context, now: Now, join: &Join<'_>) {
        let member_id = join.member_id();
        if let Some((id, _)) = self.pending_members.get_key_value(member_id) {
            let id = Rc::clone(id);
            if join.instance_id().is_some() {
                // An id that was given out is never a static member's; nor does Kafka find a better word for it.
                return join.refuse(cx, member_id, ErrorCode::UnknownServerError);
            }
            return self.add_member(cx, now, join, &id);
        }
        if let Err(error) = self.check_member(member_id, join.instance_id()) {
            return join.refuse(cx, member_id, error);
        }
        let changed = self.members.get(member_id).is_some_and(|member| !member.matches(&join.request.protocols));
        match self.state {
            // Its members are gone, and so is this one: it begins again.
            State::Empty => join.refuse(cx, member_id, ErrorCode::UnknownMemberId),
            State::PreparingRebalance => self.rejoin(cx, now, join),
            // It may not have seen the answer to its first JoinGroup.
            State::CompletingRebalance if !changed => self.answer_again(cx, join, self.is_leader(member_id)),
            State::CompletingRebalance => self.rejoin(cx, now, join),
            // A leader that joins wants to assign anew: a topic may have more partitions.
            State::Stable if changed || self.is_leader(member_id) => self.rejoin(cx, now, join),
            State::Stable => self.answer_again(cx, join, false),
        }
    }

    /// Answers with the present generation. A JoinGroup of the member that waits stays waiting.
    fn answer_again(&self, cx: &mut Context, join: &Join<'_>, with_members: bool) {
        let reply = self.joined(join.waiting, join.member_id(), self.leader.as_deref(), with_members);
        cx.reply(join.waiting.to, reply);
    }

    fn rejoin(&mut self, cx: &mut Context, now: Now, join: &Join<'_>) {
        let member_id = join.member_id();
        let growth = bytes_of_new(&join.request.protocols);
        let held = self.members.get(member_id).map_or(0, Member::bytes);
        if growth > held && !cx.budget.has_room(growth - held) {
            return join.refuse(cx, member_id, ErrorCode::GroupMaxSizeReached);
        }
        self.update_member(cx, join, member_id);
        self.prepare_or_complete(cx, now, Why::Changed);
    }

    /// Takes over what a JoinGroup says of a member, and lets it wait.
    fn update_member(&mut self, cx: &mut Context, join: &Join<'_>, member_id: &str) {
        self.change(member_id, |member| {
            member.protocols = Protocol::own(&join.request.protocols);
            member.rebalance_timeout_ms = join.rebalance_timeout_ms();
            member.session_timeout_ms = join.request.session_timeout_ms;
        });
        self.await_join(cx, member_id, join.waiting);
    }

    fn add_member(&mut self, cx: &mut Context, now: Now, join: &Join<'_>, id: &Rc<str>) {
        if !cx.budget.has_room(bytes_of_new(&join.request.protocols)) {
            return join.refuse(cx, "", ErrorCode::GroupMaxSizeReached);
        }
        self.remove_pending(cx, id);
        let member = Member {
            instance_id: join.instance_id().map(Rc::from),
            client_id: Rc::from(join.caller.client_id),
            client_host: Rc::from(join.caller.client_host),
            rebalance_timeout_ms: join.rebalance_timeout_ms(),
            session_timeout_ms: join.request.session_timeout_ms,
            protocols: Protocol::own(&join.request.protocols),
            assignment: Bytes::new(),
            join: Some(join.waiting),
            sync: None,
            is_new: true,
            session: Timer::default(),
        };
        if let Some(initial) = &mut self.initial_rebalance {
            initial.member_added = true;
        }
        self.add(id, join.request.protocol_type.as_str(), member);
        self.renew_session_for(cx, now, id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.prepare_or_complete(cx, now, Why::Joins);
    }

    /// A static member is back without its id: it takes the place of what it was before, whoever that is now.
    fn replace_static(&mut self, cx: &mut Context, now: Now, join: &Join<'_>, old_id: &Rc<str>, new_id: &Rc<str>) {
        let Some(instance_id) = join.instance_id() else { return };
        let old_leader = self.leader.clone();
        let Some(abandoned) = self.rename(cx, old_id, new_id) else { return };
        if let Some(waiting) = abandoned.join {
            cx.reply(waiting.to, join_error(waiting, old_id, ErrorCode::FencedInstanceId));
        }
        if let Some(waiting) = abandoned.sync {
            cx.reply(waiting.to, sync_error(ErrorCode::FencedInstanceId));
        }
        self.renew_session(cx, now, new_id);
        let Some(before) = self.members.get(new_id) else { return };
        let replacement = Replacement {
            group: Rc::clone(&self.id),
            life: self.life,
            instance_id: Rc::from(instance_id),
            old_id: Rc::clone(old_id),
            new_id: Rc::clone(new_id),
            old_leader,
            old_protocols: before.protocols.clone(),
            old_rebalance_timeout_ms: before.rebalance_timeout_ms,
            old_session_timeout_ms: before.session_timeout_ms,
            waiting: join.waiting,
        };
        self.update_member(cx, join, new_id);
        match self.state {
            State::Stable if self.elect_protocol() == self.protocol => self.store_replacement(cx, now, replacement),
            State::Stable => drop(self.prepare_or_complete(cx, now, Why::Replaced)),
            // The leader may be assigning to the old id just now.
            State::CompletingRebalance => drop(self.prepare_rebalance(cx, now, Why::Replaced)),
            State::PreparingRebalance | State::Empty => drop(self.complete_if_all_joined(cx, now)),
        }
    }

    /// Nothing changes but the member's id: the group is stored with it, and stays stable.
    fn store_replacement(&mut self, cx: &mut Context, now: Now, replacement: Replacement) {
        let assignments = self.members.iter().map(|(id, member)| (Rc::clone(id), member.assignment.clone())).collect();
        let value = self.encode(&assignments);
        if value.len() > cx.config.append_bytes_max {
            return self.undo_replacement(cx, now, replacement, ErrorCode::UnknownServerError);
        }
        self.store(cx, now, value, Then::Replace(Box::new(replacement)));
    }

    /// The new id is durable.
    pub(super) fn finish_replacement(&mut self, cx: &mut Context, now: Now, replacement: &Replacement) {
        let Replacement { new_id, waiting, .. } = replacement;
        if self.members.get(new_id).is_none_or(|member| member.join != Some(*waiting)) {
            return;
        }
        self.take_join(new_id);
        let reply = if waiting.version >= SKIP_ASSIGNMENT_SINCE {
            let leads = self.is_leader(new_id);
            let mut reply = self.joined(*waiting, new_id, self.leader.as_deref(), leads);
            if let super::effect::Reply::Join(response) = &mut reply {
                response.skip_assignment = leads;
            }
            reply
        } else {
            self.joined(*waiting, new_id, replacement.old_leader.as_deref(), false)
        };
        if let Some(member) = self.members.get_mut(new_id) {
            member.is_new = false;
        }
        // Its session may have come to its end while it was excused.
        self.renew_session(cx, now, new_id);
        cx.reply(waiting.to, reply);
    }

    /// The new id is not in the log: the old one comes back.
    pub(super) fn undo_replacement(&mut self, cx: &mut Context, now: Now, replacement: Replacement, error: ErrorCode) {
        let Replacement { new_id, old_id, waiting, .. } = replacement;
        let (new_id, old_id) = (&new_id, &old_id);
        let waits = self.members.get(new_id).is_some_and(|member| member.join == Some(waiting));
        if waits {
            self.take_join(new_id);
            cx.reply(waiting.to, join_error(waiting, "", error));
        }
        let held = self.static_members.get(&replacement.instance_id) == Some(new_id);
        if !waits || !held || !self.is_in(State::Stable) {
            return;
        }
        self.rename(cx, new_id, old_id);
        self.change(old_id, |member| {
            member.protocols = replacement.old_protocols;
            member.rebalance_timeout_ms = replacement.old_rebalance_timeout_ms;
            member.session_timeout_ms = replacement.old_session_timeout_ms;
        });
        self.renew_session(cx, now, old_id);
    }

    /// Stores that there is a group of this name: without members, and of no type yet.
    fn store_created(&mut self, cx: &mut Context, now: Now) {
        let value = super::records::GroupMetadataValue {
            protocol_type: "",
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: Vec::new(),
        };
        self.store(cx, now, value.encode(), Then::Nothing);
    }
}

/// The key of a group's record.
pub(super) fn key_of(group: &Group) -> OwnedKey {
    OwnedKey::Group(Rc::clone(&group.id))
}
