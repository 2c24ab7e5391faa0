//! What a node shows of itself while it runs: written by its shards, read by any thread, and nobody waits for anybody.
//!
//! Made before the shards are, by `cli::serve`; `metrics` makes text of it. How long requests take is told as it happens; what
//! must be counted up (bytes of logs) is counted once a second by [`Node`](super::node), while somebody may look.

use std::sync::Arc;

use crate::handlers::figures::Figures;
use crate::io::tally::Tally;
use crate::types::ShardId;

/// A node, as others see it.
pub struct Status {
    /// Written by shard 0.
    phase: Tally,
    shards: Vec<ShardStatus>,
    memory_bytes: u64,
    is_watched: bool,
}

/// Where a node is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It opens its directory.
    Starting,
    /// It takes requests.
    Serving,
    /// It takes no more.
    Stopping,
}

/// One shard.
#[derive(Default)]
pub struct ShardStatus {
    /// How long its requests take.
    pub figures: Arc<Figures>,
    /// What it has.
    pub gauges: Arc<Gauges>,
}

/// What a shard has at present.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Connections.
    pub connections: Tally,
    /// Partitions that clients see.
    pub partitions: Tally,
    /// Bytes of the batches in its logs.
    pub log_bytes: Tally,
    /// Memory that the newest records of its logs hold.
    pub tail_bytes: Tally,
    /// Memory that frames hold which no log has taken.
    pub receive_bytes: Tally,
}

impl Status {
    /// A node of so many shards and so much memory that has not begun. `is_watched` says whether anybody may look.
    #[must_use]
    pub fn new(shards: usize, memory_bytes: usize, is_watched: bool) -> Arc<Self> {
        let shards = (0..shards).map(|_| ShardStatus::default()).collect();
        Arc::new(Self { phase: Tally::new(), shards, memory_bytes: memory_bytes as u64, is_watched })
    }

    /// One of its shards.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> &ShardStatus {
        &self.shards[shard.index()]
    }

    /// All of them, in the order of their numbers.
    #[must_use]
    pub fn shards(&self) -> &[ShardStatus] {
        &self.shards
    }

    /// Its memory figure.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether somebody may look, so that counting up is worth while.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.get() {
            0 => Phase::Starting,
            SERVING => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.set(match phase {
            Phase::Starting => 0,
            Phase::Serving => SERVING,
            Phase::Stopping => STOPPING,
        });
    }
}

const SERVING: u64 = 1;
const STOPPING: u64 = 2;
