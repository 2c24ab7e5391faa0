//! As much of Kafka's protocol as the floor answers: Produce v7 and Fetch v11, each for one partition.
//!
//! Looked at where they lie, and written by hand: the floor has no codec. What is not such a request is no request at
//! all, and ends its connection.

/// A Produce v7 request for one partition, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Produce<'a> {
    correlation: &'a [u8],
    /// With its length.
    topic: &'a [u8],
    partition: &'a [u8],
    /// One record batch.
    pub(super) batch: &'a [u8],
}

impl<'a> Produce<'a> {
    /// The request in a frame, which is without its length. `None` where it is none that the floor answers.
    pub(super) fn of(frame: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(frame);
        let correlation = bytes.header(PRODUCE, 7)?;
        // The transactional id may be null.
        bytes.string()?;
        let acks = bytes.i16()?;
        bytes.take(4)?;
        let (topic, partition) = bytes.one_partition()?;
        let batch = bytes.sized()?;
        (acks != 0 && bytes.0.is_empty() && is_batch(batch)).then_some(Self { correlation, topic, partition, batch })
    }

    /// The answer without an error. No offsets are given out, so the base offset is 0.
    pub(super) fn answer(&self, into: &mut Vec<u8>) {
        let len = 4 + 4 + self.topic.len() + 4 + 4 + 2 + 8 + 8 + 8 + 4;
        into.extend_from_slice(&length(len));
        into.extend_from_slice(self.correlation);
        into.extend_from_slice(&1_i32.to_be_bytes());
        into.extend_from_slice(self.topic);
        into.extend_from_slice(&1_i32.to_be_bytes());
        into.extend_from_slice(self.partition);
        into.extend_from_slice(&0_i16.to_be_bytes());
        into.extend_from_slice(&0_i64.to_be_bytes());
        into.extend_from_slice(&(-1_i64).to_be_bytes()); // no log append time
        into.extend_from_slice(&0_i64.to_be_bytes()); // log start offset
        into.extend_from_slice(&0_i32.to_be_bytes()); // throttle time
    }
}

/// A Fetch v11 request for one partition, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetch<'a> {
    correlation: &'a [u8],
    /// With its length.
    topic: &'a [u8],
    partition: &'a [u8],
    pub(super) offset: i64,
    /// The smaller one of the request's and the partition's.
    pub(super) bytes_max: usize,
}

impl<'a> Fetch<'a> {
    /// As [`Produce::of`].
    pub(super) fn of(frame: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(frame);
        let correlation = bytes.header(FETCH, 11)?;
        // Replica, wait, minimum.
        bytes.take(4 + 4 + 4)?;
        let request_max = bytes.i32()?;
        // Isolation level, session and its epoch.
        bytes.take(1 + 4 + 4)?;
        let (topic, partition) = bytes.one_partition()?;
        // Leader epoch.
        bytes.take(4)?;
        let offset = bytes.i64()?;
        // Log start offset.
        bytes.take(8)?;
        let bytes_max = usize::try_from(bytes.i32()?.min(request_max)).ok()?;
        Some(Self { correlation, topic, partition, offset, bytes_max })
    }

    /// The answer up to its records, of which `records_bytes` follow.
    pub(super) fn answer(&self, high_watermark: i64, records_bytes: usize, into: &mut Vec<u8>) {
        let len = 4 + 4 + 2 + 4 + 4 + self.topic.len() + 4 + 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4 + records_bytes;
        into.extend_from_slice(&length(len));
        into.extend_from_slice(self.correlation);
        into.extend_from_slice(&0_i32.to_be_bytes()); // throttle time
        into.extend_from_slice(&0_i16.to_be_bytes()); // no error
        into.extend_from_slice(&0_i32.to_be_bytes()); // no session
        into.extend_from_slice(&1_i32.to_be_bytes());
        into.extend_from_slice(self.topic);
        into.extend_from_slice(&1_i32.to_be_bytes());
        into.extend_from_slice(self.partition);
        into.extend_from_slice(&0_i16.to_be_bytes());
        into.extend_from_slice(&high_watermark.to_be_bytes());
        into.extend_from_slice(&high_watermark.to_be_bytes()); // last stable offset
        into.extend_from_slice(&0_i64.to_be_bytes()); // log start offset
        into.extend_from_slice(&0_i32.to_be_bytes()); // no aborted transactions
        into.extend_from_slice(&(-1_i32).to_be_bytes()); // no preferred replica
        into.extend_from_slice(&length(records_bytes));
    }
}

/// Whether the bytes are one batch of format 2, by their lengths.
pub(super) fn is_batch(bytes: &[u8]) -> bool {
    let len = bytes.get(8..12).and_then(|len| usize::try_from(i32::from_be_bytes(len.try_into().ok()?)).ok());
    bytes.len() >= BATCH_HEADER_BYTES && len == Some(bytes.len() - 12) && bytes[16] == 2
}

/// What a batch says its checksum is: of the bytes from [`CHECKED_FROM`] on.
pub(super) fn checksum(batch: &[u8]) -> u32 {
    u32::from_be_bytes(batch[17..CHECKED_FROM].try_into().expect("four bytes"))
}

/// How many records a batch has.
pub(super) fn records(batch: &[u8]) -> i64 {
    i64::from(i32::from_be_bytes(batch[57..61].try_into().expect("four bytes")))
}

/// Gives a batch its base offset, which no checksum covers.
pub(super) fn set_base_offset(batch: &mut [u8], offset: i64) {
    batch[..8].copy_from_slice(&offset.to_be_bytes());
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("an answer is below 2 GiB").to_be_bytes()
}

/// What is left of a frame.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A string with its length; null is one without bytes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        let len = match self.i16()? {
            -1 => 0,
            len => usize::try_from(len).ok()?,
        };
        self.take(len)?;
        Some(&whole[..2 + len])
    }

    /// Bytes behind their length.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.i32()?).ok()?;
        self.take(len)
    }

    /// The correlation id of a request of this kind.
    fn header(&mut self, key: i16, version: i16) -> Option<&'a [u8]> {
        let known = self.i16()? == key && self.i16()? == version;
        let correlation = self.take(4)?;
        self.string()?;
        known.then_some(correlation)
    }

    /// One topic with one partition, as both requests begin their lists.
    fn one_partition(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let topics = self.i32()?;
        let topic = self.string()?;
        let partitions = self.i32()?;
        let partition = self.take(4)?;
        (topics == 1 && partitions == 1).then_some((topic, partition))
    }
}

/// Where the checksum's bytes begin.
pub(super) const CHECKED_FROM: usize = 21;

/// A batch without records.
pub(super) const BATCH_HEADER_BYTES: usize = 61;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
