//! What a running node does for a request, in three lives: under the shim, under strace, and with two shards.
//!
//! ```text
//!   life   start, make topics, fill `stored` -> stop       so that old segments are in files alone
//!          start, watched -> warm up -> idle -> (every scenario N times, then 3N times) x repeats -> stop
//! ```
//! Only the shards' threads count: housekeeping prepares segments whenever it likes. A node that shows metrics also says
//! what it knows alone: entries of its rings, record bytes that it copied, messages between its shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::super::node::shows_metrics;
use super::lockstep::{Clients, REPEATS, Scenario, Stretch, idle};
use super::node::{Node, Start, Watched};
use super::{Count, Counted, Error, Program, Tools, calls, shim};

/// What was counted in a stretch, by name.
type Seen = BTreeMap<String, f64>;

/// What a scenario came to, again and again: N times and 3N times.
type Repeats = Vec<[(Stretch, Seen); 2]>;

/// Counts of a running node per request. `scratch` is a directory on a file system that a node can use; it is left empty.
///
/// # Errors
/// Where the node, or a tool that is there, does not do what it should.
pub fn requests(program: &Program, tools: &Tools, scratch: &Path) -> Result<Counted, Error> {
    let dir = scratch.join(format!("counts-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(Error::io(dir.display().to_string()))?;
    let counted = counted(program, tools, &dir);
    let removed = fs::remove_dir_all(&dir).map_err(Error::io(dir.display().to_string()));
    counted.and_then(|counted| removed.map(|()| counted))
}

fn counted(program: &Program, tools: &Tools, dir: &Path) -> Result<Counted, Error> {
    let mut counted = Counted::default();
    let metrics = shows_metrics(program);
    let start = |watched, shards| Start { program, watched, dir, shards, metrics };
    match &tools.cc {
        Some(cc) => {
            let (library, counts) = (shim::compile(cc, shim::SOURCE, &dir.join("shim"))?, dir.join("allocations"));
            let watched = Watched::Shim { library, counts: counts.clone() };
            let look = |node: &Node, threads: &[u32]| inside(node, &counts, threads);
            counted.counts.extend(slopes(life(&start(watched, 1), &Scenario::all(), look)?));
        }
        None => counted.missing.push("allocations, copies and worker switches: no C compiler (cc) is here".to_owned()),
    }
    match &tools.strace {
        Some(strace) => {
            let calls = dir.join("calls");
            let watched = Watched::Trace { strace: strace.clone(), calls: calls.clone() };
            let start = Start { metrics: false, ..start(watched, 1) };
            let mut life = life(&start, &Scenario::all(), |_, _| Ok(Seen::new()))?;
            let calls = fs::read_to_string(&calls).map_err(Error::io(calls.display().to_string()))?;
            fill(&mut life, &calls::parse(&calls));
            counted.counts.extend(slopes(life));
        }
        None => counted.missing.push("system calls: strace is not here".to_owned()),
    }
    if metrics {
        let hops = |node: &Node, _: &[u32]| told(node, &[("hops", "ringmain_shard_hops_total")]);
        counted.counts.extend(slopes(life(&start(Watched::No, 2), &Scenario::of_two_shards(), hops)?));
    } else {
        counted.missing.push(format!("hops and ring entries: {} shows no metrics", program.path.display()));
    }
    Ok(counted)
}

/// What a life came to.
struct Life {
    /// The shards'.
    threads: Vec<u32>,
    idle: (Stretch, Seen),
    scenarios: Vec<(&'static str, Repeats)>,
}

/// A node from its first start to its last stop; `look` says what these threads have done so far.
fn life(
    start: &Start<'_>,
    scenarios: &[Scenario],
    look: impl Fn(&Node, &[u32]) -> Result<Seen, Error>,
) -> Result<Life, Error> {
    let data = start.dir.join("data");
    let node = Node::start(&Start { watched: Watched::No, ..*start })?;
    Clients::prepare(node.address)?;
    node.stop()?;
    let node = Node::start(start)?;
    let life = live(&node, scenarios, |threads| look(&node, threads))?;
    node.stop()?;
    fs::remove_dir_all(&data).map_err(Error::io(data.display().to_string()))?;
    Ok(life)
}

/// Does everything with a running node.
fn live(node: &Node, scenarios: &[Scenario], look: impl Fn(&[u32]) -> Result<Seen, Error>) -> Result<Life, Error> {
    let mut clients = Clients::connect(node.address)?;
    // A node listens before its shards are there; now one has answered.
    let threads = node.shard_threads();
    scenarios.iter().try_for_each(|scenario| scenario.warm_up(node, &mut clients))?;
    let before = look(&threads)?;
    let idle = (idle(), less(&look(&threads)?, &before));
    let mut done: Vec<(&'static str, Repeats)> = scenarios.iter().map(|one| (one.name, Vec::new())).collect();
    for turn in 0..REPEATS {
        for (scenario, (_, repeats)) in scenarios.iter().zip(&mut done) {
            let ran = scenario.run(node, &mut clients, turn, || look(&threads))?;
            repeats.push(ran.map(|(stretch, [before, after])| (stretch, less(&after, &before))));
        }
    }
    Ok(Life { threads, idle, scenarios: done })
}

/// What the shards have done so far, as the shim and the kernel know it.
fn inside(node: &Node, counts: &Path, threads: &[u32]) -> Result<Seen, Error> {
    let done = shim::read(counts, threads)?;
    let seen = [
        ("allocations", done.allocations),
        ("allocated-bytes", done.allocated_bytes),
        ("copies", done.copies),
        ("copied-bytes", done.copied_bytes),
        ("worker-switches", node.worker_switches(threads)),
    ];
    let mut seen: Seen = seen.map(|(name, count)| (name.to_owned(), count as f64)).into();
    seen.extend(told(node, TOLD)?);
    Ok(seen)
}

/// What the node says itself: (name, metric).
fn told(node: &Node, wanted: &[(&str, &str)]) -> Result<Seen, Error> {
    let Some(scrape) = node.scrape()? else { return Ok(Seen::new()) };
    let told = wanted.iter().filter_map(|(name, metric)| Some(((*name).to_owned(), scrape.total(metric, &[])?)));
    Ok(told.collect())
}

/// Puts the system calls of every stretch in.
fn fill(life: &mut Life, calls: &[calls::Call]) {
    let all = life.scenarios.iter_mut().flat_map(|(_, repeats)| repeats.iter_mut().flatten());
    for (stretch, seen) in all.chain([&mut life.idle]) {
        let counts = calls::between(calls, &life.threads, stretch.from, stretch.to);
        seen.insert(CALLS.to_owned(), counts.values().sum::<u64>() as f64);
        seen.extend(counts.into_iter().map(|(name, count)| (format!("{CALLS}/{name}"), count as f64)));
    }
}

/// Counts per request: what 3N requests took more than N, less what idling would have.
fn slopes(life: Life) -> Vec<Count> {
    let (idle, background) = life.idle;
    let mut counts = Vec::new();
    for (scenario, repeats) in life.scenarios {
        let names: BTreeSet<String> = repeats.iter().flatten().flat_map(|(_, seen)| seen.keys().cloned()).collect();
        for name in names {
            let of = |seen: &Seen| seen.get(&name).copied().unwrap_or(0.0);
            let rate = of(&background) / idle.seconds();
            let slope = |[once, thrice]: &[(Stretch, Seen); 2]| {
                let seconds = thrice.0.seconds() - once.0.seconds();
                let requests = (thrice.0.requests - once.0.requests) as f64;
                (of(&thrice.1) - of(&once.1) - rate * seconds) / requests
            };
            let unit = match name.as_str() {
                name if name.ends_with("bytes") => "bytes per request",
                name if name.starts_with(CALLS) => "calls per request",
                _ => "per request",
            };
            // Of a group of its own: a build that shows no metrics does not make 0 of it.
            let group = if TOLD.iter().any(|(told, _)| *told == name) { "rings" } else { "requests" };
            let count = super::count(format!("{group}/{scenario}/{name}"), unit, repeats.iter().map(slope).collect());
            // What happens now and then is in the sum of all calls, and would be a row of chance on its own.
            if !name.starts_with(CALLS) || name == CALLS || count.value >= OFTEN {
                counts.push(count);
            }
        }
    }
    counts
}

fn less(after: &Seen, before: &Seen) -> Seen {
    after.iter().map(|(name, count)| (name.clone(), count - before.get(name).unwrap_or(&0.0))).collect()
}

/// What a node under the shim is asked beside.
const TOLD: &[(&str, &str)] =
    &[("entries", "ringmain_submissions_total"), ("record-bytes", "ringmain_copied_record_bytes_total")];
/// All system calls; the name of each begins so.
const CALLS: &str = "syscalls";
/// Calls per request from which on a system call is a row of its own.
const OFTEN: f64 = 0.1;
