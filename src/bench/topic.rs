//! The topic of a row: made before, deleted after, on whatever broker.

use std::io;
use std::time::{Duration, Instant};

use super::load::Target;
use crate::client::cluster::{LATEST, TIMEOUT_MS};
use crate::client::{Cluster, Error, Stop, accept};
use crate::protocol::cold::{KafkaString, create_topics_request as create, delete_topics_request as delete};
use crate::protocol::{ApiKey, ErrorCode};

/// Makes and deletes topics.
pub struct Topics {
    cluster: Cluster,
}

impl Topics {
    /// Connects, and looks whether the broker speaks what the load sends.
    ///
    /// # Errors
    /// Where it cannot be reached, or does not.
    pub fn open(bootstrap: &str) -> io::Result<Self> {
        let mut cluster = Cluster::open(bootstrap, &Stop::default()).map_err(other)?;
        cluster.metadata(Some(&[]), false).map_err(other)?;
        let first = cluster.broker_ids().first().copied();
        let first = first.ok_or_else(|| io::Error::other(format!("{bootstrap} names no broker")))?;
        let connection = cluster.connect(first).map_err(other)?;
        connection.require(ApiKey::Produce, 7).map_err(other)?;
        connection.require(ApiKey::Fetch, 11).map_err(other)?;
        Ok(Self { cluster })
    }

    /// A new and empty topic; one of that name is deleted first.
    ///
    /// # Errors
    /// What the broker says to it, or that it has no leaders after a while.
    pub fn make(&mut self, name: &str, partitions: i32, configs: &[(String, String)]) -> io::Result<Target> {
        self.delete(name)?;
        // A broker deletes topics in its own time, and until then the name is taken.
        let begun = Instant::now();
        loop {
            match self.create(name, partitions, configs) {
                Err(error)
                    if error.code() == Some(ErrorCode::TopicAlreadyExists) && begun.elapsed() < DELETION_WAIT =>
                {
                    std::thread::sleep(PAUSE);
                }
                other_result => break other_result.map_err(other)?,
            }
        }
        let wanted = usize::try_from(partitions).unwrap_or(0);
        let begun = Instant::now();
        loop {
            match self.cluster.topic_with_leaders(name, false) {
                Ok(topic) if topic.partitions.len() == wanted => {
                    let address = |leader: i32| self.cluster.address(leader).map_err(other);
                    let leaders = topic.partitions.iter().map(|partition| address(partition.leader));
                    let leaders = leaders.collect::<io::Result<_>>()?;
                    self.wait_for_leaders(name, partitions)?;
                    return Ok(Target { topic: name.to_owned(), leaders });
                }
                Ok(_) if begun.elapsed() < CREATION_WAIT => {}
                Ok(topic) => {
                    let text = format!("{name} has {} partitions, not {wanted}", topic.partitions.len());
                    return Err(io::Error::other(text));
                }
                Err(error) if error.is_retriable() && begun.elapsed() < CREATION_WAIT => {}
                Err(error) => return Err(other(error)),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until each leader knows that it is one: Apache Kafka names it in its metadata a moment before, and refuses
    /// the first records with NOT_LEADER_OR_FOLLOWER.
    fn wait_for_leaders(&mut self, name: &str, partitions: i32) -> io::Result<()> {
        let all: Vec<(i32, i64)> = (0..partitions).map(|partition| (partition, LATEST)).collect();
        let ends = self.cluster.offsets_at(name, &all).map_err(other)?;
        match ends.iter().find(|(_, end)| **end != 0) {
            Some((partition, end)) => {
                Err(io::Error::other(format!("{name}-{partition} was just made and ends at {end}, not at 0")))
            }
            None => Ok(()),
        }
    }

    fn create(&mut self, name: &str, partitions: i32, configs: &[(String, String)]) -> Result<(), Error> {
        let settings = configs.iter().map(|(key, value)| {
            create::CreatableTopicConfig::default()
                .with_name(KafkaString::from(key.clone()))
                .with_value(Some(KafkaString::from(value.clone())))
        });
        let topic = create::CreatableTopic::default()
            .with_name(KafkaString::from(name.to_owned()))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(settings.collect());
        let request = create::CreateTopicsRequestData::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.cluster.call(&request)?;
        answer.topics.iter().try_for_each(|topic| accept(name, topic.error_code, topic.error_message.as_ref()))
    }

    /// Deletes a topic, if there is one.
    ///
    /// # Errors
    /// What the broker says to it.
    pub fn delete(&mut self, name: &str) -> io::Result<()> {
        let names = vec![KafkaString::from(name.to_owned())];
        let state = delete::DeleteTopicState::default().with_name(Some(KafkaString::from(name.to_owned())));
        // Version 6 names topics in another field; a request has the fields of either.
        let request = delete::DeleteTopicsRequestData::default()
            .with_topic_names(names)
            .with_topics(vec![state])
            .with_timeout_ms(TIMEOUT_MS);
        let answer = self.cluster.call(&request).map_err(other)?;
        answer.responses.iter().try_for_each(|topic| {
            match accept(name, topic.error_code, topic.error_message.as_ref()) {
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(()),
                result => result.map_err(other),
            }
        })
    }
}

fn other(error: Error) -> io::Error {
    io::Error::other(error.to_string())
}

const PAUSE: Duration = Duration::from_millis(50);
const DELETION_WAIT: Duration = Duration::from_secs(30);
const CREATION_WAIT: Duration = Duration::from_secs(30);
