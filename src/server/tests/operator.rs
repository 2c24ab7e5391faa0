//! What an operator sets, and reads in the log.

use super::node::{Bench, Client, batch};
use super::{framed, logged, logged_from};
use crate::io::sim::{Faults, World};
use crate::protocol::cold::metadata_request::MetadataRequestData;

fn broker_ids(client: &Client) -> Vec<i32> {
    let response = client.ask(&MetadataRequestData::default());
    assert_eq!(response.controller_id, response.brokers[0].node_id);
    response.brokers.iter().map(|broker| broker.node_id).collect()
}

#[test]
fn a_directory_keeps_its_node_id_where_none_is_set() {
    for shards in [1, 2] {
        let mut bench = Bench::on(World::new(31, Faults::default()), shards, Some(7), |_| ());
        for set in [None, Some(7), None] {
            assert_eq!(broker_ids(&bench.client()), [7]);
            bench.stop();
            bench.node_id = set;
            bench.start();
        }
        let bench = Bench::new(32, shards);
        assert_eq!(broker_ids(&bench.client()), [1]);
    }
}

#[test]
fn lines_about_peers_name_their_address() {
    let lines = logged(|| {
        let bench = super::Bench::new(34, 8 << 20, 60_000);
        let hostile = bench.connect();
        bench.send(&hostile, [&(-5_i32).to_be_bytes()[..], &[0; 100]].concat());
        assert!(bench.receive(&hostile, usize::MAX).is_empty());
        let idle = super::Bench::new(35, 8 << 20, 1_000);
        let socket = idle.connect();
        idle.send(&socket, framed(b"A only the beginning")[..7].to_vec());
        idle.world.run_for_ms(5_000);
    });
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("peer=127.0.0.1:") && !line.contains("Socket")), "{lines:?}");
}

#[test]
fn accepts_that_fail_are_said_once_and_go_on_by_themselves() {
    let lines = logged(|| {
        let bench = Bench::new(36, 2);
        bench.client().create("t", 1);
        for _ in 0..2 {
            bench.world.fail_accepts(true);
            let mut waiting = bench.client();
            bench.world.run_for_ms(20_000);
            bench.world.fail_accepts(false);
            bench.world.run_for_ms(2_000);
            let begun_ns = bench.world.now_ns();
            assert_eq!(waiting.fetch(0, 1, &[("t", 0, 0)])[0].0, 0);
            assert!(bench.world.now_ns() - begun_ns < 1_000_000_000);
        }
    });
    assert_eq!(lines.matches("no connections can be accepted").count(), 2, "{lines}");
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

#[test]
fn a_thousand_partitions_are_made_side_by_side() {
    let mut bench = Bench::new(37, 2);
    let mut client = bench.client();
    let took_ms = |bench: &Bench, client: &mut Client, topic: &str, partitions| {
        let begun_ns = bench.world.now_ns();
        client.create(topic, partitions);
        (bench.world.now_ns() - begun_ns) / 1_000_000
    };
    let (few, many) = (took_ms(&bench, &mut client, "few", 10), took_ms(&bench, &mut client, "many", 1_000));
    assert!(many < few * 10, "10 partitions take {few} ms, 1,000 take {many} ms");
    assert_eq!(client.produce(-1, &[("many", 999, batch(0, 1, 10))]), [(0, 0)]);
    bench.world.crash();
    bench.start();
    let mut client = bench.client();
    let there = client.metadata("many");
    assert!(there.len() == 1_000 && there.iter().all(|error| *error == 0));
    assert_eq!(client.produce(-1, &[("many", 0, batch(0, 1, 10)), ("many", 999, batch(0, 1, 10))]), [(0, 0), (0, 1)]);
}

#[test]
fn a_start_that_takes_long_says_what_it_is_at() {
    let lines = logged_from(tracing::Level::INFO, || {
        let stalls = Faults { stall_ppm: 500_000, ..Faults::default() };
        let bench = Bench::on(World::new(38, stalls), 2, None, |_| ());
        assert_eq!(broker_ids(&bench.client()), [1]);
        bench.world.run_for_ms(60_000);
    });
    let (during, after) = lines.split_once("serving partitions=0").expect("it serves in the end");
    assert!(during.contains("starting for 5 s: "), "{lines}");
    assert!(during.contains("opening the metadata log; operations under way on shard 0: "), "{lines}");
    assert!(!after.contains("starting for "), "{lines}");
}
