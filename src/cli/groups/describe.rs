//! `ringmain groups describe`: offsets and lag of each partition, members and what they have.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::cli::output::{Output, table};
use crate::client::cluster::LATEST;
use crate::client::consumer::{offsets, protocol};
use crate::client::{Cluster, Error};
use crate::protocol::ErrorCode;

pub(super) const HELP: &str = "\
Examples:
  ringmain groups describe readers
  ringmain groups describe readers --members
  ringmain groups describe --json              # every group, an object a line

LAG is the end of the log less what is committed: how many records the group has still to read.";

/// A group, its members and its partitions.
#[derive(Serialize)]
pub(super) struct Described {
    group: String,
    state: String,
    protocol: String,
    partitions: Vec<Partition>,
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    log_end: Option<i64>,
    lag: Option<i64>,
    /// Who reads it.
    member: Option<String>,
}

#[derive(Serialize)]
struct Member {
    member: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    client: String,
    host: String,
    partitions: protocol::Partitions,
}

/// Asks the coordinator for members and offsets, and the leaders for the ends of the logs.
pub(super) fn describe(cluster: &mut Cluster, group: &str) -> Result<Described, Error> {
    let found = super::described(cluster, group)?;
    let committed = offsets::committed(cluster, group, None)?;
    if found.group_state.as_str() == DEAD && committed.is_empty() {
        let message = "there is no such group".to_owned();
        let code = crate::client::Code(ErrorCode::GroupIdNotFound.code());
        return Err(Error::Kafka { what: group.to_owned(), code, message: Some(message) });
    }
    let members = found.members.iter().map(|member| Member {
        member: member.member_id.as_str().to_owned(),
        instance: member.group_instance_id.as_ref().map(|id| id.as_str().to_owned()),
        client: member.client_id.as_str().to_owned(),
        host: member.client_host.as_str().trim_start_matches('/').to_owned(),
        partitions: protocol::assigned(&member.member_assignment).unwrap_or_default(),
    });
    let members: Vec<Member> = members.collect();
    let mut readers = BTreeMap::new();
    for member in &members {
        for (topic, numbers) in &member.partitions {
            readers.extend(numbers.iter().map(|number| ((topic.clone(), *number), member.member.clone())));
        }
    }
    let keys: BTreeSet<offsets::Key> = committed.keys().chain(readers.keys()).cloned().collect();
    let ends = ends(cluster, &keys);
    let partitions = keys.into_iter().map(|key| {
        let (committed, log_end) = (committed.get(&key).copied(), ends.get(&key).copied());
        let lag = log_end.zip(committed).map(|(end, committed)| (end - committed).max(0));
        let member = readers.get(&key).cloned();
        Partition { topic: key.0, partition: key.1, committed, log_end, lag, member }
    });
    Ok(Described {
        group: group.to_owned(),
        state: found.group_state.as_str().to_owned(),
        protocol: found.protocol_data.as_str().to_owned(),
        partitions: partitions.collect(),
        members,
    })
}

/// The ends of the logs. A topic that is gone has none, and that is no reason to show nothing.
pub(super) fn ends(cluster: &mut Cluster, keys: &BTreeSet<offsets::Key>) -> BTreeMap<offsets::Key, i64> {
    let mut by_topic: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
    for (topic, partition) in keys {
        by_topic.entry(topic).or_default().push((*partition, LATEST));
    }
    let mut ends = BTreeMap::new();
    for (topic, wanted) in by_topic {
        let found = cluster.offsets_at(topic, &wanted).unwrap_or_default();
        ends.extend(found.into_iter().map(|(partition, offset)| ((topic.to_owned(), partition), offset)));
    }
    ends
}

impl Described {
    pub(super) fn print(self, members: bool, output: &mut Output) {
        let protocol = if self.protocol.is_empty() { "no assignor" } else { &self.protocol };
        output.line(format_args!("{} is {}, {} members, {protocol}", self.group, self.state, self.members.len()));
        let shown = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        if members {
            let rows = self.members.into_iter().map(|member| {
                let topics = member.partitions.into_iter().map(|(topic, numbers)| {
                    let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
                    format!("{topic}({})", numbers.join(","))
                });
                let partitions = topics.collect::<Vec<_>>().join(" ");
                let instance = member.instance.unwrap_or_else(|| "-".to_owned());
                vec![member.member, instance, member.client, member.host, partitions]
            });
            table(output, &["MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"], rows.collect());
        } else {
            let rows = self.partitions.into_iter().map(|found| {
                let (committed, end, lag) = (shown(found.committed), shown(found.log_end), shown(found.lag));
                let member = found.member.unwrap_or_else(|| "-".to_owned());
                vec![found.topic, found.partition.to_string(), committed, end, lag, member]
            });
            table(output, &["TOPIC", "PARTITION", "COMMITTED", "LOG-END", "LAG", "MEMBER"], rows.collect());
        }
    }
}

const DEAD: &str = "Dead";
