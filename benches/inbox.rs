//! What does it cost to bring a message to another thread, with 1, 4 and 16 producers?
//!
//! 65,536 shared messages, eight times what the inbox holds, are posted by all producers together while the one
//! consumer takes them and sleeps when it finds nothing; the clock stops when it has all of them. Who finds no
//! room yields and tries again. Beside ours the bounded channels of tokio and crossbeam, of the same size.

#[path = "common/load.rs"]
mod load;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::{self, Sender};
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use stentor::harness::Inbox;
use stentor::limits::Limits;
use stentor::message::Message;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, error::TrySendError};

const MESSAGES: usize = 65_536;

fn inbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox");
    load::pace(&mut group);
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let room = Limits::default().inbox_frames;
    let shard = Builder::new_current_thread().enable_all().build().expect("a runtime");
    for count in [1, 4, 16] {
        let taker = Inbox::default();
        let inbox = taker.clone();
        let producers = Producers::new(count, move |message| inbox.post(message).err());
        bench(&mut group, "stentor", &producers, || {
            shard.block_on(async {
                for _ in 0..MESSAGES {
                    black_box(taker.next().await);
                }
            });
        });

        let (sender, mut receiver) = mpsc::channel(room);
        let producers = Producers::new(count, move |message| match sender.try_send(message) {
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => Some(back),
            Ok(()) => None,
        });
        bench(&mut group, "tokio_mpsc", &producers, || {
            shard.block_on(async {
                for _ in 0..MESSAGES {
                    black_box(receiver.recv().await);
                }
            });
        });

        let (sender, receiver) = channel::bounded(room);
        let producers = Producers::new(count, move |message| {
            sender.try_send(message).err().map(channel::TrySendError::into_inner)
        });
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
    let id = BenchmarkId::new(design, format!("{} producers", producers.starts.len()));
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
    /// `post` gives back what found no room.
    fn new(
        count: usize,
        post: impl Fn(Arc<Message>) -> Option<Arc<Message>> + Clone + Send + 'static,
    ) -> Self {
        let producer = |_| {
            let (start, started) = channel::bounded(1);
            let (post, message) = (post.clone(), Arc::new(load::message()));
            thread::spawn(move || {
                while started.recv().is_ok() {
                    for _ in 0..MESSAGES / count {
                        let mut unsent = Some(message.clone());
                        while let Some(message) = unsent.take() {
                            unsent = post(message);
                            if unsent.is_some() {
                                thread::yield_now();
                            }
                        }
                    }
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
