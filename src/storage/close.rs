//! `ringmain log close`: a directory that was not stopped cleanly is recovered and brought to rest, without a node.
//!
//! Called by `cli/`, which holds the directory's lock, on one shard. Afterwards every byte of every log is in its
//! segment, the indexes are written, and the directory is one that was stopped cleanly, for the node and for Kafka's tools.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::config::Config;
use super::error::Error;
use super::recovery::{RecoveryError, Rules, Start, recover};
use super::stop::finish;
use super::store::Store;
use super::writer::Directory;
use crate::io::{Env, Runtime};
use crate::types::TopicPartition;

/// What closing a directory came to.
#[derive(Debug)]
pub struct Closed {
    /// How the last stop was.
    pub start: Start,
    /// Logs in the directory.
    pub logs: usize,
    /// Logs that are not served, and why. Their files stay as they are.
    pub quarantined: Vec<(TopicPartition, Arc<str>)>,
    /// Whether the directory is now one that was stopped cleanly; if not, why.
    pub clean: bool,
    /// What kept it from that.
    pub failed: Vec<Error>,
}

/// Why a directory could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// It could not be read, or was refused.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Kafka's files could not be written.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// Recovers the directory and stops it cleanly. With `salvage`, what the segments show is taken for the truth where a journal
/// is lost.
///
/// # Errors
/// [`CloseError`]; the directory can be closed again.
pub async fn close_directory<E: Env>(
    rt: &Rc<Runtime<E>>,
    config: Config,
    dir: &Path,
    salvage: bool,
) -> Result<Closed, CloseError> {
    let mut found = recover(rt, dir, Rules { block_bytes: config.disk.block_bytes, salvage }).await?;
    let (start, logs) = (found.start, found.logs.len());
    let reason = |log: &super::recovery::FoundLog| Some((log.name.clone(), log.quarantined.clone()?));
    let quarantined = found.logs.iter().filter_map(reason).collect();
    let share = found.take_share(|_| true);
    found.begin(rt).await?;
    let log_config = config.log.clone();
    let store = Store::open(rt, config, &Directory::new(dir.into()), share, |_| log_config.clone()).await?;
    found.finish(rt, 1).await;
    let number = i64::try_from(rt.env().random() >> 1).expect("one bit less");
    let mut stopped = store.close(number).await;
    let clean = finish(rt, dir, number, std::slice::from_ref(&stopped)).await?;
    Ok(Closed { start, logs, quarantined, clean, failed: stopped.failed.take().into_iter().collect() })
}
