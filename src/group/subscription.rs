//! What a consumer subscribes to: the front of the consumer protocol's subscription, which all its versions share.
//!
//! Read where it lies, each time it is asked for: a set of names would take many times the bytes that the member sent.

use super::records::RecordError;
use super::wire::Reader;

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// Whether a member's metadata names the topic: version, then an array of names. What follows is not read.
pub(super) fn names(metadata: &[u8], topic: &str) -> Result<bool, RecordError> {
    let mut reader = Reader::new(metadata);
    let version = reader.i16()?;
    if version < 0 {
        return Err(RecordError::Version(version));
    }
    let mut named = false;
    for _ in 0..reader.i32()? {
        named |= reader.string()? == topic;
    }
    Ok(named)
}

/// Whether a member's metadata says what it subscribes to.
pub(super) fn is_readable(metadata: &[u8]) -> bool {
    names(metadata, "").is_ok()
}

#[cfg(test)]
mod tests {
    use super::{is_readable, names};

    #[test]
    fn topics_are_read_whatever_follows() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff rest";
        assert_eq!(names(bytes, "a"), Ok(true));
        assert_eq!(names(bytes, "bc"), Ok(true));
        assert_eq!(names(bytes, "b"), Ok(false));
        assert!(!is_readable(b"\0\0\x7f\xff\xff\xff"), "more topics than bytes");
        assert!(!is_readable(b"\xff\xff\0\0\0\0"), "a version below 0");
        assert!(!is_readable(b""));
        assert!(is_readable(b"\0\0\0\0\0\0"));
    }
}
