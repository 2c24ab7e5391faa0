//! The library's pure paths as criterion's benchmarks.

use criterion::{Criterion, Throughput};
use ringmain::bench::paths;

/// Times every path whose name begins with one of `prefixes`.
pub fn bench(c: &mut Criterion, prefixes: &[&str]) {
    let wanted = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    for path in paths::all().iter().filter(|path| wanted(path.name())) {
        let (group, name) = path.name().rsplit_once('/').expect("a path's name has a group");
        let mut group = c.benchmark_group(group);
        if path.bytes() > 0 {
            group.throughput(Throughput::Bytes(path.bytes()));
        }
        group.bench_function(name, |b| b.iter_custom(|iterations| path.run(iterations)));
        group.finish();
    }
}
