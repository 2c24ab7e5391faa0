//! Membership of a group by the classic protocol: join, sync, heartbeats, commits, leave.
//!
//! ```text
//!   join -> sync -> [ assignment; a thread sends heartbeats and commits ] -> rebalance -> commit -> join ...
//! ```
//! [`Member`] belongs to the thread that consumes; [`Pulse`] runs beside it while an assignment holds, on connections
//! of its own, because a join may take as long as the slowest member.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::offsets::{self, Key};
use super::protocol::{self, Partitions, Subscriber};
use crate::client::{Cluster, Connection, Error, Stop, accept};
use crate::protocol::ErrorCode;
use crate::protocol::cold::{
    KafkaString, heartbeat_request as heartbeat, join_group_request as join, join_group_response,
    leave_group_request as leave, sync_group_request as sync,
};

/// Who a member is, in one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
}

/// A member of a group that reads one topic.
#[derive(Debug)]
pub(crate) struct Member {
    group: String,
    topic: String,
    identity: Identity,
}

impl Member {
    /// A member that has not joined yet. A name makes it a static one.
    pub(crate) fn new(group: &str, instance_id: Option<&str>, topic: &str) -> Self {
        let identity = Identity { instance_id: instance_id.map(str::to_owned), ..Identity::default() };
        Self { group: group.to_owned(), topic: topic.to_owned(), identity }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Joins, or joins again, until a generation has settled. Answers the partitions of the topic that are this one's.
    pub(crate) fn join(&mut self, cluster: &mut Cluster) -> Result<Vec<i32>, Error> {
        let begun = Instant::now();
        loop {
            match self.try_join(cluster) {
                Ok(Some(mut partitions)) => return Ok(partitions.remove(&self.topic).unwrap_or_default()),
                Ok(None) => {}
                Err(error) => match error.code() {
                    Some(ErrorCode::UnknownMemberId) => self.identity.member_id.clear(),
                    Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {}
                    _ if error.is_retriable() && begun.elapsed() < JOIN_PATIENCE => sleep(PAUSE),
                    _ => return Err(error),
                },
            }
            if cluster.stop().is_set() {
                return Err(Error::Stopped);
            }
        }
    }

    /// One round; `None` where the coordinator wants another.
    fn try_join(&mut self, cluster: &mut Cluster) -> Result<Option<Partitions>, Error> {
        let text = |text: &str| KafkaString::from(text.to_owned());
        let coordinator = cluster.coordinator(&self.group)?;
        let mut connection = cluster.connect(coordinator)?;
        let own = join::JoinGroupRequestProtocol::default()
            .with_name(text(ASSIGNOR))
            .with_metadata(protocol::subscription(&self.topic).into());
        let request = join::JoinGroupRequestData::default()
            .with_group_id(text(&self.group))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(text(&self.identity.member_id))
            .with_group_instance_id(self.identity.instance_id.as_deref().map(text))
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![own]);
        let joined = connection.call_within(&request, JOIN_WAIT)?;
        if ErrorCode::from_code(joined.error_code) == Some(ErrorCode::MemberIdRequired) {
            joined.member_id.as_str().clone_into(&mut self.identity.member_id);
            return Ok(None);
        }
        accept(self.group.as_str(), joined.error_code, None)?;
        joined.member_id.as_str().clone_into(&mut self.identity.member_id);
        self.identity.generation = joined.generation_id;
        let leads = joined.leader == joined.member_id && !joined.skip_assignment;
        let assignments = if leads { assign(cluster, &joined)? } else { Vec::new() };
        self.sync(&mut connection, assignments).map(Some)
    }

    fn sync(
        &self,
        connection: &mut Connection,
        assignments: Vec<sync::SyncGroupRequestAssignment>,
    ) -> Result<Partitions, Error> {
        let text = |text: &str| KafkaString::from(text.to_owned());
        let request = sync::SyncGroupRequestData::default()
            .with_group_id(text(&self.group))
            .with_generation_id(self.identity.generation)
            .with_member_id(text(&self.identity.member_id))
            .with_group_instance_id(self.identity.instance_id.as_deref().map(text))
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(ASSIGNOR)))
            .with_assignments(assignments);
        let synced = connection.call_within(&request, JOIN_WAIT)?;
        accept(self.group.as_str(), synced.error_code, None)?;
        let assigned = protocol::assigned(&synced.assignment);
        assigned.ok_or_else(|| Error::GaveUp(format!("{}: an assignment that makes no sense", self.group)))
    }

    /// Commits as this member. Nothing to commit is done at once.
    pub(crate) fn commit(&self, cluster: &mut Cluster, offsets: &BTreeMap<Key, i64>) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        offsets::commit(cluster, &self.group, Some(&self.identity), offsets)
    }

    /// Leaves, so that others need not wait for the session to end. A static member keeps its place.
    pub(crate) fn leave(&self, cluster: &mut Cluster) -> Result<(), Error> {
        if self.identity.member_id.is_empty() || self.identity.instance_id.is_some() {
            return Ok(());
        }
        let text = |text: &str| KafkaString::from(text.to_owned());
        let own = leave::MemberIdentity::default()
            .with_member_id(text(&self.identity.member_id))
            .with_group_instance_id(None)
            .with_reason(Some(text("the command has ended")));
        let request = leave::LeaveGroupRequestData::default().with_group_id(text(&self.group)).with_members(vec![own]);
        let answer = cluster.call_coordinator(&self.group, &request, |answer| answer.error_code)?;
        accept(self.group.as_str(), answer.error_code, None)
    }
}

/// The leader's part: everybody's partitions.
fn assign(
    cluster: &mut Cluster,
    joined: &join_group_response::JoinGroupResponseData,
) -> Result<Vec<sync::SyncGroupRequestAssignment>, Error> {
    let subscribers: Vec<Subscriber> = joined
        .members
        .iter()
        .map(|member| Subscriber {
            member_id: member.member_id.as_str().to_owned(),
            instance_id: member.group_instance_id.as_ref().map(|id| id.as_str().to_owned()),
            topics: protocol::subscribed(&member.metadata).unwrap_or_default(),
        })
        .collect();
    let mut topics: Vec<&str> = subscribers.iter().flat_map(|member| &member.topics).map(String::as_str).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut numbers = BTreeMap::new();
    for topic in cluster.metadata(Some(&topics), false)? {
        let mut partitions: Vec<i32> = topic.partitions.iter().map(|found| found.partition_index).collect();
        partitions.sort_unstable();
        if let Some(name) = topic.name.filter(|_| topic.error_code == 0) {
            numbers.insert(name.as_str().to_owned(), partitions);
        }
    }
    let assigned = protocol::range(&subscribers, &numbers);
    let each = subscribers.iter().zip(&assigned).map(|(member, partitions)| {
        sync::SyncGroupRequestAssignment::default()
            .with_member_id(KafkaString::from(member.member_id.clone()))
            .with_assignment(protocol::assignment(partitions).into())
    });
    Ok(each.collect())
}

/// What the consuming thread and the heartbeats share while an assignment holds.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    state: Mutex<PulseState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PulseState {
    /// What was printed: the next offset of each partition.
    offsets: BTreeMap<Key, i64>,
    ended: bool,
    /// The membership is gone, not only the generation: nothing can be committed any more.
    lost: bool,
    failure: Option<Error>,
}

impl Pulse {
    /// What was printed so far, to be committed.
    pub(crate) fn record(&self, offsets: impl IntoIterator<Item = (Key, i64)>) {
        self.lock().offsets.extend(offsets);
    }

    /// Ends the heartbeats. Answers what is to be committed, unless the membership was lost.
    pub(crate) fn end(&self) -> Option<BTreeMap<Key, i64>> {
        let mut state = self.lock();
        state.ended = true;
        self.changed.notify_all();
        (!state.lost).then(|| state.offsets.clone())
    }

    /// What went wrong, if it is more than a rebalance.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PulseState> {
        self.state.lock().expect("no thread panics while it holds the state")
    }

    /// Sends heartbeats and commits until the end, or until the group rebalances: then `over` is set.
    pub(crate) fn run(&self, cluster: &mut Cluster, group: &str, identity: &Identity, over: &Stop) {
        let mut committed = (Instant::now(), BTreeMap::new());
        let mut last_good = Instant::now();
        loop {
            let state = self.lock();
            let waited = self.changed.wait_timeout_while(state, HEARTBEAT_INTERVAL, |state| !state.ended);
            let state = waited.expect("no thread panics while it holds the state").0;
            if state.ended {
                return;
            }
            let offsets = state.offsets.clone();
            drop(state);
            let mut done = beat(cluster, group, identity);
            if done.is_ok() && committed.0.elapsed() >= COMMIT_INTERVAL && offsets != committed.1 {
                done = offsets::commit(cluster, group, Some(identity), &offsets);
                committed = (Instant::now(), offsets);
            }
            let Err(error) = done else {
                last_good = Instant::now();
                continue;
            };
            let code = error.code();
            let gone = matches!(code, Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration));
            let again = code == Some(ErrorCode::RebalanceInProgress);
            if error.is_retriable() && last_good.elapsed() < JOIN_PATIENCE {
                continue;
            }
            let mut state = self.lock();
            state.lost = !again;
            state.failure = (!gone && !again).then_some(error);
            over.set();
            return;
        }
    }
}

fn beat(cluster: &mut Cluster, group: &str, identity: &Identity) -> Result<(), Error> {
    let text = |text: &str| KafkaString::from(text.to_owned());
    let request = heartbeat::HeartbeatRequestData::default()
        .with_group_id(text(group))
        .with_generation_id(identity.generation)
        .with_member_id(text(&identity.member_id))
        .with_group_instance_id(identity.instance_id.as_deref().map(text));
    let answer = cluster.call_coordinator(group, &request, |answer| answer.error_code)?;
    accept(group, answer.error_code, None)
}

/// Kafka's names and defaults: `partition.assignment.strategy`, `session.timeout.ms`, `max.poll.interval.ms`,
/// `heartbeat.interval.ms`, `auto.commit.interval.ms`.
const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";
const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// The coordinator answers a join when all have joined or the rebalance timeout is over.
const JOIN_WAIT: Duration = Duration::from_secs(310);
const JOIN_PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);
