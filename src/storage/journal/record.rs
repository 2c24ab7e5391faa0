//! The format of a journal record, and the only code that writes or reads it.
//!
//! ```text
//!  record, at a block boundary of the journal, padded with zeros to one:
//!   0  magic "rgmnjrnl"        8
//!   8  version                 u16     shard u16
//!  12  record bytes            u32     header and entries, without padding
//!  16  generation              u64     rises at every start of the node
//!  24  sequence                u64     of the window, rises by one within a generation
//!  32  flushed sequence        u64     every window up to it was durable when this record was made
//!  40  position                u64     logical: grows for ever; modulo the journal's length it is where the record lies
//!  48  entries                 u32
//!  52  crc                     u32     CRC-32C of the entries, then of the 52 bytes above
//!  56  entry ...
//!
//!  entry:
//!   0  topic id 16 | partition i32 | kind u32
//!  24  segment base offset i64 | tail position u64 | end offset i64
//!  48  chain u32 | tail bytes u32
//!  56  tail bytes: the segment's bytes at tail position..end position, where end position = tail position + tail bytes.
//!      Tail position is a block boundary, or the end position. Usually the tail is less than a block; it is longer
//!      while the segment has no room, or may not be written yet.
//! ```
//!
//! **The rule of recovery.** Bytes at a position never change within one life of a segment, so the tails of *all*
//! intact records of a log's segment, in the order of (generation, sequence), are laid over what the segment's file
//! says; the newest entry says where the log ends. Blocks that the newest *flushed* sequence covers must be intact;
//! above it the batches must chain: [`Entry::chain`] is a checksum over the checksum fields of all batches
//! appended since the node opened the log (the entry that it starts from says with which value), so that stale bytes of
//! a recycled file can never pass for the log's own. An entry whose kind is [`Kind::Frozen`] ends a log that a failed write
//! poisoned: entries of lower sequence say nothing any more.

use crate::io::copy::stage_journal;
use crate::io::{AppendBuf, Slice};
use crate::types::{Offset, PartitionId, ShardId, TopicId};

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The active segment and its end.
    End,
    /// A segment that was rolled: its exact end. No tail, chain 0. The log's `End` entry stands behind it.
    Sealed,
    /// The end of a poisoned log: nothing beyond counts, whatever earlier records say.
    Frozen,
}

/// One log in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The log.
    pub id: PartitionId,
    /// What the entry says.
    pub kind: Kind,
    /// The segment, by its base offset.
    pub segment: Offset,
    /// Where in the segment `tail` begins.
    pub tail_position: u64,
    /// The offset after the last record that ends at the end position.
    pub end_offset: Offset,
    /// See the module.
    pub chain: u32,
    /// The segment's bytes from `tail_position` to the end position.
    pub tail: &'a [u8],
}

impl Entry<'_> {
    /// Where in the segment the log ends.
    #[must_use]
    pub fn end_position(&self) -> u64 {
        self.tail_position + self.tail.len() as u64
    }
}

/// The numbers of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Header {
    /// Start of the node that wrote it.
    pub generation: u64,
    /// Number of the window within that start.
    pub sequence: u64,
    /// Every window of that start up to this one was durable when the record was made.
    pub flushed_sequence: u64,
    /// Logical position in the journal.
    pub position: u64,
    /// Header and entries, without padding.
    pub record_bytes: usize,
    /// Entries in it.
    pub entries: usize,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No record begins here.
    #[error("no journal record begins here")]
    NoMagic,
    /// A record of another format.
    #[error("journal record of version {version}")]
    Version {
        /// What it says.
        version: u16,
    },
    /// The record says it is longer than what is there, or shorter than its header.
    #[error("journal record of {record_bytes} bytes, {present} present")]
    Length {
        /// What it says.
        record_bytes: u32,
        /// What is there.
        present: usize,
    },
    /// Its bytes are not what was written.
    #[error("journal record with checksum {stated:08x}, computed {computed:08x}")]
    Crc {
        /// What it says.
        stated: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// An entry that contradicts itself, under an intact checksum.
    #[error("journal record whose entry {entry} is cut or of an unknown kind")]
    Entry {
        /// Which.
        entry: usize,
    },
}

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 56;
/// Bytes of an entry before its tail.
pub const ENTRY_BYTES: usize = 56;

/// Version of the format written here, and the only one read.
const VERSION: u16 = 1;
const MAGIC: [u8; 8] = *b"rgmnjrnl";
/// Where the checksum lies; the header bytes before it are covered after the entries.
const CRC_AT: usize = 52;

const _: () = assert!(CRC_AT + 4 == HEADER_BYTES, "the checksum ends the header");

impl Kind {
    const fn code(self) -> u32 {
        match self {
            Self::End => 0,
            Self::Sealed => 1,
            Self::Frozen => 2,
        }
    }

    const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::End),
            1 => Some(Self::Sealed),
            2 => Some(Self::Frozen),
            _ => None,
        }
    }
}

/// Writes one record into a buffer, entry by entry; its header comes last, when the counts are known.
pub struct Encoder {
    buf: AppendBuf,
    at: usize,
    entries: usize,
    crc: u32,
}

impl Encoder {
    /// A record without entries, in an empty buffer.
    #[must_use]
    pub fn new(buf: AppendBuf) -> Self {
        assert!(buf.is_empty(), "a record begins its buffer");
        Self { buf, at: HEADER_BYTES, entries: 0, crc: 0 }
    }

    /// Gives the buffer back, nothing written.
    #[must_use]
    pub fn abandon(self) -> AppendBuf {
        self.buf
    }

    /// Entries so far.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes so far, without padding.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.at
    }

    /// Adds an entry whose tail is `parts`; `entry.tail` is not looked at. Panics where it does not fit the buffer: the
    /// window keeps to its limit.
    pub fn entry(&mut self, entry: &Entry<'_>, parts: &[Slice]) {
        self.begin_entry(entry, parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.tail(part);
        }
    }

    /// Adds an entry whose tail, of `tail_bytes`, follows by [`Self::tail`].
    pub fn begin_entry(&mut self, entry: &Entry<'_>, tail_bytes: usize) {
        let mut head = [0; ENTRY_BYTES];
        // copies: the fields of an entry's head
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &entry.id.topic_id.0);
        put(16, &entry.id.partition.to_be_bytes());
        put(20, &entry.kind.code().to_be_bytes());
        put(24, &entry.segment.0.to_be_bytes());
        put(32, &entry.tail_position.to_be_bytes());
        put(40, &entry.end_offset.0.to_be_bytes());
        put(48, &entry.chain.to_be_bytes());
        put(52, &u32::try_from(tail_bytes).expect("a tail is smaller than a window").to_be_bytes());
        self.crc = crc32c::crc32c_append(self.crc, &head);
        self.buf.stage(self.at, &head);
        self.at += ENTRY_BYTES;
        self.entries += 1;
    }

    /// The next bytes of the tail of the entry that was begun last.
    pub fn tail(&mut self, bytes: &[u8]) {
        self.crc = stage_journal(&mut self.buf, self.at, bytes, self.crc);
        self.at += bytes.len();
    }

    /// Writes the header and pads with zeros to a multiple of `block_bytes`. `header.record_bytes` and `header.entries` are
    /// set here.
    #[must_use]
    pub fn finish(mut self, header: Header, shard: ShardId, block_bytes: usize) -> AppendBuf {
        let mut head = [0; HEADER_BYTES];
        // copies: the fields of the record's header
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &VERSION.to_be_bytes());
        put(10, &shard.0.to_be_bytes());
        put(12, &u32::try_from(self.at).expect("a record is smaller than the journal").to_be_bytes());
        put(16, &header.generation.to_be_bytes());
        put(24, &header.sequence.to_be_bytes());
        put(32, &header.flushed_sequence.to_be_bytes());
        put(40, &header.position.to_be_bytes());
        put(48, &u32::try_from(self.entries).expect("entries are counted by their bytes").to_be_bytes());
        let crc = crc32c::crc32c_append(self.crc, &head[..CRC_AT]);
        // copies: the checksum
        head[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        self.buf.stage(0, &head);
        self.buf.publish(self.at);
        self.buf.append_zeros(self.at.next_multiple_of(block_bytes) - self.at);
        self.buf
    }
}

/// Reads the record that begins at the first byte of `bytes`, checked; the entries are read by [`Entries`].
pub fn decode(bytes: &[u8]) -> Result<(Header, Entries<'_>), DecodeError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(DecodeError::NoMagic) };
    if head[..8] != MAGIC {
        return Err(DecodeError::NoMagic);
    }
    let version = u16::from_be_bytes(field(head, 8));
    if version != VERSION {
        return Err(DecodeError::Version { version });
    }
    let record_bytes = u32::from_be_bytes(field(head, 12));
    let length = DecodeError::Length { record_bytes, present: bytes.len() };
    let len = usize::try_from(record_bytes).map_err(|_| length)?;
    let body = bytes.get(HEADER_BYTES..len).ok_or(length)?;
    let stated = u32::from_be_bytes(field(head, CRC_AT));
    let computed = crc32c::crc32c_append(crc32c::crc32c(body), &head[..CRC_AT]);
    if stated != computed {
        return Err(DecodeError::Crc { stated, computed });
    }
    let count = usize::try_from(u32::from_be_bytes(field(head, 48))).map_err(|_| length)?;
    let header = Header {
        generation: u64::from_be_bytes(field(head, 16)),
        sequence: u64::from_be_bytes(field(head, 24)),
        flushed_sequence: u64::from_be_bytes(field(head, 32)),
        position: u64::from_be_bytes(field(head, 40)),
        record_bytes: len,
        entries: count,
    };
    Ok((header, Entries { rest: body, number: 0, count }))
}

/// The entries of a record whose checksum was good. Ends after the first that makes no sense.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    number: usize,
    count: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.number == self.count {
            return None;
        }
        let entry = self.number;
        let read = self.read();
        self.number = if read.is_some() { entry + 1 } else { self.count };
        Some(read.ok_or(DecodeError::Entry { entry }))
    }
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Option<Entry<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<ENTRY_BYTES>()?;
        let tail_bytes = usize::try_from(u32::from_be_bytes(field(head, 52))).ok()?;
        let (tail, rest) = rest.split_at_checked(tail_bytes)?;
        let tail_position = u64::from_be_bytes(field(head, 32));
        tail_position.checked_add(tail_bytes as u64)?;
        self.rest = rest;
        Some(Entry {
            id: PartitionId { topic_id: TopicId(field(head, 0)), partition: i32::from_be_bytes(field(head, 16)) },
            kind: Kind::from_code(u32::from_be_bytes(field(head, 20)))?,
            segment: Offset(i64::from_be_bytes(field(head, 24))),
            tail_position,
            end_offset: Offset(i64::from_be_bytes(field(head, 40))),
            chain: u32::from_be_bytes(field(head, 48)),
            tail,
        })
    }
}

/// The bytes of the field at `at`, which lies within the head for every call above.
fn field<const N: usize>(head: &[u8], at: usize) -> [u8; N] {
    head[at..].first_chunk().copied().expect("a field within the head")
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, ENTRY_BYTES, Encoder, Entry, HEADER_BYTES, Header, Kind, decode};
    use crate::io::AppendBuf;
    use crate::types::{Offset, PartitionId, ShardId, TopicId};

    fn entry(partition: i32, kind: Kind) -> Entry<'static> {
        Entry {
            id: PartitionId { topic_id: TopicId([7; 16]), partition },
            kind,
            segment: Offset(1 << 40),
            tail_position: 8192,
            end_offset: Offset((1 << 40) + 99),
            chain: 0xdead_beef,
            tail: &[],
        }
    }

    fn header() -> Header {
        Header { generation: 3, sequence: 17, flushed_sequence: 14, position: 40960, record_bytes: 0, entries: 0 }
    }

    fn record() -> Vec<u8> {
        let mut tail = AppendBuf::with_capacity(4096);
        tail.append(b"the bytes after the last full block");
        let mut encoder = Encoder::new(AppendBuf::with_capacity(8192));
        encoder.entry(&entry(0, Kind::End), &[tail.slice(0..4), tail.slice(4..35)]);
        encoder.entry(&entry(1, Kind::Sealed), &[]);
        encoder.entry(&entry(2, Kind::Frozen), &[tail.slice(4..9)]);
        encoder.finish(header(), ShardId(5), 512).filled().to_vec()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = record();
        assert_eq!(bytes.len(), 512);
        let (read, entries) = decode(&bytes).unwrap();
        let record_bytes = HEADER_BYTES + 3 * ENTRY_BYTES + 35 + 5;
        assert_eq!(read, Header { record_bytes, entries: 3, ..header() });
        let entries: Vec<_> = entries.map(Result::unwrap).collect();
        assert_eq!(entries[0], Entry { tail: b"the bytes after the last full block", ..entry(0, Kind::End) });
        assert_eq!(entries[0].end_position(), 8192 + 35);
        assert_eq!(entries[1], entry(1, Kind::Sealed));
        assert_eq!(entries[2], Entry { tail: b"bytes", ..entry(2, Kind::Frozen) });
    }

    #[test]
    fn a_flipped_bit_or_a_cut_never_passes() {
        let good = record();
        let record_bytes = decode(&good).unwrap().0.record_bytes;
        for bit in 0..record_bytes * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..record_bytes {
            assert!(decode(&good[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn an_entry_that_makes_no_sense_ends_the_record() {
        let mut encoder = Encoder::new(AppendBuf::with_capacity(4096));
        encoder.entry(&entry(0, Kind::End), &[]);
        encoder.entries = 3;
        let bytes = encoder.finish(header(), ShardId(0), 512);
        let entries: Vec<_> = decode(bytes.filled()).unwrap().1.collect();
        assert_eq!(entries, [Ok(entry(0, Kind::End)), Err(DecodeError::Entry { entry: 1 })]);
    }
}
