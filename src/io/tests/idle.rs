//! What an idle node costs: no processor time and no I/O wait.

use std::fs;
use std::time::Duration;

use super::super::{Job, Prepare};
use super::{DIRECT, Op, listen, on_shard, open};
use crate::io::files::scratch_dir;

/// User and system time of a thread, in clock ticks.
fn cpu_ticks(task: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/self/task/{task}/stat")).expect("a thread has a stat");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("after the name").split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

/// Threads of the whole machine that sleep in I/O wait at this moment.
fn in_io_wait() -> u64 {
    let stat = fs::read_to_string("/proc/stat").expect("there is one");
    let line = stat.lines().find_map(|line| line.strip_prefix("procs_blocked ")).expect("counted");
    line.parse().expect("a number")
}

#[test]
fn an_idle_shard_costs_no_processor_time_and_no_io_wait() {
    let (listener, _address) = listen();
    let dir = scratch_dir();
    let zeros = dir.path().join("zeros");
    on_shard(move |runtime| {
        let (listener, zeros) = (listener.clone(), zeros.clone());
        async move {
            let accept = runtime.submit(Op::Accept { listener });
            // Housekeeping has been awake, and must be out of its executor again.
            let file = open(&runtime, &zeros, DIRECT).await;
            runtime.job(Job::PrepareRange(file, 0..65_536, Prepare::Zeros)).await.expect("prepared");
            runtime.sleep_ms(50).await;
            let task = rustix::thread::gettid().as_raw_nonzero().to_string();
            let counters = runtime.env().counters();
            let turns = counters.turns.get();
            let cpu = cpu_ticks(&task);
            // Others may do I/O meanwhile, but not without a pause; a shard that sleeps in I/O wait knows none.
            let looked = std::thread::spawn(|| {
                (0..1000).any(|_| {
                    std::thread::sleep(Duration::from_millis(1));
                    in_io_wait() == 0
                })
            });
            runtime.sleep_ms(1500).await;
            assert!(cpu_ticks(&task) - cpu <= 1, "an idle shard used processor time");
            assert!(counters.turns.get() - turns <= 3, "an idle shard turned");
            if runtime.env().facts().no_iowait {
                assert!(looked.join().expect("looked"), "a thread slept in I/O wait all the time");
            }
            drop(accept);
        }
    });
}
