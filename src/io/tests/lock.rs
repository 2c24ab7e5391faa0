//! The directory lock outlives a killed process until its last write has ended.

use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::probe::Rung;
use super::super::pump::{ShardPlan, run_shards};
use super::super::{AppendBuf, Env, Job, Prepare, lock};
use super::{DIRECT, Op, filled, open, small};
use crate::io::files::scratch_dir;
use crate::types::ShardId;

const DIR: &str = "RINGMAIN_TEST_LOCK_DIR";
const WRITE_BYTES: usize = 4 << 20;
const WRITES: u64 = 8;

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
        runtime.job(Job::WriteFile(dir.join("ready"), Vec::new())).await.expect("marked");
        while runtime.job(Job::Stat(dir.join("go"))).await.is_err() {
            runtime.sleep_ms(1).await;
        }
        let round = u8::try_from(runtime.env().random() % 200).expect("small");
        for write in 0..WRITES {
            let slices = vec![filled(WRITE_BYTES, round + 1)];
            drop(runtime.submit(Op::Write { file: file.clone(), position: write * WRITE_BYTES as u64, slices }));
        }
        runtime.sleep_ms(60_000).await;
    })
    .expect("run");
}

#[test]
fn the_lock_of_a_killed_process_is_held_until_its_last_write_has_ended() {
    let dir = scratch_dir();
    let (mut waited, mut throttles) = (0, 0);
    for _ in 0..2 {
        for marker in ["ready", "go"] {
            let _ = fs::remove_file(dir.path().join(marker));
        }
        let mut child = Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "io::tests::lock::child_that_writes_until_it_is_killed"])
            .env(DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        while !dir.path().join("ready").exists() {
            assert!(child.try_wait().expect("a child").is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        let throttled = Throttle::on(child.id(), dir.path());
        throttles += usize::from(throttled.is_some());
        fs::write(dir.path().join("go"), "").expect("marked");
        std::thread::sleep(Duration::from_millis(100));
        child.kill().expect("killed");
        // As the next node would: it must not read before the writes of the last one have ended.
        let held = lock::acquire(dir.path(), Duration::from_secs(30), |_| waited += 1).expect("free in the end");
        let first = checksum(&dir.path().join("data"));
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(
            checksum(&dir.path().join("data")),
            first,
            "a write of a killed process landed after the lock was free"
        );
        drop(held);
        child.wait().expect("ended");
    }
    assert!(throttles == 0 || waited > 0, "writes to a slow device were in flight at a kill");
}

#[test]
fn a_ring_holds_a_lock_that_nobody_else_has_any_more() {
    let dir = scratch_dir();
    let held = lock::acquire(dir.path(), Duration::ZERO, |_| {}).expect("free");
    let ring = super::super::ring::Ring::new(8, Rung::Defer).expect("a ring");
    ring.hold(std::slice::from_ref(&held)).expect("registered");
    drop(held);
    lock::acquire(dir.path(), Duration::ZERO, |_| {}).expect_err("the ring has it");
    drop(ring);
    lock::acquire(dir.path(), Duration::from_secs(10), |_| {}).expect("the ring has ended");
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

/// Slows the writes of one process down, so that they are still under way after it was killed. Needs root and the blkio
/// controller (v1); without them the test still looks, at a device that may be too fast to show anything.
struct Throttle(PathBuf);

impl Throttle {
    fn on(pid: u32, dir: &Path) -> Option<Self> {
        let group = PathBuf::from(format!("/sys/fs/cgroup/blkio/ringmain-test-{pid}"));
        fs::create_dir(&group).ok()?;
        let throttle = Self(group);
        let (major, minor) = super::super::device::look(dir).ok()?.mount.device;
        let limit = format!("{major}:{minor} {}", 32 << 20);
        fs::write(throttle.0.join("blkio.throttle.write_bps_device"), limit).ok()?;
        fs::write(throttle.0.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(throttle)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // A group with a process in it stays; the process is killed before.
        let _ = fs::remove_dir(&self.0);
    }
}
