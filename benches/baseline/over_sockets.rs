//! Every design as a server: until the subscribers' thread has every byte.

use super::audience::Audience;
use super::served::Served;
use super::{ROUND, load};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use dashmap::DashMap;
use std::collections::HashMap;
#[allow(clippy::disallowed_types)]
use std::sync::RwLock;
use stentor::message::frame;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{broadcast, mpsc};

const SUBSCRIBERS: [usize; 2] = [200, 1_000];
/// Messages a connection's queue holds: more than a round, so that nobody is ever skipped.
const QUEUED_MAX: usize = 2 * ROUND;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("baseline_over_sockets");
    load::pace(&mut group);
    let frame = Bytes::from(frame::frame(frame::TEXT, load::payload().as_bytes()));
    for count in SUBSCRIBERS {
        group.throughput(Throughput::Elements((count * ROUND) as u64));
        let id = |design| BenchmarkId::new(design, format!("{count} subscribers"));
        let bytes = frame.len() * count * ROUND;
        {
            let mut served = Served::new(count);
            group.bench_function(id("stentor"), |bencher| {
                bencher.iter(|| served.round(ROUND, bytes));
            });
        }
        let designs: [(_, Design); 4] = [
            ("map_under_rwlock", map_under_rwlock),
            ("sharded_map", sharded_map),
            ("tokio_broadcast", tokio_broadcast),
            ("task_per_connection", task_per_connection),
        ];
        for (name, design) in designs {
            let mut plain = Plain::new(count, design);
            group.bench_function(id(name), |bencher| {
                bencher.iter(|| plain.round(&frame, bytes));
            });
        }
    }
    group.finish();
}

/// Hands one frame to a design.
type Publish = Box<dyn Fn(Bytes)>;

/// Takes the server's ends of the connections.
type Design = fn(Vec<TcpStream>) -> Publish;

/// One of the designs on a runtime of its own, with a worker for each core.
struct Plain {
    publish: Publish,
    audience: Audience,
    _runtime: Runtime,
}

impl Plain {
    fn new(count: usize, design: Design) -> Self {
        let (audience, accepted) = Audience::pairs(count);
        let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let inside = runtime.enter();
        let streams = accepted.into_iter().map(|stream| {
            stream.set_nonblocking(true).expect("an option");
            TcpStream::from_std(stream).expect("a place in the poller")
        });
        let publish = design(streams.collect());
        drop(inside);
        Self { publish, audience, _runtime: runtime }
    }

    fn round(&mut self, frame: &Bytes, bytes: usize) {
        for _ in 0..ROUND {
            (self.publish)(frame.clone());
        }
        self.audience.read(bytes);
    }
}

/// A connection's task: each frame of its queue in a write of its own.
fn writer(mut stream: TcpStream) -> mpsc::Sender<Bytes> {
    let (sender, mut queue) = mpsc::channel::<Bytes>(QUEUED_MAX);
    tokio::spawn(async move {
        while let Some(frame) = queue.recv().await {
            stream.write_all(&frame).await.expect("a reader");
        }
    });
    sender
}

// The lock is what is measured here.
#[allow(clippy::disallowed_types)]
fn map_under_rwlock(streams: Vec<TcpStream>) -> Publish {
    let senders: HashMap<_, _> = (0_u64..).zip(streams.into_iter().map(writer)).collect();
    let senders = RwLock::new(senders);
    Box::new(move |frame| {
        for sender in senders.read().expect("nobody panics").values() {
            sender.try_send(frame.clone()).expect("room");
        }
    })
}

fn sharded_map(streams: Vec<TcpStream>) -> Publish {
    let senders: DashMap<_, _> = (0_u64..).zip(streams.into_iter().map(writer)).collect();
    Box::new(move |frame| {
        for sender in &senders {
            sender.try_send(frame.clone()).expect("room");
        }
    })
}

fn tokio_broadcast(streams: Vec<TcpStream>) -> Publish {
    let (sender, _) = broadcast::channel::<Bytes>(QUEUED_MAX);
    for mut stream in streams {
        let mut queue = sender.subscribe();
        tokio::spawn(async move {
            while let Ok(frame) = queue.recv().await {
                stream.write_all(&frame).await.expect("a reader");
            }
        });
    }
    Box::new(move |frame| {
        sender.send(frame).expect("receivers");
    })
}

/// Built with care: tasks that write all that waits at once.
fn task_per_connection(streams: Vec<TcpStream>) -> Publish {
    let senders: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let (sender, mut queue) = mpsc::channel::<Bytes>(QUEUED_MAX);
            tokio::spawn(async move {
                let (mut waiting, mut gathered) = (Vec::new(), Vec::new());
                while queue.recv_many(&mut waiting, QUEUED_MAX).await > 0 {
                    gathered.clear();
                    waiting.drain(..).for_each(|frame| gathered.extend_from_slice(&frame));
                    stream.write_all(&gathered).await.expect("a reader");
                }
            });
            sender
        })
        .collect();
    Box::new(move |frame| {
        for sender in &senders {
            sender.try_send(frame.clone()).expect("room");
        }
    })
}
