//! What a user types for bytes that are hard to type: separators, formats, sizes.

/// The bytes of a text with `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH`; any other backslash is an error.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (escaped, after) = rest.split_first().ok_or("a backslash at the end: \\\\ is one")?;
        rest = after;
        bytes.push(match escaped {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = rest.get(2..).unwrap_or_default();
                byte.ok_or("\\x takes two hexadecimal digits")?
            }
            other => return Err(format!("\\{}: only \\n \\r \\t \\0 \\\\ \\xHH are known", char::from(*other))),
        });
    }
    Ok(bytes)
}

/// What stands between two things; not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Separator(pub(super) Vec<u8>);

/// As [`unescape`], for a separator.
pub(super) fn separator(text: &str) -> Result<Separator, String> {
    let bytes = unescape(text)?;
    if bytes.is_empty() { Err("a separator has one byte at least".to_owned()) } else { Ok(Separator(bytes)) }
}

/// A number of bytes, such as 512K or 32M.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: usize = number.parse().map_err(|_not_one| "a size is a number with K, M or G behind it".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| (1..=SIZE_MAX).contains(bytes));
    bytes.ok_or_else(|| format!("a size is at least 1 and at most {SIZE_MAX}"))
}

/// Far below what a batch's length field can say.
const SIZE_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::{separator, size, unescape};

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(unescape(r"a\tb\n\\\x00\xfF\0é"), Ok(b"a\tb\n\\\0\xff\0\xc3\xa9".to_vec()));
        for wrong in [r"\", r"\q", r"\x1", r"\xgg", r"a\"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
        assert!(separator("").is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("16K"), Ok(16 << 10));
        assert_eq!(size("1G"), Ok(1 << 30));
        for wrong in ["", "0", "K", "-1", "2G", "1.5M", "99999999999999999999M"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
