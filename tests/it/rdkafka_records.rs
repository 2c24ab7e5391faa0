//! Records that a test can make again from their number, and reading them back through librdkafka.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::{Offset, TopicPartitionList};

/// A record as it was sent or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: i64,
}

impl Record {
    /// The record of this number: with and without key, value and headers, empty ones among them.
    pub fn numbered(number: usize) -> Self {
        let key = match number % 11 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("key-{number}").into_bytes()),
        };
        let value = match number % 13 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("value-{number}-").repeat(1 + number % 17).into_bytes()),
        };
        let headers = match number % 5 {
            // One name twice is legal and both are kept, in their order.
            0 => vec![
                ("twice".to_owned(), Some(b"1".to_vec())),
                ("twice".to_owned(), Some(number.to_string().into_bytes())),
            ],
            1 => vec![("null".to_owned(), None), ("empty".to_owned(), Some(Vec::new()))],
            _ => Vec::new(),
        };
        let timestamp = FIRST_MS + i64::try_from(number).expect("few") * STEP_MS;
        Self { key, value, headers, timestamp }
    }

    pub fn owned_headers(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers.iter().fold(empty, |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }))
    }

    fn read(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        Self {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            timestamp: message.timestamp().to_millis().expect("every record has one"),
        }
    }
}

/// A client configuration for a node.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    config
}

/// A consumer that is assigned partitions by hand: there are no groups yet. librdkafka wants a group's name all the same.
pub fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = client(bootstrap);
    config.set("group.id", "none").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("enable.partition.eof", "true").set("check.crcs", "true").set("fetch.wait.max.ms", "100");
    config.create().expect("a consumer")
}

/// Reads a partition from `from` to its end: (offset, record).
pub fn read(bootstrap: &str, topic: &str, partition: i32, from: Offset) -> Vec<(i64, Record)> {
    let consumer = consumer(bootstrap);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, from).expect("an offset");
    consumer.assign(&assignment).expect("assigned");
    let mut records = Vec::new();
    let begun = Instant::now();
    loop {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => records.push((message.offset(), Record::read(&message))),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return records,
            // The lookup of a coordinator fails: without groups nobody needs one.
            Some(Err(_)) | None => {}
        }
        assert!(begun.elapsed() < READ_MAX, "{topic}-{partition}: {} records and no end", records.len());
    }
}

/// The first offset whose record is at or after a moment, as the broker says.
pub fn offset_at(bootstrap: &str, topic: &str, partition: i32, timestamp: i64) -> Offset {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, partition, Offset::Offset(timestamp)).expect("a timestamp");
    let answer = consumer(bootstrap).offsets_for_times(asked, Duration::from_secs(20)).expect("an answer");
    answer.elements()[0].offset()
}

const FIRST_MS: i64 = 1_700_000_000_000;
/// Records lie apart, so that a moment between two of them can be asked for.
pub const STEP_MS: i64 = 10;
const READ_MAX: Duration = Duration::from_secs(120);
