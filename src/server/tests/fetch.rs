//! What one Fetch over several shards answers: budgets in request order, and waits for more than one byte.

use super::node::{Bench, Client, batch, fetch_frame, stored};

/// Four partitions over two shards, with as many batches of the same size in each. Answers the bytes of one batch.
fn filled(bench: &Bench, batches: usize) -> (Client, usize) {
    let mut client = bench.client();
    client.create("t", 4);
    let one = batch(0, 10, 1_000);
    for n in 0..batches {
        let sent: Vec<_> = (0..4).map(|p| ("t", p, one.clone())).collect();
        let offset = i64::try_from(n * 10).expect("small");
        assert_eq!(client.produce(-1, &sent), [(0, offset); 4]);
    }
    (client, one.len())
}

#[test]
fn what_does_not_fit_is_trimmed_by_whole_batches_in_request_order() {
    let bench = Bench::new(2, 2);
    let (client, size) = filled(&bench, 4);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 0, 2, 3]] {
        let wanted = order.map(|p| ("t", p, 0));
        for (fitting, slack) in [(0, 1), (1, 0), (2, 10), (5, 700), (6, 0), (11, 61), (15, 9), (16, 0)] {
            let max_bytes = fitting * size + slack;
            client.send(fetch_frame(0, 1, i32::try_from(max_bytes).expect("small"), &wanted));
            let batches = fitting.max(1);
            let expected: Vec<usize> = (0..4).map(|at| batches.saturating_sub(at * 4).min(4)).collect();
            let given: Vec<usize> = client.fetched().iter().map(|(_, _, records)| records.len() / size).collect();
            assert_eq!(given, expected, "{order:?}, {fitting} batches and {slack} bytes");
        }
    }
}

#[test]
fn a_batch_that_is_too_large_for_what_is_left_does_not_hide_the_partitions_behind_it() {
    for seed in 0..4 {
        let bench = Bench::new(seed, 2);
        let mut client = bench.client();
        client.create("t", 4);
        let (small, large) = (batch(0, 1, 100), batch(0, 10, 1_000));
        let sent = [("t", 0, small.clone()), ("t", 1, large.clone()), ("t", 2, small.clone()), ("t", 3, small.clone())];
        assert_eq!(client.produce(-1, &sent), [(0, 0); 4]);
        let max_bytes = i32::try_from(3 * small.len()).expect("small");
        for (order, expected) in [
            ([0, 1, 2, 3], [small.len(), 0, small.len(), small.len()]),
            ([1, 0, 2, 3], [large.len(), 0, 0, 0]),
            ([3, 2, 1, 0], [small.len(), small.len(), 0, small.len()]),
        ] {
            client.send(fetch_frame(0, 1, max_bytes, &order.map(|p| ("t", p, 0))));
            let given: Vec<usize> = client.fetched().iter().map(|(_, _, records)| records.len()).collect();
            assert_eq!(given, expected, "{order:?}, seed {seed}");
        }
    }
}

#[test]
fn a_wait_for_many_bytes_ends_when_all_shards_have_them_together() {
    for seed in 0..4 {
        let bench = Bench::new(seed, 2);
        let (consumer, mut producer) = (bench.client(), bench.client());
        producer.create("t", 2);
        let mut from = [0, 0];
        for (records, partition) in [([40, 60], 0), ([60, 40], 1), ([50, 50], 0)] {
            let wanted = [("t", 0, from[0]), ("t", 1, from[1])];
            // Less than each of the two has, and as much as they have together.
            let sent = records.map(|count| batch(0, count, 100));
            let min_bytes = i32::try_from(sent[0].len() + sent[1].len()).expect("small");
            consumer.send(fetch_frame(20_000, min_bytes, 1 << 20, &wanted));
            bench.world.run_for_ms(100);
            let begun_ns = bench.world.now_ns();
            for at in [partition, 1 - partition] {
                let number = i32::try_from(at).expect("small");
                assert_eq!(producer.produce(-1, &[("t", number, sent[at].clone())]), [(0, from[at])]);
                bench.world.run_for_ms(50);
            }
            for (at, (error, _, given)) in consumer.fetched().into_iter().enumerate() {
                assert_eq!(error, 0);
                assert!(given == stored(&sent[at], from[at], 0), "seed {seed}, {records:?}: {} bytes", given.len());
                from[at] += i64::try_from(records[at]).expect("small");
            }
            let took_ms = (bench.world.now_ns() - begun_ns) / 1_000_000;
            assert!(took_ms < 5_000, "seed {seed}, {records:?}: {took_ms} ms");
        }
    }
}

#[test]
fn what_the_limits_cut_is_not_waited_for() {
    for shards in [1, 2] {
        let bench = Bench::new(5, shards);
        let (client, size) = filled(&bench, 4);
        let begun_ns = bench.world.now_ns();
        // Two batches fit; the third would pass the limit, which is also what the client waits for.
        let max_bytes = i32::try_from(2 * size + size / 2).expect("small");
        client.send(fetch_frame(20_000, max_bytes, max_bytes, &[("t", 0, 0)]));
        assert_eq!(client.fetched()[0].2.len(), 2 * size);
        let took_ms = (bench.world.now_ns() - begun_ns) / 1_000_000;
        assert!(took_ms < 1_000, "{shards} shards: {took_ms} ms");
    }
}

#[test]
fn fetches_of_more_than_the_read_buffers_hold_are_all_answered() {
    for shards in [1, 2] {
        let bench = Bench::with(6, shards, |storage| {
            (storage.tail_bytes, storage.read_bytes) = (1 << 20, 256 << 10);
        });
        let mut producer = bench.client();
        producer.create("t", 4);
        let one = batch(0, 10, 3_000);
        for n in 0..60 {
            let sent: Vec<_> = (0..4).map(|p| ("t", p, one.clone())).collect();
            assert_eq!(producer.produce(-1, &sent), [(0, n * 10); 4]);
        }
        // Several at once, each of which wants more than there is, in orders that wait for one another.
        let consumers: Vec<_> = (0..6).map(|_| bench.client()).collect();
        for (n, consumer) in (0..).zip(&consumers) {
            let wanted: Vec<_> = (0..4).map(|p| ("t", (p + n) % 4, 0)).collect();
            consumer.send(fetch_frame(2_000, 1, 50 << 20, &wanted));
        }
        for consumer in &consumers {
            let answers = consumer.fetched();
            assert_eq!(answers.iter().map(|(error, ..)| *error).collect::<Vec<_>>(), [0; 4]);
            let bytes: usize = answers.iter().map(|(.., records)| records.len()).sum();
            assert!(bytes >= one.len(), "{shards} shards: {bytes} bytes");
        }
    }
}
