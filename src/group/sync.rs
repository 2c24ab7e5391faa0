//! SyncGroup: the leader hands in the assignment, everyone gets a part of it once it is durable.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::classic::{Group, State};
use super::context::{Context, Then};
use super::coordinator::Coordinator;
use super::effect::Now;
use super::member::Waiting;
use super::rebalance::Why;
use super::reply::sync_error;
use crate::protocol::ErrorCode;
use crate::protocol::cold::sync_group_request::SyncGroupRequestData;

impl Coordinator {
    pub(super) fn handle_sync(&mut self, now: Now, request: &SyncGroupRequestData, waiting: Waiting) {
        let Self { groups, cx, .. } = self;
        let group_id = request.group_id.as_str();
        let group = groups.get_mut(group_id).filter(|group| group.alive);
        let checked = match group {
            _ if group_id.is_empty() => Err(ErrorCode::InvalidGroupId),
            None => Err(ErrorCode::UnknownMemberId),
            Some(group) => group.check_sync(request).map(|()| group),
        };
        match checked {
            Err(error) => cx.reply(waiting.to, sync_error(error)),
            Ok(group) => group.sync(cx, now, request, waiting),
        }
    }
}

impl Group {
    fn check_sync(&self, request: &SyncGroupRequestData) -> Result<(), ErrorCode> {
        let instance_id = request.group_instance_id.as_ref().map(|id| id.as_str());
        self.check_member(request.member_id.as_str(), instance_id)?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |theirs: Option<&str>, ours: Option<&str>| theirs.is_some() && ours.is_some() && theirs != ours;
        let protocol_type = request.protocol_type.as_ref().map(|name| name.as_str());
        let protocol = request.protocol_name.as_ref().map(|name| name.as_str());
        if differs(protocol_type, self.protocol_type.as_deref()) || differs(protocol, self.protocol.as_deref()) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync(&mut self, cx: &mut Context, now: Now, request: &SyncGroupRequestData, waiting: Waiting) {
        let member_id = request.member_id.as_str();
        match self.state {
            State::Empty => cx.reply(waiting.to, sync_error(ErrorCode::UnknownMemberId)),
            State::PreparingRebalance => cx.reply(waiting.to, sync_error(ErrorCode::RebalanceInProgress)),
            State::CompletingRebalance => {
                self.note_sync(cx, member_id);
                let earlier = self.members.get_mut(member_id).and_then(|member| member.sync.replace(waiting));
                if let Some(earlier) = earlier {
                    // The same member asks again, so its first request is of no use to it.
                    cx.reply(earlier.to, sync_error(ErrorCode::RebalanceInProgress));
                }
                // The leader's first word counts: a second one could be another assignment in the same generation.
                if self.is_leader(member_id) && self.assigning.is_none() {
                    self.assign(cx, now, request);
                }
            }
            State::Stable => {
                self.note_sync(cx, member_id);
                let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
                let reply = self.synced(waiting, assignment.unwrap_or_default());
                cx.reply(waiting.to, reply);
            }
        }
    }

    fn note_sync(&mut self, cx: &mut Context, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.stop_sync_timer(cx);
        }
    }

    /// Appends the leader's assignment. Those whom it does not name get an empty one; others than members get none.
    fn assign(&mut self, cx: &mut Context, now: Now, request: &SyncGroupRequestData) {
        let mut assignments: BTreeMap<Rc<str>, Bytes> = BTreeMap::new();
        let mut bytes = 0;
        for named in &request.assignments {
            if let Some((id, _)) = self.members.get_key_value(named.member_id.as_str()) {
                bytes += named.assignment.len();
                assignments.insert(Rc::clone(id), Bytes::copy_from_slice(&named.assignment));
            }
        }
        let value = self.encode(&assignments);
        if value.len() > cx.config.append_bytes_max || !cx.budget.has_room(bytes + value.len()) {
            return self.assign_failed(cx, now, ErrorCode::UnknownServerError);
        }
        let then =
            Then::Assign { group: Rc::clone(&self.id), life: self.life, generation: self.generation, assignments };
        self.assigning = Some(self.store(cx, now, value, then));
    }

    /// The assignment is durable: members get it, and the group is stable.
    pub(super) fn assigned(&mut self, cx: &mut Context, now: Now, assignments: &BTreeMap<Rc<str>, Bytes>) {
        let ids: Vec<Rc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let assignment = assignments.get(&id).cloned().unwrap_or_default();
            self.change(&id, |member| member.assignment = assignment.clone());
            if let Some(waiting) = self.members.get_mut(&id).and_then(|member| member.sync.take()) {
                let reply = self.synced(waiting, assignment);
                cx.reply(waiting.to, reply);
                self.renew_session(cx, now, &id);
            }
        }
        self.transition(State::Stable, now);
    }

    /// The assignment is not in the log: everyone begins again.
    pub(super) fn assign_failed(&mut self, cx: &mut Context, now: Now, error: ErrorCode) {
        self.reset_assignment(cx, now, error);
        self.prepare_rebalance(cx, now, Why::NotStored);
    }
}
