//! One pinned thread per shard, each turning its [`Runtime`] and sleeping in its ring.

use std::future::Future;
use std::rc::Rc;

use super::lock::Lock;
use super::{Kernel, Runtime, probe};
use crate::types::ShardId;

/// One shard to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPlan<S> {
    /// Its number, 0 to n - 1 in order.
    pub shard: ShardId,
    /// The CPU to pin it to; `None` leaves it to the scheduler.
    pub core: Option<usize>,
    /// What the body gets to start with: its mailbox, its listener ...
    pub seat: S,
}

/// How the rings and the pumps are set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Entries of each submission queue; a power of two.
    pub ring_entries: u32,
    /// The cap of each shard's receive pool, see [`Kernel::receive_pool`].
    pub receive_pool_bytes: usize,
    /// Bytes of one buffer that the kernel fills for a receive without a buffer; a size class of the pool.
    pub receive_buffer_bytes: usize,
    /// Kernel workers per shard for what may not run inline (flushes, punted writes).
    pub workers: u32,
    /// How long a shard waits for its operations under way after its body has ended.
    pub drain_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring_entries: 1024,
            receive_pool_bytes: 64 << 20,
            receive_buffer_bytes: 64 << 10,
            workers: 8,
            drain_ms: 5_000,
        }
    }
}

/// Why the shards could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// io_uring cannot be used here.
    #[error(transparent)]
    Blocked(#[from] probe::Blocked),
    /// A thread or ring could not be made.
    #[error("shard {shard:?} could not be started: {source}")]
    Start {
        /// Which.
        shard: ShardId,
        /// Why.
        source: std::io::Error,
    },
}

/// The cores that this process may use (affinity mask and cpuset), in order.
#[must_use]
pub fn usable_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Runs `body` once on each shard's own thread and answers what each gave, in the order of `plans`. `locks` are held by
/// every ring until its last operation has ended, even where this process is killed.
///
/// # Errors
/// When io_uring is blocked or a thread cannot be started; then no body was run to its end.
pub fn run_shards<S, F, T>(
    plans: Vec<ShardPlan<S>>,
    config: &Config,
    locks: &[Lock],
    body: impl Fn(Rc<Runtime<Kernel>>, S) -> F + Send + Clone + 'static,
) -> Result<Vec<T>, Error>
where
    S: Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let _ = (plans, config, locks, body);
    unimplemented!("being built")
}
