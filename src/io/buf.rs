//! Memory that is filled once, front to back, and read from anywhere.
//!
//! An [`AppendBuf`] is the one writer of a piece of memory; a [`Slice`] is a counted view of bytes that were already
//! appended. Appended bytes never change, so a slice may be read by the kernel, by a socket or by another shard while
//! its writer goes on appending behind it. That is what lets the bytes of a receive buffer, of a segment and of a fetch
//! reply be the same bytes.
//!
//! ```text
//!   AppendBuf   [ appended, immutable ........ | free: only the writer, or the kernel on its behalf ]
//!                 ^ Slice ^      ^ Slice ^    len                                            capacity
//! ```
//!
//! A [`Pool`] hands out aligned memory of few sizes up to a hard cap and takes it back when the last view is dropped,
//! on whatever thread that is. Called by every layer; calls nothing of ours.
//!
//! **Invariants.** 1. Bytes below `len` are initialised and never written again. 2. Bytes at and above `len` are
//! touched by the owner of the `AppendBuf` alone. 3. A pool never has more than its cap outstanding.
#![expect(unsafe_code, reason = "aligned memory shared between its writer, the kernel and readers has no safe form")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;

/// What O_DIRECT may ask of memory at the most on the devices we know, and a page (open(2), `stx_dio_mem_align`).
pub const ALIGN_BYTES: usize = 4096;

/// One allocation. Freed, or given back to its pool, with the last view.
struct Mem {
    start: NonNull<u8>,
    capacity: usize,
    home: Option<Arc<Home>>,
}

// SAFETY: the memory belongs to this value alone; which bytes may be read or written by whom is invariant 1 and 2 of
// the module, upheld by `AppendBuf` (one, not `Clone`) and `Slice` (reads below the length it was made with).
unsafe impl Send for Mem {}
// SAFETY: as above: shared access reads initialised, immutable bytes only.
unsafe impl Sync for Mem {}

impl Mem {
    fn allocate(capacity: usize, home: Option<Arc<Home>>) -> Self {
        let layout = layout(capacity);
        // SAFETY: the layout's size is not zero: `layout` rounds up to at least one alignment unit.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, capacity: layout.size(), home }
    }
}

impl Drop for Mem {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.outstanding_bytes.fetch_sub(self.capacity, Ordering::AcqRel);
            if home.keep(Spare { start: self.start, capacity: self.capacity }) {
                return;
            }
        }
        // SAFETY: allocated with this layout in `allocate`, and this is the last owner.
        unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) };
    }
}

fn layout(capacity: usize) -> Layout {
    let rounded = capacity.max(1).next_multiple_of(ALIGN_BYTES);
    Layout::from_size_align(rounded, ALIGN_BYTES).expect("a capacity within limits.rs fits a layout")
}

/// The one writer of a piece of memory. Moves into a read or receive operation and comes back longer.
pub struct AppendBuf {
    mem: Arc<Mem>,
    len: usize,
}

impl AppendBuf {
    /// Memory outside any pool, at least `capacity` bytes, aligned to [`ALIGN_BYTES`].
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { mem: Arc::new(Mem::allocate(capacity, None)), len: 0 }
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the memory holds at the most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.mem.capacity
    }

    /// Bytes that can still be appended.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.mem.capacity - self.len
    }

    /// The appended bytes.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        // SAFETY: bytes below `len` are initialised and immutable (invariant 1).
        unsafe { std::slice::from_raw_parts(self.mem.start.as_ptr(), self.len) }
    }

    /// A counted view of appended bytes; panics where `range` reaches beyond them.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.start <= range.end && range.end <= self.len, "a view of bytes that were not appended yet");
        let (start, end) = (range.start, range.end);
        // SAFETY: `start` lies within the allocation.
        let start_ptr = unsafe { self.mem.start.add(start) };
        Slice { start: start_ptr, len: end - start, owner: Owner::Mem(Arc::clone(&self.mem)) }
    }

    /// Appends bytes that are not record bytes (headers, journal framing, padding). Panics where they do not fit.
    /// Record bytes go through [`crate::io::copy`] alone, which counts them.
    pub fn append(&mut self, bytes: &[u8]) {
        self.spare_mut()[..bytes.len()].copy_from_slice(bytes);
        self.publish(bytes.len());
    }

    /// Appends `count` zero bytes. Panics where they do not fit.
    pub fn append_zeros(&mut self, count: usize) {
        self.spare_mut()[..count].fill(0);
        self.publish(count);
    }

    /// Where the bytes after the appended ones go, for the kernel: valid for [`Self::remaining`] bytes while the buffer lives.
    pub(in crate::io) fn spare_ptr(&mut self) -> *mut u8 {
        // SAFETY: `len` is at most the capacity.
        unsafe { self.mem.start.add(self.len).as_ptr() }
    }

    /// The free bytes: zeros, or what an earlier user of the pool left.
    pub(in crate::io) fn spare_mut(&mut self) -> &mut [u8] {
        let (start, count) = (self.spare_ptr(), self.remaining());
        // SAFETY: only this writer touches bytes above `len` (invariant 2), and they are initialised: memory is
        // allocated zeroed.
        unsafe { std::slice::from_raw_parts_mut(start, count) }
    }

    /// Writes a few bytes that are not record bytes at `ahead` bytes behind the appended end, without appending them.
    pub fn stage(&mut self, ahead: usize, bytes: &[u8]) {
        self.spare_mut()[ahead..ahead + bytes.len()].copy_from_slice(bytes);
    }

    /// Takes the next `count` bytes as appended: they were staged, or the kernel has just written them.
    pub fn publish(&mut self, count: usize) {
        assert!(count <= self.remaining(), "more bytes than the buffer holds");
        self.len += count;
    }

    /// Starts over with the same memory if nobody else looks at it; gives the buffer back unchanged otherwise.
    pub fn reset(&mut self) -> bool {
        let alone = Arc::get_mut(&mut self.mem).is_some();
        if alone {
            self.len = 0;
        }
        alone
    }
}

impl fmt::Debug for AppendBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendBuf({} of {})", self.len, self.mem.capacity)
    }
}

/// A counted view of immutable bytes. Cheap to clone, may cross threads, keeps its memory alive.
#[derive(Clone)]
pub struct Slice {
    start: NonNull<u8>,
    len: usize,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    Mem(#[expect(dead_code, reason = "held to keep the memory alive")] Arc<Mem>),
    Bytes(Bytes),
}

// SAFETY: a slice reads immutable bytes of memory that its owner keeps alive; both owners are Send and Sync.
unsafe impl Send for Slice {}
// SAFETY: as above.
unsafe impl Sync for Slice {}

impl Slice {
    /// A view of part of this view. Panics where `range` reaches beyond it.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "a view beyond its parent");
        // SAFETY: within the parent, which lies within its owner's bytes.
        let start = unsafe { self.start.add(range.start) };
        Self { start, len: range.end - range.start, owner: self.owner.clone() }
    }

    /// The same bytes as a [`Bytes`], for the cold codec. One small allocation.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.owner {
            Owner::Mem(_) => Bytes::from_owner(self.clone()),
            Owner::Bytes(bytes) => bytes.slice_ref(self),
        }
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: made from initialised, immutable bytes that the owner keeps alive.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Bytes> for Slice {
    fn from(bytes: Bytes) -> Self {
        let start = NonNull::from(bytes.as_ref()).cast();
        Self { start, len: bytes.len(), owner: Owner::Bytes(bytes) }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} bytes)", self.len)
    }
}

/// Aligned memory of few sizes with a hard cap. Taken on one shard; given back by whoever drops the last view.
#[derive(Clone)]
pub struct Pool {
    home: Arc<Home>,
}

struct Home {
    cap_bytes: usize,
    outstanding_bytes: AtomicUsize,
    spare_bytes: AtomicUsize,
    spares: [ArrayQueue<Spare>; CLASSES_BYTES.len()],
}

struct Spare {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a spare is memory that nobody looks at; it moves as a whole.
unsafe impl Send for Spare {}

impl Home {
    fn class(&self, capacity: usize) -> Option<usize> {
        CLASSES_BYTES.iter().position(|class| *class == capacity)
    }

    /// Keeps memory for the next taker of its size; false where there is enough of it.
    fn keep(&self, spare: Spare) -> bool {
        let capacity = spare.capacity;
        let Some(class) = self.class(capacity) else { return false };
        self.spare_bytes.fetch_add(capacity, Ordering::AcqRel);
        let kept = self.spares[class].push(spare).is_ok();
        if !kept {
            self.spare_bytes.fetch_sub(capacity, Ordering::AcqRel);
        }
        kept
    }

    fn spare(&self, class: usize) -> Option<Spare> {
        let spare = self.spares[class].pop()?;
        self.spare_bytes.fetch_sub(spare.capacity, Ordering::AcqRel);
        Some(spare)
    }

    /// Frees spares until what is out and what is kept are within the cap together: memory kept in one size must not stand
    /// beside memory newly taken in another.
    fn trim(&self) {
        let over = || {
            let held = self.outstanding_bytes.load(Ordering::Acquire) + self.spare_bytes.load(Ordering::Acquire);
            held > self.cap_bytes
        };
        for class in (0..CLASSES_BYTES.len()).rev() {
            while over() {
                let Some(spare) = self.spare(class) else { break };
                // SAFETY: allocated with this layout in `Mem::allocate`, and popped: nobody else has it.
                unsafe { dealloc(spare.start.as_ptr(), layout(spare.capacity)) };
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for spares in &self.spares {
            while let Some(spare) = spares.pop() {
                // SAFETY: allocated with this layout in `Mem::allocate` and owned by the queue alone.
                unsafe { dealloc(spare.start.as_ptr(), layout(spare.capacity)) };
            }
        }
    }
}

impl Pool {
    /// A pool that never has more than `cap_bytes` outstanding. Nothing is allocated yet.
    #[must_use]
    pub fn new(cap_bytes: usize) -> Self {
        let spares = CLASSES_BYTES.map(|class| ArrayQueue::new((cap_bytes / class).clamp(1, SPARES_MAX)));
        Self {
            home: Arc::new(Home {
                cap_bytes,
                outstanding_bytes: AtomicUsize::new(0),
                spare_bytes: AtomicUsize::new(0),
                spares,
            }),
        }
    }

    /// A buffer of at least `capacity` bytes, or `None` where that would pass the cap: the caller pushes back.
    #[must_use]
    pub fn take(&self, capacity: usize) -> Option<AppendBuf> {
        let class = CLASSES_BYTES.iter().position(|class| *class >= capacity);
        let wanted = Self::taken_bytes(capacity);
        let before = self.home.outstanding_bytes.fetch_add(wanted, Ordering::AcqRel);
        if before + wanted > self.home.cap_bytes {
            self.home.outstanding_bytes.fetch_sub(wanted, Ordering::AcqRel);
            return None;
        }
        let spare = class.and_then(|class| self.home.spare(class));
        if spare.is_none() {
            self.home.trim();
        }
        let mem = spare.map_or_else(
            || Mem::allocate(wanted, Some(Arc::clone(&self.home))),
            |spare| Mem { start: spare.start, capacity: spare.capacity, home: Some(Arc::clone(&self.home)) },
        );
        Some(AppendBuf { mem: Arc::new(mem), len: 0 })
    }

    /// Bytes of the cap that a buffer of `capacity` takes.
    #[must_use]
    pub fn taken_bytes(capacity: usize) -> usize {
        let class = CLASSES_BYTES.iter().find(|class| **class >= capacity);
        class.copied().unwrap_or_else(|| layout(capacity).size())
    }

    /// Bytes that are out at present.
    #[must_use]
    pub fn outstanding_bytes(&self) -> usize {
        self.home.outstanding_bytes.load(Ordering::Acquire)
    }

    /// Bytes that are kept for the next takers at present.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.home.spare_bytes.load(Ordering::Acquire)
    }

    /// The cap.
    #[must_use]
    pub fn cap_bytes(&self) -> usize {
        self.home.cap_bytes
    }
}

/// The sizes that are kept for reuse. A partition starts with one block and grows with its write rate.
pub const CLASSES_BYTES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Spare buffers kept per size; beyond it memory goes back to the allocator.
const SPARES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::{AppendBuf, Bytes, Pool, Slice};

    #[test]
    fn a_slice_keeps_its_bytes_while_the_writer_goes_on() {
        let mut buf = AppendBuf::with_capacity(8192);
        buf.append(b"first");
        let first = buf.slice(0..5);
        buf.append(b"second");
        assert_eq!(&first[..], b"first");
        assert!(!buf.reset(), "a buffer in view is not started over");
        drop(first);
        assert!(buf.reset());
        assert_eq!(buf.len(), 0);
    }

    #[test]
    fn a_pool_keeps_to_its_cap_and_reuses_what_comes_back() {
        let pool = Pool::new(16 << 10);
        let first = pool.take(4096).expect("fits");
        let address = first.filled().as_ptr();
        let large = pool.take(12 << 10);
        assert!(large.is_none(), "16 KiB class and 4 KiB are over the cap together");
        drop(first);
        assert_eq!(pool.outstanding_bytes(), 0);
        assert_eq!(pool.take(100).expect("fits").filled().as_ptr(), address);
    }

    #[test]
    fn memory_kept_in_one_size_makes_way_for_another() {
        let pool = Pool::new(1 << 20);
        let small: Vec<_> = (0..256).map(|_| pool.take(4096).expect("fits")).collect();
        drop(small);
        assert_eq!(pool.kept_bytes(), 1 << 20);
        let large = pool.take(256 << 10).expect("fits");
        assert!(pool.kept_bytes() <= (1 << 20) - (256 << 10), "{} bytes are kept", pool.kept_bytes());
        drop(large);
    }

    #[test]
    fn bytes_and_slices_are_the_same_bytes() {
        let slice = Slice::from(Bytes::from_static(b"0123456789"));
        assert_eq!(&slice.slice(2..5)[..], b"234");
        assert_eq!(slice.slice(2..5).to_bytes(), Bytes::from_static(b"234"));
    }
}
