//! What an idle node costs: no processor time and no I/O wait.

use std::fs;
use std::time::Duration;

use super::super::{Job, stats};
use super::{Op, listen, on_shard};

/// User and system time of all threads of this process, in clock ticks.
fn cpu_ticks(task: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/self/task/{task}/stat")).expect("a thread has a stat");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("after the name").split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

fn this_task() -> String {
    rustix::thread::gettid().as_raw_nonzero().to_string()
}

#[test]
fn an_idle_shard_costs_no_processor_time_and_no_io_wait() {
    let (listener, _address) = listen();
    on_shard(move |runtime| {
        let listener = listener.clone();
        async move {
            let accept = runtime.submit(Op::Accept { listener });
            // The housekeeping thread has been awake, and must be out of its executor again.
            runtime.job(Job::Stat("/".into())).await.expect("stat");
            runtime.sleep_ms(50).await;
            let task = this_task();
            let (cpu, turns) = (cpu_ticks(&task), stats::totals());
            let in_iowait = std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                procs_blocked_in_this_process()
            });
            runtime.sleep_ms(1500).await;
            assert_eq!(in_iowait.join().expect("looked"), Vec::<String>::new(), "threads asleep in I/O wait");
            assert!(cpu_ticks(&task) - cpu <= 1, "an idle shard used processor time");
            // Other tests share the counters: only this shard's turns can be bounded loosely.
            let _ = turns;
            drop(accept);
        }
    });
}

/// Threads of this process whose state is D: uninterruptible, which the kernel counts as load.
fn procs_blocked_in_this_process() -> Vec<String> {
    let mut blocked = Vec::new();
    for entry in fs::read_dir("/proc/self/task").expect("listed") {
        let path = entry.expect("an entry").path();
        let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let state = stat.rsplit(") ").next().expect("after the name").chars().next();
        if state == Some('D') && (name.starts_with("shard-") || name.starts_with("housekeeping")) {
            blocked.push(name);
        }
    }
    blocked
}
