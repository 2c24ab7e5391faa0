//! The accept loop of shard 0: each new socket goes to the shard with fewest connections, before a byte of it is read.
//!
//! Shard 0 counts the connections of every shard: one more when it hands a socket over, as many fewer as that shard
//! reports ended. So `max.connections` is kept for the node as a whole without anything shared.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::connections::Connections;
use crate::io::{Back, Env, Op, Runtime};
use crate::shard::{Call, Router};
use crate::types::ShardId;

/// Who may connect, and where they go.
pub struct Accept<E: Env> {
    rt: Rc<Runtime<E>>,
    router: Rc<Router<E>>,
    connections: Rc<Connections<E>>,
    max_connections: usize,
    /// Connections by shard.
    counts: RefCell<Vec<usize>>,
    /// How long the last failed attempt was waited after; 0 while connections can be accepted.
    retry_ms: Cell<u64>,
}

impl<E: Env> Accept<E> {
    /// The accept side of a node with no connections. Made on shard 0.
    #[must_use]
    pub fn new(
        rt: Rc<Runtime<E>>,
        router: Rc<Router<E>>,
        connections: Rc<Connections<E>>,
        max_connections: usize,
    ) -> Rc<Self> {
        let counts = RefCell::new(vec![0; router.shards()]);
        Rc::new(Self { rt, router, connections, max_connections, counts, retry_ms: Cell::new(0) })
    }

    /// Accepts from one listener for as long as the shard lives.
    pub async fn run(self: Rc<Self>, listener: E::Socket) {
        loop {
            let done = self.rt.submit(Op::Accept { listener: listener.clone() }).await;
            match (done.result, done.back) {
                (Ok(_), Back::Socket(socket)) => {
                    self.accepts_again();
                    self.place(socket).await;
                }
                (Ok(_), _) => {}
                (Err(error), _) => {
                    // Out of descriptors or memory: what is connected goes on, and ends will free some.
                    let pause_ms = self.note_failed(&error);
                    self.rt.sleep_ms(pause_ms).await;
                }
            }
        }
    }

    /// Says once that no connection can be accepted, and answers how long to wait before the next attempt.
    fn note_failed(&self, error: &io::Error) -> u64 {
        let pause_ms = self.retry_ms.get();
        if pause_ms == 0 {
            tracing::warn!(
                connections = self.counts.borrow().iter().sum::<usize>(),
                "no connections can be accepted: {error}. New ones wait until some of those there are end; where it is the \
                 limit of open files, raise it (`ulimit -n`, LimitNOFILE=) or lower max.connections"
            );
        }
        self.retry_ms.set((pause_ms * 2).clamp(ACCEPT_RETRY_MS_MIN, ACCEPT_RETRY_MS_MAX));
        self.retry_ms.get()
    }

    fn accepts_again(&self) {
        if self.retry_ms.take() > 0 {
            tracing::info!("connections are accepted again");
        }
    }

    /// Takes a shard's report of ended connections.
    pub fn ended(&self, shard: ShardId, count: usize) {
        let counts = &mut self.counts.borrow_mut()[shard.index()];
        *counts = counts.saturating_sub(count);
    }

    async fn place(&self, socket: E::Socket) {
        self.ended(ShardId::FIRST, self.connections.take_ended());
        let Some(shard) = self.choose() else {
            let reason = format_args!("max.connections={} reached", self.max_connections);
            self.connections.log().warn(self.rt.now_ns(), self.rt.env().peer(&socket), &reason);
            self.rt.env().shutdown(&socket);
            return;
        };
        if shard == self.rt.shard() {
            self.connections.open(socket);
        } else {
            self.router.wait_for_room(shard).await;
            drop(self.router.call(shard, Call::Connection(socket)));
        }
    }

    /// The shard with fewest connections, counted one more already; none where the node is full.
    fn choose(&self) -> Option<ShardId> {
        let mut counts = self.counts.borrow_mut();
        if counts.iter().sum::<usize>() >= self.max_connections {
            return None;
        }
        let fewest = (0..counts.len()).min_by_key(|shard| counts[*shard])?;
        counts[fewest] += 1;
        u16::try_from(fewest).ok().map(ShardId)
    }
}

const ACCEPT_RETRY_MS_MIN: u64 = 50;
const ACCEPT_RETRY_MS_MAX: u64 = 1_000;
