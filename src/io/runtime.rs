//! Futures over operation slots, timers, and the local executor of one shard.
//!
//! Made once per shard by the pump (production) or by a test (simulation), and handed down as `Rc<Runtime<E>>`. Whoever
//! drives the shard calls [`Runtime::turn`] again and again and sleeps, for at most [`Runtime::next_timer_ns`], when it
//! answers that nothing is left to do.
//!
//! **Invariants.** 1. A token names one slot from submission to completion; a token carries its slot's generation, so a
//! late completion cannot reach a later operation. 2. A dropped [`Pending`] leaves an orphan: its completion is dropped
//! on arrival, with its buffers. 3. Tasks run in the order in which they became ready, so that one seed gives one trace.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub use async_task::Task;

use super::executor::Executor;
use super::local::Notify;
use super::{AppendBuf, Back, Completion, Env, Job, Op, Output, Slice, Token};
use crate::types::ShardId;

/// One shard's view of the world: its [`Env`], its operations under way, its timers and its tasks.
pub struct Runtime<E: Env> {
    env: E,
    shard: ShardId,
    slots: RefCell<Slots<E>>,
    timers: RefCell<BinaryHeap<Reverse<Timer>>>,
    timers_made: Cell<u64>,
    /// Timers in the heap whose future is gone.
    timers_dead: Cell<usize>,
    executor: Executor,
    completions: RefCell<Vec<Completion<E>>>,
    mail: Notify,
    /// When the turn under way began.
    turn_ns: Cell<u64>,
    /// Wall-clock time of the turn that began at the first of the two.
    wall: Cell<(u64, i64)>,
}

impl<E: Env> Runtime<E> {
    /// A runtime over `env` for `shard`.
    #[must_use]
    pub fn new(env: E, shard: ShardId) -> Rc<Self> {
        Rc::new(Self {
            turn_ns: Cell::new(env.now_ns()),
            wall: Cell::new((u64::MAX, 0)),
            env,
            shard,
            slots: RefCell::new(Slots { slots: Vec::new(), free: Vec::new(), in_use: 0 }),
            timers: RefCell::default(),
            timers_made: Cell::new(0),
            timers_dead: Cell::new(0),
            executor: Executor::new(),
            completions: RefCell::default(),
            mail: Notify::default(),
        })
    }

    /// The environment, for its clocks and the calls that never wait.
    #[must_use]
    pub fn env(&self) -> &E {
        &self.env
    }

    /// The shard that this runtime drives.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Starts a task on this shard. Dropping the returned handle cancels it; `detach` lets it run.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.executor.spawn(future)
    }

    /// Starts an operation. It is under way when this returns, whether or not the future is ever polled.
    pub fn submit(self: &Rc<Self>, op: Op<E>) -> Pending<E> {
        let token = self.slots.borrow_mut().take();
        self.env.submit(token, op);
        Pending { runtime: Rc::clone(self), token, arrived_ns: 0, done: false }
    }

    /// Reads up to `len` bytes at `position` to the end of `buf`.
    pub async fn read(
        self: &Rc<Self>,
        file: &E::File,
        position: u64,
        len: usize,
        buf: AppendBuf,
    ) -> (io::Result<usize>, AppendBuf) {
        let done = self.submit(Op::Read { file: file.clone(), position, len, buf }).await;
        (done.result, expect_buf(done.back))
    }

    /// Writes all of `slices` at `position`.
    pub async fn write(self: &Rc<Self>, file: &E::File, position: u64, slices: Vec<Slice>) -> io::Result<()> {
        self.submit(Op::Write { file: file.clone(), position, slices }).await.result.map(drop)
    }

    /// Makes the completed writes of a file durable.
    pub async fn flush(self: &Rc<Self>, file: &E::File) -> io::Result<()> {
        self.submit(Op::Flush { file: file.clone() }).await.result.map(drop)
    }

    /// Has a job done by housekeeping.
    pub async fn job(self: &Rc<Self>, job: Job<E>) -> io::Result<Output<E>> {
        let done = self.submit(Op::Job(job)).await;
        done.result?;
        match done.back {
            Back::Output(output) => Ok(output),
            Back::Nothing | Back::Buf(_) | Back::Socket(_) => Ok(Output::None),
        }
    }

    /// Has a pure computation run by housekeeping.
    pub async fn compute<T: Send + 'static>(
        self: &Rc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let output = self.job(Job::Compute(Box::new(move || Box::new(work())))).await?;
        match output {
            Output::Any(any) => Ok(*any.downcast().expect("the computation's own type")),
            _ => Err(io::Error::other("the computation did not run")),
        }
    }

    /// Notified whenever another shard has woken this one: something may be in a mailbox, or room in one that was full.
    /// Call `wait`, then look, then await.
    #[must_use]
    pub fn mail(&self) -> &Notify {
        &self.mail
    }

    /// Monotonic time in nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.env.now_ns()
    }

    /// When the turn under way began, in monotonic nanoseconds: the moment at which it looked for completions. What costs
    /// [`Self::now_ns`] a clock read is free here, and right for whatever came with one of them.
    #[must_use]
    pub fn turn_ns(&self) -> u64 {
        self.turn_ns.get()
    }

    /// Wall-clock time in milliseconds since 1970. Read at most once in a turn, so that all that happens in one is stamped
    /// alike.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        let turn_ns = self.turn_ns.get();
        let (of, known_ms) = self.wall.get();
        if of == turn_ns {
            return known_ms;
        }
        let wall_ms = self.env.wall_ms();
        self.wall.set((turn_ns, wall_ms));
        wall_ms
    }

    /// A future that ends at or after the given monotonic time.
    pub fn sleep_until(self: &Rc<Self>, at_ns: u64) -> Sleep<E> {
        Sleep { runtime: Rc::clone(self), at_ns, armed: None }
    }

    /// A future that ends after so many milliseconds.
    pub fn sleep_ms(self: &Rc<Self>, ms: u64) -> Sleep<E> {
        self.sleep_until(self.now_ns().saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// When the earliest timer ends, if any.
    #[must_use]
    pub fn next_timer_ns(&self) -> Option<u64> {
        self.timers.borrow().peek().map(|Reverse(timer)| timer.at_ns)
    }

    /// Timers kept, those whose wait ended early included until they are swept out.
    #[cfg(test)]
    pub(super) fn timers_kept(&self) -> usize {
        self.timers.borrow().len()
    }

    /// Operations under way, orphans included. Zero is what an explicit drain waits for.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.slots.borrow().in_use
    }

    /// Delivers the completions that have arrived, fires due timers, and runs at most `budget` task steps. Answers
    /// whether anything was left ready: then the driver must not sleep.
    pub fn turn(&self, budget: usize) -> bool {
        let now_ns = self.env.now_ns();
        self.turn_ns.set(now_ns);
        self.deliver();
        self.fire_timers(now_ns);
        self.executor.run(budget)
    }

    /// Drops every task where it stands, and lets none begin any more: for the simulator's kill, and for the end of a shard
    /// whose tasks hold this runtime. Their operations become orphans, which [`Self::under_way`] still counts. Must not be
    /// called from within a task.
    pub fn abandon(&self) {
        self.executor.close();
    }

    fn deliver(&self) {
        if self.env.take_wake() {
            self.mail.notify_all();
        }
        let mut completions = self.completions.take();
        self.env.poll(&mut completions);
        let turn_ns = self.turn_ns.get();
        for completion in completions.drain(..) {
            let woken = self.slots.borrow_mut().complete(completion, turn_ns);
            match woken {
                Delivered::Wake(waker) => waker.wake(),
                Delivered::Orphan(completion) => drop(completion),
                Delivered::Kept => {}
            }
        }
        self.completions.replace(completions);
    }

    fn fire_timers(&self, now_ns: u64) {
        loop {
            let mut timers = self.timers.borrow_mut();
            if timers.peek().is_none_or(|Reverse(timer)| timer.at_ns > now_ns) {
                return;
            }
            let Some(Reverse(due)) = timers.pop() else { return };
            drop(timers);
            match due.state.replace(Alarm::Rung) {
                Alarm::Set(waker) => waker.wake(),
                Alarm::Dropped => self.timers_dead.set(self.timers_dead.get() - 1),
                Alarm::Rung => unreachable!("a timer is in the heap once"),
            }
        }
    }

    /// A timer's future is gone before its time. Most are (a wait that ended well), so once they are the larger part of
    /// the heap they are swept out.
    fn timer_dropped(&self) {
        self.timers_dead.set(self.timers_dead.get() + 1);
        let mut timers = self.timers.borrow_mut();
        if self.timers_dead.get() > SWEEP_MIN && self.timers_dead.get() * 2 > timers.len() {
            timers.retain(|Reverse(timer)| !matches!(*timer.state.borrow(), Alarm::Dropped));
            self.timers_dead.set(0);
        }
    }
}

fn expect_buf<E: Env>(back: Back<E>) -> AppendBuf {
    match back {
        Back::Buf(buf) => buf,
        Back::Nothing | Back::Socket(_) | Back::Output(_) => AppendBuf::with_capacity(0),
    }
}

/// An operation under way: a future of its completion.
pub struct Pending<E: Env> {
    runtime: Rc<Runtime<E>>,
    token: Token,
    arrived_ns: u64,
    done: bool,
}

impl<E: Env> Pending<E> {
    /// After its end: when the turn began that found the completion.
    #[must_use]
    pub fn arrived_ns(&self) -> u64 {
        self.arrived_ns
    }
}

impl<E: Env> Future for Pending<E> {
    type Output = Completion<E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion<E>> {
        let polled = self.runtime.slots.borrow_mut().poll(self.token, cx.waker());
        polled.map(|(completion, arrived_ns)| {
            self.done = true;
            self.arrived_ns = arrived_ns;
            completion
        })
    }
}

impl<E: Env> Drop for Pending<E> {
    fn drop(&mut self) {
        if !self.done {
            let arrived = self.runtime.slots.borrow_mut().orphan(self.token);
            drop(arrived);
        }
    }
}

struct Slots<E: Env> {
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
    in_use: usize,
}

struct Slot<E: Env> {
    generation: u32,
    state: State<E>,
}

enum State<E: Env> {
    Free,
    Submitted(Option<Waker>),
    /// And when.
    Arrived(Completion<E>, u64),
    Orphan,
}

enum Delivered<E: Env> {
    Wake(Waker),
    Kept,
    Orphan(Completion<E>),
}

impl<E: Env> Slots<E> {
    fn take(&mut self) -> Token {
        self.in_use += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, state: State::Free });
            u32::try_from(self.slots.len() - 1).expect("limits.rs bounds the operations under way")
        });
        let slot = &mut self.slots[index as usize];
        slot.state = State::Submitted(None);
        Token(u64::from(slot.generation) << 32 | u64::from(index))
    }

    fn at(&mut self, token: Token) -> &mut Slot<E> {
        let index = usize::try_from(token.0 & 0xffff_ffff).expect("a slot number fits");
        let slot = &mut self.slots[index];
        assert_eq!(u64::from(slot.generation), token.0 >> 32, "a completion for an operation that already ended");
        slot
    }

    fn release(&mut self, token: Token) -> State<E> {
        let slot = self.at(token);
        slot.generation = slot.generation.wrapping_add(1);
        let state = std::mem::replace(&mut slot.state, State::Free);
        self.free.push(u32::try_from(token.0 & 0xffff_ffff).expect("masked"));
        self.in_use -= 1;
        state
    }

    fn complete(&mut self, completion: Completion<E>, now_ns: u64) -> Delivered<E> {
        let token = completion.token;
        let slot = self.at(token);
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Submitted(waker) => {
                slot.state = State::Arrived(completion, now_ns);
                waker.map_or(Delivered::Kept, Delivered::Wake)
            }
            State::Orphan => {
                self.release(token);
                Delivered::Orphan(completion)
            }
            State::Free | State::Arrived(..) => unreachable!("an operation completes once"),
        }
    }

    fn poll(&mut self, token: Token, waker: &Waker) -> Poll<(Completion<E>, u64)> {
        let slot = self.at(token);
        if let State::Submitted(current) = &mut slot.state {
            match current {
                Some(old) => old.clone_from(waker),
                None => *current = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        match self.release(token) {
            State::Arrived(completion, at_ns) => Poll::Ready((completion, at_ns)),
            State::Free | State::Submitted(_) | State::Orphan => unreachable!("polled after its end"),
        }
    }

    fn orphan(&mut self, token: Token) -> Option<State<E>> {
        let slot = self.at(token);
        if matches!(slot.state, State::Arrived(..)) {
            return Some(self.release(token));
        }
        slot.state = State::Orphan;
        None
    }
}

/// The future of [`Runtime::sleep_until`].
pub struct Sleep<E: Env> {
    runtime: Rc<Runtime<E>>,
    at_ns: u64,
    armed: Option<Rc<RefCell<Alarm>>>,
}

impl<E: Env> Future for Sleep<E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.runtime.now_ns() >= self.at_ns {
            return Poll::Ready(());
        }
        if let Some(state) = &self.armed {
            match &mut *state.borrow_mut() {
                Alarm::Set(waker) => waker.clone_from(cx.waker()),
                // The clock had passed `at_ns` when it rang.
                Alarm::Rung | Alarm::Dropped => return Poll::Ready(()),
            }
            return Poll::Pending;
        }
        let state = Rc::new(RefCell::new(Alarm::Set(cx.waker().clone())));
        let made = self.runtime.timers_made.get();
        self.runtime.timers_made.set(made + 1);
        self.runtime.timers.borrow_mut().push(Reverse(Timer { at_ns: self.at_ns, made, state: Rc::clone(&state) }));
        self.armed = Some(state);
        Poll::Pending
    }
}

impl<E: Env> Drop for Sleep<E> {
    fn drop(&mut self) {
        if let Some(state) = &self.armed
            && matches!(*state.borrow(), Alarm::Set(_))
        {
            let waker = state.replace(Alarm::Dropped);
            self.runtime.timer_dropped();
            drop(waker);
        }
    }
}

struct Timer {
    at_ns: u64,
    made: u64,
    state: Rc<RefCell<Alarm>>,
}

enum Alarm {
    Set(Waker),
    Rung,
    Dropped,
}

/// Dead timers that are not worth a sweep.
const SWEEP_MIN: usize = 64;

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.made) == (other.at_ns, other.made)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.made).cmp(&(other.at_ns, other.made))
    }
}
