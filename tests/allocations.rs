//! Proves: a delivery allocates nothing, on either way to the sockets: what a message costs does not depend on how
//! many get it.
//! Method: a counting allocator under the whole process; a server with real sockets, whose clients read into one
//! buffer; the same messages to few and to many subscribers, and to many in one write.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

#[path = "common/blocking.rs"]
mod blocking;

use blocking::upgraded;
use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::io::Read as _;
use std::net::TcpStream;
use stentor::config::Io;
use stentor::{Accepted, Publisher, Server};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PAYLOAD: Bytes = Bytes::from_static(&[b'x'; 100]);
const FRAME_BYTES: usize = 102;
const MESSAGES: usize = 128;
/// A message takes three on its way through the threads, and a timer may fall in between.
const PER_MESSAGE_MAX: usize = 4;

/// Publishes all of them, so many before the subscribers are read; returns the allocations of the whole process.
fn run(publisher: &Publisher, subscribers: &mut [TcpStream], burst: usize, buffer: &mut [u8]) -> usize {
    let before = ALLOCATOR.stats().allocations;
    for _ in 0..MESSAGES / burst {
        for _ in 0..burst {
            while publisher.publish("t", PAYLOAD).unwrap() == Accepted::Full {
                std::thread::yield_now();
            }
        }
        for subscriber in &mut *subscribers {
            subscriber.read_exact(&mut buffer[..burst * FRAME_BYTES]).unwrap();
        }
    }
    ALLOCATOR.stats().allocations - before
}

#[test]
fn a_delivery_allocates_nothing() {
    let mut buffer = vec![0; MESSAGES * FRAME_BYTES];
    for io in [Io::Epoll, Io::Auto] {
        let mut settings = stentor::Settings::default();
        settings.listen.set_port(0);
        settings.admin.set_port(0);
        settings.shards = 1;
        settings.flush.io = io;
        let server = Server::builder().settings(settings).start().unwrap();
        let publisher = server.publisher();
        let mut subscribers: Vec<_> =
            (0..300).map(|_| upgraded(server.websocket_address(), "/ws/t")).collect();
        for (count, burst) in [(300, 1), (300, 64), (20, 1)] {
            // The few are made by the others leaving; the first run finds the size that every buffer needs.
            subscribers.truncate(count);
            run(&publisher, &mut subscribers, burst, &mut buffer);
            // The fewest of some runs: in any one those who left may still be let go beside it.
            let mut allocations = usize::MAX;
            for _ in 0..8 {
                allocations = allocations.min(run(&publisher, &mut subscribers, burst, &mut buffer));
                if allocations <= MESSAGES * PER_MESSAGE_MAX {
                    break;
                }
            }
            println!(
                "{io:?}, {count} subscribers, bursts of {burst}: {allocations} allocations, {MESSAGES} messages"
            );
            assert!(
                allocations <= MESSAGES * PER_MESSAGE_MAX,
                "{io:?}: {allocations} allocations for {MESSAGES} messages to {count} subscribers"
            );
        }
        subscribers.clear();
        server.shutdown();
    }
}
