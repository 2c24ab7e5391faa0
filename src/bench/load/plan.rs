//! Who sends what where: connections, their partitions and their frames, made before the clock starts.
//!
//! A connection goes to one broker and has partitions that this broker leads. Where there are consumers, each partition
//! is written by exactly one connection, so that the k-th batch sent to it is the k-th batch in it, and consumer and
//! producer of a partition share a thread: nothing is shared between threads.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::connection::{Connection, Frame};
use crate::bench::parameters::{Parameters, Workload};
use crate::bench::wire;

/// Where a topic's partitions are led: `host:port` by partition, in the partitions' order.
#[derive(Clone, Debug)]
pub struct Target {
    /// The topic.
    pub topic: String,
    /// The address of each partition's leader.
    pub leaders: Vec<String>,
}

/// A Produce request that is sent again and again.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) frame: Frame,
    pub(super) partitions: Vec<i32>,
    /// Payload: bytes of its batches, and their records.
    pub(super) bytes: u64,
    pub(super) records: u64,
}

/// What one thread does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) producers: Vec<(Connection, Vec<Arc<Request>>)>,
    /// With the partitions that each fetches.
    pub(super) consumers: Vec<(Connection, Vec<i32>)>,
    /// Whether it has to know which batch was due when.
    pub(super) matches: bool,
}

/// One connection of the load before it is opened.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    address: String,
    partitions: Vec<i32>,
}

/// The plans of `threads` threads: as many as have something to do.
pub(super) fn plans(
    target: &Target,
    workload: Workload,
    parameters: &Parameters,
    batch: &Arc<[u8]>,
    threads: usize,
) -> io::Result<Vec<Plan>> {
    let reads = workload != Workload::Produce;
    let lines = lines(target, parameters.connections, reads && workload != Workload::CatchUp);
    let mut plans: Vec<Plan> = Vec::new();
    let mut maker = Maker { target, parameters, batch, made: BTreeMap::new() };
    for thread in 0..threads.min(lines.len()).max(1) {
        let own: Vec<&Line> = lines.iter().skip(thread).step_by(threads).collect();
        let mut plan = Plan { producers: Vec::new(), consumers: Vec::new(), matches: reads };
        for line in &own {
            if workload == Workload::CatchUp {
                plan.consumers.push((Connection::open(&line.address)?, line.partitions.clone()));
            } else {
                plan.producers.push((Connection::open(&line.address)?, maker.requests(&line.partitions)?));
            }
        }
        if reads && workload != Workload::CatchUp {
            plan.consumers = consumers(&own, parameters.consumers)?;
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// Each consumer has a connection to each broker of the thread's partitions.
fn consumers(lines: &[&Line], count: usize) -> io::Result<Vec<(Connection, Vec<i32>)>> {
    let mut by_broker: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for line in lines {
        by_broker.entry(&line.address).or_default().extend(&line.partitions);
    }
    let mut consumers = Vec::new();
    for _ in 0..count {
        for (address, partitions) in &by_broker {
            consumers.push((Connection::open(address)?, partitions.clone()));
        }
    }
    Ok(consumers)
}

/// `connections` connections, spread over the brokers. `owned`: each partition belongs to one of them; else each
/// has all partitions of its broker, beginning with another.
fn lines(target: &Target, connections: usize, owned: bool) -> Vec<Line> {
    let mut led: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (partition, address) in target.leaders.iter().enumerate() {
        led.entry(address).or_default().push(i32::try_from(partition).unwrap_or(i32::MAX));
    }
    let brokers: Vec<(&str, Vec<i32>)> = led.into_iter().collect();
    let mut lines = Vec::new();
    for index in 0..connections.max(brokers.len()) {
        let (address, led) = &brokers[index % brokers.len()];
        let nth = index / brokers.len();
        let siblings = (connections.max(brokers.len()) - index % brokers.len()).div_ceil(brokers.len());
        let partitions: Vec<i32> = if owned {
            led.iter().skip(nth).step_by(siblings).copied().collect()
        } else {
            led.iter().cycle().skip(nth % led.len()).take(led.len()).copied().collect()
        };
        if !partitions.is_empty() {
            lines.push(Line { address: (*address).to_owned(), partitions });
        }
    }
    lines
}

/// Makes requests; connections that send the same share them.
struct Maker<'a> {
    target: &'a Target,
    parameters: &'a Parameters,
    batch: &'a Arc<[u8]>,
    made: BTreeMap<Vec<i32>, Arc<Request>>,
}

impl Maker<'_> {
    fn requests(&mut self, partitions: &[i32]) -> io::Result<Vec<Arc<Request>>> {
        let acks = self.parameters.acks_code().map_err(io::Error::other)?;
        let each = self.parameters.partitions_per_request;
        let topic = &self.target.topic;
        let mut requests = Vec::new();
        for group in partitions.chunks(each) {
            let request = self.made.entry(group.to_vec()).or_insert_with(|| {
                let frame = if group.len() == 1 {
                    let head = wire::produce_head(topic, acks, group, self.batch.len());
                    Frame { head: head.into(), batch: Arc::clone(self.batch) }
                } else {
                    let head = wire::produce_to(topic, acks, group, self.batch);
                    Frame { head: head.into(), batch: Arc::from([]) }
                };
                let count = group.len() as u64;
                Arc::new(Request {
                    frame,
                    partitions: group.to_vec(),
                    bytes: count * self.batch.len() as u64,
                    records: count * self.parameters.records_per_batch as u64,
                })
            });
            requests.push(Arc::clone(request));
        }
        Ok(requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(leaders: &[&str]) -> Target {
        Target { topic: "t".to_owned(), leaders: leaders.iter().map(|leader| (*leader).to_owned()).collect() }
    }

    #[test]
    fn an_owned_partition_has_one_connection_to_its_leader() {
        let target = target(&["a:1", "b:1", "a:1", "b:1", "a:1", "a:1", "a:1"]);
        for connections in 1..12 {
            let lines = lines(&target, connections, true);
            let mut seen: Vec<i32> = Vec::new();
            for line in &lines {
                for partition in &line.partitions {
                    let leader = &target.leaders[usize::try_from(*partition).expect("small")];
                    assert_eq!(&line.address, leader, "{connections} connections");
                    seen.push(*partition);
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6], "{connections} connections");
        }
    }

    #[test]
    fn shared_partitions_are_begun_at_different_ones() {
        let lines = lines(&target(&["a:1", "a:1", "a:1"]), 4, false);
        let firsts: Vec<i32> = lines.iter().map(|line| line.partitions[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 0]);
        assert!(lines.iter().all(|line| line.partitions.len() == 3));
    }
}
