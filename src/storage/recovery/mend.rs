//! What can be had of a journal record whose checksum is wrong.
//!
//! A CRC tells more than that something is wrong: as it is linear, a single flipped bit changes it by a value that depends on
//! the bit's place alone. So one flipped bit is found by its place, put right, and proven right by reading the record
//! again. Anything worse is only asked which logs it names.

use crate::storage::journal::record::{DecodeError, ENTRY_BYTES, HEADER_BYTES, decode};
use crate::types::{PartitionId, TopicId};

/// Puts the one flipped bit of the record at the front of `bytes` right. False: it was not one bit under its checksum;
/// then nothing is changed.
pub(super) fn flipped_bit(bytes: &mut [u8]) -> bool {
    let Err(DecodeError::Crc { stated, computed }) = decode(bytes) else { return false };
    let Some(len) = stated_bytes(bytes) else { return false };
    let syndrome = stated ^ computed;
    if syndrome.count_ones() == 1 {
        // The checksum itself: big-endian in its four bytes.
        let bit = syndrome.trailing_zeros();
        let at = usize::try_from(3 - bit / 8).expect("a byte of four");
        bytes[CRC_AT + at] ^= 1 << (bit % 8);
        return decode(bytes).is_ok();
    }
    let table = table();
    let step = |crc: u32| (crc >> 8) ^ table[usize::try_from(crc & 0xff).expect("a byte")];
    let mut units: [u32; 8] = std::array::from_fn(|bit| step(1 << bit));
    for behind in 0..len - 4 {
        if let Some(bit) = units.iter().position(|unit| *unit == syndrome) {
            let at = covered_at(behind, len);
            bytes[at] ^= 1 << bit;
            if decode(bytes).is_ok() {
                return true;
            }
            bytes[at] ^= 1 << bit;
        }
        units = units.map(step);
    }
    false
}

/// The logs that a damaged record at the front of `bytes` still names, as far as its entries make sense; how long it says
/// it is (0 where it does not say); and whether every byte of it made sense.
pub(super) fn names(bytes: &[u8]) -> (Vec<PartitionId>, usize, bool) {
    let mut names = Vec::new();
    let Some(len) = stated_bytes(bytes) else { return (names, 0, false) };
    let mut rest = &bytes[HEADER_BYTES..len];
    while let Some((head, behind)) = rest.split_first_chunk::<ENTRY_BYTES>() {
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let tail_bytes = usize::try_from(word(52)).unwrap_or(usize::MAX);
        if word(20) > KIND_MAX || word(24) > i32::MAX.unsigned_abs() || tail_bytes > behind.len() {
            break;
        }
        let topic_id = TopicId(*head.first_chunk().expect("sixteen of an entry's bytes"));
        let partition = i32::from_be_bytes([head[16], head[17], head[18], head[19]]);
        names.push(PartitionId { topic_id, partition });
        rest = &behind[tail_bytes..];
    }
    (names, len, rest.is_empty())
}

/// The record's length by its own word, where that can be.
fn stated_bytes(bytes: &[u8]) -> Option<usize> {
    let word = bytes.get(12..16)?.first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*word)).ok()?;
    (HEADER_BYTES..=bytes.len()).contains(&len).then_some(len)
}

/// Where the covered byte lies that has `behind` covered bytes behind it: the checksum covers the entries, then the
/// header before the checksum.
fn covered_at(behind: usize, len: usize) -> usize {
    if behind < CRC_AT { CRC_AT - 1 - behind } else { len - 1 - (behind - CRC_AT) }
}

/// What a byte adds to a CRC-32C (reflected).
fn table() -> [u32; 256] {
    std::array::from_fn(|byte| {
        let mut crc = u32::try_from(byte).expect("a byte");
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
        }
        crc
    })
}

/// CRC-32C, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const CRC_AT: usize = 52;
const KIND_MAX: u32 = 2;

const _: () = assert!(CRC_AT + 4 == HEADER_BYTES, "the checksum ends the header");
