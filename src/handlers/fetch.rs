//! Fetch: whole batches below the high watermark, as many as the budget allows, in request order; or a wait for them.
//!
//! ```text
//!   read all shards, each within the whole budget  --> keep what fits, in request order
//!        ^               ^                                  |
//!        |               +-- what is left of the budget <---+ one did not fit: from there on again
//!        |                                                  |
//!        |                                          min_bytes there, an error, or time over: answer
//!        +------ some shard gained bytes <---- watch every partition
//! ```
//!
//! **The budget** is Kafka's (`ReplicaManager.readFromLog`): partitions are served in request order, the first one that has
//! anything gives at least one whole batch, all others whole batches within `partition_max_bytes` and what is left of
//! `max_bytes`.
//!
//! Everything happens in phase 2, when all requests before it on the connection are answered: so one connection holds
//! the records of one Fetch at a time. Sessions are never given out (session id 0), which is Kafka's own fallback.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::figures::{Stage, Trip};
use super::reply::{Again, Outcome, Reply, ReplyPart, Reread, Rereading, Started};
use super::{Handlers, check_entries, error, later, refusal};
use crate::io::Env;
use crate::limits::FETCH_WAIT_MS_MAX;
use crate::partition::DelayedFetch;
use crate::protocol::fetch::{Partition, PartitionData, Request, ResponseEncoder, ResponsePart};
use crate::protocol::{ErrorCode, Frame, RequestHeader};
use crate::record::HEADER_BYTES;
use crate::shard::{self, Answer, Call, FetchBudget, FetchItem, Fetched, RemoteWatch, WatchItem, Worked, before};
use crate::storage::{Part, Place};
use crate::types::{Offset, PartitionId, ShardId, TopicId};

pub(super) fn handle<E: Env>(handlers: &Rc<Handlers<E>>, frame: &Frame, trip: Trip) -> Started<E> {
    let request = match Request::parse(frame) {
        Ok(request) => request,
        Err(error) => return Started::Done(Outcome::Close(refusal(&error))),
    };
    let partitions: usize = request.topics().map(|topic| topic.partition_count()).sum();
    if let Err(reason) = check_entries(request.topic_count() + partitions) {
        return Started::Done(Outcome::Close(reason));
    }
    let header = frame.header;
    if request.session_id != 0 && request.session_epoch > 0 {
        let unknown = ResponseEncoder::new(&header, 0, ErrorCode::FetchSessionIdNotFound, 0);
        return Started::Done(Outcome::Reply(reply::<E>(unknown.finish(), Vec::new()).of(trip)));
    }
    let mut fetch = Fetching::new(handlers, &request, trip);
    later(async move {
        fetch.run().await;
        let trip = fetch.trip;
        Outcome::Reply(fetch.encode(&header).of(trip))
    })
}

/// A Fetch under way.
struct Fetching<E: Env> {
    handlers: Rc<Handlers<E>>,
    max_bytes: usize,
    min_bytes: usize,
    until_ns: u64,
    /// Name, id and how many partitions.
    topics: Vec<(Arc<str>, TopicId, usize)>,
    partitions: Vec<Slot<E>>,
    /// The partitions that exist, by shard: which slots, in request order.
    groups: Vec<(ShardId, Vec<usize>)>,
    trip: Trip,
    /// What the read under way has spent between shards, where it went to others.
    hop_ns: Option<u64>,
}

struct Slot<E: Env> {
    asked: Partition,
    state: State<E>,
}

enum State<E: Env> {
    Refused(ErrorCode),
    Known(PartitionId),
    Read(PartitionId, Fetched<E>),
}

impl<E: Env> Slot<E> {
    fn bytes(&self) -> usize {
        match &self.state {
            State::Read(_, Ok(fetched)) => fetched.bytes,
            _ => 0,
        }
    }

    fn item(&self) -> Option<FetchItem> {
        let (State::Known(id) | State::Read(id, _)) = self.state else { return None };
        let max_bytes = usize::try_from(self.asked.partition_max_bytes).unwrap_or(0);
        let (offset, leader_epoch) = (Offset(self.asked.fetch_offset), self.asked.current_leader_epoch);
        Some(FetchItem { id, offset, max_bytes, leader_epoch })
    }
}

impl<E: Env> Fetching<E> {
    fn new(handlers: &Rc<Handlers<E>>, request: &Request<'_>, trip: Trip) -> Self {
        let (image, by_id) = (handlers.shard.image(), request.by_id());
        let (mut topics, mut partitions) = (Vec::with_capacity(request.topic_count()), Vec::new());
        let mut groups: Vec<(ShardId, Vec<usize>)> = Vec::new();
        for asked in request.topics() {
            let topic = if by_id { image.topic_by_id(asked.id) } else { image.topic(&asked.name) };
            let unknown = match topic {
                None if by_id => ErrorCode::UnknownTopicId,
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            let name = topic.map_or_else(|| Arc::from(&*asked.name), |topic| Arc::clone(&topic.name));
            topics.push((name, asked.id, asked.partition_count()));
            for asked in asked.partitions() {
                let found = topic.and_then(|topic| Some((topic.id, topic.partition(asked.partition)?)));
                let state = match found {
                    None => State::Refused(unknown),
                    Some((topic_id, partition)) => match partition.shard {
                        None => State::Refused(ErrorCode::NotLeaderOrFollower),
                        Some(shard) => {
                            note(&mut groups, shard, partitions.len());
                            State::Known(PartitionId { topic_id, partition: asked.partition })
                        }
                    },
                };
                partitions.push(Slot { asked, state });
            }
        }
        let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0).min(FETCH_WAIT_MS_MAX);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(handlers.config.fetch_max_bytes);
        Self {
            handlers: Rc::clone(handlers),
            max_bytes,
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
            until_ns: trip.told_ns() + wait_ms * 1_000_000,
            topics,
            partitions,
            groups,
            trip,
            hop_ns: None,
        }
    }

    /// Reads, and waits and reads again, until there is something to answer.
    async fn run(&mut self) {
        let handlers = Rc::clone(&self.handlers);
        let (figures, rt) = (handlers.figures(), handlers.shard.rt());
        figures.pass(&mut self.trip, Stage::Decode, rt.now_ns());
        loop {
            self.read().await;
            let now_ns = rt.now_ns();
            let refused = |slot: &Slot<E>| !matches!(slot.state, State::Read(_, Ok(_)));
            let over = now_ns >= self.until_ns || handlers.shard.stopping();
            let ended = over || self.partitions.is_empty() || self.partitions.iter().any(refused);
            let readable = if ended { 0 } else { self.readable_bytes() };
            if ended || readable >= self.min_bytes {
                if let Some(hop_ns) = self.hop_ns {
                    self.trip.hop(now_ns.min(self.trip.told_ns() + hop_ns));
                    figures.hopped(&mut self.trip);
                }
                figures.pass(&mut self.trip, Stage::Load, now_ns);
                return;
            }
            if self.is_busy() {
                // There are records, and no buffers to read them into: those come back without telling.
                self.let_go();
                rt.sleep_ms(BUSY_RETRY_MS).await;
            } else {
                self.wait(self.min_bytes - readable).await;
            }
            figures.wait(&mut self.trip, rt.now_ns());
        }
    }

    /// Reads all partitions within the budget.
    async fn read(&mut self) {
        let mut budget = FetchBudget { max_bytes: self.max_bytes, at_least_one: true };
        let mut from = 0;
        self.hop_ns = None;
        for _ in 0..ROUNDS_MAX {
            self.ask(from, budget).await;
            match self.keep_what_fits(from, &mut budget) {
                Some(slot) if budget.max_bytes >= HEADER_BYTES => from = slot,
                _ => return,
            }
        }
    }

    /// Asks every shard for its partitions from slot `from` on, each within the whole budget.
    async fn ask(&mut self, from: usize, budget: FetchBudget) {
        let rt = Rc::clone(self.handlers.shard.rt());
        let home = rt.shard();
        let mut calls = Vec::new();
        for (shard, _) in self.groups.iter().filter(|(shard, _)| *shard != home) {
            let items = self.items(*shard, from);
            if !items.is_empty() {
                let router = self.handlers.shard.router();
                router.wait_for_room(*shard).await;
                let sent_ns = rt.now_ns();
                calls.push((*shard, sent_ns, router.call(*shard, Call::Fetch { items, budget })));
            }
        }
        let items = self.items(home, from);
        if !items.is_empty() {
            let answers = self.handlers.shard.fetch(&items, budget).await;
            self.take(home, from, answers);
        }
        let mut hop_ns = None;
        for (shard, sent_ns, call) in calls {
            let answers = match call.await {
                Some(Answer::Fetch(answers, Worked { taken_ns, done_ns })) => {
                    let crossed_ns = taken_ns.saturating_sub(sent_ns) + rt.turn_ns().saturating_sub(done_ns);
                    hop_ns = hop_ns.max(Some(crossed_ns));
                    answers
                }
                _ => Vec::new(),
            };
            self.take(shard, from, answers);
        }
        if let Some(hop_ns) = hop_ns {
            self.hop_ns = Some(self.hop_ns.unwrap_or(0) + hop_ns);
        }
    }

    /// The slots of a shard's partitions from slot `from` on.
    fn slots(&self, shard: ShardId, from: usize) -> &[usize] {
        let slots = self.groups.iter().find(|(of, _)| *of == shard).map_or(&[][..], |(_, slots)| slots);
        &slots[slots.partition_point(|slot| *slot < from)..]
    }

    fn items(&self, shard: ShardId, from: usize) -> Vec<FetchItem> {
        self.slots(shard, from).iter().filter_map(|slot| self.partitions[*slot].item()).collect()
    }

    fn take(&mut self, shard: ShardId, from: usize, answers: Vec<Fetched<E>>) {
        let mut answers = VecDeque::from(answers);
        let slots = self.groups.iter().find(|(of, _)| *of == shard).map_or(&[][..], |(_, slots)| slots);
        for slot in slots.iter().filter(|slot| **slot >= from) {
            let slot = &mut self.partitions[*slot];
            if let State::Known(id) | State::Read(id, _) = slot.state {
                slot.state = State::Read(id, answers.pop_front().unwrap_or(Err(shard::Error::Ended)));
            }
        }
    }

    /// Each shard has read within the whole budget: keeps, in request order, what fits together. Answers the first slot whose
    /// records do not fit; its and all later ones' are let go.
    fn keep_what_fits(&mut self, from: usize, budget: &mut FetchBudget) -> Option<usize> {
        let mut first_over = None;
        for (number, slot) in self.partitions.iter_mut().enumerate().skip(from) {
            let partition_max_bytes = slot.item().map_or(0, |item| item.max_bytes);
            let State::Read(_, Ok(fetched)) = &mut slot.state else { continue };
            let fits = fetched.bytes <= budget.max_bytes.min(partition_max_bytes) || budget.at_least_one;
            if first_over.is_some() || !fits {
                first_over = first_over.or(Some(number));
                fetched.parts = Vec::new();
                fetched.bytes = 0;
                continue;
            }
            budget.max_bytes = budget.max_bytes.saturating_sub(fetched.bytes);
            budget.at_least_one &= fetched.bytes == 0;
        }
        first_over
    }

    /// Bytes that count towards `min_bytes`, as Kafka counts them (`DelayedFetch.tryComplete`): a partition that has more than
    /// the limits let it give counts with its limit, because its answer does not grow by waiting.
    fn readable_bytes(&self) -> usize {
        let given: usize = self.partitions.iter().map(Slot::bytes).sum();
        if given >= self.min_bytes || given == 0 {
            return given;
        }
        let readable = |slot: &Slot<E>| match (slot.item(), &slot.state) {
            (Some(item), State::Read(_, Ok(fetched))) if fetched.is_cut(item.offset) => {
                item.max_bytes.max(fetched.bytes)
            }
            _ => slot.bytes(),
        };
        self.partitions.iter().map(readable).sum()
    }

    /// Ends when some partition has more, the time is over, or the shard stops.
    async fn wait(&mut self, missing_bytes: usize) {
        let shard = Rc::clone(&self.handlers.shard);
        let missing_bytes = u64::try_from(missing_bytes).unwrap_or(u64::MAX);
        // Once all that is missing is there, at least one of so many shards has this much of it.
        let shards = u64::try_from(self.groups.len()).unwrap_or(1).max(1);
        let missing_bytes = missing_bytes.div_ceil(shards);
        let delayed = DelayedFetch::new(missing_bytes);
        let wait_ms = (self.until_ns.saturating_sub(shard.rt().now_ns())).div_ceil(1_000_000);
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for (owner, slots) in &self.groups {
            let items: Vec<WatchItem> = slots.iter().filter_map(|slot| watch_item(&self.partitions[*slot])).collect();
            if *owner == shard.rt().shard() {
                here = shard.watch(&delayed, &items);
            } else {
                there.push(shard.watch_at(*owner, &delayed, RemoteWatch { items, missing_bytes, wait_ms }));
            }
        }
        self.let_go();
        let stop = shard.stop_notify().wait();
        before(shard.rt(), self.until_ns, either(delayed.wait(), stop)).await;
        drop((here, there));
    }

    /// Lets the records go that were read so far: the next read finds them again, and others need the memory meanwhile.
    fn let_go(&mut self) {
        for slot in &mut self.partitions {
            if let State::Read(_, Ok(fetched)) = &mut slot.state {
                fetched.parts = Vec::new();
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.partitions.iter().any(|slot| matches!(&slot.state, State::Read(_, Ok(fetched)) if fetched.busy))
    }

    fn encode(self, header: &RequestHeader) -> Reply<E> {
        let mut encoder = ResponseEncoder::new(header, 0, ErrorCode::None, self.topics.len());
        let mut records = Vec::with_capacity(self.partitions.len());
        let mut slots = self.partitions.into_iter();
        for (name, id, partition_count) in &self.topics {
            encoder.topic(name, *id, *partition_count);
            for slot in slots.by_ref().take(*partition_count) {
                let mut data = PartitionData { partition: slot.asked.partition, ..PartitionData::default() };
                let (bytes, parts) = match slot.state {
                    State::Read(id, Ok(fetched)) => {
                        data.high_watermark = fetched.high_watermark.0;
                        data.last_stable_offset = fetched.high_watermark.0;
                        data.log_start_offset = fetched.log_start_offset.0;
                        (fetched.bytes, reply_parts(&self.handlers, id, fetched.parts, fetched.place))
                    }
                    State::Read(_, Err(refused)) => {
                        data.error_code = error::code(&refused);
                        (0, Vec::new())
                    }
                    State::Refused(code) => {
                        data.error_code = code;
                        (0, Vec::new())
                    }
                    State::Known(_) => {
                        data.error_code = ErrorCode::NotLeaderOrFollower;
                        (0, Vec::new())
                    }
                };
                encoder.partition(&data, bytes);
                records.push(parts);
            }
        }
        reply(encoder.finish(), records)
    }
}

/// Records of a partition that a stalled reply has let go: read again from where they were.
struct Refetch<E: Env> {
    handlers: Rc<Handlers<E>>,
    id: PartitionId,
    place: Place,
}

impl<E: Env> Reread<E> for Refetch<E> {
    fn read(&self, range: Range<usize>) -> Rereading<E> {
        let (shard, id, place) = (Rc::clone(&self.handlers.shard), self.id, self.place.clone());
        Box::pin(async move {
            let owner = shard.image().shard(id)?;
            if owner == shard.rt().shard() {
                return shard.read_again(id, &place, range).await;
            }
            match shard.router().call_later(owner, Call::ReadAgain { id, place, range }).await {
                Some(Answer::ReadAgain(parts)) => parts,
                _ => None,
            }
        })
    }
}

fn reply_parts<E: Env>(
    handlers: &Rc<Handlers<E>>,
    id: PartitionId,
    parts: Vec<Part<E>>,
    place: Option<Place>,
) -> Vec<ReplyPart<E>> {
    let in_memory = parts.iter().any(|part| matches!(part, Part::Bytes(_)));
    let source = place
        .filter(|_| in_memory)
        .map(|place| -> Rc<dyn Reread<E>> { Rc::new(Refetch { handlers: Rc::clone(handlers), id, place }) });
    let mut at = 0;
    let reply_part = |part: Part<E>| {
        let again = source.as_ref().map(|source| Again { source: Rc::clone(source), at });
        at += part.len();
        ReplyPart::of(part, again)
    };
    parts.into_iter().map(reply_part).collect()
}

fn note(groups: &mut Vec<(ShardId, Vec<usize>)>, shard: ShardId, slot: usize) {
    match groups.iter_mut().find(|(of, _)| *of == shard) {
        Some((_, slots)) => slots.push(slot),
        None => groups.push((shard, vec![slot])),
    }
}

fn watch_item<E: Env>(slot: &Slot<E>) -> Option<WatchItem> {
    let FetchItem { id, offset, max_bytes, .. } = slot.item()?;
    let State::Read(_, Ok(fetched)) = &slot.state else { return None };
    Some(WatchItem { id, offset, max_bytes, seen: fetched.high_watermark })
}

/// The encoded pieces with the records between them.
fn reply<E: Env>(pieces: Vec<ResponsePart>, mut records: Vec<Vec<ReplyPart<E>>>) -> Reply<E> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            ResponsePart::Bytes(bytes) => parts.push(ReplyPart::Encoded(bytes)),
            ResponsePart::Records { index, .. } => {
                parts.append(&mut records.get_mut(index).map(std::mem::take).unwrap_or_default());
            }
        }
    }
    Reply::new(parts)
}

/// Ends with the first of two.
async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    std::future::poll_fn(|cx| {
        if one.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        other.as_mut().poll(cx)
    })
    .await;
}

/// Times that the shards are asked for one answer. Each takes at least one partition further that did not fit; it is the last
/// few kilobytes of the budget that are left then.
const ROUNDS_MAX: usize = 4;
const BUSY_RETRY_MS: u64 = 10;
