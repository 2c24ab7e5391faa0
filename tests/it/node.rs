//! A node under test: the built program over a directory of its own, on a port of its own.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ringmain");

/// A running node. Killed when dropped.
pub struct Node {
    child: Child,
    log: PathBuf,
    pub address: SocketAddr,
}

impl Node {
    /// Starts a node of two shards over `dir/data` and waits until it listens.
    pub fn start(dir: &Path) -> Self {
        Self::start_at(dir, free_address(), &[])
    }

    /// Starts one at a given address, with further arguments.
    pub fn start_at(dir: &Path, address: SocketAddr, arguments: &[&str]) -> Self {
        let mut node = Self::launch(dir, address, arguments);
        let begun = Instant::now();
        while !ringmain::bench::server::listens(address) {
            if let Some(status) = node.child.try_wait().expect("a child of ours") {
                panic!("the node ended at its start ({status}):\n{}", node.log());
            }
            assert!(begun.elapsed() < START_MAX, "the node does not listen:\n{}", node.log());
            sleep(Duration::from_millis(5));
        }
        node
    }

    /// Starts one without waiting for anything.
    pub fn launch(dir: &Path, address: SocketAddr, arguments: &[&str]) -> Self {
        let log = dir.join(format!("node-{}.log", address.port()));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = Command::new(PROGRAM)
            .args(["serve", "--shards", "2", "--memory", "256M", "--listeners", &address.to_string(), "--data"])
            .arg(dir.join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the program starts");
        Self { child, log, address }
    }

    /// What it has logged so far, and all nodes before it on the same port.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `host:port`, as clients take it.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM; answers how it ended. Must be within ten seconds.
    pub fn stop(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill(1)");
        assert!(sent.success(), "the node had ended by itself:\n{}", self.log());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                assert!(status.success(), "a clean stop ended with {status}:\n{}", self.log());
                return status;
            }
            assert!(begun.elapsed() < STOP_MAX, "the node does not stop:\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("the node runs");
        self.child.wait().expect("a child of ours");
    }

    /// Waits until it has ended by itself and answers its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code();
            }
            assert!(begun.elapsed() < START_MAX, "the node does not end:\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until its log holds `text`.
    pub fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        while !self.log().contains(text) {
            assert!(begun.elapsed() < START_MAX, "no {text:?} in:\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        // Fails where it has ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What it said is all that will be left of a failure on a machine that nobody can look at.
        if std::thread::panicking() {
            eprintln!("the node at {}, ended by itself: {ended:?}, said:\n{}", self.address, self.log());
        }
    }
}

/// An address that nobody listens on, that this process is not given again, and that no outgoing connection is given: one of
/// the many that look for a killed node would take it, and the node could not come back.
pub fn free_address() -> SocketAddr {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux says");
    let ephemeral: u16 = range.split_whitespace().next().expect("its lower end").parse().expect("a port");
    // Linux's own default begins at 32768. Where hardly anything is below, any port must do.
    let (first, count) = if ephemeral > 14_000 { (ephemeral - 12_000, 12_000) } else { (2_000, 60_000) };
    // Processes of other tests begin elsewhere.
    let begin = RandomState::new().hash_one(0) % u64::from(count);
    let next = NEXT.get_or_init(|| AtomicU16::new(begin.try_into().expect("below the count")));
    loop {
        let port = first + next.fetch_add(1, Ordering::Relaxed) % count;
        if let Ok(probe) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return probe.local_addr().expect("bound");
        }
    }
}

/// A number from the environment, for the full sizes of `scripts/test-full`.
pub fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// A directory of its own on a real file system, beside the build.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("it-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// The start waits this long for the writes of a killed node to end.
const START_MAX: Duration = Duration::from_secs(70);
const STOP_MAX: Duration = Duration::from_secs(10);
