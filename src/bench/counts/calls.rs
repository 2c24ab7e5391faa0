//! System calls of a node, from what strace wrote: who, when, which.
//!
//! ```text
//!   4242 1700000000.123456 io_uring_enter(7, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8 <unfinished ...>
//!   4243 1700000000.123460 sendmsg(9, ..., MSG_DONTWAIT|MSG_NOSIGNAL) = 73
//!   4242 1700000000.123470 <... io_uring_enter resumed>) = 1
//! ```
//! A call counts where it begins.

use std::collections::BTreeMap;

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) thread: u32,
    /// Seconds since 1970.
    pub(super) at: f64,
    pub(super) name: String,
}

/// All calls, in the order in which they began.
pub(super) fn parse(trace: &str) -> Vec<Call> {
    trace.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Call> {
    let (thread, rest) = line.trim_start().split_once(' ')?;
    let (at, rest) = rest.trim_start().split_once(' ')?;
    let (name, _) = rest.split_once('(')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(Call { thread: thread.parse().ok()?, at: at.parse().ok()?, name: name.to_owned() })
}

/// How often each was called by these threads between two moments.
pub(super) fn between(calls: &[Call], threads: &[u32], from: f64, to: f64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for call in calls.iter().filter(|call| (from..to).contains(&call.at) && threads.contains(&call.thread)) {
        *counts.entry(call.name.clone()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{between, parse};

    const TRACE: &str = "\
4242  1700000000.100000 io_uring_enter(7, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8 <unfinished ...>
4243  1700000000.200000 sendmsg(9, 0x7ffd, MSG_DONTWAIT|MSG_NOSIGNAL) = 73
4242  1700000000.250000 <... io_uring_enter resumed>) = 1
4242  1700000000.300000 io_uring_enter(7, 0, 1, IORING_ENTER_GETEVENTS, NULL, 8) = 0
4242  1700000000.400000 getpid()        = 4240
4243  1700000000.500000 +++ exited with 0 +++
4242  1700000000.500000 --- SIGSTOP {si_signo=SIGSTOP} ---
4242  1700000000.600000 ????(
";

    #[test]
    fn what_strace_writes_is_read() {
        let calls = parse(TRACE);
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["io_uring_enter", "sendmsg", "io_uring_enter", "getpid"]);
        let counts = between(&calls, &[4242], 1_700_000_000.05, 1_700_000_000.35);
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("io_uring_enter".to_owned(), 2)]);
        assert!(between(&calls, &[4243], 0.0, 1_700_000_000.2).is_empty(), "a moment belongs to what comes after it");
    }
}
