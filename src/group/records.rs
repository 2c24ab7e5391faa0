//! The records of `__consumer_offsets`, byte for byte as Apache Kafka 4.3.1 writes them.

/// Why bytes are not a record of `__consumer_offsets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end within a field.
    #[error("the record ends within a field")]
    Truncated,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// A field that may not be null is.
    #[error("a field that may not be null is null")]
    Null,
    /// A varint of more than 32 bits.
    #[error("a length is not a varint of 32 bits")]
    Varint,
    /// A value of a version that Kafka 4.3.1 does not know.
    #[error("version {0} of the value is not known")]
    Version(i16),
}
