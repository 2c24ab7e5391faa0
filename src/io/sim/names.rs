//! Directory entries: what a lookup sees, and what of it survives a power failure.
//!
//! Names are whole paths, joined by `/`. Every job of [`crate::io::Job`] flushes the directories that it changed before
//! it completes. One that is interrupted may have changed a directory and not flushed it: a power failure keeps of each
//! directory's unflushed entries a prefix in order, and the flush of the directory by a later job keeps them all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::disk::InodeId;
use super::random::Random;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(InodeId),
}

/// All names of the machine.
#[derive(Debug, Default)]
pub(super) struct Names {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// Entries made by opening, in order, whose directories were not flushed since.
    made: Vec<(String, InodeId)>,
}

impl Names {
    pub(super) fn get(&self, path: &str) -> Option<Node> {
        if path.is_empty() { Some(Node::Dir) } else { self.live.get(path).copied() }
    }

    pub(super) fn file(&self, path: &str) -> io::Result<InodeId> {
        match self.get(path) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether something can be made at `path`: its directory is there.
    pub(super) fn parent_exists(&self, path: &str) -> io::Result<()> {
        match self.get(parent(path)) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The names directly in `dir`, in order.
    pub(super) fn list<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a str, Node)> {
        self.under(dir).filter_map(move |(path, node)| {
            let name = &path[dir.len() + usize::from(!dir.is_empty())..];
            (!name.contains('/')).then_some((name, node))
        })
    }

    fn under<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a str, Node)> {
        let from = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let prefix = from.clone();
        let within = self.live.range(from..).take_while(move |(path, _)| path.starts_with(&prefix));
        within.map(|(path, node)| (path.as_str(), *node))
    }

    /// Every file with its name.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.live.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path.as_str(), *inode)),
            Node::Dir => None,
        })
    }

    /// A new name that is not durable yet.
    pub(super) fn make(&mut self, path: &str, inode: InodeId) {
        self.live.insert(path.to_owned(), Node::File(inode));
        self.made.push((path.to_owned(), inode));
    }

    /// A new or replaced name, its directory flushed.
    pub(super) fn put(&mut self, path: &str, node: Node) -> Option<Node> {
        self.flush_dir(parent(path));
        self.made.retain(|(made, _)| made != path);
        self.durable.insert(path.to_owned(), node);
        self.live.insert(path.to_owned(), node)
    }

    /// Renames a file or a directory with all under it, both directories flushed. Answers the file that it replaced.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<Option<InodeId>> {
        let Some(node) = self.get(from) else { return Err(io::ErrorKind::NotFound.into()) };
        self.parent_exists(to)?;
        if self.get(to) == Some(Node::Dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.flush_dir(parent(from));
        self.flush_dir(parent(to));
        let replaced = self.live.get(to).copied();
        for names in [&mut self.live, &mut self.durable] {
            let moved: Vec<(String, Node)> = within(names, from).collect();
            for (path, node) in moved {
                names.remove(&path);
                names.insert(format!("{to}{}", &path[from.len()..]), node);
            }
            names.insert(to.to_owned(), node);
        }
        for (path, _) in &mut self.made {
            if let Some(rest) = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                *path = format!("{to}{rest}");
            }
        }
        Ok(replaced.and_then(Node::inode).filter(|inode| node != Node::File(*inode)))
    }

    /// Removes a name with all under it, its directory flushed. Answers the files that lost their name.
    pub(super) fn remove(&mut self, path: &str) -> io::Result<Vec<InodeId>> {
        if self.get(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.flush_dir(parent(path));
        let gone: Vec<(String, Node)> = within(&self.live, path).collect();
        for (path, _) in &gone {
            self.live.remove(path);
            self.durable.remove(path);
        }
        self.made.retain(|(made, _)| !gone.iter().any(|(path, _)| path == made));
        Ok(gone.into_iter().filter_map(|(_, node)| node.inode()).collect())
    }

    /// Makes the entries of a directory durable.
    pub(super) fn flush_dir(&mut self, dir: &str) {
        let durable = &mut self.durable;
        self.made.retain(|(path, inode)| {
            let settled = parent(path) == dir;
            if settled {
                durable.insert(path.clone(), Node::File(*inode));
            }
            !settled
        });
    }

    /// Makes the entries of all directories durable.
    pub(super) fn flush_all(&mut self) {
        let made = self.made.drain(..).map(|(path, inode)| (path, Node::File(inode)));
        self.durable.extend(made);
    }

    /// The power goes. Answers the files that still have a name.
    pub(super) fn crash(&mut self, random: &mut Random) -> BTreeSet<InodeId> {
        let mut lost: BTreeSet<String> = BTreeSet::new();
        for (path, inode) in std::mem::take(&mut self.made) {
            let dir = parent(&path);
            if lost.contains(dir) || random.one_in(2) {
                lost.insert(dir.to_owned());
            } else {
                self.durable.insert(path, Node::File(inode));
            }
        }
        self.live.clone_from(&self.durable);
        self.files().map(|(_, inode)| inode).collect()
    }
}

impl Node {
    fn inode(self) -> Option<InodeId> {
        match self {
            Self::File(inode) => Some(inode),
            Self::Dir => None,
        }
    }
}

/// The name `path` and all names under it.
fn within<'a>(names: &'a BTreeMap<String, Node>, path: &'a str) -> impl Iterator<Item = (String, Node)> + 'a {
    let prefix = format!("{path}/");
    let under = names.range(prefix.clone()..).take_while(move |(name, _)| name.starts_with(&prefix));
    names.get_key_value(path).into_iter().chain(under).map(|(name, node)| (name.clone(), *node))
}

/// The directory that a path lies in; the root is the empty path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
