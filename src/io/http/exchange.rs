//! One connection of the HTTP server: a head comes, an answer goes, the peer's end is waited for.
//!
//! ```text
//!   Asking --head is there--> Asked --a place is free--> Answering --all is sent--> Leaving --peer's end--> over
//! ```
//! Behind the answer it goes on reading for a moment: bytes that nobody has read when a socket is closed make the kernel
//! reset it, and the peer would lose the answer.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

/// What a path is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Plain text.
    #[must_use]
    pub fn text(status: Status, text: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into().into_bytes() }
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as RFC 9110 does")]
pub enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    ServiceUnavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::ServiceUnavailable => "503 Service Unavailable",
        }
    }
}

/// A connection and how far it has come.
#[derive(Debug)]
pub(super) struct Exchange {
    stream: TcpStream,
    step: Step,
    until: Instant,
}

#[derive(Debug)]
enum Step {
    /// The head so far.
    Asking(Vec<u8>),
    Asked(Asked),
    Answering {
        bytes: Vec<u8>,
        sent: usize,
    },
    /// Bytes that came behind the head.
    Leaving(usize),
    Over,
}

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Get { path: String, head_only: bool },
    Refused(Status),
}

impl Exchange {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Self {
        Self { stream, step: Step::Asking(Vec::new()), until: now + ASK_MAX }
    }

    /// Whether it has ended, or has not come further in time.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        matches!(self.step, Step::Over) || now > self.until
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(self.step, Step::Asking(_))
    }

    pub(super) fn has_asked(&self) -> bool {
        matches!(self.step, Step::Asked(_))
    }

    pub(super) fn is_answering(&self) -> bool {
        matches!(self.step, Step::Answering { .. })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    pub(super) fn waits_for(&self) -> PollFlags {
        match self.step {
            Step::Asking(_) | Step::Leaving(_) => PollFlags::IN,
            Step::Answering { .. } => PollFlags::OUT,
            Step::Asked(_) | Step::Over => PollFlags::empty(),
        }
    }

    /// Makes the answer to what was asked and begins to send it.
    pub(super) fn answer(&mut self, answer: impl Fn(&str) -> Answer, now: Instant) {
        let Step::Asked(asked) = &self.step else { return };
        let bytes = match asked {
            Asked::Get { path, head_only } => whole(&answer(path), *head_only),
            Asked::Refused(status) => whole(&Answer::text(*status, format!("{}\n", status.line())), false),
        };
        self.step = Step::Answering { bytes, sent: 0 };
        self.until = now + ANSWER_MAX;
        self.go_on(now);
    }

    /// Goes on as far as the socket lets it.
    pub(super) fn go_on(&mut self, now: Instant) {
        let went = match &mut self.step {
            Step::Asking(_) => self.ask(),
            Step::Answering { .. } => self.send(now),
            Step::Leaving(_) => self.leave(),
            // The peer has gone: what it asked for is not made.
            Step::Asked(_) => Err(ErrorKind::ConnectionReset.into()),
            Step::Over => Ok(()),
        };
        match went {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.step = Step::Over,
            Ok(()) => {}
        }
    }

    fn ask(&mut self) -> std::io::Result<()> {
        let Step::Asking(head) = &mut self.step else { return Ok(()) };
        let mut piece = [0; PIECE_BYTES];
        let count = self.stream.read(&mut piece)?;
        head.extend_from_slice(&piece[..count]);
        if count == 0 {
            self.step = Step::Over;
        } else if let Some(asked) = parse(head) {
            self.step = Step::Asked(asked);
        }
        Ok(())
    }

    fn send(&mut self, now: Instant) -> std::io::Result<()> {
        let Step::Answering { bytes, sent } = &mut self.step else { return Ok(()) };
        while *sent < bytes.len() {
            *sent += self.stream.write(&bytes[*sent..])?;
        }
        self.stream.shutdown(Shutdown::Write)?;
        self.step = Step::Leaving(0);
        self.until = now + LEAVE_MAX;
        Ok(())
    }

    fn leave(&mut self) -> std::io::Result<()> {
        let Step::Leaving(bytes) = &mut self.step else { return Ok(()) };
        let count = self.stream.read(&mut [0; PIECE_BYTES])?;
        *bytes += count;
        if count == 0 || *bytes > LEFT_BYTES_MAX {
            self.step = Step::Over;
        }
        Ok(())
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What a head asks for, once it is whole.
fn parse(head: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() > HEAD_BYTES_MAX => {
            return Some(Asked::Refused(Status::HeadTooLarge));
        }
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => return Some(Asked::Refused(Status::HeadTooLarge)),
        Err(_) => return Some(Asked::Refused(Status::BadRequest)),
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    Some(match method {
        _ if head.len() > HEAD_BYTES_MAX => Asked::Refused(Status::HeadTooLarge),
        "GET" | "HEAD" => {
            let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
            Asked::Get { path, head_only: method == "HEAD" }
        }
        _ => Asked::Refused(Status::MethodNotAllowed),
    })
}

/// Head and body. The length is the body's also where it is left out, as it is for HEAD.
fn whole(answer: &Answer, head_only: bool) -> Vec<u8> {
    let Answer { status, content_type, body } = answer;
    let mut head = String::new();
    let allow = if *status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    write!(
        head,
        "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}\
         Connection: close\r\n\r\n",
        status.line(),
        body.len()
    )
    .expect("a string takes it");
    let mut bytes = head.into_bytes();
    if !head_only {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// How long a head may take to come, an answer to go, and the peer to end its side.
const ASK_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(10);
const LEAVE_MAX: Duration = Duration::from_secs(1);
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
const PIECE_BYTES: usize = 2 << 10;
/// Of what comes behind a head.
const LEFT_BYTES_MAX: usize = 64 << 10;
