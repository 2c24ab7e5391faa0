//! One socket to one broker: ApiVersions first, then one request at a time, or frames for those who keep several in
//! flight.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CLIENT_ID, Error, Stop};
use crate::protocol::ApiKey;
use crate::protocol::cold::{self, Request, api_versions_request as api_versions};

/// A connection to a broker. By shared reference one thread may send frames while another receives them.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    server: String,
    versions: Arc<BTreeMap<i16, (i16, i16)>>,
    correlation_id: i32,
    stop: Stop,
}

impl Connection {
    /// Connects to `server`, a `host:port`, and asks what it serves.
    pub(crate) fn open(server: &str, stop: &Stop) -> Result<Self, Error> {
        let refused = |error| Error::Connect { server: server.to_owned(), error };
        let addresses = server.to_socket_addrs().map_err(refused)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_WAIT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(SLICE)).map_err(refused)?;
                    stream.set_write_timeout(Some(SLICE)).map_err(refused)?;
                    stream.set_nodelay(true).map_err(refused)?;
                    let (server, versions) = (server.to_owned(), Arc::default());
                    let mut connection = Self { stream, server, versions, correlation_id: 0, stop: stop.clone() };
                    connection.ask_versions()?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(refused(last))
    }

    /// Ends both directions, for all handles: who waits on one is woken by an error.
    pub(crate) fn shut_down(&self) {
        // Fails where the other side has gone, which is what is wanted.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, Error> {
        self.call_within(request, REPLY_WAIT)
    }

    /// As [`Self::call`], with its own patience: a join of a group waits for the other members.
    pub(crate) fn call_within<R: Request>(&mut self, request: &R, wait: Duration) -> Result<R::Response, Error> {
        let version = self.version(R::API_KEY)?;
        self.call_at(version, request, wait)
    }

    /// The version to speak: the highest that both know.
    pub(crate) fn version(&self, api_key: ApiKey) -> Result<i16, Error> {
        self.highest(api_key, api_key.max_version())
    }

    /// Fails unless exactly this version is served: for the requests whose bytes are written by hand.
    pub(crate) fn require(&self, api_key: ApiKey, version: i16) -> Result<(), Error> {
        if self.highest(api_key, version)? == version { Ok(()) } else { Err(self.unsupported(api_key)) }
    }

    /// The highest version of an API that the other side shows.
    pub(crate) fn shown(&self, api_key: ApiKey) -> Option<(i16, i16)> {
        self.versions.get(&api_key.code()).copied()
    }

    fn highest(&self, api_key: ApiKey, ours: i16) -> Result<i16, Error> {
        let (min, max) = self.shown(api_key).ok_or_else(|| self.unsupported(api_key))?;
        let version = max.min(ours);
        if version >= min && version >= api_key.min_version() { Ok(version) } else { Err(self.unsupported(api_key)) }
    }

    fn unsupported(&self, api_key: ApiKey) -> Error {
        let shown = self.shown(api_key);
        let shown = shown.map_or("it shows none".to_owned(), |(min, max)| format!("it shows {min} to {max}"));
        Error::Unsupported { server: self.server.clone(), api_key, shown }
    }

    fn ask_versions(&mut self) -> Result<(), Error> {
        let request = api_versions::ApiVersionsRequestData::default()
            .with_client_software_name(CLIENT_ID.to_owned().into())
            .with_client_software_version(env!("CARGO_PKG_VERSION").to_owned().into());
        let answer = self.call_at(API_VERSIONS_VERSION, &request, REPLY_WAIT)?;
        super::accept(self.server.as_str(), answer.error_code, None)?;
        let shown = answer.api_keys.iter().map(|key| (key.api_key, (key.min_version, key.max_version)));
        self.versions = Arc::new(shown.collect());
        Ok(())
    }

    fn call_at<R: Request>(&mut self, version: i16, request: &R, wait: Duration) -> Result<R::Response, Error> {
        let correlation_id = self.next_correlation_id();
        let frame = cold::encode_request_at(version, correlation_id, CLIENT_ID, request)
            .map_err(|error| self.strange(error.to_string()))?;
        self.send(&mut [IoSlice::new(&frame)], Instant::now() + wait)?;
        let mut answer = Vec::new();
        self.receive(&mut answer, Instant::now() + wait)?;
        let answer = cold::decode_response_at::<R>(version, answer.into());
        let (answered, response) = answer.map_err(|error| self.strange(error.to_string()))?;
        if answered == correlation_id {
            Ok(response)
        } else {
            Err(self.strange(format!("answered {answered}, not {correlation_id}")))
        }
    }

    /// A number for the next request.
    pub(crate) fn next_correlation_id(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        self.correlation_id
    }

    /// Sends the bytes of a frame, length field included.
    pub(crate) fn send(&self, mut parts: &mut [IoSlice<'_>], until: Instant) -> Result<(), Error> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match (&self.stream).write_vectored(parts) {
                Ok(0) => return Err(self.failed(io::ErrorKind::WriteZero.into())),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if is_pause(&error) => self.pause(until)?,
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Receives a frame without its length field into `answer`, whose room is used again.
    pub(crate) fn receive(&self, answer: &mut Vec<u8>, until: Instant) -> Result<(), Error> {
        answer.clear();
        self.read(answer, LENGTH_BYTES, until)?;
        let length = answer.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        if length > ANSWER_BYTES_MAX {
            return Err(self.strange(format!("an answer of {length} bytes: is it a Kafka listener?")));
        }
        answer.clear();
        self.read(answer, length.into(), until)
    }

    fn read(&self, into: &mut Vec<u8>, count: u64, until: Instant) -> Result<(), Error> {
        into.reserve(usize::try_from(count).unwrap_or_default());
        loop {
            let read = u64::try_from(into.len()).unwrap_or(u64::MAX);
            if read >= count {
                return Ok(());
            }
            // What a failed read has got so far stays in `into`.
            match (&self.stream).take(count - read).read_to_end(into) {
                Ok(0) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if is_pause(&error) => self.pause(until)?,
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Whether to wait on.
    fn pause(&self, until: Instant) -> Result<(), Error> {
        if self.stop.is_set() {
            return Err(Error::Stopped);
        }
        if Instant::now() >= until {
            return Err(self.failed(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Io { server: self.server.clone(), error }
    }

    /// An answer that makes no sense.
    pub(crate) fn strange(&self, reason: String) -> Error {
        Error::Protocol { server: self.server.clone(), reason }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The first version with the client's name in it; what serves no such version is older than Kafka 2.4.
const API_VERSIONS_VERSION: i16 = 3;
const CONNECT_WAIT: Duration = Duration::from_secs(5);
pub(crate) const REPLY_WAIT: Duration = Duration::from_secs(30);
/// How often a wait looks at the stop flag.
const SLICE: Duration = Duration::from_millis(100);
const LENGTH_BYTES: u64 = 4;
/// A Fetch answers at most what it was asked for, and one whole batch; a batch may have 100 MiB where a topic says so.
const ANSWER_BYTES_MAX: u32 = 256 << 20;
