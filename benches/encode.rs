//! What does framing a message once save over framing it for every subscriber?
//!
//! Both end with the frame's bytes in each subscriber's outgoing buffer. Figures: a subscriber, of
//! the time on the core.

#[path = "common/cpu_time.rs"]
mod cpu_time;
#[path = "common/load.rs"]
mod load;

use cpu_time::CpuTime;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use stentor::message::Encoding;

const SUBSCRIBERS: usize = 1_000;

fn encode(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("encode");
    load::pace(&mut group);
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    let message = load::message();
    let mut outgoing: Vec<Vec<u8>> = (0..SUBSCRIBERS).map(|_| Vec::with_capacity(1_024)).collect();
    for (name, encoding) in [("raw", Encoding::Raw), ("combined", Encoding::CombinedSeq)] {
        group.bench_function(BenchmarkId::new("stentor", name), |bencher| {
            let mut frame = Vec::new();
            bencher.iter(|| {
                frame.clear();
                encoding.encode(&message, &mut frame);
                for buffer in &mut outgoing {
                    buffer.clear();
                    buffer.extend_from_slice(&frame);
                }
                black_box(&outgoing);
            });
        });
        group.bench_function(BenchmarkId::new("per_subscriber", name), |bencher| {
            bencher.iter(|| {
                for buffer in &mut outgoing {
                    buffer.clear();
                    encoding.encode(&message, buffer);
                }
                black_box(&outgoing);
            });
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = CpuTime::criterion(); targets = encode);
criterion_main!(benches);
