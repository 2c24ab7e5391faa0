//! A process that is measured: found or started, pinned to its cores, looked at through `/proc`, ended by its own id.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::io::process_clock;

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

/// What a process has used up to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads.
    pub cpu: Duration,
    /// Bytes that it caused to be written to storage (`write_bytes` of proc_pid_io(5)).
    pub written_bytes: u64,
    /// Resident bytes at that moment.
    pub resident_bytes: u64,
}

impl Process {
    /// By its id.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The process that listens on an address, where that is this machine and we may see it.
    #[must_use]
    pub fn listening_on(address: SocketAddr) -> Option<Self> {
        let inode = listening_inode(address)?;
        let link = format!("socket:[{inode}]");
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
            let has = |path: PathBuf| fs::read_link(path).is_ok_and(|target| target.as_os_str() == link.as_str());
            if descriptors.flatten().any(|descriptor| has(descriptor.path())) {
                return Some(Self { pid });
            }
        }
        None
    }

    /// Its id.
    #[must_use]
    pub fn id(self) -> u32 {
        self.pid
    }

    /// Processor time of all its threads so far.
    ///
    /// # Errors
    /// Where it has gone.
    pub fn cpu(self) -> io::Result<Duration> {
        process_clock::cpu_time(self.pid).map_err(|error| {
            io::Error::new(error.kind(), format!("the broker (process {}) has gone: {error}", self.pid))
        })
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// Where it has gone.
    pub fn usage(self) -> io::Result<Usage> {
        let cpu = self.cpu()?;
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(Path::new("/proc").join(self.pid.to_string()).join(file)).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let written_bytes = field("io", "write_bytes:");
        Ok(Usage { cpu, written_bytes, resident_bytes: field("status", "VmRSS:") * 1024 })
    }

    /// The cores that it may run on, such as `0` or `0,2,3`.
    #[must_use]
    pub fn cores(self) -> Option<String> {
        let set = sched_getaffinity(Pid::from_raw(i32::try_from(self.pid).ok()?)).ok()?;
        let cores = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).map(|core| core.to_string());
        Some(cores.collect::<Vec<_>>().join(","))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Where it has gone or is somebody else's.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(ErrorKind::NotFound)?;
        Ok(kill_process(pid, signal)?)
    }
}

/// The inode of the socket that listens on an address, or on all addresses with its port (proc_net_tcp(5)).
fn listening_inode(address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let port = format!("{:04X}", address.port());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|text| text.lines().skip(1));
    lines.into_iter().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, own_port) = fields.get(1)?.split_once(':')?;
        (own_port == port && *fields.get(3)? == LISTEN).then(|| fields.get(9)?.parse().ok())?
    })
}

/// A process that was started here. It is asked to end, then made to, when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts `command` on some cores (empty: on all that we have) and waits until `address` accepts. What it says goes
    /// to `log`.
    ///
    /// # Errors
    /// Where it cannot be started, ends, or does not accept within a minute; with the last lines that it said.
    pub fn start(mut command: Command, address: SocketAddr, cores: &[usize], log: &Path) -> io::Result<Self> {
        let file = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let own = sched_getaffinity(None)?;
        // A child begins with its parent's cores: set and put back, so that nothing of it ever runs elsewhere.
        if !cores.is_empty() {
            sched_setaffinity(None, &set_of(cores))?;
        }
        let spawned = command.spawn();
        sched_setaffinity(None, &own)?;
        let program = command.get_program().display().to_string();
        let child = spawned.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let mut server = Self { child, address };
        server.wait(log)?;
        Ok(server)
    }

    fn wait(&mut self, log: &Path) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if listens(self.address) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<&str> = said.lines().rev().take(5).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n  ");
                return Err(io::Error::other(format!(
                    "the node ended before it listened ({status}); it said:\n  {tail}"
                )));
            }
            if begun.elapsed() > START_WAIT {
                return Err(io::Error::other(format!("the node did not listen within 60 s, see {}", log.display())));
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// As the process that it is.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// Asks it to end and waits. Answers how long that took.
    ///
    /// # Errors
    /// Where it does not end within 30 s: it was killed then.
    pub fn stop(mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        self.terminate()?;
        Ok(begun.elapsed())
    }

    fn terminate(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // Continued first: a stopped process would not hear of it.
        self.process().signal(Signal::CONT)?;
        self.process().signal(Signal::TERM)?;
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > STOP_WAIT {
                self.child.kill()?;
                self.child.wait()?;
                return Err(io::Error::other("the node did not end within 30 s of SIGTERM and was killed"));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.terminate() {
            tracing::warn!("process {}: {error}", self.child.id());
        }
    }
}

/// An address of 127.0.0.1 on which nobody listens.
///
/// # Errors
/// Where there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Whether somebody listens there. Asked again and again before anybody does, the kernel once gives a connection the very port
/// that it goes to as its own, and it is accepted by itself: that is nobody. Nor is who closes again at once: older
/// nodes listened for a moment at their start to see whether the port is free, and the gate may have one for its base.
#[must_use]
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200))
        .is_ok_and(|stream| !is_its_own_peer(&stream) && stays_open(&stream))
}

fn stays_open(mut stream: &TcpStream) -> bool {
    let waited = stream.set_read_timeout(Some(STAYS)).and_then(|()| stream.read(&mut [0]));
    waited.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn is_its_own_peer(stream: &TcpStream) -> bool {
    let (own, peer) = (stream.local_addr(), stream.peer_addr());
    own.is_ok_and(|own| peer.is_ok_and(|peer| own == peer))
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// EINVAL where there is no such core, or it is not ours.
pub fn pin(core: usize) -> io::Result<()> {
    let named = |error: rustix::io::Errno| io::Error::new(error.kind(), format!("core {core}: {error}"));
    sched_setaffinity(None, &set_of(&[core])).map_err(named)
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| set.set(*core));
    set
}

/// The device that a directory lies on, as `major:minor`.
pub(super) fn device_of(dir: &Path) -> io::Result<String> {
    let dev = fs::metadata(dir)?.dev();
    Ok(format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev)))
}

const START_WAIT: Duration = Duration::from_secs(60);
/// For so long a connection is watched. A listener that is closed takes its connections with it within microseconds.
const STAYS: Duration = Duration::from_millis(20);
const STOP_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, socket};

    use super::*;

    #[test]
    fn a_connection_to_itself_is_no_broker() {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        let own = SocketAddr::try_from(getsockname(&socket).expect("an address")).expect("of IPv4");
        connect(&socket, &own).expect("TCP's simultaneous open");
        assert!(is_its_own_peer(&TcpStream::from(socket)));
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bound");
        assert!(listens(listener.local_addr().expect("an address")));
    }

    #[test]
    fn who_listens_for_a_moment_is_no_broker() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bound");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        drop(listener);
        assert!(!stays_open(&stream));
    }
}
