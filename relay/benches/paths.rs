//! How long the hot paths take: `cargo bench -p picorelay --bench paths`.

#![allow(missing_docs, reason = "criterion's macros write functions")]

mod work;

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use work::{PATHS, Work};

// As in the relay.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn paths(criterion: &mut Criterion) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let work = Work::generate(folder.path());
    for path in PATHS {
        let mut group = criterion.benchmark_group(path.name);
        group.throughput(Throughput::Elements(path.operations as u64));
        group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        if path.name == "insert" {
            // An event is new only once: each sample has a database of its own.
            group.bench_function("step", |bencher| {
                bencher.iter_batched_ref(|| work.make(path), |run| run(1), BatchSize::PerIteration);
            });
        } else {
            let mut run = work.make(path);
            group.bench_function("step", |bencher| bencher.iter(|| run(1)));
        }
        group.finish();
    }
}

criterion_group!(benches, paths);
criterion_main!(benches);
