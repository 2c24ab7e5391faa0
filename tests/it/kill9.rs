//! `kill -9` under load, again and again: what was acknowledged is there, once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::util::Timeout;
use rdkafka::{Offset, config::FromClientConfigAndContext as _};

use crate::node::{Node, free_address, scratch, size};
use crate::rdkafka_records::{client, read};

/// A kind of producer, with the topic that it alone writes.
struct Kind {
    topic: &'static str,
    acks: &'static str,
    idempotent: bool,
}

const KINDS: [Kind; 3] = [
    Kind { topic: "acks-1", acks: "1", idempotent: false },
    Kind { topic: "acks-all", acks: "all", idempotent: false },
    Kind { topic: "idempotent", acks: "all", idempotent: true },
];
const PARTITIONS: i32 = 4;

/// What a producer was told: (partition, offset, number). The offset is -1 where the broker only said "had it already".
#[derive(Default)]
struct Acknowledged(Mutex<Vec<(i32, i64, u64)>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        match result {
            Ok(message) => {
                let mut list = self.0.lock().expect("no panic while held");
                list.push((message.partition(), message.offset(), *number));
            }
            // A record that timed out promises nothing; one that the broker refused for good would be a defect.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut), _)) => {}
            Err((error, _)) => panic!("record {number}: {error}"),
        }
    }
}

/// Sends numbers round the partitions until told to stop, then waits until the rest is acknowledged.
fn produce(kind: &Kind, bootstrap: &str, stop: &AtomicBool) -> Vec<(i32, i64, u64)> {
    let mut config = client(bootstrap);
    config.set("acks", kind.acks).set("enable.idempotence", kind.idempotent.to_string());
    config.set("message.timeout.ms", "300000").set("retry.backoff.ms", "20").set("retry.backoff.max.ms", "100");
    config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "100").set("linger.ms", "1");
    config.set("topic.metadata.refresh.interval.ms", "1000").set("max.in.flight.requests.per.connection", "5");
    let producer =
        BaseProducer::<Acknowledged>::from_config_and_context(&config, Acknowledged::default()).expect("a producer");
    let mut number: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let value = number.to_be_bytes();
            let partition = i32::try_from(number % 4).expect("small");
            let sent = BaseRecord::<(), [u8], Box<u64>>::with_opaque_to(kind.topic, Box::new(number))
                .partition(partition)
                .payload(&value);
            if producer.send(sent).is_ok() {
                number += 1;
            }
        }
        producer.poll(Duration::from_millis(5));
    }
    producer.flush(Timeout::After(Duration::from_secs(120))).expect("the last node acknowledges the rest");
    producer.context().0.lock().expect("no panic while held").clone()
}

fn number_of(value: Option<&[u8]>) -> u64 {
    u64::from_be_bytes(value.expect("a value").try_into().expect("eight bytes"))
}

fn check(kind: &Kind, bootstrap: &str, acknowledged: &[(i32, i64, u64)]) {
    assert!(acknowledged.len() > 100, "{}: hardly anything was acknowledged", kind.topic);
    for partition in 0..PARTITIONS {
        let found = read(bootstrap, kind.topic, partition, Offset::Beginning);
        let offsets: Vec<i64> = found.iter().map(|(offset, _)| *offset).collect();
        let expected: Vec<i64> = (0..).take(found.len()).collect();
        assert_eq!(offsets, expected, "{}-{partition}: contiguous from 0", kind.topic);
        let there: BTreeMap<i64, u64> =
            found.iter().map(|(offset, record)| (*offset, number_of(record.value.as_deref()))).collect();
        let numbers: BTreeSet<u64> = there.values().copied().collect();
        for (_, offset, number) in acknowledged.iter().filter(|(of, ..)| *of == partition) {
            let kept = if *offset < 0 { numbers.contains(number) } else { there.get(offset) == Some(number) };
            assert!(
                kept,
                "{}-{partition}: {number} was acknowledged at {offset}, there is {:?}",
                kind.topic,
                there.get(offset)
            );
        }
        if kind.idempotent {
            assert_eq!(numbers.len(), there.len(), "{}-{partition}: a record is there twice", kind.topic);
            assert!(there.values().is_sorted(), "{}-{partition}: records are out of order", kind.topic);
        }
    }
}

fn start(dir: &Path, address: SocketAddr) -> Node {
    Node::start_at(dir, address, &["--set", "num.partitions=4", "--set", "log.segment.bytes=1048576"])
}

#[test]
fn what_was_acknowledged_survives_kill_9_under_load() {
    // The full number is 50; the default is what a run of all tests can afford.
    let kills = size("KILLS", 6);
    let dir = scratch();
    let address = free_address();
    let bootstrap = address.to_string();
    let stop = AtomicBool::new(false);
    let mut node = start(dir.path(), address);
    let acknowledged: Vec<Vec<(i32, i64, u64)>> = std::thread::scope(|scope| {
        let (stop, bootstrap) = (&stop, bootstrap.as_str());
        let producers: Vec<_> = KINDS.iter().map(|kind| scope.spawn(move || produce(kind, bootstrap, stop))).collect();
        for kill in 0..kills {
            // Some lives end in the middle of recovery or of the first windows, some long after.
            sleep(Duration::from_millis([900, 150, 400, 40][kill % 4]));
            node.kill();
            node = start(dir.path(), address);
        }
        sleep(Duration::from_millis(1000));
        stop.store(true, Ordering::Relaxed);
        producers.into_iter().map(|producer| producer.join().expect("a producer")).collect()
    });
    for (kind, acknowledged) in KINDS.iter().zip(&acknowledged) {
        println!("{kills} kills: {} records of {} acknowledged", acknowledged.len(), kind.topic);
        check(kind, &bootstrap, acknowledged);
    }
    node.stop();
    let mut node = start(dir.path(), address);
    for (kind, acknowledged) in KINDS.iter().zip(&acknowledged) {
        check(kind, &bootstrap, acknowledged);
    }
    node.stop();
}
