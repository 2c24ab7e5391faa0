//! What each stage does with a frame.

use std::fs;
use std::ops::Range;

use super::gather::Gather;
use super::records::Layout;
use super::segments::Segments;
use super::server::Limits;
use super::store::Store;
use super::wire::{self, CHECKED_FROM, Fetch, Produce};
use super::{Config, Error, Stage};
use crate::io::Slice;

/// The work of a stage, with what it keeps.
#[derive(Debug)]
pub(super) enum Work {
    Receive,
    Checksum,
    Copy(Gather),
    Store(Box<Store>),
    Sendfile { layout: Layout, file: fs::File },
    Memory { layout: Layout, records: Slice },
    Echo,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Its answer was written out.
    Answered,
    /// Its answer comes with its window.
    Owed,
    /// Its answer was written out up to these records.
    Body(Range<u64>),
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No request that the stage answers.
    Request,
    /// Its checksum is wrong.
    Checksum,
}

impl Work {
    pub(super) fn new(config: &Config, limits: &Limits) -> Result<Self, Error> {
        let store = |flushed| {
            let segments = Segments::prepare(&config.dir, config.segments, config.segment_bytes)?;
            Ok(Self::Store(Box::new(Store::new(segments, flushed, limits.gather_bytes_max))))
        };
        let layout = || Layout::new(&config.batch, config.fetch_bytes);
        match config.stage {
            Stage::Receive => Ok(Self::Receive),
            Stage::Checksum => Ok(Self::Checksum),
            Stage::Copy => Ok(Self::Copy(Gather::new(COPY_BLOCK_BYTES))),
            Stage::Write => store(false),
            Stage::Flush => store(true),
            Stage::Sendfile => {
                let layout = layout()?;
                Ok(Self::Sendfile { layout, file: layout.file(&config.batch, &config.dir)? })
            }
            Stage::Memory => {
                let layout = layout()?;
                let records = layout.memory(&config.batch);
                Ok(Self::Memory { layout, records: records.slice(0..records.len()) })
            }
            Stage::Echo => Ok(Self::Echo),
        }
    }

    /// Whether frames should wait.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Store(store) if store.is_full())
    }

    /// Does the stage's work for a frame, which is without its length; what can be answered at once goes into `out`.
    pub(super) fn take(&mut self, connection: usize, frame: &[u8], out: &mut Vec<u8>) -> Result<Done, Refused> {
        match self {
            Self::Receive => produce(frame)?.answer(out),
            Self::Checksum => {
                let request = produce(frame)?;
                if crc32c::crc32c(&request.batch[CHECKED_FROM..]) != wire::checksum(request.batch) {
                    return Err(Refused::Checksum);
                }
                request.answer(out);
            }
            Self::Copy(gather) => {
                let request = produce(frame)?;
                gather.append(request.batch).map_err(|_wrong| Refused::Checksum)?;
                request.answer(out);
            }
            Self::Store(store) => {
                store.append(connection, &produce(frame)?).map_err(|_wrong| Refused::Checksum)?;
                return Ok(Done::Owed);
            }
            Self::Sendfile { layout, .. } | Self::Memory { layout, .. } => {
                let request = Fetch::of(frame).ok_or(Refused::Request)?;
                let range = layout.range(request.offset, request.bytes_max);
                let bytes = usize::try_from(range.end - range.start).expect("fits into memory");
                request.answer(layout.end_offset(), bytes, out);
                return Ok(Done::Body(range));
            }
            Self::Echo => {
                let length = i32::try_from(frame.len()).expect("it came behind such a length");
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(frame);
            }
        }
        Ok(Done::Answered)
    }

    /// All frames that had arrived were taken: without a write, what was copied is let go.
    pub(super) fn let_go(&mut self) {
        if let Self::Copy(gather) = self {
            drop(gather.take());
        }
    }
}

fn produce(frame: &[u8]) -> Result<Produce<'_>, Refused> {
    Produce::of(frame).ok_or(Refused::Request)
}

/// The block of most devices.
const COPY_BLOCK_BYTES: usize = 4096;
