//! From a publish to the last subscriber's last byte: what does the whole server take, beside nothing but sends?
//!
//! A server with its defaults, its publisher in this process, and WebSocket subscribers over loopback that one
//! thread reads; 1 message, or 64 published at once; the clock stops when everybody has everything. `plain_sends`
//! is a thread that sends one frame after the other to every socket in turn; `plain_sends_gathered` knows all 64
//! beforehand and sends them in one. Neither has a queue, a topic or a subscription. Figures: a
//! delivery.

#[path = "common/audience.rs"]
mod audience;
#[path = "common/load.rs"]
mod load;
#[path = "common/served.rs"]
mod served;

use audience::Audience;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::{Sender, bounded};
use served::Served;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use stentor::message::frame;

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    load::pace(&mut group);
    let frame = frame::frame(frame::TEXT, load::payload().as_bytes());
    for count in [100, 1_000] {
        let mut served = Served::new(count);
        let mut plain = PlainSends::new(count);
        for messages in [1, 64] {
            group.throughput(Throughput::Elements((count * messages) as u64));
            let bytes = frame.len() * count * messages;
            let id = |design| BenchmarkId::new(design, format!("{messages} to {count}"));
            group.bench_function(id("stentor"), |bencher| bencher.iter(|| served.round(messages, bytes)));
            let one: Arc<[u8]> = frame.as_slice().into();
            group.bench_function(id("plain_sends"), |bencher| {
                bencher.iter(|| plain.round(&one, messages, bytes));
            });
            if messages > 1 {
                let gathered: Arc<[u8]> = frame.repeat(messages).into();
                group.bench_function(id("plain_sends_gathered"), |bencher| {
                    bencher.iter(|| plain.round(&gathered, 1, bytes));
                });
            }
        }
    }
    group.finish();
}

/// One thread with all sockets, which sends what it is given to each of them. It ends when this is dropped.
struct PlainSends {
    orders: Sender<Arc<[u8]>>,
    audience: Audience,
}

impl PlainSends {
    fn new(count: usize) -> Self {
        let (audience, mut sockets) = Audience::pairs(count);
        let (orders, taken) = bounded::<Arc<[u8]>>(64);
        thread::spawn(move || {
            for bytes in taken {
                let send = |socket: &mut TcpStream| socket.write_all(&bytes).expect("a reader");
                sockets.iter_mut().for_each(send);
            }
        });
        Self { orders, audience }
    }

    fn round(&mut self, frame: &Arc<[u8]>, times: usize, bytes: usize) {
        for _ in 0..times {
            self.orders.send(frame.clone()).expect("the thread");
        }
        self.audience.read(bytes);
    }
}

criterion_group!(benches, fanout);
criterion_main!(benches);
