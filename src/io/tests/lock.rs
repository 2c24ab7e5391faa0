//! The directory lock outlives a killed process until its last write has ended.

use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::pump::{ShardPlan, run_shards};
use super::super::{AppendBuf, Job, Prepare, lock};
use super::{DIRECT, Op, filled, open, small};
use crate::io::files::scratch_dir;
use crate::types::ShardId;

const DIR: &str = "RINGMAIN_TEST_LOCK_DIR";
const WRITE_BYTES: usize = 4 << 20;
const WRITES: u64 = 32;

/// Not a test by itself: the child of the test below, which kills it.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let held = lock::acquire(&dir, Duration::ZERO, |_| {}).expect("the directory is free");
    let plans = vec![ShardPlan { shard: ShardId::FIRST, core: None, seat: dir }];
    run_shards(plans, &small(), &[held], |runtime, dir: PathBuf| async move {
        let file = open(&runtime, &dir.join("data"), DIRECT).await;
        let whole = 0..WRITES * WRITE_BYTES as u64;
        runtime.job(Job::PrepareRange(file.clone(), whole, Prepare::Zeros)).await.expect("prepared");
        let lanes: Vec<_> = (0..WRITES)
            .map(|lane| {
                let (runtime, file) = (runtime.clone(), file.clone());
                let position = lane * WRITE_BYTES as u64;
                let task = runtime.clone();
                task.spawn(async move {
                    for round in 1.. {
                        let slices = vec![filled(WRITE_BYTES, round)];
                        let done = runtime.submit(Op::Write { file: file.clone(), position, slices }).await;
                        done.result.expect("written");
                    }
                })
            })
            .collect();
        runtime.job(Job::WriteFile(dir.join("writing"), Vec::new())).await.expect("marked");
        for lane in lanes {
            lane.await;
        }
    })
    .expect("run");
}

#[test]
fn the_lock_of_a_killed_process_is_held_until_its_last_write_has_ended() {
    let dir = scratch_dir();
    let mut waited = 0;
    for _ in 0..3 {
        let _ = fs::remove_file(dir.path().join("writing"));
        let mut child = Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "io::tests::lock::child_that_writes_until_it_is_killed"])
            .env(DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        while !dir.path().join("writing").exists() {
            assert!(child.try_wait().expect("a child").is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(30));
        child.kill().expect("killed");
        // As the next node would: it must not read before the writes of the last one have ended.
        let held = lock::acquire(dir.path(), Duration::from_secs(30), |_| waited += 1).expect("free in the end");
        let first = checksum(&dir.path().join("data"));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(
            checksum(&dir.path().join("data")),
            first,
            "a write of a killed process landed after the lock was free"
        );
        drop(held);
        child.wait().expect("ended");
    }
    assert!(waited > 0, "writes were in flight at one kill of three");
}

fn checksum(path: &Path) -> u32 {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).expect("opened");
    let mut buf = AppendBuf::with_capacity(WRITE_BYTES);
    let mut crc = 0;
    for write in 0..WRITES {
        file.read_exact_at(buf.spare_mut(), write * WRITE_BYTES as u64).expect("read");
        crc = crc32c::crc32c_append(crc, buf.spare_mut());
    }
    crc
}
