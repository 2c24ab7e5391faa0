//! The coordinator under simulation: members that join, commit, freeze, die and come back, a network that delays and
//! loses, a log that becomes durable later, crashes, and compaction at any moment; all from one seed.
//!
//! ```text
//!   cargo test --lib group::tests::sim                                             some seeds, as CI does
//!   GROUP_SIM_SEEDS=10000 cargo test --release --lib group::tests::sim::seeds      10,000 seeds
//!   GROUP_SIM_SEED=17 GROUP_SIM_TRACE=1 cargo test --lib group::tests::sim::seeds -- --nocapture    one seed, each step
//!   cargo test --lib group::tests::sim::planted -- --nocapture                     at which seed each planted fault is found
//!                                                                                  (GROUP_SIM_SEED=0: looked for from 0)
//! ```
//!
//! What is checked is in [`check`]; that the checks can fail is shown by the faults of [`Sabotage`], planted one by one.

mod check;
mod client;
mod world;

use std::env;

use world::World;

use crate::group::sabotage::Sabotage;

/// A generator for the simulation's own choices.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Whether something happens that does so `per_mille` times in a thousand.
    fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Seeds that CI runs.
const SEEDS: u64 = 60;
/// Seeds within which each planted fault has to be found.
const PLANTED_SEEDS: u64 = 400;

#[test]
fn seeds_hold_what_was_promised() {
    let seeds = match number("GROUP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GROUP_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut total = check::Counts::default();
    for seed in seeds.clone() {
        match World::new(seed, Sabotage::None).run() {
            Ok(counts) => total.add(&counts),
            Err(fault) => panic!("seed {seed}: {fault}"),
        }
    }
    println!("{} seeds: {total:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= SEEDS {
        total.assert_all_happened();
    }
}

#[test]
fn planted_faults_are_found() {
    // Each with the seed to begin at: a rare one where it was seen last, so that the test is short.
    let planted = [
        (Sabotage::ReplyEarly, 0),
        (Sabotage::AnyGeneration, 0),
        (Sabotage::RewriteDurable, 0),
        (Sabotage::AnyAssignment, 140),
    ];
    for (sabotage, from) in planted {
        let from = number("GROUP_SIM_SEED").unwrap_or(from);
        let found = (from..from + PLANTED_SEEDS).find_map(|seed| Some((seed, World::new(seed, sabotage).run().err()?)));
        let (seed, fault) = found.unwrap_or_else(|| panic!("{sabotage:?} is not found from seed {from} on"));
        println!("{sabotage:?}: found at seed {seed}: {fault}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut world = World::new(seed, Sabotage::None);
        world.keep_trace();
        world.run_and_trace().expect("a seed that holds")
    };
    assert_eq!(trace(3), trace(3));
}
