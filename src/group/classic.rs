//! A group: its state, its members, and what of it is in the log.
//!
//! ```text
//!            first member                all joined, or time is up          the leader's assignment is durable
//!   Empty ------------------> Preparing ------------------------> Completing ------------------> Stable
//!     ^                        ^   |                                  |                            |
//!     |   nobody joined        |   |                                  |                            |
//!     +----------------------- | --+                                  |                            |
//!                              +---- a member joins, leaves, or is silent for too long ------------+
//! ```
//!
//! **Invariants.** 1. `awaiting_join` counts the members whose JoinGroup waits. 2. `supports` counts for each protocol the
//! members that bring it. 3. A member is in `members` or in `pending_members`, never in both. 4. A group that is not alive
//! is one that was deleted while its tombstones are on their way: nobody is a member, and only its log is left.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::budget::Charge;
use super::context::Context;
use super::effect::{AppendId, Now};
use super::member::{Member, Protocol, Waiting};
use super::offsets::Offsets;
use super::reply::supersede_join;
use super::subscription::{self, CONSUMER};
use super::timers::{About, Timer};
use super::versions::{Versions, Weigh};
use crate::protocol::ErrorCode;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// Kafka's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// The state of a group that is not there.
pub(super) const DEAD: &str = "Dead";

/// What a group costs that has nothing yet.
pub(super) const GROUP_BYTES: usize = 1_024;
/// What a member costs that was given an id and did not come back with it yet.
pub(super) const PENDING_MEMBER_BYTES: usize = 256;

/// The bytes of a group's record.
#[derive(Debug)]
pub(super) struct GroupRecord(pub(super) Box<[u8]>);

impl Weigh for GroupRecord {
    fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

/// A group and its offsets.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Rc<str>,
    /// Which life of this id it is.
    pub(super) life: u64,
    pub(super) alive: bool,
    pub(super) state: State,
    /// Whether the rebalance under way is the first one of an empty group: it waits for more members than it knows.
    pub(super) initial_rebalance: Option<InitialRebalance>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Rc<str>>,
    pub(super) protocol: Option<Rc<str>>,
    pub(super) leader: Option<Rc<str>>,
    /// Wall time of the last change of state, where it is known.
    pub(super) state_since_ms: Option<i64>,
    pub(super) members: BTreeMap<Rc<str>, Member>,
    /// Member ids by instance id.
    pub(super) static_members: BTreeMap<Rc<str>, Rc<str>>,
    /// Ids that were given out and not come back with yet.
    pub(super) pending_members: BTreeMap<Rc<str>, Timer>,
    /// Members of this generation that sent no SyncGroup yet.
    pub(super) pending_sync: BTreeSet<Rc<str>>,
    pub(super) awaiting_join: usize,
    supports: BTreeMap<Rc<str>, usize>,
    pub(super) join_timer: Timer,
    pub(super) sync_timer: Timer,
    /// The append of this generation's assignment, while it is in flight.
    pub(super) assigning: Option<AppendId>,
    pub(super) record: Versions<GroupRecord>,
    pub(super) offsets: Offsets,
    pub(super) charge: Charge,
}

/// How the first rebalance of an empty group waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialRebalance {
    /// A member came since the wait began: it is worth waiting on.
    pub(super) member_added: bool,
    pub(super) delay_ms: u64,
    /// What may be waited after the present delay.
    pub(super) remaining_ms: u64,
}

/// Milliseconds of a request; a negative number is none.
pub(super) fn millis(ms: i32) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

impl Group {
    pub(super) fn new(cx: &mut Context, id: &str, now_wall_ms: i64) -> Self {
        let mut charge = Charge::new(&cx.budget);
        charge.add(GROUP_BYTES + 2 * id.len());
        Self {
            id: Rc::from(id),
            life: cx.next_life(),
            alive: true,
            state: State::Empty,
            initial_rebalance: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            state_since_ms: Some(now_wall_ms),
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            supports: BTreeMap::new(),
            join_timer: Timer::default(),
            sync_timer: Timer::default(),
            assigning: None,
            record: Versions::default(),
            offsets: Offsets::default(),
            charge,
        }
    }

    /// Begins a new life of a group that was deleted and whose tombstones are on their way.
    pub(super) fn revive(&mut self, cx: &mut Context, now: Now) {
        assert!(!self.alive && self.members.is_empty(), "a dead group has no members");
        self.life = cx.next_life();
        self.alive = true;
        self.generation = 0;
        self.protocol_type = None;
        self.protocol = None;
        self.leader = None;
        self.state_since_ms = Some(now.wall_ms);
    }

    /// Whether nothing is left of it but its place.
    pub(super) fn is_gone(&self) -> bool {
        let unused = !self.alive
            || (self.state == State::Empty && self.pending_members.is_empty() && self.protocol_type.is_none());
        unused && self.record.is_gone() && self.offsets.is_empty()
    }

    pub(super) fn is_in(&self, state: State) -> bool {
        self.state == state
    }

    pub(super) fn transition(&mut self, to: State, now: Now) {
        let from = self.state;
        let allowed = match to {
            State::Empty => from == State::PreparingRebalance,
            State::PreparingRebalance => from != State::PreparingRebalance,
            State::CompletingRebalance => from == State::PreparingRebalance,
            State::Stable => from == State::CompletingRebalance,
        };
        assert!(allowed, "group {}: from {from:?} to {to:?}", self.id);
        self.state = to;
        self.state_since_ms = Some(now.wall_ms);
        self.assigning = None;
        if to != State::PreparingRebalance {
            self.initial_rebalance = None;
        }
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn speaks_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// How long a rebalance may wait: as long as its most patient member says.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| millis(member.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    pub(super) fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_members.is_empty()
    }

    /// Whether a member with these protocols can be one of this group.
    pub(super) fn accepts_protocols<'a>(&self, protocol_type: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
        if self.is_in(State::Empty) {
            return !protocol_type.is_empty() && names.next().is_some();
        }
        let everyone = |name: &str| self.supports.get(name).copied().unwrap_or(0) == self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type) && names.any(everyone)
    }

    /// Whether a request comes from who it says: the member is known, and is the present holder of its instance id.
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if **holder != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Takes a member in. The first one decides what kind of group it is, and leads it.
    pub(super) fn add(&mut self, id: &Rc<str>, protocol_type: &str, member: Member) {
        if self.members.is_empty() {
            self.protocol_type = Some(Rc::from(protocol_type));
        }
        if self.leader.is_none() {
            self.leader = Some(Rc::clone(id));
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(Rc::clone(instance_id), Rc::clone(id));
        }
        self.insert(id, member);
    }

    fn insert(&mut self, id: &Rc<str>, member: Member) {
        self.charge.add(member.bytes());
        self.count_protocols(&member.protocols, true);
        self.awaiting_join += usize::from(member.join.is_some());
        let before = self.members.insert(Rc::clone(id), member);
        assert!(before.is_none(), "a member is added once");
    }

    fn take(&mut self, id: &str) -> Option<(Rc<str>, Member)> {
        let (id, member) = self.members.remove_entry(id)?;
        self.charge.sub(member.bytes());
        self.count_protocols(&member.protocols, false);
        self.awaiting_join -= usize::from(member.join.is_some());
        Some((id, member))
    }

    fn count_protocols(&mut self, protocols: &[Protocol], more: bool) {
        let names: BTreeSet<&Rc<str>> = protocols.iter().map(|protocol| &protocol.name).collect();
        for name in names {
            let count = self.supports.entry(Rc::clone(name)).or_default();
            *count = if more { *count + 1 } else { *count - 1 };
            if *count == 0 {
                self.supports.remove(name);
            }
        }
    }

    pub(super) fn forget_protocols(&mut self) {
        self.supports = BTreeMap::new();
    }

    /// Whether assignments are handed out wrongly on purpose.
    #[cfg(test)]
    pub(super) fn takes_any_assignment(&self, cx: &Context) -> bool {
        cx.sabotage == super::sabotage::Sabotage::AnyAssignment && self.is_in(State::CompletingRebalance)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests ask the same of the group")]
    pub(super) fn takes_any_assignment(&self, _cx: &Context) -> bool {
        false
    }

    /// Takes a member out, or an id that was given out. Requests of it that wait have been answered.
    pub(super) fn remove(&mut self, cx: &mut Context, member_id: &str) {
        if let Some((id, mut member)) = self.take(member_id) {
            assert!(member.join.is_none() && member.sync.is_none(), "who is removed has been answered");
            cx.timers.stop(&mut member.session, &self.id, About::Member(id));
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.remove_pending(cx, member_id);
        self.pending_sync.remove(member_id);
    }

    pub(super) fn remove_pending(&mut self, cx: &mut Context, member_id: &str) {
        if let Some((id, mut timer)) = self.pending_members.remove_entry(member_id) {
            self.charge.sub(PENDING_MEMBER_BYTES + id.len());
            cx.timers.stop(&mut timer, &self.id, About::Member(id));
        }
    }

    /// Puts a member under a new id. What waited under the old one is handed to the caller.
    pub(super) fn rename(&mut self, cx: &mut Context, old_id: &str, new_id: &Rc<str>) -> Option<Abandoned> {
        let (old_id, mut member) = self.take(old_id)?;
        let abandoned = Abandoned { join: member.join.take(), sync: member.sync.take() };
        cx.timers.stop(&mut member.session, &self.id, About::Member(Rc::clone(&old_id)));
        if self.is_leader(&old_id) {
            self.leader = Some(Rc::clone(new_id));
        }
        if self.pending_sync.remove(&old_id) {
            self.pending_sync.insert(Rc::clone(new_id));
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(Rc::clone(instance_id), Rc::clone(new_id));
        }
        self.insert(new_id, member);
        Some(abandoned)
    }

    /// Changes a member in one go, so that the counts stay right.
    pub(super) fn change(&mut self, member_id: &str, change: impl FnOnce(&mut Member)) {
        if let Some((id, mut member)) = self.take(member_id) {
            change(&mut member);
            self.insert(&id, member);
        }
    }

    /// Lets a member's JoinGroup wait. One of it that waited already is answered: no request stays without a reply.
    pub(super) fn await_join(&mut self, cx: &mut Context, member_id: &str, waiting: Waiting) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        match member.join.replace(waiting) {
            Some(earlier) => supersede_join(cx, member_id, earlier),
            None => self.awaiting_join += 1,
        }
    }

    /// Takes the JoinGroup that waits, to answer it.
    pub(super) fn take_join(&mut self, member_id: &str) -> Option<Waiting> {
        let waiting = self.members.get_mut(member_id)?.join.take();
        self.awaiting_join -= usize::from(waiting.is_some());
        waiting
    }

    /// Begins a member's session anew.
    pub(super) fn renew_session(&mut self, cx: &mut Context, now: Now, member_id: &str) {
        let timeout_ms = self.members.get(member_id).map(|member| millis(member.session_timeout_ms));
        if let Some(timeout_ms) = timeout_ms {
            self.renew_session_for(cx, now, member_id, timeout_ms);
        }
    }

    pub(super) fn renew_session_for(&mut self, cx: &mut Context, now: Now, member_id: &str, timeout_ms: u64) {
        let Some((id, member)) = self.members.get_key_value(member_id) else { return };
        let (id, mut timer) = (Rc::clone(id), member.session);
        cx.timers.start(&mut timer, &self.id, About::Member(id), now.monotonic_ms.saturating_add(timeout_ms));
        if let Some(member) = self.members.get_mut(member_id) {
            member.session = timer;
        }
    }

    /// The protocol with the most votes among those that all members bring; of equals the first by name.
    pub(super) fn elect_protocol(&self) -> Option<Rc<str>> {
        let common = |name: &str| self.supports.get(name).copied() == Some(self.members.len());
        let mut votes: BTreeMap<&Rc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|protocol| common(&protocol.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| Rc::clone(name))
    }

    /// Makes sure that the leader is one of those who joined. `false`: nobody did.
    pub(super) fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &Rc<str>| self.members.get(id).is_some_and(|member| member.join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.join.is_some()).map(|(id, _)| Rc::clone(id));
        if joined.is_some() {
            self.leader = joined;
        }
        self.leader.as_ref().is_some_and(|leader| self.members.get(leader).is_some_and(|it| it.join.is_some()))
    }

    /// Whether all members say what they subscribe to. Those of another protocol type do not.
    pub(super) fn knows_subscriptions(&self) -> bool {
        let protocol = self.protocol.as_deref();
        let readable = |member: &Member| subscription::is_readable(&member.metadata(protocol));
        self.speaks_consumer() && self.members.values().all(readable)
    }

    /// Whether its members may want a topic's offsets: of consumers who do not say it is assumed.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        let protocol = self.protocol.as_deref();
        let may_want = |member: &Member| subscription::names(&member.metadata(protocol), topic) != Ok(false);
        self.speaks_consumer() && self.members.values().any(may_want)
    }

    /// Stops all that is due for it.
    pub(super) fn stop_timers(&mut self, cx: &mut Context) {
        cx.timers.stop(&mut self.join_timer, &self.id, About::Join);
        cx.timers.stop(&mut self.sync_timer, &self.id, About::Sync);
        for (id, member) in &mut self.members {
            cx.timers.stop(&mut member.session, &self.id, About::Member(Rc::clone(id)));
        }
        for (id, timer) in &mut self.pending_members {
            cx.timers.stop(timer, &self.id, About::Member(Rc::clone(id)));
        }
    }
}

/// What waited under a member id that is no more.
#[derive(Debug)]
pub(super) struct Abandoned {
    pub(super) join: Option<Waiting>,
    pub(super) sync: Option<Waiting>,
}
