//! librdkafka writes records of every kind and codec, and reads every one back the same.

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::node::{Node, scratch, size};
use crate::rdkafka_records::{Record, STEP_MS, client, offset_at, read};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: usize = 4;

/// The full size is 100,000; the default is what a run of all tests can afford.
fn records() -> usize {
    size("CLIENT_RECORDS", 10_000)
}

/// Sends the records of the given numbers to one partition and waits for all acknowledgements.
fn produce(config: &ClientConfig, topic: &str, partition: i32, numbers: std::ops::Range<usize>) {
    let producer: BaseProducer = config.create().expect("a producer");
    for number in numbers {
        let record = Record::numbered(number);
        loop {
            let mut sent = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).timestamp(record.timestamp);
            if let Some(key) = &record.key {
                sent = sent.key(key.as_slice());
            }
            if let Some(value) = &record.value {
                sent = sent.payload(value.as_slice());
            }
            if !record.headers.is_empty() {
                sent = sent.headers(record.owned_headers());
            }
            match producer.send(sent) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).expect("all acknowledged");
    assert_eq!(producer.in_flight_count(), 0);
}

fn check(found: &[(i64, Record)], first_offset: i64, numbers: std::ops::Range<usize>) {
    assert_eq!(found.len(), numbers.len());
    for ((expected_offset, number), (offset, record)) in (first_offset..).zip(numbers).zip(found) {
        assert_eq!(*offset, expected_offset, "offsets are contiguous");
        assert_eq!(*record, Record::numbered(number), "record {number}");
    }
}

fn partition(index: usize) -> i32 {
    i32::try_from(index).expect("few partitions")
}

/// From the beginning, from an offset inside a batch, and from a moment between two records of a compressed batch.
fn check_everywhere(bootstrap: &str, topic: &str, partition: i32, count: usize) {
    check(&read(bootstrap, topic, partition, Offset::Beginning), 0, 0..count);
    let middle = count / 2 + 3;
    let offset = i64::try_from(middle).expect("few");
    check(&read(bootstrap, topic, partition, Offset::Offset(offset)), offset, middle..count);
    let between = Record::numbered(middle).timestamp - STEP_MS / 2;
    assert_eq!(offset_at(bootstrap, topic, partition, between), Offset::Offset(offset), "a moment names a record");
}

#[test]
fn every_codec_comes_back_the_same_before_and_after_a_restart() {
    let dir = scratch();
    let each = records() / CODECS.len();
    let mut node = Node::start(dir.path());
    for codec in CODECS {
        let mut config = client(&node.bootstrap());
        config.set("compression.type", codec).set("linger.ms", "20").set("message.timeout.ms", "60000");
        produce(&config, codec, 0, 0..each);
        check_everywhere(&node.bootstrap(), codec, 0, each);
    }
    node.stop();
    let mut node = Node::start(dir.path());
    for codec in CODECS {
        check_everywhere(&node.bootstrap(), codec, 0, each);
    }
    node.stop();
}

#[test]
fn idempotent_with_five_in_flight_across_two_shards_and_a_restart() {
    let dir = scratch();
    let each = records() / PARTITIONS;
    let settings = ["--set", &format!("num.partitions={PARTITIONS}")];
    let mut node = Node::start_at(dir.path(), crate::node::free_address(), &settings);
    let mut config = client(&node.bootstrap());
    config.set("enable.idempotence", "true").set("max.in.flight.requests.per.connection", "5");
    // Small batches, so that five are in flight all the time.
    config.set("batch.num.messages", "40").set("linger.ms", "0").set("message.timeout.ms", "60000");
    std::thread::scope(|scope| {
        for index in 0..PARTITIONS {
            let config = &config;
            scope.spawn(move || produce(config, "once", partition(index), 0..each));
        }
    });
    for index in 0..PARTITIONS {
        check(&read(&node.bootstrap(), "once", partition(index), Offset::Beginning), 0, 0..each);
    }
    node.stop();
    let mut node = Node::start(dir.path());
    for index in 0..PARTITIONS {
        check(&read(&node.bootstrap(), "once", partition(index), Offset::Beginning), 0, 0..each);
    }
    node.stop();
}
