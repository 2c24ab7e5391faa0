//! Drives the script of one seed through a simulated world, life by life.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringmain::io::sim::{Faults, World};

use super::life::{Lived, shard};
use super::model::{End, Model};
use super::script::{Chance, Life, Script};
use super::store;

/// What a seed came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub ops: u64,
    /// Lives that ended with a power failure, and those that ended with a kill.
    pub crashes: u64,
    pub kills: u64,
    pub trace: u64,
}

/// Runs a script to its end. Panics where a promise was broken.
pub fn simulate(script: &Script) -> Outcome {
    let world = World::new(script.seed, Faults::default());
    if std::env::var_os("RINGMAIN_SIM_NARRATE").is_some() {
        println!("{script:#?}");
        world.narrate();
    }
    world.set_block_bytes(script.block_bytes as u64);
    world.mount(Path::new(DIR), script.device, DEVICE_BYTES);
    let model = Model::new(script.logs);
    let mut before: Option<End> = None;
    let mut weak = false;
    let mut until_ops = 0;
    for (number, life) in script.lives.iter().chain(&[Life::LOOK]).enumerate() {
        until_ops += life.ops;
        let lived = Lived::new(script, &model, number, before, weak, until_ops, life.end == End::Clean);
        let failed = world.flushes_failed();
        live(&world, &lived, life);
        let fresh = lived.up() == usize::from(life.shards);
        // Whoever died before he was up leaves what was owed before, and what his own death may take.
        // The power goes after every close; one that failed had promised nothing more.
        let end = if lived.close_failed() { End::Crash } else { life.end };
        before = Some(if fresh { end } else { end.after(before) });
        weak = world.flushes_failed() > failed || (weak && !fresh);
        if life.flip {
            flip(&world, &lived);
        }
    }
    let ended = |end| script.lives.iter().filter(|life| life.end == end).count() as u64;
    Outcome { ops: model.ops(), crashes: ended(End::Crash), kills: ended(End::Kill), trace: world.trace() }
}

/// From the start of a node to its end.
fn live(world: &World, lived: &Lived, life: &Life) {
    world.set_faults(Faults::default());
    if !lived.script.sabotage.before_lock {
        world.take_lock();
    }
    let shards = world.start(life.shards);
    let seats = store::seats(Path::new(DIR), life.shards);
    for (rt, seat) in shards.iter().zip(seats) {
        rt.spawn(shard(Rc::clone(rt), lived.clone(), seat)).detach();
    }
    let all = shards.len();
    if life.interrupted {
        world.run_for_us(life.after_us);
    } else {
        assert!(world.run_until(|| lived.up() == all), "recovery hangs");
        world.set_faults(lived.script.faults);
        match life.end {
            End::Clean => {
                assert!(world.run_until(|| lived.done() == all), "a client or the close hangs");
            }
            End::Kill | End::Crash => {
                let over = || lived.is_worked_off() || lived.done() == all;
                assert!(world.run_until(over), "a client hangs");
                world.run_for_us(life.after_us);
            }
        }
    }
    match life.end {
        End::Kill => world.kill(),
        End::Clean | End::Crash => world.crash(),
    }
}

/// Flips a bit of some log's file that no acknowledged byte may be lost for but its own.
fn flip(world: &World, lived: &Lived) {
    let chance = &mut Chance::new(lived.script.seed ^ 0xf11b);
    let files: Vec<(PathBuf, usize, u64)> = world
        .files()
        .into_iter()
        .filter_map(|(path, len)| store::log_of(&path).map(|log| (path, log, len)))
        .filter(|(.., len)| *len > 0)
        .collect();
    if files.is_empty() {
        return;
    }
    let (path, log, len) = chance.pick(&files.iter().collect::<Vec<_>>());
    let bit = chance.within(0, len * 8 - 1);
    assert!(world.flip_bit(path, bit));
    let base = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
    lived.model.flipped(*log, base.expect("a segment is named by its first offset"), bit / 8);
}

/// Where the node keeps its logs.
const DIR: &str = "data";
/// Room on the device.
const DEVICE_BYTES: u64 = 1 << 30;

/// As [`simulate`]; what a broken promise says instead of a panic.
pub fn try_seed(script: &Script) -> Result<Outcome, String> {
    std::panic::catch_unwind(|| simulate(script)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
