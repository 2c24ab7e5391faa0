//! The node's own files of a log directory, by their names: the journal and the checkpoint of each shard of each start.
//!
//! Called by `recovery`, which reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::journal_name;
use crate::storage::checkpoint::{Checkpoint, LogCheckpoint};
use crate::types::{PartitionId, ShardId};

/// A file of one shard and one start.
pub(super) struct OwnFile {
    pub(super) path: PathBuf,
    pub(super) shard: u16,
    pub(super) generation: u64,
}

/// The node's own files of a directory.
#[derive(Default)]
pub(super) struct OwnFiles {
    pub(super) checkpoints: Vec<OwnFile>,
    /// Those of the checkpoints that can be read.
    pub(super) decoded: Vec<Checkpoint>,
    pub(super) journals: Vec<OwnFile>,
}

impl OwnFiles {
    pub(super) fn generation(&self) -> u64 {
        self.journals.iter().chain(&self.checkpoints).map(|file| file.generation).max().unwrap_or(0)
    }

    /// The checkpoints of the newest start.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Checkpoint> {
        let newest = self.generation();
        self.decoded.iter().filter(move |checkpoint| checkpoint.generation == newest)
    }

    /// Whether the newest checkpoints are of the very stop that the mark is of.
    pub(super) fn stopped_cleanly(&self, number: Option<i64>) -> bool {
        let mut last = self.newest().peekable();
        number.is_some() && last.peek().is_some() && last.all(|checkpoint| checkpoint.clean_stop == number)
    }

    /// A journal whose checkpoint is there and that itself is not.
    pub(super) fn missing_journal(&self) -> Option<String> {
        let of = |file: &OwnFile| (file.shard, file.generation);
        let journals: BTreeSet<(u16, u64)> = self.journals.iter().map(of).collect();
        let missing = self.checkpoints.iter().find(|checkpoint| !journals.contains(&of(checkpoint)))?;
        Some(journal_name(ShardId(missing.shard), missing.generation))
    }

    /// The newest checkpoint of each log.
    pub(super) fn logs(&self) -> BTreeMap<PartitionId, (&LogCheckpoint, &Checkpoint)> {
        let mut logs: BTreeMap<PartitionId, (&LogCheckpoint, &Checkpoint)> = BTreeMap::new();
        for checkpoint in &self.decoded {
            for log in &checkpoint.logs {
                let newest = logs.entry(log.id()).or_insert((log, checkpoint));
                if newest.1.generation < checkpoint.generation {
                    *newest = (log, checkpoint);
                }
            }
        }
        logs
    }
}
