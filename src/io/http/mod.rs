//! A small HTTP server for what a node shows of itself: a thread of its own, apart from every shard.
//!
//! Started by `cli::serve` where the operator asked for it. It answers GET and HEAD of a few paths from one function and
//! closes each connection behind its answer; whoever asks often loses a handshake on loopback. One thread polls them all,
//! so that a peer that stalls keeps nobody waiting, and it gives way to the shards (nice 10).
//!
//! ```text
//!   poll:  stop, listener, connections  -->  Exchange: head --> answer --> peer's end
//! ```
//!
//! **Invariants.** 1. At most [`HTTP_CONNECTIONS_MAX`] connections and [`HTTP_ANSWERS_MAX`] answers are held at once; while
//! there are no more places, the connection that has been asking longest makes room. 2. A head is at most 8 KiB; each step of
//! an exchange has its deadline. 3. Nothing that a shard could wait for is touched.

mod exchange;
#[cfg(test)]
mod tests;

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::net::SocketFlags;

use exchange::Exchange;
pub use exchange::{Answer, Status};

use super::socket::Socket;
use crate::limits::{HTTP_ANSWERS_MAX, HTTP_CONNECTIONS_MAX};

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct Http {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Answers requests to `listener` from now on: `answer` gets the path of each GET or HEAD, without its query.
    ///
    /// # Errors
    /// Where the thread or what it needs cannot be made.
    pub fn serve(listener: Socket, answer: impl Fn(&str) -> Answer + Send + 'static) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let server = Server { stop: Arc::clone(&stop), listener, answer, exchanges: Vec::new(), listens_from: None };
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || server.run())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Http {
    #[expect(clippy::host_endian_bytes, reason = "eventfd(2) counts in the machine's own order")]
    fn drop(&mut self) {
        // The counter would have to overflow for this to fail.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

struct Server<F> {
    stop: Arc<OwnedFd>,
    listener: Socket,
    answer: F,
    /// In the order of their arrival.
    exchanges: Vec<Exchange>,
    /// After a failed accept: until then nobody is accepted.
    listens_from: Option<Instant>,
}

impl<F: Fn(&str) -> Answer> Server<F> {
    fn run(mut self) {
        // Of this thread alone (setpriority(2)). Where it is refused, all threads are equal.
        let _ = rustix::process::setpriority_process(None, 10);
        loop {
            let now = Instant::now();
            self.exchanges.retain(|exchange| !exchange.is_over(now));
            while self.answer_one(now) {}
            self.listens_from = self.listens_from.filter(|from| *from > now);
            let Some(ready) = self.poll(now) else { return };
            let now = Instant::now();
            for (exchange, ready) in self.exchanges.iter_mut().zip(&ready.exchanges) {
                if *ready {
                    exchange.go_on(now);
                }
            }
            if ready.listener {
                self.accept(now);
            }
        }
    }

    /// Answers whoever has been waiting for it longest. False: nobody does, or too many answers are on their way.
    fn answer_one(&mut self, now: Instant) -> bool {
        let answering = self.exchanges.iter().filter(|exchange| exchange.is_answering()).count();
        let asked = self.exchanges.iter_mut().find(|exchange| exchange.has_asked());
        let Some(exchange) = asked.filter(|_| answering < HTTP_ANSWERS_MAX) else { return false };
        exchange.answer(&self.answer, now);
        true
    }

    /// Waits until something can go on; `None` is the end.
    fn poll(&self, now: Instant) -> Option<Ready> {
        let listening = self.listens_from.is_none();
        let mut fds = vec![PollFd::new(&*self.stop, PollFlags::IN)];
        fds.extend(listening.then(|| PollFd::new(&self.listener, PollFlags::IN)));
        fds.extend(
            self.exchanges.iter().map(|exchange| PollFd::from_borrowed_fd(exchange.as_fd(), exchange.waits_for())),
        );
        let deadlines = self.exchanges.iter().map(Exchange::deadline).chain(self.listens_from);
        // A little later than the deadline, so that it has passed.
        let wait = deadlines.min().map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Some(Ready::default()),
            Err(error) => {
                tracing::error!(%error, "HTTP ends: poll failed");
                return None;
            }
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next()? {
            return None;
        }
        let listener = listening && ready.next()?;
        Some(Ready { listener, exchanges: ready.collect() })
    }

    fn accept(&mut self, now: Instant) {
        loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(connection) => self.take(TcpStream::from(connection), now),
                Err(rustix::io::Errno::AGAIN) => return,
                // It was gone before it was taken.
                Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                Err(_) => {
                    // Out of descriptors, most likely: its peer waits in the kernel's queue.
                    self.listens_from = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn take(&mut self, stream: TcpStream, now: Instant) {
        if self.exchanges.len() == HTTP_CONNECTIONS_MAX {
            // All of them are being answered: then this one is closed.
            let Some(slow) = self.exchanges.iter().position(Exchange::is_asking) else { return };
            self.exchanges.remove(slow);
        }
        self.exchanges.push(Exchange::new(stream, now));
    }
}

/// What can go on.
#[derive(Default)]
struct Ready {
    listener: bool,
    exchanges: Vec<bool>,
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
