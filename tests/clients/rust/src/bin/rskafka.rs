//! rskafka under the contract of families.py, as far as it goes: it knows no groups, so that `consume` reads every
//! partition from its beginning and commits nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clients::{Command, Header, Log, Record};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// A client for each partition of a topic.
async fn partitions(broker: &str, topic: &str) -> (Client, Vec<Arc<PartitionClient>>) {
    let client = ClientBuilder::new(vec![broker.to_owned()]).build().await.expect("a client");
    let topics = client.list_topics().await.expect("the topics");
    let found = topics.into_iter().find(|found| found.name == topic).expect("the topic is there");
    let mut clients = Vec::new();
    for partition in found.partitions {
        let one = client.partition_client(topic, partition, UnknownTopicHandling::Error).await.expect("a partition");
        clients.push(Arc::new(one));
    }
    (client, clients)
}

async fn produce(broker: &str, topic: &str, records: Vec<Record>, codec: &str) {
    let codec = match codec {
        "none" => Compression::NoCompression,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => panic!("no codec {codec}"),
    };
    let (_client, partitions) = partitions(broker, topic).await;
    let mut batches: Vec<Vec<rskafka::record::Record>> = vec![Vec::new(); partitions.len()];
    for (index, record) in records.into_iter().enumerate() {
        let hash = |key: &Vec<u8>| key.iter().fold(0_usize, |hash, byte| hash * 31 % 65_521 + usize::from(*byte));
        let chosen = record.key.as_ref().map_or(index, hash) % partitions.len();
        batches[chosen].push(rskafka::record::Record {
            key: record.key,
            value: record.value,
            headers: record.headers.into_iter().collect(),
            timestamp: chrono::DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time"),
        });
    }
    for (partition, batch) in partitions.iter().zip(batches) {
        for some in batch.chunks(500) {
            partition.produce(some.to_vec(), codec).await.expect("acknowledged");
        }
    }
}

/// Reads one partition from its beginning, for ever.
async fn read(client: Arc<PartitionClient>, log: Arc<Mutex<Log>>) {
    let partition = client.partition();
    let mut next = client.get_offset(OffsetAt::Earliest).await.expect("a beginning");
    loop {
        match client.fetch_records(next, 1..1_000_000, 200).await {
            Ok((records, _)) => {
                let (from, mut log) = (next, log.lock().await);
                for found in records.into_iter().filter(|found| found.offset >= from) {
                    let record = found.record;
                    let headers: Vec<Header> = record.headers.into_iter().collect();
                    log.delivered(partition, found.offset, record.key.as_deref(), record.value.as_deref(), &headers);
                    next = found.offset + 1;
                }
                log.flush();
            }
            Err(error) => log.lock().await.failed(&error),
        }
    }
}

async fn consume(broker: &str, topic: &str, log: Log) {
    let (_client, partitions) = partitions(broker, topic).await;
    let stopping = log.stopping();
    let log = Arc::new(Mutex::new(log));
    log.lock().await.assigned(&partitions.iter().map(|client| client.partition()).collect::<Vec<_>>());
    let mut readers = JoinSet::new();
    for client in partitions {
        readers.spawn(read(client, Arc::clone(&log)));
    }
    while !stopping.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match clients::command() {
        Command::Produce { broker, topic, records, codec } => produce(&broker, &topic, records, &codec).await,
        Command::Consume { broker, topic, log, .. } => consume(&broker, &topic, log).await,
    }
}
