//! Any bytes as a journal record: no panic, no entry that reaches beyond the record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain::storage::journal::record::{HEADER_BYTES, decode};

// The first byte says whether magic, version, length and checksum are made to fit, so that the entries are reached.
fuzz_target!(|data: &[u8]| {
    let Some((fit, record)) = data.split_first() else { return };
    let mut record = record.to_vec();
    if fit % 2 == 1 && record.len() >= HEADER_BYTES {
        record[..8].copy_from_slice(b"rgmnjrnl");
        record[8..10].copy_from_slice(&1_u16.to_be_bytes());
        let length = u32::try_from(record.len()).expect("small");
        record[12..16].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&record[HEADER_BYTES..]), &record[..HEADER_BYTES - 4]);
        record[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
        assert!(decode(&record).is_ok(), "the header fits: has the format changed?");
    }
    let Ok((header, entries)) = decode(&record) else { return };
    assert!(header.record_bytes <= record.len());
    let mut tails = 0;
    for entry in entries.flatten() {
        tails += entry.tail.len();
        let _ = entry.end_position();
    }
    assert!(tails <= record.len());
});
