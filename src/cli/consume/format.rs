//! A record as bytes for people and programs: the value alone, Kafka's console consumer's columns, kcat's tokens, JSON.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::cli::escapes;
use crate::record::{Record, TimestampType};

/// Where a record is from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub timestamp_type: TimestampType,
}

/// How records are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The value and a newline.
    Raw { null: Vec<u8> },
    /// What `kafka-console-consumer` prints with `print.key` and its like.
    Columns(Columns),
    /// kcat's `-f`.
    Template { tokens: Vec<Token>, null: Vec<u8> },
    /// A JSON object a line.
    Json,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub timestamp: bool,
    pub partition: bool,
    pub offset: bool,
    pub headers: bool,
    pub key: bool,
    pub separator: Vec<u8>,
    pub null: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Text(Vec<u8>),
    Value,
    ValueLength,
    /// The length as four bytes, most significant first.
    ValueLengthBinary,
    Key,
    KeyLength,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

impl Format {
    /// kcat's format: `%s` value, `%S` its length, `%R` its length as four bytes, `%k` key, `%K` its length, `%t` topic,
    /// `%p` partition, `%o` offset, `%T` timestamp, `%h` headers, `%%` a per cent sign; `%v` is the value too.
    pub(super) fn template(text: &str) -> Result<Vec<Token>, String> {
        let bytes = escapes::unescape(text)?;
        let mut tokens = Vec::new();
        let mut plain = Vec::new();
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            if *byte != b'%' {
                plain.push(*byte);
                continue;
            }
            let token = match rest.next() {
                Some(b's' | b'v') => Token::Value,
                Some(b'S') => Token::ValueLength,
                Some(b'R') => Token::ValueLengthBinary,
                Some(b'k') => Token::Key,
                Some(b'K') => Token::KeyLength,
                Some(b't') => Token::Topic,
                Some(b'p') => Token::Partition,
                Some(b'o') => Token::Offset,
                Some(b'T') => Token::Timestamp,
                Some(b'h') => Token::Headers,
                Some(b'%') => {
                    plain.push(b'%');
                    continue;
                }
                other => {
                    let other = other.map_or(String::new(), |byte| char::from(*byte).to_string());
                    return Err(format!("%{other}: known are %s %v %S %R %k %K %t %p %o %T %h %%"));
                }
            };
            if !plain.is_empty() {
                tokens.push(Token::Text(std::mem::take(&mut plain)));
            }
            tokens.push(token);
        }
        if !plain.is_empty() {
            tokens.push(Token::Text(plain));
        }
        Ok(tokens)
    }

    /// Appends a record.
    pub(super) fn write(&self, into: &mut Vec<u8>, record: &Record<'_>, origin: &Origin<'_>) {
        match self {
            Self::Raw { null } => {
                into.extend_from_slice(record.value.unwrap_or(null));
                into.push(b'\n');
            }
            Self::Columns(columns) => columns.write(into, record, origin),
            Self::Template { tokens, null } => {
                for token in tokens {
                    token.write(into, record, origin, null);
                }
            }
            Self::Json => {
                serde_json::to_writer(&mut *into, &Json::new(record, origin)).expect("memory takes all");
                into.push(b'\n');
            }
        }
    }
}

impl Columns {
    pub(super) fn is_plain(&self) -> bool {
        !(self.timestamp || self.partition || self.offset || self.headers || self.key)
    }

    fn write(&self, into: &mut Vec<u8>, record: &Record<'_>, origin: &Origin<'_>) {
        let separator = &self.separator;
        if self.timestamp {
            text(into, format_args!("{}:{}", kafka_name(origin.timestamp_type), record.timestamp));
            into.extend_from_slice(separator);
        }
        if self.partition {
            text(into, format_args!("Partition:{}", origin.partition));
            into.extend_from_slice(separator);
        }
        if self.offset {
            text(into, format_args!("Offset:{}", record.offset));
            into.extend_from_slice(separator);
        }
        if self.headers {
            if record.headers.count_left() == 0 {
                into.extend_from_slice(b"NO_HEADERS");
            }
            headers(into, record, b':', &self.null);
            into.extend_from_slice(separator);
        }
        if self.key {
            into.extend_from_slice(record.key.unwrap_or(&self.null));
            into.extend_from_slice(separator);
        }
        into.extend_from_slice(record.value.unwrap_or(&self.null));
        into.push(b'\n');
    }
}

impl Token {
    fn write(&self, into: &mut Vec<u8>, record: &Record<'_>, origin: &Origin<'_>, null: &[u8]) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        match self {
            Self::Text(bytes) => into.extend_from_slice(bytes),
            Self::Value => into.extend_from_slice(record.value.unwrap_or(null)),
            Self::ValueLength => text(into, format_args!("{}", length(record.value))),
            Self::ValueLengthBinary => into.extend_from_slice(&length(record.value).to_be_bytes()),
            Self::Key => into.extend_from_slice(record.key.unwrap_or(null)),
            Self::KeyLength => text(into, format_args!("{}", length(record.key))),
            Self::Topic => into.extend_from_slice(origin.topic.as_bytes()),
            Self::Partition => text(into, format_args!("{}", origin.partition)),
            Self::Offset => text(into, format_args!("{}", record.offset)),
            Self::Timestamp => text(into, format_args!("{}", record.timestamp)),
            Self::Headers => headers(into, record, b'=', null),
        }
    }
}

/// `key<between>value,key<between>value`.
fn headers(into: &mut Vec<u8>, record: &Record<'_>, between: u8, null: &[u8]) {
    for (index, (key, value)) in record.headers.enumerate() {
        if index > 0 {
            into.push(b',');
        }
        into.extend_from_slice(key);
        into.push(between);
        into.extend_from_slice(value.unwrap_or(null));
    }
}

fn text(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("memory takes all");
}

/// A record as JSON. Bytes that are UTF-8 are strings; others are in base64, in the field with `_base64` behind its
/// name, so that nothing is lost and nothing is taken for something else.
#[derive(Serialize)]
struct Json<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    timestamp_type: &'static str,
    #[serde(skip_serializing_if = "is_binary")]
    key: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "is_binary")]
    value: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    key: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "is_binary")]
    value: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// Null, a string, or bytes that are none.
#[derive(Clone, Copy)]
enum Text<'a> {
    Null,
    Utf8(&'a str),
    Binary,
}

impl Serialize for Text<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Utf8(text) => serializer.serialize_str(text),
            Self::Null | Self::Binary => serializer.serialize_none(),
        }
    }
}

fn is_binary(text: &Text<'_>) -> bool {
    matches!(text, Text::Binary)
}

fn split(bytes: Option<&[u8]>) -> (Text<'_>, Option<String>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (Text::Null, None),
        Some((_, Ok(text))) => (Text::Utf8(text), None),
        Some((bytes, Err(_))) => (Text::Binary, Some(base64(bytes))),
    }
}

impl<'a> Json<'a> {
    fn new(record: &Record<'a>, origin: &Origin<'a>) -> Self {
        let ((key, key_base64), (value, value_base64)) = (split(record.key), split(record.value));
        let headers = record.headers.map(|(key, value)| {
            let (value, value_base64) = split(value);
            JsonHeader { key: String::from_utf8_lossy(key), value, value_base64 }
        });
        Self {
            topic: origin.topic,
            partition: origin.partition,
            offset: record.offset.0,
            timestamp: record.timestamp,
            timestamp_type: kafka_name(origin.timestamp_type),
            key,
            key_base64,
            value,
            value_base64,
            headers: headers.collect(),
        }
    }
}

fn kafka_name(timestamp_type: TimestampType) -> &'static str {
    match timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for digit in 0..4_usize {
            let six = usize::try_from(bits >> (18 - 6 * digit) & 0x3f).unwrap_or(0);
            let shown = if digit <= group.len() { char::from(DIGITS[six]) } else { '=' };
            text.write_char(shown).expect("a string takes all");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Columns, Format, Origin, Token, base64};
    use crate::record::build::{BatchBuilder, NewRecord};
    use crate::record::{TimestampType, decode};
    use crate::types::Offset;

    fn printed(format: &Format, record: NewRecord) -> Vec<u8> {
        let batch = BatchBuilder { base_offset: Offset(41), ..BatchBuilder::default() }.build(&[record]);
        let decoded = decode(&batch).expect("our own");
        let origin = Origin { topic: "orders", partition: 3, timestamp_type: TimestampType::CreateTime };
        let mut bytes = Vec::new();
        for record in decoded.records() {
            format.write(&mut bytes, &record.expect("our own"), &origin);
        }
        bytes
    }

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> NewRecord {
        let headers = vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None)];
        NewRecord {
            timestamp: 1_700_000_000_000,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers,
        }
    }

    #[test]
    fn formats_print_what_they_say() {
        let raw = Format::Raw { null: b"null".to_vec() };
        assert_eq!(printed(&raw, record(None, Some(b"\xff\r"))), b"\xff\r\n");
        assert_eq!(printed(&raw, record(None, None)), b"null\n");
        let columns = Columns {
            timestamp: true,
            partition: true,
            offset: true,
            headers: true,
            key: true,
            separator: b"\t".to_vec(),
            null: b"null".to_vec(),
        };
        let line = b"CreateTime:1700000000000\tPartition:3\tOffset:41\ta:1,b:null\tk\tv\n";
        assert_eq!(printed(&Format::Columns(columns.clone()), record(Some(b"k"), Some(b"v"))), line);
        let bare = NewRecord { headers: vec![], ..record(None, Some(b"v")) };
        let line = b"CreateTime:1700000000000\tPartition:3\tOffset:41\tNO_HEADERS\tnull\tv\n";
        assert_eq!(printed(&Format::Columns(columns), bare), line);
        let tokens = Format::template(r"%t[%p]@%o %T %k(%K)=%s(%S) %h 100%%\n%R%v").expect("known tokens");
        let template = Format::Template { tokens, null: Vec::new() };
        let line = b"orders[3]@41 1700000000000 k(1)=v(1) a=1,b= 100%\n\0\0\0\x01v";
        assert_eq!(printed(&template, record(Some(b"k"), Some(b"v"))), line);
        let line = b"orders[3]@41 1700000000000 (-1)=(-1) a=1,b= 100%\n\xff\xff\xff\xff";
        assert_eq!(printed(&template, record(None, None)), line);
    }

    #[test]
    fn templates_are_checked() {
        assert_eq!(Format::template("x%s"), Ok(vec![Token::Text(b"x".to_vec()), Token::Value]));
        assert!(Format::template("%q").expect_err("unknown").contains("%q"));
        assert!(Format::template("50%").is_err());
    }

    #[test]
    fn json_is_json_and_loses_nothing() {
        let parsed =
            |record| serde_json::from_slice::<serde_json::Value>(&printed(&Format::Json, record)).expect("JSON");
        assert_eq!(
            parsed(record(Some(b"k\"\n\0"), Some("ä".as_bytes()))),
            json!({"topic": "orders", "partition": 3, "offset": 41, "timestamp": 1_700_000_000_000_i64,
                   "timestamp_type": "CreateTime", "key": "k\"\n\0", "value": "ä",
                   "headers": [{"key": "a", "value": "1"}, {"key": "b", "value": null}]})
        );
        let binary = parsed(NewRecord { headers: vec![], ..record(None, Some(b"\xff\xfe")) });
        assert_eq!(
            binary,
            json!({"topic": "orders", "partition": 3, "offset": 41, "timestamp": 1_700_000_000_000_i64,
                   "timestamp_type": "CreateTime", "key": null, "value_base64": "//4="})
        );
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (text, encoded) in pairs {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
