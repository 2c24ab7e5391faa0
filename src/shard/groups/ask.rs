//! Questions to coordinators, wherever they are, and their answers.
//!
//! [`Shard::ask_groups`] is the first phase: all questions of a request are with their coordinators, or on their way to
//! the shards that have them, when it returns. [`Answers::all`] is the second.

use std::rc::Rc;

use super::remote::RemoteAnswers;
use super::{GroupError, Hosted, State};
use crate::group::{self, Caller};
use crate::io::{Env, local};
use crate::metadata::Image;
use crate::metadata::names::CONSUMER_OFFSETS;
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
use crate::shard::Shard;
use crate::types::{ShardId, TopicId};

/// A question to one coordinator, or to all of one shard.
#[derive(Debug)]
pub struct GroupAsk {
    /// The partition of `__consumer_offsets`; -1 for every one of the shard.
    pub partition: i32,
    /// What is asked.
    pub request: GroupRequest,
}

/// What is asked of a coordinator.
#[derive(Debug)]
pub enum GroupRequest {
    /// JoinGroup.
    Join(GroupCaller, Box<JoinGroupRequestData>),
    /// SyncGroup.
    Sync(GroupCaller, Box<SyncGroupRequestData>),
    /// Heartbeat.
    Heartbeat(Box<HeartbeatRequestData>),
    /// LeaveGroup.
    Leave(GroupCaller, Box<LeaveGroupRequestData>),
    /// OffsetCommit of this version.
    Commit(i16, Box<OffsetCommitRequestData>),
    /// One group of OffsetFetch.
    Fetch(OffsetFetchRequestGroup),
    /// One group of DescribeGroups, in this version.
    Describe(Box<str>, i16),
    /// ListGroups.
    List(Box<ListGroupsRequestData>),
    /// One group of DeleteGroups.
    Delete(Box<str>),
    /// OffsetDelete.
    OffsetDelete(Box<OffsetDeleteRequestData>),
}

/// Who sent a request; see [`Caller`].
#[derive(Clone, Debug)]
pub struct GroupCaller {
    /// The client id, empty where it is null.
    pub client_id: Box<str>,
    /// The peer's address as Kafka prints it.
    pub client_host: Box<str>,
    /// The version of the request.
    pub version: i16,
}

impl GroupCaller {
    fn borrowed(&self) -> Caller<'_> {
        Caller { client_id: &self.client_id, client_host: &self.client_host, version: self.version }
    }
}

/// What is answered.
#[derive(Debug)]
pub enum GroupReply {
    /// By a coordinator.
    Of(group::Reply),
    /// To [`GroupRequest::Fetch`].
    Fetch(OffsetFetchResponseGroup),
    /// To [`GroupRequest::Describe`].
    Describe(Box<DescribedGroup>),
    /// To [`GroupRequest::List`].
    List(Vec<ListedGroup>),
    /// By nobody.
    Refused(GroupError),
}

/// Questions on their way.
pub struct Answers<E: Env> {
    slots: Vec<Slot>,
    remote: Vec<RemoteAnswers<E>>,
}

enum Slot {
    Here(local::Receiver<GroupReply>),
    /// The answer is this one of that shard's.
    There {
        remote: usize,
        index: usize,
    },
    Refused(GroupError),
}

impl<E: Env> Answers<E> {
    /// Ends when every question is answered, in the order of the questions.
    pub async fn all(self) -> Vec<GroupReply> {
        let mut remote = Vec::with_capacity(self.remote.len());
        for answers in self.remote {
            remote.push(answers.all().await.into_iter().map(Some).collect::<Vec<_>>());
        }
        let mut replies = Vec::with_capacity(self.slots.len());
        for slot in self.slots {
            replies.push(match slot {
                Slot::Here(reply) => reply.await,
                Slot::There { remote: of, index } => remote[of].get_mut(index).and_then(Option::take),
                Slot::Refused(error) => Some(GroupReply::Refused(error)),
            });
        }
        let told = |reply: Option<GroupReply>| reply.unwrap_or(GroupReply::Refused(GroupError::NotCoordinator));
        replies.into_iter().map(told).collect()
    }
}

impl<E: Env> Shard<E> {
    /// Asks the coordinators of these groups, each what concerns it: they have been asked, or are about to be, in this
    /// order, when this returns. There must be room for one call to every other shard.
    pub fn ask_groups<'a>(self: &Rc<Self>, asks: impl IntoIterator<Item = (&'a str, GroupRequest)>) -> Answers<E> {
        let image = self.image();
        let asks = asks.into_iter().map(|(group_id, request)| {
            let place = coordinator_of(&image, group_id);
            place.map(|(partition, shard)| (shard, GroupAsk { partition, request }))
        });
        self.ask_at(asks)
    }

    /// Asks all coordinators of every shard.
    pub fn ask_all_groups(self: &Rc<Self>, request: impl Fn() -> GroupRequest) -> Answers<E> {
        let shards = std::iter::once(self.rt.shard()).chain(self.router.others());
        self.ask_at(shards.map(|shard| Ok((shard, GroupAsk { partition: ALL, request: request() }))))
    }

    fn ask_at(self: &Rc<Self>, asks: impl Iterator<Item = Result<(ShardId, GroupAsk), GroupError>>) -> Answers<E> {
        let (me, mut slots) = (self.rt.shard(), Vec::new());
        let mut outgoing: Vec<(ShardId, Vec<GroupAsk>)> = Vec::new();
        for ask in asks {
            slots.push(match ask {
                Err(error) => Slot::Refused(error),
                Ok((shard, ask)) if shard == me => Slot::Here(self.ask_here(ask)),
                Ok((shard, ask)) => {
                    let remote = outgoing.iter().position(|(of, _)| *of == shard).unwrap_or_else(|| {
                        outgoing.push((shard, Vec::new()));
                        outgoing.len() - 1
                    });
                    outgoing[remote].1.push(ask);
                    Slot::There { remote, index: outgoing[remote].1.len() - 1 }
                }
            });
        }
        let remote = outgoing.into_iter().map(|(shard, asks)| self.ask_shard(shard, asks)).collect();
        Answers { slots, remote }
    }

    /// Asks a coordinator of this shard.
    pub(super) fn ask_here(self: &Rc<Self>, ask: GroupAsk) -> local::Receiver<GroupReply> {
        let (sender, receiver) = local::oneshot();
        if ask.partition == ALL {
            sender.send(self.ask_each(&ask.request));
            return receiver;
        }
        match self.groups.of(ask.partition).map(|hosted| (hosted.state.get(), hosted)) {
            Some((State::Ready, hosted)) => self.ask_coordinator(&hosted, ask.request, sender),
            Some((State::Loading, _)) => sender.send(GroupReply::Refused(GroupError::LoadInProgress)),
            Some((State::Gone, _)) | None => sender.send(GroupReply::Refused(GroupError::NotCoordinator)),
        }
        receiver
    }

    fn ask_each(&self, request: &GroupRequest) -> GroupReply {
        let GroupRequest::List(request) = request else { return GroupReply::Refused(GroupError::NotCoordinator) };
        let mut groups = Vec::new();
        for hosted in self.groups.all() {
            match hosted.state.get() {
                State::Ready => groups.append(&mut hosted.coordinator.borrow().list(request)),
                State::Loading => return GroupReply::Refused(GroupError::LoadInProgress),
                State::Gone => {}
            }
        }
        GroupReply::List(groups)
    }

    fn ask_coordinator(
        self: &Rc<Self>,
        hosted: &Rc<Hosted<E>>,
        request: GroupRequest,
        sender: local::Sender<GroupReply>,
    ) {
        let (now, image) = (self.group_time(), self.image());
        match request {
            GroupRequest::Fetch(request) => {
                let reply = hosted.coordinator.borrow().fetch(&request);
                return sender.send(GroupReply::Fetch(reply));
            }
            GroupRequest::Describe(group_id, version) => {
                let reply = hosted.coordinator.borrow().describe(&group_id, version);
                return sender.send(GroupReply::Describe(Box::new(reply)));
            }
            GroupRequest::List(request) => {
                let reply = hosted.coordinator.borrow().list(&request);
                return sender.send(GroupReply::List(reply));
            }
            _ => {}
        }
        let to = self.next_waiter();
        hosted.waiters.borrow_mut().insert(to.0, sender);
        let mut coordinator = hosted.coordinator.borrow_mut();
        let effects = match request {
            GroupRequest::Join(caller, request) => coordinator.join(now, caller.borrowed(), &request, to),
            GroupRequest::Sync(caller, request) => coordinator.sync(now, caller.borrowed(), &request, to),
            GroupRequest::Heartbeat(request) => coordinator.heartbeat(now, &request, to),
            GroupRequest::Leave(caller, request) => coordinator.leave(now, caller.borrowed(), &request, to),
            GroupRequest::Commit(version, request) => {
                // Topics by name have no id in Kafka's records either.
                let topic_id = |name: &str| image.topic(name).map(|_| TopicId::ZERO);
                coordinator.commit(now, version, &request, &topic_id, to)
            }
            GroupRequest::Delete(group_id) => coordinator.delete(now, &[&group_id], to),
            GroupRequest::OffsetDelete(request) => {
                coordinator.offset_delete(now, &request, &|name| image.topic(name).is_some(), to)
            }
            GroupRequest::Fetch(_) | GroupRequest::Describe(..) | GroupRequest::List(_) => Vec::new(),
        };
        drop(coordinator);
        self.run_effects(hosted, effects);
    }
}

/// The partition of `__consumer_offsets` that keeps a group, and the shard that serves it.
fn coordinator_of(image: &Image, group_id: &str) -> Result<(i32, ShardId), GroupError> {
    let topic = image.topic(CONSUMER_OFFSETS).ok_or(GroupError::NotCoordinator)?;
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX).max(1);
    let partition = partition_of(group_id, partitions);
    let shard = topic.partition(partition).and_then(|partition| partition.shard);
    shard.map(|shard| (partition, shard)).ok_or(GroupError::NotCoordinator)
}

/// `Utils.abs(groupId.hashCode()) % partitions` of Kafka: Java's hash of a string counts UTF-16 units.
fn partition_of(group_id: &str, partitions: i32) -> i32 {
    let hash = group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions
}

/// Every coordinator of a shard.
pub(super) const ALL: i32 = -1;

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn groups_go_to_the_partitions_that_java_gives_them() {
        // Of `Utils.abs("...".hashCode()) % 50` in a JVM.
        for (group_id, partition) in [("", 0), ("a", 47), ("console-consumer", 8), ("grüße", 23), ("🦀", 2)] {
            assert_eq!(partition_of(group_id, 50), partition, "{group_id}");
        }
        assert_eq!(partition_of("polygenelubricants", 50), 0, "hashCode is Integer.MIN_VALUE");
    }
}
