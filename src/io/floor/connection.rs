//! One connection: bytes in until a frame is whole, bytes out.
//!
//! ```text
//!   input   [ . handled . | frame | frame | part of a fra.. |  <- the next receive: its rest, exactly  ]
//!                         ^ start
//! ```
//! A frame lies in one piece of memory of the connection's own. With nothing left over the next receive begins at the
//! front and asks for as much as the last frame had, so that a steady stream of long frames takes one receive each, is
//! never moved, and stays in a cache as large as one frame of each connection. Short frames come many at a time.
//!
//! **Limits.** A frame over `Limits::frame_bytes_max` ends the connection. Memory grows fourfold with the bytes that
//! came, never with those that were announced.

use std::ops::Range;

use super::super::AppendBuf;
use super::super::socket::Socket;

/// A connection and what is under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) input: Input,
    /// Answers that nobody sends yet.
    pub(super) out: Vec<u8>,
    /// The vector that the last send used, for the next one.
    pub(super) spare: Vec<u8>,
    /// Records that follow what is sent.
    pub(super) body: Option<Range<u64>>,
    /// A send, or a wait for room, is under way.
    pub(super) sending: bool,
    pub(super) receiving: bool,
    /// Its frames wait until its answers have left.
    pub(super) waiting: bool,
    /// Answers that windows owe.
    pub(super) owed: usize,
    /// It is over, and forgotten once nothing is under way and nothing is owed.
    pub(super) ended: bool,
}

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            input: Input::new(),
            out: Vec::new(),
            spare: Vec::new(),
            body: None,
            sending: false,
            receiving: false,
            waiting: false,
            owed: 0,
            ended: false,
        }
    }

    /// Whether nothing refers to it any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended && !self.sending && !self.receiving && self.owed == 0
    }
}

/// Bytes that were received and not handled.
#[derive(Debug)]
pub(super) struct Input {
    /// `None` while the kernel has it.
    buf: Option<AppendBuf>,
    start: usize,
    /// What the last frame came to, its length included.
    last_frame: usize,
    /// Whether the socket was empty after the last receive.
    drained: bool,
}

/// What to receive next.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) buf: AppendBuf,
    pub(super) len: usize,
    /// Not less.
    pub(super) all: bool,
    /// There may be nothing yet.
    pub(super) drained: bool,
}

/// A length that no frame has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongLength(pub(super) i32);

impl Input {
    fn new() -> Self {
        let buf = Some(AppendBuf::with_capacity(INPUT_BYTES_MIN));
        Self { buf, start: 0, last_frame: 0, drained: true }
    }

    /// A receive has ended.
    pub(super) fn received(&mut self, buf: AppendBuf, drained: bool) {
        self.buf = Some(buf);
        self.drained = drained;
    }

    /// The next whole frame, without its length.
    pub(super) fn next_frame(&mut self, bytes_max: usize) -> Result<Option<&[u8]>, WrongLength> {
        let buf = self.buf.as_ref().expect("nothing is received while frames are handled");
        let bytes = &buf.filled()[self.start..];
        let Some(length) = bytes.first_chunk().map(|length| i32::from_be_bytes(*length)) else { return Ok(None) };
        let len = usize::try_from(length).ok().filter(|len| (FRAME_BYTES_MIN..=bytes_max).contains(len));
        let whole = LENGTH_BYTES + len.ok_or(WrongLength(length))?;
        let Some(frame) = bytes.get(LENGTH_BYTES..whole) else { return Ok(None) };
        self.start += whole;
        self.last_frame = whole;
        Ok(Some(frame))
    }

    /// The next receive. Whole frames were taken before, and lengths looked at.
    pub(super) fn want(&mut self) -> Want {
        let mut buf = self.buf.take().expect("nothing is received at the moment");
        let have = buf.len() - self.start;
        let drained = self.drained;
        if have == 0 {
            assert!(buf.reset(), "nobody else looks at it");
            self.start = 0;
            let like_last = if self.last_frame < RECEIVE_BYTES_MIN { RECEIVE_BYTES_MIN } else { self.last_frame };
            return Want { len: like_last.min(buf.remaining()), buf, all: false, drained };
        }
        let length = buf.filled()[self.start..].first_chunk().map(|length| i32::from_be_bytes(*length));
        let whole = length.map(|length| LENGTH_BYTES + usize::try_from(length).expect("looked at before"));
        let rest = whole.unwrap_or(LENGTH_BYTES) - have;
        if rest > buf.remaining() && (self.start > 0 || buf.remaining() == 0) {
            buf = self.moved(&buf, have + rest);
        }
        match whole {
            Some(_) => Want { len: rest.min(buf.remaining()), buf, all: true, drained },
            None => Want { len: buf.remaining().min(RECEIVE_BYTES_MIN), buf, all: false, drained },
        }
    }

    /// The beginning of a frame at the front of other memory.
    fn moved(&mut self, buf: &AppendBuf, whole: usize) -> AppendBuf {
        let have = &buf.filled()[self.start..];
        let capacity = whole.min(have.len() * GROWTH).max(buf.capacity());
        let mut other = AppendBuf::with_capacity(capacity);
        other.append(have);
        self.start = 0;
        other
    }
}

const LENGTH_BYTES: usize = 4;
/// Less is no request header: key, version, correlation id, null client id.
const FRAME_BYTES_MIN: usize = 10;
/// What a connection has for its frames at the start.
const INPUT_BYTES_MIN: usize = 128 << 10;
/// The least that a receive with nothing left over asks for.
const RECEIVE_BYTES_MIN: usize = 64 << 10;
/// How much more memory a frame gets when what came of it fills what it had.
const GROWTH: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{INPUT_BYTES_MIN, Input, WrongLength};

    fn frame(len: usize, seed: usize) -> Vec<u8> {
        let length = i32::try_from(len).expect("short").to_be_bytes();
        length.into_iter().chain((0..len).map(|at| u8::try_from((at * 7 + seed) % 251).expect("small"))).collect()
    }

    /// Feeds the stream in receives of at most `arrives` bytes, and takes the frames out as they get whole.
    fn frames(stream: &[u8], arrives: &[usize]) -> Vec<Vec<u8>> {
        let (mut input, mut at, mut taken) = (Input::new(), 0, Vec::new());
        let mut arrives = arrives.iter().cycle();
        loop {
            while let Some(frame) = input.next_frame(64 << 20).expect("right lengths") {
                taken.push(frame.to_vec());
            }
            if at == stream.len() {
                return taken;
            }
            let want = input.want();
            assert!(want.len > 0, "a receive of nothing means the end");
            let rest = want.len.min(stream.len() - at);
            // One that must be whole is, as long as the peer goes on.
            let count = if want.all { rest } else { rest.min(*arrives.next().expect("a cycle")) };
            let mut buf = want.buf;
            buf.append(&stream[at..at + count]);
            at += count;
            input.received(buf, false);
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let sent: Vec<_> = [10, 100, 65_000, 66_000, 66_000, 200_000, 1_100_000, 10, 300_000, 20]
            .iter()
            .enumerate()
            .map(|(seed, len)| frame(*len, seed))
            .collect();
        for arrives in [1 << 20, 70_000, 1, 4097] {
            let taken = frames(&sent.concat(), &[arrives]);
            assert!(taken.iter().eq(sent.iter().map(|frame| &frame[4..])), "by {arrives}");
        }
    }

    #[test]
    fn memory_follows_what_came_and_not_what_was_announced() {
        let mut input = Input::new();
        let mut want = input.want();
        want.buf.append(&(60_i32 << 20).to_be_bytes());
        want.buf.append(&[0; 1000]);
        input.received(want.buf, true);
        assert_eq!(input.next_frame(64 << 20), Ok(None));
        let want = input.want();
        assert_eq!((want.buf.capacity(), want.all), (INPUT_BYTES_MIN, true));
    }

    #[test]
    fn wrong_lengths_are_told() {
        for length in [-1, 0, 9, 1 << 20, i32::MIN, i32::MAX] {
            let mut input = Input::new();
            let mut want = input.want();
            want.buf.append(&length.to_be_bytes());
            input.received(want.buf, true);
            assert_eq!(input.next_frame((1 << 20) - 1), Err(WrongLength(length)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_cut_of_any_frames_gives_the_same_frames(
            lens in prop::collection::vec(10..300_000_usize, 1..8),
            arrives in prop::collection::vec(1..200_000_usize, 1..8),
        ) {
            let sent: Vec<_> = lens.iter().enumerate().map(|(seed, len)| frame(*len, seed)).collect();
            let taken = frames(&sent.concat(), &arrives);
            prop_assert!(taken.iter().eq(sent.iter().map(|frame| &frame[4..])));
        }
    }
}
