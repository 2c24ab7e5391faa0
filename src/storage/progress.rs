//! How far a log has come: the one place where its ordered offsets change, and those who wait for them.
//!
//! **Invariant** (asserted at every change): `log_start <= durable <= written <= log_end`.

use std::cell::Cell;

use crate::io::local::Notify;
use crate::types::Offset;

/// The offsets of one log, each the offset after the last record that has come so far.
pub(super) struct Progress {
    /// First offset that may be read.
    pub(super) log_start: Cell<Offset>,
    /// Flushed below.
    pub(super) durable: Cell<Offset>,
    /// Written below.
    pub(super) written: Cell<Offset>,
    /// Appended below.
    pub(super) log_end: Cell<Offset>,
    /// Told whenever `written` or `durable` rises, or the log is poisoned.
    pub(super) changed: Notify,
}
