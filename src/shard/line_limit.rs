//! A bound on log lines that others can cause at will.
//!
//! Used by `server::peer_log` and by the group coordinators: a shard writes at most [`PEER_LINES_MAX`] lines of a kind in
//! ten seconds, and says how many it left out with the first line after them.

use std::cell::Cell;

use crate::limits::PEER_LINES_MAX;

/// Counts the lines of one kind.
#[derive(Default)]
pub struct LineLimit {
    since_ns: Cell<u64>,
    lines: Cell<u32>,
    left_out: Cell<u64>,
}

impl LineLimit {
    /// Whether a line may be written now, and how many were left out before it.
    #[must_use]
    pub fn admit(&self, now_ns: u64) -> Option<u64> {
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
    use super::{LineLimit, PEER_LINES_MAX, WINDOW_NS};

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let limit = LineLimit::default();
        for _ in 0..PEER_LINES_MAX {
            assert_eq!(limit.admit(WINDOW_NS), Some(0));
        }
        assert_eq!(limit.admit(WINDOW_NS + 1), None);
        assert_eq!(limit.admit(WINDOW_NS + 2), None);
        assert_eq!(limit.admit(2 * WINDOW_NS), Some(2));
        assert_eq!(limit.admit(2 * WINDOW_NS), Some(0));
    }
}
