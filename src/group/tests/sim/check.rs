//! What must hold, whatever happens.
//!
//! 1. Every request gets exactly one reply, unless the node dies first.
//! 2. In one generation no partition belongs to two members, and members get what the leader of that very generation
//!    assigned.
//! 3. A generation never goes back for a member that was given partitions in it.
//! 4. A commit of a generation that is over is refused.
//! 5. Committed offsets that are read never go back, and never to before a commit that was acknowledged: in the order of
//!    the log, through crashes and compaction.
//! 6. Once all is quiet, all members that live are stable, in one generation, with all partitions among them.

use std::collections::{BTreeMap, HashMap, HashSet};

/// How a member stood at the end: its id, its generation, its partitions.
pub(super) type Stood = (String, i32, Vec<i32>);

/// A partition's offset of a group.
pub(super) type Key = (&'static str, i32);

/// What the checks know.
#[derive(Debug, Default)]
pub(super) struct Checker {
    fault: Option<String>,
    /// Who owns a partition, by group, its life, and generation: instance or member id.
    owners: HashMap<(&'static str, u64, i32, i32), String>,
    /// How often a group was deleted, as one is that is empty and has committed nothing: then generations begin again.
    lives: HashMap<&'static str, u64>,
    /// The last generation in which a member was given partitions.
    synced: HashMap<(&'static str, String), i32>,
    /// The newest generation that a group has begun, as far as its node knows.
    current: HashMap<&'static str, i32>,
    /// The newest generation that was assigned, which no crash may undo.
    assigned: HashMap<&'static str, i32>,
    /// When each committed value was first appended. Values are never used twice.
    order: HashMap<i64, u64>,
    appends: u64,
    /// The place in the log of the newest commit that was acknowledged, or read.
    floor: BTreeMap<Key, u64>,
    pub(super) counts: Counts,
}

/// How often things happened, so that a run that shows nothing is noticed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) replies: u64,
    pub(super) generations: u64,
    pub(super) commits: u64,
    pub(super) commits_refused: u64,
    pub(super) reads: u64,
    pub(super) crashes: u64,
    pub(super) cuts: u64,
    pub(super) failed_appends: u64,
    pub(super) static_returns: u64,
    pub(super) lost_connections: u64,
}

impl Counts {
    fn all(&mut self) -> [&mut u64; 10] {
        [
            &mut self.replies,
            &mut self.generations,
            &mut self.commits,
            &mut self.commits_refused,
            &mut self.reads,
            &mut self.crashes,
            &mut self.cuts,
            &mut self.failed_appends,
            &mut self.static_returns,
            &mut self.lost_connections,
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (ours, theirs) in self.all().into_iter().zip(other.all()) {
            *ours += *theirs;
        }
    }

    pub(super) fn assert_all_happened(mut self) {
        let shown = self;
        assert!(self.all().into_iter().all(|count| *count > 0), "something never happened: {shown:?}");
    }
}

impl Checker {
    pub(super) fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    pub(super) fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// A commit was appended.
    pub(super) fn appended(&mut self, value: i64) {
        self.appends += 1;
        self.order.entry(value).or_insert(self.appends);
    }

    /// A member was answered that it is in a generation.
    pub(super) fn joined(&mut self, group: &'static str, generation: i32) {
        let current = self.current.entry(group).or_default();
        if generation < *current {
            let current = *current;
            return self.fail(format!("{group}: a join into generation {generation} after {current}"));
        }
        self.counts.generations += u64::from(generation > *current);
        *current = generation;
    }

    /// A member was given partitions.
    pub(super) fn synced(
        &mut self,
        group: &'static str,
        (member_id, identity): (&str, &str),
        generation: i32,
        assignment: (i32, &[i32]),
    ) {
        let (assigned_in, partitions) = assignment;
        let life = self.lives.get(group).copied().unwrap_or(0);
        if !partitions.is_empty() && assigned_in != generation {
            self.fail(format!("{group}: {identity} got in generation {generation} what {assigned_in} assigned"));
        }
        for partition in partitions {
            let owner = self.owners.entry((group, life, generation, *partition)).or_insert_with(|| identity.to_owned());
            if owner != identity {
                let other = owner.clone();
                self.fail(format!("{group}: {partition} in generation {generation} is of {other} and {identity}"));
            }
        }
        let last = self.synced.entry((group, member_id.to_owned())).or_insert(generation);
        if *last > generation {
            let last = *last;
            self.fail(format!("{group}: {member_id} was in generation {last}, then in {generation}"));
        }
        self.synced.insert((group, member_id.to_owned()), generation);
        let assigned = self.assigned.entry(group).or_default();
        *assigned = generation.max(*assigned);
    }

    /// A group's tombstone was appended.
    pub(super) fn deleted(&mut self, group: &str) {
        for known in ["a", "b"].into_iter().filter(|known| *known == group) {
            *self.lives.entry(known).or_default() += 1;
            self.current.remove(known);
            self.assigned.remove(known);
        }
    }

    /// The generation that a commit has to have now, at the least.
    pub(super) fn current(&self, group: &'static str) -> i32 {
        self.current.get(group).copied().unwrap_or(0)
    }

    /// A commit was answered. `least`: the group's generation when the request came.
    pub(super) fn committed(&mut self, key: Key, value: i64, generation: (i32, i32), accepted: bool) {
        if !accepted {
            self.counts.commits_refused += 1;
            return;
        }
        self.counts.commits += 1;
        let (of, least) = generation;
        if of < least {
            self.fail(format!("{key:?}: a commit of generation {of} was taken in {least}"));
        }
        match self.order.get(&value) {
            None => self.fail(format!("{key:?}: {value} was acknowledged and never appended")),
            Some(order) => {
                let floor = self.floor.entry(key).or_default();
                *floor = (*order).max(*floor);
            }
        }
    }

    /// A committed offset was read.
    pub(super) fn read(&mut self, key: Key, value: i64) {
        self.counts.reads += 1;
        let order = if value == -1 { Some(0) } else { self.order.get(&value).copied() };
        let floor = self.floor.entry(key).or_default();
        match order {
            None => self.fail(format!("{key:?}: {value} was read and never appended")),
            Some(order) if order < *floor => {
                let floor = *floor;
                self.fail(format!("{key:?}: append {order} ({value}) was read, {floor} was known before"));
            }
            Some(order) => *floor = order,
        }
    }

    /// The node died: what no member was given partitions of may come again.
    pub(super) fn crashed(&mut self) {
        self.counts.crashes += 1;
        self.current.clone_from(&self.assigned);
    }

    /// At the end: the partitions of the members that live.
    pub(super) fn settled(&mut self, group: &'static str, members: &[Stood], partitions: i32) {
        let generations: HashSet<i32> = members.iter().map(|(_, generation, _)| *generation).collect();
        if generations.len() > 1 {
            self.fail(format!("{group}: generations {generations:?} at the end"));
        }
        let mut owned: Vec<i32> = members.iter().flat_map(|(_, _, owned)| owned.iter().copied()).collect();
        owned.sort_unstable();
        if owned != (0..partitions).collect::<Vec<_>>() {
            self.fail(format!("{group}: {members:?} at the end own not all partitions, or one twice"));
        }
    }
}
