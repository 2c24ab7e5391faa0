//! Which partition a record goes to: by the hash of its key as Kafka's own producer has it, else one after another.

/// `Utils.murmur2` of Kafka: two producers that disagree about it put one key into two partitions.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Kafka hashes lengths of at most 2^31 - 1.
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        // Least significant byte first, whatever the machine: written out, since byte order is big-endian elsewhere.
        let [a, b, c, d] = word.map(u32::from);
        let mut k = (a | b << 8 | c << 16 | d << 24).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, byte) in (0..).zip(rest) {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key, of so many; there is one at least.
pub(crate) fn of_key(key: &[u8], partition_count: usize) -> usize {
    let hash = usize::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or_default();
    hash % partition_count
}

#[cfg(test)]
mod tests {
    use super::{murmur2, of_key};

    /// From Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_are_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
        assert_eq!(of_key(b"abc", 7), 479_470_107 % 7);
        assert_eq!(of_key(b"21", 3), usize::try_from(-973_932_308_i32 & i32::MAX).expect("positive") % 3);
        assert_eq!(of_key(b"", 1), 0);
    }
}
