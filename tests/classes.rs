//! Proves: what a client that does not read for a while, or not as fast as is published, gets of each class once it
//! reads again, and that one that keeps up gets every message of every class.
//! Method: over real sockets of both streams, with more bytes than the kernel holds; each message carries its number.
//! Behind a full socket datagrams are lost, so there is nothing of this by UDP; the one that counts what the kernel has
//! taken is about the queue, which is the same for every wire, and needs a socket with a small buffer.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{AnyClient, Came, Wire, matrix};
use common::{CLOSE, RawClient, TEXT, TestServer, within};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use stentor::config::Rule;
use stentor::{Accepted, Class, PublishOptions};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, sleep_until};

/// More than half as much again as any socket takes of an idle reader: 2.3 MB were seen on Linux.
const COUNT: u64 = 2_000;
const MESSAGE_BYTES: usize = 2 << 10;
/// Messages published beyond those that the one who keeps up has read: any socket holds as many.
const AHEAD: u64 = 48;
const IMAGE_EVERY: u64 = 50;

/// What a client got, in its order.
#[derive(Debug, PartialEq)]
enum Got {
    Message(u64),
    Gap { from: u64, to: u64 },
    CaughtUp { conflated: u64 },
}

fn server(class: Class) -> TestServer {
    TestServer::with(|settings| {
        let queue_frames = (class != Class::State).then_some(100);
        settings.topics = vec![Rule {
            pattern: "t".into(),
            class: Some(class),
            queue_frames,
            // Enough for an image and all that follows it.
            history_bytes: Some(4 << 20),
            ..Rule::default()
        }];
        // What is shown is what a full queue does, not a long stall.
        settings.limits.queue_stall_s = 60;
    })
}

fn text(number: u64) -> String {
    format!("{number:0MESSAGE_BYTES$}")
}

/// Publishes every message, not further ahead than [`AHEAD`]; one in [`IMAGE_EVERY`] is an image.
async fn publish(server: &TestServer, mut read: watch::Receiver<u64>) {
    let publisher = server.publisher();
    for number in 1..=COUNT {
        let options = PublishOptions { image: number % IMAGE_EVERY == 1, ..PublishOptions::default() };
        publisher.publish_with("t", text(number), options).await.unwrap();
        within("the one who reads", read.wait_for(|read| read + AHEAD > number)).await.unwrap();
    }
}

/// The same of so many, one every so often, and without images.
async fn publish_at_rate(
    server: &TestServer,
    mut read: watch::Receiver<u64>,
    count: u64,
    every: Duration,
) -> Duration {
    let publisher = server.publisher();
    let start = Instant::now();
    for number in 1..=count {
        sleep_until(start + every * number as u32).await;
        assert_eq!(publisher.publish("t", text(number)).unwrap(), Accepted::Yes);
        within("the one who reads", read.wait_for(|read| read + AHEAD > number)).await.unwrap();
    }
    start.elapsed()
}

fn numbered(text: &str) -> Got {
    assert_eq!(text.len(), MESSAGE_BYTES);
    Got::Message(text.parse().unwrap())
}

/// What an event says; `None` where that is only that it is behind.
fn told(event: &Value) -> Option<Got> {
    let number = |name: &str| event[name].as_u64().unwrap();
    match event["event"].as_str().unwrap() {
        "slow" => None,
        "gap" => Some(Got::Gap { from: number("from"), to: number("to") }),
        "caught_up" => {
            Some(Got::CaughtUp { conflated: event["conflated"]["t"].as_u64().unwrap_or_default() })
        }
        other => panic!("no event of these: {other}"),
    }
}

async fn next(client: &mut AnyClient) -> Option<Got> {
    match client.next("the next message or event").await {
        Came::Message { payload, .. } => Some(numbered(payload.as_str().unwrap())),
        Came::Said(event) => told(&event),
        Came::Close(code, reason) => panic!("closed: {code} {reason}"),
    }
}

/// The same for one whose socket has a small buffer.
async fn next_raw(client: &mut RawClient) -> Option<Got> {
    let frame = within("the next frame", client.next_frame()).await.expect("not the end");
    assert_ne!(frame.opcode(), CLOSE, "closed: {}", String::from_utf8_lossy(&frame.payload));
    let text = String::from_utf8(frame.payload).unwrap();
    match (frame.first & 0x0F, text.starts_with('{')) {
        (TEXT, false) => Some(numbered(&text)),
        (TEXT, true) => told(&serde_json::from_str(&text).unwrap()),
        _ => None,
    }
}

/// Reads up to the message `last`, or up to `caught_up` where that is to follow; tells how far it is.
async fn read(
    mut client: AnyClient,
    last: u64,
    until_caught_up: bool,
    progress: watch::Sender<u64>,
) -> Vec<Got> {
    let (mut got, mut has_all) = (Vec::new(), false);
    loop {
        let Some(one) = next(&mut client).await else { continue };
        if let Got::Message(number) = one {
            progress.send_replace(number);
            has_all |= number == last;
        }
        let is_told = matches!(one, Got::CaughtUp { .. });
        got.push(one);
        if has_all && (is_told || !until_caught_up) {
            return got;
        }
    }
}

fn assert_has_all(got: &[Got], count: u64) {
    let missing = (1..=count).zip(got).find(|(number, got)| **got != Got::Message(*number));
    assert_eq!(
        (missing, got.len() as u64),
        (None, count),
        "who keeps up gets every message, and nothing else"
    );
}

/// What one who does not read until everything is published gets; one who reads gets it all meanwhile.
async fn run(server: &TestServer, class: Class, wire: Wire) -> Vec<Got> {
    let slow = AnyClient::on(server, wire, &["t"]).await;
    let (progress, is_read) = watch::channel(0);
    let healthy = tokio::spawn(read(AnyClient::on(server, wire, &["t"]).await, COUNT, false, progress));
    publish(server, is_read).await;
    assert_has_all(&healthy.await.unwrap(), COUNT);
    let got = read(slow, COUNT, class == Class::State, watch::channel(0).0).await;
    let total = async |end: &str| server.metric(&format!("stentor_{end}"), &[]).await;
    let mut accounted = 0.0;
    for end in ["delivered_total", "conflated_total", "skipped_total", "abandoned_total", "pending"] {
        accounted += total(end).await;
    }
    assert_eq!(total("routed_total").await, accounted);
    got
}

async fn of_state_the_newest_comes_and_what_was_replaced_is_counted(wire: Wire) {
    let server = server(Class::State);
    let (mut last, mut missing, mut told) = (0, 0, 0);
    for got in run(&server, Class::State, wire).await {
        match got {
            Got::Message(number) => {
                assert!(number > last, "{number} after {last}");
                missing += number - last - 1;
                last = number;
            }
            Got::CaughtUp { conflated } => told += conflated,
            Got::Gap { .. } => panic!("state has no gaps"),
        }
    }
    assert_eq!((last, told), (COUNT, missing));
    assert!(missing > COUNT / 4, "the socket took {} of {COUNT}: nothing was shown", COUNT - missing);
    server.shutdown().await;
}

/// Waits until the kernel takes nothing more for a client that does not read: how many messages it has taken, and
/// one that the shard had meanwhile.
async fn stopped(server: &TestServer, address: SocketAddr, read: &watch::Receiver<u64>) -> (usize, u64) {
    within("a socket to be full", async {
        let mut before = None;
        loop {
            let newest = *read.borrow();
            let line = server.view_at(address).await.unwrap();
            let number = |name: &str| line[name].as_u64().unwrap();
            assert!(number("queued_frames") <= 2, "more than the one begun and the newest: {line}");
            let sent = (line["state"] == "blocked").then(|| number("sent_frames"));
            if let Some(sent) = sent.filter(|sent| before == Some(*sent)) {
                return (sent as usize, newest);
            }
            before = sent;
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// 5,000 messages a second to one who reads 50: whenever its socket frees, what it is sent first, behind the frame that
/// had begun, is the newest. It is never closed, and it is told exactly how many it did not get.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_one_in_a_hundred_is_sent_the_newest_and_the_count_of_the_rest() {
    const TOTAL: u64 = 10_000;
    let server = TestServer::with(|settings| {
        // What the one who keeps up has read, the shard of the other has too.
        settings.shards = 1;
        settings.topics = vec![Rule { pattern: "t".into(), class: Some(Class::State), ..Rule::default() }];
    });
    let mut slow = server.raw_narrow("/ws/t").await;
    let address = slow.stream.local_addr().unwrap();
    let (progress, is_read) = watch::channel(0);
    let healthy =
        tokio::spawn(read(AnyClient::on(&server, Wire::WebSocket, &["t"]).await, TOTAL, false, progress));

    let reading = async {
        let (mut numbers, mut told, mut stops) = (Vec::new(), 0, Vec::new());
        let mut pace = interval(Duration::from_millis(20));
        while numbers.last() != Some(&TOTAL) || numbers.len() as u64 + told != TOTAL {
            if numbers.len() == 15 * (stops.len() + 1) && stops.len() < 3 {
                stops.push(stopped(&server, address, &is_read).await);
            }
            pace.tick().await;
            match next_raw(&mut slow).await {
                Some(Got::Message(number)) => numbers.push(number),
                Some(Got::CaughtUp { conflated }) => told += conflated,
                other => panic!("of state only what is newer comes, not {other:?}"),
            }
        }
        (numbers, told, stops)
    };
    let publishing = publish_at_rate(&server, is_read.clone(), TOTAL, Duration::from_micros(200));
    let ((numbers, told, stops), took) = tokio::join!(reading, publishing);
    println!("{TOTAL} messages in {took:?}, of which {} were taken", numbers.len());
    assert_has_all(&healthy.await.unwrap(), TOTAL);

    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    for (sent, newest) in stops {
        assert!(numbers[sent + 1] >= newest, "after {sent} of {numbers:?} the newest was {newest}");
    }
    assert!(told > TOTAL * 9 / 10, "the socket took {} of {TOTAL}: nothing was shown", TOTAL - told);
    assert_eq!(server.view_at(address).await.unwrap()["conflated"], told);
    assert_eq!(server.metric("stentor_connections_dropped_total", &[r#"reason="slow_consumer""#]).await, 0.0);
    drop(slow);
    server.shutdown().await;
}

async fn of_best_effort_the_oldest_are_skipped_and_the_gap_names_them(wire: Wire) {
    let server = server(Class::BestEffort);
    let (mut last, mut skipped) = (0, 0);
    for got in run(&server, Class::BestEffort, wire).await {
        match got {
            Got::Message(number) => {
                assert_eq!(number, last + 1);
                last = number;
            }
            Got::Gap { from, to } => {
                assert_eq!(from, last + 1);
                skipped += to - last;
                last = to;
            }
            Got::CaughtUp { conflated } => assert_eq!(conflated, 0),
        }
    }
    assert_eq!(server.metric("stentor_skipped_total", &[]).await, skipped as f64);
    assert!(skipped > COUNT / 4, "{skipped} of {COUNT} were skipped: nothing was shown");
    server.shutdown().await;
}

async fn a_delta_subscriber_that_fell_behind_starts_again_from_an_image(wire: Wire) {
    let server = server(Class::Delta);
    let (mut last, mut starts, mut may_start) = (0, 0, false);
    for got in run(&server, Class::Delta, wire).await {
        match got {
            Got::Message(number) if may_start && number != last + 1 => {
                assert_eq!(number % IMAGE_EVERY, 1, "{number} is no image");
                assert!(number <= last + 1, "{number} after a gap up to {last}");
                (last, starts) = (number, starts + 1);
            }
            Got::Message(number) => {
                assert_eq!(number, last + 1);
                last = number;
            }
            Got::Gap { from, to } => {
                assert_eq!(from, last + 1);
                (last, may_start) = (to, true);
                continue;
            }
            Got::CaughtUp { .. } => continue,
        }
        may_start = false;
    }
    assert!(starts > 0, "it never fell behind: nothing was shown");
    server.shutdown().await;
}

matrix! {
    streams:
        of_state_the_newest_comes_and_what_was_replaced_is_counted
        of_best_effort_the_oldest_are_skipped_and_the_gap_names_them
        a_delta_subscriber_that_fell_behind_starts_again_from_an_image;
}
