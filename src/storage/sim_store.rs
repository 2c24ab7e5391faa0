//! One shard's store in a simulated world, for tests of the layers above and for `bench::paths`: opened as a node opens it,
//! killed, stopped.

use std::path::PathBuf;
use std::rc::Rc;

use super::recovery::{self, Rules};
use super::{Config, Directory, Disk, LogConfig, Store, stop};
use crate::io::Runtime;
use crate::io::device::FlushScope;
use crate::io::sim::{SimEnv, World};

/// Where the simulated log directory is.
pub const DIR: &str = "/data";
const BLOCK: usize = 4096;

/// A process of one shard with an open store.
pub struct SimStore {
    /// The shard.
    pub rt: Rc<Runtime<SimEnv>>,
    /// Its logs.
    pub store: Rc<Store<SimEnv>>,
}

/// A small configuration, so that little work reaches every corner.
pub fn config() -> Config {
    Config {
        disk: Disk { block_bytes: BLOCK, scope: FlushScope::Device, ..Disk::default() },
        log: LogConfig { segment_bytes: 256 << 10, ..LogConfig::default() },
        journal_bytes: 512 << 10,
        window_journal_bytes: 16 << 10,
        window_segment_bytes: 256 << 10,
        prepare_bytes_min: 16 << 10,
        prepare_bytes_max: 64 << 10,
        tail_bytes: 1 << 20,
        reserve_bytes: 1 << 20,
        recycle_bytes: 1 << 20,
        ..Config::default()
    }
}

impl SimStore {
    /// Starts a process in `world` and opens all logs of its directory on one shard.
    pub fn open(world: &Rc<World>) -> Self {
        Self::open_with(world, config())
    }

    /// As [`Self::open`], under a configuration.
    pub fn open_with(world: &Rc<World>, config: Config) -> Self {
        let rt = Rc::clone(&world.start(1)[0]);
        world.take_lock();
        let this = Rc::clone(&rt);
        let opened = world.block_on(&rt, async move {
            let dir = PathBuf::from(DIR);
            let rules = Rules { block_bytes: BLOCK, salvage: false };
            let mut found = recovery::recover(&this, &dir, rules).await.expect("a directory that can be recovered");
            found.begin(&this).await.expect("the mark goes");
            let share = found.take_share(|_| true);
            let directory = Directory::new(dir);
            let log_config = config.log.clone();
            let store = Store::open(&this, config, &directory, share, |_| log_config.clone()).await;
            let store = store.expect("a store that can be opened");
            found.finish(&this, 1).await;
            store
        });
        let store = opened.expect("opening ends");
        Self { rt, store }
    }

    /// Stops cleanly; the process is gone afterwards.
    pub fn stop(self, world: &Rc<World>) {
        let (rt, store) = (Rc::clone(&self.rt), self.store);
        let stopped = world.block_on(&self.rt, async move {
            let stopped = store.close(7).await;
            stop::finish(&rt, &PathBuf::from(DIR), 7, &[stopped]).await
        });
        assert!(stopped.expect("a stop ends").expect("the files are written"), "a clean stop");
        world.kill();
    }
}
