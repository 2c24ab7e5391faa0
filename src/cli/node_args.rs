//! The flags that set up a node, and gathering all settings into one [`Config`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Ended;
use crate::config::{self, Config, Machine, Origin, Setting, from_environment, from_flag, from_text};
use crate::io::{files, machine, pump};

/// Flags of `serve` and `doctor`. Each is short for one setting; `--set` takes any.
#[derive(Args, Debug, Default)]
pub(super) struct NodeArgs {
    /// A file of settings, one key=value a line, like Kafka's server.properties.
    #[arg(long, value_name = "FILE", env = "RINGMAIN_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory [log.dirs; default ./data].
    #[arg(long, value_name = "DIR", visible_alias = "log-dirs")]
    data: Option<String>,
    /// Addresses to listen on [listeners; default: port 9092 of 127.0.0.1 and of ::1].
    #[arg(long, value_name = "HOST:PORT,...", visible_alias = "listen")]
    listeners: Option<String>,
    /// The address that clients are told to use [advertised.listeners].
    #[arg(long, value_name = "HOST:PORT", visible_alias = "advertise")]
    advertised_listeners: Option<String>,
    /// Show metrics over HTTP: /metrics for Prometheus, /healthz [metrics.listener; default: nowhere].
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,
    /// Memory figure of the node, such as 512M [memory; default a quarter of RAM].
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Shards, each on a core of its own [shards; default one for each usable core].
    #[arg(long, value_name = "COUNT")]
    shards: Option<String>,
    /// This node's id in Metadata [node.id; default: the data directory's own, else 1].
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Any setting, by its key.
    #[arg(long, value_name = "KEY=VALUE", visible_alias = "override")]
    set: Vec<String>,
}

impl NodeArgs {
    /// The settings of the file, the environment and the flags, weakest first.
    pub(super) fn config(&self) -> Result<Config, Ended> {
        let mut settings = Vec::new();
        if let Some(path) = &self.config {
            settings.extend(from_file(path)?);
        }
        settings.extend(from_environment(std::env::vars()));
        settings.extend(self.flags()?);
        Config::from_settings(&settings, this_machine()).map_err(|invalid| Ended::Usage(invalid.to_string()))
    }

    fn flags(&self) -> Result<Vec<Setting>, Ended> {
        let named = [
            ("--data", "log.dirs", &self.data),
            ("--listeners", "listeners", &self.listeners),
            ("--advertised-listeners", "advertised.listeners", &self.advertised_listeners),
            ("--metrics", "metrics.listener", &self.metrics),
            ("--memory", "memory", &self.memory),
            ("--shards", "shards", &self.shards),
            ("--node-id", "node.id", &self.node_id),
        ];
        let mut settings = Vec::new();
        for (flag, key, value) in named {
            if let Some(value) = value {
                let origin = Origin::Flag(flag.to_owned());
                settings.push(Setting { key: key.to_owned(), value: value.clone(), origin });
            }
        }
        for text in &self.set {
            settings.push(from_flag("--set", text).map_err(|problem| Ended::Usage(problem.to_string()))?);
        }
        Ok(settings)
    }
}

/// What the process may use here: one shard for each core of its affinity mask, fewer where a quota grants fewer.
pub(super) fn this_machine() -> Machine {
    let cores = pump::usable_cores().len().max(1);
    let cores = machine::quota_cores().map_or(cores, |quota| cores.min(quota));
    Machine { memory_bytes: machine::memory_bytes(), cores }
}

/// The table of settings, for `--help`.
pub(super) fn settings_help() -> String {
    let mut text = String::from(
        "Settings: in a file (--config), as variables (RINGMAIN_NUM_PARTITIONS=3), or by --set num.partitions=3; the later \
         of these wins.\n\n",
    );
    for key in config::all() {
        writeln!(text, "  {key}").expect("a string takes it");
    }
    text
}

fn from_file(path: &Path) -> Result<Vec<Setting>, Ended> {
    let name = path.display().to_string();
    let bytes = files::read(path).map_err(|error| Ended::Usage(format!("{name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Ended::Usage(format!("{name}: is not text")))?;
    from_text(&text, &name).map_err(|problem| Ended::Usage(problem.to_string()))
}
