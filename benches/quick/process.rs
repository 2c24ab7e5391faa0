//! A server process on one core: started, measured through /proc, stopped by its own id.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A running server. Stopped with SIGTERM, then SIGKILL, when dropped.
pub struct Server {
    child: Child,
    /// Another client of it that runs all the time.
    beside: Option<Child>,
    pub address: SocketAddr,
}

impl Server {
    /// Starts `command` on `core` and waits until `address` accepts.
    pub fn start(mut command: Command, address: SocketAddr, core: usize) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        command.stdin(Stdio::null());
        let ids = rustix::thread::CpuSet::new();
        let mut set = ids;
        set.set(core);
        // SAFETY: between fork and exec only sched_setaffinity(2) is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || rustix::thread::sched_setaffinity(None, &set).map_err(io::Error::from));
        }
        let begun = Instant::now();
        let mut child = command.spawn()?;
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                return Ok(Self { child, beside: None, address });
            }
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("the server ended before it answered: {status}")));
            }
            if begun.elapsed() > Duration::from_secs(60) {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other("the server did not answer within 60 s"));
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Runs `command` beside the load, on its core: words parted by spaces, to which `-server ADDRESS` is added. It has begun
    /// when it has printed a line, and ends with the server.
    pub fn run_beside(&mut self, command: &str) -> io::Result<()> {
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| io::Error::other("nothing to run beside"))?;
        let mut child = Command::new(program)
            .args(words)
            .args(["-server", &self.address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        self.beside = Some(child);
        let mut line = String::new();
        if output.map_or(Ok(0), |output| BufReader::new(output).read_line(&mut line))? == 0 {
            return Err(io::Error::other(format!("{program} ended before it had begun")));
        }
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Processor time of all its threads so far, those that have ended and the kernel's workers included
    /// (clock_getcpuclockid(3)).
    pub fn cpu(&self) -> Duration {
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let id = libc::pid_t::try_from(self.child.id()).unwrap_or(0);
        // SAFETY: the call writes to the one variable that it is given.
        let unknown = unsafe { libc::clock_getcpuclockid(id, &raw mut clock) } != 0;
        // SAFETY: as above.
        let failed = unknown || unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
        assert!(!failed, "the server has gone");
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// Resident bytes, and how many of them are the process's own memory (not files).
    pub fn resident_bytes(&self) -> (u64, u64) {
        let status = fs::read_to_string(self.proc("status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        (field("VmRSS:"), field("RssAnon:"))
    }

    /// Bytes that the process caused to be written to storage (`write_bytes` of proc_pid_io(5)).
    pub fn written_bytes(&self) -> u64 {
        let io = fs::read_to_string(self.proc("io")).unwrap_or_default();
        let line = io.lines().find(|line| line.starts_with("write_bytes:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    }

    /// Asks it to end and waits. Answers how long that took.
    pub fn stop(mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        self.terminate()?;
        Ok(begun.elapsed())
    }

    fn terminate(&mut self) -> io::Result<()> {
        if let Some(mut beside) = self.beside.take() {
            beside.kill()?;
            beside.wait()?;
        }
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        }
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > Duration::from_secs(15) {
                self.child.kill()?;
                self.child.wait()?;
                return Err(io::Error::other("the server did not end within 15 s of SIGTERM"));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.terminate() {
            eprintln!("{error}");
        }
    }
}

/// Microseconds so far in which some task, and in which every task, waited for I/O (PSI of the whole machine).
pub fn io_pressure_us() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/pressure/io").ok()?;
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.split("total=").nth(1)?.trim().parse().ok()
    };
    Some((total("some")?, total("full")?))
}

/// Pins the calling thread.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).map_err(io::Error::from)
}
