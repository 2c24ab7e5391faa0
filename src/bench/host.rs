//! What machine this is: a figure means nothing without it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::server::device_of;

/// Facts of this host. What the kernel does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub hostname: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Model of its processor.
    pub cpu: String,
    /// Processors that the process may use.
    pub cpus: usize,
    /// RAM, in bytes.
    pub memory_bytes: u64,
    /// Hypervisor, where one shows.
    pub virtualization: Option<String>,
    /// Frequency governor of the first processor.
    pub governor: Option<String>,
    /// Where the node's data was.
    pub data_directory: String,
    /// Its file system.
    pub file_system: String,
    /// Its mount's options.
    pub mount_options: String,
    /// Its block device.
    pub device: String,
    /// The device's model.
    pub device_model: Option<String>,
    /// What else the reader should know.
    pub notes: Vec<String>,
}

impl Host {
    /// This host, and the place of a directory that is there.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let uname = rustix::system::uname();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let mount = mount_of(dir).unwrap_or_default();
        let block = device_of(dir).map(|number| format!("/sys/dev/block/{number}")).unwrap_or_default();
        let mut notes = Vec::new();
        if fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok())
            > Some(1.0_f64)
        {
            notes.push("The machine was busy when this began (load average above 1).".to_owned());
        }
        Self {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            cpu: field("model name").or_else(|| field("Model")).unwrap_or_else(|| "unknown".to_owned()),
            cpus: crate::io::pump::usable_cores().len(),
            memory_bytes: crate::io::machine::memory_bytes(),
            virtualization: cpuinfo
                .lines()
                .any(|line| line.starts_with("flags") && line.contains(" hypervisor"))
                .then(|| one_line("/sys/class/dmi/id/product_name").unwrap_or_else(|| "a hypervisor".to_owned())),
            governor: one_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            data_directory: dir.display().to_string(),
            file_system: mount.file_system,
            mount_options: mount.options,
            device: mount.source,
            device_model: one_line(&format!("{block}/device/model"))
                .or_else(|| one_line(&format!("{block}/../device/model"))),
            notes,
        }
    }
}

#[derive(Default)]
struct Mount {
    source: String,
    file_system: String,
    options: String,
}

/// The mount under which a directory lies (proc_pid_mountinfo(5)): the longest one that is a prefix.
fn mount_of(dir: &Path) -> Option<Mount> {
    let dir = fs::canonicalize(dir).ok()?;
    let text = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (source, at) = (fields.next()?, fields.next()?);
        let (file_system, options) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        dir.starts_with(at).then(|| (at.len(), Mount { source: source.to_owned(), file_system, options }))
    });
    mounts.max_by_key(|(len, _)| *len).map(|(_, mount)| mount)
}

fn one_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Processor time of all processors so far: (stolen by the hypervisor, all), in ticks (proc_stat(5)).
#[must_use]
pub fn stolen_ticks() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest is part of user.
    Some((*ticks.get(7)?, ticks.iter().take(8).sum()))
}
