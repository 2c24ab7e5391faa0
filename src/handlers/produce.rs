//! Produce: batches to their logs, in the order in which they came; the answer when each is as safe as `acks` asks.
//!
//! Phase 1 looks each topic up once, sends the batches of each other shard in one call and hands those of this shard to
//! their partitions. Then the request's bytes are let go: the logs have copied what is theirs. Phase 2 waits and encodes.

use std::rc::Rc;
use std::sync::Arc;

use super::figures::{Figures, Stage, Trip};
use super::reply::{CloseReason, Outcome, Reply, Started};
use super::{Handlers, check_entries, error, later, refusal};
use crate::io::{Env, local};
use crate::metadata::names::is_internal;
use crate::metadata::{Image, Topic};
use crate::partition::{Acks, AppendInfo, AppendJob, AppendTicket};
use crate::protocol::produce::{PartitionData, PartitionResponse, Request, ResponseEncoder, TopicData};
use crate::protocol::{ErrorCode, Frame, RequestHeader};
use crate::shard::{self, Answer, Call, ProduceItem, Produced, Worked};
use crate::storage::Landing;
use crate::types::{PartitionId, ShardId};

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
    let appending = Appending::begin(handlers, frame, &request, trip);
    let (handlers, silent) = (Rc::clone(handlers), request.acks == 0);
    later(async move {
        let (answered, mut trip) = appending.done().await;
        let figures = handlers.figures();
        answered.slowest.tell(figures, &mut trip, handlers.shard.rt().turn_ns());
        match silent {
            false => Outcome::Reply(Reply::from(answered.encode(&header)).of(trip)),
            true if answered.failed() => Outcome::Close(CloseReason::UnansweredProduceFailed),
            true => {
                figures.end(trip);
                Outcome::Silent
            }
        }
    })
}

/// A request whose batches have been handed on.
struct Appending<E: Env> {
    topics: Vec<TopicSlot>,
    partitions: Vec<Slot<E>>,
    calls: Vec<(ShardId, local::Receiver<Answer<E>>)>,
    trip: Trip,
    /// When the batches of this shard had been handed to their logs; 0 where there are none.
    appended_ns: u64,
}

struct TopicSlot {
    name: Arc<str>,
    partition_count: usize,
}

struct Slot<E: Env> {
    index: i32,
    state: State<E>,
}

enum State<E: Env> {
    Refused(ErrorCode, Option<String>),
    /// Of this shard; handed to its log once every batch of the request has its shard.
    Routed(PartitionId, AppendJob),
    Here(AppendTicket<E>),
    /// The answer is this one of that call's.
    There {
        call: usize,
        item: usize,
    },
}

impl<E: Env> Appending<E> {
    fn begin(handlers: &Handlers<E>, frame: &Frame, request: &Request<'_>, trip: Trip) -> Self {
        let topic_count = request.topic_count();
        let mut begin = Begin {
            handlers,
            image: handlers.shard.image(),
            whole: refuse_whole(request),
            acks: Acks::from_code(request.acks).unwrap_or(Acks::None),
            produce_version: request.version,
            internal_allowed: frame.client_id().as_deref() == Some(ADMIN_CLIENT),
            outgoing: Vec::new(),
            this: Self {
                topics: Vec::with_capacity(topic_count),
                partitions: Vec::new(),
                calls: Vec::new(),
                trip,
                appended_ns: 0,
            },
        };
        for topic in request.topics() {
            begin.topic(&topic);
        }
        begin.hand_on()
    }

    async fn done(self) -> (Answered, Trip) {
        let mut answers = Vec::with_capacity(self.calls.len());
        for (_, call) in self.calls {
            answers.push(match call.await {
                Some(Answer::Produce(produced, worked)) => (produced, worked),
                _ => (Vec::new(), Worked::default()),
            });
        }
        let mut partitions = Vec::with_capacity(self.partitions.len());
        let here = Worked { taken_ns: 0, done_ns: self.appended_ns };
        let mut slowest = Slowest::default();
        for slot in self.partitions {
            let (worked, result) = match slot.state {
                State::Refused(code, message) => (Worked::default(), Err((code, message))),
                State::Routed(..) => (here, explain(Err(shard::Error::Ended))),
                State::Here(ticket) => (here, explain(ticket.done().await.map_err(shard::Error::from))),
                State::There { call, item } => {
                    let (produced, worked) = &answers[call];
                    let answer = produced.get(item).cloned();
                    (*worked, explain(answer.unwrap_or(Err(shard::Error::Ended))))
                }
            };
            slowest.consider(worked, result.as_ref().map_or_else(|_| Landing::default(), |info| info.landing));
            partitions.push((slot.index, result));
        }
        (Answered { topics: self.topics, partitions, slowest }, self.trip)
    }
}

/// Phase 1 under way.
struct Begin<'a, E: Env> {
    handlers: &'a Handlers<E>,
    image: Arc<Image>,
    /// Why no batch of the request is taken, if so.
    whole: Option<(ErrorCode, &'static str)>,
    acks: Acks,
    produce_version: i16,
    internal_allowed: bool,
    outgoing: Vec<(ShardId, Vec<ProduceItem>)>,
    this: Appending<E>,
}

impl<E: Env> Begin<'_, E> {
    fn topic(&mut self, asked: &TopicData<'_>) {
        let image = Arc::clone(&self.image);
        let topic = image.topic(&asked.name);
        let name = topic.map_or_else(|| Arc::from(&*asked.name), |topic| Arc::clone(&topic.name));
        let internal = is_internal(&name) && !self.internal_allowed;
        self.this.topics.push(TopicSlot { name, partition_count: asked.partition_count() });
        for data in asked.partitions() {
            let index = data.index;
            let state = match topic {
                _ if self.whole.is_some() => self.refused_whole(),
                _ if internal => State::Refused(ErrorCode::InvalidTopicException, Some(INTERNAL.to_owned())),
                Some(topic) => self.partition(topic, data),
                None => State::Refused(ErrorCode::UnknownTopicOrPartition, None),
            };
            self.this.partitions.push(Slot { index, state });
        }
    }

    fn refused_whole(&self) -> State<E> {
        let (code, message) = self.whole.unwrap_or((ErrorCode::InvalidRequest, ""));
        State::Refused(code, Some(message.to_owned()))
    }

    fn partition(&mut self, topic: &Topic, data: PartitionData) -> State<E> {
        let Some(partition) = topic.partition(data.index) else {
            return State::Refused(ErrorCode::UnknownTopicOrPartition, None);
        };
        let Some(owner) = partition.shard else {
            return State::Refused(ErrorCode::NotLeaderOrFollower, None);
        };
        let id = PartitionId { topic_id: topic.id, partition: data.index };
        let records = data.records.unwrap_or_default();
        let job = AppendJob { records, acks: self.acks, produce_version: self.produce_version };
        if owner == self.handlers.shard.rt().shard() {
            return State::Routed(id, job);
        }
        let call = self.outgoing.iter().position(|(shard, _)| *shard == owner).unwrap_or_else(|| {
            self.outgoing.push((owner, Vec::new()));
            self.outgoing.len() - 1
        });
        let items = &mut self.outgoing[call].1;
        items.push(ProduceItem { id, job });
        State::There { call, item: items.len() - 1 }
    }

    /// One call for each other shard, then the batches of this one to their logs, in request order. There is room for the
    /// calls: the request was not started before.
    fn hand_on(self) -> Appending<E> {
        let Self { handlers, outgoing, mut this, .. } = self;
        let (shard, router) = (&handlers.shard, handlers.shard.router());
        handlers.figures().pass(&mut this.trip, Stage::Decode, shard.rt().now_ns());
        let calls = outgoing.into_iter().map(|(shard, items)| (shard, router.call(shard, Call::Produce(items))));
        this.calls = calls.collect();
        let mut appended = false;
        for slot in &mut this.partitions {
            slot.state = match std::mem::replace(&mut slot.state, State::Refused(ErrorCode::None, None)) {
                State::Routed(id, job) => {
                    appended = true;
                    match shard.append(id, job) {
                        Ok(ticket) => State::Here(ticket),
                        Err(error) => State::Refused(error::code(&error), None),
                    }
                }
                decided => decided,
            };
        }
        if appended {
            this.appended_ns = shard.rt().now_ns();
        }
        this
    }
}

/// The part of a request that ended last: what happened to it is what the request's time went into.
#[derive(Default)]
struct Slowest {
    worked: Worked,
    landing: Landing,
    ended_ns: u64,
}

impl Slowest {
    fn consider(&mut self, worked: Worked, landing: Landing) {
        let ended_ns = worked.done_ns.max(landing.written_ns).max(landing.durable_ns);
        if ended_ns > self.ended_ns {
            *self = Self { worked, landing, ended_ns };
        }
    }

    /// Tells the stages of a request whose last answer is there.
    fn tell(&self, figures: &Figures, trip: &mut Trip, now_ns: u64) {
        let Self { worked, landing, .. } = self;
        // Where it was taken out of no mailbox, it was for this shard.
        let elsewhere = worked.taken_ns > 0;
        if elsewhere {
            trip.hop(worked.taken_ns);
        }
        if worked.done_ns > 0 {
            figures.pass(trip, Stage::Append, worked.done_ns);
        }
        if landing.written_ns > 0 {
            figures.pass(trip, Stage::Write, landing.written_ns);
        }
        if landing.durable_ns > 0 {
            figures.pass(trip, Stage::Flush, landing.durable_ns);
        }
        if elsewhere {
            trip.hop(now_ns);
            figures.hopped(trip);
        }
    }
}

fn refuse_whole(request: &Request<'_>) -> Option<(ErrorCode, &'static str)> {
    if Acks::from_code(request.acks).is_none() {
        return Some((ErrorCode::InvalidRequiredAcks, "acks must be -1, 0 or 1"));
    }
    request.is_transactional.then_some((ErrorCode::InvalidRequest, "transactions are not supported by this node"))
}

type Explained = Result<AppendInfo, (ErrorCode, Option<String>)>;

fn explain(produced: Produced) -> Explained {
    produced.map_err(|refused| (error::code(&refused), Some(refused.to_string())))
}

/// All that the response says.
struct Answered {
    topics: Vec<TopicSlot>,
    partitions: Vec<(i32, Explained)>,
    slowest: Slowest,
}

impl Answered {
    fn failed(&self) -> bool {
        self.partitions.iter().any(|(_, result)| result.is_err())
    }

    fn encode(&self, header: &RequestHeader) -> bytes::Bytes {
        let mut encoder = ResponseEncoder::new(header, self.topics.len());
        let mut partitions = self.partitions.iter();
        for topic in &self.topics {
            encoder.topic(&topic.name, topic.partition_count);
            for (index, result) in partitions.by_ref().take(topic.partition_count) {
                let mut response = PartitionResponse { index: *index, ..PartitionResponse::default() };
                match result {
                    Ok(info) => {
                        response.base_offset = info.base_offset.0;
                        response.log_append_time_ms = info.log_append_time_ms;
                        response.log_start_offset = info.log_start_offset.0;
                    }
                    Err((code, message)) => {
                        response.error_code = *code;
                        response.error_message = message.as_deref();
                    }
                }
                encoder.partition(&response);
            }
        }
        encoder.finish(0)
    }
}

/// The one client id that Kafka lets write to its internal topics (`AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT: &str = "__admin_client";
const INTERNAL: &str = "Cannot append to internal topic";
