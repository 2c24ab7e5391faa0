//! What does a batch cost: its check, the one pass that copies and checksums it, and what LogAppendTime adds to its header?
//!
//! `cargo bench --bench record`; `cargo bench --bench record -- --test` runs each once.

#[path = "paths/mod.rs"]
mod paths;

use criterion::{Criterion, criterion_group, criterion_main};

fn record(c: &mut Criterion) {
    paths::bench(c, &["batch/"]);
}

criterion_group!(benches, record);
criterion_main!(benches);
