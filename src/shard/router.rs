//! Calls from one shard to another and their answers.
//!
//! Called by `handlers/`; the mail task of `server/` hands in what arrives. A call takes a slot before it is sent and
//! gives it back with its answer. Neither direction of a mailbox can be full, because both together hold what the slots
//! allow; so nobody ever waits for a mailbox, and two shards cannot wait for each other.
//!
//! ```text
//!   home                                                     owner of the partition
//!   call(to) : slot taken  -- Call { slot, .. } -->          phase 1 at once, in the order of arrival
//!              slot freed  <-- Answer { slot, .. } --        phase 2, whenever it is done
//! ```
//!
//! **Invariants.** 1. At most `calls_max` calls of one shard are under way at another. 2. A mailbox holds at most
//! `2 * calls_max` messages: calls one way, answers to the calls of the other. 3. Calls of one shard to another arrive in
//! the order in which they were made.
//!
//! **Cancellation.** A dropped answer future leaves its slot taken until the answer has come.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::Context;

use super::message::{Answer, Call, ShardMessage};
use crate::io::local::{self, Notify};
use crate::io::mailbox::Mailbox;
use crate::io::{Env, Runtime};
use crate::limits::calls_max;
use crate::types::ShardId;

/// One shard's way to the others.
pub struct Router<E: Env> {
    rt: Rc<Runtime<E>>,
    mailbox: Mailbox<ShardMessage<E>>,
    calls_max: usize,
    /// Calls under way, by shard.
    under_way: Vec<Cell<usize>>,
    slots: RefCell<Slots<E>>,
    freed: Notify,
}

struct Slots<E: Env> {
    waiting: Vec<Option<(ShardId, local::Sender<Answer<E>>)>>,
    free: Vec<u32>,
}

impl<E: Env> Router<E> {
    /// A router over this shard's end of a mesh of `shards` mailboxes, each with [`crate::limits::mailbox_max`] entries.
    #[must_use]
    pub fn new(rt: Rc<Runtime<E>>, mailbox: Mailbox<ShardMessage<E>>, shards: usize) -> Self {
        Self {
            rt,
            mailbox,
            calls_max: calls_max(shards),
            under_way: (0..shards).map(|_| Cell::new(0)).collect(),
            slots: RefCell::new(Slots { waiting: Vec::new(), free: Vec::new() }),
            freed: Notify::default(),
        }
    }

    /// Shards of this node.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.under_way.len()
    }

    /// All shards but this one.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<E> {
        let (me, shards) = (self.rt.shard(), self.shards());
        (0..shards)
            .map(|shard| ShardId(u16::try_from(shard).expect("shards are counted in 16 bits")))
            .filter(move |shard| *shard != me)
    }

    /// Whether every other shard takes one more call. If not, the task is woken when a call has ended.
    pub fn room(&self, cx: &mut Context<'_>) -> bool {
        let room = self.others_have_room();
        if !room {
            // Registers the task; the answer to come is what ends the wait.
            let _ = pin!(self.freed.wait()).poll(cx);
        }
        room
    }

    fn others_have_room(&self) -> bool {
        self.under_way.iter().all(|count| count.get() < self.calls_max)
    }

    /// Waits until `to` takes one more call. Nothing else may run between the end of the wait and the call.
    pub async fn wait_for_room(&self, to: ShardId) {
        loop {
            let freed = self.freed.wait();
            if self.under_way[to.index()].get() < self.calls_max {
                return;
            }
            freed.await;
        }
    }

    /// Sends a call; the future gives its answer, or nothing if the other shard has ended. The caller has made sure of
    /// room: [`Self::room`] before a request's first phase, or [`Self::wait_for_room`].
    pub fn call(&self, to: ShardId, call: Call<E>) -> local::Receiver<Answer<E>> {
        let under_way = &self.under_way[to.index()];
        under_way.set(under_way.get() + 1);
        let (sender, receiver) = local::oneshot();
        let slot = self.slots.borrow_mut().take(to, sender);
        if self.mailbox.send(self.rt.env(), to, ShardMessage::Call { slot, call }).is_err() {
            unreachable!("a mailbox holds what the slots allow");
        }
        receiver
    }

    /// Waits for room and sends a call.
    pub async fn call_later(&self, to: ShardId, call: Call<E>) -> Option<Answer<E>> {
        self.wait_for_room(to).await;
        self.call(to, call).await
    }

    /// Answers a call.
    pub fn answer(&self, to: ShardId, slot: u32, answer: Answer<E>) {
        if self.mailbox.send(self.rt.env(), to, ShardMessage::Answer { slot, answer }).is_err() {
            unreachable!("a mailbox holds what the slots allow");
        }
    }

    /// Takes an answer that has arrived.
    pub fn answered(&self, from: ShardId, slot: u32, answer: Answer<E>) {
        let waiting = self.slots.borrow_mut().give_back(slot);
        let under_way = &self.under_way[from.index()];
        under_way.set(under_way.get() - 1);
        if let Some((to, sender)) = waiting {
            assert_eq!(to, from, "an answer from the shard that was called");
            sender.send(answer);
        }
        self.freed.notify_all();
    }

    /// The next message of another shard.
    pub fn receive(&self) -> Option<(ShardId, ShardMessage<E>)> {
        self.mailbox.recv(self.rt.env())
    }
}

impl<E: Env> Slots<E> {
    fn take(&mut self, to: ShardId, sender: local::Sender<Answer<E>>) -> u32 {
        let waiting = Some((to, sender));
        if let Some(slot) = self.free.pop() {
            self.waiting[slot as usize] = waiting;
            return slot;
        }
        self.waiting.push(waiting);
        u32::try_from(self.waiting.len() - 1).expect("calls_max bounds the slots")
    }

    fn give_back(&mut self, slot: u32) -> Option<(ShardId, local::Sender<Answer<E>>)> {
        self.free.push(slot);
        self.waiting.get_mut(slot as usize).and_then(Option::take)
    }
}
