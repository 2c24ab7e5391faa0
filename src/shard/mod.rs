//! One core's world: the partitions it owns, the way to those of other shards, and its mailbox.
//!
//! Called by `handlers/` and opened by `server::node`; calls `partition/`, `metadata/` and `storage/`. What may cross
//! between shards is the owned, `Send` content of [`ShardMessage`] and nothing else; everything here is `Rc` and `Cell`
//! inside one thread.

mod message;
mod router;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

pub use message::{Answer, Call, ShardMessage};
pub use router::Router;

use crate::io::{Env, Runtime};
use crate::metadata::Image;

/// One shard.
pub struct Shard<E: Env> {
    rt: Rc<Runtime<E>>,
    router: Rc<Router<E>>,
    image: RefCell<Arc<Image>>,
}

impl<E: Env> Shard<E> {
    /// The shard's runtime.
    #[must_use]
    pub fn rt(&self) -> &Rc<Runtime<E>> {
        &self.rt
    }

    /// The way to the other shards.
    #[must_use]
    pub fn router(&self) -> &Rc<Router<E>> {
        &self.router
    }

    /// The metadata that this shard serves by.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }
}
