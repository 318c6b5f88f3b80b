//! What does it cost to know who gets a message, and to pay them?
//!
//! `hot` is one topic that everybody is subscribed to. `zipf` and `sparse` are 10,000 topics with popularity after
//! Zipf, of which every connection draws 50; they are published to as they are popular, or all alike, which makes
//! most messages those of a topic with few subscribers. *Route* finds the subscribers of each message and notes
//! what they are owed. *Route and pay* takes messages that have their place, frames them, routes them and gathers
//! each connection's into one write; sockets take everything. Beside it the least one could do, a list of numbers
//! per connection, and what one would write first, a queue of shared frames per connection. Figures: a delivery, of
//! the time on the core.

#[path = "common/cpu_time.rs"]
mod cpu_time;
#[path = "common/load.rs"]
mod load;
#[path = "common/populace.rs"]
mod populace;

use bytes::Bytes;
use cpu_time::CpuTime;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use populace::{Populace, Zipf};
use std::hint::black_box;
use std::time::Duration;
use stentor::Payload;
use stentor::harness::{self, InProcess};
use stentor::limits::{LOG_FRAMES_MAX, Limits};
use stentor::message::frame;

/// The server's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Deliveries between two sweeps at most: what the plain queues hold of them must fit memory.
const DELIVERIES_MAX: usize = 4 << 20;

type Design = (&'static str, fn(&Populace) -> Box<dyn Routing + '_>);

const ROUTE: [Design; 3] =
    [("stentor", routing), ("list_per_connection", lists), ("queue_per_connection", queues::<false>)];
const ROUTE_AND_PAY: [Design; 2] = [("stentor", stentor), ("queue_per_connection", queues::<true>)];

fn route(criterion: &mut Criterion<CpuTime>) {
    let hot = [1_000, 20_000, 1_000_000].map(|connections| (Populace::hot(connections), vec!["hot"]));
    let drawn = [1_000, 20_000].map(|connections| (Populace::drawn(connections), vec!["zipf", "sparse"]));
    for (name, designs) in [("route", &ROUTE[..]), ("route_and_pay", &ROUTE_AND_PAY[..])] {
        let mut group = criterion.benchmark_group(name);
        load::pace(&mut group);
        // A round takes up to a quarter of a second.
        group.sample_size(10);
        for (populace, publications) in hot.iter().chain(&drawn) {
            for (design, build) in designs {
                let mut routing = build(populace);
                for publication in publications {
                    let window = Window::new(populace, publication);
                    group.throughput(Throughput::Elements(window.deliveries as u64));
                    let parameter = format!("{publication}, {} connections", populace.chosen.len());
                    group.bench_function(BenchmarkId::new(*design, parameter), |bencher| {
                        bencher
                            .iter_custom(|rounds| (0..rounds).map(|_| routing.round(&window.topics)).sum());
                    });
                }
            }
        }
        group.finish();
    }
}

/// What is published between two sweeps.
struct Window {
    topics: Vec<usize>,
    deliveries: usize,
}

impl Window {
    fn new(populace: &Populace, publication: &str) -> Self {
        let subscribers = subscribers(populace);
        let (mut zipf, mut random) = (Zipf::new(2), Rng::with_seed(3));
        let mut window = Self { topics: Vec::new(), deliveries: 0 };
        while window.topics.len() < LOG_FRAMES_MAX && window.deliveries < DELIVERIES_MAX {
            let topic = match publication {
                "hot" => 0,
                "zipf" => zipf.draw(),
                _ => random.usize(..populace.topics.len()),
            };
            window.topics.push(topic);
            window.deliveries += subscribers[topic].len();
        }
        window
    }
}

/// The connections of each topic.
fn subscribers(populace: &Populace) -> Vec<Vec<usize>> {
    let mut subscribers = vec![Vec::new(); populace.topics.len()];
    for (connection, chosen) in populace.chosen.iter().enumerate() {
        chosen.iter().for_each(|topic| subscribers[*topic].push(connection));
    }
    subscribers
}

/// One of the designs.
trait Routing {
    /// One window; how long what is in question took.
    fn round(&mut self, topics: &[usize]) -> Duration;
}

fn routing(populace: &Populace) -> Box<dyn Routing + '_> {
    Box::new(harness::Routing::new(&populace.topics, &populace.chosen))
}

impl Routing for harness::Routing {
    fn round(&mut self, topics: &[usize]) -> Duration {
        let took = timed(|| topics.iter().zip(0..).for_each(|(topic, number)| self.route(*topic, number)));
        black_box(self.take_all());
        took
    }
}

fn stentor(populace: &Populace) -> Box<dyn Routing + '_> {
    let wired = InProcess::with(Limits::default(), populace.connections());
    Box::new(Stentor { wired, populace, payload: Payload::text(load::payload()) })
}

struct Stentor<'a> {
    wired: InProcess,
    populace: &'a Populace,
    payload: Payload,
}

impl Routing for Stentor<'_> {
    fn round(&mut self, topics: &[usize]) -> Duration {
        for topic in topics {
            self.wired.sequence(&self.populace.topics[*topic], self.payload.clone());
        }
        timed(|| {
            self.wired.route();
            black_box(self.wired.sweep());
        })
    }
}

fn lists(populace: &Populace) -> Box<dyn Routing + '_> {
    Box::new(ListPerConnection {
        subscribers: subscribers(populace),
        lists: vec![Vec::new(); populace.chosen.len()],
    })
}

struct ListPerConnection {
    subscribers: Vec<Vec<usize>>,
    lists: Vec<Vec<u32>>,
}

impl Routing for ListPerConnection {
    fn round(&mut self, topics: &[usize]) -> Duration {
        let took = timed(|| {
            for (topic, number) in topics.iter().zip(0..) {
                self.subscribers[*topic].iter().for_each(|connection| self.lists[*connection].push(number));
            }
        });
        self.lists.iter_mut().for_each(Vec::clear);
        took
    }
}

fn queues<const IS_PAID: bool>(populace: &Populace) -> Box<dyn Routing + '_> {
    Box::new(QueuePerConnection::<IS_PAID> {
        subscribers: subscribers(populace),
        queues: vec![Vec::new(); populace.chosen.len()],
        frame: frame::frame(frame::TEXT, load::payload().as_bytes()),
        gathered: Vec::new(),
    })
}

struct QueuePerConnection<const IS_PAID: bool> {
    subscribers: Vec<Vec<usize>>,
    queues: Vec<Vec<Bytes>>,
    frame: Vec<u8>,
    gathered: Vec<u8>,
}

impl<const IS_PAID: bool> Routing for QueuePerConnection<IS_PAID> {
    fn round(&mut self, topics: &[usize]) -> Duration {
        let messages: Vec<_> = topics.iter().map(|topic| (*topic, Bytes::from(self.frame.clone()))).collect();
        let routing = timed(|| {
            for (topic, frame) in &messages {
                for connection in &self.subscribers[*topic] {
                    self.queues[*connection].push(frame.clone());
                }
            }
        });
        let paying = timed(|| {
            for queue in &mut self.queues {
                self.gathered.clear();
                queue.drain(..).for_each(|frame| self.gathered.extend_from_slice(&frame));
                black_box(&self.gathered);
            }
        });
        if IS_PAID { routing + paying } else { routing }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = CpuTime::now();
    work();
    CpuTime::now() - began
}

criterion_group!(name = benches; config = CpuTime::criterion(); targets = route);
criterion_main!(benches);
