//! One shard of a node from opening to clean stop, on any [`Env`].
//!
//! `cli serve` runs one [`run`] per core on the pump; the whole-node simulation runs the same on simulated shards.

use std::rc::Rc;
use std::sync::Arc;

use super::Config;
use crate::io::{Env, Runtime};

/// What one shard of a node is given.
pub struct Setup<E: Env> {
    /// The node's configuration, the same for every shard.
    pub config: Arc<Config>,
    /// Listening sockets; for shard 0 only.
    pub listeners: Vec<E::Socket>,
    /// Readable, or at its end, when the node shall stop; for shard 0 only.
    pub stop: Option<E::Socket>,
}

/// Why a node could not be opened, or ended other than by a stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reserved for what opening may meet.
    #[error("not built yet")]
    NotBuilt,
}

/// Opens the shard's storage, metadata and partitions, serves until the stop signal, then stops cleanly.
///
/// # Errors
/// What prevents the node from serving; the caller prints it.
pub async fn run<E: Env>(rt: Rc<Runtime<E>>, setup: Setup<E>) -> Result<(), Error> {
    drop((rt, setup));
    Err(Error::NotBuilt)
}
