//! Proves: the server's counters, its busiest topics, and everybody who comes and goes can be watched as topics.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Client, TestServer};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The next message for which it holds.
async fn until(client: &mut Client, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = client.next_json(what).await;
        if holds(&message) {
            return message;
        }
    }
}

#[tokio::test]
async fn what_the_server_counts_can_be_watched() {
    let server = TestServer::start();
    let mut watcher = server.connect("/ws").await;
    let ack = watcher.subscribe(&["$sys.stats"]).await;
    assert_eq!(ack["ok"][0]["class"], "state", "{ack}");
    let mut client = server.connect("/ws/t").await;
    for number in 1..=3 {
        server.publish("t", number.to_string()).await;
        client.next_text("a message").await;
    }
    // Its own figures are messages too.
    let stats = until(&mut watcher, "the figures", |stats| stats["published"].as_u64() >= Some(4)).await;
    assert_eq!(
        (&stats["connections"], &stats["subscriptions"], &stats["topics"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert!(stats["time_us"].as_u64() > Some(1 << 50), "{stats}");
    let shards = stats["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    for name in ["delivered", "routed", "connections", "sent_bytes"] {
        let sum: u64 = shards.iter().map(|shard| shard[name].as_u64().unwrap()).sum();
        assert_eq!(stats[name], sum, "{name} in {stats}");
    }
    assert!(stats["delivered"].as_u64() >= Some(3), "{stats}");
    assert_eq!(shards[0]["dropped"]["slow_consumer"], 0, "{stats}");
    drop(client);
    until(&mut watcher, "that somebody left", |stats| stats["connections"] == 1).await;
}

#[tokio::test]
async fn the_busiest_topics_come_first() {
    let server = TestServer::start();
    let mut watcher = server.connect("/ws").await;
    watcher.subscribe(&["$sys.topics"]).await;
    let mut client = server.connect("/ws/busy").await;
    for _ in 0..20 {
        server.publish("busy", "1").await;
        client.next_text("a message").await;
    }
    server.publish("quiet", "1").await;
    let mut messages = BTreeMap::<String, u64>::new();
    while messages.get("busy") != Some(&20) || messages.get("quiet") != Some(&1) {
        let told = watcher.next_json("all that was published").await;
        let topics = told["topics"].as_array().unwrap();
        assert!(topics.is_sorted_by_key(|topic| Reverse(topic["messages"].as_u64())), "{told}");
        for topic in topics {
            let name = topic["topic"].as_str().unwrap().to_owned();
            *messages.entry(name).or_default() += topic["messages"].as_u64().unwrap();
            let (busy, own) = (topic["topic"] == "busy", topic["topic"] == "$sys.topics");
            assert_eq!(topic["subscribers"], u64::from(busy || own), "{told}");
        }
    }
}

#[tokio::test]
async fn who_comes_and_goes_is_told() {
    let server = TestServer::start();
    let mut watcher = server.connect("/ws").await;
    watcher.subscribe(&["$sys.connections"]).await;
    let mut client = server.connect("/ws/t?x=1").await;
    let came = until(&mut watcher, "that it came", |entry| entry["path"] == "/ws/t").await;
    assert_eq!(
        (&came["event"], &came["path"], &came["transport"]),
        (&json!("connected"), &json!("/ws/t"), &json!("websocket"))
    );
    for number in 1..=3 {
        server.publish("t", number.to_string()).await;
        client.next_text("a message").await;
    }
    client.close().await;
    let went = watcher.next_json("that it went").await;
    for name in ["id", "address", "path"] {
        assert_eq!(went[name], came[name], "{went}");
    }
    for (name, value) in [
        ("event", json!("disconnected")),
        ("reason", json!("client")),
        ("delivered", json!(3)),
        ("lost", json!(0)),
    ] {
        assert_eq!(went[name], value, "{name} in {went}");
    }
    assert!(went["received_bytes"].as_u64() > Some(0) && went["duration_ms"].is_u64(), "{went}");

    let id = {
        let _closed = server.connect("/ws/t").await;
        let came = watcher.next_json("that another came").await;
        let id = came["id"].as_str().unwrap().to_owned();
        assert_eq!(server.delete(&format!("/connections/{id}")).await.status, 204);
        id
    };
    let went = watcher.next_json("that it was closed").await;
    assert_eq!((&went["id"], &went["reason"]), (&json!(id), &json!("operator")), "{went}");
}

/// Proves: what a slow consumer did not get is told when it is gone, to the message.
#[tokio::test]
async fn what_a_slow_consumer_lost_is_told() {
    let server = TestServer::with(|settings| settings.limits.queue_frames = 20);
    let mut watcher = server.connect("/ws").await;
    watcher.subscribe(&["$sys.connections"]).await;
    let stalled = server.raw_upgraded("/ws/t").await;
    until(&mut watcher, "that it came", |entry| entry["path"] == "/ws/t").await;
    let payload = "x".repeat(64 << 10);
    let mut published = 0;
    while server.metric("stentor_connections_dropped_total", &["reason=\"slow_consumer\""]).await < 1.0 {
        for _ in 0..50 {
            server.publish("t", payload.clone()).await;
            published += 1;
        }
    }
    let went = watcher.next_json("that it went").await;
    assert_eq!(went["reason"], "slow_consumer", "{went}");
    let (delivered, lost) = (went["delivered"].as_u64().unwrap(), went["lost"].as_u64().unwrap());
    assert!(lost > 0 && went["abandoned"] == lost, "{went}");
    assert!(delivered + lost <= published, "{went}");
    let routed = server.metric("stentor_routed_total", &[]).await;
    let of_watcher = server.metric("stentor_delivered_total", &[]).await - delivered as f64;
    assert!((routed - of_watcher - (delivered + lost) as f64).abs() < 0.5, "{went}: {routed} {of_watcher}");
    drop(stalled);
}

/// Proves: figures that nobody watches are not made, and nothing of them is kept.
#[tokio::test]
async fn nobody_publishes_there_and_nothing_is_kept() {
    let server = TestServer::start();
    let answer = server.post("/publish/$sys.stats", None, "1").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(server.get("/topics/$sys.stats").await.status, 404);
    let mut watcher = server.connect("/ws/$sys.stats").await;
    watcher.next_json("the figures").await;
    let topic = server.get("/topics/$sys.stats").await.json();
    assert_eq!((&topic["class"], &topic["subscribers"]), (&json!("state"), &json!(1)), "{topic}");
    watcher.close().await;
    server.until_metric("stentor_connections", &[], 0.0).await;
    assert_eq!(server.metric("stentor_history_messages", &[]).await, 0.0);
}
