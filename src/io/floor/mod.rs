//! The floor: what this machine does with the same bytes where there is no broker.
//!
//! A server on one thread and one bare ring, beside the node and not beneath it: none of `Env`, the pump, futures or the
//! housekeeping thread, nothing of a log. It answers as a broker would, so that the same load drives both and a figure of the
//! node can be said as a share of what the machine allows. Run by `ringmain bench floor-server`, in a process of its own on
//! the node's core; `bench::floor` starts it, drives it and reports.
//!
//! # Stages
//!
//! Each one is the one before, and one thing more:
//!
//! | stage | takes | does | does not |
//! |---|---|---|---|
//! | `receive` | Produce v7 | receives whole frames, finds the batch, answers | look into the batch |
//! | `checksum` | | + CRC-32C of the batch, against what it says | look at records |
//! | `copy` | | + one copy into aligned memory, fused with the checksum (`io::copy`, as the node does) | keep it for readers, index it, set offsets |
//! | `write` | | + O_DIRECT overwrites of prepared and recycled segments, up to three windows under way | flush; a crash of the machine loses answered bytes |
//! | `flush` | | + a flush for each window, the answer after it: durable | a journal: a window ends on a block, the rest of which is zeros |
//!
//! and for the way back, and both:
//!
//! | stage | takes | does | does not |
//! |---|---|---|---|
//! | `sendfile` | Fetch v11 | sends whole batches from a file in the page cache by `sendfile(2)` | look whether they are resident |
//! | `memory` | Fetch v11 | sends the same batches from memory through the ring | |
//! | `echo` | any frame | sends it back as it came | look into it |
//!
//! # What makes it a floor, and what does not
//!
//! Windows are formed as in the node: at the end of each turn, of all that has arrived, while fewer than three are under
//! way; there is no timer. All partitions go into one stream of bytes in one file after another, which the node cannot do.
//! Nothing is remembered but the next position, so there are no offsets in the answers and nothing to read back; no
//! recovery is possible from these files.
//!
//! It is the straight loop that one would write by hand, not a proof of a lower bound: no registered buffers, no
//! zero-copy send, no RWF_DSYNC. Should the node ever be faster than it, it is the floor that must be mended.
//!
//! # Limits
//!
//! 127.0.0.1 in its one use. One topic and one partition in each request, acks other than 0. A frame of at most 8 MiB, or a
//! quarter of a segment. 1024 connections. Anything else ends its connection; an error of the disk ends the server.

mod connection;
mod flights;
mod gather;
mod records;
mod segments;
mod server;
mod store;
mod windows;
mod wire;
mod work;

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::str::FromStr;

use super::probe;
use server::Server;

/// How far the server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Receives Produce requests and answers them.
    Receive,
    /// And checks their checksums.
    Checksum,
    /// And copies the batches.
    Copy,
    /// And writes them.
    Write,
    /// And flushes.
    Flush,
    /// Answers Fetch requests from a file.
    Sendfile,
    /// Answers Fetch requests from memory.
    Memory,
    /// Sends back what it gets.
    Echo,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Receive, Self::Checksum, Self::Copy, Self::Write, Self::Flush, Self::Sendfile, Self::Memory, Self::Echo];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Checksum => "checksum",
            Self::Copy => "copy",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Sendfile => "sendfile",
            Self::Memory => "memory",
            Self::Echo => "echo",
        }
    }

    /// Whether its server writes segments.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Flush)
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|stage| stage.name()).collect();
            format!("no stage {name:?}: it is one of {}", names.join(", "))
        })
    }
}

/// What the server does, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// How far it goes.
    pub stage: Stage,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its files lie; made where it is missing. They stay there, for the next server.
    pub dir: PathBuf,
    /// Segments to go round, and the length of each.
    pub segments: usize,
    /// See [`Self::segments`].
    pub segment_bytes: u64,
    /// The record batch that Fetch requests are answered with, over and over.
    pub batch: Vec<u8>,
    /// How much of it there is.
    pub fetch_bytes: u64,
}

impl Config {
    /// The usual sizes: four segments of 64 MiB, 128 MiB of batches to fetch.
    #[must_use]
    pub fn new(stage: Stage, address: SocketAddr, dir: PathBuf, batch: Vec<u8>) -> Self {
        Self { stage, address, dir, segments: 4, segment_bytes: 64 << 20, batch, fetch_bytes: 128 << 20 }
    }
}

/// What a server has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    /// Connections that were taken.
    pub connections: u64,
    /// Frames that were taken.
    pub requests: u64,
    /// Connections that were ended for what they sent.
    pub refused: u64,
    /// Windows that were written.
    pub windows: u64,
    /// Flushes of a file.
    pub flushes: u64,
    /// How often a segment was begun again.
    pub turnovers: u64,
}

/// Why there is no server, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// io_uring cannot be used here.
    #[error(transparent)]
    Blocked(#[from] probe::Blocked),
    /// The ring does not work.
    #[error("the ring: {0}")]
    Ring(#[source] io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No more connections can be taken.
    #[error("accepting connections: {0}")]
    Accept(#[source] io::Error),
    /// The directory does not take the server's files.
    #[error("cannot keep files in {}: {source}", dir.display())]
    Data {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory's file system knows no O_DIRECT.
    #[error("O_DIRECT is not supported on {kind}, where {} lies: choose a directory on a disk", dir.display())]
    NoDirect {
        /// The directory.
        dir: PathBuf,
        /// Its file system.
        kind: String,
    },
    /// The directory's file system is too full.
    #[error("{} has {free_bytes} bytes free, the floor needs {needed_bytes}", dir.display())]
    Full {
        /// The directory.
        dir: PathBuf,
        /// What is left.
        free_bytes: u64,
        /// What is needed, with a reserve.
        needed_bytes: u64,
    },
    /// What Fetch should be answered with is no record batch.
    #[error("no record batch of format 2 was given to answer Fetch requests with")]
    NoBatch,
    /// A window was not written.
    #[error("a write: {0}")]
    Write(#[source] io::Error),
    /// A window was written in part.
    #[error("a write of {wanted} bytes wrote {wrote}")]
    ShortWrite {
        /// Bytes that it wrote.
        wrote: usize,
        /// Bytes that it should have written.
        wanted: usize,
    },
    /// A flush failed.
    #[error("a flush: {0}")]
    Flush(#[source] io::Error),
}

/// Serves on this thread until one of `stops` is readable or at its end. `listening` is told where it listens, once it
/// does and all files are made.
///
/// # Errors
/// What kept it from beginning, or ended it.
pub fn serve(config: &Config, stops: &[BorrowedFd<'_>], listening: impl FnOnce(SocketAddr)) -> Result<Stats, Error> {
    let server = Server::new(config)?;
    listening(server.address().map_err(Error::Ring)?);
    server.run(stops)
}

#[cfg(test)]
mod tests;
