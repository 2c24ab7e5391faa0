//! A small blocking Kafka client: one connection, one request at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use bytes::Bytes;

use super::Ended;
use crate::protocol::cold::{self, Request};

/// A connection to a node.
pub(super) struct Client {
    stream: TcpStream,
    server: String,
    correlation_id: i32,
}

impl Client {
    /// Connects to `server`, a `host:port`.
    pub(super) fn connect(server: &str) -> Result<Self, Ended> {
        let refused = |error: io::Error| {
            Ended::Failed(format!(
                "{server}: {error}. Is a node running there? --bootstrap-server HOST:PORT names another"
            ))
        };
        let addresses = server.to_socket_addrs().map_err(refused)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_WAIT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(REPLY_WAIT)).map_err(refused)?;
                    stream.set_nodelay(true).map_err(refused)?;
                    return Ok(Self { stream, server: server.to_owned(), correlation_id: 0 });
                }
                Err(error) => last = error,
            }
        }
        Err(refused(last))
    }

    /// Sends a request and waits for its answer.
    pub(super) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, Ended> {
        self.correlation_id += 1;
        let frame = cold::encode_request(self.correlation_id, "ringmain-cli", request)
            .map_err(|error| Ended::Failed(error.to_string()))?;
        let answer = self.exchange(&frame).map_err(|error| Ended::Failed(format!("{}: {error}", self.server)))?;
        let (correlation_id, response) =
            cold::decode_response::<R>(answer).map_err(|error| Ended::Failed(format!("{}: {error}", self.server)))?;
        if correlation_id == self.correlation_id {
            Ok(response)
        } else {
            Err(Ended::Failed(format!("{}: answered {correlation_id}, not {}", self.server, self.correlation_id)))
        }
    }

    fn exchange(&mut self, frame: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(frame)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!("an answer of {length} bytes: is it a Kafka listener?")));
        }
        let mut answer = Vec::new();
        let read = (&self.stream).take(u64::from(length)).read_to_end(&mut answer)?;
        if read < usize::try_from(length).unwrap_or(usize::MAX) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.into())
    }
}

const CONNECT_WAIT: Duration = Duration::from_secs(5);
const REPLY_WAIT: Duration = Duration::from_secs(30);
/// Metadata of the most partitions that a node has stays far below it.
const ANSWER_BYTES_MAX: u32 = 64 << 20;
