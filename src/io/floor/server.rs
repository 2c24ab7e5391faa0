//! The loop: completions, then windows, then answers, then receives, then one `io_uring_enter` that submits and waits.
//!
//! **Limits.** Each figure of [`Limits`]; at most [`CONNECTIONS_MAX`] connections, the others are closed at once; a
//! connection whose answers are not read is not read from beyond [`OUT_BYTES_MAX`] of them. A frame that the stage does
//! not answer, of whatever kind, ends its connection and nothing else.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::thread::sched_getaffinity;
use rustix::time::{ClockId, clock_gettime};

use super::super::probe;
use super::super::ring::Wait;
use super::super::socket::Socket;
use super::connection::Connection;
use super::flights::{Flight, Flights, Landed, again};
use super::work::{Done, Work};
use super::{Config, Error, Stats};

/// Bounds that follow from the size of a segment: a window, which is what was gathered and one frame more at the most, must
/// lie in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest frame, without its length.
    pub(super) frame_bytes_max: usize,
    /// No more frames are taken while so much is gathered for a window.
    pub(super) gather_bytes_max: usize,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Self {
        let quarter = usize::try_from(config.segment_bytes / 4).unwrap_or(usize::MAX);
        let bytes_max = quarter.min(FRAME_BYTES_MAX);
        Self { frame_bytes_max: bytes_max, gather_bytes_max: bytes_max }
    }
}

/// The floor's server.
pub(super) struct Server {
    flights: Flights,
    listener: Socket,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    work: Work,
    limits: Limits,
    /// Connections with answers to send, and those to receive from, at the end of the turn.
    to_send: Vec<usize>,
    to_receive: Vec<usize>,
    /// Connections whose frames wait until less is gathered.
    held: Vec<usize>,
    stopping: bool,
    stats: Stats,
}

impl Server {
    /// A server that is ready to listen: all that takes time is done.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        probe::io_uring()?;
        let limits = Limits::new(config);
        let work = Work::new(config, &limits)?;
        let listen = |source| Error::Listen { address: config.address, source };
        let listener = Socket::listen(config.address).map_err(listen)?;
        let flights = Flights::new(only_core()).map_err(Error::Ring)?;
        Ok(Self {
            flights,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            work,
            limits,
            to_send: Vec::new(),
            to_receive: Vec::new(),
            held: Vec::new(),
            stopping: false,
            stats: Stats::default(),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_address()
    }

    /// Serves until one of `stops` is readable or at its end.
    pub(super) fn run(mut self, stops: &[BorrowedFd<'_>]) -> Result<Stats, Error> {
        for stop in stops {
            self.flights.watch(stop.as_raw_fd());
        }
        self.flights.start(Flight::Accept { listener: self.listener.clone() });
        let mut deadline = None;
        loop {
            while let Some(landed) = self.flights.landed() {
                self.land(landed)?;
            }
            self.end_turn();
            if !self.stopping {
                self.flights.enter(Wait::Forever).map_err(Error::Ring)?;
                continue;
            }
            let deadline = *deadline.get_or_insert_with(|| now() + DRAIN);
            if self.flights.under_way() == 0 || now() > deadline {
                break;
            }
            self.flights.enter(Wait::AtMostNs(DRAIN_LOOK_NS)).map_err(Error::Ring)?;
        }
        if let Work::Store(store) = &self.work {
            self.stats.windows = store.began;
            self.stats.flushes = store.flushes;
            self.stats.turnovers = store.turnovers();
        }
        Ok(self.stats)
    }

    fn land(&mut self, landed: Landed) -> Result<(), Error> {
        let Landed { flight, result, nonempty } = landed;
        match flight {
            Flight::Stop => self.stop(),
            Flight::Accept { listener } => self.accepted(listener, &result)?,
            Flight::Receive { connection, buf, .. } => {
                let at = self.connection(connection);
                at.receiving = false;
                at.input.received(buf, !nonempty);
                match result {
                    Ok(0) => self.end(connection),
                    Ok(_) => self.serve(connection),
                    Err(error) if again(&error) => self.to_receive.push(connection),
                    Err(_) => self.end(connection),
                }
            }
            Flight::Send { connection, mut bytes, .. } => {
                let whole = result.is_ok_and(|sent| sent == bytes.len());
                bytes.clear();
                self.connection(connection).spare = bytes;
                self.sent(connection, whole);
            }
            Flight::SendSlice { connection, slice, .. } => {
                let whole = result.is_ok_and(|sent| sent == slice.len());
                self.connection(connection).body = None;
                self.sent(connection, whole);
            }
            Flight::Writable { connection, .. } => self.sent(connection, true),
            Flight::Write { window, ref slices, .. } => {
                let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
                match result {
                    Ok(wrote) if wrote == wanted => self.store().written(window),
                    Err(error) if again(&error) => self.flights.start_on_worker(flight),
                    _ if self.stopping => {}
                    Ok(wrote) => return Err(Error::ShortWrite { wrote, wanted }),
                    Err(error) => return Err(Error::Write(error)),
                }
            }
            Flight::Flush { flush, .. } => match result {
                Ok(_) => self.store().flushed(flush),
                Err(error) if again(&error) => self.flights.start_on_worker(flight),
                Err(_) if self.stopping => {}
                Err(error) => return Err(Error::Flush(error)),
            },
        }
        Ok(())
    }

    fn accepted(&mut self, listener: Socket, result: &io::Result<usize>) -> Result<(), Error> {
        let socket = Flights::accepted(result);
        if self.stopping {
            return Ok(());
        }
        match (socket, result) {
            (Some(socket), _) if self.connections.len() - self.free.len() < CONNECTIONS_MAX => self.add(socket),
            // One too many is closed.
            (Some(_), _) => {}
            (None, Err(error)) if !again(error) && error.kind() != io::ErrorKind::ConnectionAborted => {
                let error = io::Error::new(error.kind(), error.to_string());
                return Err(Error::Accept(error));
            }
            (None, _) => {}
        }
        self.flights.start(Flight::Accept { listener });
        Ok(())
    }

    fn add(&mut self, socket: Socket) {
        let connection = Some(Connection::new(socket));
        let index = self.free.pop().unwrap_or(self.connections.len());
        if index == self.connections.len() {
            self.connections.push(connection);
        } else {
            self.connections[index] = connection;
        }
        self.stats.connections += 1;
        self.to_receive.push(index);
    }

    /// Takes the frames that are whole, as far as their answers may go on.
    fn serve(&mut self, index: usize) {
        let Some(connection) = self.connections[index].as_mut().filter(|connection| !connection.ended) else { return };
        loop {
            if connection.body.is_some() || connection.out.len() > OUT_BYTES_MAX {
                connection.waiting = true;
                break;
            }
            if self.work.is_full() {
                self.held.push(index);
                break;
            }
            let Ok(next) = connection.input.next_frame(self.limits.frame_bytes_max) else { return self.refuse(index) };
            let Some(frame) = next else {
                self.to_receive.push(index);
                break;
            };
            match self.work.take(index, frame, &mut connection.out) {
                Ok(Done::Answered) => {}
                Ok(Done::Owed) => connection.owed += 1,
                Ok(Done::Body(range)) => connection.body = Some(range).filter(|range| !range.is_empty()),
                Err(_refused) => return self.refuse(index),
            }
            self.stats.requests += 1;
        }
        if !connection.out.is_empty() {
            self.to_send.push(index);
        }
    }

    /// Something was sent of a connection, or it may be tried again: what comes next.
    fn sent(&mut self, index: usize, well: bool) {
        let connection = self.connection(index);
        connection.sending = false;
        if !well || connection.ended {
            return self.end(index);
        }
        if connection.body.is_some() {
            return self.send_body(index);
        }
        if !connection.out.is_empty() {
            self.to_send.push(index);
        }
        if std::mem::take(&mut self.connection(index).waiting) {
            self.serve(index);
        }
    }

    /// Sends records: memory through the ring, a file as far as the socket takes it.
    fn send_body(&mut self, index: usize) {
        let connection = self.connections[index].as_mut().expect("it sends");
        let Some(range) = connection.body.clone() else { return };
        let socket = connection.socket.clone();
        connection.sending = true;
        match &self.work {
            Work::Memory { records, .. } => {
                let bytes = |at| usize::try_from(at).expect("memory has it");
                let slice = records.slice(bytes(range.start)..bytes(range.end));
                self.flights.start(Flight::SendSlice { connection: index, socket, slice });
            }
            Work::Sendfile { file, .. } => {
                let mut position = range.start;
                while position < range.end {
                    let len = usize::try_from(range.end - position).expect("fits into memory");
                    match socket.send_file(file.as_fd(), position, len) {
                        Ok(sent) if sent > 0 => position += sent as u64,
                        Err(error) if again(&error) => {
                            connection.body = Some(position..range.end);
                            return self.flights.start(Flight::Writable { connection: index, socket });
                        }
                        _ => return self.sent(index, false),
                    }
                }
                connection.body = None;
                self.sent(index, true);
            }
            _ => unreachable!("only the reading stages have bodies"),
        }
    }

    fn end_turn(&mut self) {
        self.work.let_go();
        self.turn_windows();
        // Answers leave before more is received: a receive of bytes that are there is done when it is submitted.
        for index in std::mem::take(&mut self.to_send) {
            self.send(index);
        }
        for index in std::mem::take(&mut self.to_receive) {
            self.receive(index);
        }
    }

    /// Moves the windows on as far as they go, and lets frames in that waited for them.
    fn turn_windows(&mut self) {
        loop {
            let Work::Store(store) = &mut self.work else { return };
            for flight in store.flush_due() {
                self.flights.start(flight);
            }
            while let Some(answers) = store.release() {
                for (index, answer) in answers.iter() {
                    let connection = self.connections[index].as_mut().expect("kept while it is owed something");
                    connection.owed -= 1;
                    if connection.ended {
                        forget_if_over(&mut self.connections[index], &mut self.free, index);
                    } else {
                        connection.out.extend_from_slice(answer);
                        self.to_send.push(index);
                    }
                }
                store.give_back(answers);
            }
            let Some(write) = store.begin() else { return };
            self.flights.start(write);
            for index in std::mem::take(&mut self.held) {
                self.serve(index);
            }
        }
    }

    fn send(&mut self, index: usize) {
        let Some(connection) = self.connections[index].as_mut() else { return };
        if connection.ended || connection.sending || connection.out.is_empty() {
            return;
        }
        connection.sending = true;
        let bytes = std::mem::replace(&mut connection.out, std::mem::take(&mut connection.spare));
        let (socket, more) = (connection.socket.clone(), connection.body.is_some());
        self.flights.start(Flight::Send { connection: index, socket, bytes, more });
    }

    fn receive(&mut self, index: usize) {
        let Some(connection) = self.connections[index].as_mut() else { return };
        if connection.ended || connection.receiving {
            return;
        }
        connection.receiving = true;
        let want = connection.input.want();
        let socket = connection.socket.clone();
        let flight = Flight::Receive { connection: index, socket, buf: want.buf, len: want.len, all: want.all };
        if want.drained {
            self.flights.start_when_readable(flight);
        } else {
            self.flights.start(flight);
        }
    }

    fn refuse(&mut self, index: usize) {
        self.stats.refused += 1;
        self.end(index);
    }

    fn end(&mut self, index: usize) {
        let connection = self.connection(index);
        connection.ended = true;
        connection.socket.shutdown();
        forget_if_over(&mut self.connections[index], &mut self.free, index);
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.listener.shutdown();
        for index in 0..self.connections.len() {
            if self.connections[index].is_some() {
                self.end(index);
            }
        }
        self.flights.cancel_all();
    }

    fn connection(&mut self, index: usize) -> &mut Connection {
        self.connections[index].as_mut().expect("kept while something is under way")
    }

    fn store(&mut self) -> &mut super::store::Store {
        let Work::Store(store) = &mut self.work else { unreachable!("only the writing stages write") };
        store
    }
}

fn forget_if_over(slot: &mut Option<Connection>, free: &mut Vec<usize>, index: usize) {
    if slot.as_ref().is_some_and(Connection::is_over) {
        *slot = None;
        free.push(index);
    }
}

/// The core of this thread, where it may run on one alone: its workers then stay there too.
fn only_core() -> Option<usize> {
    let set = sched_getaffinity(None).ok()?;
    let mut cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    let first = cores.next()?;
    cores.next().is_none().then_some(first)
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The longest frame that any segment size allows.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 1024;
/// Answers that one connection may leave unread.
const OUT_BYTES_MAX: usize = 1 << 20;
/// How long what is under way may take to end.
const DRAIN: Duration = Duration::from_secs(5);
const DRAIN_LOOK_NS: u64 = 100_000_000;
