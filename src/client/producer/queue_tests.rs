//! What becomes of batches that are answered with errors, without a socket.

use std::time::{Duration, Instant};

use super::batch::{Batch, NewRecord, OpenBatch, Place, ProducerId};
use super::queue::Shared;
use super::{Config, is_appended};
use crate::client::cluster::{Leader, Topic};
use crate::client::{Cluster, Error, Stop};
use crate::protocol::ErrorCode;
use crate::record::Compression;

const BROKER: i32 = 7;

fn shared(change: impl FnOnce(&mut Config)) -> Shared {
    let mut config = Config {
        acks: -1,
        compression: Compression::None,
        enable_idempotence: true,
        batch_size: 1 << 16,
        linger: Duration::ZERO,
        max_in_flight: 5,
        buffer_memory: 1 << 20,
        delivery_timeout: Duration::from_secs(60),
        max_message_bytes: None,
        sources: vec!["file".to_owned()],
    };
    change(&mut config);
    let partitions = (0..2).map(|partition| Leader { partition, leader: BROKER }).collect();
    let topic = Topic { name: "orders".to_owned(), partitions };
    Shared::new(config, Cluster::unconnected("127.0.0.1:1", &Stop::default()), topic)
}

/// A batch of one record, of the line after its number.
fn batch(id: u64) -> Batch {
    let mut open = OpenBatch::new(Vec::new(), Instant::now());
    let place = Place { source: 0, line: id + 1 };
    open.push(&NewRecord { key: None, value: Some(b"value"), headers: &[0], timestamp: 0, place });
    open.close(id, ProducerId { id: 1, epoch: 0 }, i32::try_from(id).expect("small"), Instant::now())
}

fn queued(shared: &Shared, ids: std::ops::Range<u64>) {
    for id in ids {
        shared.enqueue(0, batch(id)).expect("there is room");
    }
}

fn take(shared: &Shared) -> Option<Batch> {
    let mut taken = shared.take_ready(&mut shared.lock(), BROKER);
    assert!(taken.len() <= 1, "one batch of a partition in a request");
    taken.pop().map(|(_, batch)| batch)
}

fn take_in_time(shared: &Shared) -> Batch {
    loop {
        if let Some(batch) = take(shared) {
            return batch;
        }
        std::thread::yield_now();
    }
}

fn answer(shared: &Shared, batch: Batch, code: ErrorCode) {
    shared.answered(&mut shared.lock(), 0, batch, code.code(), None);
}

#[test]
fn what_is_sent_again_keeps_its_order() {
    let shared = shared(|_| ());
    queued(&shared, 0..4);
    let (first, second, third) = (take_in_time(&shared), take_in_time(&shared), take_in_time(&shared));
    answer(&shared, first, ErrorCode::NotLeaderOrFollower);
    assert!(take(&shared).is_none(), "not at once");
    assert!(shared.lock().refresh_at.is_some(), "leaders are looked for");
    // Those behind it were out of order because of it.
    answer(&shared, second, ErrorCode::OutOfOrderSequenceNumber);
    answer(&shared, third, ErrorCode::OutOfOrderSequenceNumber);
    let ids: Vec<u64> = (0..4).map(|_| take_in_time(&shared).id).collect();
    assert_eq!(ids, [0, 1, 2, 3]);
    shared.check().expect("nothing of it is for good");
}

#[test]
fn the_first_batch_out_of_order_is_an_error_with_its_place() {
    let shared = shared(|_| ());
    queued(&shared, 0..2);
    let first = take_in_time(&shared);
    assert_eq!(shared.progress().unacknowledged, Some(Place { source: 0, line: 1 }));
    shared.acknowledge(&mut shared.lock(), 0, first);
    assert_eq!(shared.progress().unacknowledged, Some(Place { source: 0, line: 2 }));
    answer(&shared, take_in_time(&shared), ErrorCode::OutOfOrderSequenceNumber);
    let error = shared.check().expect_err("records are missing before it").to_string();
    assert_eq!(error, "file:2: orders-0: OUT_OF_ORDER_SEQUENCE_NUMBER");
    assert_eq!(shared.progress().records, 1);
}

#[test]
fn duplicates_are_appended_and_refusals_are_final() {
    assert!(is_appended(ErrorCode::None.code()) && is_appended(ErrorCode::DuplicateSequenceNumber.code()));
    assert!(!is_appended(ErrorCode::OutOfOrderSequenceNumber.code()));
    let shared = shared(|_| ());
    queued(&shared, 0..1);
    answer(&shared, take_in_time(&shared), ErrorCode::InvalidRecord);
    assert!(matches!(shared.check(), Err(Error::Kafka { .. })));
}

#[test]
fn time_and_room_are_bounded() {
    let late = shared(|config| config.delivery_timeout = Duration::ZERO);
    queued(&late, 0..1);
    late.expire(&mut late.lock());
    let error = late.check().expect_err("its time is over").to_string();
    assert!(error.starts_with("file:1: orders-0: not delivered in"), "{error}");

    let small = shared(|config| config.max_message_bytes = Some(50));
    let error = small.enqueue(0, batch(0)).expect_err("larger than the topic takes").to_string();
    assert!(error.contains("file:1: orders-0: MESSAGE_TOO_LARGE"), "{error}");

    let stopped = Stop::default();
    stopped.set();
    let partitions = vec![Leader { partition: 0, leader: BROKER }];
    let topic = Topic { name: "orders".to_owned(), partitions };
    let config = Config { buffer_memory: 1, ..shared(|_| ()).config().clone() };
    let full = Shared::new(config, Cluster::unconnected("127.0.0.1:1", &stopped), topic);
    full.enqueue(0, batch(0)).expect("one batch always has room");
    assert!(matches!(full.enqueue(0, batch(1)), Err(Error::Stopped)), "a full buffer does not keep it from ending");
    assert_eq!(full.progress().unacknowledged, Some(Place { source: 0, line: 1 }));
}
