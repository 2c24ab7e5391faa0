//! A line taken apart: headers, key, value. Kafka's console producer has the same order and the same separators.
//!
//! ```text
//!   name:value,name:value <headers separator> key <key separator> value
//! ```

use crate::client::producer::encode_headers;

/// How lines are made of parts.
#[derive(Clone, Debug, Default)]
pub(super) struct LineFormat {
    pub key_separator: Option<Vec<u8>>,
    pub headers_separator: Option<Vec<u8>>,
    /// A key, value or header value that is exactly this is null.
    pub null_marker: Option<Vec<u8>>,
    /// Headers of every record.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The parts of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

impl LineFormat {
    /// Takes `line` apart and writes its headers, encoded, into `headers`.
    pub(super) fn parse<'a>(&self, line: &'a [u8], headers: &mut Vec<u8>) -> Result<Parts<'a>, String> {
        let mut rest = line;
        if let Some(separator) = &self.headers_separator {
            let (own, after) = split(line, separator).ok_or_else(|| missing("headers", separator))?;
            headers.clear();
            self.encode(own, headers)?;
            rest = after;
        } else if headers.is_empty() {
            self.encode(b"", headers)?;
        }
        let mut key = None;
        if let Some(separator) = &self.key_separator {
            let (own, after) = split(rest, separator).ok_or_else(|| missing("key", separator))?;
            key = self.unless_null(own);
            rest = after;
        }
        Ok(Parts { key, value: self.unless_null(rest) })
    }

    fn encode(&self, own: &[u8], into: &mut Vec<u8>) -> Result<(), String> {
        let mut pairs: Vec<(&[u8], Option<&[u8]>)> =
            self.headers.iter().map(|(key, value)| (&key[..], Some(&value[..]))).collect();
        if !own.is_empty() {
            for pair in own.split(|byte| *byte == b',') {
                let (key, value) = split(pair, b":").ok_or_else(|| {
                    format!(
                        "no \":\" in the header {:?}: headers are name:value,name:value",
                        String::from_utf8_lossy(pair)
                    )
                })?;
                pairs.push((key, self.unless_null(value)));
            }
        }
        encode_headers(into, pairs.into_iter());
        Ok(())
    }

    fn unless_null<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.null_marker.as_deref() == Some(bytes) { None } else { Some(bytes) }
    }
}

/// What is before and after the first `separator`.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = match separator {
        [one] => bytes.iter().position(|byte| byte == one)?,
        many => bytes.windows(many.len()).position(|window| window == many)?,
    };
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

fn missing(what: &str, separator: &[u8]) -> String {
    format!("no {what} separator {:?} in the line", String::from_utf8_lossy(separator))
}

#[cfg(test)]
mod tests {
    use super::{LineFormat, Parts};

    fn parts<'a>(key: Option<&'a str>, value: Option<&'a str>) -> Parts<'a> {
        Parts { key: key.map(str::as_bytes), value: value.map(str::as_bytes) }
    }

    #[test]
    fn lines_are_taken_apart() {
        let mut headers = Vec::new();
        let plain = LineFormat::default();
        assert_eq!(plain.parse(b"a\tb", &mut headers), Ok(parts(None, Some("a\tb"))));
        assert_eq!(headers, [0], "no headers");
        assert_eq!(plain.parse(b"", &mut headers), Ok(parts(None, Some(""))));

        let keyed = LineFormat { key_separator: Some(b"::".to_vec()), ..LineFormat::default() };
        assert_eq!(keyed.parse(b"k::v::w", &mut headers), Ok(parts(Some("k"), Some("v::w"))));
        assert_eq!(keyed.parse(b"::", &mut headers), Ok(parts(Some(""), Some(""))));
        assert!(keyed.parse(b"k:v", &mut headers).expect_err("no key").contains("\"::\""));

        let all = LineFormat {
            key_separator: Some(b"|".to_vec()),
            headers_separator: Some(b"\t".to_vec()),
            null_marker: Some(b"NULL".to_vec()),
            headers: vec![(b"app".to_vec(), b"x".to_vec())],
        };
        assert_eq!(all.parse(b"a:1,b:NULL\tNULL|NULL", &mut headers), Ok(parts(None, None)));
        assert_eq!(headers, [&[6, 6][..], b"app", &[2], b"x", &[2], b"a", &[2], b"1", &[2], b"b", &[1]].concat());
        assert_eq!(all.parse(b"\tk|v", &mut headers), Ok(parts(Some("k"), Some("v"))));
        assert_eq!(headers, [&[2, 6][..], b"app", &[2], b"x"].concat());
        assert!(all.parse(b"a\tk|v", &mut headers).expect_err("no colon").contains("\"a\""));
        assert!(all.parse(b"k|v", &mut headers).expect_err("no headers").contains("headers separator"));
    }
}
