//! Any bytes as the value of a metadata record: no panic, and what is accepted is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain::metadata::records::MetadataRecord;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = MetadataRecord::decode(data) {
        assert_eq!(MetadataRecord::decode(&record.encode()).ok(), Some(record));
    }
});
