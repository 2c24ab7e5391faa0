//! One connection: frames in, requests begun in order, replies out in order.
//!
//! Spawned by `accept` as one task on the shard that holds the socket. Everything that a connection waits for wakes the
//! same task, so a request costs as few wakes as there are things to wait for: bytes, its log, the send.
//!
//! ```text
//!   socket -> Receiver -> frames -> Service::start  (phase 1, at once, in order)
//!                                        |
//!                             VecDeque of Started   (phase 2; only the oldest is polled)
//!                                        |
//!   socket <- Sender <- replies in request order
//! ```
//!
//! **Invariants.** 1. Requests are started in the order of their frames, replies leave in the order of their requests.
//! 2. At most [`PIPELINE_MAX`] requests are under way. 3. While the service has no room, the pipeline is full or replies
//! pile up, nothing is received: the peer feels it as TCP does. 4. After bytes that are no request nothing more is read;
//! the replies before them still go out.
//!
//! **Cancellation.** Dropping a [`Connection`] forgets its requests' second phases; what phase 1 handed to logs stays.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::receive::{FrameError, Received, Receiver};
use super::reply::Sender;
use crate::handlers::figures::Arrival;
use crate::handlers::reply::{CloseReason, Outcome, Started};
use crate::io::{Env, Runtime};
use crate::limits::{PIPELINE_MAX, REPLIES_BYTES_MAX};
use crate::record::Records;

/// What a connection asks of the layer that knows Kafka.
pub trait Service<E: Env> {
    /// Whether a request may be started now. If not, the task is woken when that changes.
    fn room(&self, cx: &mut Context<'_>) -> bool;
    /// Runs a request's first phase. `frame` is a request without its length, `peer` whoever sent it.
    fn start(&self, frame: Records, arrival: Arrival, peer: Option<SocketAddr>) -> Started<E>;
}

/// What the shard's sweeper sees of a connection, and how it reaches it.
#[derive(Default)]
pub struct Activity {
    moved_ns: Cell<u64>,
    frame_begun_ns: Cell<u64>,
    frame_bytes: Cell<usize>,
    working: Cell<bool>,
    release: Cell<bool>,
    stopping: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Activity {
    /// When bytes last went in either direction.
    #[must_use]
    pub fn moved_ns(&self) -> u64 {
        self.moved_ns.get()
    }

    /// Since when a frame has been arriving, and its bytes so far.
    #[must_use]
    pub fn frame(&self) -> Option<(u64, usize)> {
        (self.frame_begun_ns.get() != 0).then(|| (self.frame_begun_ns.get(), self.frame_bytes.get()))
    }

    /// Whether the node owes a reply and the peer does not hold it up.
    #[must_use]
    pub fn working(&self) -> bool {
        self.working.get()
    }

    /// The peer does not read: the buffers of what waits for it are given back.
    pub fn release(&self) {
        self.release.set(true);
        self.wake();
    }

    /// Takes no more requests; the connection ends when the replies under way are out.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wake();
    }

    fn wake(&self) {
        let task = self.task.borrow_mut().take();
        if let Some(task) = task {
            task.wake();
        }
    }

    fn note_task(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed it, between frames.
    #[error("closed by the peer")]
    Peer,
    /// The peer closed it in the middle of a frame.
    #[error("closed by the peer within a frame")]
    PeerWithinFrame,
    /// The network, or our own sweeper, broke it.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    /// A length that no request has.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A request ended it.
    #[error(transparent)]
    Request(#[from] CloseReason),
}

impl Ended {
    /// Whether the peer broke the protocol, so that it is worth a line in the log.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        match self {
            Self::PeerWithinFrame | Self::Frame(_) => true,
            Self::Request(reason) => !matches!(reason, CloseReason::Stopping),
            Self::Peer | Self::Lost(_) => false,
        }
    }
}

/// One connection: a future that ends with it.
pub struct Connection<E: Env> {
    rt: Rc<Runtime<E>>,
    socket: E::Socket,
    peer: Option<SocketAddr>,
    service: Rc<dyn Service<E>>,
    activity: Rc<Activity>,
    receiver: Receiver<E>,
    sender: Sender<E>,
    under_way: VecDeque<Started<E>>,
    /// Whether bytes went since the last note of it.
    moved: bool,
    /// Set once nothing more is read; the connection ends when the replies before it are out.
    ended: Option<Ended>,
}

impl<E: Env> Connection<E> {
    /// A connection over a socket's two halves.
    #[must_use]
    pub fn new(
        rt: Rc<Runtime<E>>,
        socket: E::Socket,
        service: Rc<dyn Service<E>>,
        receiver: Receiver<E>,
        sender: Sender<E>,
    ) -> Self {
        let activity = Rc::new(Activity::default());
        activity.moved_ns.set(rt.now_ns());
        let (peer, under_way) = (rt.env().peer(&socket), VecDeque::new());
        Self { rt, socket, peer, service, activity, receiver, sender, under_way, moved: true, ended: None }
    }

    /// Whoever is at the other end.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What the sweeper looks at.
    #[must_use]
    pub fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    /// Starts requests while frames and room are there. Answers whether more bytes are wanted.
    fn start_requests(&mut self, cx: &mut Context<'_>) -> bool {
        while self.ended.is_none() {
            let full = self.under_way.len() >= PIPELINE_MAX || self.sender.queued_bytes() > REPLIES_BYTES_MAX;
            if full || !self.service.room(cx) {
                return false;
            }
            if self.activity.stopping.get() {
                self.ended = Some(CloseReason::Stopping.into());
                return false;
            }
            match self.receiver.next_frame() {
                Ok(Some((frame, arrival))) => {
                    let started = self.service.start(frame, arrival, self.peer);
                    if let Started::Done(Outcome::Close(_)) = started {
                        self.under_way.push_back(started);
                        // What follows is not read: the outcome ends the connection in its turn.
                        return false;
                    }
                    self.under_way.push_back(started);
                }
                Ok(None) => return true,
                Err(error) => self.ended = Some(error.into()),
            }
        }
        false
    }

    /// Moves outcomes that are there from the front of the pipeline to the sender. Answers whether there were any.
    fn collect_replies(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.under_way.len();
        while self.sender.queued_bytes() <= REPLIES_BYTES_MAX {
            let outcome = match self.under_way.front_mut() {
                None => break,
                Some(Started::Done(_)) => match self.under_way.pop_front() {
                    Some(Started::Done(outcome)) => outcome,
                    _ => break,
                },
                Some(Started::Later(future)) => match future.as_mut().poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready(outcome) => {
                        self.under_way.pop_front();
                        outcome
                    }
                },
            };
            match outcome {
                Outcome::Reply(reply) => self.sender.push(reply),
                Outcome::Silent => {}
                Outcome::Close(reason) => {
                    self.under_way.clear();
                    self.ended = Some(reason.into());
                }
            }
        }
        self.under_way.len() < before
    }

    fn note_activity(&mut self) {
        self.activity.working.set(!self.under_way.is_empty() && self.sender.queued_bytes() == 0);
        if std::mem::take(&mut self.moved) {
            self.activity.moved_ns.set(self.rt.turn_ns());
        }
        let (begun_ns, bytes) = self.receiver.frame_owed().unwrap_or_default();
        self.activity.frame_begun_ns.set(begun_ns);
        self.activity.frame_bytes.set(bytes);
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.receiver.poll_receive(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Received::Bytes)) => self.moved = true,
            Poll::Ready(Ok(Received::End)) if self.receiver.within_frame() => {
                self.ended = Some(Ended::PeerWithinFrame);
            }
            Poll::Ready(Ok(Received::End)) => self.ended = Some(Ended::Peer),
            Poll::Ready(Err(error)) => {
                // Nobody is left to read replies.
                self.under_way.clear();
                self.ended = Some(error.into());
            }
        }
        Poll::Ready(())
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let wants_bytes = self.start_requests(cx);
            let collected = self.collect_replies(cx);
            let queued_before = self.sender.queued_bytes();
            let sent = self.sender.poll_send(cx);
            self.moved |= self.sender.queued_bytes() < queued_before;
            match sent {
                Poll::Ready(Err(error)) => return Poll::Ready(self.ended.take().unwrap_or(Ended::Lost(error))),
                Poll::Ready(Ok(())) if self.under_way.is_empty() => {
                    if let Some(ended) = self.ended.take() {
                        return Poll::Ready(ended);
                    }
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            // Outcomes that went, or bytes that went, may have made room for what was held back above.
            if collected || (sent.is_ready() && queued_before > 0) {
                continue;
            }
            if self.ended.is_some() || !wants_bytes {
                return Poll::Pending;
            }
            if self.receive(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

// Nothing in a connection is pinned in place: its futures are boxed or are tokens.
impl<E: Env> Unpin for Connection<E> {}

impl<E: Env> Future for Connection<E> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        self.activity.note_task(cx);
        if self.activity.release.take() {
            self.sender.release();
        }
        let polled = self.step(cx);
        self.note_activity();
        polled
    }
}

impl<E: Env> Drop for Connection<E> {
    fn drop(&mut self) {
        // Ends what is under way on the socket, so that its last clone goes and the descriptor is closed.
        self.rt.env().shutdown(&self.socket);
    }
}
