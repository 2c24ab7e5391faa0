//! What does a log cost in memory alone: an append into its buffers, a lookup in its index, the plan of a fetch?
//!
//! `cargo bench --bench storage`; `cargo bench --bench storage -- --test` runs each once.

#[path = "paths/mod.rs"]
mod paths;

use criterion::{Criterion, criterion_group, criterion_main};

fn storage(c: &mut Criterion) {
    paths::bench(c, &["append/", "index/", "fetch/plan/"]);
}

criterion_group!(benches, storage);
criterion_main!(benches);
