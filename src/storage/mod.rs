//! The log of one partition on disk: knows batches and files, nothing of requests or topics.
//!
//! One [`Store`] per shard opens a shard's part of a log directory; one [`Log`] per partition takes batches and says
//! where batches are. `partition/` calls it; it calls `io/` (through [`Runtime`](crate::io::Runtime)) and `record/`.
//!
//! ```text
//!  <log.dir>/.lock                                   held by the data rings (io::lock)
//!  <log.dir>/.ringmain/journal-<shard>-<start>       commit journal: circular, pre-written          journal/
//!  <log.dir>/.ringmain/checkpoint-<shard>-<start>    recovery points, producer state               checkpoint
//!  <log.dir>/.ringmain/recycle/                      retired and prepared segments, spare journals  recycle, recovery
//!  <log.dir>/<topic>-<partition>/<base offset>.log   batches back to back                          segment
//!                               /<base offset>.index|.timeindex   caches of the log                offset_index, time_index
//!                               /partition.metadata, leader-epoch-checkpoint                       kafka_files
//!
//!  one segment (position ->)
//!      0                          S = submitted        E = end of the last window      end (appended)
//!      |  full blocks, each written once  |  tail, in memory and in    |  dirty: next   |
//!      |  (Op::Write, O_DIRECT)           |  one live journal record   |  window        |
//!      +----------------------------------+----------------------------+----------------+----- room ------+
//!                                         block boundary                                      `prepared`
//! ```
//!
//! **An append** copies a batch once into the log's buffers (`buffer`), puts the log on the dirty list and returns:
//! memory only. **A window** (`committer`, `window`) takes every dirty log: full blocks go straight to the segments, the
//! bytes after the last full block into one record of the journal. **A flush** (`flush`) makes the window durable.
//!
//! **Invariants.** 1. A block of a segment is written once, and never while it holds acknowledged bytes that are not in
//! a flushed journal record. 2. Bytes appended at a position never change. 3. The newest journal record that names a log
//! says where it ends; at least one *flushed* record that names the log's current end is never lapped. 4. Windows
//! become written, and become durable, in the order of their sequence. 5. `log_start <= durable <= written <= log_end`.
//!
//! **Durability.** When [`Log::wait_written`] returns, the records below the offset survive the death of the process;
//! when [`Log::wait_durable`] returns, they survive the loss of power. Dropping either future changes nothing.
//!
//! **What it deliberately does not do**: retry a failed write (the log is poisoned) or a failed flush (the directory is
//! offline on every shard), decompress, know a producer, delete what `retention` was not told to delete.

mod activate;
mod buffer;
pub mod checkpoint;
pub mod close;
mod committer;
mod config;
mod error;
mod flush;
mod index_budget;
pub mod journal;
pub mod kafka_files;
mod landings;
#[cfg(test)]
mod life;
#[cfg(test)]
mod life_tests;
mod log;
mod log_start;
#[cfg(test)]
mod log_start_tests;
mod memory;
pub mod offset_index;
mod prepare;
mod progress;
mod read;
#[cfg(test)]
mod read_tests;
pub mod recovery;
mod recycle;
mod retention;
mod sabotage;
mod segment;
pub mod segment_index;
mod settle;
#[doc(hidden)]
pub mod sim_store;
mod space;
pub mod stop;
mod store;
#[cfg(test)]
mod store_tests;
pub mod time_index;
mod window;
#[cfg(test)]
mod write_tests;
mod writer;

pub use config::{Config, Disk, LogConfig};
pub use error::Error;
pub use landings::Landing;
pub use log::{Append, Appended, Log, Recovered, Stamp};
pub use progress::Goal;
pub use read::{FoundBatch, Part, Place, ReadParts, ReadPlan, Reading};
#[doc(hidden)]
pub use sabotage::Sabotage;
pub use segment::SegmentRef;
pub use store::{NewLog, Share, StateOf, Store};
pub use writer::{Directory, JournalStart, Writer};
