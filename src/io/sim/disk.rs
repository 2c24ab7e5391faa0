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

use super::inode::{Class, Extent, Inode, Power, SECTOR_BYTES, Unflushed, blocks, copy_in, mapped};
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
    /// What the file system allocates and the device destroys at once.
    block: u64,
    /// Flushes that failed so far.
    pub(super) flushes_failed: u64,
}

impl Disk {
    pub(super) fn new() -> Self {
        let first = Volume { device: Device::Overwrite, capacity_bytes: CAPACITY_BYTES, used_blocks: 0 };
        Self {
            volumes: vec![(String::new(), first)],
            inodes: Vec::new(),
            dirty: BTreeSet::new(),
            number: 0,
            block: BLOCK_BYTES,
            flushes_failed: 0,
        }
    }

    pub(super) fn set_block(&mut self, bytes: u64) {
        assert!(
            self.inodes.is_empty() && bytes.is_multiple_of(SECTOR_BYTES),
            "sectors make a block, and files come after"
        );
        self.block = bytes;
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
        volume.capacity_bytes.saturating_sub(volume.used_blocks * self.block)
    }

    pub(super) fn total_bytes(&self, path: &str) -> u64 {
        self.volumes[self.volume_of(path)].1.capacity_bytes
    }

    /// Makes the volume of `path` so small that it has `bytes` left.
    pub(super) fn leave_bytes(&mut self, path: &str, bytes: u64) {
        let volume = self.volume_of(path);
        let volume = &mut self.volumes[volume].1;
        volume.capacity_bytes = volume.used_blocks * self.block + bytes;
    }

    /// The bytes of the range that lie within the file; `None` where a block of it cannot be read.
    pub(super) fn read(&self, inode: InodeId, position: u64, len: usize) -> Option<&[u8]> {
        let file = &self.inodes[inode];
        let start = to_index(position).min(file.live.len());
        let end = start.saturating_add(len).min(file.live.len());
        let range = to_bytes(start)..to_bytes(end);
        let broken = !file.broken.is_empty() && blocks(&range, self.block).any(|block| file.broken.contains(&block));
        (!broken).then(|| &file.live[start..end])
    }

    /// Makes the block at `position` unreadable.
    pub(super) fn break_block(&mut self, inode: InodeId, position: u64) {
        let block = to_index(position / self.block);
        self.inodes[inode].broken.insert(block);
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
        for block in blocks(&range, self.block) {
            target.live_extents[block] = Extent::Written;
            target.broken.remove(&block);
        }
        target.unflushed.push(Unflushed { number: self.number, position, bytes, class });
        self.dirty.insert(inode);
        Ok(())
    }

    fn class(&self, inode: InodeId, direct: bool, range: &Range<u64>) -> Class {
        let inode = &self.inodes[inode];
        let written =
            |extents: &[Extent]| blocks(range, self.block).all(|block| extents.get(block) == Some(&Extent::Written));
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
        let needed = blocks(range, self.block)
            .filter(|block| target.live_extents.get(*block).is_none_or(|at| *at == Extent::Hole));
        let needed = to_bytes(needed.count());
        if (volume.used_blocks + needed) * self.block > volume.capacity_bytes {
            return Err(no_space());
        }
        volume.used_blocks += needed;
        let count = blocks(range, self.block).end;
        if target.live_extents.len() < count {
            target.live_extents.resize(count, Extent::Hole);
        }
        for block in blocks(range, self.block) {
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
            let covered = |write: &Unflushed| write.number <= upto && (own || write.class == Class::Device);
            self.inodes[other].settle(self.block, covered);
            if self.inodes[other].unflushed.is_empty() {
                self.dirty.remove(&other);
            }
        }
    }

    /// A flush that failed: the device was reset and lost some of what it had not made durable, whichever file's it was.
    /// Every flush under way fails with it.
    pub(super) fn flush_failed(&mut self, inode: InodeId, random: &mut Random) {
        self.flushes_failed += 1;
        let volume = self.inodes[inode].volume;
        for other in &self.dirty {
            let other = &mut self.inodes[*other];
            if other.volume == volume {
                let (lost, kept): (Vec<_>, _) = other.unflushed.drain(..).partition(|_| random.one_in(2));
                other.unflushed = kept;
                for write in lost {
                    other.revert(&write);
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

    /// Makes those of the files durable that lie on the volume of `dir`.
    pub(super) fn settle_volume(&mut self, dir: &str, inodes: &[InodeId]) {
        let volume = self.volume_of(dir);
        for inode in inodes {
            if self.inodes[*inode].volume == volume {
                self.settle_file(*inode);
            }
        }
    }

    /// Changes a file's length; not yet durable.
    pub(super) fn truncate(&mut self, inode: InodeId, len: u64) {
        let file = &mut self.inodes[inode];
        let before = mapped(&file.live_extents);
        file.live.resize(to_index(len), 0);
        file.live_extents.resize(to_index(len.div_ceil(self.block)), Extent::Hole);
        let freed = before - mapped(&file.live_extents);
        let volume = &mut self.volumes[file.volume].1;
        volume.used_blocks = volume.used_blocks.saturating_sub(freed);
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
            for block in blocks(range, self.block) {
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
        for block in blocks(range, self.block) {
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
    pub(super) fn crash(
        &mut self,
        torn: Vec<Torn>,
        linked: &BTreeSet<InodeId>,
        unreadable_ppm: u32,
        random: &mut Random,
    ) {
        for write in torn {
            let len: u64 = write.bytes.iter().map(|slice| to_bytes(slice.len())).sum();
            let class = self.class(write.inode, write.direct, &(write.position..write.position + len));
            // The metadata of a write that did not complete was never touched: class File is simply lost.
            if class == Class::Device {
                let (position, bytes) = (write.position, write.bytes);
                let unflushed = Unflushed { number: u64::MAX, position, bytes, class };
                self.inodes[write.inode].unflushed.push(unflushed);
                self.dirty.insert(write.inode);
            }
        }
        for dirty in std::mem::take(&mut self.dirty) {
            let power = &mut Power { block: self.block, unreadable_ppm, random };
            self.inodes[dirty].crash(power);
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

pub(super) fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

/// What the file system allocates and the device destroys at once, unless a test says otherwise.
const BLOCK_BYTES: u64 = 4096;
/// Room on the first device unless a test says otherwise.
const CAPACITY_BYTES: u64 = 1 << 40;
