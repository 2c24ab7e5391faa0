//! One io_uring: its setup, its submission queue, and the one call that submits and waits.
//!
//! Made on the thread that uses it and never moved: with SINGLE_ISSUER the kernel refuses every other thread. Called by
//! [`super::kernel`] alone, which owns what the entries point to.
//!
//! Setup flags are a ladder tried in order, never decided by kernel version (design, section 2.1): distributions carry
//! features back, and sandboxes take them away.
//!
//! **Invariant.** Everything an entry points to stays where it is until the entry's last completion: upheld by
//! `operations`, which keeps it in the operation's slot.
#![expect(unsafe_code, reason = "the io_uring system calls take raw pointers")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{IoUring, cqueue, squeue};

use super::lock::Lock;
use super::probe::{Facts, Rung};

/// The ring of one shard.
pub(super) struct Ring {
    ring: IoUring,
    rung: Rung,
    no_iowait: bool,
    /// What `io_uring_enter` names the ring by: its registered index, else its descriptor.
    enter_fd: RawFd,
    enter_flags: u32,
}

/// How long an enter may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not at all.
    No,
    /// Until a completion arrives.
    Forever,
    /// Until a completion arrives or so many nanoseconds have passed.
    AtMostNs(u64),
}

impl Ring {
    /// A ring on the highest rung of the ladder that the kernel takes, not above `top`.
    pub(super) fn new(entries: u32, top: Rung) -> io::Result<Self> {
        let mut last = io::Error::from_raw_os_error(libc::EINVAL);
        for rung in [Rung::Defer, Rung::Coop, Rung::Plain].into_iter().skip_while(|rung| *rung != top) {
            let mut builder = IoUring::builder();
            builder.setup_cqsize(entries * 4).setup_clamp().dontfork();
            match rung {
                Rung::Defer => {
                    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all()
                }
                Rung::Coop => builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all(),
                Rung::Plain => &mut builder,
            };
            match builder.build(entries) {
                Ok(ring) => return Self::over(ring, rung),
                // EINVAL is what a kernel says to a flag that it does not know; anything else the next rung would meet too.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn over(ring: IoUring, rung: Rung) -> io::Result<Self> {
        let params = ring.params();
        if !params.is_feature_ext_arg() || !params.is_feature_nodrop() || !params.is_feature_fast_poll() {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let no_iowait = params.is_feature_no_iowait();
        let (fd, flags) = (ring.as_raw_fd(), if no_iowait { ENTER_NO_IOWAIT } else { 0 });
        let mut ring = Self { ring, rung, no_iowait, enter_fd: fd, enter_flags: flags };
        ring.register_own_fd();
        Ok(ring)
    }

    /// What is known of the ring so far.
    pub(super) fn facts(&self) -> Facts {
        Facts { rung: self.rung, provided_buffers: false, no_iowait: self.no_iowait }
    }

    /// The calls that register things with the ring.
    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Registers the locks' descriptors, so that the kernel holds the locks until the ring has ended, and with it its last
    /// operation: also where this process is killed.
    pub(super) fn hold(&self, locks: &[Lock]) -> io::Result<()> {
        let locks: Vec<RawFd> = locks.iter().map(AsRawFd::as_raw_fd).collect();
        if locks.is_empty() { Ok(()) } else { self.submitter().register_files(&locks) }
    }

    /// Caps the workers that do what cannot be done inline, and keeps them on the shard's own core.
    pub(super) fn limit_workers(&self, count: u32, core: Option<usize>) {
        // Both only save work; a kernel without them (before 5.15) runs the same operations.
        let _ = self.submitter().register_iowq_max_workers(&mut [count, count]);
        if let Some(core) = core {
            // SAFETY: an all-zero cpu_set_t is the empty set.
            let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: the set is ours; a number beyond it is ignored.
            unsafe { libc::CPU_SET(core, &mut set) };
            let _ = self.submitter().register_iowq_aff(&set);
        }
    }

    /// Puts an entry into the submission queue; `false` where the queue is full: enter, then try again.
    ///
    /// # Safety
    /// What the entry points to must stay valid and in place until its last completion has been seen.
    #[must_use]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: passed on to our caller.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Submits everything and waits for a completion as `wait` says. Answers whether the kernel was entered at all: where
    /// there is nothing to submit, nothing to wait for and no completion held back, it is not.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<bool> {
        let (count, held_back) = {
            let queue = self.ring.submission();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        // On the lowest rung completions arrive by themselves; on the others the kernel shows that it has some.
        if count == 0 && wait == Wait::No && !held_back {
            return Ok(false);
        }
        let count = u32::try_from(count).expect("the queue's size fits");
        let entered = match wait {
            Wait::No => self.enter_with(count, 0, None),
            Wait::Forever => self.enter_with(count, 1, None),
            Wait::AtMostNs(ns) => self.enter_with(count, 1, Some(&Timespec::of(ns))),
        };
        match entered {
            Ok(()) => Ok(true),
            // ETIME: the wait is over. EINTR: a signal. EBUSY, EAGAIN: completions must be taken first; the caller does next.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) =>
            {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// The next completion that has arrived.
    pub(super) fn next(&mut self) -> Option<Cqe> {
        let entry = self.ring.completion().next()?;
        Some(Cqe { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() })
    }

    fn enter_with(&self, count: u32, want: u32, timeout: Option<&Timespec>) -> io::Result<()> {
        let argument = timeout.map(|timeout| GetEvents {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_us: 0,
            timeout: std::ptr::from_ref(timeout) as u64,
        });
        let (pointer, size, flag) = match &argument {
            Some(argument) => (std::ptr::from_ref(argument), size_of::<GetEvents>(), ENTER_EXT_ARG),
            None => (std::ptr::null(), 0, 0),
        };
        let waiting = if want > 0 { self.enter_flags } else { self.enter_flags & !ENTER_NO_IOWAIT };
        let flags = ENTER_GETEVENTS | waiting | flag;
        // SAFETY: the descriptor is our ring; the argument and its timeout outlive the call; the entries that it submits
        // were pushed under `push`'s contract.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, self.enter_fd, count, want, flags, pointer, size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Registers the ring's own descriptor, which saves its look-up in every enter (5.18). Without it nothing is lost.
    fn register_own_fd(&mut self) {
        let fd = u64::try_from(self.ring.as_raw_fd()).expect("a descriptor is not negative");
        let mut update = RingFd { offset: u32::MAX, reserved: 0, data: fd };
        if self.register_ring_fd(REGISTER_RING_FDS, &mut update)
            && let Ok(index) = RawFd::try_from(update.offset)
        {
            self.enter_fd = index;
            self.enter_flags |= ENTER_REGISTERED_RING;
        }
    }

    fn register_ring_fd(&self, opcode: u32, update: &mut RingFd) -> bool {
        let (fd, pointer) = (self.ring.as_raw_fd(), std::ptr::from_mut(update));
        // SAFETY: the argument is one `io_uring_rsrc_update` that outlives the call.
        unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, pointer, 1_u32) == 1 }
    }
}

impl Drop for Ring {
    /// The thread's table of registered rings would keep the ring, and the locks in it, until the thread ends.
    fn drop(&mut self) {
        if self.enter_flags & ENTER_REGISTERED_RING != 0 {
            let index = u32::try_from(self.enter_fd).expect("an index is not negative");
            self.register_ring_fd(UNREGISTER_RING_FDS, &mut RingFd { offset: index, reserved: 0, data: 0 });
        }
    }
}

/// A completion queue entry, taken out of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cqe {
    /// What the submission named itself.
    pub(super) user_data: u64,
    result: i32,
    flags: u32,
}

impl Cqe {
    /// The result as a count, or the error.
    pub(super) fn result(self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_negative| io::Error::from_raw_os_error(-self.result))
    }

    /// The result as it is.
    pub(super) fn raw(self) -> i32 {
        self.result
    }

    /// Whether more completions of the same entry follow.
    pub(super) fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that was used.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether the socket had more bytes than were received.
    pub(super) fn socket_nonempty(self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl Timespec {
    fn of(ns: u64) -> Self {
        let seconds = i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX);
        let nanoseconds = i64::try_from(ns % 1_000_000_000).expect("less than a second");
        Self { seconds, nanoseconds }
    }
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEvents {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingFd {
    offset: u32,
    reserved: u32,
    data: u64,
}

const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const ENTER_NO_IOWAIT: u32 = 1 << 7;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
