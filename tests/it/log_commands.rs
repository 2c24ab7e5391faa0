//! `ringmain log`: what it says of whole, of damaged and of crashed directories, and that it changes nothing it should not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ringmain::record::build::{BatchBuilder, NewRecord};
use ringmain::record::{BatchHeader, HEADER_BYTES};

use crate::node::{Node, PROGRAM, free_address, scratch};
use crate::raw::Raw;

const SETTINGS: [&str; 4] = ["--set", "log.segment.bytes=1048576", "--set", "log.retention.ms=-1"];
const FIRST: &str = "t-0/00000000000000000000.log";
/// Records of one batch, and batches that are written.
const RECORDS: usize = 10;
const BATCHES: usize = 40;

fn ringmain(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program starts")
}

#[track_caller]
fn expect(arguments: &[&str], code: i32, words: &[&str]) -> String {
    let output = ringmain(arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}:\n{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} from {arguments:?}:\n{said}");
    }
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are UTF-8")
}

/// A node with some batches in each of two topics, of a few segments.
fn filled(dir: &Path) -> Node {
    let node = Node::start_at(dir, free_address(), &SETTINGS);
    let mut raw = Raw::connect(node.address);
    for topic in ["t", "u"] {
        assert_eq!(raw.metadata(topic), Some(0));
        for n in 0..BATCHES {
            let record = |at: usize| {
                let mut value = format!("record {}", n * RECORDS + at).into_bytes();
                value.resize(8_000, b'.');
                NewRecord::value(1_000_000 + i64::try_from(n).expect("small"), value)
            };
            let batch = BatchBuilder::default().build(&(0..RECORDS).map(record).collect::<Vec<_>>());
            assert_eq!(raw.produce(-1, topic, 0, &batch), Some(0));
        }
    }
    node
}

/// Every file under a directory but the node's own and the lock, with its bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && !entry.ends_with(".ringmain") {
            found.extend(contents(&entry));
        } else if entry.is_file() && !entry.ends_with(".lock") {
            found.insert(entry.clone(), fs::read(&entry).expect("readable"));
        }
    }
    found
}

/// A copy of what lies beside the node's own files.
fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let path = to.join(path.strip_prefix(from).expect("under it"));
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("there");
    change(&mut bytes);
    fs::write(path, bytes).expect("written");
}

/// Where the batches of a segment begin.
fn starts(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).expect("there");
    let (mut starts, mut at) = (Vec::new(), 0);
    while let Some(Ok(header)) = bytes[at..].first_chunk::<HEADER_BYTES>().map(BatchHeader::parse) {
        starts.push(at);
        at += header.size_bytes();
    }
    starts
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = contents(&dir.join("t-0")).into_keys().collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    assert!(found.len() > 2, "{found:?}");
    found
}

type Damage = fn(&Path);

/// Kinds of damage, and what `verify` says of each.
const DAMAGES: [(&str, Damage, &str); 15] = [
    ("a flipped bit in a record", |dir| edit(&dir.join(FIRST), |bytes| bytes[1_000] ^= 4), "checksum"),
    ("a flipped base offset", |dir| edit(&dir.join(FIRST), |bytes| bytes[7] ^= 4), "is due"),
    ("a flipped leader epoch", |dir| edit(&dir.join(FIRST), |bytes| bytes[15] ^= 1), "leader epoch"),
    ("a flipped length", |dir| edit(&dir.join(FIRST), |bytes| bytes[9] ^= 0x40), "batches end at 0 of"),
    ("a wrong magic", |dir| edit(&dir.join(FIRST), |bytes| bytes[16] = 9), "batches end at 0 of"),
    ("a cut batch", |dir| edit(&segments(dir)[1], |bytes| bytes.truncate(bytes.len() - 7)), "batches end at"),
    ("lost batches", |dir| lose_last_batch(dir), "ended at 400"),
    ("bytes behind the end", |dir| edit(&segments(dir)[0], |bytes| bytes.extend([0; 100])), "batches end at"),
    ("no first segment", |dir| remove(&segments(dir)[0]), "leader-epoch-checkpoint: begins at 0"),
    ("no second segment", |dir| remove(&segments(dir)[1]), "the one before ends at"),
    ("no last segment", |dir| remove(segments(dir).last().expect("some")), "ended at 400"),
    ("an offset index entry", |dir| edit(&index(dir, "index"), |bytes| bytes[3] ^= 1), "offset index: no batch"),
    ("a cut offset index", |dir| edit(&index(dir, "index"), |bytes| bytes.truncate(bytes.len() - 1)), "offset index"),
    ("a time index entry", |dir| edit(&index(dir, "timeindex"), |bytes| bytes[7] ^= 1), "time index"),
    ("an epoch file", |dir| edit(&dir.join("t-0/leader-epoch-checkpoint"), |bytes| bytes[0] = b'x'), "leader-epoch"),
];

fn remove(path: &Path) {
    fs::remove_file(path).expect("removed");
}

fn index(dir: &Path, suffix: &str) -> PathBuf {
    dir.join(FIRST).with_extension(suffix)
}

fn lose_last_batch(dir: &Path) {
    let segments = segments(dir);
    let last = segments.last().expect("some");
    let begins = *starts(last).last().expect("some");
    edit(last, |bytes| bytes.truncate(begins));
}

#[test]
fn each_kind_of_damage_is_found_where_it_is() {
    let dir = scratch();
    filled(dir.path()).stop();
    let data = dir.path().join("data");
    let before = contents(&data);
    let said = expect(&["log", "verify", text(&data)], 0, &["t-0  offsets 0 to 400, 400 records in 40 batches"]);
    assert!(!said.contains("DAMAGED") && !said.contains("not stopped cleanly"), "{said}");
    assert!(contents(&data) == before, "verify changes nothing");
    for (what, damage, words) in DAMAGES {
        let copied = scratch();
        copy(&data, copied.path());
        damage(copied.path());
        let said = expect(&["log", "verify", text(copied.path())], 3, &["DAMAGED  t-0", "ok       u-0", words]);
        assert_eq!(said.matches("DAMAGED").count(), 1, "{what}: {said}");
        let json = ringmain(&["log", "--json", "verify", text(copied.path())]);
        assert_eq!(json.status.code(), Some(3), "{what}");
        let lines = String::from_utf8(json.stdout).expect("text");
        for line in lines.lines() {
            let found: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let problems = found["problems"].as_array().expect("a list").len();
            assert_eq!(problems > 0, found["partition"] == "t-0", "{what}: {line}");
        }
    }
}

#[test]
fn a_crashed_directory_is_verified_as_far_as_it_goes_and_closed() {
    let dir = scratch();
    let mut node = filled(dir.path());
    let data = dir.path().join("data");
    expect(&["log", "verify", text(&data)], 1, &["in use"]);
    node.kill();
    // The kernel may still write for the process that is gone.
    let before = loop {
        if !String::from_utf8_lossy(&ringmain(&["log", "verify", text(&data)]).stderr).contains("in use") {
            break contents(&data);
        }
    };
    let said = expect(&["log", "verify", text(&data)], 0, &["was not stopped cleanly", "log close", "ok       t-0"]);
    assert!(!said.contains("DAMAGED"), "{said}");
    assert!(contents(&data) == before, "verify changes nothing");
    let copied = scratch();
    copy(&data, copied.path());
    edit(&copied.path().join(FIRST), |bytes| bytes[1_000] ^= 4);
    expect(&["log", "verify", text(copied.path())], 3, &["DAMAGED  t-0", "checksum", "ok       u-0"]);
    expect(&["log", "close", text(&data)], 0, &[]);
    let said = expect(&["log", "verify", text(&data)], 0, &["offsets 0 to 400, 400 records in 40 batches"]);
    assert!(!said.contains("not stopped cleanly"), "{said}");
}

#[test]
fn a_lost_journal_is_salvaged_only_on_demand() {
    let dir = scratch();
    // A clean stop has brought everything into the segments, the metadata log too; what comes after it is in the journal.
    filled(dir.path()).stop();
    let mut node = Node::start_at(dir.path(), free_address(), &SETTINGS);
    let mut raw = Raw::connect(node.address);
    let small = BatchBuilder::default().build(&[NewRecord::value(1_000_000, "small")]);
    for topic in ["t", "u"] {
        assert_eq!(raw.produce(-1, topic, 0, &small), Some(0));
    }
    node.kill();
    let data = dir.path().join("data");
    for entry in fs::read_dir(data.join(".ringmain")).expect("its own directory").map(|entry| entry.expect("an entry"))
    {
        if entry.file_name().to_string_lossy().starts_with("journal-") {
            remove(&entry.path());
        }
    }
    expect(&["log", "close", text(&data)], 1, &["journal", "--salvage"]);
    expect(&["log", "close", "--salvage", text(&data)], 0, &[]);
    // What was in the journal alone is gone, and nothing else.
    let kept = ["ok       t-0  offsets 0 to 400, 400 records", "ok       u-0  offsets 0 to 400, 400 records"];
    expect(&["log", "verify", text(&data)], 0, &kept);
    let mut node = Node::start_at(dir.path(), free_address(), &SETTINGS);
    assert_eq!(Raw::connect(node.address).produce(-1, "t", 0, &small), Some(0));
    node.stop();
    expect(&["log", "verify", text(&data)], 0, &["offsets 0 to 401, 401 records"]);
    expect(&["log", "close", text(&dir.path().join("nothing"))], 2, &["is no directory"]);
}

#[test]
fn dump_shows_batches_records_and_indexes() {
    let dir = scratch();
    filled(dir.path()).stop();
    let data = dir.path().join("data");
    let first = data.join(FIRST);
    let batches =
        expect(&["log", "dump", text(&first)], 0, &["position 0 offsets 0 to 9 (10 records", "CreateTime 1000000 "]);
    assert_eq!(batches.lines().count(), starts(&first).len());
    let records = expect(&["log", "dump", "--records", text(&first)], 0, &["  7 1000000 key null value \"record 7..."]);
    assert_eq!(records.lines().count(), starts(&first).len() * (RECORDS + 1));
    let json = expect(&["log", "--json", "dump", text(&first)], 0, &[]);
    let second: serde_json::Value = serde_json::from_str(json.lines().nth(1).expect("a line")).expect("JSON");
    assert_eq!((&second["base_offset"], &second["valid"]), (&10.into(), &true.into()));
    let shown = expect(&["log", "dump", text(&first.with_extension("index"))], 0, &[]);
    let places: Vec<String> =
        starts(&first).iter().enumerate().map(|(n, at)| format!("offset {} position {at}", n * RECORDS + 9)).collect();
    assert!(shown.lines().all(|line| places.iter().any(|place| place == line)) && shown.lines().count() > 3, "{shown}");
    expect(&["log", "dump", text(&first.with_extension("timeindex"))], 0, &["timestamp 1000001 offset 19"]);
    expect(&["log", "dump", text(&data.join("meta.properties"))], 2, &["none of .log, .index and .timeindex"]);
    edit(&first, |bytes| bytes[1_000] ^= 4);
    expect(&["log", "dump", text(&first)], 3, &["WRONG CHECKSUM", "sequence -1 ok"]);
    expect(&["log", "dump", "--records", text(&first)], 3, &["record 10."]);
    edit(&first, |bytes| bytes.truncate(100_000));
    expect(&["log", "dump", text(&first)], 3, &["batches end at 80"]);
    edit(&first.with_extension("index"), |bytes| bytes.push(0));
    expect(&["log", "dump", text(&first.with_extension("index"))], 1, &[".index"]);
}
