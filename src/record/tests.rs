//! What holds for every batch: refused or read, whole or cut, in one piece or in many.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::build::{BatchBuilder, NewRecord, reseal};
use super::crc::HeaderStamp;
use super::{
    BatchHeader, Batches, CheckRules, Compression, HEADER_BYTES, RecordError, Records, TimestampType, check, crc,
    decode, find_by_time, find_max_timestamp,
};
use crate::io::Slice;
use crate::types::Offset;

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn rules() -> CheckRules {
    CheckRules {
        produce_version: 9,
        max_message_bytes: 1_048_588,
        segment_bytes: 1 << 30,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: HOUR_MS,
        now_ms: NOW_MS,
    }
}

fn a_codec() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::None),
        Just(Compression::Gzip),
        Just(Compression::Snappy),
        Just(Compression::Lz4),
        Just(Compression::Zstd)
    ]
}

prop_compose! {
    fn a_record()(
        timestamp in NOW_MS - 1000..NOW_MS + 1000,
        key in option::of(vec(any::<u8>(), 0..20)),
        value in option::of(vec(any::<u8>(), 0..200)),
        headers in vec((vec(any::<u8>(), 0..5), option::of(vec(any::<u8>(), 0..5))), 0..3),
    ) -> NewRecord {
        NewRecord { timestamp, key, value, headers }
    }
}

prop_compose! {
    fn a_builder()(compression in a_codec(), id in -1..1000_i64, sequence in 0..i32::MAX) -> BatchBuilder {
        let idempotent = id >= 0;
        BatchBuilder {
            compression,
            producer_id: id,
            producer_epoch: if idempotent { 3 } else { -1 },
            base_sequence: if idempotent { sequence } else { -1 },
            ..BatchBuilder::default()
        }
    }
}

prop_compose! {
    fn a_batch()(builder in a_builder(), records in vec(a_record(), 1..8)) -> (BatchBuilder, Vec<NewRecord>, Vec<u8>) {
        let bytes = builder.build(&records);
        (builder, records, bytes)
    }
}

/// Cuts `bytes` at `edges` (taken modulo the length).
fn chunked(bytes: &[u8], edges: &[usize]) -> Records {
    let mut edges: Vec<usize> = edges.iter().map(|edge| edge % (bytes.len() + 1)).collect();
    edges.extend([0, bytes.len()]);
    edges.sort_unstable();
    edges.windows(2).map(|pair| Slice::from(bytes::Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]))).collect()
}

fn one(bytes: &[u8]) -> Records {
    Records::from(bytes.to_vec())
}

proptest! {
    #[test]
    fn what_was_built_is_decoded((builder, records, bytes) in a_batch()) {
        let header = check(&one(&bytes), &rules()).expect("a batch that a client may send");
        prop_assert_eq!(crc::verify(&one(&bytes)), Ok(header));
        let written = header.to_bytes();
        prop_assert_eq!(&written[..], &bytes[..HEADER_BYTES]);
        prop_assert_eq!((header.producer_id, header.base_sequence), (builder.producer_id, builder.base_sequence));
        let decoded = decode(&bytes).expect("decodes");
        let mut read = Vec::new();
        for (at, record) in decoded.records().enumerate() {
            let record = record.expect("a record");
            prop_assert_eq!(record.offset, Offset(i64::try_from(at).unwrap()));
            read.push(NewRecord {
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
            });
        }
        prop_assert_eq!(read, records);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(mut bytes in vec(any::<u8>(), 0..300), plausible: bool) {
        if plausible && bytes.len() >= HEADER_BYTES {
            // Past the first checks, so that the bytes behind them are reached.
            let length = i32::try_from(bytes.len() - 12).unwrap();
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            bytes[22] &= 0b111;
        }
        let _ = check(&one(&bytes), &rules());
        let _ = crc::verify(&one(&bytes));
        let _ = find_by_time(&bytes, Offset(0), NOW_MS);
        let _ = find_max_timestamp(&bytes, Offset(0));
        if let Ok(batch) = decode(&bytes) {
            for record in batch.records().flatten() {
                prop_assert_eq!(record.headers.count(), usize::try_from(record.headers.count_left()).unwrap());
            }
        }
        let mut position = 0;
        for batch in Batches::new(&bytes).flatten() {
            prop_assert_eq!(batch.position, position);
            position += batch.bytes.len();
        }
        let mut header = [0; HEADER_BYTES];
        for (to, from) in header.iter_mut().zip(&bytes) {
            *to = *from;
        }
        crc::stamp(&mut header, &HeaderStamp { base_offset: Offset(1), leader_epoch: 1, log_append_time_ms: Some(1) });
    }

    #[test]
    fn a_cut_batch_is_refused((_, _, bytes) in a_batch(), cut: prop::sample::Index) {
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(check(&one(cut), &rules()).is_err());
        prop_assert!(crc::verify(&one(cut)).is_err());
        prop_assert!(decode(cut).is_err());
        prop_assert!(Batches::new(cut).all(|batch| batch.is_err()));
    }

    #[test]
    fn a_flipped_bit_never_passes((_, _, mut bytes) in a_batch(), bit: prop::sample::Index) {
        // The base offset and the leader epoch are the broker's to write: no checksum covers them.
        let covered: Vec<usize> = (8..12).chain(16..bytes.len()).collect();
        let bit = bit.index(covered.len() * 8);
        let bit = covered[bit / 8] * 8 + bit % 8;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let passes = check(&one(&bytes), &rules()).is_ok() && crc::verify(&one(&bytes)).is_ok();
        prop_assert!(!passes, "bit {bit}");
        let verified = Batches::new(&bytes).next().expect("something").and_then(|batch| batch.verify());
        prop_assert!(verified.is_err(), "bit {bit}");
    }

    #[test]
    fn chunk_edges_make_no_difference(
        (_, _, mut bytes) in a_batch(),
        edges in vec(any::<usize>(), 0..6),
        change in option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        if let Some((at, value)) = change {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let (whole, pieces) = (one(&bytes), chunked(&bytes, &edges));
        prop_assert_eq!(&whole, &pieces);
        prop_assert_eq!(check(&whole, &rules()), check(&pieces, &rules()));
        prop_assert_eq!(crc::verify(&whole), crc::verify(&pieces));
        prop_assert_eq!(whole.header(), pieces.header());
    }

    #[test]
    fn a_stamp_keeps_the_checksum_right(
        (_, _, mut bytes) in a_batch(),
        base_offset in 0..i64::MAX,
        leader_epoch: i32,
        now_ms in option::of(any::<i64>()),
    ) {
        let records_before = bytes[HEADER_BYTES..].to_vec();
        let mut header: [u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().unwrap();
        let stamp = HeaderStamp { base_offset: Offset(base_offset), leader_epoch, log_append_time_ms: now_ms };
        crc::stamp(&mut header, &stamp);
        bytes[..HEADER_BYTES].copy_from_slice(&header);
        let stamped = crc::verify(&one(&bytes)).expect("the checksum fits");
        prop_assert_eq!((stamped.base_offset, stamped.partition_leader_epoch), (Offset(base_offset), leader_epoch));
        if let Some(now_ms) = now_ms {
            prop_assert_eq!((stamped.timestamp_type(), stamped.max_timestamp), (TimestampType::LogAppendTime, now_ms));
            let decoded = decode(&bytes).expect("decodes");
            prop_assert!(decoded.records().all(|record| record.expect("a record").timestamp == now_ms));
        }
        prop_assert_eq!(&bytes[HEADER_BYTES..], &records_before[..]);
    }

    #[test]
    fn times_are_found_as_a_scan_finds_them((_, records, bytes) in a_batch(), target in NOW_MS - 1100..NOW_MS + 1100) {
        let stamps: Vec<(Offset, i64)> = (0..).map(Offset).zip(records.iter().map(|record| record.timestamp)).collect();
        let first = stamps.iter().copied().find(|(_, timestamp)| *timestamp >= target);
        prop_assert_eq!(find_by_time(&bytes, Offset(0), target), Ok(first));
        let largest = stamps.iter().copied().rev().max_by_key(|(_, timestamp)| *timestamp);
        prop_assert_eq!(find_max_timestamp(&bytes, Offset(0)), Ok(largest));
    }

    #[test]
    fn batches_are_walked_to_the_last_whole_one(
        batches in vec(a_batch(), 1..5),
        cut: prop::sample::Index,
    ) {
        let bytes: Vec<u8> = batches.iter().flat_map(|(_, _, bytes)| bytes.iter().copied()).collect();
        let cut = cut.index(bytes.len() + 1);
        let mut walk = Batches::new(&bytes[..cut]);
        let whole = walk.by_ref().flatten().count();
        let ends: Vec<usize> = batches.iter().scan(0, |end, (_, _, one)| { *end += one.len(); Some(*end) }).collect();
        prop_assert_eq!(whole, ends.iter().filter(|end| **end <= cut).count());
        prop_assert_eq!(walk.position(), ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0));
    }
}

#[test]
fn a_stamp_fits_a_batch_without_records_too() {
    let bytes = BatchBuilder::default().build(&[]);
    let mut header: [u8; HEADER_BYTES] = bytes[..].try_into().expect("a bare header");
    let stamp = HeaderStamp { base_offset: Offset(1), leader_epoch: 2, log_append_time_ms: Some(NOW_MS) };
    crc::stamp(&mut header, &stamp);
    assert!(crc::verify(&one(&header)).is_ok());
}

/// A batch of two records with one thing wrong.
fn with(change: impl FnOnce(&mut BatchHeader)) -> Records {
    let mut bytes = BatchBuilder::default().build(&[NewRecord::value(NOW_MS, "a"), NewRecord::value(NOW_MS + 1, "b")]);
    let mut header = BatchHeader::read(&bytes).expect("a header");
    change(&mut header);
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    reseal(&mut bytes);
    Records::from(bytes)
}

#[test]
fn a_header_that_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut BatchHeader)| check(&with(change), &rules()).expect_err("refused");
    use RecordError as E;
    assert_eq!(refused(|h| h.base_offset = Offset(5)), E::BaseOffset { base_offset: 5 });
    assert_eq!(refused(|h| h.record_count = 3), E::BadCount { record_count: 3, last_offset_delta: 1 });
    assert_eq!(refused(|h| h.last_offset_delta = -2), E::BadCount { record_count: 2, last_offset_delta: -2 });
    assert_eq!(
        refused(|h| (h.record_count, h.last_offset_delta) = (0, -1)),
        E::BadCount { record_count: 0, last_offset_delta: -1 }
    );
    assert_eq!(
        refused(|h| (h.record_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1)),
        E::CountBeyondBytes { record_count: i32::MAX, payload: 16 }
    );
    let compressed = |h: &mut BatchHeader| {
        (h.attributes, h.record_count, h.last_offset_delta) = (4, i32::MAX, i32::MAX - 1);
    };
    assert_eq!(refused(compressed), E::CountBeyondBytes { record_count: i32::MAX, payload: 16 });
    assert_eq!(refused(|h| h.attributes |= 1 << 5), E::Control);
    assert_eq!(refused(|h| h.attributes |= 1 << 4), E::Transactional);
    assert_eq!(refused(|h| h.attributes |= 1 << 6), E::DeleteHorizon);
    assert_eq!(refused(|h| h.attributes |= 1 << 3), E::TimestampType);
    assert_eq!(refused(|h| h.attributes |= 7), E::UnknownCodec { codec: 7 });
    assert_eq!(
        refused(|h| h.producer_id = 9),
        E::BadSequence { producer_id: 9, producer_epoch: -1, base_sequence: -1 }
    );
    assert_eq!(refused(|h| h.batch_length += 1), E::Truncated { needed: 78, available: 77 });
    assert_eq!(refused(|h| h.batch_length -= 1), E::NotOneBatch { surplus: 1 });
    assert_eq!(refused(|h| h.batch_length = 48), E::BadLength { length: 48 });
    assert_eq!(refused(|h| h.batch_length = -1), E::BadLength { length: -1 });
    assert_eq!(check(&Records::default(), &rules()), Err(E::Empty));
    let mut old = BatchBuilder::default().build(&[NewRecord::value(NOW_MS, "a")]);
    old[16] = 1;
    assert_eq!(check(&Records::from(old), &rules()), Err(E::BadMagic { magic: 1 }));
}

#[test]
fn the_bounds_of_the_topic_are_kept() {
    let batch = with(|_| ());
    let size = batch.len();
    assert!(check(&batch, &CheckRules { max_message_bytes: size, segment_bytes: size, ..rules() }).is_ok());
    assert_eq!(
        check(&batch, &CheckRules { max_message_bytes: size - 1, ..rules() }),
        Err(RecordError::TooLarge { size, max: size - 1 })
    );
    assert_eq!(
        check(&batch, &CheckRules { segment_bytes: size - 1, ..rules() }),
        Err(RecordError::LargerThanSegment { size, max: size - 1 })
    );
    let zstd = with(|header| header.attributes |= 4);
    assert_eq!(
        check(&zstd, &CheckRules { produce_version: 6, ..rules() }),
        Err(RecordError::ZstdTooEarly { produce_version: 6 })
    );
    assert!(check(&zstd, &CheckRules { produce_version: 7, ..rules() }).is_ok());
}

#[test]
fn timestamps_are_bounded_by_the_topic_and_not_by_log_append_time() {
    let late = with(|header| header.max_timestamp = NOW_MS + HOUR_MS + 1);
    let error = check(&late, &rules()).expect_err("refused");
    assert!(matches!(error, RecordError::Timestamp { timestamp, .. } if timestamp == NOW_MS + HOUR_MS + 1));
    assert!(check(&with(|header| header.max_timestamp = NOW_MS + HOUR_MS), &rules()).is_ok());
    assert!(check(&late, &CheckRules { timestamp_type: TimestampType::LogAppendTime, ..rules() }).is_ok());
    let bounded = CheckRules { timestamp_before_max_ms: 10, ..rules() };
    assert!(check(&with(|header| header.base_timestamp = NOW_MS - 10), &bounded).is_ok());
    assert!(check(&with(|header| header.base_timestamp = NOW_MS - 11), &bounded).is_err());
    let none = with(|header| (header.base_timestamp, header.max_timestamp) = (-1, -1));
    assert!(check(&none, &bounded).is_ok(), "no timestamp is no bad timestamp");
    assert!(check(&with(|header| header.base_timestamp = i64::MIN), &bounded).is_err());
    assert!(check(&with(|header| header.max_timestamp = i64::MAX), &rules()).is_err());
}

#[test]
fn a_malformed_record_ends_the_walk() {
    let mut bytes = BatchBuilder::default().build(&[NewRecord::value(NOW_MS, "a"), NewRecord::value(NOW_MS, "b")]);
    // The value length of the second record, one too many: 8 bytes a record, the length byte first.
    bytes[HEADER_BYTES + 8 + 5] += 2;
    let batch = decode(&bytes).expect("a header");
    let results: Vec<_> = batch.records().collect();
    assert!(matches!(results.as_slice(), [Ok(_), Err(RecordError::Malformed { index: 1, .. })]), "{results:?}");
    // Looking for a time passes over what it does not need, and stops where a length leads nowhere.
    bytes[HEADER_BYTES + 8] += 2;
    assert_eq!(find_by_time(&bytes, Offset(0), NOW_MS), Ok(Some((Offset(0), NOW_MS))));
    let error = RecordError::Malformed { index: 1, reason: "a record cut short" };
    assert_eq!(find_by_time(&bytes, Offset(0), i64::MAX), Err(error));
    // One record fewer than there are: the rest is not passed over in silence.
    let mut fewer = BatchBuilder::default().build(&[NewRecord::value(NOW_MS, "a"), NewRecord::value(NOW_MS, "b")]);
    fewer[60] = 1;
    let batch = decode(&fewer).expect("a header");
    assert!(matches!(batch.records().last(), Some(Err(RecordError::Malformed { index: 1, .. }))));
}

#[test]
fn a_bomb_is_searched_in_little_memory_and_not_for_ever() {
    // One record that comes out of the codec as 256 MiB of zeros: over the limit, found before it is read.
    let mut payload = Vec::new();
    super::varint::write_i32(&mut payload, 256 << 20);
    payload.extend([0, 0, 0, 1]);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(
        &mut std::io::Read::chain(&payload[..], std::io::Read::take(std::io::repeat(0), 256 << 20)),
        &mut encoder,
    )
    .unwrap();
    let bomb = encoder.finish().unwrap();
    let mut bytes = BatchBuilder { compression: Compression::Zstd, ..BatchBuilder::default() }
        .build(&[NewRecord::value(NOW_MS, "a")]);
    bytes.truncate(HEADER_BYTES);
    bytes.extend_from_slice(&bomb);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let max = super::DECOMPRESSED_BYTES_MAX;
    assert_eq!(find_max_timestamp(&bytes, Offset(0)), Err(RecordError::Inflated { max }));
    assert!(matches!(decode(&bytes), Err(RecordError::Inflated { .. })));
}
