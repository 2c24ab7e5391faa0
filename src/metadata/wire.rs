//! Kafka's flexible encoding, as far as metadata records use it.
//!
//! Called by [`records`](super::records) alone. [`Reader`] takes fields off the front of a slice and answers an error,
//! never a panic, where the bytes do not hold one; lengths are checked against the bytes left before anything is
//! allocated. [`Writer`] appends fields to a vector. Numbers are big-endian; lengths are unsigned varints, one more
//! than the count, so that 0 says null.

use super::records::RecordError;
use crate::types::TopicId;

/// Takes fields off the front of a record's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes not taken yet.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn i8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, RecordError> {
        self.i8().map(|byte| byte != 0)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Result<[u8; 16], RecordError> {
        self.array()
    }

    pub(super) fn topic_id(&mut self) -> Result<TopicId, RecordError> {
        self.array().map(TopicId)
    }

    pub(super) fn uvarint(&mut self) -> Result<u32, RecordError> {
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

    /// A length as compact fields carry it: `None` is null.
    fn length(&mut self) -> Result<Option<usize>, RecordError> {
        let length = self.uvarint()?;
        Ok(length.checked_sub(1).map(|length| usize::try_from(length).unwrap_or(usize::MAX)))
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>, RecordError> {
        let Some(length) = self.length()? else { return Ok(None) };
        let text = std::str::from_utf8(self.take(length)?).map_err(RecordError::Utf8)?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn string(&mut self) -> Result<String, RecordError> {
        self.nullable_string()?.ok_or(RecordError::Null)
    }

    /// An array of items that take at least `item_bytes` each: a count that the bytes left cannot hold is refused.
    pub(super) fn nullable_array<T>(
        &mut self,
        item_bytes: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Option<Vec<T>>, RecordError> {
        let Some(count) = self.length()? else { return Ok(None) };
        if count > self.bytes.len() / item_bytes {
            return Err(RecordError::Truncated);
        }
        (0..count).map(|_| item(self)).collect::<Result<Vec<T>, _>>().map(Some)
    }

    pub(super) fn array_of<T>(
        &mut self,
        item_bytes: usize,
        item: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        self.nullable_array(item_bytes, item)?.ok_or(RecordError::Null)
    }

    pub(super) fn ids(&mut self) -> Result<Vec<i32>, RecordError> {
        self.array_of(4, Self::i32)
    }

    pub(super) fn nullable_ids(&mut self) -> Result<Option<Vec<i32>>, RecordError> {
        self.nullable_array(4, Self::i32)
    }

    pub(super) fn uuids(&mut self) -> Result<Vec<[u8; 16]>, RecordError> {
        self.array_of(16, Self::uuid)
    }

    pub(super) fn nullable_uuids(&mut self) -> Result<Option<Vec<[u8; 16]>>, RecordError> {
        self.nullable_array(16, Self::uuid)
    }

    /// The tagged fields that end every structure: `field` takes those it knows; what it does not know is skipped, as
    /// the encoding demands.
    pub(super) fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &mut Self) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let mut last = None;
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            if last.is_some_and(|last| last >= tag) {
                return Err(RecordError::TagOrder { tag });
            }
            last = Some(tag);
            let length = usize::try_from(self.uvarint()?).unwrap_or(usize::MAX);
            field(tag, &mut Self::new(self.take(length)?))?;
        }
        Ok(())
    }
}

/// Appends fields to a record's bytes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(u8::try_from(value & 0x7f | 0x80).expect("eight bits"));
            value >>= 7;
        }
        self.bytes.push(u8::try_from(value).expect("seven bits"));
    }

    fn length(&mut self, length: usize) {
        self.uvarint(u32::try_from(length + 1).expect("a record is far shorter than 4 GiB"));
    }

    pub(super) fn string(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.uvarint(0),
        }
    }

    pub(super) fn array_of<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for one in items {
            item(self, one);
        }
    }

    pub(super) fn ids(&mut self, ids: &[i32]) {
        self.array_of(ids, |writer, id| writer.i32(*id));
    }

    pub(super) fn uuids(&mut self, uuids: &[[u8; 16]]) {
        self.array_of(uuids, |writer, uuid| writer.bytes(uuid));
    }

    /// The tagged fields that end a structure.
    pub(super) fn tagged(&mut self, fields: &Tagged) {
        self.uvarint(u32::try_from(fields.fields.len()).expect("few fields"));
        for (tag, bytes) in &fields.fields {
            self.uvarint(*tag);
            self.uvarint(u32::try_from(bytes.len()).expect("a record is far shorter than 4 GiB"));
            self.bytes(bytes);
        }
    }
}

/// Tagged fields on their way into a [`Writer`]; a field at its default is not written at all, as Kafka does it.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    fields: Vec<(u32, Vec<u8>)>,
}

impl Tagged {
    /// Adds a field; tags must come in rising order.
    pub(super) fn put(&mut self, tag: u32, fill: impl FnOnce(&mut Writer)) {
        assert!(self.fields.last().is_none_or(|(last, _)| *last < tag), "tags rise");
        let mut writer = Writer::default();
        fill(&mut writer);
        self.fields.push((tag, writer.into_bytes()));
    }

    /// Adds a field where it has a value.
    pub(super) fn put_some<T>(&mut self, tag: u32, value: Option<&T>, fill: impl FnOnce(&mut Writer, &T)) {
        if let Some(value) = value {
            self.put(tag, |writer| fill(writer, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reader, RecordError, Tagged, Writer};

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused_before_it_is_allocated() {
        let mut writer = Writer::default();
        writer.uvarint(u32::MAX);
        let bytes = writer.into_bytes();
        assert!(matches!(Reader::new(&bytes).ids(), Err(RecordError::Truncated)));
    }

    #[test]
    fn tags_out_of_order_are_refused() {
        let bytes = [2, 1, 0, 1, 0];
        assert!(matches!(Reader::new(&bytes).tagged(|_, _| Ok(())), Err(RecordError::TagOrder { tag: 1 })));
    }

    #[test]
    fn varints_of_more_than_32_bits_are_refused() {
        assert!(matches!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(), Err(RecordError::Varint)));
        assert!(matches!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).uvarint(), Err(RecordError::Varint)));
    }

    proptest! {
        #[test]
        fn varints_come_back(value: u32) {
            let mut writer = Writer::default();
            writer.uvarint(value);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.uvarint().expect("written above"), value);
            prop_assert_eq!(reader.left(), 0);
        }

        #[test]
        fn unknown_tags_are_skipped(tag in 0..10_000_u32, payload: Vec<u8>) {
            let mut fields = Tagged::default();
            fields.put(tag, |writer| writer.bytes(&payload));
            let mut writer = Writer::default();
            writer.tagged(&fields);
            writer.i32(7);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            reader.tagged(|_, _| Ok(())).expect("well formed");
            prop_assert_eq!(reader.i32().expect("follows"), 7);
        }
    }
}
