//! Files: what a read sees, what a power failure leaves, and the rules between the two.
//!
//! ```text
//!   write completes      live image changes; the write is kept in `unflushed`
//!     over durable, written, unshared blocks, O_DIRECT  -> class Device: it sits in the device's cache
//!     anything else (new, unwritten, shared, longer)    -> class File: its metadata sits in memory
//!   flush of a file      its own unflushed writes and every Device write of the same device become durable,
//!                        as far as they had completed when the flush began
//!   power failure        Device writes survive whole, not at all, by sectors, or destroy their block;
//!                        of a file's File writes a prefix survives, usually none
//! ```
//!
//! **Invariants.** 1. `durable` never holds a byte of class File whose file was not flushed since. 2. The extents that
//! decide a class are the durable ones: an extent converted in memory is not yet one that an overwrite may rely on.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use super::random::Random;
use super::{Device, to_bytes, to_index};
use crate::io::{Extents, Slice};

/// Names an inode: its index.
pub(super) type InodeId = usize;

/// One device and the file system on it.
#[derive(Debug)]
struct Volume {
    device: Device,
    capacity_bytes: u64,
    used_blocks: u64,
}

/// What the file system says of one block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Hole,
    Unwritten,
    Written,
    Shared,
}

/// Whose flush makes a write durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Device,
    File,
}

#[derive(Debug)]
struct Unflushed {
    /// When it completed, in the order of all that happens on this disk.
    number: u64,
    position: u64,
    bytes: Vec<Slice>,
    class: Class,
    /// A failed flush gave it up: no later flush makes it durable.
    given_up: bool,
}

#[derive(Debug, Default)]
struct Inode {
    volume: usize,
    live: Vec<u8>,
    live_extents: Vec<Extent>,
    durable: Vec<u8>,
    durable_extents: Vec<Extent>,
    unflushed: Vec<Unflushed>,
    modified_ms: i64,
}

/// A write under way when the power goes.
pub(super) struct Torn {
    pub(super) inode: InodeId,
    pub(super) direct: bool,
    pub(super) position: u64,
    pub(super) bytes: Vec<Slice>,
}

/// All files of the machine.
#[derive(Debug)]
pub(super) struct Disk {
    volumes: Vec<(String, Volume)>,
    inodes: Vec<Inode>,
    dirty: BTreeSet<InodeId>,
    number: u64,
}

impl Disk {
    pub(super) fn new() -> Self {
        let first = Volume { device: Device::Overwrite, capacity_bytes: CAPACITY_BYTES, used_blocks: 0 };
        Self { volumes: vec![(String::new(), first)], inodes: Vec::new(), dirty: BTreeSet::new(), number: 0 }
    }

    pub(super) fn mount(&mut self, dir: String, device: Device, capacity_bytes: u64) {
        if let Some((_, volume)) = self.volumes.iter_mut().find(|(at, _)| *at == dir) {
            volume.device = device;
            volume.capacity_bytes = capacity_bytes;
            return;
        }
        self.volumes.push((dir, Volume { device, capacity_bytes, used_blocks: 0 }));
    }

    fn volume_of(&self, path: &str) -> usize {
        let within = |dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let found = self.volumes.iter().enumerate().filter(|(_, (dir, _))| dir.is_empty() || within(dir));
        found.max_by_key(|(_, (dir, _))| dir.len()).map_or(0, |(index, _)| index)
    }

    /// A new, empty file that will be called `path`.
    pub(super) fn create(&mut self, path: &str, now_ms: i64) -> InodeId {
        let volume = self.volume_of(path);
        self.inodes.push(Inode { volume, modified_ms: now_ms, ..Inode::default() });
        self.inodes.len() - 1
    }

    /// Frees the blocks of a file that no name leads to. Who has it open reads it on.
    pub(super) fn unlink(&mut self, inode: InodeId) {
        let mapped = mapped(&self.inodes[inode].live_extents);
        let volume = &mut self.volumes[self.inodes[inode].volume].1;
        volume.used_blocks = volume.used_blocks.saturating_sub(mapped);
    }

    pub(super) fn len(&self, inode: InodeId) -> u64 {
        to_bytes(self.inodes[inode].live.len())
    }

    pub(super) fn bytes(&self, inode: InodeId) -> &[u8] {
        &self.inodes[inode].live
    }

    pub(super) fn modified_ms(&self, inode: InodeId) -> i64 {
        self.inodes[inode].modified_ms
    }

    /// The number of the latest completed write: what a flush that begins now covers.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn free_bytes(&self, path: &str) -> u64 {
        let volume = &self.volumes[self.volume_of(path)].1;
        volume.capacity_bytes.saturating_sub(volume.used_blocks * BLOCK_BYTES)
    }

    /// The bytes of `range` that lie within the file.
    pub(super) fn read(&self, inode: InodeId, position: u64, len: usize) -> &[u8] {
        let live = &self.inodes[inode].live;
        let start = to_index(position).min(live.len());
        let end = start.saturating_add(len).min(live.len());
        &live[start..end]
    }

    /// A write that completes now.
    pub(super) fn write(
        &mut self,
        inode: InodeId,
        direct: bool,
        position: u64,
        bytes: Vec<Slice>,
        now_ms: i64,
    ) -> io::Result<()> {
        let len: u64 = bytes.iter().map(|slice| to_bytes(slice.len())).sum();
        let range = position..position + len;
        let class = self.class(inode, direct, &range);
        self.allocate(inode, &range, Extent::Written)?;
        self.number += 1;
        let target = &mut self.inodes[inode];
        target.modified_ms = now_ms;
        if to_bytes(target.live.len()) < range.end {
            target.live.resize(to_index(range.end), 0);
        }
        copy_in(&mut target.live, position, &bytes);
        for block in blocks(&range) {
            target.live_extents[block] = Extent::Written;
        }
        target.unflushed.push(Unflushed { number: self.number, position, bytes, class, given_up: false });
        self.dirty.insert(inode);
        Ok(())
    }

    fn class(&self, inode: InodeId, direct: bool, range: &Range<u64>) -> Class {
        let inode = &self.inodes[inode];
        let written = |extents: &[Extent]| blocks(range).all(|block| extents.get(block) == Some(&Extent::Written));
        let overwrite = direct
            && range.end <= to_bytes(inode.durable.len())
            && written(&inode.durable_extents)
            && written(&inode.live_extents)
            && self.volumes[inode.volume].1.device != Device::JournalsData;
        if overwrite { Class::Device } else { Class::File }
    }

    /// Gives every hole in `range` a block of the kind.
    fn allocate(&mut self, inode: InodeId, range: &Range<u64>, kind: Extent) -> io::Result<()> {
        let target = &mut self.inodes[inode];
        let volume = &mut self.volumes[target.volume].1;
        let needed = blocks(range).filter(|block| target.live_extents.get(*block).is_none_or(|at| *at == Extent::Hole));
        let needed = to_bytes(needed.count());
        if (volume.used_blocks + needed) * BLOCK_BYTES > volume.capacity_bytes {
            return Err(no_space());
        }
        volume.used_blocks += needed;
        let count = blocks(range).end;
        if target.live_extents.len() < count {
            target.live_extents.resize(count, Extent::Hole);
        }
        for block in blocks(range) {
            if target.live_extents[block] == Extent::Hole {
                target.live_extents[block] = kind;
            }
        }
        Ok(())
    }

    /// What a flush of `inode` does that began when the disk's number was `upto`.
    pub(super) fn flush(&mut self, inode: InodeId, upto: u64) {
        let volume = self.inodes[inode].volume;
        if self.volumes[volume].1.device == Device::NoBarrier {
            return;
        }
        for other in self.dirty.clone() {
            if self.inodes[other].volume != volume {
                continue;
            }
            let own = other == inode;
            self.inodes[other]
                .settle(|write| write.number <= upto && !write.given_up && (own || write.class == Class::Device));
            if self.inodes[other].unflushed.is_empty() {
                self.dirty.remove(&other);
            }
        }
    }

    /// A flush that failed: of what it should have made durable, some will never be.
    pub(super) fn flush_failed(&mut self, inode: InodeId, random: &mut Random) {
        let volume = self.inodes[inode].volume;
        for other in &self.dirty {
            let other = &mut self.inodes[*other];
            if other.volume == volume {
                for write in &mut other.unflushed {
                    write.given_up |= random.one_in(2);
                }
            }
        }
    }

    /// Makes all of a file durable as it is now: the end of a job that says so.
    pub(super) fn settle_file(&mut self, inode: InodeId) {
        let file = &mut self.inodes[inode];
        file.durable.clone_from(&file.live);
        file.durable_extents.clone_from(&file.live_extents);
        file.unflushed.clear();
        self.dirty.remove(&inode);
    }

    pub(super) fn truncate(&mut self, inode: InodeId, len: u64) {
        let file = &mut self.inodes[inode];
        let before = mapped(&file.live_extents);
        file.live.resize(to_index(len), 0);
        file.live_extents.resize(to_index(len.div_ceil(BLOCK_BYTES)), Extent::Hole);
        let freed = before - mapped(&file.live_extents);
        let volume = &mut self.volumes[file.volume].1;
        volume.used_blocks = volume.used_blocks.saturating_sub(freed);
        self.settle_file(inode);
    }

    /// Writes zeros over a range, or allocates it; not yet durable.
    pub(super) fn prepare(&mut self, inode: InodeId, range: &Range<u64>, zeros: bool) -> io::Result<()> {
        let kind = if zeros { Extent::Written } else { Extent::Unwritten };
        self.allocate(inode, range, kind)?;
        let file = &mut self.inodes[inode];
        if to_bytes(file.live.len()) < range.end {
            file.live.resize(to_index(range.end), 0);
        }
        if zeros {
            file.live[to_index(range.start)..to_index(range.end)].fill(0);
            for block in blocks(range) {
                file.live_extents[block] = Extent::Written;
            }
        }
        Ok(())
    }

    /// Replaces all of a file, durably.
    pub(super) fn fill(&mut self, inode: InodeId, bytes: &[u8]) -> io::Result<()> {
        let range = 0..to_bytes(bytes.len());
        self.allocate(inode, &range, Extent::Written)?;
        self.inodes[inode].live = bytes.to_vec();
        self.settle_file(inode);
        Ok(())
    }

    /// Shares all blocks of a file with a copy, as `cp --reflink` does.
    pub(super) fn share(&mut self, inode: InodeId) {
        let file = &mut self.inodes[inode];
        for extent in file.live_extents.iter_mut().chain(&mut file.durable_extents) {
            if *extent == Extent::Written {
                *extent = Extent::Shared;
            }
        }
    }

    pub(super) fn extents(&self, inode: InodeId, range: &Range<u64>) -> Extents {
        let file = &self.inodes[inode];
        let at = |block: usize| file.live_extents.get(block).copied().unwrap_or(Extent::Hole);
        let mut found = Extents { mapped: true, ..Extents::default() };
        for block in blocks(range) {
            found.mapped &= at(block) != Extent::Hole;
            found.unwritten |= at(block) == Extent::Unwritten;
            found.shared |= at(block) == Extent::Shared;
        }
        found
    }

    /// Flips one bit where it is read and where it is stored.
    pub(super) fn flip(&mut self, inode: InodeId, bit: u64) -> bool {
        let file = &mut self.inodes[inode];
        let (at, mask) = (to_index(bit / 8), 1_u8 << (bit % 8));
        for image in [&mut file.live, &mut file.durable] {
            if let Some(byte) = image.get_mut(at) {
                *byte ^= mask;
            }
        }
        at < file.live.len()
    }

    /// The power goes: every file becomes what survived of it. `torn` are the writes that were under way, `linked` the
    /// files that still have a name.
    pub(super) fn crash(&mut self, torn: Vec<Torn>, linked: &BTreeSet<InodeId>, random: &mut Random) {
        for write in torn {
            let len: u64 = write.bytes.iter().map(|slice| to_bytes(slice.len())).sum();
            let class = self.class(write.inode, write.direct, &(write.position..write.position + len));
            // The metadata of a write that did not complete was never touched: class File is simply lost.
            if class == Class::Device {
                let (position, bytes) = (write.position, write.bytes);
                let unflushed = Unflushed { number: u64::MAX, position, bytes, class, given_up: false };
                self.inodes[write.inode].unflushed.push(unflushed);
                self.dirty.insert(write.inode);
            }
        }
        for dirty in std::mem::take(&mut self.dirty) {
            self.inodes[dirty].crash(random);
        }
        for volume in &mut self.volumes {
            volume.1.used_blocks = 0;
        }
        for (id, inode) in self.inodes.iter_mut().enumerate() {
            if !linked.contains(&id) {
                *inode = Inode { volume: inode.volume, ..Inode::default() };
            }
            inode.live.clone_from(&inode.durable);
            inode.live_extents.clone_from(&inode.durable_extents);
            self.volumes[inode.volume].1.used_blocks += mapped(&inode.live_extents);
        }
    }
}

impl Inode {
    /// Makes durable what `which` picks, in order.
    fn settle(&mut self, mut which: impl FnMut(&Unflushed) -> bool) {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        unflushed.retain(|write| {
            let settled = which(write);
            if settled {
                self.make_durable(write);
            }
            !settled
        });
        self.unflushed = unflushed;
    }

    fn make_durable(&mut self, write: &Unflushed) {
        let end = write.position + write.bytes.iter().map(|slice| to_bytes(slice.len())).sum::<u64>();
        if write.class == Class::File {
            if to_bytes(self.durable.len()) < end {
                self.durable.resize(to_index(end), 0);
            }
            let range = write.position..end;
            if self.durable_extents.len() < blocks(&range).end {
                self.durable_extents.resize(blocks(&range).end, Extent::Hole);
            }
            for block in blocks(&range) {
                self.durable_extents[block] = Extent::Written;
            }
        }
        copy_in(&mut self.durable, write.position, &write.bytes);
    }

    fn crash(&mut self, random: &mut Random) {
        let unflushed = std::mem::take(&mut self.unflushed);
        let of_file = unflushed.iter().filter(|write| write.class == Class::File).count();
        // The file system's own commit, every few seconds, may have come in between: then it took a prefix.
        let mut committed = if random.one_in(4) { random.index(of_file + 1) } else { 0 };
        for write in &unflushed {
            match write.class {
                Class::File if committed > 0 => {
                    committed -= 1;
                    self.make_durable(write);
                }
                Class::File => {}
                Class::Device => self.tear(write, random),
            }
        }
    }

    /// Decides block by block what the device had made of a write in its cache.
    fn tear(&mut self, write: &Unflushed, random: &mut Random) {
        let bytes: Vec<u8> = write.bytes.iter().flat_map(|slice| slice.iter().copied()).collect();
        let end = write.position + to_bytes(bytes.len());
        // A write often has one fate: all of a window on the device but one write is the case that finds most.
        let whole = random.below(4);
        for block in blocks(&(write.position..end)) {
            let block = to_bytes(block) * BLOCK_BYTES;
            let fate = if whole < 2 { whole } else { random.below(4) };
            let (from, to) = (block.max(write.position), (block + BLOCK_BYTES).min(end));
            match fate {
                0 => {}
                1 => self.put(from, &bytes[to_index(from - write.position)..to_index(to - write.position)]),
                2 => {
                    for sector in (from..to).step_by(to_index(SECTOR_BYTES)) {
                        let sector_end = (sector + SECTOR_BYTES).min(to);
                        if random.one_in(2) {
                            let range = to_index(sector - write.position)..to_index(sector_end - write.position);
                            self.put(sector, &bytes[range]);
                        }
                    }
                }
                _ => self.destroy(block, random),
            }
        }
    }

    fn put(&mut self, position: u64, bytes: &[u8]) {
        let start = to_index(position);
        self.durable[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// A block whose cells were being programmed: none of its bytes, old or new, can be relied on.
    fn destroy(&mut self, block: u64, random: &mut Random) {
        let start = to_index(block);
        let end = (start + to_index(BLOCK_BYTES)).min(self.durable.len());
        let zeros = random.one_in(2);
        for word in self.durable[start..end].chunks_mut(8) {
            let fresh = if zeros { 0 } else { random.next() };
            let len = word.len();
            word.copy_from_slice(&fresh.to_be_bytes()[..len]);
        }
    }
}

fn copy_in(image: &mut [u8], position: u64, slices: &[Slice]) {
    let mut start = to_index(position);
    for slice in slices {
        image[start..start + slice.len()].copy_from_slice(slice);
        start += slice.len();
    }
}

fn blocks(range: &Range<u64>) -> Range<usize> {
    to_index(range.start / BLOCK_BYTES)..to_index(range.end.div_ceil(BLOCK_BYTES))
}

fn mapped(extents: &[Extent]) -> u64 {
    to_bytes(extents.iter().filter(|extent| **extent != Extent::Hole).count())
}

pub(super) fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

/// What a device destroys at once, and what the file system allocates.
const BLOCK_BYTES: u64 = 4096;
/// What a device writes as a whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;
/// Room on the first device unless a test says otherwise.
const CAPACITY_BYTES: u64 = 1 << 40;
