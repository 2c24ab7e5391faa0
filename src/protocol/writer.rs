//! A response frame in the making. Called by the response encoders.

use super::ApiKey;

/// Bytes of a response, from its length field on; the length is set by [`Writer::finish`].
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    flexible: bool,
}

impl Writer {
    /// A frame with its response header. `capacity` is a guess at its bytes.
    pub(super) fn response(api_key: ApiKey, version: i16, correlation_id: i32, capacity: usize) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(capacity), flexible: api_key.is_flexible(version) };
        writer.i32(0);
        writer.i32(correlation_id);
        if api_key.has_flexible_response_header(version) {
            writer.tags();
        }
        writer
    }

    /// Bytes so far, the length field included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(super) fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn uuid(&mut self, value: [u8; 16]) {
        self.bytes.extend_from_slice(&value);
    }

    #[inline]
    fn unsigned(&mut self, value: usize) {
        crate::record::varint::write_unsigned(&mut self.bytes, u32::try_from(value).expect("a response below 4 GiB"));
    }

    /// The length of an array or of records.
    #[inline]
    pub(super) fn length(&mut self, length: usize) {
        if self.flexible {
            self.unsigned(length + 1);
        } else {
            self.i32(i32::try_from(length).expect("a response below 2 GiB"));
        }
    }

    /// A null array.
    pub(super) fn null_array(&mut self) {
        if self.flexible {
            self.unsigned(0);
        } else {
            self.i32(-1);
        }
    }

    #[inline]
    pub(super) fn string(&mut self, text: &str) {
        self.nullable_string(Some(text));
    }

    /// A nullable string, cut at Kafka's longest: only texts of ours for people can be longer.
    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        let text = text.map(|text| text.get(..text.floor_char_boundary(0x7fff)).unwrap_or_default());
        match (text, self.flexible) {
            (None, true) => self.unsigned(0),
            (None, false) => self.i16(-1),
            (Some(text), true) => self.unsigned(text.len() + 1),
            (Some(text), false) => self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX)),
        }
        self.bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
    }

    /// No tagged fields, where the version has them.
    #[inline]
    pub(super) fn tags(&mut self) {
        if self.flexible {
            self.bytes.push(0);
        }
    }

    /// The frame, its length set to what is here and `elsewhere_bytes` that are sent from elsewhere.
    pub(super) fn finish(mut self, elsewhere_bytes: usize) -> Vec<u8> {
        let length = (self.bytes.len() - LENGTH_BYTES).saturating_add(elsewhere_bytes);
        let length = i32::try_from(length).expect("a response below 2 GiB");
        if let Some(field) = self.bytes.first_chunk_mut() {
            *field = length.to_be_bytes();
        }
        self.bytes
    }
}

/// Bytes of the length field, which does not count itself.
const LENGTH_BYTES: usize = 4;
