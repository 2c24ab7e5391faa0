//! What all groups of a coordinator share: the effects of the call under way, appends in flight, timers, chance.
//!
//! **Invariants.** 1. Append ids go up in the order of the effects, which is the order of the log. 2. An append is in
//! `appends` from its effect until it is told what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use super::budget::Budget;
use super::config::Config;
use super::effect::{AppendId, Effect, Now, Reply, WaiterId};
use super::member::{Protocol, Waiting};
use super::random::Random;
use super::records::Key;
use super::timers::Timers;
use crate::record::build::NewRecord;

/// What all groups of a coordinator share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) config: Rc<Config>,
    pub(super) budget: Rc<Budget>,
    pub(super) timers: Timers,
    pub(super) effects: Vec<Effect>,
    pub(super) random: Random,
    /// Appends in flight.
    appends: BTreeMap<AppendId, Append>,
    next_append: AppendId,
    /// Appends that failed: a compaction during which this changed is void.
    pub(super) failed_appends: u64,
    /// Numbers the lives of groups, so that what was meant for one is not done to another of the same id.
    lives: u64,
    /// Names of topics, shared by all groups that have offsets of them.
    topics: BTreeSet<Rc<str>>,
    #[cfg(test)]
    pub(super) sabotage: super::sabotage::Sabotage,
}

/// A batch that was given out.
#[derive(Debug, Default)]
pub(super) struct Append {
    /// The keys of its records, in their order.
    pub(super) keys: Vec<OwnedKey>,
    /// Replies that go out when it is durable, or with an error when it is not.
    pub(super) replies: Vec<(WaiterId, Reply)>,
    pub(super) then: Then,
}

/// The key of a record, for as long as it is in flight.
#[derive(Clone, Debug)]
pub(super) enum OwnedKey {
    Group(Rc<str>),
    Offset { group: Rc<str>, topic: Rc<str>, partition: i32 },
}

/// What happens to a group beside replies when an append is settled.
#[derive(Debug, Default)]
pub(super) enum Then {
    #[default]
    Nothing,
    /// The leader's assignment is stored: members get it, if the generation is still the same.
    Assign { group: Rc<str>, life: u64, generation: i32, assignments: BTreeMap<Rc<str>, Bytes> },
    /// A static member's new id is stored: its JoinGroup is answered. Otherwise the old one comes back.
    Replace(Box<Replacement>),
    /// The groups are gone. Otherwise they are back.
    Delete(Vec<(Rc<str>, u64)>),
}

/// A static member that came back under a new id while its group was stable.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) group: Rc<str>,
    pub(super) life: u64,
    pub(super) instance_id: Rc<str>,
    pub(super) old_id: Rc<str>,
    pub(super) new_id: Rc<str>,
    /// The leader before: clients that cannot skip the assignment are told of it, so that none takes itself for one.
    pub(super) old_leader: Option<Rc<str>>,
    pub(super) old_protocols: Vec<Protocol>,
    pub(super) old_rebalance_timeout_ms: i32,
    pub(super) old_session_timeout_ms: i32,
    pub(super) waiting: Waiting,
}

/// A batch in the making.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: AppendId,
    pub(super) records: Vec<NewRecord>,
    pub(super) append: Append,
    pub(super) bytes: usize,
}

/// What a record takes in a batch beside its key and value, at the most.
const RECORD_OVERHEAD_BYTES: usize = 32;

impl Batch {
    /// Adds a record. The caller notes the value at its key.
    pub(super) fn push(&mut self, now: Now, owned: OwnedKey, value: Option<Vec<u8>>) {
        let key = owned.encode();
        self.bytes += record_bytes(key.len(), value.as_ref().map_or(0, Vec::len));
        self.records.push(NewRecord { timestamp: now.wall_ms, key: Some(key), value, headers: Vec::new() });
        self.append.keys.push(owned);
    }
}

/// What a record takes in a batch, about.
pub(super) fn record_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    RECORD_OVERHEAD_BYTES + key_bytes + value_bytes
}

impl OwnedKey {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Group(group) => Key::GroupMetadata { group }.encode(),
            Self::Offset { group, topic, partition } => {
                Key::OffsetCommit { group, topic, partition: *partition }.encode()
            }
        }
    }

    pub(super) fn group(&self) -> &Rc<str> {
        match self {
            Self::Group(group) | Self::Offset { group, .. } => group,
        }
    }
}

impl Context {
    pub(super) fn new(config: Rc<Config>, budget: Rc<Budget>, seed: u64) -> Self {
        Self {
            config,
            budget,
            timers: Timers::default(),
            effects: Vec::new(),
            random: Random::new(seed),
            appends: BTreeMap::new(),
            next_append: AppendId(0),
            failed_appends: 0,
            lives: 0,
            topics: BTreeSet::new(),
            #[cfg(test)]
            sabotage: super::sabotage::Sabotage::None,
        }
    }

    pub(super) fn reply(&mut self, to: WaiterId, reply: Reply) {
        self.effects.push(Effect::Reply { to, reply });
    }

    /// A batch with the next id. It is to be [submitted](Context::submit) before another one is begun.
    pub(super) fn batch(&mut self) -> Batch {
        let id = self.next_append;
        self.next_append = AppendId(id.0 + 1);
        Batch { id, records: Vec::new(), append: Append::default(), bytes: 0 }
    }

    /// Gives the batch out.
    pub(super) fn submit(&mut self, batch: Batch) {
        let Batch { id, records, append, .. } = batch;
        assert!(!records.is_empty(), "a batch has records");
        self.appends.insert(id, append);
        self.effects.push(Effect::Append { id, records });
    }

    /// Lets a reply wait for an append that was given out in this call.
    pub(super) fn reply_after(&mut self, id: AppendId, to: WaiterId, reply: Reply) {
        #[cfg(test)]
        if self.sabotage == super::sabotage::Sabotage::ReplyEarly {
            return self.reply(to, reply);
        }
        let append = self.appends.get_mut(&id).expect("given out in this call");
        append.replies.push((to, reply));
    }

    /// Takes out the append that something became of. `None`: it was not given out since the coordinator was loaded.
    pub(super) fn settle(&mut self, id: AppendId) -> Option<Append> {
        self.appends.remove(&id)
    }

    /// Takes out all appends in flight.
    pub(super) fn take_appends(&mut self) -> impl Iterator<Item = Append> + use<> {
        std::mem::take(&mut self.appends).into_values()
    }

    /// The id that the next batch is going to have.
    pub(super) fn next_append(&self) -> AppendId {
        self.next_append
    }

    /// Whether an append with an id below `id` is in flight.
    pub(super) fn in_flight_below(&self, id: AppendId) -> bool {
        self.appends.first_key_value().is_some_and(|(first, _)| *first < id)
    }

    pub(super) fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// The shared name of a topic.
    pub(super) fn topic(&mut self, name: &str) -> Rc<str> {
        if let Some(known) = self.topics.get(name) {
            return Rc::clone(known);
        }
        let name: Rc<str> = Rc::from(name);
        self.topics.insert(Rc::clone(&name));
        name
    }

    /// Forgets the names that no group holds any more.
    pub(super) fn sweep_topics(&mut self) {
        self.topics.retain(|name| Rc::strong_count(name) > 1);
    }

    /// Whether compaction is broken on purpose.
    #[cfg(test)]
    pub(super) fn rewrites_durable(&self) -> bool {
        self.sabotage == super::sabotage::Sabotage::RewriteDurable
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests ask the same of the context")]
    pub(super) fn rewrites_durable(&self) -> bool {
        false
    }
}
