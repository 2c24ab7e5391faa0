//! End-to-end latency, open loop: one producer that sends at fixed moments whatever the answers do, one consumer that
//! long-polls. A record's latency counts from the moment at which it was *meant* to be sent, so a stall of the node is
//! charged to every record that it delayed (no coordinated omission).

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use ringmain::bench::wire;

use super::load;

/// Sends `per_second` single-record batches a second to partition 0 of `topic` for `duration`; the first `warm_up` is not counted.
pub fn end_to_end(
    address: SocketAddr,
    topic: &str,
    per_second: u32,
    warm_up: Duration,
    duration: Duration,
) -> io::Result<Histogram<u64>> {
    let every = Duration::from_secs(1) / per_second;
    let total = u64::from(per_second) * (warm_up + duration).as_secs();
    let request = wire::produce(topic, 0, &wire::batch(1, 1024, 7));
    let begin = Instant::now() + Duration::from_millis(50);
    let stop = Arc::new(AtomicBool::new(false));
    let consumer = {
        let (topic, stop) = (topic.to_owned(), Arc::clone(&stop));
        thread::spawn(move || consume(address, &topic, total, begin, every, warm_up, &stop))
    };
    let sent = send(address, &request, topic, total, begin, every, warm_up);
    if sent.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    let received = consumer.join().map_err(|_| io::Error::other("the consumer panicked"))?;
    sent?;
    received
}

/// The same producer without a consumer: from the moment a record was meant to be sent to its durable answer.
pub fn produce(
    address: SocketAddr,
    topic: &str,
    per_second: u32,
    warm_up: Duration,
    duration: Duration,
) -> io::Result<Histogram<u64>> {
    let every = Duration::from_secs(1) / per_second;
    let total_ms = u64::try_from((warm_up + duration).as_millis()).unwrap_or(u64::MAX);
    let total = u64::from(per_second) * total_ms / 1000;
    let request = wire::produce(topic, 0, &wire::batch(1, 1024, 7));
    send(address, &request, topic, total, Instant::now() + Duration::from_millis(50), every, warm_up)
}

/// Reads partition 0 of `topic` from its beginning, again and again, until told to stop. Answers the bytes it got. It gives
/// way to the producer, which shares its core: taking a reply of 1 MiB would hold the producer's answers up by as much as
/// the node's device does.
pub fn read_behind(address: SocketAddr, topic: &str, stop: Arc<AtomicBool>) -> thread::JoinHandle<io::Result<u64>> {
    let topic = topic.to_owned();
    thread::spawn(move || {
        rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19)?;
        let mut stream = TcpStream::connect(address)?;
        let (mut next, mut bytes, mut frame) = (0, 0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            load::ask_into(&mut stream, &wire::fetch(&topic, 0, next, 500, 1 << 20), &mut frame)?;
            let (error, records) = wire::fetch_answer(&frame, &topic);
            if error != 0 {
                return Err(io::Error::other(format!("the node answered error {error}")));
            }
            bytes += records.len() as u64;
            next = wire::batches(records).last().map_or(0, |(_, last, _)| last + 1);
        }
        Ok(bytes)
    })
}

/// Sends on time and answers how late each answer came, counted from the time at which its request was due.
fn send(
    address: SocketAddr,
    request: &[u8],
    topic: &str,
    total: u64,
    begin: Instant,
    every: Duration,
    warm_up: Duration,
) -> io::Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let topic = topic.to_owned();
    let reader = thread::spawn(move || -> io::Result<Histogram<u64>> {
        let mut latency_us = load::histogram();
        for index in 0..total {
            let frame = read_frame(&mut answers)?;
            let now = Instant::now();
            let (error, _) = wire::produce_answer(&frame, &topic);
            if error != 0 {
                return Err(io::Error::other(format!("the node answered error {error}")));
            }
            record(&mut latency_us, now, begin, every, index, warm_up)?;
        }
        Ok(latency_us)
    });
    for index in 0..total {
        let due = begin + every * u32::try_from(index).map_err(io::Error::other)?;
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        stream.write_all(request)?;
    }
    reader.join().map_err(|_| io::Error::other("the reader panicked"))?
}

fn record(
    latency_us: &mut Histogram<u64>,
    now: Instant,
    begin: Instant,
    every: Duration,
    index: u64,
    warm_up: Duration,
) -> io::Result<()> {
    let due = begin + every * u32::try_from(index).map_err(io::Error::other)?;
    if due >= begin + warm_up {
        let late = now.saturating_duration_since(due);
        latency_us.saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
    }
    Ok(())
}

fn consume(
    address: SocketAddr,
    topic: &str,
    total: u64,
    begin: Instant,
    every: Duration,
    warm_up: Duration,
    stop: &AtomicBool,
) -> io::Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut latency_us = load::histogram();
    let mut next = 0_i64;
    while u64::try_from(next).unwrap_or(0) < total && !stop.load(Ordering::Relaxed) {
        let frame = load::ask(&mut stream, &wire::fetch(topic, 0, next, 500, 1 << 20))?;
        let now = Instant::now();
        let (error, records) = wire::fetch_answer(&frame, topic);
        if error != 0 {
            return Err(io::Error::other(format!("the node answered error {error}")));
        }
        for (_, last, _) in wire::batches(records) {
            record(&mut latency_us, now, begin, every, u64::try_from(last).map_err(io::Error::other)?, warm_up)?;
            next = last + 1;
        }
    }
    Ok(latency_us)
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(len)).map_err(io::Error::other)?];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}
