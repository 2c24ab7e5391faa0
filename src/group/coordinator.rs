//! The coordinator of one partition of `__consumer_offsets`: entry points.

use std::rc::Rc;

use super::budget::Budget;
use super::config::Config;
use super::effect::{AppendFailure, AppendId, Caller, Effect, Now, WaiterId};
use super::records::RecordError;
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

/// The groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Coordinator {
    _config: Rc<Config>,
}

/// How far a compaction has come: see [`Coordinator::rewrite`].
#[derive(Debug)]
pub struct Rewrite {
    _before: Offset,
}

impl Coordinator {
    /// No groups yet. `seed` decides the ids of members and the order of maps: production takes it from the kernel.
    #[must_use]
    pub fn new(config: Rc<Config>, _budget: Rc<Budget>, _seed: u64) -> Self {
        Self { _config: config }
    }

    /// Takes in one record of the log, in the log's order, before [`Coordinator::loaded`]. Records of the newer types of
    /// groups are counted and skipped. After an error the record counts as skipped too: the caller says so and goes on.
    pub fn replay(
        &mut self,
        _offset: Offset,
        _timestamp: i64,
        _key: &[u8],
        _value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        Ok(())
    }

    /// Records of newer types of groups that were skipped while loading.
    #[must_use]
    pub fn skipped_records(&self) -> u64 {
        0
    }

    /// The log is read to its end: sessions of the members found begin now.
    pub fn loaded(&mut self, _now: Now) -> Vec<Effect> {
        Vec::new()
    }

    /// The coordinator goes away while the node lives: every waiting join, sync and append-bound request is answered
    /// NOT_COORDINATOR.
    pub fn unload(&mut self) -> Vec<Effect> {
        Vec::new()
    }

    /// JoinGroup.
    pub fn join(
        &mut self,
        _now: Now,
        _caller: Caller<'_>,
        _request: &JoinGroupRequestData,
        _to: WaiterId,
    ) -> Vec<Effect> {
        Vec::new()
    }

    /// SyncGroup.
    pub fn sync(
        &mut self,
        _now: Now,
        _caller: Caller<'_>,
        _request: &SyncGroupRequestData,
        _to: WaiterId,
    ) -> Vec<Effect> {
        Vec::new()
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, _now: Now, _request: &HeartbeatRequestData, _to: WaiterId) -> Vec<Effect> {
        Vec::new()
    }

    /// LeaveGroup.
    pub fn leave(
        &mut self,
        _now: Now,
        _caller: Caller<'_>,
        _request: &LeaveGroupRequestData,
        _to: WaiterId,
    ) -> Vec<Effect> {
        Vec::new()
    }

    /// OffsetCommit. `topic_id` answers the id of a topic that exists; others get UNKNOWN_TOPIC_OR_PARTITION.
    pub fn commit(
        &mut self,
        _now: Now,
        _request: &OffsetCommitRequestData,
        _topic_id: &dyn Fn(&str) -> Option<TopicId>,
        _to: WaiterId,
    ) -> Vec<Effect> {
        Vec::new()
    }

    /// One group of an OffsetFetch; versions below 8, which ask for one group, in the same form. What it answers is
    /// durable.
    #[must_use]
    pub fn fetch(&self, _request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        OffsetFetchResponseGroup::default()
    }

    /// One group of a DescribeGroups of `version`.
    #[must_use]
    pub fn describe(&self, _group_id: &str, _version: i16) -> DescribedGroup {
        DescribedGroup::default()
    }

    /// The groups that pass ListGroups' filters.
    #[must_use]
    pub fn list(&self, _request: &ListGroupsRequestData) -> Vec<ListedGroup> {
        Vec::new()
    }

    /// DeleteGroups, as far as it names groups of this coordinator.
    pub fn delete(&mut self, _now: Now, _group_ids: &[&str], _to: WaiterId) -> Vec<Effect> {
        Vec::new()
    }

    /// OffsetDelete. `exists` tells topics that exist; others get UNKNOWN_TOPIC_OR_PARTITION.
    pub fn offset_delete(
        &mut self,
        _now: Now,
        _request: &OffsetDeleteRequestData,
        _exists: &dyn Fn(&str) -> bool,
        _to: WaiterId,
    ) -> Vec<Effect> {
        Vec::new()
    }

    /// Topics are gone: so are the offsets committed for them.
    pub fn topics_deleted(&mut self, _now: Now, _names: &[&str]) -> Vec<Effect> {
        Vec::new()
    }

    /// What became of a batch: durable from this base offset on, or not in the log.
    pub fn appended(&mut self, _now: Now, _id: AppendId, _result: Result<Offset, AppendFailure>) -> Vec<Effect> {
        Vec::new()
    }

    /// Does what is due: sessions, rebalances, expiry. To be called at [`Coordinator::next_deadline`] or soon after.
    pub fn tick(&mut self, _now: Now) -> Vec<Effect> {
        Vec::new()
    }

    /// When the next [`Coordinator::tick`] has something to do, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Keys that have a value: what a log compacted now would hold, in records.
    #[must_use]
    pub fn live_records(&self) -> usize {
        0
    }

    /// Begins a compaction: `before` is the log's end offset now. See [`Coordinator::rewrite`].
    #[must_use]
    pub fn begin_rewrite(&self, before: Offset) -> Rewrite {
        Rewrite { _before: before }
    }

    /// The next batch of a compaction, as at most one [`Effect::Append`] of about `max_bytes`: the latest appended value
    /// of each key whose newest record lies before the mark. Empty when all keys are through: once every append given out
    /// before that is durable, the log may be cut at the mark.
    pub fn rewrite(&mut self, _now: Now, _rewrite: &mut Rewrite, _max_bytes: usize) -> Vec<Effect> {
        Vec::new()
    }
}
