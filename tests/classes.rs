//! Proves: what a client that does not read for a while gets of each class once it reads again, and that one that
//! keeps up gets every message of every class.
//! Method: over real sockets, with more bytes than the kernel holds; each message carries its number.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CLOSE, RawClient, TEXT, TestServer, within};
use serde_json::Value;
use stentor::config::Rule;
use stentor::{Class, PublishOptions};
use tokio::sync::watch;

const COUNT: u64 = 1_500;
const MESSAGE_BYTES: usize = 8 << 10;
/// Messages published beyond those that the one who keeps up has read.
const AHEAD: u64 = 50;
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

/// Publishes every message, not further ahead than [`AHEAD`]; one in [`IMAGE_EVERY`] is an image.
async fn publish(server: &TestServer, mut read: watch::Receiver<u64>) {
    let publisher = server.publisher();
    for number in 1..=COUNT {
        let options = PublishOptions { image: number % IMAGE_EVERY == 1, ..PublishOptions::default() };
        publisher.publish_with("t", format!("{number:0MESSAGE_BYTES$}"), options).await.unwrap();
        within("the one who reads", read.wait_for(|read| read + AHEAD > number)).await.unwrap();
    }
}

/// Reads up to the last message, or up to `caught_up` where that is to follow; tells how far it is.
async fn read(mut client: RawClient, until_caught_up: bool, progress: watch::Sender<u64>) -> Vec<Got> {
    let (mut got, mut has_all) = (Vec::new(), false);
    loop {
        let frame = within("the next frame", client.next_frame()).await.expect("not the end");
        assert_ne!(frame.opcode(), CLOSE, "closed after {:?}", got.last());
        if frame.opcode() != TEXT {
            continue;
        }
        let text = String::from_utf8(frame.payload).unwrap();
        if !text.starts_with('{') {
            assert_eq!(text.len(), MESSAGE_BYTES);
            let number = text.parse().unwrap();
            got.push(Got::Message(number));
            progress.send_replace(number);
        } else {
            let event: Value = serde_json::from_str(&text).unwrap();
            let number = |name: &str| event[name].as_u64().unwrap();
            match event["event"].as_str().unwrap() {
                "slow" => {}
                "gap" => got.push(Got::Gap { from: number("from"), to: number("to") }),
                "caught_up" => {
                    let conflated = event["conflated"]["t"].as_u64().unwrap_or_default();
                    got.push(Got::CaughtUp { conflated });
                }
                other => panic!("no event of these: {other}"),
            }
        }
        has_all |= matches!(got.last(), Some(Got::Message(COUNT)));
        let is_told = matches!(got.last(), Some(Got::CaughtUp { .. }));
        if has_all && (is_told || !until_caught_up) {
            return got;
        }
    }
}

/// What one who does not read until everything is published gets; one who reads gets it all meanwhile.
async fn run(server: &TestServer, class: Class) -> Vec<Got> {
    let slow = server.raw_upgraded("/ws/t").await;
    let (progress, is_read) = watch::channel(0);
    let healthy = tokio::spawn(read(server.raw_upgraded("/ws/t").await, false, progress));
    publish(server, is_read).await;
    let all: Vec<_> =
        healthy.await.unwrap().into_iter().filter(|got| matches!(got, Got::Message(_))).collect();
    assert_eq!(all, (1..=COUNT).map(Got::Message).collect::<Vec<_>>(), "who keeps up gets every message");
    let got = read(slow, class == Class::State, watch::channel(0).0).await;
    let total = async |end: &str| server.metric(&format!("stentor_{end}"), &[]).await;
    let mut accounted = 0.0;
    for end in ["delivered_total", "conflated_total", "skipped_total", "abandoned_total", "pending"] {
        accounted += total(end).await;
    }
    assert_eq!(total("routed_total").await, accounted);
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_state_the_newest_comes_and_what_was_replaced_is_counted() {
    let server = server(Class::State);
    let (mut last, mut missing, mut told) = (0, 0, 0);
    for got in run(&server, Class::State).await {
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
    assert!(missing > COUNT / 2, "the socket took {} of {COUNT}: nothing was shown", COUNT - missing);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_best_effort_the_oldest_are_skipped_and_the_gap_names_them() {
    let server = server(Class::BestEffort);
    let (mut last, mut skipped) = (0, 0);
    for got in run(&server, Class::BestEffort).await {
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
    assert!(skipped > COUNT / 2, "{skipped} of {COUNT} were skipped: nothing was shown");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_subscriber_that_fell_behind_starts_again_from_an_image() {
    let server = server(Class::Delta);
    let (mut last, mut starts, mut may_start) = (0, 0, false);
    for got in run(&server, Class::Delta).await {
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
