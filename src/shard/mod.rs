//! One core's world: the partitions it owns, the way to those of other shards, and its mailbox.
//!
//! Called by `handlers/` and opened by `server::node`; calls `partition/`, `metadata/` and `storage/`. What may cross
//! between shards is the owned, `Send` content of [`ShardMessage`] and nothing else; everything here is `Rc` and `Cell`
//! inside one thread.
//!
//! ```text
//!   request of a connection of this shard
//!        |  image: topic name -> id, partition -> shard
//!        +-- ours ----> Partition::append / read           at once, in the order of the requests
//!        +-- theirs --> Router::call, one for each shard   in the same order, through one mailbox
//! ```
//!
//! **Invariants.** 1. A partition lives on exactly one shard, the one that the image assigns; it never moves while the
//! node runs. 2. Requests of one connection reach a partition in the order in which they were sent, whatever shard holds
//! either: phase 1 is synchronous here, and a mailbox keeps its order. 3. No borrow of a cell is held across an await.

mod apply;
mod controller;
mod delete_records;
mod describe;
mod error;
mod fetch;
mod groups;
mod line_limit;
mod message;
mod offsets;
mod produce;
mod router;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

pub use apply::partition_config;
pub use controller::{Controller, OffsetsTopic, TopicResult};
pub use delete_records::DeleteQuery;
pub use error::Error;
pub use fetch::{FetchBudget, FetchItem, Fetched, FetchedHere, RemoteWait, RemoteWatch, WaitId, WatchItem, before};
pub use groups::{Answers, GroupAsk, GroupCaller, GroupError, GroupReply, GroupRequest, GroupWaitId};
pub use line_limit::LineLimit;
pub use message::{Answer, Call, EpochQuery, OffsetQuery, OpenShard, ShardMessage, Worked};
pub use produce::{ProduceItem, Produced, done};
pub use router::Router;

use crate::group;
use crate::io::local::Notify;
use crate::io::{Env, Runtime};
use crate::metadata::Image;
use crate::partition::{self, Partition};
use crate::storage::Store;
use crate::types::PartitionId;

/// One shard.
pub struct Shard<E: Env> {
    rt: Rc<Runtime<E>>,
    router: Rc<Router<E>>,
    image: RefCell<Arc<Image>>,
    partitions: RefCell<Partitions<E>>,
    /// Set when the shard's logs are open.
    store: OnceCell<Rc<Store<E>>>,
    shared: partition::Shared,
    waits: fetch::Waits,
    groups: groups::Groups<E>,
    stopping: Cell<bool>,
    stop: Notify,
}

/// What the group coordinators of a shard are given.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupsConfig {
    /// What the operator set.
    pub config: group::Config,
    /// What groups and offsets of this shard may take.
    pub memory_bytes: usize,
}

type Partitions<E> = HashMap<PartitionId, Rc<Partition<E>>, BuildHasherDefault<IdHasher>>;

impl<E: Env> Shard<E> {
    /// A shard that serves nothing yet.
    #[must_use]
    pub fn new(rt: Rc<Runtime<E>>, router: Rc<Router<E>>, shared: partition::Shared, groups: GroupsConfig) -> Rc<Self> {
        Rc::new(Self {
            rt,
            router,
            image: RefCell::default(),
            store: OnceCell::new(),
            shared,
            partitions: RefCell::default(),
            waits: fetch::Waits::default(),
            groups: groups::Groups::new(groups.config, groups.memory_bytes),
            stopping: Cell::new(false),
            stop: Notify::default(),
        })
    }

    /// The shard's runtime.
    #[must_use]
    pub fn rt(&self) -> &Rc<Runtime<E>> {
        &self.rt
    }

    /// The way to the other shards.
    #[must_use]
    pub fn router(&self) -> &Rc<Router<E>> {
        &self.router
    }

    /// The shard's logs. Nothing is asked of a shard before they are open.
    #[must_use]
    pub fn store(&self) -> &Rc<Store<E>> {
        self.store.get().expect("a shard is asked for logs only after it was opened")
    }

    /// Gives the shard its logs: once.
    pub fn set_store(&self, store: Rc<Store<E>>) {
        let _ = self.store.set(store);
    }

    /// What its partitions share.
    #[must_use]
    pub fn shared(&self) -> &partition::Shared {
        &self.shared
    }

    /// The metadata that this shard serves by.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// Serves by this image from now on. Its partitions were opened before.
    pub fn set_image(&self, image: Arc<Image>) {
        self.image.replace(image);
    }

    /// A partition of this shard.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<Rc<Partition<E>>> {
        self.partitions.borrow().get(&id).cloned()
    }

    /// All partitions of this shard, in no order that means anything.
    #[must_use]
    pub fn partitions(&self) -> Vec<Rc<Partition<E>>> {
        let mut partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        partitions.sort_unstable_by_key(|partition| partition.id());
        partitions
    }

    /// How many they are.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// Serves a partition.
    pub fn add(&self, partition: Rc<Partition<E>>) {
        self.partitions.borrow_mut().insert(partition.id(), partition);
    }

    /// Serves a partition no more.
    pub fn remove(&self, id: PartitionId) -> Option<Rc<Partition<E>>> {
        self.partitions.borrow_mut().remove(&id)
    }

    /// Whether the shard stops: waits are cut short.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Cuts waits short from now on.
    pub fn stop(self: &Rc<Self>) {
        self.stopping.set(true);
        self.stop_groups();
        self.stop.notify_all();
    }

    /// Notified when the shard stops.
    #[must_use]
    pub fn stop_notify(&self) -> &Notify {
        &self.stop
    }
}

/// Topic ids are random already: 64 of their bits, mixed with the partition, are a hash.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // The high bits of a product are the good ones; tables look at both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            // copies: 8 bytes of a topic id
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_be_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u64(u64::from(number.cast_unsigned()));
    }

    fn write_usize(&mut self, length: usize) {
        // The length of a fixed-size array says nothing.
        let _ = length;
    }
}
