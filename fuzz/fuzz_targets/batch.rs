//! Any bytes as record batches: no panic, bounded decompression, the same answer whatever the chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain::io::Slice;
use ringmain::record::build::reseal;
use ringmain::record::crc::{self, HeaderStamp};
use ringmain::record::{
    Batches, CheckRules, HEADER_BYTES, Records, TimestampType, check, decode, find_by_time, find_max_timestamp,
};
use ringmain::types::Offset;

// The first byte says how long chunks are; the second whether length, magic and checksum are made to fit.
fuzz_target!(|data: &[u8]| {
    let [chunk_bytes, fit, batch @ ..] = data else { return };
    let mut batch = batch.to_vec();
    if fit % 2 == 1 && batch.len() >= HEADER_BYTES {
        let length = i32::try_from(batch.len() - 12).expect("small");
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        reseal(&mut batch);
    }
    let chunks = batch.chunks(usize::from(*chunk_bytes) + 1);
    let chunks = Records::from_chunks(chunks.map(|chunk| Slice::from(bytes::Bytes::copy_from_slice(chunk))).collect());
    let whole = Records::from(batch.clone());
    let rules = CheckRules {
        produce_version: 9,
        max_message_bytes: 1 << 20,
        segment_bytes: 1 << 20,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        now_ms: 1_700_000_000_000,
    };
    assert_eq!(check(&whole, &rules), check(&chunks, &rules));
    assert_eq!(crc::verify(&whole), crc::verify(&chunks));
    stamp(&whole, batch.clone());
    for walked in Batches::new(&batch).flatten() {
        let _ = walked.verify();
        let _ = find_by_time(walked.bytes, Offset(0), 1_700_000_000_000);
        let _ = find_max_timestamp(walked.bytes, Offset(0));
        if let Ok(decoded) = decode(walked.bytes) {
            for record in decoded.records().flatten() {
                assert_eq!(record.headers.count(), record.headers.count_left() as usize);
            }
        }
    }
});

/// A stamp keeps a checksum right that was right.
fn stamp(whole: &Records, mut batch: Vec<u8>) {
    let Ok(header) = crc::verify(whole) else { return };
    let mut bytes = header.to_bytes();
    let stamp = HeaderStamp { base_offset: Offset(7), leader_epoch: 8, log_append_time_ms: Some(9) };
    crc::stamp(&mut bytes, &stamp);
    batch[..HEADER_BYTES].copy_from_slice(&bytes);
    assert!(crc::verify(&Records::from(batch)).is_ok());
}
