//! TCP sockets of the production environment: listening, options, addresses, and the sends that never wait.
//!
//! A listening socket is made without SO_REUSEPORT: with it a second node would silently share the port. Every
//! connection gets TCP_NODELAY, because a reply is written whole.
//!
//! Sockets are in blocking mode: the ring polls only for those, and answers EAGAIN for others. Sends outside the ring say
//! MSG_DONTWAIT; `sendfile(2)` has no such flag, so `Socket::send_file` makes the socket non-blocking around the call.
//! Nothing else uses the socket meanwhile: the ring reads the mode when an entry is submitted, on this same thread.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sockopt};

/// A counted socket; the last clone closes it.
#[derive(Clone, Debug)]
pub struct Socket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    /// Whether the last receive took everything that was there.
    drained: AtomicBool,
}

impl Socket {
    /// Binds and listens.
    ///
    /// # Errors
    /// What the kernel says: `AddrInUse` when somebody else listens there.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        Bound::to(address)?.listen()
    }

    /// Connects and waits for it: for tests and command-line tools, never on a shard.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = Self::from(OwnedFd::from(std::net::TcpStream::connect(address)?));
        socket.prepare();
        Ok(socket)
    }

    /// The socket's own address, with the port that the kernel chose where it was 0.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        SocketAddr::try_from(rustix::net::getsockname(self)?).map_err(io::Error::from)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` once the connection is gone.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        let peer = rustix::net::getpeername(self)?.ok_or(io::ErrorKind::NotConnected)?;
        SocketAddr::try_from(peer).map_err(io::Error::from)
    }

    /// The options of every connection.
    pub(super) fn prepare(&self) {
        // A connection that is gone already refuses; its first receive says so.
        let _ = sockopt::set_tcp_nodelay(self, true);
    }

    pub(super) fn set_drained(&self, drained: bool) {
        self.0.drained.store(drained, Ordering::Relaxed);
    }

    pub(super) fn is_drained(&self) -> bool {
        self.0.drained.load(Ordering::Relaxed)
    }

    /// Sends as much of `parts` as the socket takes at once.
    pub(super) fn send(&self, parts: &[&[u8]]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = if let [one] = parts {
            rustix::net::send(self, one, flags)
        } else {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = parts.len().min(PIECES_MAX);
            for (piece, part) in pieces.iter_mut().zip(parts) {
                *piece = IoSlice::new(part);
            }
            rustix::net::sendmsg(self, &pieces[..count], &mut SendAncillaryBuffer::default(), flags)
        };
        sent.map_err(io::Error::from)
    }

    /// Sends file bytes as far as the socket takes them at once. `sendfile(2)` sleeps on bytes that are not in memory.
    pub(super) fn send_file(&self, file: BorrowedFd<'_>, position: u64, len: usize) -> io::Result<usize> {
        let mut position = position;
        rustix::io::ioctl_fionbio(self, true)?;
        let sent = rustix::fs::sendfile(self, file, Some(&mut position), len);
        rustix::io::ioctl_fionbio(self, false)?;
        Ok(sent?)
    }

    /// Ends both directions.
    pub(super) fn shutdown(&self) {
        // A connection that is gone already is what was wanted.
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Both);
    }
}

/// An address that is ours and that nobody can connect to yet: whoever tries is refused, and knows at once that there is no
/// node, where a listener that is closed again would have taken the connection and then broken it.
#[derive(Debug)]
pub struct Bound(OwnedFd);

impl Bound {
    /// Binds. An IPv6 address stands for IPv6 alone, so that 0.0.0.0 and `[::]` can be listened on together.
    ///
    /// # Errors
    /// What the kernel says: `AddrInUse` when somebody else listens there.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Connections of an earlier node in TIME_WAIT must not keep its successor from the port.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        rustix::net::bind(&fd, &address)?;
        Ok(Self(fd))
    }

    /// Binds; while the address is in use, tries again for so long. Blocks: before the shards start.
    ///
    /// # Errors
    /// As [`Bound::to`].
    pub fn within(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let begun = Instant::now();
        loop {
            match Self::to(address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < patience => {
                    std::thread::sleep(BIND_RETRY);
                }
                bound => return bound,
            }
        }
    }

    /// Listens from now on.
    ///
    /// # Errors
    /// What the kernel says: `AddrInUse` when somebody else was bound there too, and listened first.
    pub fn listen(self) -> io::Result<Socket> {
        rustix::net::listen(&self.0, BACKLOG)?;
        Ok(Socket::from(self.0))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(Inner { fd, drained: AtomicBool::new(false) }))
    }
}

/// Between two attempts at an address that is in use.
const BIND_RETRY: Duration = Duration::from_millis(20);

/// Connections that the kernel keeps until they are accepted; cut to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Parts of one `sendmsg` at the most; the caller goes on with the others.
const PIECES_MAX: usize = 64;
