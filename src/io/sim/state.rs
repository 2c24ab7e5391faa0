//! What the world consists of, and what happens in it: operations become events, events become completions.
//!
//! An operation on a file is one event at a drawn time: its effect and its completion happen together there. So what is
//! submitted together completes in any order, and a kill or a power failure finds it either done or under way.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::io;

use super::disk::{Disk, InodeId, Torn};
use super::inode::SECTOR_BYTES;
use super::names::Names;
use super::net::{Ended, Net, SocketId, Wait};
use super::random::{Random, Trace};
use super::{Faults, SimEnv, SimFile, to_bytes, to_index};
use crate::io::buf::AppendBuf;
use crate::io::{Back, Completion, Job, Op, Slice, Token};
use crate::types::ShardId;

/// One shard of one process, as an index into [`State::callers`].
pub(super) type Caller = usize;

/// The process number of client code on other machines.
pub(super) const CLIENTS: u32 = 0;

/// A shard's inbox.
pub(super) struct Inbox {
    pub(super) process: u32,
    pub(super) shard: ShardId,
    pub(super) alive: bool,
    /// Somebody put something into the shard's mailbox since it last polled.
    pub(super) mail: bool,
    pub(super) arrived: Vec<Completion<SimEnv>>,
}

/// Something that will happen.
pub(super) struct Event {
    at_ns: u64,
    number: u64,
    pub(super) caller: Caller,
    pub(super) token: Token,
    pub(super) work: Work,
}

pub(super) enum Work {
    Read {
        file: SimFile,
        position: u64,
        len: usize,
        buf: AppendBuf,
    },
    Write {
        file: SimFile,
        position: u64,
        bytes: Vec<Slice>,
    },
    /// A flush that covers the writes up to a number, begun when so many had failed.
    Flush {
        file: SimFile,
        upto: u64,
        failed: u64,
    },
    Jobs(VecDeque<Job<SimEnv>>),
    Socket(SocketId),
}

impl Work {
    fn code(&self) -> u64 {
        match self {
            Self::Read { .. } => 1,
            Self::Write { .. } => 2,
            Self::Flush { .. } => 3,
            Self::Jobs(_) => 4,
            Self::Socket(_) => 5,
        }
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_ns, self.number).cmp(&(other.at_ns, other.number))
    }
}

/// Everything but the runtimes.
pub(super) struct State {
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) faults: Faults,
    pub(super) now_ns: u64,
    pub(super) disk: Disk,
    pub(super) names: Names,
    pub(super) net: Net,
    pub(super) callers: Vec<Inbox>,
    pub(super) process: u32,
    /// Operations of killed processes that are still under way.
    pub(super) ghosts: usize,
    /// Every operation and what came of it is printed.
    pub(super) narrated: bool,
    events: BinaryHeap<Reverse<Event>>,
    events_made: u64,
}

impl State {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            random: Random::new(seed),
            trace: Trace::new(seed),
            faults,
            now_ns: 1_000_000_000,
            disk: Disk::new(),
            names: Names::default(),
            net: Net::default(),
            callers: Vec::new(),
            process: CLIENTS,
            ghosts: 0,
            narrated: false,
            events: BinaryHeap::new(),
            events_made: 0,
        }
    }

    /// Tells what happens, where somebody wants to know.
    #[expect(clippy::print_stderr, reason = "for whoever looks for the cause of a failing seed")]
    pub(super) fn narrate(&self, what: impl FnOnce() -> String) {
        if self.narrated {
            eprintln!("{:>12} {}", self.now_ns / 1_000, what());
        }
    }

    pub(super) fn wall_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.now_ns / 1_000_000).expect("the simulated clock does not reach so far")
    }

    pub(super) fn add_caller(&mut self, process: u32, shard: ShardId) -> Caller {
        self.callers.push(Inbox { process, shard, alive: true, mail: false, arrived: Vec::new() });
        self.callers.len() - 1
    }

    pub(super) fn submit(&mut self, caller: Caller, token: Token, op: Op<SimEnv>) {
        if !self.callers[caller].alive {
            return;
        }
        self.narrate(|| format!("{caller} {token:?} begins {op:?}"));
        let wait = Wait { caller, token };
        match op {
            Op::Read { file, position, len, buf } => {
                self.at_drawn_time(caller, token, READ_NS, Work::Read { file, position, len, buf });
            }
            Op::Write { file, position, slices } => {
                self.at_drawn_time(caller, token, WRITE_NS, Work::Write { file, position, bytes: slices });
            }
            Op::Flush { file } => {
                let (upto, failed) = (self.disk.number(), self.disk.flushes_failed);
                self.at_drawn_time(caller, token, FLUSH_NS, Work::Flush { file, upto, failed });
            }
            Op::Job(job) => {
                let mut jobs = VecDeque::new();
                flatten(job, &mut jobs);
                self.at_drawn_time(caller, token, JOB_NS, Work::Jobs(jobs));
            }
            Op::Accept { listener } => {
                self.net.accept(listener.id(), wait);
                self.soon(listener.id());
            }
            Op::Recv { socket, buf } => {
                self.net.receive(socket.id(), wait, buf);
                self.soon(socket.id());
            }
            Op::Send { socket, parts } => {
                self.net.send(socket.id(), wait, parts);
                self.soon(socket.id());
            }
            Op::Writable { socket } => {
                self.net.writable(socket.id(), wait);
                self.soon(socket.id());
            }
        }
    }

    fn at_drawn_time(&mut self, caller: Caller, token: Token, usual_ns: u64, work: Work) {
        let mut after_ns = usual_ns / 4 + self.random.below(usual_ns);
        if self.random.one_in(16) {
            after_ns *= 8;
        }
        if self.random.chance(self.faults.stall_ppm) {
            after_ns += self.random.below(STALL_NS);
        }
        self.push(after_ns, caller, token, work);
    }

    fn push(&mut self, after_ns: u64, caller: Caller, token: Token, work: Work) {
        self.trace.note(work.code() << 56 ^ token.0 ^ to_bytes(caller) << 48);
        let number = self.events_made;
        self.events_made += 1;
        let at_ns = self.now_ns + after_ns;
        self.events.push(Reverse(Event { at_ns, number, caller, token, work }));
    }

    /// Something may be able to end on a socket after a while.
    pub(super) fn soon(&mut self, socket: SocketId) {
        let after_ns = 1_000 + self.random.below(NET_NS);
        self.push(after_ns, CLIENTS_CALLER, Token(to_bytes(socket)), Work::Socket(socket));
    }

    /// Takes notice of sockets whose last handle was dropped.
    pub(super) fn notice_closed(&mut self) {
        for socket in self.net.closed() {
            self.soon(self.net.peer(socket));
        }
    }

    /// When the next thing happens.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.events.peek().map(|Reverse(event)| event.at_ns)
    }

    /// Lets the next event happen if it is due.
    pub(super) fn fire(&mut self) {
        if self.next_event_ns().is_none_or(|at_ns| at_ns > self.now_ns) {
            return;
        }
        let Some(Reverse(event)) = self.events.pop() else { return };
        self.trace.note(self.now_ns);
        self.trace.note(event.work.code() << 56 ^ event.token.0);
        let (caller, token) = (event.caller, event.token);
        let done = match event.work {
            Work::Socket(socket) => return self.fire_socket(socket),
            Work::Jobs(jobs) => {
                let Some(done) = self.fire_job(caller, token, jobs) else { return };
                done
            }
            Work::Read { file, position, len, buf } => self.fire_read(&file, position, len, buf),
            Work::Write { file, position, bytes } => (self.fire_write(&file, position, bytes), Back::Nothing),
            Work::Flush { file, upto, failed } => (self.fire_flush(&file, upto, failed), Back::Nothing),
        };
        self.complete(caller, token, done.0, done.1);
    }

    fn complete(&mut self, caller: Caller, token: Token, result: io::Result<usize>, back: Back<SimEnv>) {
        self.trace.note(result.as_ref().map_or(u64::MAX, |count| to_bytes(*count)));
        self.narrate(|| format!("{caller} {token:?} ends {result:?} {back:?}"));
        let inbox = &mut self.callers[caller];
        if inbox.alive {
            inbox.arrived.push(Completion { token, result, back });
        } else {
            self.ghosts -= 1;
        }
    }

    fn fire_socket(&mut self, socket: SocketId) {
        if self.random.chance(self.faults.cut_ppm) {
            self.net.reset(socket);
            self.soon(self.net.peer(socket));
        }
        let before = self.net.fingerprint(socket);
        let mut ended: Vec<Ended> = Vec::new();
        self.net.progress(socket, &mut self.random, &mut ended);
        self.trace.note(self.net.fingerprint(socket));
        let moved = !ended.is_empty() || before != self.net.fingerprint(socket);
        for Ended { wait, result, back } in ended {
            if self.callers[wait.caller].alive {
                self.complete(wait.caller, wait.token, result, back);
            }
        }
        if moved {
            self.soon(self.net.peer(socket));
        }
    }

    fn fire_read(
        &mut self,
        file: &SimFile,
        position: u64,
        len: usize,
        mut buf: AppendBuf,
    ) -> (io::Result<usize>, Back<SimEnv>) {
        if self.random.chance(self.faults.read_error_ppm) {
            return (Err(eio()), Back::Buf(buf));
        }
        if file.direct() && !(aligned(position) && aligned(to_bytes(len)) && aligned(to_bytes(buf.spare_ptr().addr())))
        {
            return (Err(io::ErrorKind::InvalidInput.into()), Back::Buf(buf));
        }
        let Some(bytes) = self.disk.read(file.inode(), position, len) else { return (Err(eio()), Back::Buf(buf)) };
        buf.append(bytes);
        (Ok(bytes.len()), Back::Buf(buf))
    }

    fn fire_write(&mut self, file: &SimFile, position: u64, bytes: Vec<Slice>) -> io::Result<usize> {
        let len: usize = bytes.iter().map(|slice| slice.len()).sum();
        if !file.writable() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let misaligned = |slice: &Slice| !(aligned(to_bytes(slice.len())) && aligned(to_bytes(slice.as_ptr().addr())));
        if file.direct() && (!aligned(position) || bytes.iter().any(misaligned)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let full = self.random.chance(self.faults.write_full_ppm);
        if full || self.random.chance(self.faults.write_error_ppm) {
            let landed = to_index(self.random.below(to_bytes(len) / SECTOR_BYTES + 1) * SECTOR_BYTES);
            self.disk.write(file.inode(), file.direct(), position, head(bytes, landed), self.wall_ms())?;
            return Err(if full { super::disk::no_space() } else { eio() });
        }
        self.disk.write(file.inode(), file.direct(), position, bytes, self.wall_ms())?;
        Ok(len)
    }

    fn fire_flush(&mut self, file: &SimFile, upto: u64, failed: u64) -> io::Result<usize> {
        if failed != self.disk.flushes_failed {
            return Err(eio());
        }
        if self.random.chance(self.faults.flush_error_ppm) {
            self.disk.flush_failed(file.inode(), &mut self.random);
            return Err(eio());
        }
        self.disk.flush(file.inode(), upto);
        Ok(0)
    }

    /// Does the first of `jobs`. `None`: more are left, and will happen later.
    fn fire_job(
        &mut self,
        caller: Caller,
        token: Token,
        mut jobs: VecDeque<Job<SimEnv>>,
    ) -> Option<(io::Result<usize>, Back<SimEnv>)> {
        let job = jobs.pop_front()?;
        if self.random.chance(self.faults.job_error_ppm) {
            let error = if self.random.one_in(2) { eio() } else { super::disk::no_space() };
            return Some((Err(error), Back::Nothing));
        }
        match self.run_job(job) {
            Ok(output) if jobs.is_empty() => Some((Ok(0), Back::Output(output))),
            Ok(_) => {
                self.at_drawn_time(caller, token, JOB_NS, Work::Jobs(jobs));
                None
            }
            Err(error) => Some((Err(error), Back::Nothing)),
        }
    }

    /// The process is killed: what it has under way in the kernel goes on without it.
    pub(super) fn kill(&mut self) {
        self.narrate(|| "kill".to_owned());
        for event in self.end_process() {
            match event.work {
                // Not handed to the kernel yet, now and then.
                Work::Write { .. } if self.random.one_in(8) => {}
                Work::Write { file, position, bytes } => {
                    let len: usize = bytes.iter().map(|slice| slice.len()).sum();
                    // A worker in the middle of a long write stops there.
                    let stop = self.random.one_in(8);
                    let landed = if stop {
                        self.random.below(to_bytes(len) / SECTOR_BYTES + 1) * SECTOR_BYTES
                    } else {
                        to_bytes(len)
                    };
                    let bytes = head(bytes, to_index(landed));
                    let after_ns = self.random.below(GHOST_NS);
                    self.ghosts += 1;
                    self.push(after_ns, event.caller, event.token, Work::Write { file, position, bytes });
                }
                Work::Flush { file, upto, failed } => {
                    self.ghosts += 1;
                    let after_ns = self.random.below(GHOST_NS);
                    self.push(after_ns, event.caller, event.token, Work::Flush { file, upto, failed });
                }
                Work::Jobs(jobs) => self.interrupt(jobs),
                Work::Read { .. } | Work::Socket(_) => {}
            }
        }
    }

    /// The power goes.
    pub(super) fn crash(&mut self) {
        self.narrate(|| "power failure".to_owned());
        let mut torn = Vec::new();
        let mut under_way = self.end_process();
        under_way.extend(self.take_events(|state, event| !state.callers[event.caller].alive));
        self.ghosts = 0;
        for event in under_way {
            match event.work {
                Work::Write { file, position, bytes } => {
                    torn.push(Torn { inode: file.inode(), direct: file.direct(), position, bytes });
                }
                Work::Flush { file, upto, failed } => {
                    if failed == self.disk.flushes_failed && self.random.one_in(2) {
                        self.disk.flush(file.inode(), upto);
                    }
                }
                Work::Jobs(jobs) => self.interrupt(jobs),
                Work::Read { .. } | Work::Socket(_) => {}
            }
        }
        let linked = self.names.crash(&mut self.random);
        self.disk.crash(torn, &linked, self.faults.unreadable_ppm, &mut self.random);
    }

    /// A job whose thread ends: its step was done or not; a preparation may be done in part.
    fn interrupt(&mut self, mut jobs: VecDeque<Job<SimEnv>>) {
        match jobs.pop_front() {
            Some(Job::PrepareRange(file, range, _)) => {
                let len = self.random.below(range.end.saturating_sub(range.start) / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let zeros = Slice::from(bytes::Bytes::from(vec![0_u8; to_index(len)]));
                // Without room it did nothing.
                let _ = self.disk.write(file.inode(), false, range.start, vec![zeros], self.wall_ms());
            }
            Some(Job::Open(path, how)) if self.random.one_in(2) => {
                // Made perhaps, but its directory is not flushed.
                let _ = self.open(&path, how);
            }
            Some(Job::Compute(_)) | None => {}
            Some(job) => {
                if self.random.one_in(2) {
                    // Whether it would have failed is of no interest to anybody any more.
                    let _ = self.run_job(job);
                }
            }
        }
    }

    /// Marks the process dead and takes what it had under way.
    fn end_process(&mut self) -> Vec<Event> {
        let process = self.process;
        if process == CLIENTS {
            return Vec::new();
        }
        let taken = self.take_events(|state, event| {
            let caller = &state.callers[event.caller];
            caller.alive && caller.process == process && !matches!(event.work, Work::Socket(_))
        });
        for caller in &mut self.callers {
            if caller.process == process {
                caller.alive = false;
                caller.mail = false;
                caller.arrived.clear();
            }
        }
        self.net.end_process(process);
        for socket in self.net.of_other_processes(process) {
            self.soon(socket);
        }
        taken
    }

    /// Takes the events that `which` picks, in the order in which they would have happened.
    fn take_events(&mut self, which: impl Fn(&Self, &Event) -> bool) -> Vec<Event> {
        let events = std::mem::take(&mut self.events).into_vec();
        let (mut taken, kept): (Vec<_>, Vec<_>) = events.into_iter().partition(|Reverse(event)| which(self, event));
        self.events = BinaryHeap::from(kept);
        taken.sort_unstable_by(|left, right| right.cmp(left));
        taken.into_iter().map(|Reverse(event)| event).collect()
    }

    /// The inode that a path leads to, for tests.
    pub(super) fn inode(&self, path: &str) -> Option<InodeId> {
        self.names.file(path).ok()
    }
}

/// A sequence's jobs one by one.
fn flatten(job: Job<SimEnv>, into: &mut VecDeque<Job<SimEnv>>) {
    match job {
        Job::Sequence(jobs) => jobs.into_iter().for_each(|job| flatten(job, into)),
        job => into.push_back(job),
    }
}

/// The first `len` bytes.
fn head(mut bytes: Vec<Slice>, len: usize) -> Vec<Slice> {
    let mut left = len;
    for slice in &mut bytes {
        let here = slice.len().min(left);
        *slice = slice.slice(0..here);
        left -= here;
    }
    bytes.retain(|slice| !slice.is_empty());
    bytes
}

fn aligned(number: u64) -> bool {
    number.is_multiple_of(SECTOR_BYTES)
}

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

/// errno(3): an I/O error.
const EIO: i32 = 5;
/// The caller of events that belong to no shard: the runtime of the clients, which is made first.
const CLIENTS_CALLER: Caller = 0;
/// Where wall clocks start.
const EPOCH_MS: i64 = 1_760_000_000_000;
const READ_NS: u64 = 100_000;
const WRITE_NS: u64 = 100_000;
const FLUSH_NS: u64 = 1_000_000;
const JOB_NS: u64 = 1_000_000;
const NET_NS: u64 = 100_000;
const STALL_NS: u64 = 20_000_000_000;
const GHOST_NS: u64 = 3_000_000_000;
