//! What an operator and a topic may set of the log, under Kafka's keys, with Kafka's defaults where Kafka has one.

use super::sabotage::Sabotage;
use crate::io::device::{DeviceFlush, FlushScope};

/// What holds for all logs of a directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is known of the device under the directory.
    pub disk: Disk,
    /// Defaults of every log; a topic's own settings override them.
    pub log: LogConfig,
    /// Bytes of the circular journal of one shard. It must hold the tails (less than a block each) of all logs that were
    /// written since the last clean stop, twice over.
    pub journal_bytes: u64,
    /// Journal bytes that one window takes at the most; the logs beyond wait for the next window.
    pub window_journal_bytes: usize,
    /// Segment bytes after which a window takes no further log.
    pub window_segment_bytes: usize,
    /// Windows under way at a time.
    pub windows: usize,
    /// First piece of room that a segment gets; it doubles with the write rate.
    pub prepare_bytes_min: u64,
    /// Largest piece of room that is prepared at a time.
    pub prepare_bytes_max: u64,
    /// Memory of one shard for the newest bytes of its logs, those not written yet included.
    pub tail_bytes: usize,
    /// `segment.reserve.bytes`: appends are refused while the file system has less left for us.
    pub reserve_bytes: u64,
    /// Bytes that the recycle pool keeps at the most.
    pub recycle_bytes: u64,
    /// Memory of one shard for cold reads.
    pub read_bytes: usize,
    /// Memory of one shard for the indexes of its segments; over it entries of active segments are farther apart, and the
    /// indexes of rolled ones are dropped, oldest first.
    pub index_bytes: usize,
    /// Descriptors of rolled segments that one shard keeps open for readers.
    pub descriptors: usize,
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: u64,
    /// `segment.flush=file`: flush every file of a window even where one flush per device is proven enough.
    pub flush_files: bool,
    /// A rule to break, in tests of the simulation.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

/// What `io::device` found out about the device under a directory; a plain value, so that the simulator can set it.
#[derive(Clone, Debug)]
pub struct Disk {
    /// max(4096, `stx_dio_offset_align`, `st_blksize`, physical block). A power of two. Smaller only in the simulator.
    pub block_bytes: usize,
    /// What a flush of one file makes durable.
    pub scope: FlushScope,
    /// The flush counters that all shards on the device share.
    pub flush: DeviceFlush,
}

/// What a topic may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes` (`log.segment.bytes`): a segment never grows beyond it.
    pub segment_bytes: u32,
    /// `segment.ms` (`log.roll.ms`): a segment is rolled at the first append so long after its first record.
    pub segment_ms: i64,
    /// `retention.bytes` (`log.retention.bytes`); -1: no bound.
    pub retention_bytes: i64,
    /// `retention.ms` (`log.retention.ms`); -1: no bound.
    pub retention_ms: i64,
    /// `index.interval.bytes` (`log.index.interval.bytes`): bytes between two index entries at the least.
    pub index_interval_bytes: u32,
    /// `flush.messages=1` and no `flush.ms`: acks=all waits for the flush. False: for the write (the topic is relaxed).
    pub flush_every_window: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3_600_000,
            index_interval_bytes: 4096,
            flush_every_window: true,
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self { block_bytes: 4096, scope: FlushScope::File, flush: DeviceFlush::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disk: Disk::default(),
            log: LogConfig::default(),
            journal_bytes: 128 << 20,
            window_journal_bytes: 4 << 20,
            window_segment_bytes: 16 << 20,
            windows: 3,
            prepare_bytes_min: 64 << 10,
            prepare_bytes_max: 64 << 20,
            tail_bytes: 128 << 20,
            reserve_bytes: 256 << 20,
            recycle_bytes: 4 << 30,
            read_bytes: 32 << 20,
            index_bytes: 32 << 20,
            descriptors: 4096,
            retention_check_ms: 300_000,
            flush_files: false,
            sabotage: Sabotage::None,
        }
    }
}

impl Config {
    /// The block that holds `position`, as the position of its first byte.
    #[must_use]
    pub fn block_floor(&self, position: u64) -> u64 {
        position & !(self.disk.block_bytes as u64 - 1)
    }

    /// The first block boundary at or after `position`.
    #[must_use]
    pub fn block_ceil(&self, position: u64) -> u64 {
        position.next_multiple_of(self.disk.block_bytes as u64)
    }
}
