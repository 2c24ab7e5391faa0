//! One request as it came: its header understood, its body untouched.
//!
//! Made by `server/` of every frame, read by `handlers/`. A frame owns its bytes (by counted views), so a handler may
//! keep it while it waits and read names from it again for the answer.

use std::borrow::Cow;

use bytes::Bytes;

use super::api_key::ApiKey;
use super::error::DecodeError;
use super::reader::Reader;
use crate::record::Records;

/// The longest body that the cold codec gets. A Metadata request for 10,000 topics of 40 bytes is 420 KB; the generated
/// codec may take about a hundred bytes of memory for each byte of a hostile one.
pub const COLD_BODY_BYTES_MAX: usize = 1 << 20;

/// What every request says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: ApiKey,
    /// In which version. Served by this node, but for ApiVersions, where any may come: see
    /// [`super::api_versions::encode_unsupported`].
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
}

impl RequestHeader {
    /// Whether the body can be read. False only for an ApiVersions request of an unknown version.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.api_key.serves(self.api_version)
    }
}

/// A request: header and body.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The header.
    pub header: RequestHeader,
    /// The whole frame, from which the client id is read again when somebody asks.
    bytes: Records,
    body: Records,
}

impl Frame {
    /// Reads the header of `bytes`, the frame without its length field. An unknown key or version is an error (Kafka
    /// closes the connection then); an unknown version of ApiVersions is not, and has an empty body.
    pub fn parse(bytes: &Records) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, false);
        let (api_key, api_version, correlation_id) = (reader.i16()?, reader.i16()?, reader.i32()?);
        let api_key = ApiKey::from_code(api_key).ok_or(DecodeError::UnknownApiKey { api_key, api_version })?;
        let header = RequestHeader { api_key, api_version, correlation_id };
        if !header.is_served() {
            // The answer must be one that the client understands whatever it asked in: the rest is not looked at.
            if api_key == ApiKey::ApiVersions {
                return Ok(Self { header, bytes: Records::default(), body: Records::default() });
            }
            return Err(DecodeError::UnsupportedVersion { api_key, api_version });
        }
        reader.client_id()?;
        reader.set_flexible(api_key.is_flexible(api_version));
        reader.tags()?;
        let body = bytes.slice(bytes.len() - reader.remaining()..bytes.len());
        Ok(Self { header, bytes: bytes.clone(), body })
    }

    /// What the client calls itself.
    #[must_use]
    pub fn client_id(&self) -> Option<Cow<'_, str>> {
        let mut reader = Reader::new(&self.bytes, false);
        // Key, version and correlation id; all of it was checked when the frame was made.
        reader.skip(8).and_then(|()| reader.client_id()).unwrap_or_default()
    }

    /// The body, for the hot views.
    #[must_use]
    pub fn body(&self) -> &Records {
        &self.body
    }

    /// The body in one piece, for the cold codec: the same memory unless a chunk edge goes through it. Refuses more
    /// than [`COLD_BODY_BYTES_MAX`].
    pub fn body_bytes(&self) -> Result<Bytes, DecodeError> {
        let bytes = self.body.len();
        if bytes > COLD_BODY_BYTES_MAX {
            return Err(DecodeError::BodyTooLong { bytes, max: COLD_BODY_BYTES_MAX });
        }
        Ok(match self.body.parts() {
            [] => Bytes::new(),
            [one] => one.to_bytes(),
            parts => parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>().into(),
        })
    }
}
