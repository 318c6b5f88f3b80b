//! What does it cost to bring a message to another thread, with 1, 4 and 16 producers?
//!
//! 8,192 shared messages, as many as the inbox holds, are posted by all producers together while the one consumer
//! takes them and sleeps when it finds nothing; the clock stops when it has all of them. Consumer and producers
//! are on cores of their own. Beside ours the bounded channels of tokio and crossbeam, of the same size. Figures:
//! a message.

#[path = "common/load.rs"]
mod load;
#[path = "common/pin.rs"]
mod pin;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::{self, Sender};
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use stentor::harness::Inbox;
use stentor::message::Message;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

const MESSAGES: usize = 8_192;

fn inbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox");
    load::pace(&mut group);
    group.throughput(Throughput::Elements(MESSAGES as u64));
    pin::first();
    let shard = Builder::new_current_thread().enable_all().build().expect("a runtime");
    for count in [1, 4, 16] {
        let taker = Inbox::default();
        let inbox = taker.clone();
        let producers = Producers::new(count, move |message| inbox.post(message).expect("room"));
        bench(&mut group, "stentor", &producers, || {
            shard.block_on(async {
                for _ in 0..MESSAGES {
                    black_box(taker.next().await);
                }
            });
        });

        let (sender, mut receiver) = mpsc::channel(MESSAGES);
        let producers = Producers::new(count, move |message| sender.try_send(message).expect("room"));
        bench(&mut group, "tokio_mpsc", &producers, || {
            shard.block_on(async {
                for _ in 0..MESSAGES {
                    black_box(receiver.recv().await);
                }
            });
        });

        let (sender, receiver) = channel::bounded(MESSAGES);
        let producers = Producers::new(count, move |message| sender.try_send(message).expect("room"));
        bench(&mut group, "crossbeam_channel", &producers, || {
            for _ in 0..MESSAGES {
                black_box(receiver.recv().expect("producers"));
            }
        });
    }
    group.finish();
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    design: &str,
    producers: &Producers,
    mut take_all: impl FnMut(),
) {
    let id = BenchmarkId::new(design, format!("from {}", producers.starts.len()));
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            producers.start();
            take_all();
        });
    });
}

/// Threads that post their share of the messages each time they are told to, until they are dropped.
struct Producers {
    starts: Vec<Sender<()>>,
}

impl Producers {
    /// There is always room for what they `post`.
    fn new(count: usize, post: impl Fn(Arc<Message>) + Clone + Send + 'static) -> Self {
        let producer = |number| {
            let (start, started) = channel::bounded(1);
            let (post, message) = (post.clone(), Arc::new(load::message()));
            thread::spawn(move || {
                pin::other(number);
                while started.recv().is_ok() {
                    (0..MESSAGES / count).for_each(|_| post(message.clone()));
                }
            });
            start
        };
        Self { starts: (0..count).map(producer).collect() }
    }

    fn start(&self) {
        self.starts.iter().for_each(|start| start.send(()).expect("a producer"));
    }
}

criterion_group!(benches, inbox);
criterion_main!(benches);
