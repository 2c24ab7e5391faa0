//! What shards send each other: owned, `Send`, one message each way.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::delete_records::DeleteQuery;
use super::fetch::{FetchBudget, FetchItem, Fetched, WaitId, WatchItem};
use super::groups::{GroupAsk, GroupReply, GroupWaitId};
use super::produce::{ProduceItem, Produced};
use crate::io::Env;
use crate::metadata::{Image, TopicError};
use crate::partition::{EpochEnd, FoundOffset, OffsetTarget};
use crate::record::Records;
use crate::storage::checkpoint::ProducerEntry;
use crate::storage::stop::Stopped;
use crate::storage::{Directory, Part, Place, Share};
use crate::types::{Offset, PartitionId};

/// What goes through a mailbox.
pub enum ShardMessage<E: Env> {
    /// A request of another shard. It is answered exactly once, with its slot.
    Call {
        /// The caller's slot for the answer.
        slot: u32,
        /// What is asked.
        call: Call<E>,
    },
    /// The answer to a call of this shard.
    Answer {
        /// The slot that the call named.
        slot: u32,
        /// The answer.
        answer: Answer<E>,
    },
}

/// What one shard asks of another.
pub enum Call<E: Env> {
    /// Append these batches.
    Produce(Vec<ProduceItem>),
    /// Read from these partitions.
    Fetch {
        /// In request order.
        items: Vec<FetchItem>,
        /// What they may give together.
        budget: FetchBudget,
    },
    /// Read bytes again that a reply has promised.
    ReadAgain {
        /// The partition.
        id: PartitionId,
        /// Where the reply's bytes of it begin.
        place: Place,
        /// Which of them, from there.
        range: Range<usize>,
    },
    /// Watch these partitions, and report once with [`Call::Gained`].
    Watch {
        /// The caller's name for the wait.
        id: WaitId,
        /// The partitions.
        items: Vec<WatchItem>,
        /// Bytes after which to report.
        missing_bytes: u64,
        /// How long at the most.
        wait_ms: u64,
    },
    /// A watch is not needed any more.
    Unwatch(WaitId),
    /// A watch that this shard asked for has ended.
    Gained(WaitId),
    /// Find offsets.
    Offsets(Vec<OffsetQuery>),
    /// Find the ends of leader epochs.
    Epochs(Vec<EpochQuery>),
    /// Ask these coordinators of groups.
    Groups {
        /// The caller's name for the questions.
        id: GroupWaitId,
        /// In request order.
        asks: Vec<GroupAsk>,
    },
    /// What [`Call::Groups`] was not answered at once.
    GroupReplies {
        /// The name that the questions had.
        id: GroupWaitId,
        /// In their order.
        replies: Vec<GroupReply>,
    },
    /// Delete records.
    Delete(Vec<DeleteQuery>),
    /// Say how large partitions are.
    Sizes(Vec<PartitionId>),
    /// Say which producers partitions remember.
    Producers(Vec<PartitionId>),
    /// Serve this socket. From shard 0.
    Connection(E::Socket),
    /// So many connections of the caller have ended. To shard 0.
    ConnectionsEnded(usize),
    /// Serve this image: answered when the partitions it assigns to the shard are open. From shard 0.
    Image(Arc<Image>),
    /// Handle this request, which only shard 0 can.
    Forward(Records),
    /// Make these topics with default settings, for a client that asked for their metadata. To shard 0.
    AutoCreate(Vec<String>),
    /// Open these logs and serve by this image. From shard 0, once, before anything else.
    Open(Box<OpenShard>),
    /// The node cannot be opened: end as you are. From shard 0.
    GiveUp,
    /// Take no more requests; answered when the connections have ended. From shard 0.
    Stop,
    /// Close all logs: nobody asks for them any more. The number marks the stop. From shard 0.
    Close(i64),
}

/// What a shard answers to a call.
pub enum Answer<E: Env> {
    /// It is done.
    Done,
    /// Whether the shard could be opened; if not, it has logged why.
    Opened(bool),
    /// What closing came to.
    Closed(Stopped),
    /// To [`Call::Produce`], in its order; worked on until all batches had been appended.
    Produce(Vec<Produced>, Worked),
    /// To [`Call::Fetch`], in its order.
    Fetch(Vec<Fetched<E>>, Worked),
    /// To [`Call::ReadAgain`].
    ReadAgain(Option<Vec<Part<E>>>),
    /// To [`Call::Offsets`], in its order.
    Offsets(Vec<Result<FoundOffset, Error>>),
    /// To [`Call::Epochs`], in its order.
    Epochs(Vec<Result<EpochEnd, Error>>),
    /// To [`Call::Groups`], in its order; none where the replies come later, by [`Call::GroupReplies`].
    Groups(Option<Vec<GroupReply>>),
    /// To [`Call::Delete`], in its order: where the logs start.
    Deleted(Vec<Result<Offset, Error>>),
    /// To [`Call::Sizes`], in its order: bytes.
    Sizes(Vec<Result<u64, Error>>),
    /// To [`Call::Producers`], in its order.
    Producers(Vec<Result<Vec<ProducerEntry>, Error>>),
    /// The reply frame to a forwarded request; none where its connection is to be closed.
    Forward(Option<Bytes>),
    /// Topics that could not be made, and why.
    NotMade(Vec<(String, TopicError)>),
}

/// When a shard worked on a call, in monotonic nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// It was taken out of the mailbox.
    pub taken_ns: u64,
    /// It was done.
    pub done_ns: u64,
}

/// What a shard needs to open.
#[derive(Debug)]
pub struct OpenShard {
    /// Its logs.
    pub share: Share,
    /// The metadata.
    pub image: Arc<Image>,
    /// The log directory.
    pub directory: Arc<Directory>,
    /// `cluster.id`.
    pub cluster_id: Arc<str>,
    /// `node.id`.
    pub node_id: i32,
}

/// One offset to find.
#[derive(Clone, Copy, Debug)]
pub struct OffsetQuery {
    /// The partition.
    pub id: PartitionId,
    /// Which offset.
    pub target: OffsetTarget,
    /// The leader epoch that the client knows, or -1.
    pub leader_epoch: i32,
}

/// One leader epoch to find the end of.
#[derive(Clone, Copy, Debug)]
pub struct EpochQuery {
    /// The partition.
    pub id: PartitionId,
    /// The epoch.
    pub epoch: i32,
    /// The leader epoch that the client knows, or -1.
    pub leader_epoch: i32,
}
