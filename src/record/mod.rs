//! Record batch v2 as a checked view over bytes: what the node knows of the bytes that it stores.
//!
//! `protocol/` cuts [`Records`] out of a Produce frame; `partition/` has them [`check()`]ed; `storage/` stamps the
//! header ([`crc::stamp`]), copies them once and later walks whole batches with [`Batches`]. Only three callers look
//! *inside* a batch, all off the hot path: offset-by-time, `log dump`, and the metadata log. Everything here is pure:
//! no I/O, no clock.
//!
//! ```text
//!   0            8            12                 16      17    21           23                27
//!   | baseOffset | batchLength | partLeaderEpoch | magic | crc | attributes | lastOffsetDelta |
//!   27              35             43           51              53             57            61
//!   | baseTimestamp | maxTimestamp | producerId | producerEpoch | baseSequence | recordCount | records ...
//!                    batchLength counts from byte 12; crc is the CRC-32C of bytes 21 to the end
//! ```
//!
//! **Invariants.** 1. No function panics on bytes from the network or from a disk. 2. The bytes of records are never
//! copied or changed here: a batch in several chunks is read across the chunk edges (a codec's output and a test's
//! own batches are new bytes). 3. The result never depends on where the chunk edges are.
#![deny(clippy::indexing_slicing)]

pub mod batch;
pub mod batches;
pub mod build;
mod check;
mod chunks;
mod codec;
pub mod crc;
mod decode;
mod error;
mod search;
pub mod varint;

#[cfg(test)]
mod tests;

pub use batch::{BatchHeader, Compression, HEADER_BYTES, TimestampType};
pub use batches::{Batch, Batches};
pub use check::{CheckRules, check};
pub use chunks::Records;
pub use codec::{DECOMPRESSED_BYTES_MAX, compress};
pub use decode::{DecodedBatch, Record, RecordHeaders, decode};
pub use error::RecordError;
pub use search::{find_by_time, find_max_timestamp};
