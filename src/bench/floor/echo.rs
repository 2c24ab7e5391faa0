//! The load of the echo: small frames over many connections, one under way on each. The engine speaks Kafka and cannot
//! send them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};

use super::{Outcome, Place, cpu};
use crate::bench::load::thread_cpu;
use crate::bench::server::{Server, pin};

/// A frame with its length.
pub(super) const FRAME_BYTES: usize = 64;

/// Echoes over `connections` connections, spread over the servers.
pub(super) fn run(
    servers: &[Server],
    connections: usize,
    place: &Place<'_>,
    told: &mut dyn FnMut() -> bool,
) -> io::Result<Outcome> {
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let core = place.seats.cores.first().copied();
    let (warm_up, window) = (place.warm_up, place.window);
    let stop = Arc::new(AtomicBool::new(false));
    let given_up = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        core.map_or(Ok(()), pin)?;
        Echo::open(&addresses, connections)?.run(warm_up, window, &given_up)
    });
    let mut watch = |until: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < until && !thread.is_finished() && !stop.load(Ordering::Relaxed) {
            thread::sleep(TICK.min(until));
            stop.store(!told(), Ordering::Relaxed);
        }
    };
    watch(warm_up);
    let before = cpu(servers)?;
    watch(window);
    let after = cpu(servers)?;
    let outcome = thread.join().map_err(|_| io::Error::other("the echo's thread panicked"))??;
    if stop.load(Ordering::Relaxed) {
        return Err(ErrorKind::Interrupted.into());
    }
    Ok(Outcome { cpu: after.saturating_sub(before), ..outcome })
}

struct Echo {
    poller: std::os::fd::OwnedFd,
    lines: Vec<Line>,
}

struct Line {
    stream: TcpStream,
    sent: Instant,
    received: usize,
}

impl Echo {
    fn open(addresses: &[SocketAddr], connections: usize) -> io::Result<Self> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lines = Vec::with_capacity(connections);
        for (index, address) in addresses.iter().cycle().take(connections).enumerate() {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&poller, stream.as_fd(), epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            lines.push(Line { stream, sent: Instant::now(), received: 0 });
        }
        Ok(Self { poller, lines })
    }

    fn run(mut self, warm_up: Duration, window: Duration, stop: &AtomicBool) -> io::Result<Outcome> {
        let frame = frame();
        let begun = Instant::now();
        let (from, to) = (begun + warm_up, begun + warm_up + window);
        let mut latency = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that hdrhistogram takes");
        let (mut requests, mut cpu_from) = (0_u64, None);
        for line in &mut self.lines {
            line.send(&frame)?;
        }
        let mut events = Vec::with_capacity(self.lines.len());
        let mut now = begun;
        while now < to && !stop.load(Ordering::Relaxed) {
            let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            events.clear();
            epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
            for event in &events {
                let line = &mut self.lines[usize::try_from(event.data.u64()).expect("our own number")];
                if !line.receive(&frame)? {
                    continue;
                }
                now = Instant::now();
                if now >= from {
                    cpu_from.get_or_insert_with(thread_cpu);
                    requests += 1;
                    let us = u64::try_from((now - line.sent).as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
                    latency.saturating_record(us);
                }
                line.send(&frame)?;
            }
            now = Instant::now();
        }
        let busy = cpu_from.map_or(Duration::ZERO, |from| thread_cpu().saturating_sub(from));
        Ok(Outcome {
            requests,
            bytes: requests * FRAME_BYTES as u64,
            latency,
            busy: busy.as_secs_f64() / window.as_secs_f64().max(1e-9),
            cpu: Duration::ZERO,
            errors: Vec::new(),
        })
    }
}

impl Line {
    /// A frame is shorter than any socket's room.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.sent = Instant::now();
        self.received = 0;
        self.stream.write_all(frame)
    }

    /// Answers whether the whole frame has come back.
    fn receive(&mut self, frame: &[u8]) -> io::Result<bool> {
        let mut bytes = [0; FRAME_BYTES];
        match self.stream.read(&mut bytes[self.received..]) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the floor closed a connection")),
            Ok(count) if bytes[self.received..self.received + count] == frame[self.received..self.received + count] => {
                self.received += count;
                Ok(self.received == frame.len())
            }
            Ok(_) => Err(io::Error::new(ErrorKind::InvalidData, "an echo of other bytes")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn frame() -> [u8; FRAME_BYTES] {
    let mut frame = std::array::from_fn(|at| u8::try_from(at).expect("a short frame"));
    let length = i32::try_from(FRAME_BYTES - 4).expect("a short frame");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

const TICK: Duration = Duration::from_millis(10);
