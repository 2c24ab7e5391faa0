//! The four codecs, both ways, with a cap on what comes out. Off the hot path: housekeeping and tests.
//!
//! Snappy comes in two shapes: raw blocks (librdkafka and others) and xerial's framing (Java): a magic, two version
//! numbers, then blocks of `length i32, raw snappy`. LZ4 is the frame format in every client since message format 1.

use std::io::{Read, Write};

use super::batch::Compression;
use super::error::RecordError;

/// The most bytes that one batch may have after decompression; what exceeds it is taken for an attack. It is over a
/// hundred times the default `max.message.bytes`, and above what `socket.request.max.bytes` lets in uncompressed.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// What Java's snappy begins with; no raw snappy block of a record batch can.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic, version and lowest compatible version.
const XERIAL_HEADER_BYTES: usize = 16;

/// The bytes of `input` decompressed: at most `max` of them.
pub(super) fn decompress(compression: Compression, input: &[u8], max: usize) -> Result<Vec<u8>, RecordError> {
    let failed = |reason: String| RecordError::Codec { codec: compression.name(), reason };
    match compression {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => read_all(flate2::read::MultiGzDecoder::new(input), max, failed),
        Compression::Snappy => snappy(input, max),
        Compression::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(input), max, failed),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input);
            read_all(decoder.map_err(|error| failed(error.to_string()))?, max, failed)
        }
    }
}

/// The bytes of `input` compressed: for the metadata log's tests and for batches that tests send.
pub(super) fn compress(compression: Compression, input: &[u8]) -> Vec<u8> {
    let compressed = match compression {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(input).and_then(|()| encoder.finish())
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(input).map_err(std::io::Error::other),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(input).and_then(|()| encoder.finish().map_err(std::io::Error::other))
        }
        Compression::Zstd => zstd::stream::encode_all(input, 0),
    };
    compressed.expect("compressing into memory cannot fail")
}

fn read_all(reader: impl Read, max: usize, failed: impl Fn(String) -> RecordError) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut out).map_err(|error| failed(error.to_string()))?;
    if out.len() > max { Err(RecordError::Inflated { max }) } else { Ok(out) }
}

fn snappy(input: &[u8], max: usize) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    if !input.starts_with(XERIAL_MAGIC) {
        snappy_block(input, max, &mut out)?;
        return Ok(out);
    }
    let mut rest = input.get(XERIAL_HEADER_BYTES..).ok_or_else(|| snappy_failed("a xerial header cut short"))?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(|| snappy_failed("a block length cut short"))?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let block = length.and_then(|length| after.split_at_checked(length));
        let (block, next) = block.ok_or_else(|| snappy_failed("a block length beyond the records"))?;
        snappy_block(block, max, &mut out)?;
        rest = next;
    }
    Ok(out)
}

/// Appends one raw block to `out`, after the length that it promises was found to fit below `max`.
fn snappy_block(block: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let length = snap::raw::decompress_len(block).map_err(|error| snappy_failed(&error.to_string()))?;
    let start = out.len();
    if length > max.saturating_sub(start) {
        return Err(RecordError::Inflated { max });
    }
    // A block of snappy shrinks to no less than about a twentieth: a promise beyond 64 times is not read at all.
    if length > block.len().saturating_mul(64) {
        return Err(snappy_failed("a block length that its bytes cannot hold"));
    }
    out.resize(start + length, 0);
    let free = out.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, free).map_err(|error| snappy_failed(&error.to_string()))?;
    Ok(())
}

fn snappy_failed(reason: &str) -> RecordError {
    RecordError::Codec { codec: Compression::Snappy.name(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Compression, RecordError, XERIAL_MAGIC, compress, decompress};

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn every_codec_gives_back_what_it_got() {
        let text = b"the bytes a producer sends are the bytes on disk ".repeat(5000);
        for codec in CODECS {
            assert_eq!(decompress(codec, &compress(codec, &text), text.len()), Ok(text.clone()), "{codec:?}");
        }
    }

    #[test]
    fn xerial_framing_is_read_block_by_block() {
        let mut framed = XERIAL_MAGIC.to_vec();
        framed.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for text in [&b"first "[..], b"second"] {
            let block = compress(Compression::Snappy, text);
            framed.extend(i32::try_from(block.len()).expect("small").to_be_bytes());
            framed.extend(block);
        }
        assert_eq!(decompress(Compression::Snappy, &framed, 100), Ok(b"first second".to_vec()));
        for cut in 17..framed.len() {
            let result = decompress(Compression::Snappy, &framed[..cut], 100);
            assert!(result.is_err() || result == Ok(b"first ".to_vec()), "{cut}: {result:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let zeros = vec![0; 1 << 20];
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let result = decompress(codec, &compress(codec, &zeros), 1 << 16);
            assert_eq!(result, Err(RecordError::Inflated { max: 1 << 16 }), "{codec:?}");
        }
        let promise = [0xff, 0xff, 0xff, 0x3f, 0];
        assert!(matches!(decompress(Compression::Snappy, &promise, usize::MAX), Err(RecordError::Codec { .. })));
    }
}
