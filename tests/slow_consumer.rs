//! Proves: one who does not read changes nothing for those who do, is closed with 4001 once past its limit, and
//! what anybody got is a prefix without a hole, whose end the close names.
//! Method: over real sockets, some of which are not read until the end; each message carries its number. On both streams:
//! behind a full socket datagrams are lost, and nobody is slow.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{AnyClient, Came, Wire, matrix};
use common::{TestServer, eventually, within};
use futures_util::future::join_all;
use std::ops::RangeInclusive;
use std::time::Duration;
use stentor::Accepted;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

const MESSAGE_BYTES: usize = 1_024;

fn message(number: u64) -> String {
    sized(number, MESSAGE_BYTES)
}

fn sized(number: u64, bytes: usize) -> String {
    format!("{number:0bytes$}")
}

/// What one subscriber got: how many messages, numbered from 1 without a hole, and the close if there was one.
#[derive(Debug, Default)]
struct Got {
    messages: u64,
    close: Option<(u16, String)>,
}

/// Reads on, until the close or so many messages in all; fails on a hole, a repeat or a wrong byte.
async fn read_until(max: u64, subscriber: &mut AnyClient, got: &mut Got) {
    while got.messages < max && got.close.is_none() {
        match subscriber.next("the next message, or the close").await {
            Came::Message { payload, .. } => {
                got.messages += 1;
                let text = payload.as_str().unwrap();
                assert_eq!(text, sized(got.messages, text.len()), "not the next message");
            }
            // `slow` and `caught_up`: told on the way.
            Came::Said(_) => {}
            Came::Close(code, reason) => got.close = Some((code, reason)),
        }
    }
}

/// The same from the first message on.
async fn read_prefix(mut subscriber: AnyClient, max: u64) -> Got {
    let mut got = Got::default();
    read_until(max, &mut subscriber, &mut got).await;
    got
}

/// The reason says where to resume: `last=<epoch>:<seq>` is the last message that arrived.
fn assert_closed_as_slow(got: &Got) {
    let (code, reason) = got.close.as_ref().unwrap_or_else(|| panic!("not closed: {got:?}"));
    assert_eq!(*code, 4001, "{got:?}");
    let last = reason.split("last=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let seq: u64 = last.split(':').nth(1).unwrap().parse().unwrap();
    assert_eq!(seq, got.messages, "the close names another message than the last: {reason}");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1_024
}

/// Proves: with 2 of 40 never reading, the other 38 miss nothing, the two are closed and counted, memory grows by
/// no more than their limits, and publishing waits for nobody: the two are read when they are given up, not before.
/// Method: the healthy are never further behind than a round, however slow the machine.
async fn those_who_never_read_are_closed_and_nobody_else_notices(wire: Wire) {
    const HEALTHY: usize = 38;
    const SLOW: usize = 2;
    const QUEUE_BYTES: usize = 512 << 10;
    /// A fifth of the queue.
    const ROUND: u64 = 100;
    const ROUNDS: u64 = 10;
    // 80 MB to those who do not read: without the bound they would be held.
    const FLOOD: u64 = 5_000;
    const FLOOD_BYTES: usize = 16 << 10;
    let server = TestServer::with(|settings| settings.limits.queue_bytes = QUEUE_BYTES);

    let mut healthy = Vec::new();
    for _ in 0..HEALTHY {
        healthy.push((AnyClient::on(&server, wire, &["t"]).await, Got::default()));
    }
    // The slow ones read another topic, so that theirs too is numbered from 1.
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(AnyClient::on(&server, wire, &["late"]).await);
    }
    let memory = resident_bytes();
    let publisher = server.publisher();
    let flood = tokio::spawn(async move {
        for number in 1..=FLOOD {
            publisher.publish_and_wait("late", sized(number, FLOOD_BYTES)).await.unwrap();
        }
    });
    let reading = async {
        server.until_given_up(&slow).await;
        for subscriber in slow {
            assert_closed_as_slow(&read_prefix(subscriber, u64::MAX).await);
        }
    };
    let serving = async {
        let mut rounds = 0;
        while rounds < ROUNDS || !flood.is_finished() {
            play_round(&server, &mut healthy, rounds * ROUND + 1..=(rounds + 1) * ROUND).await;
            rounds += 1;
        }
    };
    tokio::join!(serving, reading);
    within("the flood", flood).await.unwrap();
    server.until_metric("stentor_connections_dropped_total", &["slow_consumer"], SLOW as f64).await;
    let grown = resident_bytes().saturating_sub(memory);
    assert!(grown <= (SLOW * QUEUE_BYTES + (48 << 20)) as u64, "memory grew by {grown} bytes");
}

/// Publishes the messages of these numbers while everybody reads them.
async fn play_round(server: &TestServer, readers: &mut [(AnyClient, Got)], numbers: RangeInclusive<u64>) {
    let last = *numbers.end();
    let publishing = async {
        for number in numbers {
            server.publish("t", message(number)).await;
        }
    };
    let reading = join_all(readers.iter_mut().map(|(client, got)| read_until(last, client, got)));
    tokio::join!(publishing, reading);
    for (_, got) in readers {
        assert_eq!((got.messages, &got.close), (last, &None), "a healthy subscriber");
    }
}

/// Proves: past what the server can send, publishers are told, whoever cannot keep up is closed with its last
/// sequence, and what everybody got is a prefix without a hole.
/// Method: small queues; publish as fast as possible; a third of the readers do not read before they are given up, a
/// third read now and then, a third always. `routed = delivered + abandoned + pending` holds when all is over.
async fn a_flood_is_felt_by_publishers_and_lost_by_nobody_unknowingly(wire: Wire) {
    const EACH: usize = 8;
    const COUNT: u64 = 6_000;
    let server = TestServer::with(|settings| {
        settings.limits.queue_bytes = 256 << 10;
        settings.limits.inbox_frames = 16;
        settings.limits.sequencer_frames = 16;
    });
    let mut readers = JoinSet::new();
    let mut never = Vec::new();
    for _ in 0..EACH {
        readers.spawn(read_prefix(AnyClient::on(&server, wire, &["t"]).await, COUNT));
        let sometimes = AnyClient::on(&server, wire, &["t"]).await;
        readers.spawn(async move {
            let mut pause = interval(Duration::from_millis(20));
            for _ in 0..10 {
                pause.tick().await;
            }
            read_prefix(sometimes, COUNT).await
        });
        never.push(AnyClient::on(&server, wire, &["t"]).await);
    }
    let publisher = server.publisher();
    let flooding = async {
        let mut full = 0;
        for number in 1..=COUNT {
            while publisher.publish("t", message(number)).unwrap() == Accepted::Full {
                full += 1;
                within("room in the queue", publisher.ready()).await;
            }
        }
        full
    };
    let reading = async {
        server.until_given_up(&never).await;
        for subscriber in never {
            let got = read_prefix(subscriber, COUNT).await;
            assert!(got.messages < COUNT, "never read, and got everything");
            assert_closed_as_slow(&got);
        }
    };
    let (full, ()) = tokio::join!(flooding, reading);
    assert!(full > 0, "no back-pressure was felt");
    while let Some(got) = within("a reader", readers.join_next()).await {
        let got = got.unwrap();
        if got.messages < COUNT {
            assert_closed_as_slow(&got);
        }
    }
    eventually("the account to balance", async || {
        let metric = async |name| server.metric(name, &[]).await;
        let routed = metric("stentor_routed_total").await;
        let accounted = metric("stentor_delivered_total").await
            + metric("stentor_abandoned_total").await
            + metric("stentor_pending").await;
        (routed - accounted).abs() < 0.5 && metric("stentor_published_total").await > COUNT as f64 - 0.5
    })
    .await;
}

/// Proves: who takes 10 KB a second is not stalled, though its socket asks for more only after several seconds of
/// that; once it takes nothing, it is.
/// Method: a reader that was itself held up for half the limit proves nothing, and another takes its place.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_little_at_a_time_is_kept() {
    const STALL: Duration = Duration::from_secs(2);
    const READ_BYTES: usize = 500;
    const READ_EVERY: Duration = Duration::from_millis(50);
    let server = TestServer::with(|settings| settings.limits.queue_stall_s = STALL.as_secs());
    loop {
        let mut reader = server.raw_narrow("/ws/t").await.stream;
        let address = reader.local_addr().unwrap();
        let state = async || server.view_at(address).await.map(|view| view["state"].clone());
        let (began, mut held_up) = (Instant::now(), Duration::ZERO);
        let mut last = began;
        let mut moves_on = || {
            held_up = held_up.max(last.elapsed());
            last = Instant::now();
            held_up < STALL / 2
        };
        for number in 1..=1_000 {
            server.publish("t", message(number)).await;
        }
        let mut pace = interval(READ_EVERY);
        while moves_on() && began.elapsed() < 2 * STALL {
            pace.tick().await;
            within("a few bytes", reader.read_exact(&mut [0; READ_BYTES])).await.unwrap();
        }
        let before_it_stalls = state().await;
        if !moves_on() {
            continue;
        }
        assert_eq!(before_it_stalls.unwrap(), "blocked");
        eventually("it to be given up", async || state().await.is_none_or(|state| state == "closing")).await;
        return;
    }
}

matrix! {
    streams:
        those_who_never_read_are_closed_and_nobody_else_notices
        a_flood_is_felt_by_publishers_and_lost_by_nobody_unknowingly;
}
