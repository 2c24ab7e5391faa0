//! Any bytes as the files beside a segment: no panic, and what is accepted answers every question.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain::storage::kafka_files::{
    clean_shutdown, leader_epochs, meta_properties, offsets, parse_partition_dir, parse_segment_file_name,
    parse_topic_id, partition_metadata,
};
use ringmain::storage::offset_index::OffsetIndex;
use ringmain::storage::time_index::TimeIndex;
use ringmain::types::Offset;

// Eight bytes of a question, then the file.
fuzz_target!(|data: &[u8]| {
    let Some((question, file)) = data.split_first_chunk::<8>() else { return };
    let question = i64::from_be_bytes(*question);
    if let Ok(index) = OffsetIndex::from_bytes(Offset(1000), file.to_vec(), 1 << 30) {
        assert!(index.lookup(Offset(question)) < 1 << 30);
        let _ = (index.last_entry(), index.entry_at_or_below(Offset(question)));
        let _ = index.entry_from_position(question.unsigned_abs());
        let mut thinner = index.clone();
        thinner.thin(question.unsigned_abs());
        assert!(thinner.entry_count() <= index.entry_count());
        thinner.truncate(question.unsigned_abs());
    }
    if let Ok(mut index) = TimeIndex::from_bytes(Offset(1000), file.to_vec()) {
        let _ = (index.lookup(question), index.entry_before(question), index.last_entry());
        index.truncate(Offset(question));
    }
    let Ok(text) = std::str::from_utf8(file) else { return };
    if let Ok(entries) = offsets::decode(text) {
        assert_eq!(offsets::decode(&offsets::encode(&entries)).ok(), Some(entries));
    }
    let _ = (leader_epochs::decode(text), partition_metadata::decode(text), meta_properties::decode(text));
    let _ = (clean_shutdown::decode(text), parse_topic_id(text), parse_partition_dir(text));
    let _ = parse_segment_file_name(text, ".log");
});
