//! Consumer groups and their offsets: a pure state machine over the records of `__consumer_offsets`.
//!
//! `shard/` owns one [`Coordinator`] for each partition of `__consumer_offsets` that it holds. Nothing here waits, reads a
//! clock or knows a log: requests and the time go in, [`Effect`]s come out.

mod admin;
mod budget;
mod classic;
mod commit;
mod config;
mod context;
mod coordinator;
mod effect;
mod expire;
mod join;
mod load;
mod member;
mod membership;
mod offsets;
mod random;
mod rebalance;
pub mod records;
mod reply;
mod rewrite;
#[cfg(test)]
mod sabotage;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod versions;
mod wire;

pub use budget::Budget;
pub use config::Config;
pub use coordinator::Coordinator;
pub use effect::{AppendFailure, AppendId, Caller, Effect, Now, Reply, WaiterId};
pub use rewrite::{Rewrite, RewriteState};
