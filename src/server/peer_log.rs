//! Log lines about what peers do wrong: each names the peer and the reason, and there are never many of them.
//!
//! Called by `connections` and `accept`. A peer can cause such lines at will, so a shard writes at most
//! [`PEER_LINES_MAX`] in ten seconds, and says how many it left out with the first line after them.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;

use crate::limits::PEER_LINES_MAX;

/// A shard's lines about peers.
#[derive(Default)]
pub struct PeerLog {
    since_ns: Cell<u64>,
    lines: Cell<u32>,
    left_out: Cell<u64>,
}

impl PeerLog {
    /// Nothing logged yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One line, or one more that is left out.
    pub fn warn(&self, now_ns: u64, peer: Option<SocketAddr>, reason: &dyn fmt::Display) {
        if let Some(left_out) = self.admit(now_ns) {
            if left_out > 0 {
                tracing::warn!(left_out, "lines about peers were left out");
            }
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            tracing::warn!(%peer, "connection closed: {reason}");
        }
    }

    /// Whether a line may be written now, and how many were left out before it.
    fn admit(&self, now_ns: u64) -> Option<u64> {
        if now_ns.saturating_sub(self.since_ns.get()) >= WINDOW_NS {
            self.since_ns.set(now_ns);
            self.lines.set(0);
        }
        if self.lines.get() >= PEER_LINES_MAX {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(self.left_out.take())
    }
}

const WINDOW_NS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::{PEER_LINES_MAX, PeerLog, WINDOW_NS};

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let log = PeerLog::new();
        for _ in 0..PEER_LINES_MAX {
            assert_eq!(log.admit(WINDOW_NS), Some(0));
        }
        assert_eq!(log.admit(WINDOW_NS + 1), None);
        assert_eq!(log.admit(WINDOW_NS + 2), None);
        assert_eq!(log.admit(2 * WINDOW_NS), Some(2));
        assert_eq!(log.admit(2 * WINDOW_NS), Some(0));
    }
}
