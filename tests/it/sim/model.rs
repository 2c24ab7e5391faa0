//! What a storage simulation knows to be true: every batch handed in, and what was promised of it.
//!
//! It lives outside the simulated machine, so a kill or a power failure takes nothing from it. Shards report to it what
//! the store answered; [`Model::recovered`] and [`Model::read`] compare what a store says later. A broken promise panics,
//! with the seed in the message of whoever drives.

use std::sync::{Arc, Mutex, MutexGuard};

use ringmain::types::Offset;

/// How a life of the node ended, and so what the next one must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Closed: everything appended.
    Clean,
    /// kill -9: everything written.
    Kill,
    /// Power failure: everything durable.
    Crash,
}

impl End {
    /// What is owed after this end, where the life before it had ended in `before` and nobody had come up since.
    pub fn after(self, before: Option<Self>) -> Self {
        match (self, before) {
            (Self::Crash, Some(Self::Clean)) | (Self::Kill | Self::Clean, None) => Self::Clean,
            (Self::Crash, _) | (_, Some(Self::Crash)) => Self::Crash,
            (Self::Kill | Self::Clean, Some(before)) => before,
        }
    }
}

/// A batch as it was handed in, and the offsets it got.
struct Handed {
    base: i64,
    next: i64,
    bytes: Arc<[u8]>,
}

/// What is known of one log.
#[derive(Default)]
struct Known {
    /// Contiguous from `Handed::base` of the first, in order. Deleted ones stay, to compare with.
    batches: Vec<Handed>,
    /// Acknowledged at acks=1, or said to be written.
    written: i64,
    /// Acknowledged at acks=all, or shown to a consumer.
    durable: i64,
    /// Nothing below has to be readable any more.
    deleted: i64,
    /// Nothing below may ever be readable again.
    deleted_for_good: i64,
    /// A bit of a file of it was flipped: it may be quarantined, and a batch of it may be bad.
    flipped: bool,
    /// The batch that the flip has cost.
    bad: Option<i64>,
    /// No more than this is owed to the log after the next start.
    owed_max: Option<i64>,
    /// Where the log ended when it came up last.
    came_up_with: i64,
}

impl Known {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }
}

/// The sum of all promises. Shared by all shards of all lives.
pub struct Model {
    logs: Mutex<Vec<Known>>,
    ops: Mutex<u64>,
}

impl Model {
    pub fn new(logs: usize) -> Arc<Self> {
        Arc::new(Self { logs: Mutex::new((0..logs).map(|_| Known::default()).collect()), ops: Mutex::new(0) })
    }

    fn logs(&self) -> MutexGuard<'_, Vec<Known>> {
        self.logs.lock().expect("a check failed on another shard")
    }

    /// Counts an operation.
    pub fn op(&self) {
        *self.ops.lock().expect("counting does not panic") += 1;
    }

    pub fn ops(&self) -> u64 {
        *self.ops.lock().expect("counting does not panic")
    }

    /// A batch was appended and got these offsets.
    pub fn appended(&self, log: usize, base: Offset, last: Offset, bytes: Arc<[u8]>) {
        let known = &mut self.logs()[log];
        assert_eq!(base.0, known.end(), "log {log}: offsets are not contiguous");
        known.batches.push(Handed { base: base.0, next: last.0 + 1, bytes });
    }

    /// The offset that the next batch of a log must get.
    pub fn end(&self, log: usize) -> i64 {
        self.logs()[log].end()
    }

    /// All below was said to be written.
    pub fn written(&self, log: usize, below: Offset) {
        let known = &mut self.logs()[log];
        assert!(below.0 <= known.end(), "log {log}: written {below} of {}", known.end());
        known.written = known.written.max(below.0);
    }

    /// All below was said to be durable, or shown to a consumer.
    pub fn durable(&self, log: usize, below: Offset) {
        let known = &mut self.logs()[log];
        assert!(below.0 <= known.end(), "log {log}: durable {below} of {}", known.end());
        known.durable = known.durable.max(below.0);
        known.written = known.written.max(below.0);
    }

    /// Retention deleted below `start`.
    pub fn deleted(&self, log: usize, start: Offset) {
        let known = &mut self.logs()[log];
        assert!(start.0 <= known.end(), "log {log}: deleted what is not there yet");
        known.deleted = known.deleted.max(start.0);
    }

    /// A user was told that everything below `start` is gone.
    pub fn deleted_for_good(&self, log: usize, start: Offset) {
        let known = &mut self.logs()[log];
        known.deleted_for_good = known.deleted_for_good.max(start.0);
    }

    /// The store was closed without an error: all of it is durable.
    pub fn closed(&self, log: usize) {
        let known = &mut self.logs()[log];
        known.written = known.end();
        known.durable = known.end();
    }

    pub fn any_flipped(&self) -> bool {
        self.logs().iter().any(|known| known.flipped)
    }

    /// A bit was flipped at a position of the segment that begins with offset `base`.
    pub fn flipped(&self, log: usize, base: i64, position: u64) {
        let known = &mut self.logs()[log];
        known.flipped = true;
        let mut end = 0;
        let mut batches = known.batches.iter().filter(|batch| batch.base >= base);
        let hit = batches.find(|batch| {
            end += batch.bytes.len() as u64;
            position < end
        });
        known.bad = hit.map(|batch| batch.base);
        // Behind the last mark that says "flushed", a flip looks like a torn write, and its whole window is given up.
        known.owed_max = known.bad.filter(|bad| *bad >= known.came_up_with).map(|_| known.came_up_with);
    }

    pub fn is_flipped(&self, log: usize) -> bool {
        self.logs()[log].flipped
    }

    /// The offset behind the batch that holds `offset`.
    pub fn next_batch(&self, log: usize, offset: i64) -> i64 {
        let known = &self.logs()[log];
        known.batches.iter().map(|batch| batch.next).find(|next| *next > offset).unwrap_or(known.end())
    }

    /// What of a log must be found after `end`. `weak`: a flush failed, so nothing is owed to acks=1.
    fn owed(known: &Known, end: End, weak: bool) -> i64 {
        match end {
            _ if weak => known.durable,
            // A close without errors says that all is written.
            End::Clean | End::Kill => known.written,
            End::Crash => known.durable,
        }
    }

    /// The node came up and says that a log holds `start..log_end`.
    pub fn recovered(&self, log: usize, start: Offset, log_end: Offset, end: End, weak: bool) {
        let known = &mut self.logs()[log];
        let owed = Self::owed(known, end, weak).min(known.owed_max.unwrap_or(i64::MAX));
        known.owed_max = None;
        known.came_up_with = log_end.0;
        let (start, log_end) = (start.0, log_end.0);
        assert!(log_end >= owed, "log {log}: {end:?} left {log_end} of {owed} that were promised");
        assert!(
            log_end <= known.end(),
            "log {log}: {log_end} is more than the {} that were ever handed in",
            known.end()
        );
        assert!(start <= known.deleted, "log {log}: starts at {start}, deleted below {}", known.deleted);
        let gone = known.deleted_for_good;
        assert!(start >= gone, "log {log}: starts at {start}, what is below {gone} was deleted for good");
        let whole = known.batches.iter().any(|batch| batch.next == log_end) || log_end == 0;
        assert!(whole || log_end == start, "log {log}: ends at {log_end}, within a batch");
        known.batches.retain(|batch| batch.next <= log_end);
        known.bad = known.bad.filter(|bad| *bad < log_end);
        // What came up is on the disk and flushed: recovery shows it to consumers.
        known.written = log_end;
        known.durable = log_end;
    }

    /// A read from `from` gave these bytes: whole batches as they were handed in. Answers the offset after them.
    pub fn read(&self, log: usize, from: i64, bytes: &[u8]) -> i64 {
        let known = &self.logs()[log];
        let mut next = from;
        let mut rest = bytes;
        let mut at = known.batches.partition_point(|handed| handed.next <= from);
        while !rest.is_empty() {
            let Some(handed) = known.batches.get(at) else {
                panic!("log {log}: a read gives {} bytes at {next}, where the log ends", rest.len())
            };
            assert!(rest.len() >= handed.bytes.len(), "log {log}: a read ends within the batch at {}", handed.base);
            let (batch, behind) = rest.split_at(handed.bytes.len());
            let wrong_bits = handed.wrong_bits(batch);
            // One flip costs one batch.
            let flipped = wrong_bits == 1 && known.bad == Some(handed.base);
            assert!(
                wrong_bits == 0 || flipped,
                "log {log}: {wrong_bits} bits of the batch at {} are wrong",
                handed.base
            );
            next = handed.next;
            rest = behind;
            at += 1;
        }
        next
    }
}

impl Handed {
    /// Bits by which a stored batch is not what was handed in. The offset and the leader epoch are the node's.
    fn wrong_bits(&self, stored: &[u8]) -> u32 {
        let base = self.base.to_be_bytes();
        let given = base.iter().chain(&self.bytes[8..12]).chain(&EPOCH).chain(&self.bytes[16..]);
        given.zip(stored).map(|(given, stored)| (given ^ stored).count_ones()).sum()
    }
}

/// The leader epoch that every batch is appended with.
const EPOCH: [u8; 4] = [0, 0, 0, 3];
