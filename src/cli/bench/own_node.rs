//! The node that `bench` starts where it was given none: this very program, on a scratch directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::report::Broker;
use crate::bench::server::{Server, free_address};
use crate::cli::Ended;

/// A node that is stopped, and its directory removed, when this is dropped.
#[derive(Debug)]
pub(super) struct OwnNode {
    server: Option<Server>,
    dir: PathBuf,
    settings: Vec<String>,
    /// Where it tells its metrics.
    pub(super) metrics: Option<String>,
}

/// How it is set up.
#[derive(Clone, Debug)]
pub(super) struct Setup<'a> {
    /// The scratch directory is made below it.
    pub(super) below: &'a Path,
    pub(super) cores: &'a [usize],
    pub(super) memory: Option<&'a str>,
    pub(super) set: &'a [String],
}

impl OwnNode {
    pub(super) fn start(setup: &Setup<'_>) -> Result<Self, Ended> {
        let failed = |error: std::io::Error| Ended::Failed(error.to_string());
        let dir = setup.below.join(format!("ringmain-bench.{}", std::process::id()));
        let named = |error: std::io::Error| Ended::Failed(format!("{}: {error}", dir.display()));
        fs::create_dir_all(&dir).map_err(named)?;
        // Made before the node starts: whatever ends us takes the directory along.
        let mut node = Self { server: None, dir: dir.clone(), settings: Vec::new(), metrics: None };
        let program = std::env::current_exe().map_err(failed)?;
        let address = free_address().map_err(failed)?;
        let mut settings = vec!["--listeners".to_owned(), format!("PLAINTEXT://{address}")];
        if let Some(memory) = setup.memory {
            settings.extend(["--memory".to_owned(), memory.to_owned()]);
        }
        for setting in setup.set {
            settings.extend(["--set".to_owned(), setting.clone()]);
        }
        let mut command = Command::new(program);
        command.arg("serve").arg("--data").arg(dir.join("data")).args(&settings);
        let log = dir.join("log");
        node.server = Some(Server::start(command, address, setup.cores, &log).map_err(failed)?);
        node.settings = settings;
        Ok(node)
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().expect("it is there until it is stopped")
    }

    pub(super) fn broker(&self) -> Broker {
        let process = self.server().process();
        Broker {
            name: "Ringmain".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            address: self.server().address.to_string(),
            pid: Some(process.id()),
            cores: process.cores(),
            settings: self.settings.clone(),
        }
    }

    /// Stops it and removes its directory; fails where it does not stop cleanly.
    pub(super) fn stop(mut self) -> Result<(), Ended> {
        let stopped = self.server.take().map(Server::stop).transpose();
        stopped.map(|_| ()).map_err(|error| Ended::Failed(error.to_string()))
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        drop(self.server.take());
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!("{}: {error}", self.dir.display());
        }
    }
}
