//! What does it cost to know who gets a message, and to pay them?
//!
//! `hot` is one topic that everybody is subscribed to. `zipf` and `sparse` are 10,000 topics with popularity after
//! Zipf, of which every connection draws 50; they are published to as they are popular, or all alike, which makes
//! most messages those of a topic with few subscribers. *Route* takes messages that have their place to the debts
//! of their subscribers. *Route and pay* goes on until nobody is owed anything, each connection's frames gathered
//! into one write; sockets take everything. Beside it what one would write first: a list of subscribers per topic
//! and a queue of shared frames per connection. Figures: a delivery.

#[path = "common/load.rs"]
mod load;
#[path = "common/populace.rs"]
mod populace;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use populace::{Populace, Zipf};
use std::hint::black_box;
use std::time::{Duration, Instant};
use stentor::Payload;
use stentor::harness::InProcess;
use stentor::limits::{LOG_FRAMES_MAX, Limits};
use stentor::message::frame;

/// Deliveries between two sweeps at most: what the plain queues hold of them must fit memory.
const DELIVERIES_MAX: usize = 4 << 20;

fn route(criterion: &mut Criterion) {
    let hot = [1_000, 20_000, 1_000_000].map(|connections| (Populace::hot(connections), vec!["hot"]));
    let drawn = [1_000, 20_000].map(|connections| (Populace::drawn(connections), vec!["zipf", "sparse"]));
    for (name, is_paid) in [("route", false), ("route_and_pay", true)] {
        let mut group = criterion.benchmark_group(name);
        load::pace(&mut group);
        // A round takes up to a quarter of a second.
        group.sample_size(10);
        for (populace, publications) in hot.iter().chain(&drawn) {
            let designs: [(&str, Design); 2] = [("stentor", stentor), ("queue_per_connection", queues)];
            for (design, build) in designs {
                let mut routing = build(populace);
                for publication in publications {
                    let window = Window::new(populace, publication);
                    group.throughput(Throughput::Elements(window.deliveries as u64));
                    let parameter = format!("{publication}, {} connections", populace.chosen.len());
                    group.bench_function(BenchmarkId::new(design, parameter), |bencher| {
                        bencher.iter_custom(|rounds| {
                            (0..rounds).map(|_| routing.round(&window.topics, is_paid)).sum()
                        });
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
        let mut subscribers = vec![0; populace.topics.len()];
        populace.chosen.iter().flatten().for_each(|topic| subscribers[*topic] += 1);
        let (mut zipf, mut random) = (Zipf::new(2), Rng::with_seed(3));
        let mut window = Self { topics: Vec::new(), deliveries: 0 };
        while window.topics.len() < LOG_FRAMES_MAX && window.deliveries < DELIVERIES_MAX {
            let topic = match publication {
                "hot" => 0,
                "zipf" => zipf.draw(),
                _ => random.usize(..populace.topics.len()),
            };
            window.topics.push(topic);
            window.deliveries += subscribers[topic];
        }
        window
    }
}

/// Either design.
trait Routing {
    /// One window routed, then paid; how long the first took, or both.
    fn round(&mut self, topics: &[usize], is_paid: bool) -> Duration;
}

type Design = fn(&Populace) -> Box<dyn Routing + '_>;

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
    fn round(&mut self, topics: &[usize], is_paid: bool) -> Duration {
        for topic in topics {
            self.wired.sequence(&self.populace.topics[*topic], self.payload.clone());
        }
        timed(self, is_paid, |this| this.wired.route(), |this| _ = black_box(this.wired.sweep()))
    }
}

fn queues(populace: &Populace) -> Box<dyn Routing + '_> {
    let mut subscribers = vec![Vec::new(); populace.topics.len()];
    for (connection, chosen) in populace.chosen.iter().enumerate() {
        chosen.iter().for_each(|topic| subscribers[*topic].push(connection));
    }
    let queues = vec![Vec::new(); populace.chosen.len()];
    let frame = frame::frame(frame::TEXT, load::payload().as_bytes());
    Box::new(QueuePerConnection { subscribers, queues, frame, gathered: Vec::new() })
}

struct QueuePerConnection {
    subscribers: Vec<Vec<usize>>,
    queues: Vec<Vec<Bytes>>,
    frame: Vec<u8>,
    gathered: Vec<u8>,
}

impl Routing for QueuePerConnection {
    fn round(&mut self, topics: &[usize], is_paid: bool) -> Duration {
        let messages: Vec<_> = topics.iter().map(|topic| (*topic, Bytes::from(self.frame.clone()))).collect();
        let route = |this: &mut Self| {
            for (topic, frame) in &messages {
                for connection in &this.subscribers[*topic] {
                    this.queues[*connection].push(frame.clone());
                }
            }
        };
        let pay = |this: &mut Self| {
            for queue in &mut this.queues {
                this.gathered.clear();
                queue.drain(..).for_each(|frame| this.gathered.extend_from_slice(&frame));
                black_box(&this.gathered);
            }
        };
        timed(self, is_paid, route, pay)
    }
}

/// Benchmarks may ask the clock.
#[allow(clippy::disallowed_methods)]
fn timed<T>(state: &mut T, is_paid: bool, route: impl Fn(&mut T), pay: impl Fn(&mut T)) -> Duration {
    let began = Instant::now();
    route(state);
    let routed = began.elapsed();
    pay(state);
    if is_paid { began.elapsed() } else { routed }
}

criterion_group!(benches, route);
criterion_main!(benches);
