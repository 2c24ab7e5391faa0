//! Requests and answers of the Kafka protocol, as few as the load needs, encoded by hand.
//!
//! Kept apart from the library on purpose: a load that shared the node's codec would not notice a mistake in it.

/// Kafka's api keys that the load sends.
pub mod key {
    /// Produce.
    pub const PRODUCE: i16 = 0;
    /// Fetch.
    pub const FETCH: i16 = 1;
    /// CreateTopics.
    pub const CREATE_TOPICS: i16 = 19;
}

/// One uncompressed record batch of `records` records with `value_bytes` of pseudo-random value each.
pub fn batch(records: usize, value_bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = seed | 1;
    let mut body = Vec::with_capacity(records * (value_bytes + 16));
    for index in 0..records {
        let mut record = vec![0_u8]; // attributes
        varint(&mut record, 0); // timestamp delta
        varint(&mut record, i64::try_from(index).expect("small"));
        varint(&mut record, -1); // no key
        varint(&mut record, i64::try_from(value_bytes).expect("small"));
        record.extend((0..value_bytes).map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_be_bytes()[0]
        }));
        varint(&mut record, 0); // no headers
        varint(&mut body, i64::try_from(record.len()).expect("small"));
        body.extend_from_slice(&record);
    }
    let count = i32::try_from(records).expect("small");
    let mut crc_part = Vec::with_capacity(body.len() + 40);
    crc_part.extend_from_slice(&0_i16.to_be_bytes()); // attributes
    crc_part.extend_from_slice(&(count - 1).to_be_bytes()); // last offset delta
    crc_part.extend_from_slice(&NOW_MS.to_be_bytes());
    crc_part.extend_from_slice(&NOW_MS.to_be_bytes());
    crc_part.extend_from_slice(&(-1_i64).to_be_bytes()); // producer id
    crc_part.extend_from_slice(&(-1_i16).to_be_bytes());
    crc_part.extend_from_slice(&(-1_i32).to_be_bytes());
    crc_part.extend_from_slice(&count.to_be_bytes());
    crc_part.extend_from_slice(&body);
    let mut batch = Vec::with_capacity(crc_part.len() + 21);
    batch.extend_from_slice(&0_i64.to_be_bytes());
    batch.extend_from_slice(&i32::try_from(crc_part.len() + 9).expect("a batch fits 2 GiB").to_be_bytes());
    batch.extend_from_slice(&(-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend_from_slice(&crc32c::crc32c(&crc_part).to_be_bytes());
    batch.extend_from_slice(&crc_part);
    batch
}

/// A Produce v7 request at acks=all for one partition.
pub fn produce(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut frame = header(key::PRODUCE, 7, 0);
    put_i16(&mut frame, -1); // no transactional id
    put_i16(&mut frame, -1); // acks=all
    put_i32(&mut frame, 30_000);
    put_i32(&mut frame, 1);
    put_str(&mut frame, topic);
    put_i32(&mut frame, 1);
    put_i32(&mut frame, partition);
    put_i32(&mut frame, i32::try_from(batch.len()).expect("a batch fits 2 GiB"));
    frame.extend_from_slice(batch);
    finish(frame)
}

/// The error code of a Produce v7 answer to one partition, and the base offset it was given.
pub fn produce_answer(frame: &[u8], topic: &str) -> (i16, i64) {
    // correlation id, topic count, topic, partition count, partition
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    (get_i16(frame, at), get_i64(frame, at + 2))
}

/// A Fetch v11 request, without a session, for one partition.
pub fn fetch(topic: &str, partition: i32, offset: i64, max_wait_ms: i32, max_bytes: i32) -> Vec<u8> {
    let mut frame = header(key::FETCH, 11, 0);
    put_i32(&mut frame, -1);
    put_i32(&mut frame, max_wait_ms);
    put_i32(&mut frame, 1); // min bytes
    put_i32(&mut frame, max_bytes);
    frame.push(0); // read uncommitted
    put_i32(&mut frame, 0);
    put_i32(&mut frame, -1);
    put_i32(&mut frame, 1);
    put_str(&mut frame, topic);
    put_i32(&mut frame, 1);
    put_i32(&mut frame, partition);
    put_i32(&mut frame, -1); // current leader epoch
    frame.extend_from_slice(&offset.to_be_bytes());
    frame.extend_from_slice(&(-1_i64).to_be_bytes());
    put_i32(&mut frame, max_bytes);
    put_i32(&mut frame, 0); // forgotten topics
    put_str(&mut frame, "");
    finish(frame)
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

/// The batches of a fetched byte range: (base offset, last offset, bytes of the batch).
pub fn batches(mut records: &[u8]) -> Vec<(i64, i64, &[u8])> {
    let mut found = Vec::new();
    while records.len() >= 61 {
        let len = 12 + usize::try_from(get_i32(records, 8)).expect("the node sends whole batches");
        if records.len() < len {
            break;
        }
        let base = get_i64(records, 0);
        found.push((base, base + i64::from(get_i32(records, 23)), &records[..len]));
        records = &records[len..];
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
    let mut frame = vec![0; 4];
    put_i16(&mut frame, key);
    put_i16(&mut frame, version);
    put_i32(&mut frame, correlation);
    put_str(&mut frame, "bench");
    frame
}

fn finish(mut frame: Vec<u8>) -> Vec<u8> {
    let len = i32::try_from(frame.len() - 4).expect("a frame fits 2 GiB");
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
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

fn put_str(into: &mut Vec<u8>, text: &str) {
    put_i16(into, i16::try_from(text.len()).expect("short"));
    into.extend_from_slice(text.as_bytes());
}

/// A number of two bytes at an offset.
pub fn get_i16(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// A number of four bytes at an offset.
pub fn get_i32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A number of eight bytes at an offset.
pub fn get_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A fixed timestamp keeps every run's bytes the same; it is in the past, so that no rule against the future meets it.
const NOW_MS: i64 = 1_700_000_000_000;
