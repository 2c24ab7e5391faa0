//! The four codecs, both ways, with a cap on what comes out. Off the hot path: housekeeping, the command line, tests.
//!
//! Snappy comes in two shapes: raw blocks (librdkafka and others) and xerial's framing (Java): a magic, two version
//! numbers, then blocks of `length i32, raw snappy`. LZ4 is the frame format in every client since message format 1.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};

use super::batch::Compression;
use super::error::RecordError;

/// The most bytes that one batch may have after decompression; what exceeds it is taken for an attack. It is over a
/// hundred times the default `max.message.bytes`, and above what `socket.request.max.bytes` lets in uncompressed.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// What Java's snappy begins with; no raw snappy block of a record batch can.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// What follows the magic: version and lowest compatible version.
const XERIAL_VERSIONS_BYTES: usize = 8;

/// The bytes of `input` decompressed: at most `max` of them.
pub(super) fn decompress(compression: Compression, input: &[u8], max: usize) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut reader = reader(compression, input, max)?.take(limit);
    reader.read_to_end(&mut out).map_err(|error| failed(compression, &error))?;
    if out.len() > max { Err(RecordError::Inflated { max }) } else { Ok(out) }
}

/// A stream of the bytes of `input` decompressed. Holds a codec's window and a block, not the whole; but a raw block of
/// snappy has no smaller part, and is refused where it is over `max` bytes.
pub(super) fn reader(compression: Compression, input: &[u8], max: usize) -> Result<Box<dyn BufRead + '_>, RecordError> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(input))),
        Compression::Snappy => match input.strip_prefix(XERIAL_MAGIC) {
            Some(rest) => {
                let blocks = rest.get(XERIAL_VERSIONS_BYTES..);
                let rest = blocks.ok_or_else(|| failed(compression, &"a xerial header cut short"))?;
                Box::new(BufReader::new(XerialReader { rest, max, block: Cursor::default() }))
            }
            None => Box::new(Cursor::new(snappy_block(input, max)?)),
        },
        Compression::Lz4 => Box::new(BufReader::new(lz4_flex::frame::FrameDecoder::new(input))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input);
            Box::new(BufReader::new(decoder.map_err(|error| failed(compression, &error))?))
        }
    })
}

/// What a codec says of bytes that are not its own.
pub(super) fn failed(compression: Compression, reason: &dyn fmt::Display) -> RecordError {
    RecordError::Codec { codec: compression.name(), reason: reason.to_string() }
}

/// The bytes of `input` compressed: for batches that the command line or a test makes.
#[must_use]
pub fn compress(compression: Compression, input: &[u8]) -> Vec<u8> {
    let compressed = match compression {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(input).and_then(|()| encoder.finish())
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(input).map_err(io::Error::other),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(input).and_then(|()| encoder.finish().map_err(io::Error::other))
        }
        Compression::Zstd => zstd::stream::encode_all(input, 0),
    };
    compressed.expect("compressing into memory cannot fail")
}

/// Xerial's framing, block by block.
struct XerialReader<'a> {
    rest: &'a [u8],
    max: usize,
    block: Cursor<Vec<u8>>,
}

impl XerialReader<'_> {
    /// The next block, decompressed. There is one.
    fn next_block(&mut self) -> Result<Vec<u8>, RecordError> {
        let failed = |reason: &str| failed(Compression::Snappy, &reason);
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(|| failed("a block length cut short"))?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let block = length.and_then(|length| rest.split_at_checked(length));
        let (block, rest) = block.ok_or_else(|| failed("a block length beyond the records"))?;
        self.rest = rest;
        snappy_block(block, self.max)
    }
}

impl Read for XerialReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(into)?;
            if read > 0 || self.rest.is_empty() || into.is_empty() {
                return Ok(read);
            }
            self.block = Cursor::new(self.next_block().map_err(io::Error::other)?);
        }
    }
}

/// One raw block, after the length that it promises was found to fit below `max`.
fn snappy_block(block: &[u8], max: usize) -> Result<Vec<u8>, RecordError> {
    let failed = |reason: &dyn fmt::Display| failed(Compression::Snappy, reason);
    let length = snap::raw::decompress_len(block).map_err(|error| failed(&error))?;
    if length > max {
        return Err(RecordError::Inflated { max });
    }
    // A block of snappy shrinks to no less than about a twentieth: a promise beyond 64 times is not read at all.
    if length > block.len().saturating_mul(64) {
        return Err(failed(&"a block length that its bytes cannot hold"));
    }
    let mut out = vec![0; length];
    snap::raw::Decoder::new().decompress(block, &mut out).map_err(|error| failed(&error))?;
    Ok(out)
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
        assert!(decompress(Compression::Snappy, &framed[..15], 100).is_err());
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
