//! A cursor over the bytes of a frame, whatever chunks they came in.
//!
//! Called by the request views. Every read is checked against the bytes that are left; a count is checked against them
//! before anyone may loop or allocate by it.

use std::borrow::Cow;

use super::error::DecodeError;
use crate::io::Slice;
use crate::record::Records;

/// A position in a frame. Cloning remembers a place to come back to.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    /// The current chunk and those after it.
    chunks: &'a [Slice],
    /// Where in the current chunk; below its length unless the frame is at its end.
    at: usize,
    remaining: usize,
    flexible: bool,
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Kafka's longest string, in either encoding.
const STRING_BYTES_MAX: usize = 0x7fff;

impl<'a> Reader<'a> {
    /// A cursor at the front of `records`; `flexible` chooses the compact encodings.
    pub(super) fn new(records: &'a Records, flexible: bool) -> Self {
        Self { chunks: records.parts(), at: 0, remaining: records.len(), flexible }
    }

    pub(super) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Bytes that are left.
    pub(super) fn remaining(&self) -> usize {
        self.remaining
    }

    /// The rest of the current chunk.
    fn here(&self) -> &'a [u8] {
        self.chunks.first().and_then(|chunk| chunk.get(self.at..)).unwrap_or_default()
    }

    fn need(&self, needed: usize) -> Result<()> {
        let remaining = self.remaining;
        if needed <= remaining { Ok(()) } else { Err(DecodeError::Truncated { needed, remaining }) }
    }

    /// Moves on by `count` bytes, which are there.
    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(chunk) = self.chunks.first() {
            let left = chunk.len() - self.at;
            if count < left {
                self.at += count;
                return;
            }
            count -= left;
            self.chunks = self.chunks.get(1..).unwrap_or_default();
            self.at = 0;
        }
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<()> {
        self.need(count)?;
        self.advance(count);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        if let Some(bytes) = self.here().first_chunk() {
            self.advance(N);
            return Ok(*bytes);
        }
        self.need(N)?;
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.here().first().copied().unwrap_or_default();
            self.advance(1);
        }
        Ok(bytes)
    }

    pub(super) fn i8(&mut self) -> Result<i8> {
        self.array().map(i8::from_be_bytes)
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

    pub(super) fn uuid(&mut self) -> Result<[u8; 16]> {
        self.array()
    }

    fn unsigned(&mut self) -> Result<u32> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_beyond| DecodeError::BadVarint);
            }
        }
        Err(DecodeError::BadVarint)
    }

    /// The length of a nullable value in the version's encoding; `fixed` reads the one that is not compact.
    fn length(&mut self, what: &'static str, fixed: impl FnOnce(&mut Self) -> Result<i32>) -> Result<Option<usize>> {
        let length = if self.flexible { i64::from(self.unsigned()?) - 1 } else { i64::from(fixed(self)?) };
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length).map(Some).map_err(|_negative| DecodeError::BadLength { what, length })
    }

    /// A nullable string of the version's encoding. Borrowed unless a chunk edge goes through it.
    pub(super) fn nullable_string(&mut self) -> Result<Option<Cow<'a, str>>> {
        let length = self.length("string", |reader| reader.i16().map(i32::from))?;
        length.map(|length| self.text(length)).transpose()
    }

    /// A string of the version's encoding.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.nullable_string()?.ok_or(DecodeError::BadLength { what: "string", length: -1 })
    }

    /// The client id of a request header: never compact, in any version.
    pub(super) fn client_id(&mut self) -> Result<Option<Cow<'a, str>>> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let client_id = self.nullable_string();
        self.flexible = flexible;
        client_id
    }

    fn text(&mut self, length: usize) -> Result<Cow<'a, str>> {
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::BadLength { what: "string", length: i64::try_from(length).unwrap_or(i64::MAX) });
        }
        self.need(length)?;
        if let Some(bytes) = self.here().get(..length) {
            let text = std::str::from_utf8(bytes).map_err(|_invalid| DecodeError::NotUtf8)?;
            self.advance(length);
            return Ok(Cow::Borrowed(text));
        }
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let here = self.here();
            let piece = here.get(..length - bytes.len()).unwrap_or(here);
            bytes.extend_from_slice(piece);
            self.advance(piece.len());
        }
        String::from_utf8(bytes).map(Cow::Owned).map_err(|_invalid| DecodeError::NotUtf8)
    }

    /// The count of an array that is not null and whose elements take at least `element_bytes_min` bytes each.
    pub(super) fn count(&mut self, element_bytes_min: usize) -> Result<usize> {
        let count = self.length("array", Self::i32)?;
        let count = count.ok_or(DecodeError::BadLength { what: "array", length: -1 })?;
        let remaining = self.remaining;
        if count > remaining / element_bytes_min {
            return Err(DecodeError::BadCount { count: i64::try_from(count).unwrap_or(i64::MAX), remaining });
        }
        Ok(count)
    }

    /// Nullable bytes as views of the frame.
    pub(super) fn records(&mut self) -> Result<Option<Records>> {
        let Some(length) = self.length("records", Self::i32)? else { return Ok(None) };
        self.need(length)?;
        let mut left = length;
        let mut cut = Vec::new();
        while let Some(chunk) = self.chunks.first()
            && left > 0
        {
            let piece = left.min(chunk.len() - self.at);
            let slice = chunk.slice(self.at..self.at + piece);
            self.advance(piece);
            left -= piece;
            if left == 0 && cut.is_empty() {
                return Ok(Some(Records::from(slice)));
            }
            cut.push(slice);
        }
        Ok(Some(Records::from_chunks(cut)))
    }

    /// Skips nullable bytes.
    pub(super) fn skip_records(&mut self) -> Result<()> {
        let length = self.length("records", Self::i32)?;
        self.skip(length.unwrap_or(0))
    }

    /// Skips the tagged fields of a flexible version; reads nothing in others. None of them means anything here.
    pub(super) fn tags(&mut self) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        let mut above = None;
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            if above.is_some_and(|above| tag <= above) {
                return Err(DecodeError::BadTag { tag });
            }
            above = Some(tag);
            let size = self.unsigned()?;
            self.skip(usize::try_from(size).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }
}
