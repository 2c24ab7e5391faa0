//! The tasks of one shard: a queue of what is ready, run in order, on one thread.
//!
//! `async-task` owns the tasks; this is their queue and nothing else, without the locks and atomic queues of an executor
//! that threads may share. Called by [`super::runtime`] alone.
//!
//! **Invariants.** 1. The queue is touched by the thread that made it alone: a waker is `Send` by its type, so each use
//! checks, and a use elsewhere ends the process. 2. Tasks run in the order in which they became ready. 3. After [`Executor::close`] there are no tasks and no
//! new ones begin.
#![expect(unsafe_code, reason = "a queue that wakers share without a lock")]

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use async_task::{Runnable, Task};

/// The executor of one shard.
pub(super) struct Executor {
    ready: Arc<Ready>,
    alive: Rc<Alive>,
    closed: Cell<bool>,
}

impl Executor {
    pub(super) fn new() -> Self {
        let ready = Ready { home: this_thread(), queue: UnsafeCell::default() };
        Self { ready: Arc::new(ready), alive: Rc::default(), closed: Cell::new(false) }
    }

    /// Makes a task and puts it at the end of the queue.
    pub(super) fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        let place = Place { alive: Rc::clone(&self.alive), number: self.alive.reserve() };
        let number = place.number;
        let ready = Arc::clone(&self.ready);
        let (runnable, task) = async_task::spawn_local(
            async move {
                let _place = place;
                future.await
            },
            move |runnable| ready.push(runnable),
        );
        if self.closed.get() {
            drop(runnable);
        } else {
            self.alive.set(number, runnable.waker());
            runnable.schedule();
        }
        task
    }

    /// Runs at most `budget` steps. Answers whether some are left.
    pub(super) fn run(&self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(runnable) = self.ready.pop() else { return false };
            runnable.run();
        }
        !self.ready.is_empty()
    }

    /// Drops every task, wherever it waits.
    pub(super) fn close(&self) {
        self.closed.set(true);
        loop {
            self.alive.wake_all();
            let Some(runnable) = self.ready.pop() else { return };
            drop(runnable);
        }
    }
}

/// The tasks that wait to be run.
struct Ready {
    home: usize,
    queue: UnsafeCell<VecDeque<Runnable>>,
}

// SAFETY: the queue is reached through `with` alone, which refuses every thread but the one that made it.
unsafe impl Send for Ready {}
// SAFETY: as above.
unsafe impl Sync for Ready {}

impl Ready {
    fn push(&self, runnable: Runnable) {
        self.with(|queue| queue.push_back(runnable));
    }

    fn pop(&self) -> Option<Runnable> {
        self.with(VecDeque::pop_front)
    }

    fn is_empty(&self) -> bool {
        self.with(|queue| queue.is_empty())
    }

    fn with<T>(&self, touch: impl FnOnce(&mut VecDeque<Runnable>) -> T) -> T {
        assert_eq!(self.home, this_thread(), "a task of a shard was woken by another thread");
        // SAFETY: one thread (checked above), and no caller's closure reaches this queue again.
        touch(unsafe { &mut *self.queue.get() })
    }
}

/// Tells threads that live at the same time apart.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// A waker of every task, so that those that wait can be dropped.
#[derive(Default)]
struct Alive {
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Alive {
    fn reserve(&self) -> usize {
        self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        })
    }

    fn set(&self, number: usize, waker: Waker) {
        self.wakers.borrow_mut()[number] = Some(waker);
    }

    fn wake_all(&self) {
        let wakers: Vec<_> = self.wakers.borrow_mut().iter_mut().filter_map(Option::take).collect();
        for waker in wakers {
            waker.wake();
        }
    }
}

/// A task's place among the living, given back when its future is dropped.
struct Place {
    alive: Rc<Alive>,
    number: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = self.alive.wakers.borrow_mut()[self.number].take();
        drop(waker);
        self.alive.free.borrow_mut().push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, poll_fn};
    use std::rc::Rc;
    use std::task::Poll;

    use super::Executor;

    #[test]
    fn tasks_run_in_the_order_in_which_they_became_ready() {
        let executor = Executor::new();
        let seen = Rc::new(RefCell::new(Vec::new()));
        for number in 0..3 {
            let seen = Rc::clone(&seen);
            let mut yields = 2;
            executor
                .spawn(poll_fn(move |cx| {
                    seen.borrow_mut().push(number);
                    yields -= 1;
                    cx.waker().wake_by_ref();
                    if yields == 0 { Poll::Ready(()) } else { Poll::Pending }
                }))
                .detach();
        }
        assert!(executor.run(5), "a step is left after the budget");
        assert!(!executor.run(5));
        assert_eq!(*seen.borrow(), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn closing_drops_tasks_that_wait_and_begins_no_new_ones() {
        let executor = Executor::new();
        let held = Rc::new(());
        for _ in 0..3 {
            let held = Rc::clone(&held);
            executor
                .spawn(async move {
                    pending::<()>().await;
                    drop(held);
                })
                .detach();
        }
        assert!(!executor.run(10));
        assert_eq!(Rc::strong_count(&held), 4);
        executor.close();
        assert_eq!(Rc::strong_count(&held), 1, "a waiting task outlived its executor");
        let late = Rc::clone(&held);
        executor.spawn(async move { drop(late) }).detach();
        assert!(!executor.run(10));
        assert_eq!(Rc::strong_count(&held), 1);
    }
}
