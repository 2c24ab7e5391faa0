//! Processes that stand still for a while, as those of a paused container or of a host short of time do, and go on.
#![expect(clippy::disallowed_methods, reason = "another process is paused in real time")]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::super::{Job, Prepare};
use super::{DIRECT, on_shard, open};
use crate::io::files::scratch_dir;

/// What the process that is paused does: one job after another, nothing else, for as long as this one lives.
fn do_jobs() {
    set_parent_process_death_signal(Some(Signal::KILL)).expect("taken");
    let dir = scratch_dir();
    let root = dir.path().to_owned();
    on_shard(move |runtime| {
        let root = root.clone();
        async move {
            let file = open(&runtime, &root.join("zeros"), DIRECT).await;
            println!("{BEGUN}");
            loop {
                for _ in 0..50 {
                    runtime.job(Job::Stat(root.clone())).await.expect("stat");
                }
                runtime.job(Job::PrepareRange(file.clone(), 0..65_536, Prepare::Zeros)).await.expect("prepared");
            }
        }
    });
}

/// A process, ended when dropped. Its output stays open: it would end where it says that it takes long and nobody is there.
struct Paused {
    child: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Paused {
    fn begin() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this one"))
            .args(["--exact", "io::tests::pauses::no_job_is_forgotten_over_a_pause", "--nocapture"])
            .env(ROLE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts again");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert!(lines.any(|line| line.expect("text").contains(BEGUN)), "it begins");
        Self { child, _output: lines }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("a child of ours");
    }

    /// Processor time of all its threads (`/proc/PID/task/TID/schedstat`).
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let ns = |task: &fs::DirEntry| -> Option<u64> {
            fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(|task| ns(&task)).sum())
    }

    /// Where in the kernel its threads wait.
    fn waits(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let read = |task: &fs::DirEntry, file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        tasks.flatten().map(|task| format!("{}: {}", read(&task, "comm").trim(), read(&task, "wchan"))).collect()
    }

    /// Waits until it has worked for a while; whether it has.
    fn works(&self) -> bool {
        let (begun, before) = (Instant::now(), self.cpu());
        while begun.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(5));
            if self.cpu().saturating_sub(before) >= WORK {
                return true;
            }
        }
        false
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // Fails where it has ended by itself, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn no_job_is_forgotten_over_a_pause() {
    if std::env::var_os(ROLE).is_some() {
        return do_jobs();
    }
    let process = Paused::begin();
    for pause in 0..PAUSES {
        assert!(process.works(), "idle for {QUIET:?} before pause {pause}, in {:?}", process.waits());
        process.signal(Signal::STOP);
        std::thread::sleep(PAUSE);
        process.signal(Signal::CONT);
        assert!(process.works(), "idle for {QUIET:?} after pause {pause}, in {:?}", process.waits());
    }
}

/// In the environment of the process that is paused, which is this same test.
const ROLE: &str = "RINGMAIN_TEST_PAUSED";
const BEGUN: &str = "jobs have begun";
const PAUSES: usize = 40;
/// Processor time in which it does some dozens of jobs.
const WORK: Duration = Duration::from_millis(3);
/// Longer than what glommio gives a task to run.
const PAUSE: Duration = Duration::from_millis(110);
/// Who does nothing for so long, with a job at hand, never will. A shared disk has been seen to stand still for 30 s.
const QUIET: Duration = Duration::from_secs(90);
