//! The pure paths: what happens to one request or batch in memory, without socket, file, shard or clock.
//!
//! ```text
//!   request   header -> produce or fetch decode -> batch check -> append into the buffer -> reply encode
//!                                               -> index lookup -> fetch plan            -> reply encode
//! ```
//! Two callers run the same closures: the criterion benches time them, and the gate has callgrind count their
//! instructions through `ringmain bench paths`, N and 3N iterations, so that everything but the iterations cancels.
//!
//! **Invariants.** 1. Two runs of a path do the same: bytes come from a fixed generator, time from the simulator, nothing
//! from the environment. 2. Iterations cost the same, the first and the last: what a path uses up (an append takes memory)
//! is bounded by its [`Path::limit`], and made anew outside of what is counted.

mod batches;
mod logs;
mod requests;
mod stages;

use std::time::{Duration, Instant};

/// One path.
pub struct Path {
    name: String,
    bytes: u64,
    counted: u64,
    limit: u64,
    make: Box<dyn Fn() -> Work>,
}

/// A path made ready: each call is one iteration.
pub type Work = Box<dyn FnMut()>;

impl Path {
    /// A path that can be gone any number of times.
    fn new<W: FnMut() + 'static>(name: impl Into<String>, make: impl Fn() -> W + 'static) -> Self {
        let make = Box::new(move || Box::new(make()) as Work);
        Self { name: name.into(), bytes: 0, counted: COUNTED, limit: u64::MAX, make }
    }

    /// Passes so many record bytes in one iteration.
    fn of_bytes(self, bytes: usize) -> Self {
        Self { bytes: bytes as u64, ..self }
    }

    /// Can be gone so many times only, then it is made anew.
    fn limited(self, limit: u64) -> Self {
        Self { limit, counted: self.counted.min(limit / 3), ..self }
    }

    /// Its name, such as `append/64KiB`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Record bytes that one iteration passes; 0 where there are none.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many iterations are worth counting; three times as many stay within the limit.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// Iterations that what is made once allows.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Goes the path so many times, and answers how long that took without what was made before and in between.
    pub fn run(&self, iterations: u64) -> Duration {
        let (mut left, mut taken) = (iterations, Duration::ZERO);
        while left > 0 {
            let now = left.min(self.limit);
            let mut work = (self.make)();
            let begun = Instant::now();
            for _ in 0..now {
                work();
            }
            taken += begun.elapsed();
            left -= now;
        }
        taken
    }
}

/// All paths, in the order in which a request goes them.
#[must_use]
pub fn all() -> Vec<Path> {
    let mut paths = requests::decoding();
    paths.extend(batches::all());
    paths.extend(logs::all());
    paths.extend(requests::replies());
    paths.extend(stages::all());
    paths
}

/// The path of this name.
#[must_use]
pub fn named(name: &str) -> Option<Path> {
    all().into_iter().find(|path| path.name == name)
}

/// Enough for a difference of a thousandth of an instruction to be seen, and soon over at 50 times the time.
const COUNTED: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_path_can_be_gone_and_has_a_name_of_its_own() {
        let paths = super::all();
        let names: BTreeSet<&str> = paths.iter().map(super::Path::name).collect();
        assert_eq!(names.len(), paths.len());
        for path in &paths {
            assert!(path.counted() > 0 && path.counted() <= path.limit() / 3, "{}", path.name());
            path.run(3);
        }
    }

    #[test]
    fn a_path_that_is_used_up_is_made_anew() {
        let path = super::named("append/64KiB").expect("a path");
        path.run(path.limit() + 2);
    }
}
