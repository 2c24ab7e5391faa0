//! Which flushes make a window durable, and sharing them between windows and shards.
//!
//! Where one flush of the device covers every overwrite (proven by `io::device` for the mount, and by FIEMAP for each
//! piece of a segment), a window needs one flush of any file, and any flush that *began* after the window's writes had
//! completed will do: an earlier window's, a later one's, or another shard's. Elsewhere each file is flushed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::io::device::{DeviceFlush, FlushMark, FlushScope};
use crate::io::local::Notify;
use crate::io::{Env, Op, Runtime};

/// The flushes of one shard.
pub(super) struct Flusher {
    scope: FlushScope,
    device: DeviceFlush,
    /// For each flush of this shard under way, a moment right before it began.
    under_way: RefCell<Vec<FlushMark>>,
    ended: Notify,
}

/// What a window wrote to.
pub(super) struct Touched<E: Env> {
    /// The journal.
    pub(super) journal: E::File,
    /// Segment files that need a flush of their own whatever the scope.
    pub(super) alone: Vec<E::File>,
    /// The other segment files.
    pub(super) others: Vec<E::File>,
}

impl Flusher {
    pub(super) fn new(scope: FlushScope, device: DeviceFlush) -> Self {
        Self { scope, device, under_way: RefCell::default(), ended: Notify::default() }
    }

    /// Whether one flush of the device is enough.
    pub(super) fn is_shared(&self) -> bool {
        self.scope == FlushScope::Device
    }

    /// Makes durable what was written to the files of `touched`: every one of those writes has completed. `failed` is told
    /// of a failure at once, while other flushes may go on for long: nothing that ends well after it may be believed.
    pub(super) async fn flush<E: Env>(
        &self,
        rt: &Rc<Runtime<E>>,
        touched: Touched<E>,
        failed: impl Fn(&io::Error) + Clone + 'static,
    ) -> io::Result<()> {
        let mark = self.device.mark();
        let mut files = touched.alone;
        if !self.is_shared() {
            files.extend(touched.others);
        }
        let own: Vec<_> = files
            .into_iter()
            .map(|file| {
                let (flush, failed) = (rt.submit(Op::Flush { file }), failed.clone());
                rt.spawn(async move { flush.await.result.map(drop).inspect_err(failed) })
            })
            .collect();
        let common = self.flush_from(rt, &touched.journal, mark).await.inspect_err(failed);
        // Every one of them is waited for, also after a failure: none may end unseen.
        let mut result = common;
        for flush in own {
            result = result.and(flush.await);
        }
        result
    }

    /// Ends when a flush that began after `mark` has ended well.
    async fn flush_from<E: Env>(&self, rt: &Rc<Runtime<E>>, file: &E::File, mark: FlushMark) -> io::Result<()> {
        while self.is_shared() && !self.device.covers(mark) {
            let ended = self.ended.wait();
            if !self.under_way.borrow().iter().any(|began| *began >= mark) {
                break;
            }
            ended.await;
        }
        if self.is_shared() && self.device.covers(mark) {
            return Ok(());
        }
        let began = self.device.mark();
        self.under_way.borrow_mut().push(began);
        let ticket = self.device.begin();
        let result = rt.flush(file).await;
        let mut under_way = self.under_way.borrow_mut();
        if let Some(at) = under_way.iter().position(|other| *other == began) {
            under_way.swap_remove(at);
        }
        drop(under_way);
        if result.is_ok() && self.is_shared() {
            self.device.finish(ticket);
        }
        self.ended.notify_all();
        result
    }
}
