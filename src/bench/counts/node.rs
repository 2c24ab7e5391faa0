//! A node under the counters: started, paused, looked at through /proc, stopped.
//!
//! Whatever stands between us and the node (strace), its process is the one that serves; which of its threads are shards
//! is told by their names (`shard-0`), as everything that works for requests runs there. A build that names them otherwise
//! is counted with all its threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::metrics::{self, Scrape};
use super::super::server::{Process, free_address, listens};
use super::{Error, Program};

/// What watches a node from its start.
pub(super) enum Watched {
    /// Nothing does.
    No,
    /// The shim counts into a file.
    Shim {
        /// The library.
        library: PathBuf,
        /// The file.
        counts: PathBuf,
    },
    /// strace writes every system call to a file.
    Trace {
        /// strace.
        strace: PathBuf,
        /// The file.
        calls: PathBuf,
    },
}

/// How a node is started.
pub(super) struct Start<'a> {
    pub(super) program: &'a Program,
    pub(super) watched: Watched,
    /// Holds the data directory and the log.
    pub(super) dir: &'a Path,
    pub(super) shards: usize,
    /// Whether it shows its metrics.
    pub(super) metrics: bool,
}

/// A running node. Killed when dropped.
pub(super) struct Node {
    child: Child,
    /// The process that serves: the child, or the one that strace watches.
    pub(super) process: u32,
    pub(super) address: SocketAddr,
    metrics: Option<SocketAddr>,
    log: PathBuf,
    /// What the kernel's workers had done when they were last looked at: idle ones end after a while.
    workers: RefCell<BTreeMap<u32, u64>>,
}

impl Node {
    /// Starts a node and waits until it listens.
    pub(super) fn start(start: &Start<'_>) -> Result<Self, Error> {
        let address = free_address().map_err(Error::io("a free port"))?;
        let metrics = start.metrics.then(free_address).transpose().map_err(Error::io("a free port"))?;
        let log = start.dir.join("node.log");
        let stderr = fs::File::options().create(true).append(true).open(&log).map_err(Error::io("the node's log"))?;
        let mut command = start.command();
        command.args(["serve", "--memory", MEMORY, "--shards", &start.shards.to_string()]);
        command.args(["--listeners", &address.to_string(), "--data"]).arg(start.dir.join("data"));
        command.args(metrics.iter().flat_map(|metrics| ["--metrics".to_owned(), metrics.to_string()]));
        command.args(&start.program.serve).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().map_err(Error::io(format!("{}", command.get_program().display())))?;
        let mut node = Self { process: child.id(), child, address, metrics, log, workers: RefCell::default() };
        let begun = Instant::now();
        while !listens(address) {
            let ended = node.child.try_wait().map_err(Error::io("the node"))?;
            if ended.is_some() || begun.elapsed() > START_MAX {
                return Err(node.strange("the node does not listen"));
            }
            sleep(POLL);
        }
        if let Watched::Trace { .. } = start.watched {
            let served = child_of(node.child.id());
            node.process = served.ok_or_else(|| node.strange("strace watches no process"))?;
        }
        Ok(node)
    }

    fn strange(&self, what: &str) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(10).collect();
        Error::Strange(format!("{what}; it said last:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n")))
    }

    /// Its own figures, where it shows them.
    pub(super) fn scrape(&self) -> Result<Option<Scrape>, Error> {
        let scraped = self.metrics.map(|address| metrics::scrape(&address.to_string())).transpose();
        scraped.map_err(Error::io("the node's metrics"))
    }

    /// Its threads that work for requests, by their ids.
    pub(super) fn shard_threads(&self) -> Vec<u32> {
        let threads = self.threads();
        let shards: Vec<u32> =
            threads.iter().filter(|(_, name)| name.starts_with("shard-")).map(|(thread, _)| *thread).collect();
        if shards.is_empty() { threads.into_keys().collect() } else { shards }
    }

    fn threads(&self) -> BTreeMap<u32, String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process)).into_iter().flatten().flatten();
        let named = tasks.filter_map(|task| {
            let thread = task.file_name().to_str()?.parse().ok()?;
            Some((thread, fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned()))
        });
        named.collect()
    }

    /// How often the kernel's workers for the rings of these threads went to sleep: at least once for each piece of work
    /// that could not be done where it was asked for.
    pub(super) fn worker_switches(&self, owners: &[u32]) -> u64 {
        let names: Vec<String> = owners.iter().map(|owner| format!("iou-wrk-{owner}")).collect();
        let alive = self.threads().into_iter().filter(|(_, name)| names.contains(name));
        let mut workers = self.workers.borrow_mut();
        workers.extend(alive.filter_map(|(worker, _)| Some((worker, self.voluntary_switches(worker)?))));
        workers.values().sum()
    }

    fn voluntary_switches(&self, thread: u32) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/task/{thread}/status", self.process)).ok()?;
        field(&status, "voluntary_ctxt_switches:")
    }

    /// Stops the process as it is: it does nothing until [`Node::go_on`], and its sockets fill.
    pub(super) fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        let begun = Instant::now();
        while !self.is_paused() {
            if begun.elapsed() > PAUSE_MAX {
                return Err(self.strange("the node does not stop at SIGSTOP"));
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// Whether every thread is stopped. The kernel's workers are no threads that a signal stops.
    fn is_paused(&self) -> bool {
        let threads = self.threads().into_iter().filter(|(_, name)| !name.starts_with("iou-"));
        threads.into_iter().all(|(thread, _)| {
            let stat = fs::read_to_string(format!("/proc/{}/task/{thread}/stat", self.process)).unwrap_or_default();
            // The state follows the name, which is in parentheses and may hold anything.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
        })
    }

    pub(super) fn go_on(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        Process::new(self.process).signal(signal).map_err(Error::io("a signal to the node"))
    }

    /// SIGTERM, and waits for the end.
    pub(super) fn stop(mut self) -> Result<(), Error> {
        self.signal(Signal::TERM)?;
        let begun = Instant::now();
        loop {
            match self.child.try_wait().map_err(Error::io("the node"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.strange(&format!("the node ended with {status}"))),
                None if begun.elapsed() > STOP_MAX => return Err(self.strange("the node does not stop")),
                None => sleep(POLL),
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // All of these fail where it has ended already, which is fine. strace would leave what it watches running.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Start<'_> {
    fn command(&self) -> Command {
        let path = &self.program.path;
        let mut command = match &self.watched {
            Watched::No => Command::new(path),
            Watched::Shim { library, counts } => {
                let mut command = Command::new(path);
                command.env("LD_PRELOAD", library).env("SHIM_COUNTS", counts);
                command
            }
            Watched::Trace { strace, calls } => {
                let mut command = Command::new(strace);
                command.args(["-f", "-ttt", "-qq", "-e", "signal=none", "-e", "verbose=none", "-s", "0", "-o"]);
                command.arg(calls).arg(path);
                command
            }
        };
        command.envs(self.program.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The process whose parent this is.
fn child_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|id| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        field(&status, "PPid:") == Some(u64::from(parent))
    })
}

/// The number of the line that begins with `name`.
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// So little that a few hundred requests fill it: then memory is recycled, as in a node that has run for a while.
pub(super) const MEMORY: &str = "64M";
const POLL: Duration = Duration::from_millis(2);
/// A start waits this long for the writes of a killed node to end.
const START_MAX: Duration = Duration::from_secs(70);
const STOP_MAX: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(10);
