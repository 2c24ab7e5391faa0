//! Waiting within one shard: a one-shot value and a flag that many may wait for. Neither is `Send`.
//!
//! Used by every layer above `io/`. Wakers are woken outside any borrow, so a woken task may touch the same cell.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Makes a connected pair: what the sender sends, the receiver's future gives. A dropped sender gives `None`.
#[must_use]
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let cell = Rc::new(OneShot { value: Cell::new(None), waker: Cell::new(None), closed: Cell::new(false) });
    (Sender(Rc::clone(&cell)), Receiver(cell))
}

struct OneShot<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    closed: Cell<bool>,
}

/// The sending half of [`oneshot`].
pub struct Sender<T>(Rc<OneShot<T>>);

impl<T> Sender<T> {
    /// Hands the value over. It is dropped if the receiver is gone.
    pub fn send(self, value: T) {
        self.0.value.set(Some(value));
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.closed.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// The receiving half of [`oneshot`]: a future.
pub struct Receiver<T>(Rc<OneShot<T>>);

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(value) = self.0.value.take() {
            return Poll::Ready(Some(value));
        }
        if self.0.closed.get() {
            return Poll::Ready(None);
        }
        self.0.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// Something that happens again and again, and that any number of tasks may wait for.
///
/// [`Notify::wait`] gives a future that ends at the first [`Notify::notify_all`] after the *call* of `wait`, so a
/// condition checked after the call and before the await cannot be missed.
#[derive(Default)]
pub struct Notify {
    round: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Ends every wait that has begun.
    pub fn notify_all(&self) {
        self.round.set(self.round.get() + 1);
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        for waker in wakers {
            waker.wake();
        }
    }

    /// Waits for the next notification.
    pub fn wait(&self) -> Notified<'_> {
        Notified { notify: self, round: self.round.get() }
    }
}

/// The future of [`Notify::wait`].
pub struct Notified<'a> {
    notify: &'a Notify,
    round: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.notify.round.get() != self.round {
            return Poll::Ready(());
        }
        let mut wakers = self.notify.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Lets the shard's other tasks run.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
