//! Every bound that the node keeps, with its arithmetic.
//!
//! Two kinds. The operator sets one memory figure, and [`Memory`] divides it: what each part may hold is a share of
//! that figure, and the shares sum to the whole (asserted below). Counts and sizes that do not depend on it are
//! constants, each with what it costs at its largest. Imports nothing; every layer imports it.
//!
//! ```text
//!   --memory  = tail 50 + receive 20 + index 10 + read 7 + state 4 + groups 3 + connections 3 + slack 3   (per cent)
//! ```
//!
//! **Invariants.** 1. No queue, cache or array of the node grows with what a client sends beyond a bound named here.
//! 2. Where a bound is reached the node stops reading the socket, refuses with a Kafka error, or closes the connection;
//! it never drops what it took.

/// The memory figure (`--memory`) and its division. All shards together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    total_bytes: usize,
}

impl Memory {
    /// A node that may use so many bytes; raised to [`MEMORY_BYTES_MIN`].
    #[must_use]
    pub const fn new(total_bytes: usize) -> Self {
        Self { total_bytes: if total_bytes < MEMORY_BYTES_MIN { MEMORY_BYTES_MIN } else { total_bytes } }
    }

    /// The whole figure.
    #[must_use]
    pub const fn total_bytes(self) -> usize {
        self.total_bytes
    }

    /// Segment buffers of one shard: bytes on their way to disk, and the newest bytes of each partition for readers.
    #[must_use]
    pub const fn tail_bytes(self, shards: usize) -> usize {
        self.share(TAIL_PERCENT, shards)
    }

    /// Receive buffers of one shard: what sockets delivered and no log has taken yet.
    #[must_use]
    pub const fn receive_bytes(self, shards: usize) -> usize {
        self.share(RECEIVE_PERCENT, shards)
    }

    /// Offset and time indexes of one shard's active segments.
    #[must_use]
    pub const fn index_bytes(self, shards: usize) -> usize {
        self.share(INDEX_PERCENT, shards)
    }

    /// Buffers of one shard for cold reads of its logs: half of what is for cold reads.
    #[must_use]
    pub const fn log_read_bytes(self, shards: usize) -> usize {
        self.share(READ_PERCENT, shards) / 2
    }

    /// Buffers of one shard for file ranges that are on no page of the page cache when a socket takes them: the other half.
    #[must_use]
    pub const fn reply_read_bytes(self, shards: usize) -> usize {
        self.share(READ_PERCENT, shards) / 2
    }

    /// Idempotent producers that the partitions of one shard remember: half of what is for state.
    #[must_use]
    pub const fn producers_max(self, shards: usize) -> usize {
        self.state_bytes(shards) / 2 / PRODUCER_BYTES
    }

    /// Producer state, image and checkpoints of one shard.
    #[must_use]
    pub const fn state_bytes(self, shards: usize) -> usize {
        self.share(STATE_PERCENT, shards)
    }

    /// Consumer groups, their members and offsets, of one shard.
    #[must_use]
    pub const fn groups_bytes(self, shards: usize) -> usize {
        self.share(GROUPS_PERCENT, shards)
    }

    /// Connections of the whole node: their tasks, queues and encoded replies.
    #[must_use]
    pub const fn connections_bytes(self) -> usize {
        self.share(CONNECTIONS_PERCENT, 1)
    }

    /// How many connections the node serves at once where nothing smaller is set: what their share of memory holds.
    #[must_use]
    pub const fn connections_max(self) -> usize {
        let held = self.connections_bytes() / CONNECTION_BYTES;
        if held < CONNECTIONS_MAX { held } else { CONNECTIONS_MAX }
    }

    /// The largest frame that a shard takes: half of its receive share, so that one such frame never stops all others,
    /// and never more than Kafka's `socket.request.max.bytes` says.
    #[must_use]
    pub const fn frame_bytes_max(self, shards: usize, socket_request_max_bytes: usize) -> usize {
        let half = self.receive_bytes(shards) / 2;
        if half < socket_request_max_bytes { half } else { socket_request_max_bytes }
    }

    const fn share(self, percent: usize, shards: usize) -> usize {
        self.total_bytes / 100 * percent / if shards == 0 { 1 } else { shards }
    }
}

/// The least memory figure: one shard then still takes a frame of 1 MiB and a batch of `max.message.bytes`.
pub const MEMORY_BYTES_MIN: usize = 64 << 20;

const TAIL_PERCENT: usize = 50;
const RECEIVE_PERCENT: usize = 20;
const INDEX_PERCENT: usize = 10;
const READ_PERCENT: usize = 7;
const STATE_PERCENT: usize = 4;
const GROUPS_PERCENT: usize = 3;
const CONNECTIONS_PERCENT: usize = 3;
/// Code, stacks, rings, the allocator's own: nobody asks for it.
const SLACK_PERCENT: usize = 3;

const _: () = assert!(
    TAIL_PERCENT
        + RECEIVE_PERCENT
        + INDEX_PERCENT
        + READ_PERCENT
        + STATE_PERCENT
        + GROUPS_PERCENT
        + CONNECTIONS_PERCENT
        + SLACK_PERCENT
        == 100,
    "the shares are one memory figure"
);

/// Descriptors of rolled segments that one shard keeps open for readers, where the process may open so many files: a
/// quarter of them over all shards. The others are for segments that are written, connections, and the files of housekeeping.
#[must_use]
pub const fn descriptors_max(open_files: usize, shards: usize) -> usize {
    let even = open_files / 4 / if shards == 0 { 1 } else { shards };
    if even > DESCRIPTORS_MAX {
        DESCRIPTORS_MAX
    } else if even < DESCRIPTORS_MIN {
        DESCRIPTORS_MIN
    } else {
        even
    }
}

/// Descriptors of rolled segments that one shard keeps open at the most; each costs the kernel about 1 KiB.
const DESCRIPTORS_MAX: usize = 4096;
/// And at the least, however few files may be open.
const DESCRIPTORS_MIN: usize = 16;

/// What one connection costs beside its receive buffers: task, queues, and encoded replies on their way (see
/// [`REPLIES_BYTES_MAX`] for the bound on those).
pub const CONNECTION_BYTES: usize = 2 << 10;

/// What one idempotent producer costs in a partition: five batches of 40 bytes and its place in a tree.
pub const PRODUCER_BYTES: usize = 320;

/// Connections at once, whatever the memory (`max.connections` lowers it).
pub const CONNECTIONS_MAX: usize = 100_000;

/// The frame limit where nothing is set: Kafka's `socket.request.max.bytes`, 100 MiB.
pub const SOCKET_REQUEST_MAX_BYTES: usize = 100 << 20;

/// The shortest request header: key, version, correlation id and a null client id.
pub const FRAME_BYTES_MIN: usize = 10;

/// Requests of one connection that may be under way at once; beyond it the socket is not read. Java clients keep 5,
/// librdkafka any number.
pub const PIPELINE_MAX: usize = 128;

/// Bytes of replies that one connection may have ready to send before its further requests wait: one fetch
/// ([`FETCH_BYTES_MAX`]) may pass it, a second one is not begun.
pub const REPLIES_BYTES_MAX: usize = 1 << 20;

/// Bytes that one connection sends before the others of its shard get their turn.
pub const SEND_PIECE_BYTES: usize = 256 << 10;

/// Replies up to this many bytes go out through the ring, together with whatever else the shard submits.
pub const SEND_RING_BYTES: usize = 32 << 10;

/// Kafka's `fetch.max.bytes` of a broker: the most that one Fetch answers, whatever it asks (55 MiB).
pub const FETCH_BYTES_MAX: usize = 55 << 20;

/// The longest wait that a Fetch may ask for; longer ones are cut to it. Clients ask for 500 ms.
pub const FETCH_WAIT_MS_MAX: u64 = 60_000;

/// Calls that one shard may have under way at another: an even part of `CALLS_OUT_MAX`, at least 64.
#[must_use]
pub const fn calls_max(shards: usize) -> usize {
    let even = CALLS_OUT_MAX / if shards == 0 { 1 } else { shards };
    if even < 64 { 64 } else { even }
}

/// Calls that one shard may have under way at all others, about.
const CALLS_OUT_MAX: usize = 2048;

/// Entries of a mailbox between two shards: the calls of one and as many answers to the other. With entries of about 128
/// bytes, all mailboxes of 2 shards hold 1 MiB, of 16 shards 8 MiB, of 64 shards 64 MiB.
#[must_use]
pub const fn mailbox_max(shards: usize) -> usize {
    2 * calls_max(shards)
}

/// Mails that a shard handles before its other tasks get their turn.
pub const MAILS_A_TURN: usize = 256;

/// Topics and partitions together that one Produce or Fetch may name. Each costs about 150 bytes while it is answered:
/// 15 MiB at the most. The node serves no more partitions than that.
pub const REQUEST_ENTRIES_MAX: usize = PARTITIONS_MAX;

/// Topics that one CreateTopics may make, each with its own batch of the metadata log.
pub const CREATE_TOPICS_MAX: usize = 2_000;

/// Partitions that one CreateTopics or CreatePartitions may make for one topic.
pub const PARTITIONS_A_TOPIC_MAX: i32 = 10_000;

/// Partitions of the node. Each costs about 2 KiB of state at rest and one segment file.
pub const PARTITIONS_MAX: usize = 100_000;

/// Connections of the HTTP server at once. Each costs a head of 10 KiB at the most.
pub const HTTP_CONNECTIONS_MAX: usize = 32;

/// Answers of the HTTP server that are held at once, until their peers have taken them: the metrics of one shard are about
/// 100 KiB of text, so these are 3 MiB for 8 shards. They are a part of the slack.
pub const HTTP_ANSWERS_MAX: usize = 4;

/// Log lines about peers' faults that a shard writes in ten seconds; the next one counts those left out.
pub const PEER_LINES_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::{MEMORY_BYTES_MIN, Memory, SOCKET_REQUEST_MAX_BYTES, descriptors_max};

    #[test]
    fn the_least_memory_still_takes_a_default_batch() {
        let memory = Memory::new(0);
        assert_eq!(memory.total_bytes(), MEMORY_BYTES_MIN);
        assert!(memory.frame_bytes_max(4, SOCKET_REQUEST_MAX_BYTES) > (1 << 20) + 512);
        assert!(memory.connections_max() >= 400);
    }

    #[test]
    fn all_that_is_held_is_one_memory_figure() {
        for shards in [1, 3, 64] {
            let memory = Memory::new(1 << 30);
            let shard = memory.tail_bytes(shards)
                + memory.receive_bytes(shards)
                + memory.index_bytes(shards)
                + memory.log_read_bytes(shards)
                + memory.reply_read_bytes(shards)
                + memory.state_bytes(shards)
                + memory.groups_bytes(shards);
            assert!(shard * shards + memory.connections_bytes() <= (1 << 30) / 100 * 97, "{shards}");
        }
    }

    #[test]
    fn descriptors_of_readers_leave_room_for_all_others() {
        assert_eq!(descriptors_max(20_000, 2), 2_500);
        assert_eq!(descriptors_max(1 << 30, 16), 4_096);
        assert_eq!(descriptors_max(1_024, 64), 16);
    }

    #[test]
    fn shards_share_what_one_would_have() {
        let memory = Memory::new(512 << 20);
        assert!(memory.tail_bytes(4) * 4 <= memory.tail_bytes(1));
        assert_eq!(memory.frame_bytes_max(1, 1 << 20), 1 << 20);
    }
}
