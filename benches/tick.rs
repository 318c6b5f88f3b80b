//! What does it cost to look after connections that say nothing, once a second?
//!
//! A shard has no timer for a connection: it walks sixteen bytes of each. Figures: one walk over all of them, of
//! the time on the core.

#[path = "common/cpu_time.rs"]
mod cpu_time;
#[path = "common/load.rs"]
mod load;

use cpu_time::CpuTime;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stentor::harness::InProcess;

fn tick(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("tick");
    load::pace(&mut group);
    for connections in [10_000, 100_000, 1_000_000] {
        let mut wired = InProcess::new(connections, &[]);
        group.throughput(Throughput::Elements(connections as u64));
        group.bench_function(BenchmarkId::new("stentor", connections), |bencher| {
            bencher.iter(|| wired.tick())
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = CpuTime::criterion(); targets = tick);
criterion_main!(benches);
