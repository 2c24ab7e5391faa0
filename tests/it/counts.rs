//! The counters of the gate, on the built program: they repeat, and they see a difference.
//!
//! What a tool that is not here would count is left out, with a line.

use std::path::PathBuf;
use std::process::Command;

use ringmain::bench::counts::{self, Counted, Counter, Program, Tools};

use crate::node::{PROGRAM, scratch};

fn program(serve: &[&str]) -> Program {
    let serve = serve.iter().map(|argument| (*argument).to_owned()).collect();
    Program { path: PathBuf::from(PROGRAM), serve, ..Program::default() }
}

fn requests(program: &Program) -> Counted {
    let dir = scratch();
    let counted = counts::requests(program, &Tools::find(), dir.path()).expect("a node that can be counted");
    for count in &counted.counts {
        println!("{:<56} {:>12.3} +- {:>9.3} {}", count.name, count.value, count.noise, count.unit);
    }
    counted.missing.iter().for_each(|missing| println!("skipped: {missing}"));
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing is left behind");
    counted
}

fn value(counted: &Counted, name: &str) -> Option<f64> {
    counted.counts.iter().find(|count| count.name == name).map(|count| count.value)
}

#[test]
fn a_running_nodes_counts_repeat_and_show_what_was_changed() {
    let plain = requests(&program(&[]));
    // Answered when written: nothing of a Fetch changes, and a Produce waits for no flush.
    let relaxed = requests(&program(&["--set", "log.flush.interval.messages=1000000"]));
    let hops = value(&plain, "requests/two-shards-produce/hops");
    assert!(
        hops.is_some_and(|hops| (hops - 1.0).abs() < 0.05),
        "{hops:?} messages for each, one way and back for every other"
    );
    let mut compared = 0;
    for count in plain.counts.iter().filter(|count| count.name.contains("/fetch-")) {
        let again = value(&relaxed, &count.name).unwrap_or(0.0);
        let near = count.value.abs() * 0.02 + 0.1;
        assert!((again - count.value).abs() <= near, "{}: {} and {again}", count.name, count.value);
        compared += 1;
    }
    if Tools::find().strace.is_some() {
        assert_eq!(value(&plain, "requests/fetch-memory/syscalls/sendmsg"), Some(1.0));
        let enters = "requests/produce-1/syscalls/io_uring_enter";
        let (before, after) = (value(&plain, enters).expect("counted"), value(&relaxed, enters).expect("counted"));
        assert!(after < before - 0.5, "{enters}: {before}, and {after} without a flush");
        assert!(compared > 0);
    }
    if Tools::find().cc.is_some() {
        let copied = value(&plain, "requests/produce-64k/copied-bytes").expect("counted");
        assert!((65_000.0..200_000.0).contains(&copied), "{copied} bytes copied of a batch of 64 KiB");
        assert!(compared > 0);
    }
}

#[test]
fn instructions_of_a_path_are_the_same_again() {
    let (dir, program, tools) = (scratch(), program(&[]), Tools::find());
    let Some(counter) = Counter::new(&program, &tools, dir.path()).expect("a compiler that compiles") else {
        println!("skipped: valgrind is not here");
        return;
    };
    let count = |name| counter.path(name, 50).expect("a path that can be counted");
    let (small, large) = (count("reply/fetch/1"), count("reply/fetch/100"));
    println!("{small:?}\n{large:?}");
    assert_eq!(count("reply/fetch/1"), small);
    assert!(large.value > 10.0 * small.value);
    assert!(counter.path("no/such", 1).is_err());
}

#[test]
fn the_planted_faults_still_fit_the_sources() {
    let root = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| Command::new("git").args(arguments).current_dir(root).output();
    if !git(&["rev-parse", "--git-dir"]).is_ok_and(|output| output.status.success()) {
        println!("skipped: no git repository is here");
        return;
    }
    let applied = git(&["apply", "--check", "tests/gate/faults.patch"]).expect("git runs");
    assert!(applied.status.success(), "tests/gate/faults.patch: {}", String::from_utf8_lossy(&applied.stderr));
}
