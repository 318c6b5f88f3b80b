//! Proves: receiving a message allocates nothing: what a published one takes is its payload, which is kept, and the
//! message around it, whichever stream it comes by.
//! Method: a counting allocator under the whole process; a publisher on each stream, whose messages are written one by
//! one, and a subscriber that reads each.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

#[path = "common/blocking.rs"]
mod blocking;

use blocking::upgraded;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use stentor::{Server, Settings};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 200;
/// The payload, which is kept, the message around it, and now and then a timer's.
const PER_MESSAGE_MAX: f64 = 2.2;

/// A masked binary frame whose mask changes nothing.
fn websocket_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 126];
    frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn tcp_frame(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut frame = (3 + topic.len() as u32 + payload.len() as u32).to_be_bytes().to_vec();
    frame.push(b'P');
    frame.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    frame.extend_from_slice(topic.as_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Allocations of the whole process for each of the messages, the fewest of some runs.
fn per_message(
    publisher: &mut TcpStream,
    frame: &[u8],
    subscriber: &mut TcpStream,
    buffer: &mut [u8],
) -> f64 {
    let mut fewest = usize::MAX;
    for _ in 0..8 {
        let before = ALLOCATOR.stats().allocations;
        for _ in 0..MESSAGES {
            publisher.write_all(frame).unwrap();
            subscriber.read_exact(buffer).unwrap();
        }
        fewest = fewest.min(ALLOCATOR.stats().allocations - before);
    }
    fewest as f64 / MESSAGES as f64
}

#[test]
fn receiving_allocates_nothing_but_the_payload() {
    for payload_bytes in [200, 4_000] {
        let mut settings =
            Settings { shards: 1, tcp: Some(([127, 0, 0, 1], 0).into()), ..Settings::default() };
        settings.listen.set_port(0);
        settings.admin.set_port(0);
        let server = Server::builder().settings(settings).start().unwrap();
        let mut subscriber = upgraded(server.websocket_address(), "/ws/t");
        let payload = vec![0xFF; payload_bytes];
        let mut buffer = vec![0; 4 + payload_bytes];
        let websocket = (upgraded(server.websocket_address(), "/publish/t"), websocket_frame(&payload));
        let tcp = (TcpStream::connect(server.tcp_address().unwrap()).unwrap(), tcp_frame("t", &payload));
        for (name, (mut publisher, frame)) in [("WebSocket", websocket), ("TCP", tcp)] {
            publisher.set_nodelay(true).unwrap();
            let each = per_message(&mut publisher, &frame, &mut subscriber, &mut buffer);
            println!("{name}, {payload_bytes} bytes: {each:.2} allocations a message");
            assert!(each <= PER_MESSAGE_MAX, "{name}: {each} allocations a message of {payload_bytes} bytes");
        }
        drop(subscriber);
        server.shutdown();
    }
}
