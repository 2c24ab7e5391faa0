//! Whole batches, one after the other, in a piece of a log file: recovery, index rebuild, `log dump` and `log verify`.

use super::batch::{BatchHeader, CRC_FROM};
use super::error::RecordError;

/// One whole batch within the walked bytes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Where it begins, in bytes from the start of the walk.
    pub position: usize,
    /// Its header.
    pub header: BatchHeader,
    /// All of it, header included.
    pub bytes: &'a [u8],
}

impl Batch<'_> {
    /// Verifies the checksum.
    pub fn verify(&self) -> Result<(), RecordError> {
        let computed = crc32c::crc32c(self.bytes.get(CRC_FROM..).unwrap_or_default());
        let stored = self.header.crc;
        if computed == stored { Ok(()) } else { Err(RecordError::BadCrc { stored, computed }) }
    }
}

/// Walks batches from the front by their lengths. Ends at the end of the bytes, or after the first error: from there
/// on nothing says where the next batch begins. Checksums are the caller's choice: [`Batch::verify`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// A walk over `bytes`, which begin with a batch.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, failed: false }
    }

    /// Bytes walked so far: the end of the last whole batch.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    fn read(&self) -> Result<Batch<'a>, RecordError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let header = BatchHeader::read(rest)?;
        let size = header.size_bytes();
        let bytes = rest.get(..size).ok_or(RecordError::Truncated { needed: size, available: rest.len() })?;
        Ok(Batch { position: self.position, header, bytes })
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.position >= self.bytes.len() {
            return None;
        }
        let batch = self.read();
        match &batch {
            Ok(batch) => self.position += batch.bytes.len(),
            Err(_) => self.failed = true,
        }
        Some(batch)
    }
}
