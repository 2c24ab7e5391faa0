//! What clients see of a node whose disk is full, and of one that takes away what they are reading.

use std::path::Path;

use super::node::{Bench, batch, fetch_frame, produce_frame, stored};
use crate::io::sim::{Device, Faults, World};
use crate::protocol::ErrorCode;

#[test]
fn a_full_disk_is_an_error_in_time_and_reads_go_on() {
    for acks in [1, -1] {
        let world = World::new(11, Faults::default());
        // Journals, metadata and what is kept in reserve leave about 10 MiB.
        world.mount(Path::new("/data"), Device::Overwrite, 24 << 20);
        let bench = Bench::on(world, 2, None, |storage| storage.reserve_bytes = 4 << 20);
        let mut client = bench.client();
        client.create("t", 4);
        let sent: Vec<_> = (0..4).map(|p| ("t", p, batch(0, 10, 9_000))).collect();
        let full = ErrorCode::KafkaStorageError.code();
        let mut ends = [0; 4];
        // Ten requests at a time, so that some are under way when the disk is full.
        let answers = loop {
            let begun_ns = bench.world.now_ns();
            client.send((0..10).flat_map(|_| produce_frame(7, acks, &sent)).collect());
            let answers: Vec<_> = (0..10).flat_map(|_| client.produced()).collect();
            let took_ms = (bench.world.now_ns() - begun_ns) / 1_000_000;
            assert!(took_ms < 5_000, "acks={acks}: {took_ms} ms");
            for (at, (error, base_offset)) in answers.iter().enumerate().filter(|(_, (error, _))| *error == 0) {
                assert_eq!(*error, 0);
                ends[at % 4] = base_offset + 10;
            }
            if answers.iter().any(|(error, _)| *error != 0) {
                break answers;
            }
        };
        assert!(answers.iter().all(|(error, _)| [0, full].contains(error)), "{answers:?}");
        assert!(ends.iter().all(|end| *end > 50), "there was room for some: {ends:?}");
        let begun_ns = bench.world.now_ns();
        // Each shard finds out by itself.
        let refused = (0..20).any(|_| client.produce(acks, &sent).iter().all(|(error, _)| *error == full));
        assert!(refused);
        for (partition, end) in (0..4).zip(ends) {
            let fetched = client.fetch(1_000, 1, &[("t", partition, end - 10)]);
            assert_eq!((fetched[0].0, fetched[0].2.is_empty()), (0, false));
        }
        let took_ms = (bench.world.now_ns() - begun_ns) / 1_000_000;
        assert!(took_ms < 10_000, "acks={acks}: {took_ms} ms");
    }
}

#[test]
fn a_reply_that_stalls_is_finished_although_retention_takes_its_segment() {
    for shards in [1, 2] {
        let bench = Bench::new(13, shards);
        let (mut producer, consumer) = (bench.client(), bench.client());
        producer.create_with(
            "t",
            2,
            &[("segment.bytes", "1048576"), ("retention.bytes", "1048576"), ("retention.ms", "-1")],
        );
        let mut expected = [Vec::new(), Vec::new()];
        for n in 0..30_usize {
            for (partition, expected) in (0..).zip(&mut expected) {
                let sent = batch(n, 10, 3_000);
                let offset = i64::try_from(n * 10).expect("small");
                expected.extend(stored(&sent, offset, 0));
                assert_eq!(producer.produce(-1, &[("t", partition, sent)]), [(0, offset)]);
            }
        }
        consumer.send(fetch_frame(0, 1, 50 << 20, &[("t", 0, 0), ("t", 1, 0)]));
        bench.world.run_for_ms(10_000);
        for n in 0..400 {
            let sent = batch(n, 10, 3_000);
            assert_eq!(producer.produce(1, &[("t", 0, sent.clone()), ("t", 1, sent)]).len(), 2);
        }
        bench.world.run_for_ms(100_000);
        for partition in [0, 1] {
            let gone = producer.fetch(0, 1, &[("t", partition, 0)])[0].0;
            assert_eq!(gone, ErrorCode::OffsetOutOfRange.code(), "the log begins later now");
        }
        for ((error, _, records), expected) in consumer.fetched().iter().zip(&expected) {
            assert_eq!(*error, 0);
            assert!(records == expected, "{} of {} bytes, {shards} shards", records.len(), expected.len());
        }
        // What nobody reads any more goes: two or three segments and their neighbours' room are left of twelve.
        bench.world.run_for_ms(200_000);
        let first = |(path, _): &(std::path::PathBuf, _)| path.ends_with("t-0/00000000000000000000.log");
        assert!(!bench.world.files().iter().any(first));
    }
}
