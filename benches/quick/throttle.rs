//! Slows the reads of one process from one device, as root, through a control group that is made for it.
//!
//! cgroup v2 `io.max` where the controller is there, else v1 `blkio.throttle.read_bps_device`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A control group that is removed when dropped; its processes move back to the root group.
pub struct Throttle {
    group: PathBuf,
    root: PathBuf,
    process: u32,
    device: String,
}

impl Throttle {
    /// Puts `process` into a new group. Reads of the device under `dir` are not slowed yet.
    pub fn new(process: u32, dir: &Path) -> io::Result<Self> {
        let root = [PathBuf::from("/sys/fs/cgroup/blkio"), PathBuf::from("/sys/fs/cgroup")]
            .into_iter()
            .find(|root| {
                root.join("blkio.throttle.read_bps_device").exists() || root.join("cgroup.subtree_control").exists()
            })
            .ok_or_else(|| io::Error::other("no block I/O control group is mounted"))?;
        let group = root.join(format!("ringmain-bench-{process}"));
        fs::create_dir_all(&group)?;
        let throttle = Self { group, root, process, device: device_of(dir)? };
        fs::write(throttle.group.join("cgroup.procs"), process.to_string())?;
        Ok(throttle)
    }

    /// Lets at most so many bytes a second be read, or as many as it likes.
    pub fn read_bytes_per_second(&self, limit: Option<u64>) -> io::Result<()> {
        let v1 = self.group.join("blkio.throttle.read_bps_device");
        if v1.exists() {
            return fs::write(v1, format!("{} {}", self.device, limit.unwrap_or(0)));
        }
        let limit = limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
        fs::write(self.group.join("io.max"), format!("{} rbps={limit}", self.device))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let moved = fs::write(self.root.join("cgroup.procs"), self.process.to_string());
        if moved.and_then(|()| fs::remove_dir(&self.group)).is_err() {
            eprintln!("the control group {} is left behind", self.group.display());
        }
    }
}

/// `major:minor` of the whole device under a directory: limits are set for disks, not for their partitions.
fn device_of(dir: &Path) -> io::Result<String> {
    let dev = fs::metadata(dir)?.dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let sys = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    if sys.join("partition").exists() {
        return fs::read_to_string(sys.join("../dev")).map(|text| text.trim().to_owned());
    }
    Ok(format!("{major}:{minor}"))
}
