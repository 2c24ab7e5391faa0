//! What a node's own figures cost a request: all that is told of one Produce and of one Fetch, without their clock reads.

use std::hint::black_box;

use super::Path;
use crate::handlers::figures::{Arrival, Figures, Stage};
use crate::protocol::ApiKey;

/// From the arrival of a frame to the last byte of its answer.
pub(super) fn all() -> Vec<Path> {
    const PRODUCE: &[Stage] = &[Stage::Decode, Stage::Append, Stage::Write, Stage::Flush];
    const FETCH: &[Stage] = &[Stage::Decode, Stage::Load];
    let path = |name, api, stages: &'static [Stage]| Path::new(name, move || told(api, stages));
    vec![path("stages/produce", ApiKey::Produce, PRODUCE), path("stages/fetch", ApiKey::Fetch, FETCH)]
}

fn told(api: ApiKey, stages: &'static [Stage]) -> impl FnMut() {
    let (figures, mut now_ns) = (Box::new(Figures::default()), 0);
    // Durations of 40 to 170 us, never the same twice in a row.
    let mut later = move || {
        now_ns += 40_000 + now_ns * 7 % 131_072;
        black_box(now_ns)
    };
    move || {
        let mut trip = figures.begin(api, Arrival { first_ns: later(), whole_ns: later() });
        for stage in stages {
            figures.pass(&mut trip, *stage, later());
        }
        figures.replied(trip, later());
    }
}
