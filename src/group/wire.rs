//! Kafka's two encodings, as far as the records of `__consumer_offsets` use them.
//!
//! Called by [`records`](super::records) and [`subscription`](super::subscription). [`Reader`] takes fields off the front
//! of a slice and borrows them; it answers an error, never a panic, where the bytes do not hold one, and a count is
//! checked against the bytes left before anything is allocated. [`Writer`] appends fields to a vector. Numbers are
//! big-endian. A length is a fixed number with -1 for null, or, in flexible versions, a varint one more than the length
//! with 0 for null.

use super::records::RecordError;

type Result<T> = std::result::Result<T, RecordError>;

/// Takes fields off the front of a key or value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, flexible: false }
    }

    pub(super) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0_u32;
        for shift in (0..32).step_by(7) {
            let [byte] = self.array::<1>()?;
            let seven = u32::from(byte & 0x7f);
            if shift == 28 && seven > 0xf {
                break;
            }
            value |= seven << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Varint)
    }

    /// A length in the version's encoding; `fixed` reads the one that is not compact. `None` is null.
    fn length(&mut self, fixed: impl FnOnce(&mut Self) -> Result<i32>) -> Result<Option<usize>> {
        let length = if self.flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(fixed(self)?) };
        Ok(usize::try_from(length).ok())
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a str>> {
        let Some(length) = self.length(|reader| reader.i16().map(i32::from))? else { return Ok(None) };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_invalid| RecordError::Utf8)
    }

    pub(super) fn string(&mut self) -> Result<&'a str> {
        self.nullable_string()?.ok_or(RecordError::Null)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length(Self::i32)?.ok_or(RecordError::Null)?;
        self.take(length)
    }

    /// An array of items that take at least `item_bytes` each: a count that the bytes left cannot hold is refused.
    pub(super) fn array_of<T>(
        &mut self,
        item_bytes: usize,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.length(Self::i32)?.ok_or(RecordError::Null)?;
        if count > self.bytes.len() / item_bytes {
            return Err(RecordError::Truncated);
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// The tagged fields that end a structure of a flexible version: `field` takes those it knows, others are skipped.
    pub(super) fn tagged(&mut self, mut field: impl FnMut(u32, &mut Self) -> Result<()>) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = usize::try_from(self.uvarint()?).unwrap_or(usize::MAX);
            field(tag, &mut Self { bytes: self.take(length)?, flexible: true })?;
        }
        Ok(())
    }

    pub(super) fn skip_tagged(&mut self) -> Result<()> {
        self.tagged(|_tag, _field| Ok(()))
    }
}

/// Appends fields to a key or value: fixed lengths, but for [`Writer::compact_string`] and what follows it.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// A string as Kafka's requests can carry it: what is longer was never accepted.
    pub(super) fn string(&mut self, text: &str) {
        self.i16(i16::try_from(text.len()).expect("strings of requests are below 32 KiB"));
        self.raw(text.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    pub(super) fn length(&mut self, length: usize) {
        self.i32(i32::try_from(length).expect("requests are below 2 GiB"));
    }

    pub(super) fn byte_string(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn uvarint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
            value >>= 7;
        }
        self.bytes.push(u8::try_from(value).unwrap_or_default());
    }

    pub(super) fn compact_string(&mut self, text: &str) {
        self.uvarint(text.len() + 1);
        self.raw(text.as_bytes());
    }
}
