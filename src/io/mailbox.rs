//! Bounded queues between shards: one for each ordered pair, so that each has one writer and one reader.
//!
//! Made by [`mesh`] before the shards start; `shard/` sends owned requests and replies through it. A send to a full
//! queue gives the message back: the caller stops reading the socket it came from, waits for [`super::Runtime::mail`],
//! and tries again. Nothing is dropped and nothing grows.
//!
//! ```text
//!   shard a --[ queue a>b ]--> shard b      send: push, Env::wake(b)
//!   shard b --[ queue b>a ]--> shard a      recv: pop; if a sender was refused: Env::wake(a)
//! ```
//!
//! **Invariants.** 1. Messages of one pair arrive in the order in which they were sent. 2. A wake is missed by nobody: the
//! message is in the queue before `wake`, and a refused sender has said so before its last try.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;

use super::Env;
use crate::types::ShardId;

/// One mailbox for each of `shards` shards, in their order; each pair of shards has room for `capacity` messages.
#[must_use]
pub fn mesh<M: Send>(shards: usize, capacity: usize) -> Vec<Mailbox<M>> {
    let lanes: Vec<Vec<Arc<Lane<M>>>> = (0..shards)
        .map(|_| {
            (0..shards)
                .map(|_| Arc::new(Lane { queue: ArrayQueue::new(capacity), refused: AtomicBool::new(false) }))
                .collect()
        })
        .collect();
    (0..shards)
        .map(|me| Mailbox {
            outbound: lanes[me].clone(),
            inbound: lanes.iter().map(|from| Arc::clone(&from[me])).collect(),
            next: Cell::new(0),
        })
        .collect()
}

/// One direction between two shards.
struct Lane<M> {
    queue: ArrayQueue<M>,
    refused: AtomicBool,
}

/// One shard's end of the mesh. Moves to its shard once and stays there.
pub struct Mailbox<M> {
    outbound: Vec<Arc<Lane<M>>>,
    inbound: Vec<Arc<Lane<M>>>,
    /// Whose queue is looked into next, so that no sender starves another.
    next: Cell<usize>,
}

impl<M: Send> Mailbox<M> {
    /// Puts `message` into the mailbox of `to` and wakes that shard; gives it back where there is no room.
    ///
    /// # Errors
    /// The message itself, when the queue is full. [`super::Runtime::mail`] of this shard is notified once there is room.
    pub fn send<E: Env>(&self, env: &E, to: ShardId, message: M) -> Result<(), M> {
        let lane = &self.outbound[to.index()];
        lane.queue.push(message).or_else(|message| {
            lane.refused.store(true, Ordering::SeqCst);
            // The reader may have made room before it could see the mark.
            lane.queue.push(message)
        })?;
        env.wake(to);
        Ok(())
    }

    /// The next message and its sender, fair between senders.
    pub fn recv<E: Env>(&self, env: &E) -> Option<(ShardId, M)> {
        let count = self.inbound.len();
        for step in 0..count {
            let from = (self.next.get() + step) % count;
            let lane = &self.inbound[from];
            let Some(message) = lane.queue.pop() else { continue };
            self.next.set((from + 1) % count);
            let from = ShardId(u16::try_from(from).expect("a shard's number fits its type"));
            if lane.refused.load(Ordering::SeqCst) && lane.refused.swap(false, Ordering::SeqCst) {
                env.wake(from);
            }
            return Some((from, message));
        }
        None
    }
}
