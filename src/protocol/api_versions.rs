//! The two rules of ApiVersions that are not in its schema (KIP-511).

use bytes::Bytes;

use super::api_key::ApiKey;
use super::error_code::ErrorCode;
use super::writer::Writer;

/// The answer to an ApiVersions request of a version that is not served: a body of version 0, whatever was asked,
/// with error 35 and this API's own range, from which the client picks anew.
#[must_use]
pub fn encode_unsupported(correlation_id: i32) -> Bytes {
    let mut writer = Writer::response(ApiKey::ApiVersions, 0, correlation_id, 32);
    writer.i16(ErrorCode::UnsupportedVersion.code());
    writer.length(1);
    writer.i16(ApiKey::ApiVersions.code());
    writer.i16(ApiKey::ApiVersions.min_version());
    writer.i16(ApiKey::ApiVersions.max_version());
    writer.finish(0).into()
}

/// Whether `text` may be a client's software name or version, from version 3 on: letters, digits, `-` and `.`, the
/// first and the last of them a letter or digit. Anything else is `INVALID_REQUEST`.
#[must_use]
pub fn is_client_software_text(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    match text.as_bytes() {
        [] => false,
        [only] => only.is_ascii_alphanumeric(),
        [first, middle @ .., last] => {
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && middle.iter().all(inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{encode_unsupported, is_client_software_text};

    #[test]
    fn an_unknown_version_is_answered_in_version_0() {
        let bytes = encode_unsupported(0x0102_0304);
        assert_eq!(&bytes[..], &[0, 0, 0, 16, 1, 2, 3, 4, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    }

    #[test]
    fn software_names_are_those_that_kafka_accepts() {
        for text in ["a", "apache-kafka-java", "4.3.1", "librdkafka", "2.15.0-rc.1", "A1"] {
            assert!(is_client_software_text(text), "{text}");
        }
        for text in ["", "-", ".1", "1.", "a b", "a_b", "naïve", "a\n", "-a"] {
            assert!(!is_client_software_text(text), "{text}");
        }
    }
}
