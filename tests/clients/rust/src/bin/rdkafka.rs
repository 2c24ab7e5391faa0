//! rdkafka (librdkafka) under the contract of families.py; its members use the round-robin assignor.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clients::{Command, Header, Log, Offsets, Record};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

struct Failing;

impl ClientContext for Failing {}

impl ProducerContext for Failing {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::message::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            panic!("not acknowledged: {error}");
        }
    }
}

fn produce(broker: &str, topic: &str, records: &[Record], codec: &str) {
    let producer: ThreadedProducer<Failing> = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("compression.type", codec)
        .set("enable.idempotence", "true")
        .create_with_context(Failing)
        .expect("a producer");
    for record in records {
        loop {
            let mut sent = BaseRecord::<[u8], [u8]>::to(topic);
            sent.key = record.key.as_deref();
            sent.payload = record.value.as_deref();
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(rdkafka::message::Header { key, value: Some(value) })
            });
            match producer.send(sent.headers(headers)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
    producer.flush(Duration::from_secs(60)).expect("all acknowledged");
}

struct Member {
    topic: String,
    log: Mutex<Log>,
}

impl Member {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().expect("one thread")
    }

    fn commit(&self, consumer: &BaseConsumer<Self>) {
        self.log().commit(|offsets: &Offsets| -> KafkaResult<()> {
            let mut list = TopicPartitionList::new();
            for (partition, offset) in offsets {
                list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
            }
            consumer.commit(&list, CommitMode::Sync)
        });
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.commit(consumer);
            self.log().revoked(&partitions(list));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.log().assigned(&partitions(list));
        }
    }
}

fn consume(broker: &str, topic: &str, group: &str, log: Log) {
    let stopping = log.stopping();
    let consumer: BaseConsumer<Member> = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", group)
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1000")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("partition.assignment.strategy", "roundrobin")
        .create_with_context(Member { topic: topic.to_owned(), log: Mutex::new(log) })
        .expect("a consumer");
    consumer.subscribe(&[topic]).expect("a subscription");
    let member = consumer.context();
    while !stopping.load(Ordering::Relaxed) {
        let Some(polled) = consumer.poll(Duration::from_millis(100)) else {
            member.log().flush();
            continue;
        };
        let message = match polled {
            Ok(message) => message,
            Err(error) => {
                member.log().failed(&error);
                continue;
            }
        };
        let headers: Vec<Header> = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
        });
        let due =
            member.log().delivered(message.partition(), message.offset(), message.key(), message.payload(), &headers);
        if due {
            member.commit(&consumer);
        }
    }
    member.commit(&consumer);
}

fn main() {
    match clients::command() {
        Command::Produce { broker, topic, records, codec } => produce(&broker, &topic, &records, &codec),
        Command::Consume { broker, topic, group, log } => consume(&broker, &topic, &group, log),
    }
}
