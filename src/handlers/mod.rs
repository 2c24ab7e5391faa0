//! Kafka semantics: one file for each API.
//!
//! Called by `server/` with one request at a time per connection; calls `shard/`, `partition/` and `metadata/`. A
//! handler runs in two phases. Phase 1 is synchronous and runs in the order in which requests arrived: it decodes,
//! checks and hands record batches to their logs. Phase 2 is a future that waits (for durability, for data, for the
//! metadata log) and encodes the reply; dropping it forgets the reply and undoes nothing.
//!
//! *What it does not do:* it never looks inside a record batch, never names a socket, never logs an error that it
//! answers.

mod acls;
mod alter_configs;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_producers;
mod describe_topic_partitions;
mod elect_leaders;
mod error;
mod fetch;
pub mod figures;
mod find_coordinator;
mod groups;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod log_dirs;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod quotas;
mod reassignments;
pub mod reply;
mod scatter;
mod scram;
mod sync_group;
mod topics;

use std::cell::OnceCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use crate::io::Env;
use crate::limits::REQUEST_ENTRIES_MAX;
use crate::protocol::cold::{self, KafkaString};
use crate::protocol::{ApiKey, DecodeError, Frame, RequestHeader};
use crate::record::Records;
use crate::shard::{Controller, OffsetsTopic, Shard};
use figures::{Arrival, Figures, Stage, Trip};
use reply::{CloseReason, Outcome, Started};

/// What the operator sets of Kafka's semantics. Names are Kafka's keys.
#[derive(Clone, Debug)]
pub struct Config {
    /// `node.id`, as clients see it in Metadata.
    pub node_id: i32,
    /// The host and port that Metadata names (`advertised.listeners`).
    pub advertised: (String, u16),
    /// `auto.create.topics.enable`.
    pub auto_create_topics_enable: bool,
    /// `num.partitions`: partitions of a topic made without a count.
    pub num_partitions: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: usize,
    /// `offsets.topic.*`.
    pub offsets_topic: OffsetsTopic,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: 1,
            advertised: ("127.0.0.1".to_owned(), 9092),
            auto_create_topics_enable: true,
            num_partitions: 1,
            fetch_max_bytes: crate::limits::FETCH_BYTES_MAX,
            offsets_topic: OffsetsTopic::default(),
        }
    }
}

/// The handlers of one shard.
pub struct Handlers<E: Env> {
    shard: Rc<Shard<E>>,
    config: Config,
    /// `cluster.id`, from meta.properties.
    cluster_id: String,
    figures: Arc<Figures>,
    /// On shard 0, once the metadata log is open.
    controller: OnceCell<Rc<Controller<E>>>,
}

impl<E: Env> Handlers<E> {
    /// Handlers over a shard that is open.
    #[must_use]
    pub fn new(shard: Rc<Shard<E>>, config: Config, cluster_id: String, figures: Arc<Figures>) -> Rc<Self> {
        Rc::new(Self { shard, config, cluster_id, figures, controller: OnceCell::new() })
    }

    /// Makes these the handlers of shard 0.
    pub fn set_controller(&self, controller: Rc<Controller<E>>) {
        let _ = self.controller.set(controller);
    }

    fn controller(&self) -> Option<Rc<Controller<E>>> {
        self.controller.get().cloned()
    }

    /// How long requests take.
    #[must_use]
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Whether a request may be started now: it may call every other shard once. If not, the task is woken when that
    /// changes.
    pub fn room(&self, cx: &mut Context<'_>) -> bool {
        self.shard.router().room(cx)
    }

    /// Runs the first phase of a request. `bytes` is a frame without its length that came at `arrival`, `peer` whoever sent
    /// it.
    pub fn start(self: &Rc<Self>, bytes: &Records, arrival: Arrival, peer: Option<SocketAddr>) -> Started<E> {
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(error) => return Started::Done(Outcome::Close(refusal(&error))),
        };
        let trip = self.figures.begin(frame.header.api_key, arrival);
        match frame.header.api_key {
            ApiKey::Produce => produce::handle(self, &frame, trip),
            ApiKey::Fetch => fetch::handle(self, &frame, trip),
            _ => self.start_cold(&frame, bytes, peer, trip),
        }
    }

    /// Every API but the two that carry records; their time is told here.
    fn start_cold(self: &Rc<Self>, frame: &Frame, bytes: &Records, peer: Option<SocketAddr>, trip: Trip) -> Started<E> {
        match self.dispatch_cold(frame, bytes, peer) {
            Started::Done(outcome) => Started::Done(self.handled(trip, outcome)),
            Started::Later(future) => {
                let handlers = Rc::clone(self);
                later(async move { handlers.handled(trip, future.await) })
            }
        }
    }

    fn handled(&self, mut trip: Trip, outcome: Outcome<E>) -> Outcome<E> {
        self.figures.pass(&mut trip, Stage::Handle, self.shard.rt().now_ns());
        match outcome {
            Outcome::Reply(reply) => Outcome::Reply(reply.of(trip)),
            other => other,
        }
    }

    /// `frame` is of none of the two.
    fn dispatch_cold(self: &Rc<Self>, frame: &Frame, bytes: &Records, peer: Option<SocketAddr>) -> Started<E> {
        match frame.header.api_key {
            ApiKey::Produce | ApiKey::Fetch => unreachable!("these carry records"),
            ApiKey::ListOffsets => list_offsets::handle(self, frame),
            ApiKey::Metadata => metadata::handle(self, frame),
            ApiKey::OffsetCommit => offset_commit::handle(self, frame),
            ApiKey::OffsetFetch => offset_fetch::handle(self, frame),
            ApiKey::FindCoordinator => find_coordinator::handle(self, frame, bytes),
            ApiKey::JoinGroup => join_group::handle(self, frame, peer),
            ApiKey::Heartbeat => heartbeat::handle(self, frame),
            ApiKey::LeaveGroup => leave_group::handle(self, frame, peer),
            ApiKey::SyncGroup => sync_group::handle(self, frame, peer),
            ApiKey::DescribeGroups => describe_groups::handle(self, frame),
            ApiKey::ListGroups => list_groups::handle(self, frame),
            ApiKey::ApiVersions => api_versions::handle(frame),
            ApiKey::CreateTopics => create_topics::handle(self, frame, bytes),
            ApiKey::DeleteTopics => delete_topics::handle(self, frame, bytes),
            ApiKey::DeleteRecords => delete_records::handle(self, frame),
            ApiKey::InitProducerId => init_producer_id::handle(self, frame, bytes),
            ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::handle(self, frame),
            ApiKey::DescribeAcls => acls::handle_describe(frame),
            ApiKey::CreateAcls => acls::handle_create(frame),
            ApiKey::DeleteAcls => acls::handle_delete(frame),
            ApiKey::DescribeConfigs => describe_configs::handle(self, frame),
            ApiKey::AlterConfigs => alter_configs::handle(self, frame, bytes),
            ApiKey::AlterReplicaLogDirs => log_dirs::handle_alter(self, frame),
            ApiKey::DescribeLogDirs => log_dirs::handle_describe(self, frame),
            ApiKey::CreatePartitions => create_partitions::handle(self, frame, bytes),
            ApiKey::DeleteGroups => delete_groups::handle(self, frame),
            ApiKey::OffsetDelete => offset_delete::handle(self, frame),
            ApiKey::ElectLeaders => elect_leaders::handle(self, frame),
            ApiKey::IncrementalAlterConfigs => alter_configs::handle_incremental(self, frame, bytes),
            ApiKey::AlterPartitionReassignments => reassignments::handle_alter(self, frame),
            ApiKey::ListPartitionReassignments => reassignments::handle_list(self, frame),
            ApiKey::DescribeClientQuotas => quotas::handle_describe(frame),
            ApiKey::AlterClientQuotas => quotas::handle_alter(frame),
            ApiKey::DescribeUserScramCredentials => scram::handle_describe(frame),
            ApiKey::AlterUserScramCredentials => scram::handle_alter(frame),
            ApiKey::DescribeCluster => describe_cluster::handle(self, frame),
            ApiKey::DescribeProducers => describe_producers::handle(self, frame),
            ApiKey::ListConfigResources => list_config_resources::handle(self, frame),
            ApiKey::DescribeTopicPartitions => describe_topic_partitions::handle(self, frame),
        }
    }
}

/// Reads a cold request, or says why its connection ends.
fn decode<R: cold::Request>(frame: &Frame) -> Result<R, CloseReason> {
    cold::decode(frame).map_err(|error| refusal(&error))
}

/// The whole reply to a cold request.
fn respond<E: Env, R: cold::Response>(header: &RequestHeader, response: &R) -> Outcome<E> {
    match cold::encode(header, response) {
        Ok(frame) => Outcome::Reply(frame.into()),
        // A name or message that the version cannot carry: nothing of sense can be said on this connection.
        Err(error) => Outcome::Close(CloseReason::Unanswerable(error.to_string())),
    }
}

fn refusal(error: &DecodeError) -> CloseReason {
    match *error {
        DecodeError::UnknownApiKey { api_key: key, api_version: version } => CloseReason::Unsupported { key, version },
        DecodeError::UnsupportedVersion { api_key, api_version: version } => {
            CloseReason::Unsupported { key: api_key.code(), version }
        }
        ref malformed => CloseReason::Malformed(malformed.to_string()),
    }
}

/// Refuses a request that names more than the node could serve: what is kept of each entry is more than its bytes.
fn check_entries(entries: usize) -> Result<(), CloseReason> {
    if entries > REQUEST_ENTRIES_MAX {
        return Err(CloseReason::TooManyEntries { entries, max: REQUEST_ENTRIES_MAX });
    }
    Ok(())
}

fn later<E: Env>(future: impl Future<Output = Outcome<E>> + 'static) -> Started<E> {
    Started::Later(Box::pin(future))
}

/// Text as the cold codec has it.
fn text(of: &str) -> KafkaString {
    KafkaString::from(of.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{ApiKey, CloseReason, Outcome, RequestHeader, respond, text};
    use crate::io::sim::SimEnv;
    use crate::protocol::cold::metadata_response::MetadataResponseData;

    #[test]
    fn a_reply_that_its_version_cannot_carry_is_not_the_requests_fault() {
        // Its strings have lengths of 16 bits.
        let header = RequestHeader { api_key: ApiKey::Metadata, api_version: 8, correlation_id: 1 };
        let cluster_id = Some(text(&"x".repeat(40_000)));
        let response = MetadataResponseData { cluster_id, ..Default::default() };
        let Outcome::<SimEnv>::Close(reason) = respond(&header, &response) else { panic!("no reply carries it") };
        assert!(matches!(reason, CloseReason::Unanswerable(_)));
        assert!(!reason.to_string().contains("malformed request"), "{reason}");
    }
}
