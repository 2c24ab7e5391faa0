//! What the reading stages send: one batch over and over, with rising base offsets, as a file and as memory.
//!
//! The file is written through the page cache when the server begins and is in it from then on, as far as memory goes
//! round; nothing here looks whether it still is. An offset is a division away from its position: there is no index.

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use super::super::AppendBuf;
use super::{Error, wire};

/// Where which batch is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    batch_bytes: u64,
    batch_records: i64,
    batches: u64,
}

impl Layout {
    /// As many whole batches as `bytes` hold, at least one.
    pub(super) fn new(batch: &[u8], bytes: u64) -> Result<Self, Error> {
        if !wire::is_batch(batch) || wire::records(batch) < 1 {
            return Err(Error::NoBatch);
        }
        let batch_bytes = batch.len() as u64;
        Ok(Self { batch_bytes, batch_records: wire::records(batch), batches: (bytes / batch_bytes).max(1) })
    }

    /// The offset behind the last record.
    pub(super) fn end_offset(&self) -> i64 {
        self.batch_records * i64::try_from(self.batches).expect("fewer than bytes in a file")
    }

    /// The whole batches from the one with `offset` on, as many as `bytes_max` takes, at least one. None outside the log.
    pub(super) fn range(&self, offset: i64, bytes_max: usize) -> Range<u64> {
        if !(0..self.end_offset()).contains(&offset) {
            return 0..0;
        }
        let index = u64::try_from(offset / self.batch_records).expect("not negative");
        let most = (bytes_max as u64 / self.batch_bytes).max(1);
        let end = self.batches.min(index + most);
        index * self.batch_bytes..end * self.batch_bytes
    }

    fn write(&self, batch: &[u8], mut into: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut batch = batch.to_vec();
        for index in 0..self.batches {
            let index = i64::try_from(index).expect("fewer than bytes in a file");
            wire::set_base_offset(&mut batch, index * self.batch_records);
            into(&batch)?;
        }
        Ok(())
    }

    /// The batches as a file in a directory.
    pub(super) fn file(&self, batch: &[u8], dir: &Path) -> Result<fs::File, Error> {
        let write = || {
            fs::create_dir_all(dir)?;
            let path = dir.join("floor-fetch.log");
            let mut file = io::BufWriter::with_capacity(1 << 20, fs::File::create(&path)?);
            self.write(batch, |bytes| file.write_all(bytes))?;
            file.into_inner()?.sync_all()?;
            fs::File::open(&path)
        };
        write().map_err(|source| Error::Data { dir: dir.to_owned(), source })
    }

    /// The batches as memory.
    pub(super) fn memory(&self, batch: &[u8]) -> AppendBuf {
        let bytes = usize::try_from(self.batches * self.batch_bytes).expect("it fits into memory");
        let mut memory = AppendBuf::with_capacity(bytes);
        let written = self.write(batch, |bytes| {
            memory.append(bytes);
            Ok(())
        });
        written.expect("memory takes it");
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::batch;
    use super::Layout;

    #[test]
    fn a_range_is_whole_batches_within_the_log() {
        let batch = batch(1000);
        let layout = Layout::new(&batch, 10_500).expect("a batch");
        assert_eq!(layout.end_offset(), 10);
        assert_eq!(layout.range(0, 2500), 0..2000);
        assert_eq!(layout.range(3, 10), 3000..4000);
        assert_eq!(layout.range(9, 1 << 20), 9000..10_000);
        assert!(layout.range(10, 2500).is_empty() && layout.range(-1, 2500).is_empty());
        assert!(Layout::new(&batch[..999], 10_500).is_err());
    }

    #[test]
    fn file_and_memory_hold_the_same_batches_with_rising_offsets() {
        let dir = crate::io::files::scratch_dir();
        let batch = batch(1000);
        let layout = Layout::new(&batch, 10_500).expect("a batch");
        layout.file(&batch, dir.path()).expect("written");
        let file = std::fs::read(dir.path().join("floor-fetch.log")).expect("there");
        assert_eq!(file, layout.memory(&batch).filled());
        assert_eq!((file.len(), &file[7000..7008]), (10_000, &7_i64.to_be_bytes()[..]));
        assert_eq!(file[7008..8000], batch[8..]);
    }
}
