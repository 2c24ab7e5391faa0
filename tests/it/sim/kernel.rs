//! The same lives on the real kernel: rings, threads, housekeeping and a file system instead of a simulated world.
//!
//! There is no power to take away here: a life is closed, or its shards drop everything between two steps, as a kill does but
//! that their operations under way are waited for. Chance is the machine's, so a seed says what is done and not in which order.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ringmain::io::lock::{self, Lock};
use ringmain::io::pump::{self, ShardPlan, run_shards};
use ringmain::io::sim::Faults;
use ringmain::io::{Kernel, Runtime};
use ringmain::types::ShardId;

use super::life::{Lived, shard};
use super::model::{End, Model};
use super::number;
use super::script::{Life, Script};
use super::store::{self, Seat};
use crate::node::scratch;

#[test]
fn lives_on_the_real_kernel_break_no_promise() {
    for seed in 0..number("RINGMAIN_KERNEL_SEEDS", 8) {
        let ops = run(&script(seed));
        println!("seed {seed}: {ops} operations on the real kernel");
        assert!(ops >= 200, "seed {seed} is too little");
    }
}

/// A script of things that can be done here.
fn script(seed: u64) -> Script {
    let mut script = Script { block_bytes: BLOCK_BYTES, faults: Faults::default(), ..Script::new(seed) };
    for life in &mut script.lives {
        life.flip = false;
        if life.end == End::Crash {
            life.end = End::Kill;
        }
    }
    script
}

/// Runs a script to its end in a directory of its own. Answers the operations done.
fn run(script: &Script) -> u64 {
    let scratch = scratch();
    let model = Model::new(script.logs);
    let mut before: Option<End> = None;
    let mut until_ops = 0;
    for (number, life) in script.lives.iter().chain(&[Life::LOOK]).enumerate() {
        until_ops += life.ops;
        let lived = Lived::new(script, &model, number, before, false, until_ops, life.end == End::Clean);
        let lock = lock::acquire(scratch.path(), LOCK_WAIT, |_| {}).expect("the lock is free");
        live(scratch.path(), &lived, *life, &lock);
        let fresh = lived.up() == usize::from(life.shards);
        before = Some(if fresh { life.end } else { life.end.after(before) });
    }
    model.ops()
}

/// From the start of a node to its end.
fn live(dir: &Path, lived: &Lived, life: Life, lock: &Lock) {
    let seats = store::seats(&dir.join("data"), life.shards).into_iter().zip(0..);
    let plans = seats.map(|(seat, shard)| ShardPlan { shard: ShardId(shard), core: None, seat }).collect();
    let config = pump::Config { ring_entries: 64, receive_pool_bytes: 1 << 20, ..pump::Config::default() };
    let lived = lived.clone();
    let body = move |rt, seat| until_its_end(rt, lived.clone(), seat, life);
    run_shards(plans, &config, std::slice::from_ref(lock), body).expect("the shards run");
}

/// One shard's life. What it leaves behind is dropped by the pump.
async fn until_its_end(rt: Rc<Runtime<Kernel>>, lived: Lived, seat: Seat, life: Life) {
    rt.spawn(shard(Rc::clone(&rt), lived.clone(), seat)).detach();
    let began_ns = rt.now_ns();
    let all = usize::from(life.shards);
    let is_over = || match life.end {
        End::Clean => lived.done() == all,
        End::Kill | End::Crash if life.interrupted => true,
        End::Kill | End::Crash => lived.up() == all && (lived.is_worked_off() || lived.done() == all),
    };
    while !is_over() {
        assert!(rt.now_ns() - began_ns < PATIENCE_NS, "a client or the close hangs");
        rt.sleep_ms(1).await;
    }
    if life.end != End::Clean {
        rt.sleep_ms(life.after_us / 1_000).await;
    }
}

/// What O_DIRECT asks for on any disk.
const BLOCK_BYTES: usize = 4096;
const LOCK_WAIT: Duration = Duration::from_secs(10);
const PATIENCE_NS: u64 = 60_000_000_000;
