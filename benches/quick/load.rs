//! A closed loop over many connections on one thread: every connection keeps `depth` requests under way.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;

/// What a connection sends, in turn, and how each answer is taken.
pub trait Work {
    /// The next request of connection `connection`, or `None` when it has nothing more to send for now.
    fn next(&mut self, connection: usize) -> Option<Rc<[u8]>>;
    /// An answer, without its length prefix. Answers how many payload bytes it stands for.
    fn answer(&mut self, connection: usize, frame: &[u8]) -> io::Result<u64>;
}

/// What a run came to, after its warm-up.
pub struct Outcome {
    pub requests: u64,
    pub bytes: u64,
    pub elapsed: Duration,
    pub latency_us: Histogram<u64>,
}

impl Outcome {
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

/// How long a run goes on, counted from the end of the warm-up.
pub struct Until {
    pub warm_up: Duration,
    pub at_least: Duration,
    /// And until this many payload bytes were answered, warm-up included.
    pub bytes: u64,
    /// But never longer than this.
    pub at_most: Duration,
}

struct Connection {
    stream: TcpStream,
    sending: Option<(Rc<[u8]>, usize)>,
    sent_at: VecDeque<Instant>,
    received: Vec<u8>,
    filled: usize,
    wants_write: bool,
}

/// Runs `work` over `connections` connections. `marked` is called once, when the warm-up is over.
pub fn run(
    address: SocketAddr,
    connections: usize,
    depth: usize,
    until: &Until,
    work: &mut dyn Work,
    mut marked: impl FnMut(),
) -> io::Result<Outcome> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = Vec::with_capacity(connections);
    for index in 0..connections {
        all.push(Connection::open(address)?);
        let flags = epoll::EventFlags::IN;
        epoll::add(&poller, all[index].stream.as_fd(), epoll::EventData::new_u64(index as u64), flags)?;
    }
    let begun = Instant::now();
    let mut outcome = Outcome { requests: 0, bytes: 0, elapsed: Duration::ZERO, latency_us: histogram() };
    let (mut total_bytes, mut measuring_since) = (0_u64, None::<Instant>);
    for (index, connection) in all.iter_mut().enumerate() {
        connection.fill(index, depth, work)?;
    }
    let mut events = Vec::with_capacity(connections);
    let mut last_answer = Instant::now();
    loop {
        let now = Instant::now();
        match measuring_since {
            None if now - begun >= until.warm_up => {
                measuring_since = Some(now);
                marked();
            }
            Some(since) => {
                let long_enough = now - since >= until.at_least && total_bytes >= until.bytes;
                if long_enough || now - since >= until.at_most {
                    outcome.elapsed = now - since;
                    return Ok(outcome);
                }
            }
            None => {}
        }
        if now - last_answer > Duration::from_secs(30) {
            return Err(io::Error::new(ErrorKind::TimedOut, "no answer for 30 s"));
        }
        events.clear();
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
        for event in &events {
            let index = usize::try_from(event.data.u64()).expect("our own number");
            let connection = &mut all[index];
            for (latency, bytes) in connection.receive(index, work)? {
                last_answer = now;
                total_bytes += bytes;
                if measuring_since.is_some() {
                    outcome.requests += 1;
                    outcome.bytes += bytes;
                    outcome.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
                }
            }
            connection.fill(index, depth, work)?;
            let wants = connection.sending.is_some();
            if wants != connection.wants_write {
                connection.wants_write = wants;
                let flags = if wants { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
                let data = epoll::EventData::new_u64(index as u64);
                epoll::modify(&poller, connection.stream.as_fd(), data, flags)?;
            }
        }
    }
}

/// One request and its answer, without the length prefix.
pub fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    ask_into(stream, request, &mut frame)?;
    Ok(frame)
}

/// As [`ask`], into a buffer that is used again.
pub fn ask_into(stream: &mut TcpStream, request: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(request)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    frame.resize(usize::try_from(i32::from_be_bytes(len)).map_err(io::Error::other)?, 0);
    stream.read_exact(frame)
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that the crate takes")
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let received = vec![0; 64 << 10];
        Ok(Self { stream, sending: None, sent_at: VecDeque::new(), received, filled: 0, wants_write: false })
    }

    fn fill(&mut self, index: usize, depth: usize, work: &mut dyn Work) -> io::Result<()> {
        loop {
            if self.sending.is_none() && self.sent_at.len() < depth {
                self.sending = work.next(index).map(|request| (request, 0));
                if self.sending.is_some() {
                    self.sent_at.push_back(Instant::now());
                }
            }
            let Some((request, sent)) = &mut self.sending else { return Ok(()) };
            match self.stream.write(&request[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if *sent == request.len() {
                self.sending = None;
            }
        }
    }

    /// Takes every whole answer that has arrived: its latency and its payload bytes.
    fn receive(&mut self, index: usize, work: &mut dyn Work) -> io::Result<Vec<(Duration, u64)>> {
        let mut answers = Vec::new();
        loop {
            match self.stream.read(&mut self.received[self.filled..]) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection")),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error),
            }
            let mut at = 0;
            while self.filled - at >= 4 {
                let len =
                    usize::try_from(ringmain::bench::wire::get_i32(&self.received, at)).map_err(io::Error::other)?;
                if self.filled - at < 4 + len {
                    if self.received.len() < 4 + len {
                        self.received.resize(4 + len + (64 << 10), 0);
                    }
                    break;
                }
                let bytes = work.answer(index, &self.received[at + 4..at + 4 + len])?;
                let sent_at = self.sent_at.pop_front().ok_or_else(|| io::Error::other("an answer to no request"))?;
                answers.push((sent_at.elapsed(), bytes));
                at += 4 + len;
            }
            self.received.copy_within(at..self.filled, 0);
            self.filled -= at;
            if answers.len() >= 16 {
                return Ok(answers);
            }
        }
    }
}
