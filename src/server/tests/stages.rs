//! The stages that a request is told to have spent its time in: each once, and together the whole.

use super::node::{Bench, batch, produce_frame};
use crate::handlers::figures::histogram::Histogram;
use crate::handlers::figures::{Figures, Kind, Stage};
use crate::io::tally::Tally;
use crate::server::status::{Gauges, Phase};

impl Bench {
    fn each(&self, of: impl Fn(&Figures) -> &Histogram) -> (u64, u64) {
        let each = self.status.shards().iter().map(|shard| of(&shard.figures).counts());
        each.fold((0, 0), |(count, sum_ns), counts| (count + counts.count(), sum_ns + counts.sum_ns))
    }

    /// How often a stage was told on all shards, and its time.
    fn stage(&self, kind: Kind, stage: Stage) -> (u64, u64) {
        self.each(|figures| figures.stage(kind, stage))
    }

    fn count(&self, kind: Kind, stage: Stage) -> u64 {
        self.stage(kind, stage).0
    }

    /// How many requests were told on all shards, and their time; which is that of their stages but the wait for records.
    fn whole(&self, kind: Kind) -> (u64, u64) {
        let (count, sum_ns) = self.each(|figures| figures.whole(kind));
        let stages = Stage::ALL.iter().filter(|stage| **stage != Stage::Wait);
        let told_ns: u64 = stages.map(|stage| self.stage(kind, *stage).1).sum();
        assert_eq!(told_ns, sum_ns, "{kind:?}");
        (count, sum_ns)
    }
}

#[test]
fn each_stage_is_told_once_for_a_request_and_none_that_it_did_not_pass() {
    let bench = Bench::new(1, 1);
    let mut client = bench.client();
    client.create("t", 1);
    for n in 0..20 {
        assert_eq!(client.produce(-1, &[("t", 0, batch(n, 1, 100))])[0].0, 0);
    }
    let passed = [Stage::Read, Stage::Decode, Stage::Append, Stage::Write, Stage::Flush, Stage::Reply];
    for stage in Stage::ALL {
        let expected = if passed.contains(&stage) { 20 } else { 0 };
        assert_eq!(bench.count(Kind::Produce, stage), expected, "{stage:?}");
    }
    assert!([Stage::Write, Stage::Flush].iter().all(|stage| bench.stage(Kind::Produce, *stage).1 > 0));
    for n in 0..10 {
        assert_eq!(client.produce(1, &[("t", 0, batch(n, 1, 100))])[0].0, 0);
    }
    assert_eq!((bench.count(Kind::Produce, Stage::Write), bench.count(Kind::Produce, Stage::Flush)), (30, 20));
    for n in 0..5 {
        client.send(produce_frame(7, 0, &[("t", 0, batch(n, 1, 100))]));
    }
    bench.world.run_for_ms(1_000);
    let told = [Stage::Append, Stage::Write, Stage::Reply].map(|stage| bench.count(Kind::Produce, stage));
    assert_eq!(told, [35, 30, 30], "nobody waits for the write of acks=0, and nobody is answered");
    assert_eq!(client.produce(-1, &[("nope", 0, batch(0, 1, 100))])[0].0, 3);
    assert_eq!((bench.count(Kind::Produce, Stage::Append), bench.count(Kind::Produce, Stage::Reply)), (35, 31));
    assert_eq!(bench.whole(Kind::Produce).0, 36);

    for n in 0..30 {
        assert_eq!(client.fetch(0, 1, &[("t", 0, n)])[0].0, 0);
    }
    let passed = [Stage::Read, Stage::Decode, Stage::Load, Stage::Reply];
    for stage in Stage::ALL {
        let expected = if passed.contains(&stage) { 30 } else { 0 };
        assert_eq!(bench.count(Kind::Fetch, stage), expected, "{stage:?}");
    }
    assert_eq!(bench.whole(Kind::Fetch).0, 30);
    let others = bench.whole(Kind::Other).0;
    assert_eq!(bench.count(Kind::Other, Stage::Handle), others);
    assert!(others >= 1, "the topic was made");
}

#[test]
fn what_goes_to_another_shard_has_a_hop_and_what_stays_has_none() {
    for seed in 0..10 {
        let bench = Bench::new(seed, 2);
        let mut client = bench.client();
        client.create("t", 2);
        // Partitions lie on the shards in turn, the connection on one of them.
        for n in 0..20 {
            for partition in [0, 1, 1] {
                assert_eq!(client.produce(-1, &[("t", partition, batch(n, 1, 100))])[0].0, 0);
            }
        }
        let hops = bench.count(Kind::Produce, Stage::Hop);
        assert!(hops == 20 || hops == 40, "seed {seed}: {hops} hops");
        let told = [Stage::Read, Stage::Append, Stage::Write, Stage::Flush, Stage::Reply];
        assert_eq!(told.map(|stage| bench.count(Kind::Produce, stage)), [60; 5]);
        for n in 0..20 {
            for partition in [0, 1, 1] {
                assert_eq!(client.fetch(0, 1, &[("t", partition, n)])[0].0, 0);
            }
        }
        assert_eq!(bench.count(Kind::Fetch, Stage::Hop), hops, "seed {seed}");
        // One request for both: it is told once.
        assert_eq!(client.produce(-1, &[("t", 0, batch(0, 1, 100)), ("t", 1, batch(0, 1, 100))]).len(), 2);
        assert_eq!(client.fetch(0, 1, &[("t", 0, 0), ("t", 1, 0)]).len(), 2);
        assert_eq!((bench.count(Kind::Produce, Stage::Append), bench.count(Kind::Fetch, Stage::Load)), (61, 61));
        assert_eq!((bench.whole(Kind::Produce).0, bench.whole(Kind::Fetch).0), (61, 61));
    }
}

#[test]
fn a_long_poll_tells_its_wait_apart() {
    let bench = Bench::new(3, 2);
    let (mut consumer, mut producer) = (bench.client(), bench.client());
    producer.create("t", 2);
    for partition in 0..2 {
        consumer.send(super::node::fetch_frame(30_000, 1, 1 << 20, &[("t", partition, 0)]));
        bench.world.run_for_ms(2_000);
        assert_eq!(producer.produce(-1, &[("t", partition, batch(0, 1, 50))]), [(0, 0)]);
        assert_eq!(consumer.fetched()[0].1, 1);
    }
    let (waits, waited_ns) = bench.stage(Kind::Fetch, Stage::Wait);
    assert!(waits >= 2 && waited_ns >= 3_900_000_000, "{waits} waits of {waited_ns} ns");
    let (count, sum_ns) = bench.whole(Kind::Fetch);
    assert!(count == 2 && sum_ns < 1_000_000_000, "{sum_ns} ns");
    // Nothing comes: what it waited is no time that it took either.
    assert_eq!(consumer.fetch(700, 1, &[("t", 0, 1)])[0].1, 1);
    assert!(bench.whole(Kind::Fetch).1 < 1_000_000_000);
}

#[test]
fn a_node_says_where_it_is_and_what_it_has() {
    let mut bench = Bench::new(5, 2);
    assert_eq!(bench.status.phase(), Phase::Starting);
    let (mut client, _other) = (bench.client(), bench.client());
    client.create("t", 3);
    assert_eq!(client.produce(-1, &[("t", 2, batch(0, 1, 1_000))])[0].0, 0);
    bench.world.run_for_ms(2_000);
    assert_eq!(bench.status.phase(), Phase::Serving);
    let sum =
        |of: fn(&Gauges) -> &Tally| bench.status.shards().iter().map(|shard| of(&shard.gauges).get()).sum::<u64>();
    assert_eq!((sum(|gauges| &gauges.connections), sum(|gauges| &gauges.partitions)), (2, 3));
    assert!(sum(|gauges| &gauges.log_bytes) > 1_000 && sum(|gauges| &gauges.tail_bytes) > 1_000);
    bench.stop();
    assert_eq!(bench.status.phase(), Phase::Stopping);
    assert_eq!(bench.status.shards().iter().map(|shard| shard.gauges.connections.get()).sum::<u64>(), 0);
}

#[test]
fn a_frame_that_comes_in_pieces_is_read_for_as_long_as_it_comes() {
    let bench = Bench::new(4, 1);
    let mut client = bench.client();
    client.create("t", 1);
    let frame = produce_frame(7, -1, &[("t", 0, batch(0, 10, 3_000))]);
    let (head, rest) = frame.split_at(3);
    client.send(head.to_vec());
    bench.world.run_for_ms(300);
    client.send(rest.to_vec());
    assert_eq!(client.produced(), [(0, 0)]);
    let (count, read_ns) = bench.stage(Kind::Produce, Stage::Read);
    assert!(count == 1 && (250_000_000..400_000_000).contains(&read_ns), "{read_ns} ns");
    bench.whole(Kind::Produce);
}
