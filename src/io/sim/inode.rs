//! One file: its two images, what lies between them, and what a power failure makes of that.

use std::collections::BTreeSet;
use std::ops::Range;

use super::random::Random;
use super::{to_bytes, to_index};
use crate::io::Slice;

/// What the file system says of one block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Hole,
    Unwritten,
    Written,
    Shared,
}

/// Whose flush makes a write durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Device,
    File,
}

#[derive(Debug)]
pub(super) struct Unflushed {
    /// When it completed, in the order of all that happens on this disk.
    pub(super) number: u64,
    pub(super) position: u64,
    pub(super) bytes: Vec<Slice>,
    pub(super) class: Class,
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) volume: usize,
    pub(super) live: Vec<u8>,
    pub(super) live_extents: Vec<Extent>,
    pub(super) durable: Vec<u8>,
    pub(super) durable_extents: Vec<Extent>,
    pub(super) unflushed: Vec<Unflushed>,
    /// Blocks that cannot be read until they are written again.
    pub(super) broken: BTreeSet<usize>,
    pub(super) modified_ms: i64,
}

/// How the power goes.
pub(super) struct Power<'a> {
    pub(super) block: u64,
    pub(super) unreadable_ppm: u32,
    pub(super) random: &'a mut Random,
}

impl Unflushed {
    fn range(&self) -> Range<u64> {
        self.position..self.position + self.bytes.iter().map(|slice| to_bytes(slice.len())).sum::<u64>()
    }
}

impl Inode {
    /// Makes durable what `which` picks, in order.
    pub(super) fn settle(&mut self, block: u64, mut which: impl FnMut(&Unflushed) -> bool) {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        unflushed.retain(|write| {
            let settled = which(write);
            if settled {
                self.make_durable(write, block);
            }
            !settled
        });
        self.unflushed = unflushed;
    }

    fn make_durable(&mut self, write: &Unflushed, block: u64) {
        let range = write.range();
        if write.class == Class::File {
            if to_bytes(self.durable.len()) < range.end {
                self.durable.resize(to_index(range.end), 0);
            }
            let touched = blocks(&range, block);
            if self.durable_extents.len() < touched.end {
                self.durable_extents.resize(touched.end, Extent::Hole);
            }
            self.durable_extents[touched].fill(Extent::Written);
        }
        copy_in(&mut self.durable, write.position, &write.bytes);
    }

    /// Shows what was durable where a lost write was.
    pub(super) fn revert(&mut self, write: &Unflushed) {
        for at in to_index(write.position)..to_index(write.range().end) {
            self.live[at] = self.durable.get(at).copied().unwrap_or(0);
        }
    }

    pub(super) fn crash(&mut self, power: &mut Power<'_>) {
        let unflushed = std::mem::take(&mut self.unflushed);
        let of_file = unflushed.iter().filter(|write| write.class == Class::File).count();
        // The file system's own commit, every few seconds, may have come in between: then it took a prefix.
        let mut committed = if power.random.one_in(4) { power.random.index(of_file + 1) } else { 0 };
        for write in &unflushed {
            match write.class {
                Class::File if committed > 0 => {
                    committed -= 1;
                    self.make_durable(write, power.block);
                }
                Class::File => {}
                Class::Device => self.tear(write, power),
            }
        }
    }

    /// Decides block by block what the device had made of a write in its cache.
    fn tear(&mut self, write: &Unflushed, power: &mut Power<'_>) {
        let bytes: Vec<u8> = write.bytes.iter().flat_map(|slice| slice.iter().copied()).collect();
        let Range { start, end } = write.range();
        let of = |range: Range<u64>| &bytes[to_index(range.start - start)..to_index(range.end - start)];
        // A write often has one fate: all of a window on the device but one write is the case that finds most.
        let whole = power.random.below(4);
        for number in blocks(&(start..end), power.block) {
            let block = to_bytes(number) * power.block;
            let fate = if whole < 2 { whole } else { power.random.below(4) };
            let (from, to) = (block.max(start), (block + power.block).min(end));
            match fate {
                0 => {}
                1 => self.put(from, of(from..to)),
                2 => {
                    for sector in (from..to).step_by(to_index(SECTOR_BYTES)) {
                        if power.random.one_in(2) {
                            self.put(sector, of(sector..(sector + SECTOR_BYTES).min(to)));
                        }
                    }
                }
                _ => self.destroy(number, power),
            }
        }
    }

    fn put(&mut self, position: u64, bytes: &[u8]) {
        let start = to_index(position);
        self.durable[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// A block whose cells were being programmed: none of its bytes, old or new, can be relied on.
    fn destroy(&mut self, number: usize, power: &mut Power<'_>) {
        let start = number * to_index(power.block);
        let end = (start + to_index(power.block)).min(self.durable.len());
        let zeros = power.random.one_in(2);
        for word in self.durable[start..end].chunks_mut(8) {
            let fresh = if zeros { 0 } else { power.random.next() };
            let len = word.len();
            word.copy_from_slice(&fresh.to_be_bytes()[..len]);
        }
        if power.random.chance(power.unreadable_ppm) {
            self.broken.insert(number);
        }
    }
}

pub(super) fn copy_in(image: &mut [u8], position: u64, slices: &[Slice]) {
    let mut start = to_index(position);
    for slice in slices {
        image[start..start + slice.len()].copy_from_slice(slice);
        start += slice.len();
    }
}

/// The blocks of so many bytes that a range touches.
pub(super) fn blocks(range: &Range<u64>, block: u64) -> Range<usize> {
    to_index(range.start / block)..to_index(range.end.div_ceil(block))
}

pub(super) fn mapped(extents: &[Extent]) -> u64 {
    to_bytes(extents.iter().filter(|extent| **extent != Extent::Hole).count())
}

/// What a device writes as a whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;
