//! The server over real sockets: what it answers, and that nobody who misbehaves keeps it from others.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Answer, Http, Status};
use crate::io::socket::Socket;
use crate::limits::HTTP_CONNECTIONS_MAX;

/// A server that tells paths, has a page of 8 MiB, and counts what it answered.
fn serve() -> (Http, SocketAddr, Arc<AtomicUsize>) {
    let listener = Socket::listen((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = listener.local_address().expect("it is bound");
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let http = Http::serve(listener, move |path| {
        count.fetch_add(1, Ordering::SeqCst);
        match path {
            "/large" => Answer::text(Status::Ok, "x".repeat(LARGE)),
            "/none" => Answer::text(Status::NotFound, "no\n"),
            path => Answer::text(Status::Ok, path),
        }
    });
    (http.expect("a thread"), address, answered)
}

const LARGE: usize = 8 << 20;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

/// All that comes back for these bytes.
fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // The server may have refused it before it is all sent.
    let _ = stream.write_all(bytes);
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    answer
}

#[test]
fn get_and_head_are_answered_with_the_length_of_the_body() {
    let (_http, address, _) = serve();
    let answer = ask(address, b"GET /a/b?c=d HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Length: 4\r\n") && head.ends_with("\r\nConnection: close"), "{head}");
    assert_eq!(body, "/a/b");
    let answer = ask(address, b"HEAD /a/b HTTP/1.0\r\n\r\n");
    assert!(answer.contains("\r\nContent-Length: 4\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(ask(address, b"GET /none HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    let large = ask(address, b"GET /large HTTP/1.1\r\n\r\n");
    assert_eq!(large.split_once("\r\n\r\n").map(|(_, body)| body.len()), Some(LARGE));
}

#[test]
fn a_head_may_come_byte_by_byte_and_its_peer_may_end_its_side() {
    let (_http, address, _) = serve();
    let mut stream = connect(address);
    stream.set_nodelay(true).expect("an option");
    for byte in b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" {
        stream.write_all(&[*byte]).expect("it reads");
    }
    stream.shutdown(Shutdown::Write).expect("open");
    assert!(rest(&mut stream).ends_with("\r\n\r\n/slow"));
}

#[test]
fn what_is_no_request_for_a_page_is_refused_with_the_reason() {
    let (_http, address, answered) = serve();
    for (bytes, status) in [
        (&b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"[..], "405 Method Not Allowed"),
        (b"DELETE / HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 Bad Request"),
        (b"GET\r\n\r\n", "400 Bad Request"),
        (b"GET /x HTTP/3.9\r\n\r\n", "400 Bad Request"),
        (b"GET /x HTTP/1.1\r\n: no name\r\n\r\n", "400 Bad Request"),
        (b"\0\0\0\x14\0\x12\0\0", "400 Bad Request"),
    ] {
        let answer = ask(address, bytes);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{:?}: {answer}",
            String::from_utf8_lossy(bytes)
        );
        assert_eq!(answer.contains("Allow: GET, HEAD"), status.starts_with("405"), "{answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    for bytes in [long, many] {
        assert!(ask(address, bytes.as_bytes()).starts_with("HTTP/1.1 431 "), "{}...", &bytes[..40]);
    }
    assert_eq!(answered.load(Ordering::SeqCst), 0);
}

#[test]
fn peers_that_never_ask_or_never_read_keep_nobody_out() {
    let (_http, address, _) = serve();
    let mut half: Vec<TcpStream> = (0..3 * HTTP_CONNECTIONS_MAX).map(|_| connect(address)).collect();
    for stream in &mut half {
        // Those that had to make room are gone already.
        let _ = stream.write_all(b"GET /met");
    }
    let stalled: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"GET /large HTTP/1.1\r\n\r\n").expect("it reads");
            stream
        })
        .collect();
    let begun = Instant::now();
    for n in 0..50 {
        let page = format!("GET /{n} HTTP/1.1\r\n\r\n");
        assert!(ask(address, page.as_bytes()).ends_with(&format!("\r\n\r\n/{n}")));
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "they were waited for: {:?}", begun.elapsed());
    drop((half, stalled));
}

#[test]
fn all_who_ask_at_once_are_answered_at_once() {
    let (_http, address, _) = serve();
    let took = || {
        let mut asking: Vec<TcpStream> = (0..HTTP_CONNECTIONS_MAX).map(|_| connect(address)).collect();
        for stream in &mut asking {
            stream.write_all(b"GET /x HTTP/1.1\r\n\r").expect("it reads");
        }
        let begun = Instant::now();
        // None of them ends its side before all have their answers.
        for stream in &mut asking {
            stream.write_all(b"\n").expect("it reads");
        }
        for stream in &mut asking {
            assert!(rest(stream).ends_with("/x"));
        }
        begun.elapsed()
    };
    // Not after the second for which a peer's end is waited; a machine that is busy may need a second look.
    assert!((0..10).any(|_| took() < Duration::from_millis(900)), "some were left to wait");
}

#[test]
fn it_ends_with_connections_open() {
    let (http, address, _) = serve();
    let mut idle = connect(address);
    assert!(ask(address, b"GET /x HTTP/1.1\r\n\r\n").ends_with("/x"));
    drop(http);
    assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
