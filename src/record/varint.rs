//! Kafka's variable-length integers: seven bits a byte, least significant first; signed ones in zig-zag form.

/// Reads an unsigned number of up to 32 bits from the front of `bytes` and moves past it.
pub fn read_unsigned(bytes: &mut &[u8]) -> Option<u32> {
    let (value, used) = unsigned(bytes, 5)?;
    *bytes = bytes.get(used..)?;
    u32::try_from(value).ok()
}

/// Reads a signed number of up to 32 bits.
pub fn read_i32(bytes: &mut &[u8]) -> Option<i32> {
    let value = read_unsigned(bytes)?;
    // The low bit is the sign: -(value & 1) is all ones for a negative number.
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Reads a signed number of up to 64 bits.
pub fn read_i64(bytes: &mut &[u8]) -> Option<i64> {
    let (value, used) = unsigned(bytes, 10)?;
    *bytes = bytes.get(used..)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Appends an unsigned number.
pub fn write_unsigned(into: &mut Vec<u8>, value: u32) {
    write(into, u64::from(value));
}

/// Appends a signed number of up to 32 bits.
pub fn write_i32(into: &mut Vec<u8>, value: i32) {
    write(into, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
}

/// Appends a signed number of up to 64 bits.
pub fn write_i64(into: &mut Vec<u8>, value: i64) {
    write(into, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// The number at the front and the bytes it takes, at most `bytes_max`. A number beyond 64 bits is refused.
fn unsigned(bytes: &[u8], bytes_max: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(bytes_max).enumerate() {
        let seven = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if at == 9 && seven > 1 {
            return None;
        }
        value |= seven << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn write(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    into.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{read_i32, read_i64, read_unsigned, write_i32, write_i64, write_unsigned};

    #[test]
    fn numbers_have_the_bytes_that_kafka_gives_them() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[126]),
            (-64, &[127]),
            (64, &[0x80, 1]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut written = Vec::new();
            write_i32(&mut written, value);
            assert_eq!(written, bytes);
        }
        assert_eq!(read_unsigned(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0][..]), None, "six bytes");
        assert_eq!(read_unsigned(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None, "33 bits");
        assert_eq!(read_unsigned(&mut &[0x80][..]), None, "cut short");
        assert_eq!(read_i64(&mut &[0xff; 10][..]), None, "more than 64 bits");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(a: i32, b: i64, c: u32) {
            let mut bytes = Vec::new();
            write_i32(&mut bytes, a);
            write_i64(&mut bytes, b);
            write_unsigned(&mut bytes, c);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read_i32(&mut rest), Some(a));
            prop_assert_eq!(read_i64(&mut rest), Some(b));
            prop_assert_eq!(read_unsigned(&mut rest), Some(c));
            prop_assert!(rest.is_empty());
        }
    }
}
