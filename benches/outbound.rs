//! What does a message cost that goes through the bounded queue behind a full socket?
//!
//! 100 subscribers, 1,024 messages each. `straight`: the sockets take them. `queued`: the sockets are full, so that
//! everything moves into queues; then they take bytes again and the queues are drained. Beside it the queue one
//! would write first, of shared frames. `event_overflow` is the class's policy at work: the queues are at their
//! limit, one more message comes, and all are closed as slow consumers, their queues dropped.
//! Figures: a delivery, and of `outbound_overflow` a connection closed; of the time on the core.

#[path = "common/cpu_time.rs"]
mod cpu_time;
#[path = "common/load.rs"]
mod load;

use bytes::Bytes;
use cpu_time::CpuTime;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::collections::VecDeque;
use std::hint::black_box;
use stentor::Payload;
use stentor::harness::InProcess;
use stentor::limits::{GATHER_BYTES_MAX, Limits};
use stentor::message::frame;

const SUBSCRIBERS: usize = 100;
const MESSAGES: usize = 1_024;

fn outbound(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("outbound");
    load::pace(&mut group);
    group.throughput(Throughput::Elements((SUBSCRIBERS * MESSAGES) as u64));

    let mut wired = wired(Limits::default());
    group.bench_function(BenchmarkId::new("stentor", "straight"), |bencher| {
        bencher.iter(|| {
            publish(&mut wired, MESSAGES);
            black_box(wired.sweep())
        });
    });
    group.bench_function(BenchmarkId::new("stentor", "queued"), |bencher| {
        bencher.iter(|| {
            wired.fill(true);
            publish(&mut wired, MESSAGES);
            wired.sweep();
            wired.fill(false);
            black_box(wired.drain())
        });
    });

    let frame = Bytes::from(frame::frame(frame::TEXT, load::payload().as_bytes()));
    let mut queues = vec![VecDeque::new(); SUBSCRIBERS];
    let mut gathered = Vec::new();
    group.bench_function(BenchmarkId::new("queue_per_connection", "queued"), |bencher| {
        bencher.iter(|| {
            for _ in 0..MESSAGES {
                queues.iter_mut().for_each(|queue| queue.push_back(frame.clone()));
            }
            queues.iter_mut().for_each(|queue| drain(queue, &mut gathered));
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("outbound_overflow");
    load::pace(&mut group);
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    let at_their_limit = || {
        let mut wired = self::wired(Limits { queue_frames: MESSAGES, ..Limits::default() });
        wired.fill(true);
        publish(&mut wired, MESSAGES);
        wired.sweep();
        wired
    };
    group.bench_function(BenchmarkId::new("stentor", "event"), |bencher| {
        let overflow = |mut wired: InProcess| {
            publish(&mut wired, 1);
            black_box(wired.sweep());
            wired
        };
        bencher.iter_batched(at_their_limit, overflow, BatchSize::PerIteration);
    });
    group.finish();
}

fn wired(limits: Limits) -> InProcess {
    InProcess::with(limits, (0..SUBSCRIBERS).map(|_| vec![load::topic()]))
}

fn publish(wired: &mut InProcess, messages: usize) {
    let (topic, payload) = (load::topic(), Payload::text(load::payload()));
    for _ in 0..messages {
        wired.publish(&topic, payload.clone());
    }
}

fn drain(queue: &mut VecDeque<Bytes>, gathered: &mut Vec<u8>) {
    while !queue.is_empty() {
        gathered.clear();
        while gathered.len() < GATHER_BYTES_MAX {
            let Some(frame) = queue.pop_front() else { break };
            gathered.extend_from_slice(&frame);
        }
        black_box(&gathered);
    }
}

criterion_group!(name = benches; config = CpuTime::criterion(); targets = outbound);
criterion_main!(benches);
