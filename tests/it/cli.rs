//! The command line as its user sees it: what is said, where, and with which exit code.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::node::{Node, PROGRAM, free_address, scratch};

fn ringmain(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program starts")
}

/// Runs the program with limits of its own, see tests/limited.py.
fn limited(limits: &[&str], arguments: &[&str]) -> Output {
    let loader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/limited.py");
    let mut command = Command::new("python3");
    command.arg(loader).args(limits).args(["--", PROGRAM]).args(arguments).output().expect("python3 is here")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn expect(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are UTF-8")
}

#[test]
fn help_teaches() {
    expect(&ringmain(&["--help"]), 0, &["127.0.0.1:9092", "acks=all", "doctor", "Exit codes"]);
    expect(&ringmain(&["help", "serve"]), 0, &["log.retention.ms", "RINGMAIN_NUM_PARTITIONS", "--set"]);
    expect(&ringmain(&["topics", "--help"]), 0, &["create", "describe", "--bootstrap-server", "--json"]);
    expect(&ringmain(&["log", "--help"]), 0, &["verify", "dump", "close"]);
    expect(&ringmain(&["--version"]), 0, &[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    expect(&ringmain(&["serve", "--set", "num.partition=3"]), 2, &["num.partitions"]);
    let wildcard = ["serve", "--listeners", "0.0.0.0:9092"];
    expect(&ringmain(&wildcard), 2, &["advertised.listeners=PLAINTEXT://localhost:9092"]);
    expect(&ringmain(&["serve", "--no-such-flag"]), 2, &["--no-such-flag"]);
    let dir = scratch();
    let file = dir.path().join("server.properties");
    fs::write(&file, "node.id=1\nlog.retention.hour=4\n").expect("written");
    let output = ringmain(&["serve", "--config", text(&file)]);
    expect(&output, 2, &["server.properties:2", "log.retention.hours"]);
}

#[test]
fn a_taken_port_is_said_at_once() {
    let dir = scratch();
    let address = free_address();
    let _holder = TcpListener::bind(address).expect("free");
    let mut node = Node::launch(dir.path(), address, &[]);
    assert_eq!(node.wait(), Some(1));
    let taken = format!("{address} is taken by another process");
    assert!(node.log().contains(&taken), "{}", node.log());
    let data = dir.path().join("data");
    expect(&ringmain(&["doctor", "--data", text(&data), "--listeners", &address.to_string()]), 3, &[&taken]);
}

#[test]
fn a_directory_that_is_in_use_is_said_and_waited_for() {
    let dir = scratch();
    let mut first = Node::start(dir.path());
    let data = dir.path().join("data");
    let free = free_address().to_string();
    expect(&ringmain(&["doctor", "--data", text(&data), "--listeners", &free]), 3, &["in use"]);
    let mut second = Node::launch(dir.path(), free_address(), &[]);
    second.wait_for("in use");
    second.wait_for("waiting up to 60 s");
    first.stop();
    second.wait_for("listening on");
    second.stop();
}

#[test]
fn the_directory_of_another_node_is_refused_where_an_id_is_set() {
    let dir = scratch();
    Node::start_at(dir.path(), free_address(), &["--node-id", "7"]).stop();
    let mut other = Node::launch(dir.path(), free_address(), &["--node-id", "8"]);
    assert_eq!(other.wait(), Some(1), "{}", other.log());
    assert!(other.log().contains("belongs to node 7, but node.id=8 is set"), "{}", other.log());
    Node::start(dir.path()).stop();
}

#[test]
fn a_directory_that_may_not_be_written_to_is_refused_with_its_owner() {
    let dir = scratch();
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("made");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).expect("ours");
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        return unwritable(|| Command::new(PROGRAM), &data, &["chown"]);
    }
    // Root may write anywhere; nobody may not. The program is copied to where nobody may run it.
    let shared = tempfile::tempdir().expect("a directory");
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let (copy, place) = (shared.path().join("ringmain"), shared.path().join("data"));
    fs::copy(PROGRAM, &copy).expect("copied");
    fs::create_dir(&place).expect("made");
    let nobody = || {
        let mut command = Command::new(&copy);
        command.uid(NOBODY);
        command
    };
    unwritable(nobody, &place, &["user 0", "chown"]);
}

#[track_caller]
fn unwritable(program: impl Fn() -> Command, data: &Path, words: &[&str]) {
    let free = free_address().to_string();
    for (command, code) in [("doctor", 3), ("serve", 1)] {
        let output = program().args([command, "--listeners", &free, "--data"]).arg(data).output().expect("it starts");
        expect(&output, code, &[&["cannot be written to"], words].concat());
    }
}

#[test]
fn tmpfs_is_refused_because_it_has_no_direct_io() {
    let shm = Path::new("/dev/shm");
    let kind = Command::new("stat").args(["-f", "-c", "%T"]).arg(shm).output().expect("stat(1)");
    assert_eq!(String::from_utf8_lossy(&kind.stdout).trim(), "tmpfs", "/dev/shm is where Linux has a tmpfs");
    let data = tempfile::tempdir_in(shm).expect("a directory");
    let free = free_address().to_string();
    let output = ringmain(&["serve", "--data", text(data.path()), "--listeners", &free]);
    expect(&output, 1, &["tmpfs", "O_DIRECT", "ext4 or XFS"]);
    let output = ringmain(&["doctor", "--data", text(data.path()), "--listeners", &free]);
    expect(&output, 3, &["tmpfs", "O_DIRECT", "ext4 or XFS"]);
}

#[test]
fn blocked_io_uring_is_refused_with_its_cause() {
    let dir = scratch();
    let data = dir.path().join("data");
    let free = free_address().to_string();
    let arguments = ["serve", "--data", text(&data), "--listeners", &free];
    expect(&limited(&["--no-io-uring"], &arguments), 1, &["io_uring", "seccomp", "docker/seccomp.json"]);
    let arguments = ["doctor", "--json", "--data", text(&data), "--listeners", &free];
    let output = limited(&["--no-io-uring"], &arguments);
    expect(&output, 3, &["seccomp"]);
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let fatal: Vec<&str> = checks
        .as_array()
        .expect("an array")
        .iter()
        .filter(|check| check["level"] == "fatal")
        .map(|check| check["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(fatal, ["io_uring"]);
}

#[test]
fn low_limits_are_said_with_their_values() {
    let dir = scratch();
    let data = dir.path().join("data");
    let free = free_address().to_string();
    let doctor = ["doctor", "--data", text(&data), "--listeners", &free];
    expect(&limited(&["--nofile", "300"], &doctor), 0, &["300 (RLIMIT_NOFILE, hard)", "LimitNOFILE"]);
    // A node says so and starts; this one gets no further than to a port that is taken.
    let holder = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let taken = holder.local_addr().expect("bound").to_string();
    let serve = ["serve", "--data", text(&data), "--listeners", &taken];
    expect(&limited(&["--nofile", "300"], &serve), 1, &["300 (RLIMIT_NOFILE, hard)", "LimitNOFILE", "is taken"]);
    // glommio's ring does not start below 512 KiB.
    let serve = ["serve", "--data", text(&data), "--listeners", &free];
    expect(&limited(&["--memlock", "65536"], &serve), 1, &["64 KiB (RLIMIT_MEMLOCK)", "ulimit -l", "--ulimit memlock"]);
    let output = limited(&["--memlock", "65536"], &[&doctor[..], &["--json"]].concat());
    expect(&output, 3, &["64 KiB (RLIMIT_MEMLOCK)"]);
    assert_eq!(said(&output).matches("MEMLOCK=").count(), 1, "said once: {}", said(&output));
}

#[test]
fn doctor_finds_nothing_wrong_here_and_changes_nothing() {
    let dir = scratch();
    let data = dir.path().join("data");
    let free = free_address().to_string();
    expect(
        &ringmain(&["doctor", "--data", text(&data), "--listeners", &free]),
        0,
        &["io_uring", "A node can run here"],
    );
    assert!(!data.exists(), "doctor makes nothing");
}

#[test]
fn topics_are_made_shown_and_deleted_over_the_network() {
    let dir = scratch();
    let mut node = Node::start(dir.path());
    let server = node.bootstrap();
    let topics = |arguments: &[&str]| ringmain(&[&["topics", "--bootstrap-server", &server], arguments].concat());
    expect(
        &topics(&["create", "orders", "--partitions", "3", "--config", "retention.ms=1000"]),
        0,
        &["created orders"],
    );
    expect(&topics(&["create", "orders"]), 1, &["TOPIC_ALREADY_EXISTS"]);
    expect(&topics(&["create", "orders", "--if-not-exists"]), 0, &["already"]);
    expect(&topics(&["create", "bad name"]), 1, &["INVALID_TOPIC_EXCEPTION"]);
    expect(
        &topics(&["create", "lies", "--config", "cleanup.policy=compact"]),
        1,
        &["INVALID_CONFIG", "cleanup.policy"],
    );
    let listed = topics(&["list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "orders\n");
    expect(&topics(&["describe", "orders"]), 0, &["3 partitions", "retention.ms=1000", "offsets 0 to 0"]);
    let described = topics(&["--json", "describe", "orders"]);
    let described: serde_json::Value = serde_json::from_slice(&described.stdout).expect("JSON");
    assert_eq!(described["partitions"].as_array().expect("an array").len(), 3);
    expect(&topics(&["describe", "nothing"]), 1, &["UNKNOWN_TOPIC_OR_PARTITION"]);
    expect(&topics(&["delete", "orders"]), 0, &["deleted orders"]);
    expect(&topics(&["list"]), 0, &[]);
    node.stop();
    expect(&topics(&["list"]), 1, &["Is a node running there?"]);
}

#[test]
fn topics_are_altered_over_the_network() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let server = node.bootstrap();
    let topics = |arguments: &[&str]| ringmain(&[&["topics", "--bootstrap-server", &server], arguments].concat());
    expect(&topics(&["create", "orders", "--partitions", "2", "--config", "segment.ms=60000"]), 0, &[]);
    let change =
        ["alter", "orders", "--config", "retention.ms=5000", "--delete-config", "segment.ms", "--partitions", "3"];
    expect(&topics(&change), 0, &["altered orders: retention.ms=5000 segment.ms as the node has it 3 partitions"]);
    let described = topics(&["describe", "orders"]);
    expect(&described, 0, &["3 partitions", "retention.ms=5000"]);
    assert!(!said(&described).contains("segment.ms"), "{}", said(&described));
    expect(&topics(&["alter", "orders", "--partitions", "3"]), 1, &["orders: INVALID_PARTITIONS"]);
    expect(
        &topics(&["alter", "orders", "--config", "retention.mss=1"]),
        1,
        &["orders: INVALID_CONFIG", "retention.ms"],
    );
    expect(&topics(&["alter", "nothing", "--config", "retention.ms=1"]), 1, &["nothing: UNKNOWN_TOPIC_OR_PARTITION"]);
    expect(&topics(&["alter", "orders", "--config", "retention.ms"]), 2, &["key=value"]);
    expect(&topics(&["alter", "orders"]), 2, &["--config"]);
}

const NOBODY: u32 = 65534;
