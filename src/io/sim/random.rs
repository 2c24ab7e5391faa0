//! Chance and its record: one generator per world, and the hash over everything that happened.

/// SplitMix64 (Steele, Lea, Flood 2014): a small generator whose whole state is one word.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// An index below `bound`, which is not zero.
    pub(super) fn index(&mut self, bound: usize) -> usize {
        super::to_index(self.below(super::to_bytes(bound)))
    }

    /// True in `ppm` of a million calls.
    pub(super) fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// True in one of `of` calls.
    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// FNV-1a over the numbers of all events, in order.
#[derive(Debug)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn new(seed: u64) -> Self {
        let mut trace = Self(0xcbf2_9ce4_8422_2325);
        trace.note(seed);
        trace
    }

    pub(super) fn note(&mut self, number: u64) {
        // Whole words instead of bytes: the mix of neighbouring words is all that a comparison of traces needs.
        self.0 = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    pub(super) fn value(&self) -> u64 {
        self.0
    }
}
