//! `ringmain produce` and `ringmain consume` against a real node: what goes in comes out, and what is said when not.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::node::{Node, PROGRAM, free_address, scratch, size};

/// Runs a command of the client with `input` on its stdin.
fn run(node: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = start(node, arguments);
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A command that fails at once reads nothing, which is fine.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic");
    output
}

fn start(node: &str, arguments: &[&str]) -> Child {
    let (command, rest) = arguments.split_first().expect("a command");
    Command::new(PROGRAM)
        .args([command, "--bootstrap-server", node])
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

#[track_caller]
fn good(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
}

#[track_caller]
fn text(output: Output) -> String {
    String::from_utf8(good(output)).expect("text")
}

fn produce(node: &str, topic: &str, more: &[&str], input: &[u8]) -> Output {
    run(node, &[&["produce", "--topic", topic], more].concat(), input)
}

fn consume(node: &str, topic: &str, more: &[&str]) -> Output {
    run(node, &[&["consume", "--topic", topic, "--exit-eof"], more].concat(), b"")
}

fn make(node: &str, topic: &str, more: &[&str]) {
    let output =
        Command::new(PROGRAM).args(["topics", "create", topic, "--bootstrap-server", node]).args(more).output();
    good(output.expect("the program starts"));
}

/// Lines like those of a web server, no two alike.
fn access_lines(count: usize) -> Vec<u8> {
    let mut text = String::new();
    for number in 0..count {
        let (a, b, status) = (number * 7 % 251, number * 31 % 241, [200, 304, 404, 500][number % 4]);
        writeln!(text, "10.{a}.{b}.1 - - \"GET /item/{number} HTTP/1.1\" {status} {}", number * 97 % 65_521)
            .expect("a string takes all");
    }
    text.into_bytes()
}

#[test]
fn lines_come_back_byte_for_byte_with_every_codec() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let bootstrap = node.bootstrap();
    let mut lines = access_lines(size("CLI_LINES", 20_000));
    // No text at all: every byte but the newline, empty lines, CRLF.
    lines.extend((0..=255_u8).filter(|byte| *byte != b'\n'));
    lines.extend(b"\n\n\r\n\0\n\xff\xfe\r\n");
    let file = dir.path().join("lines");
    fs::write(&file, &lines).expect("written");
    let path = file.to_str().expect("UTF-8");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let said = run(&bootstrap, &["produce", "-t", codec, "-z", codec, "--batch-size", "50K", path], b"");
        let records = lines.iter().filter(|byte| **byte == b'\n').count();
        let summary = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(summary.contains(&format!("{codec}: {records} records")), "{summary}");
        good(said);
        assert!(good(consume(&bootstrap, codec, &["--from-beginning"])) == lines, "{codec}: other bytes came back");
    }
    // Several files, stdin among them; a last line without newline is a record too.
    good(run(&bootstrap, &["produce", "-t", "two", path, "-"], b"last"));
    assert!(good(consume(&bootstrap, "two", &["--from-beginning"])) == [&lines[..], b"last\n"].concat());
    good(produce(&bootstrap, "two", &[], b""));
    assert_eq!(text(consume(&bootstrap, "two", &["-o", "-1", "-q"])), "last\n", "nothing more came of no input");
}

#[test]
fn keys_choose_partitions_as_kafka_does() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let bootstrap = node.bootstrap();
    make(&bootstrap, "keyed", &["--partitions", "7"]);
    // murmur2 of Kafka's own UtilsTest, without the sign, modulo 7.
    let keys: [(&str, i32); 4] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("abc", 479_470_107),
    ];
    let mut lines = String::new();
    for (key, _) in keys {
        writeln!(lines, "{key}=>value of {key}").expect("a string takes all");
    }
    good(produce(&bootstrap, "keyed", &["--key-separator", "=>"], lines.as_bytes()));
    let found = text(consume(&bootstrap, "keyed", &["--from-beginning", "-f", r"%k %p %s\n"]));
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    let mut expected: Vec<String> =
        keys.iter().map(|(key, hash)| format!("{key} {} value of {key}", (hash & i32::MAX) % 7)).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // Without a key: each batch goes somewhere, all of it to one partition, unless one is named.
    good(produce(&bootstrap, "keyed", &["-p", "5"], b"here\n"));
    assert_eq!(text(consume(&bootstrap, "keyed", &["-p", "5", "-o", "-1"])), "here\n");
    fails(&produce(&bootstrap, "keyed", &["-p", "7"], b"x\n"), 2, &["--partition 7", "keyed has 7"]);
    fails(&produce(&bootstrap, "keyed", &["-K", ":"], b"a:1\nb:2\nnone\nd:4\n"), 1, &["stdin:3", "\":\""]);
    let kept = text(consume(&bootstrap, "keyed", &["--from-beginning", "--print-key", "-K", "="]));
    assert!(kept.contains("a=1\n") && kept.contains("b=2\n") && !kept.contains("d=4"), "the lines before it: {kept}");
}

#[test]
fn records_have_headers_nulls_and_every_format() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let bootstrap = node.bootstrap();
    let arguments = ["-K", ":", "-Z", "NULL", "-H", "app=shop", "--headers-separator", r"\t"];
    good(produce(&bootstrap, "parts", &arguments, b"id:7,kind:NULL\tkey:value:1\n\tNULL:NULL\n\t:\xff\n"));
    let columns = ["--print-partition", "--print-offset", "--print-headers", "--print-key", "-K", "|"];
    let found = good(consume(&bootstrap, "parts", &[&["--from-beginning"], &columns[..]].concat()));
    let lines = b"Partition:0|Offset:0|app:shop,id:7,kind:null|key|value:1\n\
                  Partition:0|Offset:1|app:shop|null|null\nPartition:0|Offset:2|app:shop||\xff\n";
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(lines));
    let found = text(consume(&bootstrap, "parts", &["-o", "0", "-c", "2", "-f", r"%o:%K:%S:%h;"]));
    assert_eq!(found, "0:3:7:app=shop,id=7,kind=;1:-1:-1:app=shop;");
    let found = text(consume(&bootstrap, "parts", &["-o", "earliest", "--json"]));
    let records: Vec<serde_json::Value> =
        found.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(records.len(), 3);
    assert_eq!((records[0]["value"].as_str(), records[0]["headers"][1]["key"].as_str()), (Some("value:1"), Some("id")));
    assert!(records[1]["value"].is_null() && records[1]["key"].is_null());
    assert_eq!((records[2]["value_base64"].as_str(), records[2]["key"].as_str()), (Some("/w=="), Some("")));
    assert!(records[0]["timestamp"].as_i64().expect("a number") > 1_600_000_000_000);
}

#[test]
fn long_lines_pass_until_a_limit_that_is_named() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let bootstrap = node.bootstrap();
    make(&bootstrap, "long", &["--config", "max.message.bytes=2097152"]);
    let mebibyte = vec![b'm'; 1 << 20];
    let lines = [b"short", &mebibyte[..], b"after"].join(&b'\n');
    good(produce(&bootstrap, "long", &[], &lines));
    assert!(good(consume(&bootstrap, "long", &["--from-beginning"])) == [&lines[..], b"\n"].concat());
    let three = [b"fits\n", &vec![b'x'; 3 << 20][..]].concat();
    let refused = produce(&bootstrap, "long", &[], &three);
    fails(&refused, 1, &["stdin:2", "MESSAGE_TOO_LARGE", "max.message.bytes of the topic is 2097152"]);
    let limited = produce(&bootstrap, "long", &["--max-line", "1M"], &three);
    fails(&limited, 1, &["stdin:2", "1048576 bytes", "--max-line", "all lines before stdin:2 are in long"]);
    // Compressed it fits, since the limit is of what is stored.
    good(produce(&bootstrap, "long", &["-z", "zstd"], &three));
    assert_eq!(good(consume(&bootstrap, "long", &["-o", "-1", "-f", "%S"])), (3 << 20).to_string().as_bytes());
}

#[test]
fn what_cannot_be_done_is_said() {
    let dir = scratch();
    let mut node = Node::start_at(dir.path(), free_address(), &["--set", "auto.create.topics.enable=false"]);
    let bootstrap = node.bootstrap();
    fails(&produce(&bootstrap, "nothing", &[], b"x\n"), 1, &["nothing: UNKNOWN_TOPIC_OR_PARTITION"]);
    fails(&consume(&bootstrap, "nothing", &[]), 1, &["nothing: UNKNOWN_TOPIC_OR_PARTITION"]);
    make(&bootstrap, "there", &[]);
    fails(&run(&bootstrap, &["produce", "-t", "there", "no-such-file"], b""), 1, &["no-such-file", "No such file"]);
    let folder = dir.path().to_str().expect("UTF-8");
    fails(&run(&bootstrap, &["produce", "-t", "there", folder], b""), 1, &[folder, "directory"]);
    fails(&produce(&bootstrap, "there", &["--acks", "1", "--idempotent"], b""), 2, &["--idempotent needs --acks all"]);
    fails(&produce(&bootstrap, "there", &["--acks", "2"], b""), 2, &["--acks"]);
    fails(&consume(&bootstrap, "there", &["-p", "3"]), 1, &["--partition 3: there has 1"]);
    fails(&consume(&bootstrap, "there", &["-o", "17"]), 1, &["OFFSET_OUT_OF_RANGE", "offset 17", "0 to 0"]);
    fails(&consume(&bootstrap, "there", &["-f", "%q"]), 2, &["%q"]);
    fails(&consume(&bootstrap, "there", &["--timestamp", "yesterday"]), 2, &["2026-11-21T10:30:00Z"]);
    node.stop();
    fails(&produce(&bootstrap, "there", &[], b"x\n"), 1, &["Is a node running there?"]);
    fails(&consume(&bootstrap, "there", &[]), 1, &["Is a node running there?"]);
}

#[test]
fn reading_begins_and_ends_where_it_is_told() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let bootstrap = node.bootstrap();
    // One batch: an offset inside of it begins in its middle.
    good(produce(&bootstrap, "numbers", &["-z", "lz4"], b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"));
    let read = |more: &[&str]| text(consume(&bootstrap, "numbers", more));
    assert_eq!(read(&["-o", "7"]), "7\n8\n9\n");
    assert_eq!(read(&["-o", "-2"]), "8\n9\n");
    assert_eq!(read(&["-o", "-99", "-c", "3"]), "0\n1\n2\n");
    assert_eq!(read(&[]), "", "latest is the default");
    let later = text(run(&bootstrap, &["consume", "-t", "numbers", "-o", "9", "--timeout-ms", "300"], b""));
    assert_eq!(later, "9\n", "without --exit-eof it ends when nothing has come for so long");
    let times = read(&["-o", "0", "-f", "%T "]);
    let time: i64 = times.split(' ').next().expect("a time").parse().expect("a number");
    assert_eq!(read(&["--timestamp", &time.to_string()]).lines().count(), 10);
    assert_eq!(read(&["--timestamp", &(time + 3_600_000).to_string()]), "");
    assert_eq!(read(&["--timestamp", "2001-09-09T01:46:40Z", "-c", "1"]), "0\n");
    assert_eq!(read(&["-o", "99", "--reset", "earliest"]), "", "the end is told before");
    // A reader that leaves ends it without a word of complaint.
    let mut child = start(&bootstrap, &["consume", "-t", "numbers", "--from-beginning"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn lines_of(range: std::ops::Range<usize>) -> String {
    range.fold(String::new(), |mut text, number| {
        writeln!(text, "line {number:07}").expect("a string takes all");
        text
    })
}

#[test]
fn an_idempotent_producer_lives_through_kill_9() {
    let dir = scratch();
    let address = free_address();
    let bootstrap = address.to_string();
    let launch = |dir: &Path| Node::start_at(dir, address, &["--set", "log.segment.bytes=1048576"]);
    let mut node = launch(dir.path());
    make(&bootstrap, "once", &[]);
    let count = size("CLI_KILL_LINES", 60_000);
    let mut producer = start(&bootstrap, &["produce", "-t", "once", "--batch-size", "4K"]);
    let mut stdin = producer.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || {
        for first in (0..count).step_by(500) {
            stdin.write_all(lines_of(first..(first + 500).min(count)).as_bytes()).expect("the producer reads on");
        }
    });
    // Killed when some of it is there, whatever the speed of the machine.
    for part in 1..=2 {
        while held(&bootstrap) < count * part / 4 {
            std::thread::yield_now();
        }
        node.kill();
        node = launch(dir.path());
    }
    writer.join().expect("all was read");
    good(producer.wait_with_output().expect("it ends"));
    let found = text(consume(&bootstrap, "once", &["--from-beginning"]));
    assert!(found == lines_of(0..count), "{} lines of {count}, in order and once", found.lines().count());
    node.stop();
}

/// How many records the topic of the kill test has. A node that was just killed may still hold its port for a moment.
fn held(bootstrap: &str) -> usize {
    let arguments = ["consume", "-t", "once", "-o", "-1", "-e", "-f", "%o"];
    let output = run(bootstrap, &arguments, b"");
    let last = String::from_utf8(output.stdout).expect("a number");
    last.parse::<usize>().map_or(0, |last| last + 1)
}

#[test]
fn ctrl_c_says_how_far_it_got() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let bootstrap = node.bootstrap();
    make(&bootstrap, "typed", &[]);
    let mut producer = start(&bootstrap, &["produce", "-t", "typed"]);
    let mut stdin = producer.stdin.take().expect("piped");
    stdin.write_all(b"one\ntwo\n").expect("it reads");
    // Both have arrived although the pipe is still open: lines go out as they come.
    let seen = run(&bootstrap, &["consume", "-t", "typed", "--from-beginning", "-c", "2"], b"");
    assert_eq!(text(seen), "one\ntwo\n");
    let id = producer.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill(1)").success());
    let output = producer.wait_with_output().expect("it ends");
    fails(&output, 130, &["interrupted", "2 records acknowledged", "all lines before stdin:3 are in typed"]);
}

/// Waits until a file holds so many lines.
fn wait_for_lines(files: &[&Path], count: usize) -> Vec<String> {
    let begun = std::time::Instant::now();
    loop {
        let text: String = files.iter().map(|file| fs::read_to_string(file).expect("a file")).collect();
        // The last line may be on its way.
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(begun.elapsed().as_secs() < 120, "{} lines of {count}", text.lines().count());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The topic `work` and the group `readers`, as the commands see them.
struct Readers {
    bootstrap: String,
}

impl Readers {
    fn new(node: &Node) -> Self {
        let bootstrap = node.bootstrap();
        make(&bootstrap, "work", &["--partitions", "3"]);
        Self { bootstrap }
    }

    fn send(&self, range: std::ops::Range<usize>) {
        let lines: String = range.map(|number| format!("{number}:{number}\n")).collect();
        good(produce(&self.bootstrap, "work", &["-K", ":"], lines.as_bytes()));
    }

    fn read(&self, more: &[&str]) -> usize {
        text(consume(&self.bootstrap, "work", &[&["-g", "readers"], more].concat())).lines().count()
    }

    fn groups(&self, arguments: &[&str]) -> Output {
        run(&self.bootstrap, &[&["groups"], arguments].concat(), b"")
    }

    fn described(&self) -> serde_json::Value {
        serde_json::from_str(&text(self.groups(&["describe", "readers", "--json"]))).expect("JSON")
    }

    fn lag(&self) -> i64 {
        let described = self.described();
        let partitions = described["partitions"].as_array().expect("an array");
        partitions.iter().map(|part| part["lag"].as_i64().expect("known")).sum()
    }

    /// Members that have partitions.
    fn owners(&self) -> usize {
        let described = self.described();
        let members = described["members"].as_array().expect("an array").iter();
        let owns = |member: &&serde_json::Value| {
            member["partitions"]["work"].as_array().is_some_and(|partitions| !partitions.is_empty())
        };
        members.filter(owns).count()
    }
}

const TO_EARLIEST: [&str; 5] = ["reset-offsets", "readers", "--topic", "work", "--to-earliest"];

#[test]
fn groups_remember_and_are_reset() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let readers = Readers::new(&node);
    readers.send(0..1000);
    assert_eq!(readers.read(&["--from-beginning"]), 1000);
    assert_eq!(readers.read(&["--from-beginning"]), 0, "it is remembered");
    readers.send(1000..1030);
    assert_eq!(readers.read(&["-c", "7"]), 7);
    let before = readers.described();
    assert_eq!((before["state"].as_str(), readers.lag()), (Some("Empty"), 23));
    assert!(text(readers.groups(&["list"])).contains("readers"));

    assert!(text(readers.groups(&TO_EARLIEST)).contains("NEW-OFFSET"));
    assert_eq!(readers.described(), before, "nothing without --execute");
    good(readers.groups(&[&TO_EARLIEST[..], &["--execute"]].concat()));
    assert_eq!(readers.lag(), 1030);
    good(readers.groups(&["reset-offsets", "readers", "--topic", "work:0", "--to-latest", "--execute", "--json"]));
    let left = usize::try_from(readers.lag()).expect("positive");
    assert_eq!(readers.read(&[]), left);
    assert_eq!(text(readers.groups(&["delete", "readers"])), "deleted readers\n");
    fails(&readers.groups(&["describe", "readers"]), 1, &["GROUP_ID_NOT_FOUND"]);
}

/// Each record is at one of two members, and none at both.
#[test]
fn members_of_a_group_share_and_commit_when_they_leave() {
    let dir = scratch();
    let node = Node::start(dir.path());
    let readers = Readers::new(&node);
    let files = [dir.path().join("one"), dir.path().join("two")];
    let member = |file: &Path| {
        Command::new(PROGRAM)
            .args(["consume", "-t", "work", "-g", "readers", "--from-beginning", "-b", &readers.bootstrap])
            .stdout(fs::File::create(file).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    };
    let first = member(&files[0]);
    let begun = std::time::Instant::now();
    let wait_for_owners = |count| {
        // Until it has joined there is no group to describe.
        while !readers.groups(&["describe", "readers"]).status.success() || readers.owners() < count {
            assert!(begun.elapsed().as_secs() < 120, "{count} have partitions");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait_for_owners(1);
    let members = [first, member(&files[1])];
    wait_for_owners(2);
    fails(&readers.groups(&[&TO_EARLIEST[..], &["--execute"]].concat()), 1, &["stop its consumers first"]);
    fails(&readers.groups(&["delete", "readers"]), 1, &["NON_EMPTY_GROUP"]);
    readers.send(0..300);
    let mut found = wait_for_lines(&[&files[0], &files[1]], 300);
    for mut member in members {
        let id = member.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill(1)").success());
        assert!(member.wait().expect("a child of ours").success());
    }
    found.sort_unstable();
    let mut expected: Vec<String> = (0..300).map(|number: usize| number.to_string()).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(readers.lag(), 0, "they commit when they leave");
}
