//! What a shard does for others: the one reader of its mailbox.
//!
//! Phase 1 of a call runs here, in the order of arrival; what waits is a task of its own. Nothing here waits, so answers
//! are always taken, and two shards cannot wait for each other.

use std::rc::Rc;

use super::node::Node;
use crate::io::Env;
use crate::io::local::yield_now;
use crate::limits::MAILS_A_TURN;
use crate::shard::{Answer, Call, OpenShard, RemoteWatch, ShardMessage, Worked, done};
use crate::types::ShardId;

/// Reads the mailbox for as long as the shard lives.
pub(super) async fn read<E: Env>(node: Rc<Node<E>>) {
    loop {
        let mail = node.rt.mail().wait();
        let mut left = MAILS_A_TURN;
        let mut clock = Clock { node: &node, read_ns: None };
        while left > 0
            && let Some((from, message)) = node.router.receive()
        {
            left -= 1;
            match message {
                ShardMessage::Answer { slot, answer } => node.router.answered(from, slot, answer),
                ShardMessage::Call { slot, call } => take(&node, &mut clock, Caller { shard: from, slot }, call),
            }
        }
        match left {
            0 => yield_now().await,
            _ => mail.await,
        }
    }
}

/// The time at which mail is taken: read once for all that needs none to be worked on.
struct Clock<'a, E: Env> {
    node: &'a Node<E>,
    read_ns: Option<u64>,
}

impl<E: Env> Clock<'_, E> {
    fn taken_ns(&mut self) -> u64 {
        *self.read_ns.get_or_insert_with(|| self.node.rt.now_ns())
    }

    /// After work: later mail is taken later.
    fn done_ns(&mut self) -> u64 {
        *self.read_ns.insert(self.node.rt.now_ns())
    }
}

/// Who has called, and where the answer goes.
#[derive(Clone, Copy)]
struct Caller {
    shard: ShardId,
    slot: u32,
}

fn take<E: Env>(node: &Rc<Node<E>>, clock: &mut Clock<'_, E>, caller: Caller, call: Call<E>) {
    let shard = &node.shard;
    let answer = |answer| node.router.answer(caller.shard, caller.slot, answer);
    match call {
        Call::Produce(items) => {
            let taken_ns = clock.taken_ns();
            let tickets = shard.append_all(items);
            let worked = Worked { taken_ns, done_ns: clock.done_ns() };
            later(node, caller, async move |_| Answer::Produce(done(tickets).await, worked));
        }
        Call::Fetch { items, budget } => {
            let taken_ns = clock.taken_ns();
            later(node, caller, async move |node| {
                let fetched = node.shard.fetch(&items, budget).await;
                Answer::Fetch(fetched, Worked { taken_ns, done_ns: node.rt.now_ns() })
            });
        }
        Call::ReadAgain { id, place, range } => {
            let read = async move |node: Rc<Node<E>>| node.shard.read_again(id, &place, range).await;
            later(node, caller, async move |node| Answer::ReadAgain(read(node).await));
        }
        Call::Watch { id, items, missing_bytes, wait_ms } => {
            shard.watch_for(caller.shard, id, &RemoteWatch { items, missing_bytes, wait_ms });
            answer(Answer::Done);
        }
        Call::Unwatch(id) => {
            shard.unwatch(caller.shard, id);
            answer(Answer::Done);
        }
        Call::Gained(id) => {
            shard.gained(id);
            answer(Answer::Done);
        }
        Call::Offsets(queries) => {
            later(node, caller, async move |node| Answer::Offsets(node.shard.find_offsets(&queries).await));
        }
        Call::Groups { id, asks } => shard.ask_groups_for(caller.shard, caller.slot, id, asks),
        Call::GroupReplies { id, replies } => {
            shard.group_replies(id, replies);
            answer(Answer::Done);
        }
        Call::Delete(queries) => {
            later(node, caller, async move |node| Answer::Deleted(node.shard.delete_records(&queries).await));
        }
        Call::Sizes(ids) => answer(Answer::Sizes(shard.sizes(&ids))),
        Call::Producers(ids) => answer(Answer::Producers(shard.producers(&ids))),
        Call::Epochs(queries) => answer(Answer::Epochs(shard.ends_of_epochs(&queries))),
        other => take_control(node, caller, other),
    }
}

fn take_control<E: Env>(node: &Rc<Node<E>>, caller: Caller, call: Call<E>) {
    let answer = |answer| node.router.answer(caller.shard, caller.slot, answer);
    match call {
        Call::Connection(socket) => {
            if let Some(connections) = node.connections() {
                connections.open(socket);
            }
            answer(Answer::Done);
        }
        Call::ConnectionsEnded(count) => {
            if let Some(accept) = node.accept.get() {
                accept.ended(caller.shard, count);
            }
            answer(Answer::Done);
        }
        Call::Image(image) => later(node, caller, async move |node| {
            node.shard.apply(image).await;
            Answer::Done
        }),
        Call::Forward(request) => later(node, caller, async move |node| match node.handlers() {
            Some(handlers) => Answer::Forward(handlers.forwarded(&request).await),
            None => Answer::Forward(None),
        }),
        Call::AutoCreate(names) => later(node, caller, async move |node| match node.handlers() {
            Some(handlers) => Answer::NotMade(handlers.auto_create_here(&names).await),
            None => Answer::NotMade(Vec::new()),
        }),
        Call::Open(open) => {
            later(node, caller, async move |node| Answer::Opened(open_shard(&node, *open).await));
        }
        Call::GiveUp => {
            answer(Answer::Done);
            node.note_closed(false);
        }
        Call::Stop => later(node, caller, async move |node| {
            node.stop_serving().await;
            Answer::Done
        }),
        Call::Close(number) => later(node, caller, async move |node| {
            let stopped = node.close(number).await;
            if let Some(error) = &stopped.failed {
                tracing::error!(shard = node.rt.shard().0, "cannot close: {error}");
            }
            node.note_closed(stopped.failed.is_none());
            Answer::Closed(stopped)
        }),
        _ => unreachable!("taken above"),
    }
}

async fn open_shard<E: Env>(node: &Rc<Node<E>>, open: OpenShard) -> bool {
    let opened = node.open(open).await;
    if let Err(error) = &opened {
        tracing::error!(shard = node.rt.shard().0, "cannot open: {error}");
        node.note_closed(false);
    }
    opened.is_ok()
}

/// Answers when `work` has ended.
fn later<E: Env>(node: &Rc<Node<E>>, caller: Caller, work: impl AsyncFnOnce(Rc<Node<E>>) -> Answer<E> + 'static) {
    let of = Rc::clone(node);
    let task = async move {
        let answer = work(Rc::clone(&of)).await;
        of.router.answer(caller.shard, caller.slot, answer);
    };
    node.rt.spawn(task).detach();
}
