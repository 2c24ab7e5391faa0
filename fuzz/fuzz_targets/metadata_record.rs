//! Any bytes as the value of a metadata record: no panic, and what is accepted is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain::metadata::records::Record;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::decode(data) {
        assert_eq!(Record::decode(&record.encode()).ok(), Some(record));
    }
});
