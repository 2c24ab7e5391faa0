//! The production environment on the real kernel: real sockets, O_DIRECT files on a real disk, real threads.

mod disk;
mod idle;
mod jobs;
mod lock;
mod pauses;
mod shards;
mod sockets;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::kernel::File;
use super::pump::{self, Config, ShardPlan};
use super::socket::Socket;
use super::{AppendBuf, Back, Job, Kernel, Op, OpenHow, Output, Runtime, Slice};
use crate::types::ShardId;

/// Runs `body` on one shard with small pools.
fn on_shard<F, T>(body: impl Fn(Rc<Runtime<Kernel>>) -> F + Send + Clone + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    on_shard_with(&small(), body)
}

fn on_shard_with<F, T>(config: &Config, body: impl Fn(Rc<Runtime<Kernel>>) -> F + Send + Clone + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let plans = vec![ShardPlan { shard: ShardId::FIRST, core: None, seat: () }];
    let mut results =
        pump::run_shards(plans, config, &[], move |runtime, ()| body(runtime)).expect("io_uring works here");
    results.pop().expect("one shard")
}

fn small() -> Config {
    Config { ring_entries: 64, receive_pool_bytes: 4 << 20, receive_buffer_bytes: 4 << 10, ..Config::default() }
}

fn listen() -> (Socket, SocketAddr) {
    let socket = Socket::listen("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
    let address = socket.local_address().expect("bound");
    (socket, address)
}

async fn accept(runtime: &Rc<Runtime<Kernel>>, listener: &Socket) -> Socket {
    let done = runtime.submit(Op::Accept { listener: listener.clone() }).await;
    done.result.expect("accepted");
    match done.back {
        Back::Socket(socket) => socket,
        other => panic!("an accept gave {other:?}"),
    }
}

async fn open(runtime: &Rc<Runtime<Kernel>>, path: &std::path::Path, how: OpenHow) -> File {
    match runtime.job(Job::Open(path.to_owned(), how)).await.expect("opened") {
        Output::File(file) => file,
        other => panic!("an open gave {other:?}"),
    }
}

const DIRECT: OpenHow = OpenHow { write: true, create: true, direct: true };

/// A slice of `len` bytes, each `byte`.
fn filled(len: usize, byte: u8) -> Slice {
    let mut buf = AppendBuf::with_capacity(len);
    buf.append(&vec![byte; len]);
    buf.slice(0..len)
}

/// The future if it ends within `ms`.
async fn within<T>(runtime: &Rc<Runtime<Kernel>>, ms: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut sleep = pin!(runtime.sleep_ms(ms));
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}
