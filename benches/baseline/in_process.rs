//! Every design without sockets: into each subscriber's queue and out of it again.

use super::cpu_time::CpuTime;
use super::{ROUND, load};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use dashmap::DashMap;
use std::cell::Cell;
use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
#[allow(clippy::disallowed_types)]
use std::sync::RwLock;
use stentor::Payload;
use stentor::harness::InProcess;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::LocalSet;

const SUBSCRIBERS: [usize; 2] = [1_000, 10_000];

pub(crate) fn bench(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("baseline_in_process");
    load::pace(&mut group);
    for count in SUBSCRIBERS {
        group.throughput(Throughput::Elements((count * ROUND) as u64));
        let id = |design| BenchmarkId::new(design, format!("{count} subscribers"));

        let topic = load::topic();
        let mut wired = InProcess::new(count, std::slice::from_ref(&topic));
        let message = Payload::text(load::payload());
        group.bench_function(id("stentor"), |bencher| {
            bencher.iter(|| {
                for _ in 0..ROUND {
                    wired.publish(&topic, message.clone());
                }
                black_box(wired.sweep())
            });
        });

        let mut map = MapUnderRwLock::new(count);
        group.bench_function(id("map_under_rwlock"), |bencher| {
            bencher.iter(|| map.round());
        });

        let mut map = ShardedMap::new(count);
        group.bench_function(id("sharded_map"), |bencher| bencher.iter(|| map.round()));

        let mut channel = TokioBroadcast::new(count);
        group.bench_function(id("tokio_broadcast"), |bencher| {
            bencher.iter(|| channel.round());
        });

        let mut tasks = TaskPerConnection::new(count);
        group.bench_function(id("task_per_connection"), |bencher| {
            bencher.iter(|| tasks.round());
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

fn channel(id: u64) -> ((u64, mpsc::Sender<Bytes>), mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(2 * ROUND);
    ((id, sender), receiver)
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
        Self { senders: RwLock::new(senders), queues, message: load::payload().into() }
    }

    fn round(&mut self) {
        for _ in 0..ROUND {
            for sender in self.senders.read().expect("nobody panics").values() {
                sender.try_send(self.message.clone()).expect("room");
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
        Self { senders: senders.into_iter().collect(), queues, message: load::payload().into() }
    }

    fn round(&mut self) {
        for _ in 0..ROUND {
            for sender in &self.senders {
                sender.try_send(self.message.clone()).expect("room");
            }
        }
        drain(&mut self.queues);
    }
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
        Self { sender, receivers, message: load::payload().into() }
    }

    fn round(&mut self) {
        for _ in 0..ROUND {
            self.sender.send(self.message.clone()).expect("receivers");
        }
        for receiver in &mut self.receivers {
            while let Ok(message) = receiver.try_recv() {
                black_box(message);
            }
        }
    }
}

/// All tasks on one thread, the cheapest they can be: no wake crosses a core.
struct TaskPerConnection {
    runtime: Runtime,
    tasks: LocalSet,
    senders: Vec<mpsc::Sender<Bytes>>,
    /// Deliveries that a round still waits for, and the word when there are none.
    missing: Rc<Cell<usize>>,
    done: Rc<Notify>,
    message: Bytes,
}

impl TaskPerConnection {
    fn new(count: usize) -> Self {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let tasks = LocalSet::new();
        let (missing, done) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let senders = (0..count)
            .map(|_| {
                let (sender, mut queue) = mpsc::channel::<Bytes>(2 * ROUND);
                let (missing, done) = (missing.clone(), done.clone());
                tasks.spawn_local(async move {
                    while let Some(message) = queue.recv().await {
                        black_box(message);
                        missing.set(missing.get() - 1);
                        if missing.get() == 0 {
                            done.notify_one();
                        }
                    }
                });
                sender
            })
            .collect();
        Self { runtime, tasks, senders, missing, done, message: load::payload().into() }
    }

    fn round(&mut self) {
        self.missing.set(ROUND * self.senders.len());
        for _ in 0..ROUND {
            for sender in &self.senders {
                sender.try_send(self.message.clone()).expect("room");
            }
        }
        self.tasks.block_on(&self.runtime, self.done.notified());
    }
}
