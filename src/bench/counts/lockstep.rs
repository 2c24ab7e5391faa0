//! Requests in lock step: what makes the counts of a running node repeatable.
//!
//! Under load a node does its work in batches, as large as chance makes them. So either one connection has one request
//! under way at a time, or the node is stopped (SIGSTOP) while 64 requests pile up in its socket, and goes on: then what
//! it finds is the same every time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Error;
use super::node::Node;
use crate::bench::wire;

/// Something that is done N and 3N times.
pub(super) struct Scenario {
    /// What it is called in the names of counts.
    pub(super) name: &'static str,
    asks: Asks,
    finds: Finds,
    /// How often it is done for N: requests, or rounds of queued ones.
    times: u32,
    /// How often it is done before anything is counted.
    warm_up: u32,
}

/// What is asked.
enum Asks {
    /// The same batch again, to a topic.
    Produce(&'static str, Vec<u8>),
    /// This batch, appended just before to a partition of a topic that has no other.
    Tail(&'static str, Vec<u8>),
    /// The oldest batch of a rolled segment.
    Stored,
    /// This batch to one partition and to the other, in turns.
    ProduceEach(&'static str, Vec<u8>),
    /// This batch of one partition and of the other, in turns.
    FetchEach(&'static str, Vec<u8>),
}

/// What the node finds.
enum Finds {
    /// One request, when the one before is answered.
    One,
    /// So many at once, on one connection.
    Queue(usize),
    /// One on each connection at once.
    Crowd,
}

/// A connection.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// All connections to a node. Idle ones cost nothing.
pub(super) struct Clients(Vec<Client>);

/// A stretch of time, and how many requests were answered in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) requests: u64,
    /// Seconds since 1970.
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Stretch {
    pub(super) fn seconds(&self) -> f64 {
        self.to - self.from
    }
}

/// The topics: one for each kind of request, so that none changes what another one finds.
const LARGE: &str = "large";
const SMALL: &str = "small";
const LARGE_TAIL: &str = "large-tail";
const SMALL_TAIL: &str = "small-tail";
const STORED: &str = "stored";
const PAIR: &str = "pair";

impl Scenario {
    /// All that are measured on one shard.
    pub(super) fn all() -> Vec<Self> {
        let small = || wire::batch(1, 100, 7);
        let one = |name, asks| Self { name, asks, finds: Finds::One, times: 100, warm_up: 25 };
        let queue = |name, asks| Self { name, asks, finds: Finds::Queue(QUEUED), times: 4, warm_up: 2 };
        vec![
            // Warmed up until its memory is full and each batch takes the place of an older one.
            Self { warm_up: WARM_UP_BATCHES, ..one("produce-64k", Asks::Produce(LARGE, large_batch())) },
            one("produce-1", Asks::Produce(SMALL, small())),
            one("fetch-memory", Asks::Tail(LARGE_TAIL, large_batch())),
            one("fetch-file", Asks::Stored),
            queue("queued-produce-1", Asks::Produce(SMALL, small())),
            Self { finds: Finds::Crowd, ..queue("queued-produce-16k", Asks::Produce(LARGE, wire::batch(16, 1000, 7))) },
            queue("queued-fetch-memory", Asks::Tail(SMALL_TAIL, small())),
        ]
    }

    /// What is measured on two shards: each has one of two partitions, so that every other request is for the shard that does
    /// not have its connection.
    pub(super) fn of_two_shards() -> Vec<Self> {
        let each = |name, asks| Self { name, asks, finds: Finds::One, times: 50, warm_up: 10 };
        let batch = || wire::batch(1, 100, 7);
        vec![
            each("two-shards-produce", Asks::ProduceEach(PAIR, batch())),
            each("two-shards-fetch", Asks::FetchEach(PAIR, batch())),
        ]
    }

    /// Does it until what only the first requests meet is over.
    pub(super) fn warm_up(&self, node: &Node, clients: &mut Clients) -> Result<(), Error> {
        let requests = self.requests(clients, TURNS - 1)?;
        self.repeat(node, clients, &requests, self.warm_up)
    }

    /// Does it for N and for 3N, the same requests. `look` is called before and after each. Has `turn`s up to [`TURNS`] - 1.
    pub(super) fn run<T>(
        &self,
        node: &Node,
        clients: &mut Clients,
        turn: i32,
        look: impl Fn() -> Result<T, Error>,
    ) -> Result<[(Stretch, [T; 2]); 2], Error> {
        let requests = self.requests(clients, turn)?;
        let at_once = match self.finds {
            Finds::One => 1,
            Finds::Queue(queued) => queued,
            Finds::Crowd => clients.0.len(),
        };
        let mut times = |times: u32| {
            let (from, before) = (quiet(), look()?);
            self.repeat(node, clients, &requests, times)?;
            let (to, after) = (quiet(), look()?);
            Ok((Stretch { requests: u64::from(times) * at_once as u64, from, to }, [before, after]))
        };
        Ok([times(self.times)?, times(3 * self.times)?])
    }

    /// The requests, which are sent in turns.
    fn requests(&self, clients: &mut Clients, turn: i32) -> Result<Vec<Vec<u8>>, Error> {
        let mut newest = |topic, partition, batch| {
            let offset = clients.first().produce(topic, partition, batch)?;
            Ok::<_, Error>(wire::fetch(topic, partition, offset, 500, MAX_BYTES))
        };
        match &self.asks {
            Asks::Produce(topic, batch) => Ok(vec![wire::produce(topic, 0, batch)]),
            Asks::Tail(topic, batch) => Ok(vec![newest(topic, turn, batch)?]),
            Asks::Stored => Ok(vec![wire::fetch(STORED, 0, 0, 500, MAX_BYTES)]),
            Asks::ProduceEach(topic, batch) => {
                Ok([0, 1].map(|partition| wire::produce(topic, partition, batch)).into())
            }
            Asks::FetchEach(topic, batch) => {
                [0, 1].into_iter().map(|partition| newest(topic, partition, batch)).collect()
            }
        }
    }

    fn repeat(&self, node: &Node, clients: &mut Clients, requests: &[Vec<u8>], times: u32) -> Result<(), Error> {
        for request in requests.iter().cycle().take(times as usize) {
            match self.finds {
                Finds::One => clients.first().ask(request)?,
                Finds::Queue(queued) => {
                    node.pause()?;
                    clients.first().send(&request.repeat(queued))?;
                    node.go_on()?;
                    (0..queued).try_for_each(|_| clients.first().receive())?;
                }
                Finds::Crowd => {
                    node.pause()?;
                    clients.0.iter_mut().try_for_each(|client| client.send(request))?;
                    node.go_on()?;
                    clients.0.iter_mut().try_for_each(Client::receive)?;
                }
            }
        }
        Ok(())
    }
}

impl Clients {
    /// Connects, and makes the topics and the batches that are fetched from files: before the node is restarted, so that
    /// its memory is empty.
    pub(super) fn prepare(address: SocketAddr) -> Result<(), Error> {
        let mut client = Client::connect(address)?;
        let keep = ("retention.ms", "-1".to_owned());
        let rolled = ("segment.bytes", "1048576".to_owned());
        for (topic, partitions) in [(LARGE, 1), (SMALL, 1), (LARGE_TAIL, TURNS), (SMALL_TAIL, TURNS), (PAIR, 2)] {
            client.create(topic, partitions, std::slice::from_ref(&keep))?;
        }
        client.create(STORED, 1, &[keep, rolled])?;
        (0..STORED_BATCHES).try_for_each(|_| client.produce(STORED, 0, &large_batch()).map(drop))
    }

    /// Connects. The node is serving when this returns.
    pub(super) fn connect(address: SocketAddr) -> Result<Self, Error> {
        let mut clients = (0..QUEUED).map(|_| Client::connect(address)).collect::<Result<Vec<_>, _>>()?;
        clients.iter_mut().try_for_each(|client| client.produce(SMALL, 0, &wire::batch(1, 100, 7)).map(drop))?;
        Ok(Self(clients))
    }

    fn first(&mut self) -> &mut Client {
        &mut self.0[0]
    }
}

/// Time during which nothing is asked.
pub(super) fn idle() -> Stretch {
    let from = quiet();
    sleep(IDLE);
    Stretch { requests: 0, from, to: quiet() }
}

/// Lets what the last request set going end, and answers the moment.
fn quiet() -> f64 {
    sleep(QUIET);
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self, Error> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        Ok(Self { stream: connect().map_err(Error::io("a connection to the node"))?, answer: Vec::new() })
    }

    fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, String)]) -> Result<(), Error> {
        self.ask(&wire::create_topic(topic, partitions, configs))?;
        match wire::create_topic_answer(&self.answer, topic) {
            0 => Ok(()),
            code => Err(Error::Strange(format!("the node answered error {code} when a topic was made"))),
        }
    }

    fn produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> Result<i64, Error> {
        self.ask(&wire::produce(topic, partition, batch))?;
        match wire::produce_answer(&self.answer, topic) {
            (0, base_offset) => Ok(base_offset),
            (code, _) => Err(Error::Strange(format!("the node answered error {code} to a batch"))),
        }
    }

    fn ask(&mut self, request: &[u8]) -> Result<(), Error> {
        self.send(request)?;
        self.receive()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).map_err(Error::io("a request to the node"))
    }

    fn receive(&mut self) -> Result<(), Error> {
        let mut receive = || {
            let mut len = [0; 4];
            self.stream.read_exact(&mut len)?;
            self.answer.resize(usize::try_from(i32::from_be_bytes(len)).map_err(std::io::Error::other)?, 0);
            self.stream.read_exact(&mut self.answer)
        };
        receive().map_err(Error::io("an answer of the node"))
    }
}

/// 64 records of 1000 bytes.
fn large_batch() -> Vec<u8> {
    wire::batch(64, 1000, 7)
}

/// What waits in the socket of a stopped node; with requests of one record it is less than a socket takes.
const QUEUED: usize = 64;
/// More than all of the tail's memory at [`super::node::MEMORY`].
const WARM_UP_BATCHES: u32 = 600;
/// Partitions of which each turn has one, and the warm-up the last.
const TURNS: i32 = REPEATS + 1;
/// How often every scenario is run.
pub(super) const REPEATS: i32 = 3;
/// Two segments of 1 MiB, and some of a third.
const STORED_BATCHES: usize = 40;
/// Less than two large batches.
const MAX_BYTES: i32 = 65_536;
const QUIET: Duration = Duration::from_millis(30);
const IDLE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);
