//! Proves: a pattern gets everything of every topic it matches, from wherever it was asked for, and nothing twice.
//! Method: a server in this process with two shards; where topics are born while patterns come, publishers keep
//! publishing all along, which is for streams: datagrams would be lost. URLs are of WebSocket only, and the command line
//! is tried once.

// A failed step is a failed test, and tests time what they wait for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::TestServer;
use common::any::{AnyClient, Came, Wire, matrix, message, open};
use common::process::{Process, run, stentor};
use serde_json::json;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Proves: by either URL, before the topic exists and after; and never what begins with `$`.
#[tokio::test]
async fn a_pattern_is_subscribed_by_url() {
    let server = TestServer::start();
    server.publish("trade.old", "0").await;
    let mut streams = server.connect("/stream?streams=none/trade.*").await;
    let mut all = server.connect("/stream?streams=*").await;
    let mut raw = server.connect("/ws/trade.%2A").await;
    for (topic, data) in [("trade.old", 1), ("$client.1", 2), ("quote.new", 3), ("trade.new", 4)] {
        server.publish(topic, data.to_string()).await;
    }
    let came = |topic: &str, data: u64| json!({"stream": topic, "data": data});
    for expected in [came("trade.old", 1), came("trade.new", 4)] {
        assert_eq!(streams.next_json("what matches").await, expected);
    }
    for expected in [came("trade.old", 1), came("quote.new", 3), came("trade.new", 4)] {
        assert_eq!(all.next_json("everything").await, expected);
    }
    assert_eq!([raw.next_text("1").await, raw.next_text("4").await], ["1", "4"]);
    assert_eq!(server.get("/topics/trade.new").await.json()["subscribers"], 3);
    assert_eq!(server.refused("/ws/$sys.*").await.status, 400);
    assert_eq!(server.refused("/ws/a*?since=k:1").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_takes_a_pattern_from_the_command_line() {
    let server = Process::start("serve", &[]);
    let [url, ..] = server.at.urls();
    let sub = ["sub", "trade.*", "--json", "--count", "2", "--url", &url];
    let mut sub = stentor().args(sub).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(sub.stdout.take().unwrap()).lines();
    let ack = printed.next().unwrap().unwrap();
    assert!(ack.contains(r#""ok":[{"topic":"trade.*"}]"#), "{ack}");
    for topic in ["trade.1", "quote.1", "trade.2"] {
        let published = run(&["pub", topic, "7", "--url", &url]);
        assert!(published.status.success(), "{published:?}");
    }
    for topic in ["trade.1", "trade.2"] {
        let line = printed.next().unwrap().unwrap();
        assert!(line.contains(&format!(r#""topic":"{topic}","seq":1,"data":7"#)), "{line}");
    }
    assert!(sub.wait().unwrap().success());
}

/// Proves: by operation in both dialects, before the topic exists and after, complete from a topic's first message; and
/// never what begins with `$`. Behind the ack of leaving it nothing of it comes, neither of what there is nor of what is
/// born later.
async fn a_pattern_gets_what_exists_and_what_is_born_later(wire: Wire) {
    let server = TestServer::start();
    server.publish("trade.old", "0").await;
    let mut native = AnyClient::connect(&server, wire).await;
    let ack = native.ask(json!({"op": "subscribe", "id": 1, "args": ["trade.*"]})).await;
    assert_eq!(
        ack,
        json!({"event": "ack", "op": "subscribe", "id": 1, "ok": [{"topic": "trade.*"}], "err": []})
    );
    let mut binance = AnyClient::connect(&server, wire).await;
    let answer = binance.ask(json!({"method": "SUBSCRIBE", "params": ["trade.*"], "id": 2})).await;
    assert_eq!(answer, json!({"result": null, "id": 2}));
    let mut all = AnyClient::on(&server, wire, &["*"]).await;
    for (topic, data) in [("trade.old", 1), ("$client.1", 2), ("quote.new", 3), ("trade.new", 4)] {
        server.publish(topic, data.to_string()).await;
    }
    for client in [&mut native, &mut binance] {
        client.expect(&[message("trade.old", 2, 1), message("trade.new", 1, 4)]).await;
    }
    all.expect(&[message("trade.old", 2, 1), message("quote.new", 1, 3), message("trade.new", 1, 4)]).await;
    for born in 0..20 {
        let topic = format!("trade.{born}");
        for seq in 1..=3 {
            server.publish(&topic, seq.to_string()).await;
            for client in [&mut native, &mut binance, &mut all] {
                client.expect(&[message(&topic, seq, seq)]).await;
            }
        }
    }
    assert_eq!(native.ask(json!({"op": "list"})).await["ok"], json!([{"topic": "trade.*"}]));
    let list = binance.ask(json!({"method": "LIST_SUBSCRIPTIONS", "id": 3})).await;
    assert_eq!(list["result"], json!(["trade.*"]));
    assert_eq!(server.get("/topics/trade.new").await.json()["subscribers"], 3);

    let left = native.ask(json!({"op": "unsubscribe", "args": ["trade.*"]})).await;
    assert_eq!(left["ok"], json!([{"topic": "trade.*"}]), "{left}");
    let left = binance.ask(json!({"method": "UNSUBSCRIBE", "params": ["trade.*"], "id": 4})).await;
    assert_eq!(left, json!({"result": null, "id": 4}));
    for topic in ["trade.old", "trade.later"] {
        server.publish(topic, "9").await;
    }
    native.expect_only(&server, &[]).await;
    binance.expect_only(&server, &[]).await;
    all.expect(&[message("trade.old", 3, 9), message("trade.later", 1, 9)]).await;
}

/// Proves: the snapshot of each topic that a pattern matches comes once, before its first live message.
async fn what_exists_begins_with_its_snapshot(wire: Wire) {
    // Each is two datagrams, and all of them must find room in a socket.
    let topics = if wire == Wire::Udp { 40 } else { 300 };
    let state = stentor::config::Rule {
        pattern: "quote.*".into(),
        class: Some(stentor::Class::State),
        ..Default::default()
    };
    let server = TestServer::with(|settings| settings.topics = vec![state]);
    for number in 0..topics {
        server.publish(&format!("quote.{number}"), "0").await;
        server.publish(&format!("quote.{number}"), "1").await;
    }
    let mut client = AnyClient::on(&server, wire, &["quote.*", "quote.7"]).await;
    let mut seen = HashMap::new();
    while seen.len() < topics {
        match client.next("a snapshot").await {
            Came::Message { topic, seq: 2, is_snapshot: true, .. } => {
                assert!(seen.insert(topic, 2).is_none(), "a topic came twice");
            }
            other => panic!("not a topic's newest: {other:?}"),
        }
    }
    let last = format!("quote.{}", topics - 1);
    server.publish(&last, "3").await;
    client.expect_only(&server, &[message(&last, 3, 3)]).await;
}

/// Proves: a topic born while patterns come and go is complete for every pattern that was there before: from its first
/// message, without a gap; and for one that comes later from some message on.
async fn no_message_is_lost_between_a_birth_and_its_match(wire: Wire) {
    const TOPICS: u64 = 300;
    const LATER: usize = 6;
    const MESSAGES: u64 = 5;
    let server = Arc::new(TestServer::start());
    let mut clients = Vec::new();
    for pattern in ["new.*", "*"] {
        let client = AnyClient::on(server.at, wire, &[pattern]).await;
        clients.push((client, None));
    }
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
    while !publishing.is_finished() {
        let mut client = AnyClient::connect(server.at, wire).await;
        client.say(json!({"op": "subscribe", "args": ["new.*"]})).await;
        let first = client.next("the ack").await;
        clients.push((client, Some(first)));
        have_joined.store(clients.len() >= 2 + LATER, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
    let topics = publishing.await.unwrap();
    server.publish("new.end", "1").await;
    for (at, (client, ack)) in clients.iter_mut().enumerate() {
        assert!(ack.as_ref().is_none_or(|ack| matches!(ack, Came::Said(said) if said["event"] == "ack")));
        let mut heads: HashMap<String, u64> = HashMap::new();
        loop {
            let Came::Message { topic, seq, .. } = client.next("a message").await else {
                panic!("client {at} was told of something")
            };
            if topic == "new.end" {
                break;
            }
            // Topics are born one after the other: only the one being published when a client joined begins midway.
            let is_first = at >= 2 && heads.is_empty();
            let last = heads.insert(topic, seq).unwrap_or(if is_first { seq - 1 } else { 0 });
            assert_eq!(seq, last + 1, "client {at}: {heads:?}");
        }
        assert!(heads.values().all(|seq| *seq == MESSAGES), "client {at}: {heads:?}");
        assert!(at >= 2 || heads.len() as u64 == topics, "client {at} has {} topics", heads.len());
    }
}

/// Proves: more topics than a connection may match are refused in the other dialect too, and no pattern is published to.
async fn what_a_pattern_cannot_do_is_refused_in_both_dialects(wire: Wire) {
    let server = TestServer::with(|settings| {
        settings.limits.matches_per_connection = 3;
        open(settings);
    });
    for topic in ["a", "b", "c", "d"] {
        server.publish(topic, "1").await;
    }
    let mut client = AnyClient::connect(&server, wire).await;
    let answer = client.ask(json!({"method": "SUBSCRIBE", "params": ["x", "*"], "id": 1})).await;
    assert_eq!(answer["code"], 2, "{answer}");
    let publish = client.ask(json!({"op": "publish", "topic": "a*", "data": 1, "id": 1})).await;
    assert_eq!(publish["code"], "bad_topic", "{publish}");
    server.publish("d", "1").await;
    client.expect_only(&server, &[]).await;
}

matrix! {
    everywhere:
        a_pattern_gets_what_exists_and_what_is_born_later
        what_exists_begins_with_its_snapshot
        what_a_pattern_cannot_do_is_refused_in_both_dialects;
    streams:
        no_message_is_lost_between_a_birth_and_its_match;
}
