//! What happens in the simulation of one seed: how the store is set up, and the lives of its node, one after the other.

use ringmain::io::sim::{Device, Faults};
use ringmain::storage::Sabotage;

use super::model::End;

/// Chance for scripts: separate from the world's, so that a change in the store leaves the script as it was.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        // SplitMix64, as the world's.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `low..=high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn one_in(&mut self, of: u64) -> bool {
        self.next().is_multiple_of(of)
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.next() % of.len() as u64).expect("an index")]
    }
}

/// One life of the node.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub shards: u16,
    /// Operations after which it ends.
    pub ops: u64,
    /// How long after the last of them, in microseconds.
    pub after_us: u64,
    pub end: End,
    /// A bit of a segment is flipped before the next life.
    pub flip: bool,
    /// It ends `after_us` after its start, whether or not it had come up.
    pub interrupted: bool,
}

impl Life {
    /// The last life of every script: comes up, looks, and is closed.
    pub const LOOK: Self = Self { shards: 1, ops: 0, after_us: 0, end: End::Clean, flip: false, interrupted: false };
}

/// A rule broken on purpose, to show that the checks find it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broken {
    /// A rule of the log.
    pub rule: Sabotage,
    /// The node recovers while writes of the killed one are under way.
    pub before_lock: bool,
}

/// Everything that a seed decides beside the world's own chance.
#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub logs: usize,
    pub block_bytes: usize,
    pub journal_blocks: u64,
    pub segment_bytes: u32,
    pub windows: usize,
    pub window_journal_bytes: usize,
    pub tail_bytes: usize,
    pub device: Device,
    /// One flush per device and window, where the extents allow.
    pub flush_device: bool,
    pub faults: Faults,
    /// Clients of each shard.
    pub clients: u64,
    pub lives: Vec<Life>,
    pub sabotage: Broken,
}

impl Script {
    /// The script of a seed: at least 200 operations, at least one power failure.
    pub fn new(seed: u64) -> Self {
        let mut script = Self::of_old(seed);
        if script.faults != Faults::default() {
            script.more_faults(&mut Chance::new(!seed));
        }
        script
    }

    /// The script without faults that came later.
    pub fn of_old(seed: u64) -> Self {
        let chance = &mut Chance::new(seed);
        let count = chance.within(2, 4);
        let crash = chance.within(0, count - 1);
        let life = |number| Life {
            shards: u16::try_from(chance.within(1, 3)).expect("few"),
            ops: chance.within(200 / count, 400 / count) + 1,
            after_us: chance.within(0, 3_000),
            end: if number == crash {
                End::Crash
            } else {
                chance.pick(&[End::Crash, End::Crash, End::Kill, End::Clean])
            },
            flip: false,
            interrupted: false,
        };
        let mut lives: Vec<Life> = (0..count).map(life).collect();
        // Now and then the power goes, or the node is killed, while it recovers.
        for _ in 0..chance.within(0, 3) / 2 {
            let end = chance.pick(&[End::Crash, End::Kill]);
            let shards = u16::try_from(chance.within(1, 3)).expect("few");
            let at = usize::try_from(chance.within(1, lives.len() as u64)).expect("few");
            let after_us = chance.within(0, 20_000);
            lives.insert(at, Life { shards, ops: 0, after_us, end, flip: false, interrupted: true });
        }
        let device = chance.pick(&[Device::Overwrite, Device::Overwrite, Device::Overwrite, Device::JournalsData]);
        let faults = if chance.one_in(4) { Self::faults(chance) } else { Faults::default() };
        let mut script = Self {
            seed,
            logs: usize::try_from(chance.within(1, 5)).expect("few"),
            block_bytes: chance.pick(&[512, 512, 1024, 4096]),
            journal_blocks: chance.within(0, 64),
            segment_bytes: u32::try_from(chance.within(6, 40) * 1024).expect("small"),
            windows: usize::try_from(chance.within(1, 3)).expect("few"),
            window_journal_bytes: usize::try_from(chance.within(1, 16) * 1024).expect("small"),
            tail_bytes: usize::try_from(chance.within(128, 1024) * 1024).expect("small"),
            device,
            flush_device: device == Device::Overwrite && !chance.one_in(3),
            faults,
            clients: chance.within(1, 4),
            lives,
            sabotage: Broken::default(),
        };
        script.flip_now_and_then(chance);
        script
    }

    /// Faults that came later: drawn apart, so that the rest of a seed stays what it was.
    fn more_faults(&mut self, chance: &mut Chance) {
        let mut ppm =
            |most: u64| if chance.one_in(2) { u32::try_from(chance.within(0, most)).expect("ppm") } else { 0 };
        self.faults.read_error_ppm = ppm(20_000);
        self.faults.job_error_ppm = ppm(10_000);
        self.faults.unreadable_ppm = ppm(1_000_000);
    }

    fn faults(chance: &mut Chance) -> Faults {
        let mut ppm = |of: u64, most: u64| {
            if chance.one_in(of) { u32::try_from(chance.within(0, most)).expect("ppm") } else { 0 }
        };
        Faults {
            write_error_ppm: ppm(2, 20_000),
            write_full_ppm: ppm(3, 20_000),
            read_error_ppm: 0,
            flush_error_ppm: ppm(2, 20_000),
            job_error_ppm: 0,
            stall_ppm: ppm(2, 50_000),
            unreadable_ppm: 0,
            cut_ppm: 0,
        }
    }

    /// A flip only where nothing else goes wrong: then the quarantine has one cause.
    fn flip_now_and_then(&mut self, chance: &mut Chance) {
        if self.faults == Faults::default() && chance.one_in(4) {
            let lives = self.lives.len() as u64;
            let at = usize::try_from(chance.within(0, lives - 1)).expect("few");
            self.lives[at].flip = true;
        }
    }
}
