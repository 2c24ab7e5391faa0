//! What does the protocol cost a request: its header, the view of a Produce and of a Fetch, the two replies, what is told of its time?
//!
//! `cargo bench --bench protocol`; `cargo bench --bench protocol -- --test` runs each once.

#[path = "paths/mod.rs"]
mod paths;

use criterion::{Criterion, criterion_group, criterion_main};

fn protocol(c: &mut Criterion) {
    paths::bench(c, &["request/", "produce/", "fetch/decode/", "reply/", "stages/"]);
}

criterion_group!(benches, protocol);
criterion_main!(benches);
