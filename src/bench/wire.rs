//! Requests and answers of the Kafka protocol, as few as the load needs, encoded by hand.
//!
//! Kept apart from the library on purpose: a load that shared the node's codec would not notice a mistake in it.
//! Answers are read without trusting them; the clock never runs while a batch is made.

use crate::record::{Compression, compress};

/// Kafka's api keys that the load sends.
pub mod key {
    /// Produce.
    pub const PRODUCE: i16 = 0;
    /// Fetch.
    pub const FETCH: i16 = 1;
    /// CreateTopics.
    pub const CREATE_TOPICS: i16 = 19;
}

/// What a batch of the load is made of.
#[derive(Clone, Debug)]
pub struct BatchShape {
    /// Records in it.
    pub records: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Whether each record has a key of eight bytes.
    pub keyed: bool,
    /// How its records are compressed; compressed ones are made of words, others of bytes that do not compress.
    pub compression: Compression,
    /// Its first and largest timestamp, in milliseconds.
    pub timestamp_ms: i64,
    /// Another seed, other bytes.
    pub seed: u64,
}

/// One uncompressed record batch of `records` records with `value_bytes` of pseudo-random value each, from 2023: the same
/// bytes in every run.
#[must_use]
pub fn batch(records: usize, value_bytes: usize, seed: u64) -> Vec<u8> {
    let compression = Compression::None;
    batch_of(&BatchShape { records, value_bytes, keyed: false, compression, timestamp_ms: PAST_MS, seed })
}

/// One record batch of magic 2.
///
/// # Panics
/// Where its bytes do not fit an `i32`.
#[must_use]
pub fn batch_of(shape: &BatchShape) -> Vec<u8> {
    let mut values = Values { random: shape.seed | 1, words: shape.compression != Compression::None };
    let mut body = Vec::with_capacity(shape.records * (shape.value_bytes + 16));
    for index in 0..shape.records {
        let mut record = vec![0_u8]; // attributes
        varint(&mut record, 0); // timestamp delta
        varint(&mut record, len_i64(index));
        if shape.keyed {
            varint(&mut record, 8);
            record.extend_from_slice(&values.next().to_be_bytes());
        } else {
            varint(&mut record, -1);
        }
        varint(&mut record, len_i64(shape.value_bytes));
        values.fill(&mut record, shape.value_bytes);
        varint(&mut record, 0); // no headers
        varint(&mut body, len_i64(record.len()));
        body.extend_from_slice(&record);
    }
    let body = compress(shape.compression, &body);
    let count = i32::try_from(shape.records).expect("a batch has fewer records than 2^31");
    let mut crc_part = Vec::with_capacity(body.len() + 40);
    put_i16(&mut crc_part, codec_id(shape.compression)); // attributes
    put_i32(&mut crc_part, count - 1); // last offset delta
    put_i64(&mut crc_part, shape.timestamp_ms);
    put_i64(&mut crc_part, shape.timestamp_ms);
    put_i64(&mut crc_part, -1); // producer id
    put_i16(&mut crc_part, -1);
    put_i32(&mut crc_part, -1);
    put_i32(&mut crc_part, count);
    crc_part.extend_from_slice(&body);
    let mut batch = Vec::with_capacity(crc_part.len() + 21);
    put_i64(&mut batch, 0);
    put_i32(&mut batch, i32::try_from(crc_part.len() + 9).expect("a batch fits 2 GiB"));
    put_i32(&mut batch, -1);
    batch.push(2);
    batch.extend_from_slice(&crc32c::crc32c(&crc_part).to_be_bytes());
    batch.extend_from_slice(&crc_part);
    batch
}

/// The bytes of values, the same for the same seed.
struct Values {
    random: u64,
    words: bool,
}

impl Values {
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn fill(&mut self, into: &mut Vec<u8>, bytes: usize) {
        let end = into.len() + bytes;
        while into.len() < end {
            let random = self.next().to_be_bytes();
            if self.words {
                into.extend_from_slice(WORDS[usize::from(random[0]) % WORDS.len()].as_bytes());
            } else {
                into.extend_from_slice(&random);
            }
        }
        into.truncate(end);
    }
}

/// What log lines are made of; compresses like them.
const WORDS: [&str; 16] = [
    "INFO ",
    "WARN ",
    "request ",
    "completed ",
    "in ",
    "ms ",
    "status=200 ",
    "status=404 ",
    "GET /api/v1/orders ",
    "user=",
    "7f3a",
    "91c0",
    "session ",
    "connection closed by peer ",
    "retrying ",
    "2026-01-01T00:00:00Z ",
];

fn codec_id(compression: Compression) -> i16 {
    match compression {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Snappy => 2,
        Compression::Lz4 => 3,
        Compression::Zstd => 4,
    }
}

/// A Produce v7 request at acks=all for one partition.
#[must_use]
pub fn produce(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut frame = produce_head(topic, -1, &[partition], batch.len());
    frame.extend_from_slice(batch);
    frame
}

/// A Produce v7 request that carries the same batch to each of some partitions.
#[must_use]
pub fn produce_to(topic: &str, acks: i16, partitions: &[i32], batch: &[u8]) -> Vec<u8> {
    let (first, others) = partitions.split_first().expect("a request is for at least one partition");
    let mut frame = produce_head(topic, acks, partitions, batch.len());
    debug_assert_eq!(get_i32(&frame, frame.len() - 8), *first);
    frame.extend_from_slice(batch);
    for partition in others {
        put_i32(&mut frame, *partition);
        put_i32(&mut frame, len_i32(batch.len()));
        frame.extend_from_slice(batch);
    }
    frame
}

/// All of such a request that stands before the first batch, the length prefix included: the batch may be sent from where
/// it is.
#[must_use]
pub fn produce_head(topic: &str, acks: i16, partitions: &[i32], batch_bytes: usize) -> Vec<u8> {
    let mut frame = header(key::PRODUCE, 7, 0);
    put_i16(&mut frame, -1); // no transactional id
    put_i16(&mut frame, acks);
    put_i32(&mut frame, 30_000);
    put_i32(&mut frame, 1);
    put_str(&mut frame, topic);
    put_i32(&mut frame, len_i32(partitions.len()));
    put_i32(&mut frame, partitions.first().copied().unwrap_or(0));
    put_i32(&mut frame, len_i32(batch_bytes));
    let following = batch_bytes + (partitions.len() - 1) * (8 + batch_bytes);
    let len = len_i32(frame.len() - 4 + following);
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
}

/// What a Produce v7 answer says of each partition: (partition, error code, base offset).
#[must_use]
pub fn produce_answers(frame: &[u8]) -> Option<Vec<(i32, i16, i64)>> {
    let mut answers = Vec::new();
    let mut at = Reader { bytes: frame, at: 4 };
    for _ in 0..at.count()? {
        at.string()?;
        for _ in 0..at.count()? {
            answers.push((at.i32()?, at.i16()?, at.i64()?));
            at.skip(16)?;
        }
    }
    Some(answers)
}

/// The error code of a Produce v7 answer to one partition, and the base offset it was given.
pub fn produce_answer(frame: &[u8], topic: &str) -> (i16, i64) {
    // correlation id, topic count, topic, partition count, partition
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    (get_i16(frame, at), get_i64(frame, at + 2))
}

/// A Fetch v11 request, without a session, for one partition.
#[must_use]
pub fn fetch(topic: &str, partition: i32, offset: i64, max_wait_ms: i32, max_bytes: i32) -> Vec<u8> {
    let mut frame = Vec::new();
    fetch_into(&mut frame, topic, &[(partition, offset)], max_wait_ms, max_bytes);
    frame
}

/// As [`fetch`], for several partitions from an offset each, into a buffer that is used again.
pub fn fetch_into(frame: &mut Vec<u8>, topic: &str, from: &[(i32, i64)], max_wait_ms: i32, max_bytes: i32) {
    *frame = header_into(std::mem::take(frame), key::FETCH, 11, 0);
    put_i32(frame, -1);
    put_i32(frame, max_wait_ms);
    put_i32(frame, 1); // min bytes
    put_i32(frame, max_bytes);
    frame.push(0); // read uncommitted
    put_i32(frame, 0);
    put_i32(frame, -1);
    put_i32(frame, 1);
    put_str(frame, topic);
    put_i32(frame, len_i32(from.len()));
    for (partition, offset) in from {
        put_i32(frame, *partition);
        put_i32(frame, -1); // current leader epoch
        put_i64(frame, *offset);
        put_i64(frame, -1);
        put_i32(frame, max_bytes);
    }
    put_i32(frame, 0); // forgotten topics
    put_str(frame, "");
    let len = len_i32(frame.len() - 4);
    frame[..4].copy_from_slice(&len.to_be_bytes());
}

/// What a Fetch v11 answer says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// The partition.
    pub partition: i32,
    /// Its error code.
    pub error: i16,
    /// Its batches; the last may be cut off.
    pub records: &'a [u8],
}

/// What a Fetch v11 answer says: its own error code, and each partition. `None` where it is not well formed.
#[must_use]
pub fn fetch_answers(frame: &[u8]) -> Option<(i16, Vec<Fetched<'_>>)> {
    let mut at = Reader { bytes: frame, at: 4 + 4 };
    let error = at.i16()?;
    at.skip(4)?; // session
    let mut found = Vec::new();
    for _ in 0..at.count()? {
        at.string()?;
        for _ in 0..at.count()? {
            let (partition, error) = (at.i32()?, at.i16()?);
            at.skip(8 + 8 + 8)?;
            let aborted = usize::try_from(at.i32()?.max(0)).ok()?;
            at.skip(aborted.checked_mul(16)?)?;
            at.skip(4)?; // preferred read replica
            let len = usize::try_from(at.i32()?.max(0)).ok()?;
            found.push(Fetched { partition, error, records: at.take(len)? });
        }
    }
    Some((error, found))
}

/// What a Fetch v11 answer to one partition says: its error code and its record bytes.
pub fn fetch_answer<'a>(frame: &'a [u8], topic: &str) -> (i16, &'a [u8]) {
    // correlation, throttle, error, session, topics, topic, partitions
    let at = 4 + 4 + 2 + 4 + 4 + 2 + topic.len() + 4;
    let error = get_i16(frame, at + 4);
    let aborted_at = at + 4 + 2 + 8 + 8 + 8;
    let aborted = usize::try_from(get_i32(frame, aborted_at).max(0)).expect("not negative");
    let records_at = aborted_at + 4 + aborted * 16 + 4;
    let len = usize::try_from(get_i32(frame, records_at).max(0)).expect("not negative");
    (error, &frame[records_at + 4..records_at + 4 + len])
}

/// The whole batches of a fetched byte range: (base offset, last offset, bytes of the batch).
#[must_use]
pub fn batches(mut records: &[u8]) -> Vec<(i64, i64, &[u8])> {
    let mut found = Vec::new();
    while records.len() >= 61 {
        let Some(batch) = usize::try_from(get_i32(records, 8)).ok().and_then(|len| records.get(..12 + len)) else {
            break;
        };
        if batch.len() < 61 {
            break;
        }
        let base = get_i64(records, 0);
        found.push((base, base + i64::from(get_i32(records, 23)), batch));
        records = &records[batch.len()..];
    }
    found
}

/// A CreateTopics v2 request with configs.
pub fn create_topic(topic: &str, partitions: i32, configs: &[(&str, String)]) -> Vec<u8> {
    let mut frame = header(key::CREATE_TOPICS, 2, 0);
    put_i32(&mut frame, 1);
    put_str(&mut frame, topic);
    put_i32(&mut frame, partitions);
    put_i16(&mut frame, 1);
    put_i32(&mut frame, 0); // no assignment
    put_i32(&mut frame, i32::try_from(configs.len()).expect("few"));
    for (name, value) in configs {
        put_str(&mut frame, name);
        put_str(&mut frame, value);
    }
    put_i32(&mut frame, 120_000);
    frame.push(0);
    finish(frame)
}

/// The error code of a CreateTopics v2 answer to one topic.
pub fn create_topic_answer(frame: &[u8], topic: &str) -> i16 {
    get_i16(frame, 4 + 4 + 4 + 2 + topic.len())
}

fn header(key: i16, version: i16, correlation: i32) -> Vec<u8> {
    header_into(Vec::new(), key, version, correlation)
}

fn header_into(mut frame: Vec<u8>, key: i16, version: i16, correlation: i32) -> Vec<u8> {
    frame.clear();
    put_i32(&mut frame, 0);
    put_i16(&mut frame, key);
    put_i16(&mut frame, version);
    put_i32(&mut frame, correlation);
    put_str(&mut frame, "bench");
    frame
}

fn finish(mut frame: Vec<u8>) -> Vec<u8> {
    let len = len_i32(frame.len() - 4);
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
}

/// Reads an answer without trusting it.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(|_| ())
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(*self.take(8)?.first_chunk()?))
    }

    fn count(&mut self) -> Option<i32> {
        self.i32().map(|count| count.max(0))
    }

    fn string(&mut self) -> Option<()> {
        let len = usize::try_from(self.i16()?.max(0)).ok()?;
        self.skip(len)
    }
}

fn varint(into: &mut Vec<u8>, value: i64) {
    let mut zigzag = (value << 1 ^ value >> 63).cast_unsigned();
    while zigzag >= 0x80 {
        into.push(u8::try_from(zigzag & 0x7f).expect("masked") | 0x80);
        zigzag >>= 7;
    }
    into.push(u8::try_from(zigzag).expect("below 0x80"));
}

fn put_i16(into: &mut Vec<u8>, value: i16) {
    into.extend_from_slice(&value.to_be_bytes());
}

fn put_i32(into: &mut Vec<u8>, value: i32) {
    into.extend_from_slice(&value.to_be_bytes());
}

fn put_i64(into: &mut Vec<u8>, value: i64) {
    into.extend_from_slice(&value.to_be_bytes());
}

fn put_str(into: &mut Vec<u8>, text: &str) {
    put_i16(into, i16::try_from(text.len()).expect("names are short"));
    into.extend_from_slice(text.as_bytes());
}

fn len_i32(len: usize) -> i32 {
    i32::try_from(len).expect("a frame fits 2 GiB")
}

fn len_i64(len: usize) -> i64 {
    i64::try_from(len).expect("a frame fits 2 GiB")
}

/// A number of two bytes at an offset that is known to be there.
#[must_use]
pub fn get_i16(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// A number of four bytes at an offset that is known to be there.
#[must_use]
pub fn get_i32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A number of eight bytes at an offset that is known to be there.
#[must_use]
pub fn get_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A fixed timestamp keeps every run's bytes the same; it is in the past, so that no rule against the future meets it.
const PAST_MS: i64 = 1_700_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_several_partitions_is_as_long_as_it_says() {
        let frame = produce_to("t", -1, &[3, 5, 9], &[7; 100]);
        assert_eq!(usize::try_from(get_i32(&frame, 0)).expect("positive") + 4, frame.len());
        assert_eq!(produce("t", 3, &[7; 100]), produce_to("t", -1, &[3], &[7; 100]));
    }

    #[test]
    fn what_is_cut_off_is_no_answer() {
        let mut frame = vec![0; 4 + 4 + 2 + 4];
        put_i32(&mut frame, 1);
        put_str(&mut frame, "t");
        put_i32(&mut frame, 1);
        put_i32(&mut frame, 5);
        put_i16(&mut frame, 0);
        frame.extend([0; 24]);
        put_i32(&mut frame, -1);
        put_i32(&mut frame, -1);
        put_i32(&mut frame, 3);
        frame.extend(b"abc");
        let (error, found) = fetch_answers(&frame).expect("well formed");
        assert_eq!((error, found), (0, vec![Fetched { partition: 5, error: 0, records: b"abc" }]));
        for len in 0..frame.len() {
            assert_eq!(fetch_answers(&frame[..len]), None, "{len}");
        }
    }

    #[test]
    fn a_compressed_batch_is_one_that_the_node_takes() {
        for compression in
            [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Snappy, Compression::Zstd]
        {
            let shape =
                BatchShape { records: 50, value_bytes: 200, keyed: true, compression, timestamp_ms: 5, seed: 1 };
            let bytes = batch_of(&shape);
            let found = batches(&bytes);
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].0, found[0].1), (0, 49));
            assert!(compression == Compression::None || bytes.len() < 50 * 100, "{compression:?}: {}", bytes.len());
        }
    }
}
