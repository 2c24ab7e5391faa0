//! The one place where record bytes are copied: from a receive buffer into a segment buffer, checksummed on the way.
//!
//! Called by `storage/` once per appended batch. A copy lands *behind* the appended end of the target and becomes
//! visible only when the caller publishes it, so a batch whose checksum turns out wrong was never there. The counter
//! proves the claim that the node copies each record byte once: the node logs it, and `tests/it/copies.rs` compares it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::buf::AppendBuf;

/// Copies `bytes` to `ahead` bytes behind the appended end of `into` and goes on with the CRC-32C `crc` over them.
/// Nothing is appended yet: see [`AppendBuf::publish`]. Panics where they do not fit.
#[must_use]
pub fn stage_records(into: &mut AppendBuf, ahead: usize, bytes: &[u8], crc: u32) -> u32 {
    COPIED_BYTES.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    stage(into, ahead, bytes, crc)
}

/// As [`stage_records`], of bytes that are stored already and are noted once more in a log's journal: less than a block
/// of each log and window. They have a counter of their own.
#[must_use]
pub fn stage_journal(into: &mut AppendBuf, ahead: usize, bytes: &[u8], crc: u32) -> u32 {
    JOURNALED_BYTES.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    stage(into, ahead, bytes, crc)
}

fn stage(into: &mut AppendBuf, ahead: usize, bytes: &[u8], crc: u32) -> u32 {
    let target = &mut into.spare_mut()[ahead..ahead + bytes.len()];
    let mut crc = crc;
    // Piece by piece, so that the copy finds in the first-level cache what the checksum has just read.
    for (from, to) in bytes.chunks(PIECE_BYTES).zip(target.chunks_mut(PIECE_BYTES)) {
        crc = crc32c::crc32c_append(crc, from);
        to.copy_from_slice(from);
    }
    crc
}

/// Record bytes that this process has copied so far.
#[must_use]
pub fn copied_bytes() -> u64 {
    COPIED_BYTES.load(Ordering::Relaxed)
}

/// Bytes of block tails that this process has copied into journals so far.
#[must_use]
pub fn journaled_bytes() -> u64 {
    JOURNALED_BYTES.load(Ordering::Relaxed)
}

static COPIED_BYTES: AtomicU64 = AtomicU64::new(0);
static JOURNALED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Half of a usual first-level data cache, for source and target together.
const PIECE_BYTES: usize = 8 << 10;
