//! Where the bytes of a read are.

use std::future::Future;
use std::pin::Pin;

use super::error::Error;
use super::segment::SegmentRef;
use crate::io::{Env, Slice};

/// Where bytes are: in memory, or in a file.
pub enum Part<E: Env> {
    /// In memory.
    Bytes(Slice),
    /// In a file opened without O_DIRECT, none of whose bytes there is ever written again.
    File {
        /// The file.
        file: E::File,
        /// Where in the file.
        position: u64,
        /// How many bytes.
        len: usize,
        /// Keeps the file from being recycled.
        keep: SegmentRef,
    },
}

/// Whole batches, decided in one go.
pub enum ReadPlan<E: Env> {
    /// The parts are at hand.
    Ready(Vec<Part<E>>),
    /// They must be read first.
    NeedsIo(Pin<Box<dyn Future<Output = Result<Vec<Part<E>>, Error>>>>),
}
