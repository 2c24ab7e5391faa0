//! The memory of one shard for the newest bytes of its logs: who gets it, and what is freed when it is short.
//!
//! The budget is a hard cap. What is not stored yet is never freed; what is stored is kept for readers until someone
//! needs the memory: oldest full chunk first, then the unused part of an idle log's open chunk. Those who find none wait in the
//! order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use super::log::Log;
use crate::io::buf::CLASSES_BYTES;
use crate::io::local::Notify;
use crate::io::{AppendBuf, Env, Pool, Runtime};

/// The pool, and the logs that could give something back.
pub(super) struct Memory<E: Env> {
    pool: Pool,
    chunk_bytes_min: usize,
    /// A log for each chunk that takes no more bytes, oldest first.
    full: RefCell<VecDeque<Weak<Log<E>>>>,
    /// A log for each open chunk larger than the smallest.
    large: RefCell<VecDeque<Weak<Log<E>>>>,
    /// Tickets of those who wait, and the next one.
    waiting: RefCell<VecDeque<u64>>,
    tickets: Cell<u64>,
    freed: Notify,
}

/// What came of the attempt to free a log's oldest chunk.
pub(super) enum Evicted {
    /// It is gone.
    Freed,
    /// Its bytes are not stored yet.
    NotYet,
    /// There is none, or it never will be stored: the log failed or was closed.
    Never,
}

impl<E: Env> Memory<E> {
    pub(super) fn new(cap_bytes: usize, block_bytes: usize) -> Self {
        Self {
            pool: Pool::new(cap_bytes),
            chunk_bytes_min: block_bytes.max(CHUNK_BYTES_MIN),
            full: RefCell::default(),
            large: RefCell::default(),
            waiting: RefCell::default(),
            tickets: Cell::new(0),
            freed: Notify::default(),
        }
    }

    /// The pool, for figures.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The smallest chunk.
    pub(super) fn chunk_bytes_min(&self) -> usize {
        self.chunk_bytes_min
    }

    /// The largest chunk: the largest class that the budget holds many of.
    pub(super) fn chunk_bytes_max(&self) -> usize {
        let fitting = CLASSES_BYTES.iter().rev().find(|class| **class <= self.pool.cap_bytes() / CHUNKS_MIN);
        fitting.copied().unwrap_or(0).max(self.chunk_bytes_min)
    }

    /// Memory for a chunk, freeing what is stored where there is none left. No log's tail may be borrowed.
    pub(super) fn take(&self, bytes: usize) -> Option<AppendBuf> {
        loop {
            if let Some(buf) = self.pool.take(bytes) {
                return Some(buf);
            }
            if !self.evict_full() && !self.shrink_large() {
                return None;
            }
        }
    }

    /// A chunk of `log` became full, or its segment was rolled.
    pub(super) fn note_full(&self, log: &Rc<Log<E>>) {
        self.full.borrow_mut().push_back(Rc::downgrade(log));
    }

    /// `log` took a chunk of this size.
    pub(super) fn note_taken(&self, log: &Rc<Log<E>>, bytes: usize) {
        if bytes > self.chunk_bytes_min && !log.noted_large.replace(true) {
            self.large.borrow_mut().push_back(Rc::downgrade(log));
        }
    }

    /// Something was stored: it may be freed now.
    pub(super) fn note_stored(&self) {
        if self.is_waited_for() {
            self.freed.notify_all();
        }
    }

    /// Whether someone waits: then nobody takes memory past him.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Ends when `attempt` has succeeded; attempts are made one waiter at a time, in the order of the calls.
    pub(super) async fn wait_until<T>(&self, rt: &Rc<Runtime<E>>, mut attempt: impl FnMut() -> Option<T>) -> T {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        self.waiting.borrow_mut().push_back(ticket);
        let _place = Place { memory: self, ticket };
        loop {
            let freed = self.freed.wait();
            if self.waiting.borrow().front() == Some(&ticket)
                && let Some(got) = attempt()
            {
                return got;
            }
            // Memory also comes back from readers on other shards, who tell nobody.
            either(freed, rt.sleep_ms(RETRY_MS)).await;
        }
    }

    fn evict_full(&self) -> bool {
        for _ in 0..ATTEMPTS {
            let Some(oldest) = self.full.borrow_mut().pop_front() else { return false };
            match oldest.upgrade().map_or(Evicted::Never, |log| log.evict()) {
                Evicted::Freed => return true,
                Evicted::NotYet => self.full.borrow_mut().push_back(oldest),
                Evicted::Never => {}
            }
        }
        false
    }

    fn shrink_large(&self) -> bool {
        for _ in 0..ATTEMPTS {
            let Some(oldest) = self.large.borrow_mut().pop_front() else { return false };
            let Some(log) = oldest.upgrade() else { continue };
            if log.shrink(self.chunk_bytes_min, |bytes| self.pool.take(bytes)) {
                log.noted_large.set(false);
                return true;
            }
            self.large.borrow_mut().push_back(oldest);
        }
        false
    }
}

/// A place among those who wait; leaving it, also by being dropped, lets the next one try.
struct Place<'a, E: Env> {
    memory: &'a Memory<E>,
    ticket: u64,
}

impl<E: Env> Drop for Place<'_, E> {
    fn drop(&mut self) {
        self.memory.waiting.borrow_mut().retain(|ticket| *ticket != self.ticket);
        self.memory.freed.notify_all();
    }
}

/// Ends when one of the two has ended.
pub(super) async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    std::future::poll_fn(|cx| {
        if one.as_mut().poll(cx).is_ready() || other.as_mut().poll(cx).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// A page: what the pool's smallest class holds.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Chunks of the largest size that the budget holds at the least.
const CHUNKS_MIN: usize = 32;
/// Logs that one call looks at before it gives up: bounds the work of an append.
const ATTEMPTS: usize = 16;
/// How long a waiter sleeps before it looks again by itself.
const RETRY_MS: u64 = 5;
