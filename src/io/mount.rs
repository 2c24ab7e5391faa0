//! One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), and the file system's own list of options.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

/// The mount that a directory lies on, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// ext4, xfs, overlay ...
    pub kind: String,
    /// What is mounted: a device, or a name.
    pub source: String,
    /// Mount options, superblock options, and what /proc/fs shows of them: without duplicates.
    pub options: Vec<String>,
    /// `st_dev` of the files on it: major, minor.
    pub device: (u32, u32),
}

impl Mount {
    /// The mount of a directory.
    ///
    /// # Errors
    /// What the kernel says of the path; `NotFound` where mountinfo does not show its mount.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statx(CWD, dir, AtFlags::empty(), StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
        let id = (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id);
        let text = fs::read_to_string("/proc/self/mountinfo")?;
        let mut mount = find(&text, id, &fs::canonicalize(dir)?).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no mount of {} in /proc/self/mountinfo", dir.display()))
        })?;
        mount.device = (stat.stx_dev_major, stat.stx_dev_minor);
        mount.add_options_of_proc();
        Ok(mount)
    }

    /// Whether an option is set: by its whole text, or by its name where it carries a value.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options
            .iter()
            .any(|set| set == option || set.strip_prefix(option).is_some_and(|rest| rest.starts_with('=')))
    }

    /// ext4 leaves its defaults out of mountinfo and shows them here: whether there is a journal among them.
    fn add_options_of_proc(&mut self) {
        let (major, minor) = self.device;
        let Ok(link) = fs::read_link(format!("/sys/dev/block/{major}:{minor}")) else { return };
        let Some(name) = link.file_name() else { return };
        let list = Path::new("/proc/fs").join(&self.kind).join(name).join("options");
        for option in fs::read_to_string(list).unwrap_or_default().lines() {
            if !self.options.iter().any(|set| set == option) {
                self.options.push(option.to_owned());
            }
        }
    }
}

/// The line of a mount id; without one, of the longest mount point above `path`, the last of equals.
fn find(text: &str, id: Option<u64>, path: &Path) -> Option<Mount> {
    let mut found: Option<Mount> = None;
    for line in text.lines() {
        let Some((line_id, mount)) = parse(line) else { continue };
        if id == Some(line_id) {
            return Some(mount);
        }
        let longer = found.as_ref().is_none_or(|found| mount.point.as_os_str().len() >= found.point.as_os_str().len());
        if id.is_none() && path.starts_with(&mount.point) && longer {
            found = Some(mount);
        }
    }
    found
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &str) -> Option<(u64, Mount)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let id = before.next()?.parse().ok()?;
    let (major, minor) = before.nth(1)?.split_once(':')?;
    let point = PathBuf::from(unescape(before.nth(1)?));
    let mount_options = before.next()?;
    let mut after = after.split(' ');
    let (kind, source, super_options) = (after.next()?, after.next()?, after.next().unwrap_or(""));
    let mut options: Vec<String> = Vec::new();
    for option in mount_options.split(',').chain(super_options.split(',')) {
        if !option.is_empty() && !options.iter().any(|set| set == option) {
            options.push(option.to_owned());
        }
    }
    let device = (major.parse().ok()?, minor.parse().ok()?);
    Some((id, Mount { point, kind: kind.to_owned(), source: unescape(source), options, device }))
}

/// Space, tab, newline and backslash are shown as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(code, character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::find;

    const TEXT: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 22 7:1 / /mnt/a\\040b rw,noatime shared:3 - xfs /dev/loop1 rw,logdev=/dev/loop2
41 22 7:2 / /mnt/a\\040b rw - ext4 /dev/loop3 rw,nobarrier
garbage
";

    #[test]
    fn a_mount_is_found_by_its_id_and_by_the_longest_last_prefix() {
        let by_id = find(TEXT, Some(40), Path::new("/")).expect("there");
        assert_eq!((by_id.kind.as_str(), by_id.device), ("xfs", (7, 1)));
        assert!(by_id.has("logdev") && by_id.has("noatime") && !by_id.has("log"));
        let by_path = find(TEXT, None, Path::new("/mnt/a b/data")).expect("there");
        assert_eq!((by_path.source.as_str(), by_path.point.as_path()), ("/dev/loop3", Path::new("/mnt/a b")));
        assert!(by_path.has("nobarrier"));
        assert_eq!(find(TEXT, None, Path::new("/mnt/ab")).expect("the root").source, "/dev/vda");
        assert!(find(TEXT, Some(99), Path::new("/")).is_none());
    }
}
