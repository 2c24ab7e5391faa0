//! The writing stages' way from a batch to its answer: gathered, written in windows, flushed, answered.

use std::rc::Rc;

use super::flights::{Flight, Pieces};
use super::gather::{Gather, WrongChecksum};
use super::segments::Segments;
use super::windows::Windows;
use super::wire::Produce;

/// Batches on their way, and the answers that wait for them.
#[derive(Debug)]
pub(super) struct Store {
    gather: Gather,
    segments: Segments,
    windows: Windows<Carried>,
    /// Those of the window to come.
    answers: Answers,
    /// Used before, for windows to come.
    spare: Vec<Answers>,
    /// Flushes under way, each with the files that are still to be flushed.
    flushing: Vec<(u64, usize)>,
    /// No more is taken while so much is gathered.
    gather_bytes_max: usize,
    pub(super) began: u64,
    pub(super) flushes: u64,
}

/// What a window carries to its end.
#[derive(Debug)]
struct Carried {
    segment: usize,
    answers: Answers,
}

/// Answers of several connections, back to back.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    /// Whose they are, and their lengths.
    parts: Vec<(usize, usize)>,
}

impl Answers {
    /// Each answer with its connection.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.parts.iter().map(move |(connection, len)| {
            let (answer, behind) = rest.split_at(*len);
            rest = behind;
            (*connection, answer)
        })
    }
}

impl Store {
    pub(super) fn new(segments: Segments, flushed: bool, gather_bytes_max: usize) -> Self {
        Self {
            gather: Gather::new(segments.block_bytes()),
            segments,
            windows: Windows::new(flushed),
            answers: Answers::default(),
            spare: Vec::new(),
            flushing: Vec::new(),
            gather_bytes_max,
            began: 0,
            flushes: 0,
        }
    }

    /// Whether as much is gathered as a window should have.
    pub(super) fn is_full(&self) -> bool {
        self.gather.bytes() >= self.gather_bytes_max
    }

    /// How often a segment was begun again.
    pub(super) fn turnovers(&self) -> u64 {
        self.segments.turnovers()
    }

    /// Takes a batch; its answer is owed until its window is through.
    pub(super) fn append(&mut self, connection: usize, request: &Produce<'_>) -> Result<(), WrongChecksum> {
        self.gather.append(request.batch)?;
        let before = self.answers.bytes.len();
        request.answer(&mut self.answers.bytes);
        self.answers.parts.push((connection, self.answers.bytes.len() - before));
        Ok(())
    }

    /// The write of a window of all that is gathered, unless nothing is, or three are under way.
    pub(super) fn begin(&mut self) -> Option<Flight> {
        if self.gather.bytes() == 0 || !self.windows.has_room() {
            return None;
        }
        let slices = self.gather.take();
        let place = self.segments.place(slices.iter().map(|slice| slice.len() as u64).sum());
        let answers = std::mem::replace(&mut self.answers, self.spare.pop().unwrap_or_default());
        let window = self.windows.begin(Carried { segment: place.segment, answers });
        self.began += 1;
        let file = self.segments.file(place.segment);
        Some(Flight::Write { window, file, position: place.position, slices, pieces: Pieces::default() })
    }

    /// The write of a window has ended well.
    pub(super) fn written(&mut self, window: u64) {
        self.windows.written(window);
    }

    /// The flushes to begin now: none, or one for all windows that were written meanwhile.
    pub(super) fn flush_due(&mut self) -> Vec<Flight> {
        let Some((flush, covered)) = self.windows.flush_due() else { return Vec::new() };
        let segments = self.segments.to_flush(covered.map(|carried| carried.segment));
        self.flushing.push((flush, segments.len()));
        self.flushes += segments.len() as u64;
        let files = segments.into_iter().map(|segment| self.segments.file(segment));
        files.map(|file| Flight::Flush { flush, file: Rc::clone(&file) }).collect()
    }

    /// The flush of a file has ended well.
    pub(super) fn flushed(&mut self, flush: u64) {
        let at = self.flushing.iter().position(|(number, _)| *number == flush).expect("a flush under way");
        self.flushing[at].1 -= 1;
        if self.flushing[at].1 == 0 {
            self.flushing.swap_remove(at);
            self.windows.flushed(flush);
        }
    }

    /// The answers of the oldest window, if it is through.
    pub(super) fn release(&mut self) -> Option<Answers> {
        self.windows.release().map(|carried| carried.answers)
    }

    /// Takes the memory of answers that have left.
    pub(super) fn give_back(&mut self, mut answers: Answers) {
        answers.bytes.clear();
        answers.parts.clear();
        self.spare.push(answers);
    }
}
