//! Chance from a seed: ids of members, and the order of hash maps.

use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, Hasher};

/// A SplitMix64 generator: enough to keep ids apart; they are no secrets.
#[derive(Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `<prefix>-<uuid>`, as Kafka names members.
    pub(super) fn member_id(&mut self, prefix: &str) -> String {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        let uuid = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        format!("{prefix}-{uuid}")
    }
}

/// Hashers that differ between coordinators, so that nobody can choose group ids that collide, yet are the same for the
/// same seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeededHash(pub(super) u64);

impl BuildHasher for SeededHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
