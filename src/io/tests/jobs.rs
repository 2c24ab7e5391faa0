//! Housekeeping.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::super::{Entry, Extents, Job, Kernel, Op, OpenHow, Output, Prepare};
use super::{DIRECT, on_shard, open};
use crate::io::files::scratch_dir;

fn extents(output: Output<Kernel>) -> Extents {
    match output {
        Output::Extents(extents) => extents,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_and_directories_are_made_changed_and_removed() {
    let dir = scratch_dir();
    let root = dir.path().to_owned();
    on_shard(move |runtime| {
        let root = root.clone();
        async move {
            let deep = root.join("a/b/c");
            runtime.job(Job::CreateDir(deep.clone())).await.expect("made with its parents");
            runtime.job(Job::CreateDir(deep.clone())).await.expect("there already");
            runtime.job(Job::WriteFile(deep.join("two"), b"old".to_vec())).await.expect("written");
            runtime.job(Job::WriteFile(deep.join("two"), b"new!".to_vec())).await.expect("replaced");
            runtime.job(Job::WriteFile(deep.join("one"), Vec::new())).await.expect("written");
            runtime.job(Job::Rename(deep.join("one"), root.join("a/moved"))).await.expect("moved");
            let list = |path: PathBuf| {
                let runtime = runtime.clone();
                async move {
                    let Output::Entries(entries) = runtime.job(Job::List(path)).await.expect("listed") else {
                        panic!()
                    };
                    entries
                }
            };
            let file = |name: &str, len| Entry { name: name.into(), is_dir: false, len };
            assert_eq!(list(deep.clone()).await, [file("two", 4)], "no temporary file stays");
            let above = list(root.join("a")).await;
            assert_eq!(above[1], file("moved", 0));
            assert!(above[0].is_dir && above[0].name == "b");
            let Output::Bytes(bytes) = runtime.job(Job::ReadFile(deep.join("two"), 4)).await.expect("read") else {
                panic!()
            };
            assert_eq!(bytes, b"new!");
            let error = runtime.job(Job::ReadFile(deep.join("two"), 3)).await.expect_err("longer than allowed");
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
            let Output::Stat(stat) = runtime.job(Job::Stat(deep.join("two"))).await.expect("stat") else { panic!() };
            assert!(!stat.is_dir && stat.len == 4);
            assert!((stat.modified_ms - super::super::Env::wall_ms(runtime.env())).abs() < 60_000);
            runtime.job(Job::Remove(root.join("a"))).await.expect("removed with all in it");
            let error = runtime.job(Job::Stat(deep)).await.expect_err("gone");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let Output::Number(free) = runtime.job(Job::FreeBytes(root)).await.expect("free") else { panic!() };
            assert!(free > 0);
        }
    });
}

#[test]
fn prepared_zeros_are_overwrites_and_allocated_ones_are_not() {
    let dir = scratch_dir();
    let root = dir.path().to_owned();
    on_shard(move |runtime| {
        let root = root.clone();
        async move {
            let file = open(&runtime, &root.join("zeros"), DIRECT).await;
            let len = (3 << 20) + 4096;
            let before = extents(runtime.job(Job::Extents(file.clone(), 0..len)).await.expect("mapped"));
            assert!(!before.mapped, "an empty file");
            runtime.job(Job::PrepareRange(file.clone(), 0..len, Prepare::Zeros)).await.expect("prepared");
            let zeros = extents(runtime.job(Job::Extents(file.clone(), 0..len)).await.expect("mapped"));
            assert!(zeros.overwrite_only(), "{zeros:?}");
            let beyond = extents(runtime.job(Job::Extents(file.clone(), 0..len + 4096)).await.expect("mapped"));
            assert!(!beyond.mapped);
            runtime
                .job(Job::PrepareRange(file.clone(), len..len + (1 << 20), Prepare::Allocate))
                .await
                .expect("allocated");
            let range = len..len + (1 << 20);
            let allocated = extents(runtime.job(Job::Extents(file.clone(), range)).await.expect("mapped"));
            assert!(allocated.mapped && allocated.unwritten, "{allocated:?}");
            let content = std::fs::read(root.join("zeros")).expect("read");
            assert_eq!(content.len() as u64, len + (1 << 20));
            assert!(content.iter().all(|byte| *byte == 0));
            runtime.job(Job::Truncate(file, 5000)).await.expect("cut");
            assert_eq!(std::fs::metadata(root.join("zeros")).expect("there").len(), 5000);
        }
    });
}

#[test]
fn zeros_cover_what_was_there_and_nothing_else() {
    let dir = scratch_dir();
    let path = dir.path().join("recycled");
    std::fs::write(&path, vec![0xaa_u8; 1 << 20]).expect("written");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            for how in [DIRECT, OpenHow { direct: false, ..DIRECT }] {
                let file = open(&runtime, &path, how).await;
                let (from, to) = if how.direct { (64 << 10, 512 << 10) } else { (700 << 10, 701 << 10) };
                runtime.job(Job::PrepareRange(file, from..to, Prepare::Zeros)).await.expect("prepared");
            }
            let content = std::fs::read(&path).expect("read");
            assert_eq!(content.len(), 1 << 20);
            for (at, byte) in content.iter().enumerate() {
                let zero = (64 << 10..512 << 10).contains(&at) || (700 << 10..701 << 10).contains(&at);
                assert_eq!(*byte, if zero { 0 } else { 0xaa }, "at {at}");
            }
        }
    });
}

#[test]
fn a_sequence_stops_at_its_first_failure() {
    let dir = scratch_dir();
    let root = dir.path().to_owned();
    on_shard(move |runtime| {
        let root = root.clone();
        async move {
            let jobs = vec![
                Job::WriteFile(root.join("first"), Vec::new()),
                Job::Remove(root.join("missing")),
                Job::WriteFile(root.join("second"), Vec::new()),
            ];
            let error = runtime.job(Job::Sequence(jobs)).await.expect_err("the second fails");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(root.join("first").exists() && !root.join("second").exists());
            let jobs = vec![Job::CreateDir(root.join("dir")), Job::Open(root.join("dir/new"), DIRECT)];
            let output = runtime.job(Job::Sequence(jobs)).await.expect("both");
            assert!(matches!(output, Output::File(_)), "the last one's output");
        }
    });
}

#[test]
fn a_long_computation_holds_up_neither_the_shard_nor_other_jobs() {
    let dir = scratch_dir();
    let root = dir.path().to_owned();
    on_shard(move |runtime| {
        let root = root.clone();
        async move {
            let slow = runtime.clone();
            let slow = runtime.spawn(async move {
                slow.compute(|| {
                    std::thread::sleep(std::time::Duration::from_millis(300));
                    42
                })
                .await
            });
            let begun = runtime.now_ns();
            for _ in 0..20 {
                runtime.job(Job::Stat(root.clone())).await.expect("stat");
            }
            let took_ms = (runtime.now_ns() - begun) / 1_000_000;
            assert!(took_ms < 250, "twenty small jobs took {took_ms} ms behind a computation");
            assert_eq!(slow.await.expect("computed"), 42);
            let failed = runtime.compute(|| -> u32 { panic!("on purpose") }).await;
            failed.expect_err("a panic is an error, not a lost answer");
        }
    });
}

#[test]
fn jobs_from_two_shards_are_answered_to_the_one_that_asked() {
    use super::super::pump::{ShardPlan, run_shards};
    use crate::types::ShardId;
    let dir = scratch_dir();
    let root = dir.path().to_owned();
    let plans = (0..2).map(|shard| ShardPlan { shard: ShardId(shard), core: None, seat: root.clone() }).collect();
    let counts = run_shards(plans, &super::small(), &[], |runtime, root: PathBuf| async move {
        for round in 0..100_u32 {
            let mine = u32::from(runtime.shard().0) * 1000 + round;
            let path = root.join(format!("{mine}"));
            runtime.job(Job::WriteFile(path.clone(), mine.to_be_bytes().to_vec())).await.expect("written");
            let Output::Bytes(bytes) = runtime.job(Job::ReadFile(path, 4)).await.expect("read") else { panic!() };
            assert_eq!(bytes, mine.to_be_bytes());
        }
        100
    })
    .expect("run");
    assert_eq!(counts, [100, 100]);
}

#[test]
fn shards_that_make_one_directory_at_the_same_time_all_have_it() {
    let dir = scratch_dir();
    let root = dir.path().to_owned();
    on_shard(move |runtime| {
        let root = root.clone();
        async move {
            for round in 0..50 {
                let deep = root.join(format!("{round}/own"));
                let jobs: Vec<_> = (0..8).map(|_| runtime.submit(Op::Job(Job::CreateDir(deep.clone())))).collect();
                for job in jobs {
                    job.await.result.expect("made, or there already");
                }
            }
        }
    });
}
