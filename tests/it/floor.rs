//! `ringmain bench floor` and its server, as processes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::node::{PROGRAM, scratch};

/// The server of a stage, and what it says.
fn server(stage: &str, dir: &Path, stdin: Stdio) -> (Child, BufReader<ChildStdout>, SocketAddr) {
    let mut command = Command::new(PROGRAM);
    command.args(["bench", "floor-server", "--stage", stage, "--port", "0", "--data"]).arg(dir);
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok());
    (child, said, address.unwrap_or_else(|| panic!("no address in {line:?}")))
}

/// How it ended and what it had done.
fn ended(mut child: Child, mut said: BufReader<ChildStdout>) -> Value {
    assert!(child.wait().expect("a child of ours").success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("text");
    serde_json::from_str(&rest).unwrap_or_else(|error| panic!("{error} in {rest:?}"))
}

fn echo(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let frame = [&[0, 0, 0, 12][..], b"twelve bytes"].concat();
    stream.write_all(&frame).expect("sent");
    let mut back = vec![0; frame.len()];
    stream.read_exact(&mut back).expect("echoed");
    assert_eq!(back, frame);
}

#[test]
fn its_server_ends_when_its_stdin_does() {
    let dir = scratch();
    let (mut child, said, address) = server("echo", dir.path(), Stdio::piped());
    echo(address);
    drop(child.stdin.take());
    assert_eq!(ended(child, said)["requests"], 1);
}

#[test]
fn its_server_ends_by_a_signal_and_serves_without_a_stdin() {
    let dir = scratch();
    let (child, said, address) = server("echo", dir.path(), Stdio::null());
    echo(address);
    echo(address);
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill(1)");
    assert!(killed.success());
    assert_eq!(ended(child, said)["requests"], 2);
}

#[test]
fn what_keeps_its_server_from_beginning_is_said() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("bound").port().to_string();
    let data = file.to_str().expect("our own paths are UTF-8");
    let below = dir.path().to_str().expect("our own paths are UTF-8");
    for (stage, port, data, code, words) in [
        ("flush", "0", data, 1, "cannot keep files in"),
        ("flush", "0", "/dev/shm/ringmain-floor-test", 1, "O_DIRECT is not supported on tmpfs"),
        ("receive", port.as_str(), below, 1, "cannot listen on 127.0.0.1"),
        ("fly", "0", below, 2, "receive, checksum, copy, write, flush, sendfile, memory, echo"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["bench", "floor-server", "--stage", stage, "--port", port, "--data", data]);
        let output = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    // It was made to be looked at.
    let _ = fs::remove_dir("/dev/shm/ringmain-floor-test");
}

#[test]
fn every_stage_is_measured_at_every_size() {
    let dir = scratch();
    let mut command = Command::new(PROGRAM);
    command.args(["bench", "floor", "--seconds", "0.1", "--json", "-", "--data"]).arg(dir.path());
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = report["floor"].as_array().expect("rows");
    assert_eq!(rows.len(), 5 * 4 + 2 + 1);
    for row in rows {
        for figure in ["batch_bytes", "requests_per_second", "mb_per_second", "cpu_seconds_per_gb"] {
            assert!(row[figure].as_f64().expect("a figure") > 0.0, "{figure} of {row}");
        }
        assert!(row["latency"]["p50"].as_f64().expect("a figure") > 0.0, "{row}");
    }
    let stages: Vec<&str> = rows.iter().map(|row| row["stage"].as_str().expect("a name")).collect();
    assert_eq!(stages[..5], ["receive", "checksum", "copy", "write", "flush"]);
    assert_eq!(stages[20..], ["sendfile", "memory", "echo"]);
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 0, "its files are gone");
}

#[test]
fn rows_are_said_as_a_share_of_it() {
    let dir = scratch();
    let mut command = Command::new(PROGRAM);
    command.args([
        "bench",
        "--suite",
        "smoke",
        "--rows",
        "produce-16k,produce-acks-1,end-to-end,catch-up",
        "--json",
        "-",
    ]);
    let output = command.arg("--data").arg(dir.path()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let stage = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name).expect("the row");
        row["floor_share"]["stage"].as_str().map(str::to_owned)
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(stage("produce-16k"), named("flush"));
    assert_eq!(stage("produce-acks-1"), named("write"));
    assert_eq!(stage("catch-up"), named("sendfile"));
    assert_eq!(stage("end-to-end"), None, "it goes at a rate");
    assert_eq!(report["floor"].as_array().expect("rows").len(), 3);
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 0, "all files are gone");
}
