//! Shard 0's part: it opens the directory and the node, accepts, and stops both.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::accept::Accept;
use super::node::{Error, Node};
use super::status::Phase;
use crate::io::{Env, Job, Op};
use crate::metadata::records::BrokerEndpoint;
use crate::metadata::{
    Cluster, Identity, Image, METADATA_PARTITION, MetadataError, MetadataLog, Start, metadata_log_config,
    metadata_partition_name, owners, stored_image,
};
use crate::partition::LeaderEpochs;
use crate::shard::{Answer, Call, Controller, OpenShard};
use crate::storage::checkpoint::PartitionState;
use crate::storage::recovery::{self, Found, FoundLog, RecoveryError, Rules};
use crate::storage::{Directory, stop};
use crate::types::ShardId;

/// Opens the node, serves until the stop signal, stops.
pub(super) async fn run<E: Env>(
    node: &Rc<Node<E>>,
    listeners: Vec<E::Socket>,
    signal: Option<E::Socket>,
) -> Result<(), Error> {
    let step = Rc::new(Cell::new("recovering what the last run left"));
    let telling = node.rt.spawn(tell_how_far(Rc::clone(node), Rc::clone(&step)));
    let opened = open(node, &step).await;
    telling.cancel().await;
    if let Err(error) = opened {
        // The others wait to be opened, or serve what nobody will ask for.
        for other in node.router.others() {
            node.router.wait_for_room(other).await;
            drop(node.router.call(other, Call::GiveUp));
        }
        return Err(error);
    }
    let connections = node.connections().expect("the shard is open");
    let accept =
        Accept::new(Rc::clone(&node.rt), Rc::clone(&node.router), Rc::clone(connections), node.config.max_connections);
    let _ = node.accept.set(Rc::clone(&accept));
    let accepting: Vec<_> =
        listeners.iter().map(|listener| node.rt.spawn(Rc::clone(&accept).run(listener.clone()))).collect();
    node.status.set_phase(Phase::Serving);
    tracing::info!(partitions = node.shard.image().partition_count(), "serving");
    match signal {
        // A byte or the end: either is the signal. The socket is ours until then.
        Some(ref socket) => drop(node.rt.submit(Op::Recv { socket: socket.clone(), buf: None }).await),
        None => std::future::pending().await,
    }
    node.status.set_phase(Phase::Stopping);
    tracing::info!("stopping");
    for task in accepting {
        task.cancel().await;
    }
    for listener in &listeners {
        node.rt.env().shutdown(listener);
    }
    stop_all(node).await
}

/// Says what a start is at that takes long: which step, and how many operations it waits for.
async fn tell_how_far<E: Env>(node: Rc<Node<E>>, step: Rc<Cell<&'static str>>) {
    let begun_ns = node.rt.now_ns();
    loop {
        node.rt.sleep_ms(STARTING_MS).await;
        let (seconds, waiting) = ((node.rt.now_ns() - begun_ns) / 1_000_000_000, node.rt.under_way());
        tracing::info!("starting for {seconds} s: {}; operations under way on shard 0: {waiting}", step.get());
    }
}

/// From the directory to open shards.
async fn open<E: Env>(node: &Rc<Node<E>>, step: &Cell<&'static str>) -> Result<(), Error> {
    let (rt, dir) = (&node.rt, &node.config.log_dir);
    rt.job(Job::CreateDir(dir.clone())).await.map_err(|cause| {
        let path = dir.clone();
        RecoveryError::Io { what: "make", path, cause }
    })?;
    let rules = Rules { block_bytes: node.storage.disk.block_bytes, salvage: node.config.salvage };
    let mut found = recovery::recover(rt, dir, rules).await?;
    let identity = Identity::load(rt, dir, node.config.node_id).await?;
    found.begin(rt).await?;
    let cluster = Cluster {
        node_id: identity.node_id,
        num_partitions: node.config.handlers.num_partitions,
        default_replication_factor: 1,
        shards: u16::try_from(node.config.shards).expect("config bounds the shards"),
        directory_id: identity.directory_id,
        partitions_max: crate::limits::PARTITIONS_MAX,
    };
    let stored = stored(node, &found).await?;
    let shards = cluster.shards;
    let owners = owners(&stored, shards);
    let owner = |log: &FoundLog| owners.get(&log.id).copied().unwrap_or(ShardId::FIRST);
    let ours = found.take_share(|log| owner(log) == ShardId::FIRST);
    tracing::info!(start = ?found.start, logs = ours.logs.len() + found.logs.len(), "opened {}", dir.display());
    let directory = Directory::new(dir.clone());
    step.set("opening the logs of shard 0");
    node.open_store(&directory, ours, &stored).await?;
    let clean = !matches!(found.start, recovery::Start::Crashed | recovery::Start::Salvaged);
    step.set("opening the metadata log");
    let metadata = open_metadata(node, cluster, clean).await?;
    let image = metadata.image();
    let mut calls = Vec::new();
    for other in node.router.others() {
        let share = found.take_share(|log| owner(log) == other);
        let (image, directory) = (Arc::clone(&image), Arc::clone(&directory));
        let cluster_id = Arc::clone(&identity.cluster_id);
        let open = OpenShard { share, image, directory, cluster_id, node_id: identity.node_id };
        calls.push((other, node.router.call(other, Call::Open(Box::new(open)))));
    }
    step.set("opening the partitions of shard 0");
    node.serve(image, &identity.cluster_id, identity.node_id).await;
    step.set("waiting for the other shards to open theirs");
    for (shard, call) in calls {
        if !matches!(call.await, Some(Answer::Opened(true))) {
            return Err(Error::Shard { shard, what: "open its logs" });
        }
    }
    step.set("removing what the last run left");
    found.finish(rt, shards).await;
    let controller = Controller::new(Rc::clone(&node.shard), metadata);
    rt.spawn(Rc::clone(&controller).follow()).detach();
    node.handlers().expect("the shard is open").set_controller(controller);
    Ok(())
}

/// The image as the last run left it: it says which shard opens which log.
async fn stored<E: Env>(node: &Rc<Node<E>>, found: &Found) -> Result<Image, Error> {
    let log = found.logs.iter().find(|log| log.id == METADATA_PARTITION);
    let others = found.logs.iter().filter(|log| log.id != METADATA_PARTITION).count();
    let Some(log) = log.filter(|log| log.log_end > log.log_start) else {
        let dir = node.config.log_dir.display().to_string();
        return if others == 0 { Ok(Image::default()) } else { Err(Error::NoMetadata { dir, logs: others }) };
    };
    let bytes = found.contents(&node.rt, log).await.map_err(MetadataError::from)?;
    Ok(stored_image(&bytes, log.log_start, Arc::clone(&node.topics))?)
}

async fn open_metadata<E: Env>(node: &Rc<Node<E>>, cluster: Cluster, clean: bool) -> Result<Rc<MetadataLog<E>>, Error> {
    let store = node.shard.store();
    let log = match store.log(METADATA_PARTITION) {
        Some(log) => log,
        None => store.create_log(METADATA_PARTITION, metadata_partition_name(), metadata_log_config()).await?,
    };
    let (host, port) = node.config.handlers.advertised.clone();
    let endpoint = BrokerEndpoint { name: "PLAINTEXT".to_owned(), host, port, ..BrokerEndpoint::default() };
    let start = Start { clean, end_points: vec![endpoint], rack: None };
    let mut epochs = LeaderEpochs::from_entries(&store.take_state(METADATA_PARTITION).leader_epochs);
    let begins = log.log_end_offset();
    let metadata = MetadataLog::open(&node.rt, Rc::clone(&log), Arc::clone(&node.topics), cluster, start).await?;
    // It is no partition of a shard, which would keep this beside its log.
    epochs.assign(metadata.epoch(), begins);
    let state_of = move || PartitionState {
        up_to: log.log_end_offset().0,
        // copies: epochs and where they start, for the checkpoint
        leader_epochs: epochs.entries().to_vec(),
        producers: Vec::new(),
    };
    store.set_state_of(METADATA_PARTITION, Rc::new(state_of));
    Ok(metadata)
}

/// Stops every shard, then closes every shard, then marks the directory.
async fn stop_all<E: Env>(node: &Rc<Node<E>>) -> Result<(), Error> {
    let mut stopping = Vec::new();
    for other in node.router.others() {
        node.router.wait_for_room(other).await;
        stopping.push(node.router.call(other, Call::Stop));
    }
    node.stop_serving().await;
    for call in stopping {
        call.await;
    }
    let number = node.rt.env().wall_ms();
    let mut closing = Vec::new();
    for other in node.router.others() {
        node.router.wait_for_room(other).await;
        closing.push((other, node.router.call(other, Call::Close(number))));
    }
    let mut stopped = vec![node.close(number).await];
    for (shard, call) in closing {
        match call.await {
            Some(Answer::Closed(of_shard)) => stopped.push(of_shard),
            _ => return Err(Error::Shard { shard, what: "close its logs" }),
        }
    }
    if let Some(error) = stopped[0].failed.take() {
        return Err(error.into());
    }
    match stop::finish(&node.rt, &node.config.log_dir, number, &stopped).await? {
        true => Ok(()),
        false => Err(Error::NotClean),
    }
}

/// A start that takes longer says so, and again each time as much has passed.
const STARTING_MS: u64 = 5_000;
