//! How long does it take to wake a thread that sleeps, with a message, and to be woken by its answer?
//!
//! One message goes to and fro between two threads on cores of their own, each asleep until it comes. Beside our
//! inboxes the bounded channels of tokio and crossbeam (whose receiver spins a little before it sleeps). Figures: a
//! round trip.

#[path = "common/load.rs"]
mod load;
#[path = "common/pin.rs"]
mod pin;

use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam::channel;
use std::sync::Arc;
use std::thread;
use stentor::harness::Inbox;
use stentor::message::Message;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

fn doorbell(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("doorbell");
    load::pace(&mut group);
    let message = Arc::new(load::message());
    let awake = runtime();
    pin::first();

    let (there, back) = (Inbox::default(), Inbox::default());
    let (taken, given) = (there.clone(), back.clone());
    // An inbox of its own does not close: this thread ends with the process.
    thread::spawn(move || {
        pin::other(0);
        runtime().block_on(async {
            loop {
                given.post(taken.next().await).expect("room");
            }
        });
    });
    group.bench_function("stentor", |bencher| {
        bencher.iter(|| {
            there.post(message.clone()).expect("room");
            awake.block_on(back.next())
        });
    });

    let (there, mut taken) = mpsc::channel::<Arc<Message>>(1);
    let (given, mut back) = mpsc::channel(1);
    thread::spawn(move || {
        pin::other(0);
        runtime().block_on(async {
            while let Some(message) = taken.recv().await {
                given.try_send(message).expect("room");
            }
        });
    });
    group.bench_function("tokio_mpsc", |bencher| {
        bencher.iter(|| {
            there.try_send(message.clone()).expect("room");
            awake.block_on(back.recv())
        });
    });

    let (there, taken) = channel::bounded::<Arc<Message>>(1);
    let (given, back) = channel::bounded(1);
    thread::spawn(move || {
        pin::other(0);
        taken.iter().for_each(|message| given.send(message).expect("room"));
    });
    group.bench_function("crossbeam_channel", |bencher| {
        bencher.iter(|| {
            there.send(message.clone()).expect("room");
            back.recv().expect("an answer")
        });
    });
    group.finish();
}

/// As a shard's.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

criterion_group!(benches, doorbell);
criterion_main!(benches);
