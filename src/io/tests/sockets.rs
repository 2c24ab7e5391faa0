//! Accept, receive, send and sendfile.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::super::probe::Rung;
use super::super::socket::Bound;
use super::super::{AppendBuf, Back, Env, OpenHow};
use super::{Config, Op, accept, filled, listen, on_shard, on_shard_with, open, small, within};
use crate::io::files::scratch_dir;

/// Every way in which a ring may be set up, each forced.
fn every_setup() -> Vec<Config> {
    let with = |top_rung, provided_buffers, multishot_accept| Config {
        top_rung,
        provided_buffers,
        multishot_accept,
        ..small()
    };
    vec![
        with(Rung::Defer, true, true),
        with(Rung::Coop, true, true),
        with(Rung::Plain, true, true),
        with(Rung::Defer, false, true),
        with(Rung::Defer, true, false),
        with(Rung::Plain, false, false),
    ]
}

#[test]
fn bytes_go_both_ways_on_every_rung_and_fallback() {
    for config in every_setup() {
        let (rung, provided) = (config.top_rung, config.provided_buffers);
        let (listener, address) = listen();
        let clients: Vec<_> = (0..3_u8)
            .map(|number| {
                std::thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).expect("connected");
                    stream.write_all(&[number; 1000]).expect("sent");
                    let mut answer = vec![0; 3000];
                    stream.read_exact(&mut answer).expect("answered");
                    assert!(answer.iter().all(|byte| *byte == number));
                    assert_eq!(stream.read(&mut answer).expect("ended"), 0);
                })
            })
            .collect();
        let facts = on_shard_with(&config, move |runtime| {
            let listener = listener.clone();
            async move {
                for _ in 0..3 {
                    let socket = accept(&runtime, &listener).await;
                    let mut got = runtime.submit(Op::Recv { socket: socket.clone(), buf: None }).await;
                    let mut received = Vec::new();
                    loop {
                        let Back::Buf(buf) = got.back else { panic!("{got:?}") };
                        received.extend_from_slice(buf.filled());
                        if received.len() == 1000 {
                            break;
                        }
                        let buf = AppendBuf::with_capacity(4096);
                        got = runtime.submit(Op::Recv { socket: socket.clone(), buf: Some(buf) }).await;
                    }
                    let number = received[0];
                    assert!(received.iter().all(|byte| *byte == number));
                    let parts = vec![filled(1500, number), filled(0, 0), filled(1500, number)];
                    let sent = runtime.submit(Op::Send { socket, parts }).await;
                    assert_eq!(sent.result.expect("sent"), 3000);
                }
                runtime.env().facts()
            }
        });
        assert_eq!(facts.rung, rung, "this kernel takes every rung");
        assert_eq!(facts.provided_buffers, provided);
        clients.into_iter().for_each(|client| client.join().expect("a client's assertions hold"));
    }
}

#[test]
fn the_end_of_a_stream_is_an_empty_receive_and_gives_the_buffer_back() {
    for config in every_setup() {
        let (listener, address) = listen();
        let client = TcpStream::connect(address).expect("connected");
        client.shutdown(std::net::Shutdown::Write).expect("half closed");
        on_shard_with(&config, move |runtime| {
            let listener = listener.clone();
            async move {
                let socket = accept(&runtime, &listener).await;
                let buf = AppendBuf::with_capacity(4096);
                let done = runtime.submit(Op::Recv { socket: socket.clone(), buf: Some(buf) }).await;
                assert_eq!(done.result.expect("ended"), 0);
                assert!(matches!(done.back, Back::Buf(buf) if buf.is_empty()));
                let done = runtime.submit(Op::Recv { socket, buf: None }).await;
                assert_eq!(done.result.expect("ended"), 0);
            }
        });
    }
}

#[test]
fn a_thousand_idle_connections_own_no_buffer() {
    let config = Config { ring_entries: 256, ..small() };
    let (listener, address) = listen();
    on_shard_with(&config, move |runtime| {
        let listener = listener.clone();
        async move {
            let at_rest = runtime.env().receive_pool().outstanding_bytes();
            let mut clients = Vec::new();
            let mut receives = Vec::new();
            for _ in 0..1000 {
                clients.push(TcpStream::connect(address).expect("connected"));
                let socket = accept(&runtime, &listener).await;
                receives.push(runtime.submit(Op::Recv { socket, buf: None }));
            }
            runtime.sleep_ms(20).await;
            assert_eq!(runtime.env().receive_pool().outstanding_bytes(), at_rest);
            assert!(at_rest <= 1 << 20, "the kernel's own stock is small: {at_rest}");
            clients[700].write_all(b"awake").expect("sent");
            let done = receives.swap_remove(700).await;
            assert!(matches!(done.back, Back::Buf(buf) if buf.filled() == b"awake"));
        }
    });
}

#[test]
fn an_empty_receive_pool_refuses_and_recovers() {
    for provided_buffers in [true, false] {
        let config = Config { receive_pool_bytes: 16 << 10, provided_buffers, ..small() };
        let (listener, address) = listen();
        on_shard_with(&config, move |runtime| {
            let listener = listener.clone();
            async move {
                let pool = runtime.env().receive_pool();
                let mut held = Vec::new();
                while let Some(buf) = pool.take(4096) {
                    held.push(buf);
                }
                let mut taken = Vec::new();
                let mut refused = 0;
                let mut client = TcpStream::connect(address).expect("connected");
                let socket = accept(&runtime, &listener).await;
                for _ in 0..6 {
                    client.write_all(b"x").expect("sent");
                    let done = runtime.submit(Op::Recv { socket: socket.clone(), buf: None }).await;
                    match (done.result, done.back) {
                        (Ok(_), Back::Buf(buf)) => taken.push(buf),
                        (Err(error), _) if error.kind() == ErrorKind::OutOfMemory => refused += 1,
                        other => panic!("{other:?}"),
                    }
                }
                assert!(refused >= 4, "only the kernel's stock could be used: {refused}");
                drop((held, taken));
                let done = runtime.submit(Op::Recv { socket, buf: None }).await;
                assert!(matches!(done.back, Back::Buf(buf) if !buf.is_empty()), "what was refused is still there");
            }
        });
    }
}

#[test]
fn an_orphaned_receive_gives_its_buffer_back() {
    let (listener, address) = listen();
    on_shard(move |runtime| {
        let listener = listener.clone();
        async move {
            let mut client = TcpStream::connect(address).expect("connected");
            let socket = accept(&runtime, &listener).await;
            let pool = runtime.env().receive_pool();
            let at_rest = pool.outstanding_bytes();
            let buf = pool.take(64 << 10).expect("room");
            drop(runtime.submit(Op::Recv { socket: socket.clone(), buf: Some(buf) }));
            runtime.sleep_ms(5).await;
            assert_eq!(pool.outstanding_bytes(), at_rest + (64 << 10), "the kernel still owns it");
            assert_eq!(runtime.under_way(), 1);
            client.write_all(b"late").expect("sent");
            within(&runtime, 1000, async {
                while runtime.under_way() > 0 {
                    runtime.sleep_ms(1).await;
                }
            })
            .await
            .expect("the completion frees the slot");
            assert_eq!(pool.outstanding_bytes(), at_rest);
            // The same through a shutdown, which is how a connection is given up.
            drop(runtime.submit(Op::Recv { socket: socket.clone(), buf: pool.take(4096) }));
            runtime.env().shutdown(&socket);
            runtime.sleep_ms(5).await;
            assert_eq!((runtime.under_way(), pool.outstanding_bytes()), (0, at_rest));
        }
    });
}

#[test]
fn connections_are_accepted_before_and_after_they_are_asked_for() {
    for multishot_accept in [true, false] {
        let config = Config { multishot_accept, ..small() };
        let (listener, address) = listen();
        on_shard_with(&config, move |runtime| {
            let listener = listener.clone();
            async move {
                let asked: Vec<_> = (0..3).map(|_| runtime.submit(Op::Accept { listener: listener.clone() })).collect();
                let mut clients: Vec<_> = (0..200).map(|_| TcpStream::connect(address).expect("connected")).collect();
                let mut sockets = Vec::new();
                for asked in asked {
                    let Back::Socket(socket) = asked.await.back else { panic!("no connection") };
                    sockets.push(socket);
                }
                // More have arrived than are kept unasked for; each is given out all the same.
                runtime.sleep_ms(10).await;
                while sockets.len() < 200 {
                    let socket = within(&runtime, 1000, accept(&runtime, &listener)).await;
                    sockets.push(socket.expect("every connection is given out"));
                }
                clients.push(TcpStream::connect(address).expect("connected"));
                sockets.push(accept(&runtime, &listener).await);
                let ours: std::collections::BTreeSet<_> =
                    clients.iter().map(|client| client.local_addr().expect("bound")).collect();
                let theirs: std::collections::BTreeSet<_> =
                    sockets.iter().map(|socket| socket.peer_address().expect("connected")).collect();
                assert_eq!(ours, theirs);
            }
        });
    }
}

#[test]
fn a_listener_that_is_shut_down_refuses() {
    for multishot_accept in [true, false] {
        let config = Config { multishot_accept, ..small() };
        let (listener, _address) = listen();
        on_shard_with(&config, move |runtime| {
            let listener = listener.clone();
            async move {
                let asked = runtime.submit(Op::Accept { listener: listener.clone() });
                runtime.sleep_ms(5).await;
                runtime.env().shutdown(&listener);
                let done = within(&runtime, 1000, asked).await.expect("the accept ends");
                done.result.expect_err("nobody can come any more");
            }
        });
    }
}

#[test]
fn a_port_in_use_is_refused() {
    let (_listener, address) = listen();
    let error = super::Socket::listen(address).expect_err("two listeners never share a port");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn nobody_connects_to_an_address_that_is_only_taken() {
    // An address of this test's own: no other can have taken the port there.
    let free = SocketAddr::from(([127, 0, 9, 1], 9092));
    let bound = Bound::to(free).expect("free");
    let refused = TcpStream::connect(free).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let other = TcpListener::bind(free);
    let listener = bound.listen();
    // Whoever asks for the address meanwhile may be bound to it as well; one of them listens.
    assert_ne!(other.is_ok(), listener.is_ok(), "{other:?} {listener:?}");
    TcpStream::connect(free).expect("somebody listens");
    let error = Bound::within(free, Duration::from_millis(50)).expect_err("it is in use");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_full_socket_says_so_and_takes_more_once_it_is_writable() {
    let (listener, address) = listen();
    let (reading, may_read) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).expect("connected");
        may_read.recv().expect("the shard says when");
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("read");
        all
    });
    let sent = on_shard(move |runtime| {
        let (listener, reading) = (listener.clone(), reading.clone());
        async move {
            let socket = accept(&runtime, &listener).await;
            let part = vec![7_u8; 256 << 10];
            let mut sent = 0;
            let mut full = 0;
            while full < 3 {
                match runtime.env().try_send(&socket, &[&part, &part]) {
                    Ok(count) => sent += count,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        let writable = runtime.submit(Op::Writable { socket: socket.clone() });
                        if full == 0 {
                            runtime.sleep_ms(20).await;
                            assert_eq!(runtime.under_way(), 1, "a full socket is not writable");
                            reading.send(()).expect("the reader waits");
                        }
                        full += 1;
                        writable.await.result.expect("writable");
                    }
                }
            }
            // What the ring sends waits by itself.
            let parts = (0..2000).map(|_| filled(1000, 7)).collect();
            sent += runtime.submit(Op::Send { socket: socket.clone(), parts }).await.result.expect("sent");
            runtime.env().shutdown(&socket);
            sent
        }
    });
    let all = reader.join().expect("read");
    assert_eq!(all.len(), sent);
    assert!(all.iter().all(|byte| *byte == 7));
}

#[test]
fn a_peer_that_is_gone_ends_a_send_with_an_error() {
    let (listener, address) = listen();
    on_shard(move |runtime| {
        let listener = listener.clone();
        async move {
            let client = TcpStream::connect(address).expect("connected");
            let socket = accept(&runtime, &listener).await;
            let parts = vec![filled(8 << 20, 1)];
            let send = runtime.submit(Op::Send { socket: socket.clone(), parts });
            runtime.sleep_ms(5).await;
            drop(client);
            let done = within(&runtime, 2000, send).await.expect("it ends");
            done.result.expect_err("the peer is gone");
            let error = runtime.env().try_send(&socket, &[b"more"]).expect_err("and stays gone");
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
        }
    });
}

#[test]
fn sendfile_sends_what_the_socket_takes_and_never_waits() {
    let dir = scratch_dir();
    let path = dir.path().join("sealed");
    let content: Vec<u8> = (0..8_u32 << 20).map(|at| u8::try_from(at % 251).expect("small")).collect();
    std::fs::write(&path, &content).expect("written");
    let (listener, address) = listen();
    let (reading, may_read) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).expect("connected");
        may_read.recv().expect("the shard says when");
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("read");
        all
    });
    on_shard(move |runtime| {
        let (listener, reading, path) = (listener.clone(), reading.clone(), path.clone());
        async move {
            let file = open(&runtime, &path, OpenHow::default()).await;
            let len = 8 << 20;
            assert_eq!(runtime.env().resident(&file, 0, len), len, "just written");
            let socket = accept(&runtime, &listener).await;
            let (mut at, mut partial, mut full) = (0, 0, 0);
            while at < len {
                match runtime.env().try_sendfile(&socket, &file, at as u64, len - at) {
                    Ok(count) => {
                        at += count;
                        partial += usize::from(at < len);
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        full += 1;
                        if full == 1 {
                            reading.send(()).expect("the reader waits");
                        }
                        let writable = runtime.submit(Op::Writable { socket: socket.clone() });
                        writable.await.result.expect("writable");
                    }
                }
            }
            assert!(partial > 0 && full > 0, "8 MiB are more than a socket takes");
            // The socket is in blocking mode again: the ring can wait on it.
            let receive = runtime.submit(Op::Recv { socket: socket.clone(), buf: None });
            assert!(within(&runtime, 20, receive).await.is_none(), "nothing was sent to us");
            runtime.env().shutdown(&socket);
        }
    });
    assert_eq!(reader.join().expect("read"), content);
}

#[test]
fn bytes_dropped_from_the_cache_are_not_resident() {
    let dir = scratch_dir();
    let path = dir.path().join("cold");
    std::fs::write(&path, vec![1_u8; 1 << 20]).expect("written");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let file = open(&runtime, &path, OpenHow::default()).await;
            let plain = std::fs::File::open(&path).expect("opened");
            plain.sync_all().expect("flushed");
            rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
            assert_eq!(runtime.env().resident(&file, 0, 1 << 20), 0);
            assert_eq!(runtime.env().resident(&file, 256 << 10, 4096), 0);
            let range = (256 << 10)..(512 << 10);
            runtime.job(super::Job::ReadAhead(file.clone(), range)).await.expect("read");
            assert_eq!(runtime.env().resident(&file, 256 << 10, 256 << 10), 256 << 10);
            assert_eq!(runtime.env().resident(&file, 256 << 10, 100), 100);
            assert_eq!(runtime.env().resident(&file, 0, 0), 0);
        }
    });
}

#[test]
fn a_drain_ends_waits_and_frees_everything() {
    let (listener, address) = listen();
    let client = TcpStream::connect(address).expect("connected");
    let begun = std::time::Instant::now();
    let pool = on_shard(move |runtime| {
        let listener = listener.clone();
        async move {
            let socket = accept(&runtime, &listener).await;
            let pool = runtime.env().receive_pool();
            for buf in [None, pool.take(4096)] {
                let receive = runtime.submit(Op::Recv { socket: socket.clone(), buf });
                runtime.spawn(async move { drop(receive.await) }).detach();
            }
            let more = runtime.submit(Op::Accept { listener });
            runtime.spawn(async move { drop(more.await) }).detach();
            runtime.sleep_ms(5).await;
            pool
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(2), "nothing waits for the deadline");
    assert_eq!(pool.outstanding_bytes(), 0);
    drop(client);
}
