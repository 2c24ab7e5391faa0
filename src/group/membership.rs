//! Heartbeat and LeaveGroup.

use super::classic::{Group, State};
use super::context::Context;
use super::coordinator::Coordinator;
use super::effect::{Now, Reply, WaiterId};
use super::member::Waiting;
use super::rebalance::Why;
use crate::protocol::ErrorCode;
use crate::protocol::cold::heartbeat_request::HeartbeatRequestData;
use crate::protocol::cold::heartbeat_response::HeartbeatResponseData;
use crate::protocol::cold::leave_group_request::{LeaveGroupRequestData, MemberIdentity};
use crate::protocol::cold::leave_group_response::{LeaveGroupResponseData, MemberResponse};

/// The first version of LeaveGroup that names many members, and answers for each.
const MANY_LEAVE_SINCE: i16 = 3;

impl Coordinator {
    pub(super) fn handle_heartbeat(&mut self, now: Now, request: &HeartbeatRequestData, to: WaiterId) {
        let Self { groups, cx, .. } = self;
        let group_id = request.group_id.as_str();
        let error = if group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else {
            let group = groups.get_mut(group_id).filter(|group| group.alive);
            group.map_or(ErrorCode::UnknownMemberId, |group| group.heartbeat(cx, now, request))
        };
        let response = HeartbeatResponseData { error_code: error.code(), ..HeartbeatResponseData::default() };
        cx.reply(to, Reply::Heartbeat(response));
    }

    pub(super) fn handle_leave(&mut self, now: Now, request: &LeaveGroupRequestData, waiting: Waiting) {
        let Self { groups, cx, .. } = self;
        let group_id = request.group_id.as_str();
        let mut response = LeaveGroupResponseData::default();
        let mut appended = None;
        if group_id.is_empty() {
            response.error_code = ErrorCode::InvalidGroupId.code();
        } else {
            let one;
            let leaving = if waiting.version >= MANY_LEAVE_SINCE {
                &request.members
            } else {
                one = vec![MemberIdentity { member_id: request.member_id.clone(), ..MemberIdentity::default() }];
                &one
            };
            let group = groups.get_mut(group_id).filter(|group| group.alive);
            if let Some(group) = group {
                response.members = leaving.iter().map(|identity| group.leave(cx, identity)).collect();
                if response.members.iter().any(|member| member.error_code == 0) {
                    appended = group.go_on_without(cx, now);
                }
            } else {
                response.members = leaving.iter().map(|it| left(it, Err(ErrorCode::UnknownMemberId))).collect();
            }
        }
        if waiting.version < MANY_LEAVE_SINCE {
            let of_member = response.members.first().map_or(0, |member| member.error_code);
            response.error_code = if response.error_code == 0 { of_member } else { response.error_code };
            response.members.clear();
        }
        let reply = Reply::Leave(Box::new(response));
        match appended {
            Some(id) => cx.reply_after(id, waiting.to, reply),
            None => cx.reply(waiting.to, reply),
        }
    }
}

/// What LeaveGroup says of one member.
fn left(identity: &MemberIdentity, result: Result<(), ErrorCode>) -> MemberResponse {
    MemberResponse {
        member_id: identity.member_id.clone(),
        group_instance_id: identity.group_instance_id.clone(),
        error_code: result.err().unwrap_or_default().code(),
        ..MemberResponse::default()
    }
}

impl Group {
    fn heartbeat(&mut self, cx: &mut Context, now: Now, request: &HeartbeatRequestData) -> ErrorCode {
        let member_id = request.member_id.as_str();
        let instance_id = request.group_instance_id.as_ref().map(|id| id.as_str());
        if let Err(error) = self.check_member(member_id, instance_id) {
            return error;
        }
        if request.generation_id != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        self.renew_session(cx, now, member_id);
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::PreparingRebalance => ErrorCode::RebalanceInProgress,
            State::CompletingRebalance | State::Stable => ErrorCode::None,
        }
    }

    /// Takes one member out, whom the request names by its id or, if an operator removes it, by its instance id alone.
    fn leave(&mut self, cx: &mut Context, identity: &MemberIdentity) -> MemberResponse {
        let member_id = identity.member_id.as_str();
        let instance_id = identity.group_instance_id.as_ref().map(|id| id.as_str());
        let result = if member_id.is_empty() {
            let holder = instance_id.and_then(|instance_id| self.static_members.get(instance_id)).cloned();
            holder.map(|holder| self.expel(cx, &holder, ErrorCode::UnknownMemberId)).ok_or(ErrorCode::UnknownMemberId)
        } else if self.pending_members.contains_key(member_id) {
            self.remove_pending(cx, member_id);
            Ok(())
        } else {
            let checked = self.check_member(member_id, instance_id);
            checked.map(|()| self.expel(cx, member_id, ErrorCode::UnknownMemberId))
        };
        left(identity, result)
    }

    /// Goes on after members left. Says what was appended.
    fn go_on_without(&mut self, cx: &mut Context, now: Now) -> Option<super::AppendId> {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(cx, now, Why::Leaves),
            State::PreparingRebalance => self.complete_if_all_joined(cx, now),
            State::Empty => None,
        }
    }
}
