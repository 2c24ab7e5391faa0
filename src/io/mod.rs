//! The kernel, behind one parameter: everything above is generic over [`Env`].
//!
//! An `Env` takes an operation that owns its buffers, under a token, and later reports the token with the result and
//! the buffers. Production has one (`ring`: one io_uring per shard, driven by `pump`); tests have a seeded one
//! ([`sim`]). [`Runtime`] lays futures over tokens; the layers above see only it. Nothing above this folder names a
//! system call, a thread or a clock, and nothing outside it is `unsafe`.
//!
//! ```text
//!      storage, partition, server ...      async code, one thread per shard
//!                 |
//!            Runtime<E>                    tokens <-> futures, timers, a local executor
//!                 |  submit(token, Op)          ^ poll(completions)
//!                 v                             |
//!        E: Env = ring + housekeeping   or   sim
//! ```
//!
//! **Ownership.** A buffer moves *into* an [`Op`] and comes back in its [`Completion`]; no borrowed buffer crosses a
//! submission. **Cancellation.** Dropping the future of an operation does not cancel it: its slot is orphaned, the
//! kernel keeps the buffers until the completion, and only then are they freed. **Order.** Two operations may complete
//! in any order; who needs an order waits.

pub mod buf;
pub mod copy;
pub mod device;
mod device_flush;
mod executor;
pub mod files;
pub mod floor;
mod housekeeping;
pub mod http;
mod jobs;
pub mod kernel;
mod listeners;
pub mod local;
pub mod lock;
pub mod machine;
pub mod mailbox;
mod mount;
mod operations;
pub mod probe;
pub mod process_clock;
pub mod pump;
mod receive;
mod residency;
mod ring;
pub mod runtime;
mod seat;
pub mod sim;
pub mod socket;
pub mod stats;
pub mod tally;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use buf::{AppendBuf, Pool, Slice};
pub use kernel::Kernel;
pub use runtime::{Runtime, Task};

use crate::types::ShardId;

/// What a shard asks of the world. One value per shard; not shared between threads.
///
/// The `try_` and `resident` calls are plain system calls that never sleep on a disk or a peer.
pub trait Env: Sized + 'static {
    /// An open file. Cloning counts; the last clone closes. May be sent to another shard, which may send from it.
    type File: Clone + Send + Sync + fmt::Debug + 'static;
    /// A socket. Cloning counts; the last clone closes.
    type Socket: Clone + Send + Sync + fmt::Debug + 'static;

    /// Starts `op`. Its completion is reported by [`Env::poll`] under `token`, exactly once, never from within this call.
    fn submit(&self, token: Token, op: Op<Self>);
    /// Moves the completions that have arrived to the end of `completions`. Never waits.
    fn poll(&self, completions: &mut Vec<Completion<Self>>);

    /// Monotonic time in nanoseconds since some fixed moment.
    fn now_ns(&self) -> u64;
    /// Wall-clock time in milliseconds since 1970, as Kafka's timestamps count it.
    fn wall_ms(&self) -> i64;
    /// 64 random bits.
    fn random(&self) -> u64;

    /// Sends as much as the socket takes at once (`sendmsg(2)`, MSG_DONTWAIT | MSG_NOSIGNAL). `WouldBlock` when it takes nothing.
    fn try_send(&self, socket: &Self::Socket, parts: &[&[u8]]) -> io::Result<usize>;
    /// Sends file bytes with `sendfile(2)` without waiting for the socket. The range must be resident, see
    /// [`Env::resident`]. `WouldBlock` when the socket takes nothing.
    fn try_sendfile(&self, socket: &Self::Socket, file: &Self::File, position: u64, len: usize) -> io::Result<usize>;
    /// How many of the `len` bytes at `position` are in the page cache, as far as can be told without I/O
    /// (`cachestat(2)`, else `preadv2(RWF_NOWAIT)`); all or nothing is an allowed answer.
    fn resident(&self, file: &Self::File, position: u64, len: usize) -> usize;
    /// The address of a socket's peer, as long as it is connected.
    fn peer(&self, socket: &Self::Socket) -> Option<SocketAddr>;
    /// Shuts both directions of a socket down, so that operations under way on it end.
    fn shutdown(&self, socket: &Self::Socket);
    /// Makes another shard's pump leave its sleep, after something was put into its mailbox (see [`mailbox`]).
    fn wake(&self, shard: ShardId);
    /// Whether [`Env::wake`] was called for this shard since the last time this was asked. [`Runtime::turn`] asks, and
    /// notifies [`Runtime::mail`].
    fn take_wake(&self) -> bool;
}

/// Names an operation under way. Given out by [`Runtime`]; an `Env` only hands it back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Token(pub u64);

/// An operation that owns what it needs until it completes.
#[derive(Debug)]
pub enum Op<E: Env> {
    /// Reads up to `len` bytes at `position` and appends them to `buf`. Fewer only at the end of the file. On a file
    /// opened `direct`, position, len and the buffer's end must be aligned to the file's block.
    Read {
        /// The file.
        file: E::File,
        /// Where in the file, in bytes.
        position: u64,
        /// Bytes wanted.
        len: usize,
        /// Where they go; comes back in [`Back::Buf`].
        buf: AppendBuf,
    },
    /// Writes all of `slices` at `position`; a short write is continued inside, so the result is everything or an error.
    Write {
        /// The file.
        file: E::File,
        /// Where in the file, in bytes.
        position: u64,
        /// What; held until the completion.
        slices: Vec<Slice>,
    },
    /// Makes every write that completed on the file before this began durable (`fdatasync(2)`).
    Flush {
        /// The file.
        file: E::File,
    },
    /// Waits for the next connection; comes back in [`Back::Socket`]. Multishot underneath where the kernel has it.
    Accept {
        /// A listening socket.
        listener: E::Socket,
    },
    /// Waits for bytes. With `buf`, appends to it; without, takes a buffer of the receive pool only once bytes are
    /// there, so that an idle connection owns none. Comes back in [`Back::Buf`]; result 0 is the end of the stream.
    /// Without `buf`, an end or an error comes back with [`Back::Nothing`]. `OutOfMemory`: the receive pool is empty for
    /// now; no byte is lost.
    Recv {
        /// The socket.
        socket: E::Socket,
        /// Where to go on.
        buf: Option<AppendBuf>,
    },
    /// Sends all of `parts`, waiting for the peer as long as it takes.
    Send {
        /// The socket.
        socket: E::Socket,
        /// What; held until the completion.
        parts: Vec<Slice>,
    },
    /// Waits until the socket takes bytes again, or is broken.
    Writable {
        /// The socket.
        socket: E::Socket,
    },
    /// Whatever may block, done by housekeeping.
    Job(Job<E>),
}

/// How to open a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenHow {
    /// Open for writing too.
    pub write: bool,
    /// Create it where it is missing, its name durable when the job completes.
    pub create: bool,
    /// Past the page cache (O_DIRECT): reads and writes in whole blocks of aligned memory.
    pub direct: bool,
}

/// How a piece of a file is made ready for overwrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Zeros are written, so that the extents are written ones: needed for one flush per device.
    Zeros,
    /// `fallocate(2)` only: unwritten extents; every window must then flush the file.
    Allocate,
}

/// Work that may block: done by housekeeping, reported like any other operation.
pub enum Job<E: Env> {
    /// Opens a file: [`Output::File`]. Where it makes the file, the name is durable in its directory.
    Open(PathBuf, OpenHow),
    /// Creates a directory and its parents, each durable in its parent.
    CreateDir(PathBuf),
    /// Lists a directory: [`Output::Entries`], sorted by name.
    List(PathBuf),
    /// What a path is: [`Output::Stat`].
    Stat(PathBuf),
    /// Reads a whole file of at most so many bytes: [`Output::Bytes`].
    ReadFile(PathBuf, usize),
    /// Replaces a file's contents: a temporary file, flushed, renamed, directory flushed. Old or new after a crash.
    WriteFile(PathBuf, Vec<u8>),
    /// Makes a directory in one that is there, or finds it there. Nothing is flushed, as in [`Job::WriteEnd`].
    CreateDirLater(PathBuf),
    /// Writes bytes at a position through the page cache and ends the file behind them, making it where it is missing.
    /// Nothing is flushed: after a crash any of it may be there, until [`Job::FlushFileSystem`] has completed.
    WriteEnd(PathBuf, u64, Vec<Slice>),
    /// Makes durable whatever was done before to the file system of a directory (`syncfs(2)`): dear, and the cheapest there is
    /// for thousands of files.
    FlushFileSystem(PathBuf),
    /// Renames and flushes both directories. Durable when it completes.
    Rename(PathBuf, PathBuf),
    /// Removes a file, or a directory with all that is in it, and flushes the parent directory.
    Remove(PathBuf),
    /// Sets a file's length and flushes it.
    Truncate(E::File, u64),
    /// Sets a file's length. Nothing is flushed, as in [`Job::WriteEnd`].
    TruncateLater(E::File, u64),
    /// Extends the file to `to` where it is shorter and makes `from..to` ready for overwrites, flushed.
    PrepareRange(E::File, std::ops::Range<u64>, Prepare),
    /// What FIEMAP says of a range (ioctl_fiemap(2)): [`Output::Extents`].
    Extents(E::File, std::ops::Range<u64>),
    /// Brings a range of a buffered file into the page cache (`readahead(2)`).
    ReadAhead(E::File, std::ops::Range<u64>),
    /// Bytes that the file system of a directory has left for us: [`Output::Number`].
    FreeBytes(PathBuf),
    /// Bytes of the file system of a directory: [`Output::Number`].
    TotalBytes(PathBuf),
    /// Pure computation that is too long for a shard: [`Output::Any`].
    Compute(Compute),
    /// Several jobs one after another, ended by the first that fails; answers the last one's output. Zeros for a file that is
    /// opened for direct writes are not among them.
    Sequence(Vec<Job<E>>),
}

/// A computation to run away from the shards.
pub type Compute = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

impl<E: Env> fmt::Debug for Job<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path, how) => write!(f, "Open({}, {how:?})", path.display()),
            Self::CreateDir(path) => write!(f, "CreateDir({})", path.display()),
            Self::List(path) => write!(f, "List({})", path.display()),
            Self::Stat(path) => write!(f, "Stat({})", path.display()),
            Self::ReadFile(path, max) => write!(f, "ReadFile({}, {max})", path.display()),
            Self::WriteFile(path, bytes) => write!(f, "WriteFile({}, {} bytes)", path.display(), bytes.len()),
            Self::CreateDirLater(path) => write!(f, "CreateDirLater({})", path.display()),
            Self::WriteEnd(path, position, _) => write!(f, "WriteEnd({}, {position})", path.display()),
            Self::FlushFileSystem(dir) => write!(f, "FlushFileSystem({})", dir.display()),
            Self::Rename(from, to) => write!(f, "Rename({}, {})", from.display(), to.display()),
            Self::Remove(path) => write!(f, "Remove({})", path.display()),
            Self::Truncate(file, len) => write!(f, "Truncate({file:?}, {len})"),
            Self::TruncateLater(file, len) => write!(f, "TruncateLater({file:?}, {len})"),
            Self::PrepareRange(file, range, how) => write!(f, "PrepareRange({file:?}, {range:?}, {how:?})"),
            Self::Extents(file, range) => write!(f, "Extents({file:?}, {range:?})"),
            Self::ReadAhead(file, range) => write!(f, "ReadAhead({file:?}, {range:?})"),
            Self::FreeBytes(path) => write!(f, "FreeBytes({})", path.display()),
            Self::TotalBytes(path) => write!(f, "TotalBytes({})", path.display()),
            Self::Compute(_) => f.write_str("Compute"),
            Self::Sequence(jobs) => f.debug_list().entries(jobs).finish(),
        }
    }
}

/// What a job answers beside its success.
pub enum Output<E: Env> {
    /// Nothing.
    None,
    /// A file.
    File(E::File),
    /// A directory's entries.
    Entries(Vec<Entry>),
    /// What a path is.
    Stat(Stat),
    /// A file's bytes.
    Bytes(Vec<u8>),
    /// A number.
    Number(u64),
    /// A range's extents.
    Extents(Extents),
    /// A computation's answer.
    Any(Box<dyn Any + Send>),
}

impl<E: Env> fmt::Debug for Output<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::File(file) => return write!(f, "File({file:?})"),
            Self::Entries(_) => "Entries",
            Self::Stat(_) => "Stat",
            Self::Bytes(_) => "Bytes",
            Self::Number(_) => "Number",
            Self::Extents(_) => "Extents",
            Self::Any(_) => "Any",
        })
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its directory. Names that are not UTF-8 are shown lossily; nothing of ours is named so.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes of a file.
    pub len: u64,
}

/// What the kernel says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes.
    pub len: u64,
    /// Last modification, milliseconds since 1970.
    pub modified_ms: i64,
}

/// What FIEMAP shows of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Every byte of the range lies in an extent.
    pub mapped: bool,
    /// Some extent is UNWRITTEN: its first write changes metadata.
    pub unwritten: bool,
    /// Some extent is SHARED (reflinked): its first write allocates.
    pub shared: bool,
    /// Some extent is DELALLOC: not on the device yet.
    pub delayed: bool,
}

impl Extents {
    /// Whether an overwrite of the range needs no metadata to be durable (design: "one flush per device").
    #[must_use]
    pub fn overwrite_only(self) -> bool {
        self.mapped && !self.unwritten && !self.shared && !self.delayed
    }
}

/// What came of an operation.
#[derive(Debug)]
pub struct Completion<E: Env> {
    /// The operation's token.
    pub token: Token,
    /// Bytes moved, or 0 where nothing moves.
    pub result: io::Result<usize>,
    /// What comes back to its owner.
    pub back: Back<E>,
}

/// What comes back with a completion.
#[derive(Debug)]
pub enum Back<E: Env> {
    /// Nothing.
    Nothing,
    /// The buffer of a read or receive, longer by the result.
    Buf(AppendBuf),
    /// An accepted socket.
    Socket(E::Socket),
    /// A job's answer.
    Output(Output<E>),
}

#[cfg(test)]
mod tests;
