//! From a bootstrap address to whom to ask: brokers, the leaders of a topic, the coordinator of a group.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::is_retriable;
use super::{Connection, Error, Stop, accept};
use crate::protocol::ErrorCode;
use crate::protocol::cold::{
    KafkaString, Request, find_coordinator_request as find, list_offsets_request as offsets,
    metadata_request as metadata, metadata_response,
};

/// What is known of a cluster, and a connection to each broker that was asked something. A connection that failed is
/// opened again by the next call.
#[derive(Debug)]
pub(crate) struct Cluster {
    bootstrap: String,
    stop: Stop,
    first: Option<Connection>,
    brokers: BTreeMap<i32, String>,
    connections: BTreeMap<i32, Connection>,
    /// Of each group, as it was last found.
    coordinators: BTreeMap<String, i32>,
}

/// A topic's partitions.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub name: String,
    /// In order of their numbers.
    pub partitions: Vec<Leader>,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub partition: i32,
    /// A broker's id, or -1 while there is none.
    pub leader: i32,
}

impl Topic {
    /// The numbers of its partitions.
    pub(crate) fn numbers(&self) -> Vec<i32> {
        self.partitions.iter().map(|partition| partition.partition).collect()
    }

    pub(crate) fn leader(&self, partition: i32) -> Option<i32> {
        let found = self.partitions.iter().find(|other| other.partition == partition);
        found.map(|found| found.leader).filter(|leader| *leader >= 0)
    }
}

impl Cluster {
    /// Connects to the bootstrap address, a `host:port`.
    pub(crate) fn open(bootstrap: &str, stop: &Stop) -> Result<Self, Error> {
        let first = Some(Connection::open(bootstrap, stop)?);
        Ok(Self { first, ..Self::unconnected(bootstrap, stop) })
    }

    /// As [`Self::open`], when something is asked.
    pub(super) fn unconnected(bootstrap: &str, stop: &Stop) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            stop: stop.clone(),
            first: None,
            brokers: BTreeMap::new(),
            connections: BTreeMap::new(),
            coordinators: BTreeMap::new(),
        }
    }

    /// The flag that ends every wait.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Asks whichever broker the bootstrap address leads to.
    pub(crate) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, Error> {
        let mut connection = match self.first.take() {
            Some(connection) => connection,
            None => Connection::open(&self.bootstrap, &self.stop)?,
        };
        let answer = connection.call(request)?;
        self.first = Some(connection);
        Ok(answer)
    }

    /// Asks one broker.
    pub(crate) fn call_broker<R: Request>(&mut self, id: i32, request: &R) -> Result<R::Response, Error> {
        let mut connection = match self.connections.remove(&id) {
            Some(connection) => connection,
            None => self.connect(id)?,
        };
        let answer = connection.call(request)?;
        self.connections.insert(id, connection);
        Ok(answer)
    }

    /// A new connection to a broker.
    pub(crate) fn connect(&self, id: i32) -> Result<Connection, Error> {
        Connection::open(&self.address(id)?, &self.stop)
    }

    /// A broker's `host:port`.
    pub(crate) fn address(&self, id: i32) -> Result<String, Error> {
        let known = self.brokers.get(&id).cloned();
        known.ok_or_else(|| Error::GaveUp(format!("broker {id} is not among those of {}", self.bootstrap)))
    }

    /// The ids of all brokers.
    pub(crate) fn broker_ids(&self) -> Vec<i32> {
        self.brokers.keys().copied().collect()
    }

    /// Topics as the cluster has them now: some by name, or all. Learns the brokers' addresses too.
    pub(crate) fn metadata(
        &mut self,
        names: Option<&[&str]>,
        create: bool,
    ) -> Result<Vec<metadata_response::MetadataResponseTopic>, Error> {
        let named = names.map(|names| {
            let name = |name: &&str| Some(KafkaString::from((*name).to_owned()));
            names.iter().map(|text| metadata::MetadataRequestTopic::default().with_name(name(text))).collect()
        });
        let request =
            metadata::MetadataRequestData::default().with_topics(named).with_allow_auto_topic_creation(create);
        let answer = self.call(&request)?;
        let brokers = answer.brokers.iter().map(|broker| (broker.node_id, address(&broker.host, broker.port)));
        self.brokers = brokers.collect();
        Ok(answer.topics)
    }

    /// One topic and its leaders.
    pub(crate) fn topic(&mut self, name: &str, create: bool) -> Result<Topic, Error> {
        let topics = self.metadata(Some(&[name]), create)?;
        let topic = topics.first().ok_or_else(|| Error::GaveUp(format!("{name}: the node answered nothing")))?;
        accept(name, topic.error_code, None)?;
        let leaders = topic.partitions.iter().map(|found| {
            let leader = if found.error_code == 0 { found.leader_id } else { -1 };
            Leader { partition: found.partition_index, leader }
        });
        let mut partitions: Vec<Leader> = leaders.collect();
        partitions.sort_unstable_by_key(|leader| leader.partition);
        Ok(Topic { name: name.to_owned(), partitions })
    }

    /// As [`Self::topic`], while a topic is being made or has no leader yet.
    pub(crate) fn topic_with_leaders(&mut self, name: &str, create: bool) -> Result<Topic, Error> {
        let begun = Instant::now();
        loop {
            let found = self.topic(name, create);
            let patience = match &found {
                Ok(topic) if topic.partitions.iter().all(|partition| partition.leader >= 0) => return found,
                // A broker that makes topics by itself says this for a moment; one that does not says it for ever.
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) && create => CREATION_WAIT,
                Err(error) if error.code() == Some(ErrorCode::LeaderNotAvailable) => LEADER_WAIT,
                Ok(_) => LEADER_WAIT,
                Err(_) => return found,
            };
            if begun.elapsed() >= patience {
                let nobody = || accept(name, ErrorCode::LeaderNotAvailable.code(), None);
                return found.and_then(|topic| nobody().map(|()| topic));
            }
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            sleep(PAUSE);
        }
    }

    /// The offsets of partitions at a moment: a time in milliseconds, or [`EARLIEST`], [`LATEST`]. -1 where there is
    /// none so late. Tries again while leaders move.
    pub(crate) fn offsets_at(&mut self, name: &str, wanted: &[(i32, i64)]) -> Result<BTreeMap<i32, i64>, Error> {
        let begun = Instant::now();
        loop {
            let topic = self.topic_with_leaders(name, false)?;
            match self.list_offsets(&topic, wanted) {
                Err(error) if error.is_retriable() && begun.elapsed() < LEADER_WAIT => sleep(PAUSE),
                other => return other,
            }
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
        }
    }

    fn list_offsets(&mut self, topic: &Topic, wanted: &[(i32, i64)]) -> Result<BTreeMap<i32, i64>, Error> {
        let mut by_leader: BTreeMap<i32, Vec<offsets::ListOffsetsPartition>> = BTreeMap::new();
        for (partition, moment) in wanted {
            let what = || format!("{}-{partition}", topic.name);
            let Some(leader) = topic.leader(*partition) else {
                return Err(accept(what(), ErrorCode::UnknownTopicOrPartition.code(), None).expect_err("it is one"));
            };
            let asked = offsets::ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(*moment);
            by_leader.entry(leader).or_default().push(asked);
        }
        let mut found = BTreeMap::new();
        for (leader, partitions) in by_leader {
            let asked = offsets::ListOffsetsTopic::default()
                .with_name(KafkaString::from(topic.name.clone()))
                .with_partitions(partitions);
            let request = offsets::ListOffsetsRequestData::default()
                .with_replica_id(-1)
                .with_topics(vec![asked])
                .with_timeout_ms(TIMEOUT_MS);
            let answer = self.call_broker(leader, &request)?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                let what = format!("{}-{}", topic.name, partition.partition_index);
                accept(what, partition.error_code, None)?;
                found.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(found)
    }

    /// The broker that coordinates a group: its id. A coordinator that is being made or loaded is waited for.
    pub(crate) fn coordinator(&mut self, group: &str) -> Result<i32, Error> {
        let begun = Instant::now();
        loop {
            match self.find_coordinator(group) {
                Err(error) if error.is_retriable() && error.code().is_some() && begun.elapsed() < COORDINATOR_WAIT => {}
                other => return other,
            }
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            sleep(PAUSE);
        }
    }

    fn find_coordinator(&mut self, group: &str) -> Result<i32, Error> {
        let key = KafkaString::from(group.to_owned());
        // Version 4 brought many groups in one request; a request has the fields of either.
        let request = find::FindCoordinatorRequestData::default().with_coordinator_keys(vec![key]);
        let answer = self.call(&request)?;
        let found = answer.coordinators.first();
        let found = found.ok_or_else(|| Error::GaveUp(format!("{group}: the node answered no coordinator")))?;
        accept(group, found.error_code, found.error_message.as_ref())?;
        self.brokers.insert(found.node_id, address(&found.host, found.port));
        self.coordinators.insert(group.to_owned(), found.node_id);
        Ok(found.node_id)
    }

    /// Asks the coordinator of a group; one that moves or loads is looked for again.
    pub(crate) fn call_coordinator<R: Request>(
        &mut self,
        group: &str,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, Error> {
        let begun = Instant::now();
        loop {
            let known = self.coordinators.get(group).copied();
            let id = known.map_or_else(|| self.coordinator(group), Ok)?;
            let answer = self.call_broker(id, request);
            match answer {
                Ok(answer) if !is_retriable(code(&answer)) || begun.elapsed() >= COORDINATOR_WAIT => return Ok(answer),
                Ok(_) => drop(self.coordinators.remove(group)),
                Err(error) => {
                    self.coordinators.remove(group);
                    return Err(error);
                }
            }
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            sleep(PAUSE);
        }
    }
}

/// `host:port`, with brackets round an address of IPv6.
fn address(host: &KafkaString, port: i32) -> String {
    let host = host.as_str();
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// ListOffsets' names for the two ends of a log.
pub(crate) const EARLIEST: i64 = -2;
pub(crate) const LATEST: i64 = -1;
/// How long brokers may take for one request.
pub(crate) const TIMEOUT_MS: i32 = 30_000;
const PAUSE: Duration = Duration::from_millis(100);
const CREATION_WAIT: Duration = Duration::from_secs(3);
const LEADER_WAIT: Duration = Duration::from_secs(15);
/// A first group waits until its topic is made; a restarted node reads its groups.
const COORDINATOR_WAIT: Duration = Duration::from_secs(30);
