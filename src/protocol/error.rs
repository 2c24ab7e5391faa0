//! Bytes that are not a request, and answers that cannot be one.

use thiserror::Error;

/// A frame that cannot be read. The connection that sent it is closed: nothing says where sense would begin again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A field reaches beyond the end of the frame.
    #[error("a field of {needed} bytes where {remaining} are left in the frame")]
    Truncated {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A length that no value of its kind may have.
    #[error("a {what} of length {length}")]
    BadLength {
        /// What the length is of.
        what: &'static str,
        /// The length.
        length: i64,
    },
    /// More elements than the bytes that are left could hold.
    #[error("an array of {count} elements where {remaining} bytes are left in the frame")]
    BadCount {
        /// The count.
        count: i64,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A variable-length number beyond 32 bits.
    #[error("a variable-length number of more than 32 bits")]
    BadVarint,
    /// Tags that do not rise.
    #[error("tagged fields out of order: {tag}")]
    BadTag {
        /// The tag that is not larger than the one before it.
        tag: u32,
    },
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// An API that is not served here.
    #[error("unknown API key {api_key} (version {api_version})")]
    UnknownApiKey {
        /// The key.
        api_key: i16,
        /// The version.
        api_version: i16,
    },
    /// A version outside the range that ApiVersions shows.
    #[error("{api_key:?} version {api_version} is not supported")]
    UnsupportedVersion {
        /// The API.
        api_key: super::ApiKey,
        /// The version.
        api_version: i16,
    },
    /// A body longer than any sensible request of its kind.
    #[error("a body of {bytes} bytes; at most {max} are read")]
    BodyTooLong {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// What the generated codec refuses.
    #[error("{api_key:?} version {api_version}: {reason}")]
    Malformed {
        /// The API.
        api_key: super::ApiKey,
        /// The version.
        api_version: i16,
        /// What the codec says.
        reason: String,
    },
}

/// An answer that the version of its request cannot carry: an error of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{api_key:?} version {api_version} cannot be answered so: {reason}")]
pub struct EncodeError {
    /// The API.
    pub api_key: super::ApiKey,
    /// The version.
    pub api_version: i16,
    /// What the codec says.
    pub reason: String,
}
