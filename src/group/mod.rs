//! Consumer groups and their offsets: a pure state machine over the records of `__consumer_offsets`.
//!
//! `shard/` owns one [`Coordinator`] for each partition of `__consumer_offsets` that it holds. Nothing here waits, reads a
//! clock or knows a log: requests and the time go in, [`Effect`]s come out.

mod budget;
mod config;
mod coordinator;
mod effect;
pub mod records;

pub use budget::Budget;
pub use config::Config;
pub use coordinator::{Coordinator, Rewrite};
pub use effect::{AppendFailure, AppendId, Caller, Effect, Now, Reply, WaiterId};
