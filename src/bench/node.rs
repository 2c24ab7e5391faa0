//! A node of our own on a scratch directory: what `bench` measures where it was given no broker, and both sides of a gate.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::counts::Program;
use super::report::Broker;
use super::server::{Process, Server, free_address};

/// A node that is stopped, and its directory removed, when this is dropped.
#[derive(Debug)]
pub struct Node {
    server: Option<Server>,
    dir: PathBuf,
    settings: Vec<String>,
    /// Where it tells its metrics.
    pub metrics: Option<String>,
}

impl Node {
    /// Starts `program` on some cores (empty: on all), its data in a new directory below `below`.
    ///
    /// # Errors
    /// Where the directory cannot be made or the node does not start; with what it said.
    pub fn start(program: &Program, below: &Path, cores: &[usize]) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = below.join(format!("ringmain-bench.{}.{number}", std::process::id()));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
        fs::create_dir_all(&dir).map_err(named)?;
        // Made before the node starts: whatever ends us takes the directory along.
        let mut node = Self { server: None, dir: dir.clone(), settings: Vec::new(), metrics: None };
        let address = free_address()?;
        let mut settings = vec!["--listeners".to_owned(), format!("PLAINTEXT://{address}")];
        if shows_metrics(program) {
            let metrics = free_address()?.to_string();
            settings.extend(["--metrics".to_owned(), metrics.clone()]);
            node.metrics = Some(metrics);
        }
        settings.extend(program.serve.iter().cloned());
        let mut command = Command::new(&program.path);
        command.arg("serve").arg("--data").arg(dir.join("data")).args(&settings);
        command.envs(program.env.iter().map(|(key, value)| (key, value)));
        node.server = Some(Server::start(command, address, cores, &dir.join("log"))?);
        node.settings = settings;
        Ok(node)
    }

    /// As a process.
    ///
    /// # Panics
    /// Never: it is there until it is stopped.
    #[must_use]
    pub fn process(&self) -> Process {
        self.server.as_ref().expect("there until it is stopped").process()
    }

    /// Where clients begin.
    ///
    /// # Panics
    /// Never: it is there until it is stopped.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.server.as_ref().expect("there until it is stopped").address.to_string()
    }

    /// For a report.
    #[must_use]
    pub fn broker(&self) -> Broker {
        Broker {
            name: "Ringmain".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            address: self.bootstrap(),
            pid: Some(self.process().id()),
            cores: self.process().cores(),
            settings: [DURABILITY.to_owned()].into_iter().chain(self.settings.iter().cloned()).collect(),
        }
    }

    /// Stops it and removes its directory.
    ///
    /// # Errors
    /// Where it does not stop cleanly.
    pub fn stop(mut self) -> io::Result<()> {
        self.server.take().map(Server::stop).transpose().map(|_| ())
    }
}

/// Whether a node of this program can be asked for its figures, and is not told already where to show them: the other side of
/// a gate may be older than they are.
/// Whether a program can be told where to show its metrics, and was not.
pub(super) fn shows_metrics(program: &Program) -> bool {
    let told = program.serve.iter().any(|argument| argument.contains("metrics"));
    let help = Command::new(&program.path).args(["serve", "--help"]).stderr(Stdio::null()).output();
    !told && help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--metrics"))
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.server.take());
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!("{}: {error}", self.dir.display());
        }
    }
}

/// The first thing that a reader asks of a log.
const DURABILITY: &str = "durability: acks=all is answered when the records are flushed to the device";
