//! Whether file bytes are in memory: asked before every `sendfile(2)`, which would sleep on the disk for those that are not.
//!
//! `cachestat(2)` (6.5) counts pages without touching them, but counts those still being read too; so the last byte,
//! which arrives last, is read as well with `preadv2(2)` RWF_NOWAIT, which answers EAGAIN instead of waiting. Where
//! `cachestat` is missing or refused, the first and last byte are read so. Neither can promise that the pages are still
//! there a moment later: callers send small pieces.
#![expect(unsafe_code, reason = "cachestat has no safe wrapper")]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::ReadWriteFlags;

/// `len` where all of the range is in memory, as far as can be told; else 0.
pub(super) fn resident(file: BorrowedFd<'_>, position: u64, len: usize) -> usize {
    if len == 0 {
        return 0;
    }
    let last = position + len as u64 - 1;
    let there = match cached_pages(file, position, len) {
        Some(pages) => pages >= pages_of(position, len) && byte_there(file, last),
        None => byte_there(file, position) && byte_there(file, last),
    };
    if there { len } else { 0 }
}

fn pages_of(position: u64, len: usize) -> u64 {
    let end = position + len as u64;
    end.div_ceil(PAGE_BYTES) - position / PAGE_BYTES
}

fn byte_there(file: BorrowedFd<'_>, position: u64) -> bool {
    let mut byte = [0_u8];
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], position, ReadWriteFlags::NOWAIT) == Ok(1)
}

/// Pages of the range in the page cache; `None` where the kernel does not tell.
fn cached_pages(file: BorrowedFd<'_>, position: u64, len: usize) -> Option<u64> {
    let range = Range { position, len: len as u64 };
    let mut found = Found::default();
    let (range, into) = (std::ptr::from_ref(&range), std::ptr::from_mut(&mut found));
    // SAFETY: both structures are laid out as cachestat(2) says and outlive the call.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range, into, 0_u32) };
    (result == 0).then_some(found.cached)
}

/// `struct cachestat_range`.
#[repr(C)]
struct Range {
    position: u64,
    len: u64,
}

/// `struct cachestat`.
#[repr(C)]
#[derive(Default)]
struct Found {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// The same number on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// The kernel's page, which may be larger than this on others than x86-64: then a range looks absent and is read directly.
const PAGE_BYTES: u64 = 4096;
