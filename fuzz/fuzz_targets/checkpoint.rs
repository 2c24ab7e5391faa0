//! Any bytes as a checkpoint: no panic, no memory beyond the file's, and what is accepted is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain::storage::checkpoint::Checkpoint;

// Magic and version, checksum, length.
const HEADER_BYTES: usize = 24;

// The first byte says whether the header is made to fit, so that the archive is reached.
fuzz_target!(|data: &[u8]| {
    let Some((fit, file)) = data.split_first() else { return };
    let _ = Checkpoint::decode(file);
    if fit % 2 == 0 {
        return;
    }
    let mut fitting = Checkpoint::default().encode();
    fitting.truncate(HEADER_BYTES);
    fitting[12..16].copy_from_slice(&crc32c::crc32c(file).to_be_bytes());
    fitting[16..24].copy_from_slice(&(file.len() as u64).to_be_bytes());
    fitting.extend_from_slice(file);
    if let Ok(checkpoint) = Checkpoint::decode(&fitting) {
        assert_eq!(Checkpoint::decode(&checkpoint.encode()).ok(), Some(checkpoint));
    }
});
