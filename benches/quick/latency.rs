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

use super::{load, wire};

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
    let sent = send(address, &request, topic, total, begin, every);
    if sent.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    let received = consumer.join().map_err(|_| io::Error::other("the consumer panicked"))?;
    sent?;
    received
}

fn send(
    address: SocketAddr,
    request: &[u8],
    topic: &str,
    total: u64,
    begin: Instant,
    every: Duration,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let topic = topic.to_owned();
    let reader = thread::spawn(move || -> io::Result<()> {
        for _ in 0..total {
            let frame = read_frame(&mut answers)?;
            let (error, _) = wire::produce_answer(&frame, &topic);
            if error != 0 {
                return Err(io::Error::other(format!("the node answered error {error}")));
            }
        }
        Ok(())
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
            let due = begin + every * u32::try_from(last).map_err(io::Error::other)?;
            if due >= begin + warm_up {
                let late = now.saturating_duration_since(due);
                latency_us.saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
            }
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
