//! Connections over the simulator's sockets, which cut streams wherever the seed says.

mod faults;
mod fetch;
mod groups;
mod node;
mod operator;
mod stages;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::Context;

use bytes::Bytes;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

use crate::handlers::figures::Arrival;
use crate::handlers::reply::{CloseReason, Outcome, Reply, ReplyPart, Started};
use crate::io::sim::{Faults, SimEnv, SimSocket, World};
use crate::io::{Back, Env, Job, Op, OpenHow, Output, Pool, Runtime, Slice};
use crate::record::Records;
use crate::server::connection::Service;
use crate::server::connections::{Connections, Shared};
use crate::server::receive::ReceiveBudget;

/// Answers a frame with itself: at once, later, from a file, or not at all, as its first byte says.
struct Echo {
    rt: Rc<Runtime<SimEnv>>,
    started: Cell<usize>,
    file: RefCell<Option<<SimEnv as Env>::File>>,
}

impl Service<SimEnv> for Echo {
    fn room(&self, _cx: &mut Context<'_>) -> bool {
        true
    }

    fn start(&self, frame: Records, _arrival: Arrival, _peer: Option<SocketAddr>) -> Started<SimEnv> {
        self.started.set(self.started.get() + 1);
        let kind = frame.parts()[0][0];
        let length = u32::try_from(frame.len()).expect("small").to_be_bytes();
        let mut parts = vec![ReplyPart::Encoded(Bytes::from(length.to_vec()))];
        parts.extend(frame.parts().iter().cloned().map(|slice| ReplyPart::Records { slice, again: None }));
        match kind {
            b'L' => {
                let rt = Rc::clone(&self.rt);
                let wait_ms = rt.env().random() % 50;
                Started::Later(Box::pin(async move {
                    rt.sleep_ms(wait_ms).await;
                    Outcome::Reply(Reply::new(parts))
                }))
            }
            b'F' => {
                let file = self.file.borrow().clone().expect("the test has made it");
                let len = frame.len();
                let parts = vec![parts.remove(0), ReplyPart::File { file, position: 0, len, keep: None }];
                Started::Done(Outcome::Reply(Reply::new(parts)))
            }
            b'S' => Started::Done(Outcome::Silent),
            b'X' => Started::Done(Outcome::Close(CloseReason::UnansweredProduceFailed)),
            b'N' => Started::Later(Box::pin(std::future::pending())),
            _ => Started::Done(Outcome::Reply(Reply::new(parts))),
        }
    }
}

struct Bench {
    world: Rc<World>,
    rt: Rc<Runtime<SimEnv>>,
    client: Rc<Runtime<SimEnv>>,
    connections: Rc<Connections<SimEnv>>,
    budget: Rc<ReceiveBudget>,
    echo: Rc<Echo>,
    listener: SimSocket,
}

impl Bench {
    fn new(seed: u64, receive_bytes: usize, idle_ms: u64) -> Self {
        Self::with(seed, receive_bytes, idle_ms, Pool::new(4 << 20))
    }

    fn with(seed: u64, receive_bytes: usize, idle_ms: u64, read_pool: Pool) -> Self {
        let world = World::new(seed, Faults::default());
        let rt = world.start(1).remove(0);
        let echo = Rc::new(Echo { rt: Rc::clone(&rt), started: Cell::new(0), file: RefCell::default() });
        let budget = ReceiveBudget::new(Pool::new(receive_bytes), receive_bytes / 2);
        let service: Rc<dyn Service<SimEnv>> = echo.clone();
        let shared = Shared {
            service,
            budget: Rc::clone(&budget),
            read_pool,
            figures: Arc::default(),
            gauges: Arc::default(),
            idle_ms,
        };
        let connections = Connections::new(Rc::clone(&rt), shared);
        rt.spawn(Rc::clone(&connections).sweep()).detach();
        let listener = world.listen();
        let (accepting, opened) = (Rc::clone(&connections), listener.clone());
        let of = Rc::clone(&rt);
        rt.spawn(async move {
            loop {
                let listener = opened.clone();
                if let Back::Socket(socket) = of.submit(Op::Accept { listener }).await.back {
                    accepting.open(socket);
                }
            }
        })
        .detach();
        let client = world.client();
        Self { world, rt, client, connections, budget, echo, listener }
    }

    fn connect(&self) -> SimSocket {
        self.world.connect(&self.listener).expect("the listener lives")
    }

    fn send(&self, socket: &SimSocket, bytes: Vec<u8>) {
        let (rt, socket) = (Rc::clone(&self.client), socket.clone());
        let send = async move {
            let parts = vec![Slice::from(Bytes::from(bytes))];
            drop(rt.submit(Op::Send { socket, parts }).await.result);
        };
        self.client.spawn(send).detach();
    }

    /// The next `count` bytes, or as many as came before the end.
    fn receive(&self, socket: &SimSocket, count: usize) -> Vec<u8> {
        let received = self.world.block_on(&self.client, receive(Rc::clone(&self.client), socket.clone(), count));
        received.expect("the bytes or the end come")
    }
}

async fn receive(rt: Rc<Runtime<SimEnv>>, socket: SimSocket, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let done = rt.submit(Op::Recv { socket: socket.clone(), buf: None }).await;
        match (done.result, done.back) {
            (Ok(1..), Back::Buf(buf)) => bytes.extend(buf.filled()),
            _ => break,
        }
    }
    bytes
}

/// While there is but one subscriber, tracing asks a thread that comes to a line first for its own alone. One that has none
/// puts the line out of use for all, the test that listens included. With two it asks every one.
static SECOND_DISPATCH: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// Where lines go that a test looks at.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile, from the level of warnings on.
fn logged(run: impl FnOnce()) -> String {
    logged_from(tracing::Level::WARN, run)
}

/// What this thread logs meanwhile, from a level on.
fn logged_from(level: tracing::Level, run: impl FnOnce()) -> String {
    LazyLock::force(&SECOND_DISPATCH);
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
    tracing::subscriber::with_default(subscriber.with_max_level(level).finish(), run);
    let bytes = std::mem::take(&mut *lines.0.lock().expect("nobody panicked"));
    String::from_utf8(bytes).expect("text")
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("small");
    length.to_be_bytes().into_iter().chain(body.iter().copied()).collect()
}

/// A body of a kind, with bytes that tell its number and every position apart.
fn body(kind: u8, number: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at * 7 + number * 13 + at / 251) % 251).expect("below 251");
    std::iter::once(kind).chain((1..len).map(byte)).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "another thread is what this is about")]
fn a_line_that_another_thread_comes_to_first_is_logged_here_too() {
    fn say() {
        tracing::warn!("here it is");
    }
    let lines = logged(|| {
        std::thread::spawn(say).join().expect("it says it to nobody");
        say();
    });
    assert_eq!(lines.matches("here it is").count(), 1, "{lines}");
}

#[test]
fn replies_leave_in_request_order_whatever_is_done_first() {
    for seed in 0..30 {
        let bench = Bench::new(seed, 4 << 20, 60_000);
        let socket = bench.connect();
        let kinds = b"ALALLAALSLA";
        let bodies: Vec<_> = (0..200).map(|n| body(kinds[n % kinds.len()], n, 10 + n * 37 % 900)).collect();
        let sent: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        let expected: Vec<u8> = bodies.iter().filter(|body| body[0] != b'S').flat_map(|body| framed(body)).collect();
        bench.send(&socket, sent);
        assert!(bench.receive(&socket, expected.len()) == expected, "seed {seed}");
        assert_eq!(bench.echo.started.get(), 200);
    }
}

#[test]
fn a_frame_over_many_chunks_is_the_frame_that_was_sent() {
    for (seed, len) in (0..).zip([3 << 20, (1 << 20) + 1, 65_536, 70_000, 4096, 262_144 + 5]) {
        let bench = Bench::new(seed, 8 << 20, 60_000);
        let socket = bench.connect();
        let bodies = [body(b'A', 0, 11), body(b'A', 1, len), body(b'L', 2, len), body(b'A', 3, 10)];
        let expected: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        bench.send(&socket, expected.clone());
        assert!(bench.receive(&socket, expected.len()) == expected, "seed {seed}");
        drop(bodies);
        bench.world.run_for_ms(100);
        assert_eq!(bench.budget.held_bytes(), 0, "an idle connection holds no buffer");
    }
}

#[test]
fn many_large_frames_at_once_take_turns_within_the_budget() {
    let bench = Bench::new(3, 4 << 20, 60_000);
    let expected = framed(&body(b'A', 0, 1_500_000));
    let sockets: Vec<_> = (0..12).map(|_| bench.connect()).collect();
    for socket in &sockets {
        bench.send(socket, expected.clone());
    }
    let received: Vec<_> = sockets
        .iter()
        .map(|socket| bench.client.spawn(receive(Rc::clone(&bench.client), socket.clone(), expected.len())))
        .collect();
    let budget = Rc::clone(&bench.budget);
    let ended = bench.world.run_until(|| {
        assert!(budget.held_bytes() <= 4 << 20);
        received.iter().all(|task| task.is_finished())
    });
    assert!(ended);
    for task in received {
        assert!(bench.world.block_on(&bench.client, task).as_ref() == Some(&expected));
    }
}

#[test]
fn a_length_that_no_request_has_ends_the_connection_after_the_replies_before_it() {
    for length in [-1, 0, 9, (4 << 20) + 1, i32::MAX, i32::MIN] {
        let bench = Bench::new(7, 8 << 20, 60_000);
        let (hostile, other) = (bench.connect(), bench.connect());
        let good = framed(&body(b'L', 0, 100));
        let mut sent = good.clone();
        sent.extend(length.to_be_bytes());
        sent.extend([0; 100]);
        bench.send(&hostile, sent);
        assert_eq!(bench.receive(&hostile, usize::MAX), good, "length {length}");
        bench.send(&other, good.clone());
        assert_eq!(bench.receive(&other, good.len()), good);
        assert_eq!(bench.connections.count(), 1);
    }
}

#[test]
fn a_request_may_end_its_connection_and_no_other() {
    let bench = Bench::new(9, 1 << 20, 60_000);
    let (one, other) = (bench.connect(), bench.connect());
    let good = framed(&body(b'L', 0, 100));
    bench.send(&one, [good.clone(), framed(&body(b'X', 1, 20)), good.clone()].concat());
    assert_eq!(bench.receive(&one, usize::MAX), good);
    bench.send(&other, good.clone());
    assert_eq!(bench.receive(&other, good.len()), good);
}

#[test]
fn what_is_idle_too_long_is_closed_and_what_waits_for_us_is_not() {
    let bench = Bench::new(5, 1 << 20, 2_000);
    let (idle, half, waiting) = (bench.connect(), bench.connect(), bench.connect());
    bench.send(&half, vec![0, 0]);
    bench.send(&waiting, framed(&body(b'N', 0, 20)));
    bench.world.run_for_ms(1_000);
    assert_eq!(bench.connections.count(), 3);
    bench.world.run_for_ms(4_000);
    assert_eq!(bench.connections.count(), 1);
    assert!(bench.receive(&idle, 1).is_empty());
    assert!(bench.receive(&half, 1).is_empty());
}

#[test]
fn trickling_frames_are_cut_only_while_buffers_are_short() {
    let bench = Bench::new(6, 4 << 20, 600_000);
    let stalled: Vec<_> = (0..3).map(|_| bench.connect()).collect();
    for socket in &stalled {
        // A frame of 1 MiB of which almost nothing comes.
        bench.send(socket, [&(1_u32 << 20).to_be_bytes()[..], &[7; 70_000]].concat());
    }
    bench.world.run_for_ms(20_000);
    assert_eq!(bench.connections.count(), 3, "nobody needs the room");
    let good = framed(&body(b'A', 0, 1_800_000));
    let socket = bench.connect();
    bench.send(&socket, good.clone());
    assert!(bench.receive(&socket, good.len()) == good);
    assert!(bench.connections.count() < 4, "somebody had to make room");
}

#[test]
fn file_parts_are_sent_resident_or_not() {
    for seed in 0..20 {
        // A whole piece does not fit into the smaller one.
        let read_pool = Pool::new(if seed % 2 == 0 { 4 << 20 } else { 64 << 10 });
        let bench = Bench::with(seed, 4 << 20, 60_000, read_pool);
        let content = body(b'F', 0, 700_000);
        let (rt, bytes) = (Rc::clone(&bench.rt), content.clone());
        let file = bench.world.block_on(&bench.rt, async move {
            let path = PathBuf::from("/data/segment");
            rt.job(Job::CreateDir(PathBuf::from("/data"))).await.expect("no faults");
            rt.job(Job::WriteFile(path.clone(), bytes)).await.expect("no faults");
            match rt.job(Job::Open(path, OpenHow::default())).await.expect("no faults") {
                Output::File(file) => file,
                other => panic!("a file, not {other:?}"),
            }
        });
        *bench.echo.file.borrow_mut() = file;
        let socket = bench.connect();
        let request = framed(&content);
        bench.send(&socket, [framed(&body(b'A', 1, 50)), request.clone(), framed(&body(b'A', 2, 50))].concat());
        let expected = [framed(&body(b'A', 1, 50)), request, framed(&body(b'A', 2, 50))].concat();
        assert!(bench.receive(&socket, expected.len()) == expected, "seed {seed}");
    }
}

#[test]
fn a_stop_lets_replies_out_and_then_cuts_what_is_left() {
    let bench = Bench::new(8, 1 << 20, 60_000);
    let (busy, idle, stuck) = (bench.connect(), bench.connect(), bench.connect());
    let good = framed(&body(b'L', 0, 100));
    bench.send(&busy, good.clone());
    bench.send(&stuck, framed(&body(b'N', 0, 20)));
    bench.world.run_until(|| bench.echo.started.get() == 2);
    let connections = Rc::clone(&bench.connections);
    let left = bench.world.block_on(&bench.rt, async move { connections.stop(1_000).await });
    assert_eq!(left, Some(1), "the one that never ends");
    assert_eq!(bench.receive(&busy, usize::MAX), good);
    assert!(bench.receive(&idle, 1).is_empty());
    assert!(bench.receive(&stuck, 1).is_empty());
}
