//! What does it cost to get one message to N subscribers' queues and out of them again, in process?
//!
//! Beside ours the designs it replaces, each with the message already encoded and shared by reference. A round
//! is 16 messages; the clock stops when every queue is empty. Sockets take everything, so what is timed is what
//! a design does around the write.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use std::collections::HashMap;
use std::hint::black_box;
#[allow(clippy::disallowed_types)]
use std::sync::RwLock;
use std::time::Duration;
use stentor::harness::InProcess;
use stentor::{Payload, TopicName};
use tokio::sync::{broadcast, mpsc};

const ROUND: usize = 16;
const SUBSCRIBERS: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

fn payload() -> String {
    format!(r#"{{"p":"64135.3","pad":"{}"}}"#, "x".repeat(100))
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for count in SUBSCRIBERS {
        group.throughput(Throughput::Elements((count * ROUND) as u64));

        let topic = TopicName::try_from("trade.BTCUSDT").expect("a topic name");
        let mut wired = InProcess::new(count, std::slice::from_ref(&topic));
        let message = Payload::text(payload());
        group.bench_function(BenchmarkId::new("stentor", count), |bencher| {
            bencher.iter(|| {
                for _ in 0..ROUND {
                    wired.publish(&topic, message.clone());
                }
                black_box(wired.sweep())
            });
        });

        let mut map = MapUnderRwLock::new(count);
        group.bench_function(BenchmarkId::new("map_under_rwlock", count), |bencher| {
            bencher.iter(|| map.round())
        });

        let mut map = ShardedMap::new(count);
        group.bench_function(BenchmarkId::new("sharded_map", count), |bencher| bencher.iter(|| map.round()));

        let mut channel = TokioBroadcast::new(count);
        group.bench_function(BenchmarkId::new("tokio_broadcast", count), |bencher| {
            bencher.iter(|| channel.round())
        });
    }
    group.finish();
}

type Queues = Vec<mpsc::Receiver<Bytes>>;

fn drain(queues: &mut Queues) {
    for queue in queues {
        while let Ok(message) = queue.try_recv() {
            black_box(message);
        }
    }
}

// The lock is what is measured here.
#[allow(clippy::disallowed_types)]
struct MapUnderRwLock {
    senders: RwLock<HashMap<u64, mpsc::Sender<Bytes>>>,
    queues: Queues,
    message: Bytes,
}

#[allow(clippy::disallowed_types)]
impl MapUnderRwLock {
    fn new(count: usize) -> Self {
        let (senders, queues) = (0..count as u64).map(channel).unzip();
        Self { senders: RwLock::new(senders), queues, message: payload().into() }
    }

    fn round(&mut self) {
        for _ in 0..ROUND {
            for sender in self.senders.read().expect("nobody panics").values() {
                let _ = sender.try_send(self.message.clone());
            }
        }
        drain(&mut self.queues);
    }
}

struct ShardedMap {
    senders: DashMap<u64, mpsc::Sender<Bytes>>,
    queues: Queues,
    message: Bytes,
}

impl ShardedMap {
    fn new(count: usize) -> Self {
        let (senders, queues): (Vec<_>, _) = (0..count as u64).map(channel).unzip();
        Self { senders: senders.into_iter().collect(), queues, message: payload().into() }
    }

    fn round(&mut self) {
        for _ in 0..ROUND {
            for sender in &self.senders {
                let _ = sender.try_send(self.message.clone());
            }
        }
        drain(&mut self.queues);
    }
}

fn channel(id: u64) -> ((u64, mpsc::Sender<Bytes>), mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(2 * ROUND);
    ((id, sender), receiver)
}

struct TokioBroadcast {
    sender: broadcast::Sender<Bytes>,
    receivers: Vec<broadcast::Receiver<Bytes>>,
    message: Bytes,
}

impl TokioBroadcast {
    fn new(count: usize) -> Self {
        let (sender, first) = broadcast::channel(2 * ROUND);
        let mut receivers: Vec<_> = (1..count).map(|_| sender.subscribe()).collect();
        receivers.push(first);
        Self { sender, receivers, message: payload().into() }
    }

    fn round(&mut self) {
        for _ in 0..ROUND {
            let _ = self.sender.send(self.message.clone());
        }
        for receiver in &mut self.receivers {
            while let Ok(message) = receiver.try_recv() {
                black_box(message);
            }
        }
    }
}

criterion_group!(benches, publish);
criterion_main!(benches);
