//! Questions to the coordinators of other shards.
//!
//! ```text
//!   home                                                   the shard that has the coordinators
//!   Call::Groups { id, asks }   ----------------------->   asks them at once, in the order of arrival
//!                               <--- Answer::Groups(all)   where every reply is there at once
//!                               <--- Answer::Groups(none)  otherwise; the slot is free from here on
//!                               <--- Call::GroupReplies { id, replies }   when they are
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::ask::{GroupAsk, GroupReply};
use crate::io::{Env, local};
use crate::shard::{Answer, Call, Shard};
use crate::types::ShardId;

/// Names questions of one shard at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupWaitId(pub u64);

/// Questions whose replies come later.
#[derive(Default)]
pub(super) struct Waits {
    next: Cell<u64>,
    ours: RefCell<BTreeMap<u64, local::Sender<Vec<GroupReply>>>>,
}

/// Questions to one other shard. Dropping it forgets the replies.
pub(super) struct RemoteAnswers<E: Env> {
    shard: Rc<Shard<E>>,
    id: GroupWaitId,
    answer: Option<local::Receiver<Answer<E>>>,
    later: Option<local::Receiver<Vec<GroupReply>>>,
}

impl<E: Env> RemoteAnswers<E> {
    /// Ends when all are answered; empty where the other shard has ended.
    pub(super) async fn all(mut self) -> Vec<GroupReply> {
        let Some(answer) = self.answer.take() else { return Vec::new() };
        match answer.await {
            Some(Answer::Groups(Some(replies))) => replies,
            Some(Answer::Groups(None)) => match self.later.take() {
                Some(later) => later.await.unwrap_or_default(),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

impl<E: Env> Drop for RemoteAnswers<E> {
    fn drop(&mut self) {
        self.shard.groups.remote.ours.borrow_mut().remove(&self.id.0);
    }
}

impl<E: Env> Shard<E> {
    /// Asks coordinators of another shard, which has room for one call more.
    pub(super) fn ask_shard(self: &Rc<Self>, to: ShardId, asks: Vec<GroupAsk>) -> RemoteAnswers<E> {
        let waits = &self.groups.remote;
        let id = GroupWaitId(waits.next.get());
        waits.next.set(id.0 + 1);
        let (sender, later) = local::oneshot();
        waits.ours.borrow_mut().insert(id.0, sender);
        let answer = self.router.call(to, Call::Groups { id, asks });
        RemoteAnswers { shard: Rc::clone(self), id, answer: Some(answer), later: Some(later) }
    }

    /// Asks coordinators of this shard for `home`: in this order when this returns. The slot is answered at once.
    pub fn ask_groups_for(self: &Rc<Self>, home: ShardId, slot: u32, id: GroupWaitId, asks: Vec<GroupAsk>) {
        let replies: Vec<_> = asks.into_iter().map(|ask| self.ask_here(ask)).collect();
        let shard = Rc::clone(self);
        let answer = async move {
            let mut replies = pin!(gather(replies));
            let at_once = poll_fn(|cx| match replies.as_mut().poll(cx) {
                Poll::Ready(replies) => Poll::Ready(Some(replies)),
                Poll::Pending => Poll::Ready(None),
            });
            let at_once = at_once.await;
            let is_later = at_once.is_none();
            shard.router.answer(home, slot, Answer::Groups(at_once));
            if is_later {
                let replies = replies.await;
                shard.router.call_later(home, Call::GroupReplies { id, replies }).await;
            }
        };
        self.rt.spawn(answer).detach();
    }

    /// Takes replies that another shard owed.
    pub fn group_replies(&self, id: GroupWaitId, replies: Vec<GroupReply>) {
        let waiting = self.groups.remote.ours.borrow_mut().remove(&id.0);
        if let Some(waiting) = waiting {
            waiting.send(replies);
        }
    }
}

/// All replies, in the order of the questions. A coordinator that ended owes none.
async fn gather(replies: Vec<local::Receiver<GroupReply>>) -> Vec<GroupReply> {
    let mut gathered = Vec::with_capacity(replies.len());
    for reply in replies {
        gathered.push(reply.await.unwrap_or(GroupReply::Refused(super::GroupError::NotCoordinator)));
    }
    gathered
}
