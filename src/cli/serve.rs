//! `ringmain serve`: from settings to shards, and from a signal to a clean stop.
//!
//! The order is the one in which a refusal is cheapest to understand: settings, machine, directory, port, then the lock
//! of the directory (which may take a minute), and only then anything is opened. The port is bound first and listened on once,
//! behind the lock: until then whoever connects is refused.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::Ended;
use super::checks::{self, Check, Level, ListenTo};
use super::node_args::NodeArgs;
use crate::config::{Config, Listener};
use crate::io::http::Http;
use crate::io::lock::{self, Lock};
use crate::io::machine;
use crate::io::pump::{self, ShardPlan};
use crate::io::socket::{Bound, Socket};
use crate::server::metrics;
use crate::server::node::{self, Setup};
use crate::server::status::Status;
use crate::types::ShardId;

pub(super) fn run(args: &NodeArgs) -> Result<(), Ended> {
    let mut config = args.config()?;
    open_files(&mut config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    report(checks::of_machine(&config))?;
    report(checks::of_directory(&config))?;
    // Before the wait for the lock: a port that is taken is most often this same node, already running.
    let bound = bind(&config)?;
    let (status, _http) = show(&config)?;
    let lock = take_directory(&mut config)?;
    let ready = Ready { lock, listeners: listen(&mut config, bound)?, status };
    let stop = stop_signal().map_err(|error| Ended::Failed(format!("signals: {error}")))?;
    serve(&config, ready, stop)
}

/// What is held before the first shard starts.
struct Ready {
    lock: Lock,
    listeners: Vec<Socket>,
    status: Arc<Status>,
}

/// What the node shows of itself, and the server that shows it where that was asked for: from here on, so that a start that
/// waits or recovers is seen.
fn show(config: &Config) -> Result<(Arc<Status>, Option<Http>), Ended> {
    let (shards, memory_bytes) = (config.server.shards, config.server.memory.total_bytes());
    let status = Status::new(shards, memory_bytes, config.metrics.is_some());
    let Some(listener) = &config.metrics else { return Ok((status, None)) };
    let failed = |error: io::Error| Ended::Failed(format!("metrics: {listener}: {error}"));
    let socket = checks::bind(listener, ListenTo::Http, LISTEN_PATIENCE)
        .and_then(|bound| checks::listen(listener, ListenTo::Http, bound))
        .map_err(|check| Ended::Failed(check.to_string()))?;
    let address = socket.local_address().map_err(failed)?;
    let shown = Arc::clone(&status);
    let http = Http::serve(socket, move |path| metrics::answer(&shown, path)).map_err(failed)?;
    tracing::info!("metrics on http://{address}/metrics");
    Ok((status, Some(http)))
}

/// Opens a directory like a node and stops at once, without listening: `ringmain log close`. Recovery, the last partial
/// blocks and the indexes are those of a node's start and stop.
pub(super) fn close(config: &mut Config) -> Result<(), Ended> {
    open_files(config);
    report(checks::of_machine(config))?;
    report(checks::of_directory(config))?;
    let lock = take_directory(config)?;
    let (stop, theirs) = UnixStream::pair().map_err(|error| Ended::Failed(error.to_string()))?;
    // At its end from the start: the node stops as soon as it is open.
    drop(theirs);
    let status = Status::new(config.server.shards, config.server.memory.total_bytes(), false);
    serve(config, Ready { lock, listeners: Vec::new(), status }, Socket::from(OwnedFd::from(stop)))
}

/// Raises the limit of open files, and makes the descriptors that are kept for readers a part of it.
fn open_files(config: &mut Config) {
    let limit = machine::raise_open_files();
    tracing::debug!(?limit, "open files");
    config.use_open_files(limit.soft.unwrap_or(u64::MAX));
}

/// Makes the directory, locks it, and finds out how its device is flushed.
fn take_directory(config: &mut Config) -> Result<Lock, Ended> {
    let dir = config.server.log_dir.clone();
    machine::create_dir(&dir).map_err(|error| Ended::Failed(format!("{}: {error}", dir.display())))?;
    let lock = lock::acquire(&dir, lock::WAIT, |error| {
        tracing::warn!("{error}; waiting up to {} s for its last writes to end", lock::WAIT.as_secs());
    });
    let lock = lock.map_err(|error| Ended::Failed(checks::locked(&error).to_string()))?;
    let (device, proof, flush) = checks::of_flush(&dir).map_err(|fatal| Ended::Failed(fatal.to_string()))?;
    report(flush)?;
    config.use_device(&device, &proof);
    Ok(lock)
}

/// Logs warnings; the first fatal finding ends the start.
fn report(found: Vec<Check>) -> Result<(), Ended> {
    for check in found {
        match check.level {
            Level::Ok => tracing::debug!("{check}"),
            Level::Warning => tracing::warn!("{check}"),
            Level::Fatal => return Err(Ended::Failed(check.to_string())),
        }
    }
    Ok(())
}

/// Takes the addresses of the listeners, but those that are optional and not of this host.
fn bind(config: &Config) -> Result<Vec<(Listener, Bound)>, Ended> {
    let mut taken = Vec::new();
    for listener in &config.listeners {
        match checks::bind(listener, ListenTo::Clients, LISTEN_PATIENCE) {
            Ok(bound) => taken.push((*listener, bound)),
            Err(check) => report(vec![check])?,
        }
    }
    Ok(taken)
}

fn listen(config: &mut Config, taken: Vec<(Listener, Bound)>) -> Result<Vec<Socket>, Ended> {
    let listen = |(listener, bound): (Listener, Bound)| checks::listen(&listener, ListenTo::Clients, bound);
    let sockets = taken.into_iter().map(listen).collect::<Result<Vec<_>, _>>();
    let sockets = sockets.map_err(|check| Ended::Failed(check.to_string()))?;
    let addresses = sockets.iter().map(Socket::local_address).collect::<io::Result<Vec<_>>>();
    let addresses = addresses.map_err(|error| Ended::Failed(format!("listeners: {error}")))?;
    let first = addresses.first().ok_or_else(|| Ended::Failed("no listener could be opened".to_owned()))?;
    config.advertise(*first);
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let (host, port) = &config.server.handlers.advertised;
    tracing::info!("listening on {}, advertised as {host}:{port}", shown.join(" and "));
    Ok(sockets)
}

/// A socket that has a byte to read once SIGTERM or SIGINT came. A second signal ends the process at once.
pub(super) fn stop_signal() -> io::Result<Socket> {
    let (ours, theirs) = UnixStream::pair()?;
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&again))?;
        signal_hook::flag::register(signal, Arc::clone(&again))?;
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    Ok(Socket::from(OwnedFd::from(ours)))
}

fn serve(config: &Config, ready: Ready, stop: Socket) -> Result<(), Ended> {
    let cores = pump::usable_cores();
    let shards = config.server.shards;
    tracing::info!(
        "{} with {shards} shards, {} MiB of memory",
        config.server.log_dir.display(),
        config.server.memory.total_bytes() >> 20
    );
    let shared = Arc::new(config.server.clone());
    let topics = Arc::new(config.topics.clone());
    let mut mailboxes = node::mailboxes(shards).into_iter();
    let mut first = Some((ready.listeners, stop));
    let plans = (0..shards).map(|index| {
        let (listeners, stop) = first.take().map_or((Vec::new(), None), |(listeners, stop)| (listeners, Some(stop)));
        let shard = ShardId(u16::try_from(index).expect("config bounds the shards"));
        let core = (shards <= cores.len()).then(|| cores[index]);
        let (config, topics, storage) = (Arc::clone(&shared), Arc::clone(&topics), config.storage.clone());
        let mailbox = mailboxes.next().expect("there is one for each shard");
        let status = Arc::clone(&ready.status);
        ShardPlan { shard, core, seat: Setup { config, storage, topics, mailbox, status, listeners, stop } }
    });
    let pump_config =
        pump::Config { receive_pool_bytes: config.server.memory.receive_bytes(shards), ..pump::Config::default() };
    let ended = pump::run_shards(plans.collect(), &pump_config, &[ready.lock], |rt, seat| {
        let receive_pool = rt.env().receive_pool();
        node::run(rt, seat, receive_pool)
    });
    let ended = ended.map_err(|error| Ended::Failed(error.to_string()))?;
    for result in ended {
        result.map_err(|error| Ended::Failed(error.to_string()))?;
    }
    tracing::info!("stopped cleanly");
    Ok(())
}

/// How long an address may stay in use: a killed node's ring holds its listener until its last operations have ended.
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);
