//! Where records go: stdout, in large writes, and the count of what has gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::AsFd as _;

use super::format::{Format, Origin};
use crate::client::Error;
use crate::record::batches::{Batch, Batches};
use crate::record::{RecordError, decode};

/// Prints records.
#[derive(Debug)]
pub(super) struct Sink {
    out: File,
    buffer: Vec<u8>,
    format: Format,
    topic: String,
    /// How many records are still wanted, if that was said.
    left: Option<u64>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// The offset after the last record of each partition that was printed; not all of it may be written yet.
    next: BTreeMap<i32, i64>,
}

impl Sink {
    pub(super) fn stdout(format: Format, topic: &str, max_records: Option<u64>) -> io::Result<Self> {
        // The descriptor itself: the library's own buffer would look for newlines.
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (buffer, next) = (Vec::with_capacity(2 * BUFFER_BYTES), BTreeMap::new());
        Ok(Self { out, buffer, format, topic: topic.to_owned(), left: max_records, records: 0, bytes: 0, next })
    }

    /// Whether no more records are wanted.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Prints the records of whole batches that lie in `wanted`, as far as their number is wanted.
    pub(super) fn print(&mut self, partition: i32, wanted: &Range<i64>, batches: &[u8]) -> Result<(), Error> {
        let mut at = wanted.start;
        for batch in Batches::new(batches) {
            let printed = batch.and_then(|batch| {
                at = batch.header.base_offset.0;
                self.print_batch(partition, wanted, &batch)
            });
            if let Err(error) = printed {
                return Err(Error::Record { what: format!("{}-{partition} at offset {at}", self.topic), error });
            }
            if self.buffer.len() >= BUFFER_BYTES {
                self.write().map_err(stdout_failed)?;
            }
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn print_batch(&mut self, partition: i32, wanted: &Range<i64>, batch: &Batch<'_>) -> Result<(), RecordError> {
        batch.verify()?;
        let mut next = batch.header.next_offset().0;
        // Markers of transactions are for clients, not for people.
        if !batch.header.is_control() {
            let timestamp_type = batch.header.timestamp_type();
            let origin = Origin { topic: &self.topic, partition, timestamp_type };
            for record in decode(batch.bytes)?.records() {
                let record = record?;
                if !wanted.contains(&record.offset.0) {
                    continue;
                }
                if self.left == Some(0) {
                    next = record.offset.0;
                    break;
                }
                self.left = self.left.map(|left| left - 1);
                self.format.write(&mut self.buffer, &record, &origin);
                self.records += 1;
            }
        }
        self.next.insert(partition, next.clamp(wanted.start, wanted.end));
        Ok(())
    }

    /// Writes what is buffered. Answers what has been written since the last call: the next offset of each partition.
    pub(super) fn flush(&mut self) -> Result<BTreeMap<i32, i64>, Error> {
        self.write().map_err(stdout_failed)?;
        Ok(std::mem::take(&mut self.next))
    }

    fn write(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// A reader that has left is not an error: whoever sees [`Error::Stopped`] just ends.
fn stdout_failed(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Error::Stopped;
    }
    Error::Io { server: "stdout".to_owned(), error }
}

const BUFFER_BYTES: usize = 256 << 10;
