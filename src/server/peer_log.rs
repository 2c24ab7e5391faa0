//! Log lines about what peers do wrong: each names the peer and the reason, and there are never many of them.
//!
//! Called by `connections` and `accept`. A peer can cause such lines at will, so they are bounded
//! ([`LineLimit`]).

use std::fmt;
use std::net::SocketAddr;

use crate::shard::LineLimit;

/// A shard's lines about peers.
#[derive(Default)]
pub struct PeerLog {
    limit: LineLimit,
}

impl PeerLog {
    /// Nothing logged yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One line, or one more that is left out.
    pub fn warn(&self, now_ns: u64, peer: Option<SocketAddr>, reason: &dyn fmt::Display) {
        if let Some(left_out) = self.limit.admit(now_ns) {
            if left_out > 0 {
                tracing::warn!(left_out, "lines about peers were left out");
            }
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            tracing::warn!(%peer, "connection closed: {reason}");
        }
    }
}
