//! Loading: the records of the log, oldest first, make the groups and offsets that they speak of.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::classic::{Group, GroupRecord, State};
use super::context::Context;
use super::coordinator::{Coordinator, Groups};
use super::effect::{Effect, Now};
use super::member::{Member, Protocol};
use super::offsets::Commit;
use super::rebalance::Why;
use super::records::{GroupMetadataValue, Key, MemberMetadata, OffsetCommitValue, RecordError};
use super::timers::Timer;
use crate::types::Offset;

impl Coordinator {
    /// Takes in one record of the log, in the log's order, before [`Coordinator::loaded`]. Records of the newer types of
    /// groups are counted and skipped. After an error the record counts as skipped too: the caller says so and goes on.
    pub fn replay(&mut self, offset: Offset, key: &[u8], value: Option<&[u8]>) -> Result<(), RecordError> {
        let taken = self.take(offset, key, value);
        if taken != Ok(true) {
            self.skipped_records += 1;
        }
        taken.map(|_| ())
    }

    /// Whether the record was one of ours.
    fn take(&mut self, offset: Offset, key: &[u8], value: Option<&[u8]>) -> Result<bool, RecordError> {
        match Key::decode(key)? {
            Key::OffsetCommit { group, topic, partition } => {
                let value = value.map(OffsetCommitValue::decode).transpose()?;
                self.take_commit(offset, group, (topic, partition), value.as_ref().map(Commit::of));
                Ok(true)
            }
            Key::GroupMetadata { group } => {
                let decoded = value.map(GroupMetadataValue::decode).transpose()?;
                self.take_group(offset, group, decoded.as_ref().zip(value));
                Ok(true)
            }
            Key::Newer { .. } => Ok(false),
        }
    }

    fn take_commit(&mut self, at: Offset, group_id: &str, key: (&str, i32), commit: Option<Commit>) {
        let Self { groups, cx, .. } = self;
        let group = match groups.get_mut(group_id) {
            Some(group) => group,
            None if commit.is_none() => return,
            None => insert(groups, cx, group_id),
        };
        group.alive |= commit.is_some();
        let change = group.offsets.load(cx, key, commit, at);
        group.charge.add(change.more);
        group.charge.sub(change.fewer);
    }

    fn take_group(&mut self, at: Offset, group_id: &str, value: Option<(&GroupMetadataValue<'_>, &[u8])>) {
        let Self { groups, cx, .. } = self;
        let group = match groups.get_mut(group_id) {
            Some(group) => group,
            None if value.is_none() => return,
            None => insert(groups, cx, group_id),
        };
        let change = group.record.load(value.map(|(_, bytes)| GroupRecord(bytes.into())), at);
        group.charge.add(change.more);
        group.charge.sub(change.fewer);
        group.clear_loaded();
        group.alive = value.is_some();
        if let Some((value, _)) = value {
            group.load(value);
        }
    }

    /// The log is read to its end: sessions of the members found begin now.
    pub fn loaded(&mut self, now: Now) -> Vec<Effect> {
        self.groups.retain(|_, group| {
            // Offsets without their group are those of a simple one.
            group.alive |= !group.offsets.is_empty();
            !group.is_gone()
        });
        let mut ids: Vec<Rc<str>> = self.groups.keys().cloned().collect();
        ids.sort_unstable();
        let Self { groups, cx, .. } = self;
        for id in ids {
            let Some(group) = groups.get_mut(&id) else { continue };
            let members: Vec<Rc<str>> = group.members.keys().cloned().collect();
            for member in &members {
                group.renew_session(cx, now, member);
            }
            if members.len() > cx.config.max_size {
                // The limit was lowered: members get the chance to commit before the last ones are turned away.
                group.prepare_rebalance(cx, now, Why::TooLarge);
            }
        }
        self.expiry.start(now, self.cx.config.offsets_retention_check_interval_ms);
        self.effects()
    }
}

/// A simple group, until a record says otherwise.
fn insert<'a>(groups: &'a mut Groups, cx: &mut Context, group_id: &str) -> &'a mut Box<Group> {
    let mut group = Box::new(Group::new(cx, group_id, -1));
    group.state_since_ms = None;
    groups.entry(Rc::clone(&group.id)).or_insert(group)
}

impl Group {
    /// Takes all members out: no timer of theirs runs before the log is read.
    fn clear_loaded(&mut self) {
        for member in std::mem::take(&mut self.members).values() {
            self.charge.sub(member.bytes());
        }
        self.static_members = BTreeMap::new();
        self.forget_protocols();
    }

    fn load(&mut self, value: &GroupMetadataValue<'_>) {
        self.state = if value.members.is_empty() { State::Empty } else { State::Stable };
        self.generation = value.generation;
        self.leader = value.leader.map(Rc::from);
        self.protocol = value.protocol.map(Rc::from);
        self.state_since_ms = Some(value.current_state_timestamp).filter(|timestamp| *timestamp != -1);
        for member in &value.members {
            self.load_member(value, member);
        }
        self.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty()).map(Rc::from);
    }

    fn load_member(&mut self, value: &GroupMetadataValue<'_>, loaded: &MemberMetadata<'_>) {
        let known = |id: &str| self.members.contains_key(id);
        let instance_taken = loaded.group_instance_id.is_some_and(|id| self.static_members.contains_key(id));
        if known(loaded.member_id) || instance_taken {
            // Nobody writes a member twice; a log that says so is not worth a crash.
            return;
        }
        let protocol = Protocol {
            name: Rc::from(value.protocol.unwrap_or_default()),
            metadata: Bytes::copy_from_slice(loaded.subscription),
        };
        let member = Member {
            instance_id: loaded.group_instance_id.map(Rc::from),
            client_id: Rc::from(loaded.client_id),
            client_host: Rc::from(loaded.client_host),
            rebalance_timeout_ms: match loaded.rebalance_timeout {
                -1 => loaded.session_timeout,
                timeout_ms => timeout_ms,
            },
            session_timeout_ms: loaded.session_timeout,
            protocols: vec![protocol],
            assignment: Bytes::copy_from_slice(loaded.assignment),
            join: None,
            sync: None,
            is_new: false,
            session: Timer::default(),
        };
        self.add(&Rc::from(loaded.member_id), value.protocol_type, member);
    }
}
