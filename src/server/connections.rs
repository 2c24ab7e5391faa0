//! The connections of one shard: opened, watched over, and ended.
//!
//! `accept` (shard 0) and `mail` (the others) open them; one sweeper task per shard looks at all of them once a second,
//! so that a connection needs no timer of its own.
//!
//! **Invariants.** 1. A connection that moved no byte for `connections.max.idle.ms`, and is not waiting for us, is shut
//! down. 2. While receive buffers are short, so is one whose frame does not arrive at the least rate below: half-open
//! and trickling peers cannot keep buffers from others.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::{Activity, Connection, Ended, Service};
use super::peer_log::PeerLog;
use super::receive::{ReceiveBudget, Receiver};
use super::reply::Sender;
use super::status::Gauges;
use crate::handlers::figures::Figures;
use crate::io::local::Notify;
use crate::io::{Env, Pool, Runtime};

/// The connections of one shard.
pub struct Connections<E: Env> {
    rt: Rc<Runtime<E>>,
    service: Rc<dyn Service<E>>,
    budget: Rc<ReceiveBudget>,
    read_pool: Pool,
    figures: Arc<Figures>,
    idle_ns: u64,
    log: PeerLog,
    open: RefCell<Vec<Option<Entry<E>>>>,
    /// Slots of `open` that are empty.
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    /// Where others see the count.
    gauges: Arc<Gauges>,
    /// Connections that ended since [`Self::take_ended`].
    ended: Cell<usize>,
    changed: Notify,
    stopping: Cell<bool>,
}

struct Entry<E: Env> {
    socket: E::Socket,
    /// Whoever is at the other end; kept, because a connection that is gone cannot be asked any more.
    peer: Option<SocketAddr>,
    /// Its end is ours, and was said.
    told: Cell<bool>,
    activity: Rc<Activity>,
}

/// What the connections of a shard share.
pub struct Shared<E: Env> {
    /// The layer that knows Kafka.
    pub service: Rc<dyn Service<E>>,
    /// Receive buffers.
    pub budget: Rc<ReceiveBudget>,
    /// Buffers for cold reads on the way to a socket.
    pub read_pool: Pool,
    /// How long requests take.
    pub figures: Arc<Figures>,
    /// What else others see of the shard.
    pub gauges: Arc<Gauges>,
    /// `connections.max.idle.ms`.
    pub idle_ms: u64,
}

impl<E: Env> Connections<E> {
    /// No connections yet.
    #[must_use]
    pub fn new(rt: Rc<Runtime<E>>, shared: Shared<E>) -> Rc<Self> {
        Rc::new(Self {
            log: PeerLog::new(),
            rt,
            service: shared.service,
            budget: shared.budget,
            read_pool: shared.read_pool,
            figures: shared.figures,
            idle_ns: shared.idle_ms.saturating_mul(1_000_000),
            open: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            gauges: shared.gauges,
            ended: Cell::new(0),
            changed: Notify::default(),
            stopping: Cell::new(false),
        })
    }

    /// Connections open at present.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Notified when a connection has ended.
    #[must_use]
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// How many connections have ended since the last call.
    #[must_use]
    pub fn take_ended(&self) -> usize {
        self.ended.take()
    }

    /// The log lines about peers.
    #[must_use]
    pub fn log(&self) -> &PeerLog {
        &self.log
    }

    /// Serves a socket from now on.
    pub fn open(self: &Rc<Self>, socket: E::Socket) {
        let rt = &self.rt;
        let receiver = Receiver::new(Rc::clone(rt), socket.clone(), Rc::clone(&self.budget));
        let sender = Sender::new(Rc::clone(rt), socket.clone(), self.read_pool.clone(), Arc::clone(&self.figures));
        let service = Rc::clone(&self.service);
        let connection = Connection::new(Rc::clone(rt), socket.clone(), service, receiver, sender);
        let activity = connection.activity();
        if self.stopping.get() {
            activity.stop();
        }
        let slot = self.insert(Entry { peer: connection.peer(), told: Cell::new(false), socket, activity });
        let this = Rc::clone(self);
        rt.spawn(async move {
            let ended = connection.await;
            this.close(slot, &ended);
        })
        .detach();
    }

    fn insert(&self, entry: Entry<E>) -> usize {
        self.set_count(self.count.get() + 1);
        let mut open = self.open.borrow_mut();
        if let Some(slot) = self.free.borrow_mut().pop() {
            open[slot] = Some(entry);
            return slot;
        }
        open.push(Some(entry));
        open.len() - 1
    }

    fn set_count(&self, count: usize) {
        self.count.set(count);
        self.gauges.connections.set(count as u64);
    }

    fn close(&self, slot: usize, ended: &Ended) {
        let entry = self.open.borrow_mut()[slot].take();
        self.free.borrow_mut().push(slot);
        self.set_count(self.count.get() - 1);
        self.ended.set(self.ended.get() + 1);
        self.changed.notify_all();
        if let Some(entry) = entry
            && ended.is_fault()
            && !entry.told.get()
        {
            self.log.warn(self.rt.now_ns(), entry.peer, ended);
        }
    }

    /// Watches over the connections until the shard ends.
    pub async fn sweep(self: Rc<Self>) {
        let pause_ms = (self.idle_ns / 4_000_000).clamp(10, 1_000);
        loop {
            self.rt.sleep_ms(pause_ms).await;
            let now_ns = self.rt.now_ns();
            let short = self.budget.short(now_ns);
            for entry in self.open.borrow().iter().flatten() {
                if let Some(reason) = self.overdue(&entry.activity, now_ns, short) {
                    if !entry.told.replace(true) {
                        self.log.warn(now_ns, entry.peer, &reason);
                    }
                    // Its task is woken by the end of its receive or send.
                    self.rt.env().shutdown(&entry.socket);
                } else if now_ns.saturating_sub(entry.activity.moved_ns()) >= STALLED_NS && !entry.activity.working() {
                    entry.activity.release();
                }
            }
        }
    }

    fn overdue(&self, activity: &Activity, now_ns: u64, short: bool) -> Option<Overdue> {
        let idle_ns = now_ns.saturating_sub(activity.moved_ns());
        if idle_ns >= self.idle_ns && !activity.working() {
            return Some(Overdue::Idle(idle_ns / 1_000_000));
        }
        let (begun_ns, bytes) = activity.frame()?;
        let allowed_ns = FRAME_GRACE_NS + u64::try_from(bytes).unwrap_or(u64::MAX) * NS_A_BYTE;
        let took_ns = now_ns.saturating_sub(begun_ns);
        (short && took_ns > allowed_ns).then_some(Overdue::Slow(took_ns / 1_000_000, bytes))
    }

    /// Takes no more requests and waits until every connection has ended or so many milliseconds have passed; then those
    /// that are left are cut. Answers how many that were.
    pub async fn stop(&self, wait_ms: u64) -> usize {
        self.stopping.set(true);
        for entry in self.open.borrow().iter().flatten() {
            entry.activity.stop();
        }
        let until_ns = self.rt.now_ns() + wait_ms * 1_000_000;
        while self.count() > 0 && self.rt.now_ns() < until_ns {
            self.rt.sleep_ms(STOP_POLL_MS).await;
        }
        let left = self.count();
        for entry in self.open.borrow().iter().flatten() {
            self.rt.env().shutdown(&entry.socket);
        }
        left
    }
}

/// Why the sweeper ends a connection.
#[derive(Debug, thiserror::Error)]
enum Overdue {
    #[error("nothing moved for {0} ms (connections.max.idle.ms)")]
    Idle(u64),
    #[error("a frame that began {0} ms ago has {1} bytes only, and receive buffers are short")]
    Slow(u64, usize),
}

/// How long a peer may leave a reply unread before its buffers are given back.
const STALLED_NS: u64 = 1_000_000_000;
/// How long a frame may take while buffers are short, beside the time for its bytes.
const FRAME_GRACE_NS: u64 = 5_000_000_000;
/// The least rate of a frame while buffers are short: 1 MB/s.
const NS_A_BYTE: u64 = 1_000;
const STOP_POLL_MS: u64 = 10;
