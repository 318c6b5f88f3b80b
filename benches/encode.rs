//! What does framing a message once save over framing it for every subscriber?
//!
//! Both end with the frame's bytes in each subscriber's outgoing buffer.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use stentor::message::{Encoding, Message};
use stentor::{Payload, TopicName};

const SUBSCRIBERS: usize = 1_000;

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    let message = Message {
        topic: 0,
        name: TopicName::try_from("trade.BTCUSDT").expect("a topic name"),
        seq: 88_412,
        time_us: 1_700_000_000_000_000,
        payload: Payload::text(format!(r#"{{"p":"64135.3","pad":"{}"}}"#, "x".repeat(100))),
    };
    let mut outgoing: Vec<Vec<u8>> = (0..SUBSCRIBERS).map(|_| Vec::with_capacity(1_024)).collect();
    for (name, encoding) in [("raw", Encoding::Raw), ("combined", Encoding::CombinedSeq)] {
        group.bench_function(BenchmarkId::new("once", name), |bencher| {
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

criterion_group!(benches, encode);
criterion_main!(benches);
