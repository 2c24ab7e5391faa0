//! One shard of a node from opening to clean stop, on any [`Env`].
//!
//! `cli serve` runs one [`run`] per core on the pump; the whole-node simulation runs the same on simulated shards.
//!
//! ```text
//!   shard 0 (`first`)                                     every other shard (here)
//!   recover the directory, open the metadata log
//!   give each shard its logs and the image  ---- Open --> open logs and partitions
//!   accept                                                serve
//!   stop signal: no more connections        ---- Stop --> replies under way leave, connections end
//!   all have stopped                        ---- Close -> partitions and logs are closed
//!   mark the directory clean
//! ```
//!
//! **Durability.** When [`run`] of shard 0 returns `Ok`, every log is in its segments and the directory is marked as
//! cleanly stopped. Dropping it at any moment leaves what a crash leaves.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use super::accept::Accept;
use super::connection::Service;
use super::connections::{Connections, Shared};
use super::receive::ReceiveBudget;
use super::status::{ShardStatus, Status};
use super::{Config, first, mail};
use crate::handlers::figures::{Arrival, Moment};
use crate::handlers::reply::Started;
use crate::handlers::{self, Handlers};
use crate::io::local::Notify;
use crate::io::mailbox::{self, Mailbox};
use crate::io::{Env, Pool, Runtime};
use crate::limits::mailbox_max;
use crate::metadata::{Image, METADATA_PARTITION, MetadataError, TopicDefaults, identity, metadata_log_config};
use crate::partition;
use crate::partition::producer_state::Budget;
use crate::record::Records;
use crate::shard::{Call, GroupsConfig, OpenShard, Router, Shard, ShardMessage, partition_config};
use crate::storage::recovery::{FoundLog, RecoveryError};
use crate::storage::stop::Stopped;
use crate::storage::{self, Directory, Share, Store};
use crate::types::ShardId;

/// What one shard of a node is given.
pub struct Setup<E: Env> {
    /// The node's configuration, the same for every shard.
    pub config: Arc<Config>,
    /// The log's configuration; memory figures are those of one shard.
    pub storage: storage::Config,
    /// What topics obey where they have no setting of their own.
    pub topics: Arc<TopicDefaults>,
    /// This shard's end of [`mailboxes`].
    pub mailbox: Mailbox<ShardMessage<E>>,
    /// What the node shows of itself, the same for every shard.
    pub status: Arc<Status>,
    /// Listening sockets; for shard 0 only.
    pub listeners: Vec<E::Socket>,
    /// Readable, or at its end, when the node shall stop; for shard 0 only.
    pub stop: Option<E::Socket>,
}

/// Why a node could not be opened, or not be stopped cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be opened.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// It is not this node's.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// The metadata log cannot be used.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A log failed while it was opened or closed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// There are partitions, and nothing says what they are.
    #[error(
        "{dir} holds {logs} partitions but no metadata log (__cluster_metadata-0): restore it, or use an empty directory"
    )]
    NoMetadata {
        /// The directory.
        dir: String,
        /// Partitions in it.
        logs: usize,
    },
    /// Some shard could not close its logs, and has said why.
    #[error("the stop was not clean: the next start recovers")]
    NotClean,
    /// Another shard could not do its part; it has said why.
    #[error("shard {} could not {what}", .shard.0)]
    Shard {
        /// Which.
        shard: ShardId,
        /// What it was to do.
        what: &'static str,
    },
}

/// The mailboxes of a node of so many shards, one for each in their order.
#[must_use]
pub fn mailboxes<E: Env>(shards: usize) -> Vec<Mailbox<ShardMessage<E>>> {
    mailbox::mesh(shards, mailbox_max(shards))
}

/// Opens the shard's storage, metadata and partitions, serves until the stop signal, then stops cleanly. `receive_pool` is
/// the pool that receives without a buffer draw from.
///
/// # Errors
/// What prevents the node from serving or from stopping cleanly; the caller prints it.
pub async fn run<E: Env>(rt: Rc<Runtime<E>>, setup: Setup<E>, receive_pool: Pool) -> Result<(), Error> {
    let router = Rc::new(Router::new(Rc::clone(&rt), setup.mailbox, setup.config.shards));
    let memory = setup.config.memory;
    let shared = partition::Shared {
        producers: Budget::new(memory.producers_max(setup.config.shards)),
        producer_id_expiration_ms: PRODUCER_ID_EXPIRATION_MS,
    };
    let groups = GroupsConfig { config: setup.config.groups, memory_bytes: memory.groups_bytes(setup.config.shards) };
    let node = Rc::new(Node {
        shard: Shard::new(Rc::clone(&rt), Rc::clone(&router), shared, groups),
        rt: Rc::clone(&rt),
        router,
        config: setup.config,
        storage: setup.storage,
        topics: setup.topics,
        receive_pool: RefCell::new(Some(receive_pool)),
        status: setup.status,
        told: RefCell::default(),
        copies: Cell::new(None),
        handlers: OnceCell::new(),
        connections: OnceCell::new(),
        accept: OnceCell::new(),
        closed: Cell::new(None),
        ended: Notify::default(),
    });
    let mail = rt.spawn(mail::read(Rc::clone(&node)));
    let result = if rt.shard() == ShardId::FIRST {
        first::run(&node, setup.listeners, setup.stop).await
    } else {
        node.wait_closed().await
    };
    node.report_figures();
    mail.cancel().await;
    result
}

/// One shard of a node.
pub(super) struct Node<E: Env> {
    pub(super) rt: Rc<Runtime<E>>,
    pub(super) shard: Rc<Shard<E>>,
    pub(super) router: Rc<Router<E>>,
    pub(super) config: Arc<Config>,
    pub(super) storage: storage::Config,
    pub(super) topics: Arc<TopicDefaults>,
    receive_pool: RefCell<Option<Pool>>,
    pub(super) status: Arc<Status>,
    /// What [`Node::report_figures`] said last.
    pub(super) told: RefCell<Moment>,
    pub(super) copies: Cell<Option<(u64, u64, u64)>>,
    handlers: OnceCell<Rc<Handlers<E>>>,
    connections: OnceCell<Rc<Connections<E>>>,
    /// On shard 0.
    pub(super) accept: OnceCell<Rc<Accept<E>>>,
    /// Whether the shard has been closed, and cleanly.
    closed: Cell<Option<bool>>,
    ended: Notify,
}

impl<E: Env> Node<E> {
    /// Its handlers, once it is open.
    pub(super) fn handlers(&self) -> Option<&Rc<Handlers<E>>> {
        self.handlers.get()
    }

    /// Its connections, once it is open.
    pub(super) fn connections(&self) -> Option<&Rc<Connections<E>>> {
        self.connections.get()
    }

    /// Opens logs, partitions and handlers. Nothing is asked of the shard before.
    pub(super) async fn open(self: &Rc<Self>, open: OpenShard) -> Result<(), Error> {
        self.open_store(&open.directory, open.share, &open.image).await?;
        self.serve(open.image, &open.cluster_id, open.node_id).await;
        Ok(())
    }

    /// Opens the logs.
    pub(super) async fn open_store(
        &self,
        directory: &Arc<Directory>,
        share: Share,
        image: &Image,
    ) -> Result<(), RecoveryError> {
        let config_of = |log: &FoundLog| match image.topic_by_id(log.id.topic_id) {
            Some(topic) => topic.config.log.clone(),
            None => metadata_log_config(),
        };
        let store = Store::open(&self.rt, self.storage.clone(), directory, share, config_of).await?;
        self.shard.set_store(store);
        Ok(())
    }

    /// Makes partitions of logs that are open, and everything above them.
    pub(super) async fn serve(self: &Rc<Self>, image: Arc<Image>, cluster_id: &str, node_id: i32) {
        let logs = self.shard.store().logs();
        for log in logs.into_iter().filter(|log| log.id() != METADATA_PARTITION) {
            let id = log.id();
            if let (Some(topic), Some(assigned)) = (image.topic_by_id(id.topic_id), image.partition(id)) {
                self.shard.open_partition(log, partition_config(&topic.config), assigned.leader_epoch);
                continue;
            }
            // That its topic was deleted is durable in the metadata log; only the files were still there.
            if let Err(error) = self.shard.store().delete_log(id).await {
                tracing::error!(partition = %log.name(), "cannot delete a partition: {error}");
            }
        }
        self.shard.apply(image).await;
        let config = handlers::Config { node_id, ..self.config.handlers.clone() };
        let figures = Arc::clone(&self.shown().figures);
        let handlers = Handlers::new(Rc::clone(&self.shard), config, cluster_id.to_owned(), figures);
        let _ = self.handlers.set(Rc::clone(&handlers));
        let config = &self.config;
        let pool = self.receive_pool.take().unwrap_or_else(|| Pool::new(config.memory.receive_bytes(config.shards)));
        let _ = self.connections.set(self.new_connections(handlers, pool.clone()));
        self.start_tasks(pool);
    }

    fn new_connections(&self, handlers: Rc<Handlers<E>>, pool: Pool) -> Rc<Connections<E>> {
        let (config, shards, shown) = (&self.config, self.config.shards, self.shown());
        let frame_bytes_max = config.memory.frame_bytes_max(shards, config.socket_request_max_bytes);
        let shared = Shared {
            service: Rc::new(Kafka(handlers)),
            budget: ReceiveBudget::new(pool, frame_bytes_max),
            read_pool: Pool::new(config.memory.reply_read_bytes(shards)),
            figures: Arc::clone(&shown.figures),
            gauges: Arc::clone(&shown.gauges),
            idle_ms: config.connections_max_idle_ms,
        };
        Connections::new(Rc::clone(&self.rt), shared)
    }

    /// What this shard shows of itself.
    pub(super) fn shown(&self) -> &ShardStatus {
        self.status.shard(self.rt.shard())
    }

    fn start_tasks(self: &Rc<Self>, receive_pool: Pool) {
        if let Some(connections) = self.connections() {
            self.rt.spawn(Rc::clone(connections).sweep()).detach();
        }
        self.rt.spawn(Rc::clone(self).keep_reporting()).detach();
        if self.status.is_watched() {
            self.rt.spawn(Rc::clone(self).keep_counting(receive_pool)).detach();
        }
        if self.rt.shard() != ShardId::FIRST {
            self.rt.spawn(Rc::clone(self).report_ended()).detach();
        }
    }

    /// Tells shard 0 how many connections have ended here.
    async fn report_ended(self: Rc<Self>) {
        let Some(connections) = self.connections() else { return };
        loop {
            let changed = connections.changed().wait();
            match connections.take_ended() {
                0 => changed.await,
                count => drop(self.router.call_later(ShardId::FIRST, Call::ConnectionsEnded(count)).await),
            }
        }
    }

    /// Takes no more requests, lets replies under way leave, and ends the connections.
    pub(super) async fn stop_serving(&self) {
        self.shard.stop();
        let Some(connections) = self.connections() else { return };
        let cut = connections.stop(self.config.stop_wait_ms).await;
        if cut > 0 {
            tracing::warn!(shard = self.rt.shard().0, cut, "connections cut before their last reply had left");
        }
    }

    /// Closes logs and partitions. `number` marks the stop.
    pub(super) async fn close(&self, number: i64) -> Stopped {
        let stopped = self.shard.store().close(number).await;
        for partition in self.shard.partitions() {
            partition.close();
        }
        stopped
    }

    /// The shard has been closed.
    pub(super) fn note_closed(&self, clean: bool) {
        self.closed.set(Some(clean));
        self.ended.notify_all();
    }

    async fn wait_closed(&self) -> Result<(), Error> {
        loop {
            let ended = self.ended.wait();
            match self.closed.get() {
                Some(true) => return Ok(()),
                Some(false) => return Err(Error::Shard { shard: self.rt.shard(), what: "close its logs" }),
                None => ended.await,
            }
        }
    }
}

/// What connections see of the handlers.
struct Kafka<E: Env>(Rc<Handlers<E>>);

impl<E: Env> Service<E> for Kafka<E> {
    fn room(&self, cx: &mut Context<'_>) -> bool {
        self.0.room(cx)
    }

    fn start(&self, frame: Records, arrival: Arrival, peer: Option<SocketAddr>) -> Started<E> {
        self.0.start(&frame, arrival, peer)
    }
}

/// Kafka's `producer.id.expiration.ms`.
const PRODUCER_ID_EXPIRATION_MS: i64 = 86_400_000;
