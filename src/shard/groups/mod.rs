//! The group coordinators of one shard: one for each partition of `__consumer_offsets` that it serves.
//!
//! Called by `handlers/` with what clients ask, by `apply` when an image brings or takes partitions, and by the mail task
//! for other shards' clients. The coordinator itself ([`crate::group`]) is pure: this module gives it the time, puts its
//! records into the partition, hands its replies to who waits for them, and reads the partition back at start.
//!
//! ```text
//!   ask (here, or by Call::Groups) -> Coordinator -> Effect::Reply  -> who waits
//!                                                 -> Effect::Append -> Partition::append, in order
//!                                        ^ appended  <- durable, in the same order (one task for each coordinator)
//!                                        ^ tick      <- one task for the shard, at the next deadline
//! ```
//!
//! **Invariants.** 1. A coordinator answers only once its partition has been read to its end. 2. Batches reach the
//! partition in the order of the effects, and the coordinator hears of them in that order. 3. No borrow of a coordinator
//! is held across an await, nor while its effects are run. 4. A wait for a reply holds no slot of the router: the shard
//! that is asked answers at once, with the reply or with the word that it comes later, in a call of its own.
//!
//! **Cancellation.** Dropping an [`Answers`] forgets the replies and undoes nothing.

mod ask;
mod compact;
mod load;
mod remote;
mod timer;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

pub use ask::{Answers, GroupAsk, GroupCaller, GroupReply, GroupRequest};
pub use remote::GroupWaitId;

use super::{LineLimit, Shard};
use crate::group::{self, AppendFailure, AppendId, Budget, Coordinator, Effect, Now, WaiterId};
use crate::io::local::{self, Notify};
use crate::io::{Env, Runtime, Slice};
use crate::metadata::names::CONSUMER_OFFSETS;
use crate::metadata::{Image, Topic};
use crate::partition::{self, Acks, AppendJob, AppendTicket, Partition};
use crate::record::build::{BatchBuilder, NewRecord};
use crate::record::{RecordError, Records};
use crate::storage;
use crate::types::{Offset, PartitionId};

/// Why a coordinator does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// It reads its partition.
    #[error("the coordinator is loading")]
    LoadInProgress,
    /// There is none for this group here.
    #[error("this is not the coordinator of the group")]
    NotCoordinator,
}

/// The coordinators of one shard and who waits for them.
pub(super) struct Groups<E: Env> {
    config: Rc<group::Config>,
    budget: Rc<Budget>,
    /// By partition of `__consumer_offsets`.
    hosted: RefCell<BTreeMap<i32, Rc<Hosted<E>>>>,
    next_waiter: Cell<u64>,
    remote: remote::Waits,
    timer: timer::Timer,
    /// Lines about what was refused for want of memory.
    lines: LineLimit,
}

/// One coordinator and its partition.
pub(super) struct Hosted<E: Env> {
    partition: Rc<Partition<E>>,
    state: Cell<State>,
    coordinator: RefCell<Coordinator>,
    waiters: RefCell<BTreeMap<u64, local::Sender<GroupReply>>>,
    /// Batches that the partition was given, in order; the coordinator has not heard of them yet.
    appends: RefCell<VecDeque<(AppendId, AppendTicket<E>)>>,
    /// A task follows `appends`.
    following: Cell<bool>,
    /// Notified when the coordinator has heard of a batch.
    heard: Notify,
    /// A task compacts the partition.
    compacting: Cell<bool>,
    /// Where the log has to end before counting what is superseded is worth it.
    count_at: Cell<Offset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Loading,
    Ready,
    /// Its partition is gone, or cannot be read.
    Gone,
}

impl<E: Env> Groups<E> {
    pub(super) fn new(config: group::Config, memory_bytes: usize) -> Self {
        Self {
            config: Rc::new(config),
            budget: Budget::new(memory_bytes),
            hosted: RefCell::default(),
            next_waiter: Cell::new(0),
            remote: remote::Waits::default(),
            timer: timer::Timer::default(),
            lines: LineLimit::default(),
        }
    }

    fn all(&self) -> Vec<Rc<Hosted<E>>> {
        self.hosted.borrow().values().cloned().collect()
    }

    fn of(&self, partition: i32) -> Option<Rc<Hosted<E>>> {
        self.hosted.borrow().get(&partition).cloned()
    }
}

impl<E: Env> Hosted<E> {
    fn new(rt: &Rc<Runtime<E>>, groups: &Groups<E>, partition: Rc<Partition<E>>) -> Rc<Self> {
        let coordinator = Coordinator::new(Rc::clone(&groups.config), Rc::clone(&groups.budget), rt.env().random());
        Rc::new(Self {
            partition,
            state: Cell::new(State::Loading),
            coordinator: RefCell::new(coordinator),
            waiters: RefCell::default(),
            appends: RefCell::default(),
            following: Cell::new(false),
            heard: Notify::default(),
            compacting: Cell::new(false),
            count_at: Cell::new(Offset::ZERO),
        })
    }

    fn id(&self) -> PartitionId {
        self.partition.id()
    }

    /// Hands records to the partition as one batch: decided when this returns.
    fn append(&self, id: AppendId, records: &[NewRecord]) {
        let batch = BatchBuilder::default().build(records);
        let records = Records::from_chunks(vec![Slice::from(Bytes::from(batch))]);
        let job = AppendJob { records, acks: Acks::All, produce_version: PRODUCE_VERSION };
        let ticket = self.partition.append(job);
        self.appends.borrow_mut().push_back((id, ticket));
    }
}

impl<E: Env> Shard<E> {
    /// Both clocks.
    fn group_time(&self) -> Now {
        Now { monotonic_ms: self.rt.now_ns() / 1_000_000, wall_ms: self.rt.env().wall_ms() }
    }

    /// Brings the coordinators to those of the new image: new ones begin to load, those whose partition is gone end, and
    /// offsets of deleted topics are dropped.
    pub(super) fn follow_groups(self: &Rc<Self>, old: &Image, new: &Image) {
        let topic = new.topic(CONSUMER_OFFSETS);
        let is_kept = |hosted: &Rc<Hosted<E>>| new.partition(hosted.id()).is_some();
        for hosted in self.groups.all().into_iter().filter(|hosted| !is_kept(hosted)) {
            self.groups.hosted.borrow_mut().remove(&hosted.id().partition);
            self.end_coordinator(&hosted);
        }
        let deleted: Vec<&str> = deleted_topics(old, new).collect();
        if !deleted.is_empty() {
            for hosted in self.groups.all().into_iter().filter(|hosted| hosted.state.get() == State::Ready) {
                let effects = hosted.coordinator.borrow_mut().topics_deleted(self.group_time(), &deleted);
                self.run_effects(&hosted, effects);
            }
        }
        if let Some(topic) = topic {
            self.host(topic);
        }
    }

    /// Begins to load the partitions that have no coordinator yet, the smallest first.
    fn host(self: &Rc<Self>, topic: &Arc<Topic>) {
        let me = self.rt.shard();
        let mut new = Vec::new();
        for (id, _) in topic.partition_ids().filter(|(_, assigned)| assigned.shard == Some(me)) {
            if self.groups.of(id.partition).is_some() {
                continue;
            }
            let Some(partition) = self.partition(id) else { continue };
            let hosted = Hosted::new(&self.rt, &self.groups, partition);
            self.groups.hosted.borrow_mut().insert(id.partition, Rc::clone(&hosted));
            new.push(hosted);
        }
        if new.is_empty() {
            return;
        }
        new.sort_by_key(|hosted| hosted.partition.log_end_offset().0 - hosted.partition.log_start_offset().0);
        let shard = Rc::clone(self);
        let load = async move {
            for hosted in new {
                shard.load_coordinator(&hosted).await;
            }
        };
        self.rt.spawn(load).detach();
        self.start_group_timer();
    }

    /// Nobody asks it any more: who waits is told to look for the coordinator again.
    fn end_coordinator(self: &Rc<Self>, hosted: &Rc<Hosted<E>>) {
        hosted.state.set(State::Gone);
        let effects = hosted.coordinator.borrow_mut().unload();
        self.run_effects(hosted, effects);
        // Dropped senders: whoever waits hears that this is not the coordinator.
        hosted.waiters.borrow_mut().clear();
        hosted.heard.notify_all();
    }

    /// The shard stops: waits are cut short.
    pub(super) fn stop_groups(self: &Rc<Self>) {
        let hosted = std::mem::take(&mut *self.groups.hosted.borrow_mut());
        for hosted in hosted.into_values() {
            self.end_coordinator(&hosted);
        }
        self.groups.timer.notify();
    }

    /// Does what a coordinator has decided, in its order.
    fn run_effects(self: &Rc<Self>, hosted: &Rc<Hosted<E>>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { to, reply } => {
                    let waiter = hosted.waiters.borrow_mut().remove(&to.0);
                    if let Some(waiter) = waiter {
                        waiter.send(GroupReply::Of(reply));
                    }
                }
                Effect::Append { id, records } => hosted.append(id, &records),
            }
        }
        self.follow_appends(hosted);
        self.note_deadline(hosted);
        self.note_refused();
    }

    /// Tells the coordinator of its batches as they become durable, in order. One task for each coordinator that has any.
    fn follow_appends(self: &Rc<Self>, hosted: &Rc<Hosted<E>>) {
        if hosted.appends.borrow().is_empty() || hosted.following.replace(true) {
            return;
        }
        let (shard, hosted) = (Rc::clone(self), Rc::clone(hosted));
        let follow = async move {
            loop {
                let next = hosted.appends.borrow_mut().pop_front();
                let Some((id, ticket)) = next else { break };
                let appended = ticket.done().await;
                let result = appended.map(|info| info.base_offset).map_err(|error| shard.failure(&hosted, &error));
                let effects = hosted.coordinator.borrow_mut().appended(shard.group_time(), id, result);
                shard.run_effects(&hosted, effects);
                hosted.heard.notify_all();
                shard.note_growth(&hosted);
            }
            hosted.following.set(false);
        };
        self.rt.spawn(follow).detach();
    }

    fn failure(&self, hosted: &Hosted<E>, error: &partition::Error) -> AppendFailure {
        let failure = append_failure(error);
        if hosted.state.get() != State::Gone
            && let Some(left_out) = self.groups.lines.admit(self.rt.now_ns())
        {
            tracing::warn!(left_out, "groups: records were not appended: {error}");
        }
        failure
    }

    /// One line where the groups of this shard have no room left.
    fn note_refused(&self) {
        let refused = self.groups.budget.take_refused();
        if refused > 0
            && let Some(left_out) = self.groups.lines.admit(self.rt.now_ns())
        {
            let (used, limit) = (self.groups.budget.used_bytes(), self.groups.budget.limit_bytes());
            let shard = self.rt.shard().0;
            tracing::warn!(
                shard,
                refused,
                left_out,
                "groups: no room for more: {used} of {limit} bytes are in use (raise --memory, or lower offsets.retention.minutes)"
            );
        }
    }

    fn next_waiter(&self) -> WaiterId {
        let id = self.groups.next_waiter.get();
        self.groups.next_waiter.set(id + 1);
        WaiterId(id)
    }
}

/// Names of topics that are in the one image and not in the other, or are there in another life.
fn deleted_topics<'a>(old: &'a Image, new: &'a Image) -> impl Iterator<Item = &'a str> {
    let is_gone = |topic: &&Arc<Topic>| new.topic_by_id(topic.id).is_none();
    old.topics().filter(is_gone).map(|topic| &*topic.name)
}

/// What a refused batch means to groups, as Kafka tells them apart (`GroupCoordinatorService.handleOperationException`).
fn append_failure(error: &partition::Error) -> AppendFailure {
    match error {
        partition::Error::Record {
            cause: RecordError::TooLarge { .. } | RecordError::LargerThanSegment { .. },
            ..
        }
        | partition::Error::Storage(storage::Error::TooLarge { .. }) => AppendFailure::TooLarge,
        partition::Error::Closed { .. }
        | partition::Error::Storage(
            storage::Error::Closed { .. }
            | storage::Error::Poisoned { .. }
            | storage::Error::Offline { .. }
            | storage::Error::Quarantined { .. }
            | storage::Error::Io { .. },
        ) => AppendFailure::NotCoordinator,
        _ => AppendFailure::Unavailable,
    }
}

/// Our own batches are checked by the rules of the newest Produce.
const PRODUCE_VERSION: i16 = 9;
