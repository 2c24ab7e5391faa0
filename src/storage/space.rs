//! The reserve: appends are refused before the disk is full, and taken again when space has returned.
//!
//! The file system is asked before new room is prepared, and while it is full once a second; never while idle. A failed
//! preparation (ENOSPC) counts as full too. What was already appended waits for room and is not lost; those who wait for
//! its acknowledgement hear after a second that there is none. A clean stop may take the reserve.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use super::error::Error;
use crate::io::local::Notify;
use crate::io::{Env, Job, Output, Runtime};

/// What is known of the space under a log directory. One per shard.
pub(super) struct Space {
    dir: PathBuf,
    reserve_bytes: Cell<u64>,
    free_bytes: Cell<u64>,
    /// Bytes that may be taken before the file system is asked again.
    allowed_bytes: Cell<u64>,
    full: Cell<bool>,
    polling: Cell<bool>,
    cleared: Notify,
    /// Told again and again while the disk stays full.
    stays_full: RefCell<Option<StaysFull>>,
}

/// Told why appends have been refused for a while.
type StaysFull = Rc<dyn Fn(&Error)>;

impl Space {
    pub(super) fn new(dir: PathBuf, reserve_bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            dir,
            reserve_bytes: Cell::new(reserve_bytes),
            free_bytes: Cell::new(u64::MAX),
            allowed_bytes: Cell::new(0),
            full: Cell::new(false),
            polling: Cell::new(false),
            cleared: Notify::default(),
            stays_full: RefCell::default(),
        })
    }

    /// Sets who is told while the disk stays full.
    pub(super) fn set_stays_full(&self, told: StaysFull) {
        self.stays_full.replace(Some(told));
    }

    /// Why appends are refused, if they are.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.full.get().then(|| Error::DiskFull {
            dir: self.dir.clone(),
            free_bytes: self.free_bytes.get(),
            reserve_bytes: self.reserve_bytes.get(),
        })
    }

    /// Ends when `bytes` can be taken without touching the reserve.
    pub(super) async fn wait_for<E: Env>(self: &Rc<Self>, rt: &Rc<Runtime<E>>, bytes: u64) {
        if !self.full.get() && bytes > self.allowed_bytes.get() {
            self.look(rt, bytes).await;
        }
        loop {
            let cleared = self.cleared.wait();
            if !self.full.get() {
                self.allowed_bytes.set(self.allowed_bytes.get().saturating_sub(bytes));
                return;
            }
            self.start_polling(rt, bytes);
            cleared.await;
        }
    }

    /// A preparation met a full disk, whatever it had said before.
    pub(super) fn note_full(&self) {
        self.full.set(true);
        self.allowed_bytes.set(0);
    }

    /// The stop has begun: nothing is appended any more, and what was may take the rest of the disk. Only a preparation that
    /// fails says from now on that there is none.
    pub(super) fn release_reserve(&self) {
        self.reserve_bytes.set(0);
        self.allowed_bytes.set(0);
        self.full.set(false);
        self.cleared.notify_all();
    }

    fn start_polling<E: Env>(self: &Rc<Self>, rt: &Rc<Runtime<E>>, bytes: u64) {
        if self.polling.replace(true) {
            return;
        }
        let reserve_bytes = self.reserve_bytes.get();
        tracing::error!(dir = %self.dir.display(), free_bytes = self.free_bytes.get(), reserve_bytes,
            "disk full: appends are refused until space returns");
        let (space, rt) = (Rc::clone(self), Rc::clone(rt));
        let task = Rc::clone(&rt);
        task.spawn(async move {
            while space.full.get() {
                rt.sleep_ms(POLL_MS).await;
                let told = space.stays_full.borrow().clone();
                if let (Some(told), Some(error)) = (told, space.refusal()) {
                    told(&error);
                }
                space.look(&rt, bytes).await;
            }
            if space.reserve_bytes.get() == reserve_bytes {
                tracing::info!(dir = %space.dir.display(), free_bytes = space.free_bytes.get(), "space has returned");
            }
            space.polling.set(false);
            space.cleared.notify_all();
        })
        .detach();
    }

    /// Asks the file system. A question that fails changes nothing: the preparation itself will tell.
    async fn look<E: Env>(&self, rt: &Rc<Runtime<E>>, bytes: u64) {
        if let Ok(Output::Number(free_bytes)) = rt.job(Job::FreeBytes(self.dir.clone())).await {
            let spare_bytes = free_bytes.saturating_sub(self.reserve_bytes.get());
            self.free_bytes.set(free_bytes);
            self.full.set(spare_bytes < bytes);
            self.allowed_bytes.set(spare_bytes / ASKED_SHARE);
        }
    }
}

/// The file system is asked again when this share of what was free beyond the reserve is taken: others write too.
const ASKED_SHARE: u64 = 16;
/// Between two questions while full.
const POLL_MS: u64 = 1000;
