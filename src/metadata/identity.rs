//! Who this node is: `meta.properties` of its log directory.
//!
//! Read, or written once, at start, before anything else of the directory is looked at; the lock is held by then. The
//! file is Kafka's own (version 1), so that a directory may move between Kafka and this node. A cluster id, once given,
//! stays; a directory of another node is refused.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::io::{Env, Job, Output, Runtime};
use crate::storage::kafka_files::meta_properties::{self, MetaProperties};
use crate::storage::kafka_files::{FormatError, parse_topic_id};
use crate::types::TopicId;

/// The file's name.
pub const META_PROPERTIES: &str = "meta.properties";

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `cluster.id`: 16 bytes in URL-safe base64.
    pub cluster_id: Arc<str>,
    /// `node.id`.
    pub node_id: i32,
    /// `directory.id` of the log directory.
    pub directory_id: [u8; 16],
    /// Whether the directory was new.
    pub created: bool,
}

/// Why a directory cannot be this node's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The directory belongs to another node.
    #[error(
        "{} belongs to node {stored}, but node.id={configured} is set: set node.id={stored}, or choose another log.dirs",
        path.display()
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// What it says.
        stored: i32,
        /// What the operator says.
        configured: i32,
    },
    /// The file cannot be understood.
    #[error("{}: {cause}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: FormatError,
    },
    /// The file's directory id cannot be understood.
    #[error("{}: directory.id={id} is not an id", path.display())]
    DirectoryId {
        /// The file.
        path: PathBuf,
        /// What it says.
        id: String,
    },
    /// The file cannot be read or written.
    #[error("cannot {what} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        cause: std::io::Error,
    },
}

impl Identity {
    /// Reads the identity of `dir`, or gives it one. `node_id` is what the operator set; 1 where nothing was ever set.
    pub async fn load<E: Env>(rt: &Rc<Runtime<E>>, dir: &Path, node_id: Option<i32>) -> Result<Self, IdentityError> {
        let path = dir.join(META_PROPERTIES);
        let io = |what| {
            let path = path.clone();
            move |cause| IdentityError::Io { what, path, cause }
        };
        let found = match rt.job(Job::ReadFile(path.clone(), FILE_BYTES_MAX)).await {
            Ok(Output::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(_) => None,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(io("read")(cause)),
        };
        let (meta, identity) = match found {
            Some(text) => Self::known(rt, &path, &text, node_id)?,
            None => {
                let cluster_id: Arc<str> = random_id(rt.env()).to_string().into();
                let (node_id, directory_id) = (node_id.unwrap_or(NODE_ID_DEFAULT), random_id(rt.env()).0);
                (None, Self { cluster_id, node_id, directory_id, created: true })
            }
        };
        if meta.is_none_or(|meta| meta.directory_id.is_none()) {
            let bytes = meta_properties::encode(&identity.to_meta()).into_bytes();
            rt.job(Job::WriteFile(path.clone(), bytes)).await.map_err(io("write"))?;
        }
        Ok(identity)
    }

    fn known<E: Env>(
        rt: &Rc<Runtime<E>>,
        path: &Path,
        text: &str,
        configured: Option<i32>,
    ) -> Result<(Option<MetaProperties>, Self), IdentityError> {
        let path = || path.to_owned();
        let meta = meta_properties::decode(text).map_err(|cause| IdentityError::Format { path: path(), cause })?;
        if let Some(configured) = configured.filter(|configured| *configured != meta.node_id) {
            return Err(IdentityError::OtherNode { path: path(), stored: meta.node_id, configured });
        }
        let directory_id = match &meta.directory_id {
            None => random_id(rt.env()),
            Some(id) => {
                parse_topic_id(id).ok_or_else(|| IdentityError::DirectoryId { path: path(), id: id.clone() })?
            }
        };
        let cluster_id = meta.cluster_id.as_str().into();
        let identity = Self { cluster_id, node_id: meta.node_id, directory_id: directory_id.0, created: false };
        Ok((Some(meta), identity))
    }

    fn to_meta(&self) -> MetaProperties {
        MetaProperties {
            cluster_id: self.cluster_id.to_string(),
            node_id: self.node_id,
            directory_id: Some(TopicId(self.directory_id).to_string()),
        }
    }
}

/// A random id as Kafka makes them: a version-4 UUID that is none of the reserved ones and does not begin with a dash in
/// base64, which command lines would take for an option.
pub fn random_id<E: Env>(env: &E) -> TopicId {
    loop {
        let mut bytes = [0; 16];
        let (high, low) = (env.random().to_be_bytes(), env.random().to_be_bytes());
        bytes[..8].copy_from_slice(&high);
        bytes[8..].copy_from_slice(&low);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        // The version bits keep it from the reserved ids, which are all small numbers.
        let id = TopicId(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// `node.id` where neither the operator nor the directory says one.
pub const NODE_ID_DEFAULT: i32 = 1;
const FILE_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, SimEnv, World};

    fn load(world: &Rc<World>, node_id: Option<i32>) -> Result<Identity, IdentityError> {
        let rt: Rc<Runtime<SimEnv>> = Rc::clone(&world.start(1)[0]);
        let this = Rc::clone(&rt);
        let loaded = world.block_on(&rt, async move {
            this.job(Job::CreateDir("/data".into())).await.expect("made");
            Identity::load(&this, Path::new("/data"), node_id).await
        });
        world.crash();
        loaded.expect("loading ends")
    }

    fn write(world: &Rc<World>, text: &'static str) {
        let rt = Rc::clone(&world.start(1)[0]);
        let this = Rc::clone(&rt);
        let written = world.block_on(&rt, async move {
            this.job(Job::CreateDir("/data".into())).await.expect("made");
            this.job(Job::WriteFile("/data/meta.properties".into(), text.into())).await.map(drop)
        });
        written.expect("writing ends").expect("written");
        world.crash();
    }

    #[test]
    fn an_identity_is_given_once() {
        let world = World::new(1, Faults::default());
        let first = load(&world, None).expect("given");
        assert_eq!((first.node_id, first.cluster_id.len(), first.created), (1, 22, true));
        let again = load(&world, Some(1)).expect("kept");
        assert_eq!(again, Identity { created: false, ..first });
    }

    #[test]
    fn another_nodes_directory_is_refused_with_both_ids() {
        let world = World::new(2, Faults::default());
        load(&world, Some(7)).expect("given");
        let error = load(&world, Some(8)).expect_err("node 7's");
        assert!(matches!(error, IdentityError::OtherNode { stored: 7, configured: 8, .. }));
        assert!(error.to_string().contains("node.id=7"), "{error}");
        assert_eq!(load(&world, None).expect("nothing is asked").node_id, 7);
    }

    #[test]
    fn kafkas_file_is_understood_and_gets_a_directory_id_where_it_has_none() {
        let world = World::new(3, Faults::default());
        write(&world, "#\n#Thu Jan 01 00:00:00 UTC 1970\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=3\nversion=1\n");
        let first = load(&world, None).expect("Kafka's");
        assert_eq!((&*first.cluster_id, first.node_id), ("MkU3OEVBNTcwNTJENDM2Qg", 3));
        assert_eq!(load(&world, None).expect("completed").directory_id, first.directory_id);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let world = World::new(4, Faults::default());
        write(&world, "version=1\nnode.id=x\ncluster.id=y\n");
        assert!(matches!(load(&world, None), Err(IdentityError::Format { .. })));
    }

    #[test]
    fn random_ids_are_version_4_and_never_begin_with_a_dash() {
        let world = World::new(5, Faults::default());
        for _ in 0..200 {
            let id = random_id(world.client().env());
            assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2));
            assert!(!id.to_string().starts_with('-'));
        }
    }
}
