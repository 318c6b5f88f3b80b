//! Proves: a pattern gets everything of every topic it matches, from wherever it was asked for, and nothing twice.
//! Method: a server in this process with two shards; where topics are born while patterns come, publishers keep
//! publishing all along.

// A failed step is a failed test, and tests time what they wait for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::process::{Process, run, stentor};
use common::{Client, TestServer};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The next message of a client in the combined envelope: its topic and payload.
async fn next(client: &mut Client) -> (String, Value) {
    let mut message = client.next_json("a message").await;
    (message["stream"].as_str().unwrap_or_default().to_owned(), message["data"].take())
}

fn came(topic: &str, data: u64) -> (String, Value) {
    (topic.to_owned(), json!(data))
}

/// Proves: by operation in both dialects, by either URL, before the topic exists and after; and never what begins
/// with `$`.
#[tokio::test]
async fn a_pattern_is_subscribed_from_everywhere() {
    let server = TestServer::start();
    server.publish("trade.old", "0").await;
    let mut native = server.connect("/stream").await;
    let ack = native.ask(json!({"op": "subscribe", "id": 1, "args": ["trade.*"]})).await;
    assert_eq!(
        ack,
        json!({"event": "ack", "op": "subscribe", "id": 1, "ok": [{"topic": "trade.*"}], "err": []})
    );
    let mut binance = server.connect("/stream").await;
    let answer = binance.ask(json!({"method": "SUBSCRIBE", "params": ["trade.*"], "id": 2})).await;
    assert_eq!(answer, json!({"result": null, "id": 2}));
    let mut streams = server.connect("/stream?streams=none/trade.*").await;
    let mut all = server.connect("/stream?streams=*").await;
    let mut raw = server.connect("/ws/trade.%2A").await;
    for (topic, data) in [("trade.old", 1), ("$client.1", 2), ("quote.new", 3), ("trade.new", 4)] {
        server.publish(topic, data.to_string()).await;
    }
    for client in [&mut native, &mut binance, &mut streams] {
        assert_eq!(next(client).await, came("trade.old", 1));
        assert_eq!(next(client).await, came("trade.new", 4));
    }
    for expected in [came("trade.old", 1), came("quote.new", 3), came("trade.new", 4)] {
        assert_eq!(next(&mut all).await, expected);
    }
    assert_eq!([raw.next_text("1").await, raw.next_text("4").await], ["1", "4"]);

    let list = native.ask(json!({"op": "list"})).await;
    assert_eq!(list["ok"], json!([{"topic": "trade.*"}]));
    let list = binance.ask(json!({"method": "LIST_SUBSCRIPTIONS", "id": 3})).await;
    assert_eq!(list["result"], json!(["trade.*"]));
    let topic = server.get("/topics/trade.new").await.json();
    assert_eq!(topic["subscribers"], 5);
}

/// Proves: the snapshot of each topic that a pattern matches comes before its first live message.
#[tokio::test]
async fn what_exists_begins_with_its_snapshot() {
    let state = stentor::config::Rule {
        pattern: "quote.*".into(),
        class: Some(stentor::Class::State),
        ..Default::default()
    };
    let server = TestServer::with(|settings| settings.topics = vec![state]);
    for number in 0..300 {
        server.publish(&format!("quote.{number}"), "0").await;
        server.publish(&format!("quote.{number}"), "1").await;
    }
    let mut client = server.connect("/stream?streams=quote.*/quote.7&seq=1").await;
    let mut seen = HashMap::new();
    while seen.len() < 300 {
        let message = client.next_json("a snapshot").await;
        assert_eq!((&message["snap"], &message["seq"]), (&json!(true), &json!(2)), "{message}");
        assert!(seen.insert(message["stream"].to_string(), 2).is_none(), "{message} came twice");
    }
    server.publish("quote.299", "3").await;
    let message = client.next_json("the first live message").await;
    assert_eq!(message, json!({"stream": "quote.299", "seq": 3, "data": 3}));
}

/// Proves: a topic born while patterns come and go is complete for every pattern that was there before: from its first
/// message, without a gap; and for one that comes later from some message on.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_between_a_birth_and_its_match() {
    const TOPICS: u64 = 300;
    const LATER: usize = 6;
    const MESSAGES: u64 = 5;
    let server = Arc::new(TestServer::start());
    let mut before = vec![server.connect("/stream?streams=new.*&seq=1").await];
    before.push(server.connect("/stream?streams=*&seq=1").await);
    let have_joined = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (server, have_joined) = (server.clone(), have_joined.clone());
        async move {
            let mut topics = 0;
            while topics < TOPICS || !have_joined.load(Ordering::Relaxed) {
                for _ in 0..MESSAGES {
                    server.publish(&format!("new.{topics}"), "1").await;
                }
                topics += 1;
            }
            topics
        }
    });
    let mut later = Vec::new();
    while !publishing.is_finished() {
        later.push(server.connect("/stream?streams=new.*&seq=1").await);
        have_joined.store(later.len() >= LATER, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
    let topics = publishing.await.unwrap();
    server.publish("new.end", "1").await;
    for (at, client) in before.iter_mut().chain(&mut later).enumerate() {
        let mut heads: HashMap<String, u64> = HashMap::new();
        loop {
            let message = client.next_json("a message").await;
            let (stream, seq) =
                (message["stream"].as_str().unwrap().to_owned(), message["seq"].as_u64().unwrap());
            if stream == "new.end" {
                break;
            }
            // Topics are born one after the other: only the one being published when a client joined begins midway.
            let is_first = at >= 2 && heads.is_empty();
            let last = heads.insert(stream, seq).unwrap_or(if is_first { seq - 1 } else { 0 });
            assert_eq!(seq, last + 1, "{message} to client {at}");
        }
        assert!(heads.values().all(|seq| *seq == MESSAGES), "client {at}: {heads:?}");
        assert!(at >= 2 || heads.len() as u64 == topics, "client {at} has {} topics", heads.len());
    }
}

/// Proves: what cannot be is refused in a URL and in the other dialect too.
#[tokio::test]
async fn what_a_pattern_cannot_do_is_refused_everywhere() {
    let server = TestServer::with(|settings| settings.limits.matches_per_connection = 3);
    for topic in ["a", "b", "c", "d"] {
        server.publish(topic, "1").await;
    }
    let mut client = server.connect("/ws").await;
    let answer = client.ask(json!({"method": "SUBSCRIBE", "params": ["x", "*"], "id": 1})).await;
    assert_eq!(answer["code"], 2, "{answer}");
    let publish = client.ask(json!({"op": "publish", "topic": "a*", "data": 1, "id": 1})).await;
    assert_eq!(publish["code"], "bad_topic", "{publish}");
    server.publish("d", "1").await;
    client.expect_only(&server, &[]).await;
    assert_eq!(server.refused("/ws/$sys.*").await.status, 400);
    assert_eq!(server.refused("/ws/a*?since=k:1").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_takes_a_pattern_from_the_command_line() {
    let server = Process::start("serve", &[]);
    let sub = ["sub", "trade.*", "--json", "--count", "2", "--url", &server.websocket];
    let mut sub = stentor().args(sub).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(sub.stdout.take().unwrap()).lines();
    let ack = printed.next().unwrap().unwrap();
    assert!(ack.contains(r#""ok":[{"topic":"trade.*"}]"#), "{ack}");
    for topic in ["trade.1", "quote.1", "trade.2"] {
        let published = run(&["pub", topic, "7", "--url", &server.websocket]);
        assert!(published.status.success(), "{published:?}");
    }
    for topic in ["trade.1", "trade.2"] {
        let line = printed.next().unwrap().unwrap();
        assert!(line.contains(&format!(r#""topic":"{topic}","seq":1,"data":7"#)), "{line}");
    }
    assert!(sub.wait().unwrap().success());
}
