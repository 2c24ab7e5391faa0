//! Files and stdin as blocks of whole lines, read ahead on a thread of its own.
//!
//! ```text
//!   read(2) -> [line\nline\nline\nli] -> [line\nline\nline\n] to the caller; [li] begins the next block
//! ```
//! A block goes out as soon as it holds a line, so that what is typed is sent. Bytes are not looked at, newlines apart.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// Where lines come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    /// Its name in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Its bytes, where that can be known.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => path.metadata().ok().filter(std::fs::Metadata::is_file).map(|found| found.len()),
        }
    }

    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File(path) => Box::new(open(path)?),
        })
    }
}

/// Opens a file for reading; a directory is refused here rather than at its first read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

/// Some lines of one source.
#[derive(Debug)]
pub(super) struct Block {
    /// Which source.
    pub source: usize,
    bytes: Vec<u8>,
    len: usize,
}

impl Block {
    /// The lines. Each ends with a newline, but for the last one of a source, and one that is too long.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Blocks to come, and the way back for their memory.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Receiver<io::Result<Block>>,
    free: Sender<Vec<u8>>,
}

impl Blocks {
    /// Begins to read all sources, one after the other. A line beyond `line_bytes_max` ends them.
    pub(super) fn start(sources: Vec<Source>, line_bytes_max: usize) -> io::Result<Self> {
        let (filled, blocks) = sync_channel(BLOCKS_AHEAD);
        let (free, emptied) = channel();
        // Not joined: a read of a terminal or a pipe ends when it will, and must not keep the command from ending.
        thread::Builder::new().name("read".to_owned()).spawn(move || {
            let mut reader = Reader { filled, emptied, line_bytes_max };
            for (index, source) in sources.iter().enumerate() {
                match source.open().and_then(|input| reader.read(index, input)) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        let named = io::Error::new(error.kind(), format!("{}: {error}", source.name()));
                        // Nobody may be there to be told any more.
                        let _ = reader.filled.send(Err(named));
                        return;
                    }
                }
            }
        })?;
        Ok(Self { blocks, free })
    }

    /// The next block; `None` at the end of the last source. Fails with a timeout where none has come in time.
    pub(super) fn next(&self, wait: Duration) -> Result<Option<Block>, Wait> {
        match self.blocks.recv_timeout(wait) {
            Ok(Ok(block)) => Ok(Some(block)),
            Ok(Err(error)) => Err(Wait::Failed(error)),
            Err(RecvTimeoutError::Timeout) => Err(Wait::NothingYet),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// Gives a block's memory back.
    pub(super) fn recycle(&self, block: Block) {
        // The reader may have come to its end.
        let _ = self.free.send(block.bytes);
    }
}

/// Why there is no block.
#[derive(Debug)]
pub(super) enum Wait {
    NothingYet,
    Failed(io::Error),
}

struct Reader {
    filled: SyncSender<io::Result<Block>>,
    emptied: Receiver<Vec<u8>>,
    line_bytes_max: usize,
}

impl Reader {
    /// Reads one source to its end. Answers whether to go on.
    fn read(&mut self, source: usize, mut input: impl Read) -> io::Result<bool> {
        let mut bytes = vec![0; BLOCK_BYTES];
        let mut len = 0;
        loop {
            if len == bytes.len() {
                bytes.resize(2 * len, 0);
            }
            let count = match input.read(&mut bytes[len..]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if count == 0 {
                return Ok(len == 0 || self.send(Block { source, bytes, len }));
            }
            let newline = bytes[len..len + count].iter().rposition(|byte| *byte == b'\n');
            let end = newline.map(|at| len + at + 1);
            len += count;
            let Some(end) = end else {
                if len > self.line_bytes_max {
                    self.send(Block { source, bytes, len });
                    return Ok(false);
                }
                continue;
            };
            let mut next = self.emptied.try_recv().unwrap_or_default();
            let rest = &bytes[end..len];
            next.resize(BLOCK_BYTES.max(2 * rest.len()), 0);
            next[..rest.len()].copy_from_slice(rest);
            let rest_len = rest.len();
            if !self.send(Block { source, bytes, len: end }) {
                return Ok(false);
            }
            (bytes, len) = (next, rest_len);
        }
    }

    fn send(&self, block: Block) -> bool {
        self.filled.send(Ok(block)).is_ok()
    }
}

const BLOCK_BYTES: usize = 1 << 20;
const BLOCKS_AHEAD: usize = 4;

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::sync::mpsc::{channel, sync_channel};

    use super::{BLOCK_BYTES, Reader};

    /// Gives its bytes in pieces of a few bytes, as a terminal does.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn blocks(text: &[u8], piece: usize, line_bytes_max: usize) -> (bool, Vec<Vec<u8>>) {
        let (filled, blocks) = sync_channel(100_000);
        let (_free, emptied) = channel();
        let more = Reader { filled, emptied, line_bytes_max }.read(0, Drip(text, piece)).expect("nothing fails");
        (more, blocks.iter().map(|block| block.expect("nothing fails").bytes().to_vec()).collect())
    }

    #[test]
    fn blocks_hold_whole_lines_and_all_bytes() {
        let mut text = b"one\n\n\r\ntwo\0\xff\n".repeat(3);
        text.extend(vec![b'x'; 3 * BLOCK_BYTES]);
        text.extend(b"\nlast without newline");
        for piece in [1, 2, 7, 100, BLOCK_BYTES] {
            if piece == 1 {
                text.truncate(60);
            }
            let (more, found) = blocks(&text, piece, 4 * BLOCK_BYTES);
            assert!(more);
            assert_eq!(found.concat(), text, "{piece}");
            let (_, whole) = found.split_last().expect("a block");
            assert!(whole.iter().all(|block| block.ends_with(b"\n")), "{piece}");
        }
        assert_eq!(blocks(b"", 10, 10), (true, vec![]));
        assert_eq!(blocks(b"\n", 10, 10), (true, vec![b"\n".to_vec()]));
    }

    #[test]
    fn a_line_beyond_the_limit_ends_it() {
        let text = [&b"short\n"[..], &vec![b'x'; 2 * BLOCK_BYTES]].concat();
        let (more, found) = blocks(&text, 1000, 5000);
        assert!(!more);
        assert_eq!(found[0], b"short\n");
        assert!(found[1].len() > 5000 && found[1].len() < 10_000, "memory is bounded");
    }
}
