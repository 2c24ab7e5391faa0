//! Whole nodes in the simulator: real requests over simulated sockets, on one shard and on several.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::io::sim::{Faults, SimEnv, SimSocket, World};
use crate::io::{Back, Op, Pool, Runtime, Slice};
use crate::limits::Memory;
use crate::protocol::ErrorCode;
use crate::protocol::cold::metadata_request::{MetadataRequestData, MetadataRequestTopic};
use crate::protocol::cold::{KafkaString, Request, decode_response, encode_request};
use crate::record::build::{BatchBuilder, NewRecord};
use crate::server::Config;
use crate::server::node::{self, Setup};
use crate::server::status::Status;
use crate::storage;

/// A node in a world, and the machine that its clients run on.
pub(super) struct Bench {
    pub(super) world: Rc<World>,
    shards: u16,
    storage: storage::Config,
    pub(super) node_id: Option<i32>,
    /// What the node shows of itself since its last start.
    pub(super) status: Arc<Status>,
    listener: Option<SimSocket>,
    stop: Option<SimSocket>,
}

impl Bench {
    pub(super) fn new(seed: u64, shards: u16) -> Self {
        Self::with(seed, shards, |_| ())
    }

    /// With settings of the log that differ.
    pub(super) fn with(seed: u64, shards: u16, set: impl Fn(&mut storage::Config)) -> Self {
        Self::on(World::new(seed, Faults::default()), shards, None, set)
    }

    /// On a machine that is there already.
    pub(super) fn on(world: Rc<World>, shards: u16, node_id: Option<i32>, set: impl Fn(&mut storage::Config)) -> Self {
        let mut storage = storage::Config {
            journal_bytes: 4 << 20,
            window_journal_bytes: 256 << 10,
            prepare_bytes_max: 1 << 20,
            tail_bytes: 8 << 20,
            reserve_bytes: 0,
            recycle_bytes: 16 << 20,
            ..storage::Config::default()
        };
        set(&mut storage);
        let mut bench =
            Self { world, shards, storage, node_id, status: Status::new(0, 0, true), listener: None, stop: None };
        bench.start();
        bench
    }

    pub(super) fn start(&mut self) {
        self.world.take_lock();
        let runtimes = self.world.start(self.shards);
        self.status = Status::new(runtimes.len(), 64 << 20, true);
        let (listener, signal) = (self.world.listen(), self.world.listen());
        let mut config = Config::new(PathBuf::from("/data"), runtimes.len(), Memory::new(64 << 20));
        config.stop_wait_ms = 2_000;
        config.node_id = self.node_id;
        config.handlers.offsets_topic.num_partitions = 4;
        let config = Arc::new(config);
        // The other end of a connection to ourselves is the signal.
        self.stop = Some(self.world.connect(&signal).expect("the process lives"));
        let accepted = runtimes[0].submit(Op::Accept { listener: signal });
        let done = self.world.block_on(&runtimes[0], accepted).expect("there is a connection");
        let Back::Socket(signal) = done.back else { panic!("a socket") };
        let mut signal = Some(signal);
        for (rt, mailbox) in runtimes.iter().zip(node::mailboxes(runtimes.len())) {
            let first = signal.is_some();
            let setup = Setup {
                config: Arc::clone(&config),
                storage: self.storage.clone(),
                topics: Arc::default(),
                mailbox,
                status: Arc::clone(&self.status),
                listeners: if first { vec![listener.clone()] } else { Vec::new() },
                stop: signal.take(),
            };
            let of = Rc::clone(rt);
            rt.spawn(async move { node::run(of, setup, Pool::new(8 << 20)).await.expect("the node runs") }).detach();
        }
        self.listener = Some(listener);
    }

    pub(super) fn client(&self) -> Client {
        let socket = self.world.connect(self.listener.as_ref().expect("started")).expect("the process lives");
        Client { world: Rc::clone(&self.world), rt: self.world.client(), socket, inbox: Rc::default() }
    }

    /// Stops the node cleanly, and lets all that it started end.
    pub(super) fn stop(&mut self) {
        let stop = self.stop.take().expect("started");
        let rt = self.world.client();
        let of = Rc::clone(&rt);
        let sent = self.world.block_on(&rt, async move {
            let parts = vec![Slice::from(Bytes::from_static(b"x"))];
            of.submit(Op::Send { socket: stop, parts }).await.result.is_ok()
        });
        assert_eq!(sent, Some(true));
        self.world.run_for_ms(20_000);
        self.world.kill();
    }

    fn is_clean(&self) -> bool {
        self.world.files().iter().any(|(path, _)| path.ends_with(".kafka_cleanshutdown"))
    }
}

pub(super) struct Client {
    world: Rc<World>,
    rt: Rc<Runtime<SimEnv>>,
    socket: SimSocket,
    /// Bytes that came behind the frame received last.
    inbox: Rc<RefCell<Vec<u8>>>,
}

impl Client {
    pub(super) fn send(&self, frame: Vec<u8>) {
        let (rt, socket) = (Rc::clone(&self.rt), self.socket.clone());
        let send = async move {
            let parts = vec![Slice::from(Bytes::from(frame))];
            drop(rt.submit(Op::Send { socket, parts }).await.result);
        };
        self.rt.spawn(send).detach();
    }

    /// The next frame with its length; empty where the connection ended before.
    fn receive(&self) -> Vec<u8> {
        let (rt, socket, inbox) = (Rc::clone(&self.rt), self.socket.clone(), Rc::clone(&self.inbox));
        let received = self.world.block_on(&self.rt, async move {
            loop {
                if let Some(frame) = whole_frame(&mut inbox.borrow_mut()) {
                    return frame;
                }
                let done = rt.submit(Op::Recv { socket: socket.clone(), buf: None }).await;
                match (done.result, done.back) {
                    (Ok(1..), Back::Buf(buf)) => inbox.borrow_mut().extend(buf.filled()),
                    _ => return Vec::new(),
                }
            }
        });
        received.expect("an answer or the end")
    }

    /// Sends a request of a cold API, and decodes the answer.
    pub(super) fn ask<R: Request>(&self, request: &R) -> R::Response {
        self.send(encode_request(8, "test", request).expect("encodes").to_vec());
        self.answer::<R>()
    }

    /// Decodes the next answer, which is to a request of this kind.
    pub(super) fn answer<R: Request>(&self) -> R::Response {
        decode_response::<R>(self.receive().split_off(4).into()).expect("decodes").1
    }

    pub(super) fn create(&mut self, topic: &str, partitions: i32) {
        self.create_with(topic, partitions, &[]);
    }

    pub(super) fn create_with(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        use crate::protocol::cold::create_topics_request::{
            CreatableTopic, CreatableTopicConfig, CreateTopicsRequestData,
        };
        let text = |of: &str| KafkaString::from(of.to_owned());
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: text(name),
            value: Some(text(value)),
            ..Default::default()
        };
        let topic = CreatableTopic {
            name: text(topic),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequestData { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
        let frame = encode_request(1, "test", &request).expect("encodes");
        self.send(frame.to_vec());
        let (_, response) =
            decode_response::<CreateTopicsRequestData>(self.receive().split_off(4).into()).expect("decodes");
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    }

    pub(super) fn metadata(&mut self, topic: &str) -> Vec<i16> {
        let name = Some(KafkaString::from(topic.to_owned()));
        let topics = Some(vec![MetadataRequestTopic { name, ..Default::default() }]);
        let request = MetadataRequestData { topics, allow_auto_topic_creation: true, ..Default::default() };
        self.send(encode_request(8, "test", &request).expect("encodes").to_vec());
        let (_, response) =
            decode_response::<MetadataRequestData>(self.receive().split_off(4).into()).expect("decodes");
        assert_eq!(response.brokers.len(), 1);
        let topic = &response.topics[0];
        assert_eq!(topic.error_code, 0);
        topic.partitions.iter().map(|partition| partition.error_code).collect()
    }

    /// Error and base offset of each batch.
    pub(super) fn produce(&mut self, acks: i16, batches: &[(&str, i32, Vec<u8>)]) -> Vec<(i16, i64)> {
        self.send(produce_frame(7, acks, batches));
        self.produced()
    }

    pub(super) fn produced(&self) -> Vec<(i16, i64)> {
        let frame = self.receive();
        assert!(frame.len() >= 8, "the node closed the connection");
        let mut reader = Reader { bytes: frame, at: 8 };
        let mut answers = Vec::new();
        for _ in 0..reader.i32() {
            let _name = reader.string();
            for _ in 0..reader.i32() {
                let _index = reader.i32();
                answers.push((reader.i16(), reader.i64()));
                let _time_and_start = (reader.i64(), reader.i64());
            }
        }
        answers
    }

    /// Error, high watermark and records of each partition.
    pub(super) fn fetch(
        &mut self,
        wait_ms: i32,
        min_bytes: i32,
        wanted: &[(&str, i32, i64)],
    ) -> Vec<(i16, i64, Vec<u8>)> {
        self.send(fetch_frame(wait_ms, min_bytes, 50 << 20, wanted));
        self.fetched()
    }

    pub(super) fn fetched(&self) -> Vec<(i16, i64, Vec<u8>)> {
        let mut reader = Reader { bytes: self.receive(), at: 8 };
        let _throttle = reader.i32();
        let mut answers = Vec::new();
        for _ in 0..reader.i32() {
            let _name = reader.string();
            for _ in 0..reader.i32() {
                let _index = reader.i32();
                let (error, high_watermark, stable) = (reader.i16(), reader.i64(), reader.i64());
                assert_eq!(high_watermark, stable);
                assert_eq!(reader.i32(), -1, "no aborted transactions");
                answers.push((error, high_watermark, reader.bytes()));
            }
        }
        answers
    }
}

fn whole_frame(inbox: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = i32::from_be_bytes(*inbox.first_chunk()?);
    let whole = 4 + usize::try_from(length).expect("a length");
    (inbox.len() >= whole).then(|| inbox.drain(..whole).collect())
}

struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes[self.at..self.at + N].try_into().expect("N bytes");
        self.at += N;
        taken
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    fn string(&mut self) -> String {
        let len = usize::try_from(self.i16()).expect("not null");
        self.at += len;
        String::from_utf8(self.bytes[self.at - len..self.at].to_vec()).expect("text")
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.i32()).expect("never null");
        self.at += len;
        self.bytes[self.at - len..self.at].to_vec()
    }
}

fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut header = [key.to_be_bytes(), version.to_be_bytes()].concat();
    header.extend(77_i32.to_be_bytes());
    header.extend([0, 4]);
    header.extend(b"test");
    let length = i32::try_from(header.len() + body.len()).expect("small");
    [&length.to_be_bytes()[..], &header, body].concat()
}

fn text(of: &str) -> Vec<u8> {
    [&i16::try_from(of.len()).expect("short").to_be_bytes()[..], of.as_bytes()].concat()
}

pub(super) fn produce_frame(version: i16, acks: i16, batches: &[(&str, i32, Vec<u8>)]) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend(acks.to_be_bytes());
    body.extend(5_000_i32.to_be_bytes());
    body.extend(i32::try_from(batches.len()).expect("few").to_be_bytes());
    for (topic, partition, batch) in batches {
        body.extend(text(topic));
        body.extend(1_i32.to_be_bytes());
        body.extend(partition.to_be_bytes());
        body.extend(i32::try_from(batch.len()).expect("small").to_be_bytes());
        body.extend(batch);
    }
    frame(0, version, &body)
}

pub(super) fn fetch_frame(wait_ms: i32, min_bytes: i32, max_bytes: i32, wanted: &[(&str, i32, i64)]) -> Vec<u8> {
    let mut body = (-1_i32).to_be_bytes().to_vec();
    body.extend(wait_ms.to_be_bytes());
    body.extend(min_bytes.to_be_bytes());
    body.extend(max_bytes.to_be_bytes());
    body.push(0);
    body.extend(i32::try_from(wanted.len()).expect("few").to_be_bytes());
    for (topic, partition, offset) in wanted {
        body.extend(text(topic));
        body.extend(1_i32.to_be_bytes());
        body.extend(partition.to_be_bytes());
        body.extend(offset.to_be_bytes());
        body.extend((1_i32 << 20).to_be_bytes());
    }
    frame(1, 4, &body)
}

/// A batch of so many records that tell their number.
pub(super) fn batch(first: usize, count: usize, bytes: usize) -> Vec<u8> {
    let record = |n: usize| {
        let mut value = format!("record {}", first + n).into_bytes();
        value.resize(bytes.max(value.len()), b'.');
        NewRecord::value(1_000, value)
    };
    BatchBuilder::default().build(&(0..count).map(record).collect::<Vec<_>>())
}

/// What a batch is once it is stored: its offset and leader epoch differ.
pub(super) fn stored(batch: &[u8], offset: i64, epoch: i32) -> Vec<u8> {
    [&offset.to_be_bytes()[..], &batch[8..12], &epoch.to_be_bytes(), &batch[16..]].concat()
}

#[test]
fn what_is_produced_is_fetched_on_one_shard_and_on_three() {
    for shards in [1, 3] {
        for seed in 0..5 {
            let mut bench = Bench::new(seed, shards);
            let mut client = bench.client();
            client.create("t", 6);
            assert_eq!(client.metadata("t"), [0; 6]);
            let batches: Vec<_> =
                (0..6).map(|p| ("t", p, batch(usize::try_from(p).expect("small") * 10, 10, 300))).collect();
            assert_eq!(client.produce(-1, &batches), [(0, 0); 6]);
            assert_eq!(client.produce(1, &batches), [(0, 10); 6]);
            let wanted: Vec<_> = (0..6).map(|p| ("t", p, 0)).collect();
            let fetched = client.fetch(1_000, 40_000, &wanted);
            for ((_, _, sent), (error, high_watermark, records)) in batches.iter().zip(&fetched) {
                assert_eq!((*error, *high_watermark), (0, 20), "seed {seed} shards {shards}");
                assert!(*records == [stored(sent, 0, 0), stored(sent, 10, 0)].concat());
            }
            // From within a batch the whole batch comes.
            let middle = client.fetch(100, 1, &[("t", 3, 13)]);
            assert!(middle[0].2 == stored(&batches[3].2, 10, 0));
            assert_eq!(client.fetch(0, 1, &[("t", 3, 21)])[0].0, ErrorCode::OffsetOutOfRange.code());
            assert_eq!(client.fetch(0, 1, &[("nope", 0, 0)])[0].0, ErrorCode::UnknownTopicOrPartition.code());
            bench.stop();
            assert!(bench.is_clean(), "seed {seed} shards {shards}");
            bench.start();
            let mut client = bench.client();
            let again = client.fetch(1_000, 1, &wanted);
            assert!(again == fetched, "seed {seed} shards {shards}");
        }
    }
}

#[test]
fn a_long_poll_over_all_shards_ends_with_the_first_record() {
    for seed in 0..10 {
        let bench = Bench::new(seed, 3);
        let (mut consumer, mut producer) = (bench.client(), bench.client());
        producer.create("t", 6);
        let wanted: Vec<_> = (0..6).map(|p| ("t", p, 0)).collect();
        for (round, partition) in (0..6).enumerate() {
            let begun_ns = bench.world.now_ns();
            let wanted: Vec<_> = wanted.iter().map(|(t, p, _)| (*t, *p, if *p < partition { 1 } else { 0 })).collect();
            consumer.send(fetch_frame(30_000, 1, 1 << 20, &wanted));
            bench.world.run_for_ms(50);
            assert_eq!(producer.produce(-1, &[("t", partition, batch(round, 1, 50))]), [(0, 0)]);
            let fetched = consumer.fetched();
            let with_records = fetched.iter().position(|(_, _, records)| !records.is_empty());
            assert_eq!(with_records, Some(usize::try_from(partition).expect("small")), "seed {seed}");
            let took_ms = (bench.world.now_ns() - begun_ns) / 1_000_000;
            assert!(took_ms < 10_000, "seed {seed}: {took_ms} ms");
        }
        // Nothing comes: the wait ends by itself.
        let ends: Vec<_> = (0..6).map(|p| ("t", p, 1)).collect();
        let begun_ns = bench.world.now_ns();
        let fetched = consumer.fetch(500, 1, &ends);
        assert!(
            fetched
                .iter()
                .all(|(error, high_watermark, records)| (*error, *high_watermark, records.len()) == (0, 1, 0))
        );
        let took_ms = (bench.world.now_ns() - begun_ns) / 1_000_000;
        assert!((500..1_500).contains(&took_ms), "seed {seed}: {took_ms} ms");
    }
}

#[test]
fn pipelined_batches_are_stored_in_the_order_in_which_they_were_sent() {
    for seed in 0..10 {
        let bench = Bench::new(seed, 3);
        let mut client = bench.client();
        client.create("t", 3);
        let mut sent = Vec::new();
        for n in 0..60 {
            let batches: Vec<_> = (0..3).map(|p| ("t", p, batch(n, 1, 40))).collect();
            sent.extend(produce_frame(7, if n % 7 == 3 { 0 } else { -1 }, &batches));
        }
        client.send(sent);
        for n in (0..60).filter(|n| n % 7 != 3) {
            let mut reader = Reader { bytes: client.receive(), at: 8 };
            assert_eq!(reader.i32(), 3);
            for _ in 0..3 {
                assert_eq!((reader.string(), reader.i32()), ("t".to_owned(), 1));
                let _index = reader.i32();
                assert_eq!((reader.i16(), reader.i64()), (0, n), "seed {seed}");
                let _time_and_start = (reader.i64(), reader.i64());
            }
        }
        let fetched = client.fetch(1_000, 1, &[("t", 2, 0)]);
        let expected: Vec<u8> =
            (0..60_i64).flat_map(|n| stored(&batch(usize::try_from(n).expect("small"), 1, 40), n, 0)).collect();
        assert!(fetched[0].2 == expected, "seed {seed}");
    }
}

#[test]
fn an_unanswered_produce_that_fails_ends_the_connection() {
    let bench = Bench::new(1, 2);
    let client = bench.client();
    client.send(produce_frame(7, 0, &[("nope", 0, batch(0, 1, 10))]));
    assert!(client.receive().is_empty());
}

#[test]
fn a_batch_is_given_whole_whatever_the_limits_and_budgets_hold_in_request_order() {
    let bench = Bench::new(2, 2);
    let mut client = bench.client();
    client.create("t", 4);
    let batches: Vec<_> = (0..4).map(|p| ("t", p, batch(0, 10, 1_000))).collect();
    assert_eq!(client.produce(-1, &batches), [(0, 0); 4]);
    let size = batches[0].2.len();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        for (max_bytes, expected) in [(1, 1), (size, 1), (2 * size + 10, 2), (4 * size, 4)] {
            let wanted = order.map(|p| ("t", p, 0));
            client.send(fetch_frame(0, 1, i32::try_from(max_bytes).expect("small"), &wanted));
            let sizes: Vec<usize> = client.fetched().iter().map(|(_, _, records)| records.len()).collect();
            let given = sizes.iter().filter(|bytes| **bytes == size).count();
            assert_eq!(given, expected, "{order:?} {max_bytes} {sizes:?}");
            assert_eq!(sizes[0], size, "the first partition comes first");
        }
    }
}

#[test]
fn a_consumer_that_stops_reading_pins_nothing_and_misses_nothing() {
    for shards in [1, 2] {
        let bench = Bench::new(3, shards);
        let (mut producer, consumer) = (bench.client(), bench.client());
        producer.create("t", 2);
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
        // Far more than the memory for tails: what the stalled reply held is gone from there.
        for n in 0..400 {
            let sent = batch(n, 10, 3_000);
            assert_eq!(producer.produce(1, &[("t", 0, sent.clone()), ("t", 1, sent)]).len(), 2);
        }
        for ((error, _, records), expected) in consumer.fetched().iter().zip(&expected) {
            assert_eq!(*error, 0);
            assert!(records == expected, "{} of {} bytes, {shards} shards", records.len(), expected.len());
        }
    }
}

#[test]
fn topics_come_and_go_on_every_shard() {
    let mut bench = Bench::new(4, 3);
    let mut clients: Vec<_> = (0..6).map(|_| bench.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let topic = format!("auto-{n}");
        assert_eq!(client.metadata(&topic), [0], "made before the answer");
        assert_eq!(client.produce(-1, &[(&topic, 0, batch(0, 1, 10))]), [(0, 0)]);
    }
    for client in &mut clients {
        for n in 0..6 {
            assert_eq!(client.fetch(0, 1, &[(&format!("auto-{n}"), 0, 0)])[0].1, 1);
        }
    }
    use crate::protocol::cold::delete_topics_request::{DeleteTopicState, DeleteTopicsRequestData};
    let name = Some(KafkaString::from("auto-3".to_owned()));
    let topics = vec![DeleteTopicState { name, ..Default::default() }];
    let request = DeleteTopicsRequestData { topics, timeout_ms: 1_000, ..Default::default() };
    clients[4].send(encode_request(5, "test", &request).expect("encodes").to_vec());
    let (_, response) =
        decode_response::<DeleteTopicsRequestData>(clients[4].receive().split_off(4).into()).expect("decodes");
    assert_eq!(response.responses[0].error_code, 0);
    for client in &mut clients {
        let gone = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(client.produce(-1, &[("auto-3", 0, batch(0, 1, 10))])[0].0, gone);
    }
    bench.stop();
    bench.start();
    let mut client = bench.client();
    assert_eq!(client.metadata("auto-3"), [0], "another one of the same name");
    assert_eq!(client.fetch(0, 1, &[("auto-3", 0, 0)])[0].1, 0, "and it is empty");
    assert_eq!(client.fetch(0, 1, &[("auto-2", 0, 0)])[0].1, 1);
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_a_power_failure() {
    for seed in 0..10 {
        let mut bench = Bench::new(seed, 2);
        let mut client = bench.client();
        client.create("t", 4);
        let mut ends = [0_i64; 4];
        for round in 0..6_usize {
            let power = seed % 2 == 1;
            let acks = if power { -1 } else { 1 };
            for n in 0..10 {
                let batches: Vec<_> = (0..4).map(|p| ("t", p, batch(round * 10 + n, 3, 500))).collect();
                for (end, (error, base)) in ends.iter_mut().zip(client.produce(acks, &batches)) {
                    assert_eq!((error, base), (0, *end), "seed {seed} round {round}");
                    *end += 3;
                }
            }
            if power {
                bench.world.crash()
            } else {
                bench.world.kill()
            }
            bench.start();
            client = bench.client();
            for (partition, end) in (0..4).zip(ends) {
                let fetched = client.fetch(1_000, 1, &[("t", partition, 0)]);
                assert_eq!((fetched[0].0, fetched[0].1), (0, end), "seed {seed} round {round}");
                assert!(!fetched[0].2.is_empty());
            }
        }
    }
}
