//! Proves: the server's counters, its busiest topics, and everybody who comes and goes can be watched as topics.
//! Method: a watcher and those who are watched, all on the wire of the list at the end. A lease of datagrams has no end of
//! its own, so it is ended by the operator; what is lost behind a full socket is for streams.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::TestServer;
use common::any::{AnyClient, Came, Wire, matrix, message};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The next figures.
async fn next(watcher: &mut AnyClient, what: &str) -> Value {
    match watcher.next(what).await {
        Came::Message { payload, .. } => payload,
        other => panic!("waiting for {what}, there came {other:?}"),
    }
}

/// The next for which it holds.
async fn until(watcher: &mut AnyClient, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = next(watcher, what).await;
        if holds(&message) {
            return message;
        }
    }
}

/// Its figures find room in a datagram: of two shards they are larger than what goes over any network.
fn roomy() -> TestServer {
    TestServer::with(|settings| settings.limits.datagram_bytes = 8_192)
}

/// Watches who comes and goes; with its own id, for it may be told of itself.
async fn watcher_of_connections(server: &TestServer, wire: Wire) -> (AnyClient, Value) {
    let watcher = AnyClient::on(server, wire, &["$sys.connections"]).await;
    let own = server.get("/connections").await.json()["connections"][0]["id"].clone();
    (watcher, own)
}

/// How the wire is called.
fn name(wire: Wire) -> &'static str {
    match wire {
        Wire::WebSocket => "websocket",
        Wire::Tcp => "tcp",
        Wire::Udp => "udp",
    }
}

async fn close(server: &TestServer, id: &Value) {
    let deleted = server.delete(&format!("/connections/{}", id.as_str().unwrap())).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
}

async fn what_the_server_counts_can_be_watched(wire: Wire) {
    let server = roomy();
    let mut client = AnyClient::on(&server, wire, &["t"]).await;
    let id = server.get("/connections").await.json()["connections"][0]["id"].clone();
    let mut watcher = AnyClient::connect(&server, wire).await;
    let ack = watcher.subscribe(&["$sys.stats"]).await;
    assert_eq!(ack["ok"][0]["class"], "state", "{ack}");
    for number in 1..=3 {
        server.publish("t", number.to_string()).await;
        client.expect(&[message("t", number, number)]).await;
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
    close(&server, &id).await;
    drop(client);
    until(&mut watcher, "that somebody left", |stats| stats["connections"] == 1).await;
}

async fn the_busiest_topics_come_first(wire: Wire) {
    let server = TestServer::start();
    let mut watcher = AnyClient::on(&server, wire, &["$sys.topics"]).await;
    let mut client = AnyClient::on(&server, wire, &["busy"]).await;
    for number in 1..=20 {
        server.publish("busy", "1").await;
        client.expect(&[message("busy", number, 1)]).await;
    }
    server.publish("quiet", "1").await;
    let mut messages = BTreeMap::<String, u64>::new();
    while messages.get("busy") != Some(&20) || messages.get("quiet") != Some(&1) {
        let told = next(&mut watcher, "all that was published").await;
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

/// Proves: who is ended by the operator is told, and it is told of him: with what he was on and what he got.
async fn who_comes_and_is_ended_is_told(wire: Wire) {
    let server = TestServer::start();
    let (mut watcher, own) = watcher_of_connections(&server, wire).await;
    let mut client = AnyClient::on(&server, wire, &["t"]).await;
    let came = until(&mut watcher, "that it came", |entry| entry["id"] != own).await;
    assert_eq!((&came["event"], &came["transport"]), (&json!("connected"), &json!(name(wire))), "{came}");
    for number in 1..=3 {
        server.publish("t", number.to_string()).await;
        client.expect(&[message("t", number, number)]).await;
    }
    close(&server, &came["id"]).await;
    assert_eq!(client.until_close().await.0, 1001);
    drop(client);
    let went = next(&mut watcher, "that it went").await;
    for name in ["id", "address", "path"] {
        assert_eq!(went[name], came[name], "{went}");
    }
    for (name, value) in [
        ("event", json!("disconnected")),
        ("reason", json!("operator")),
        ("delivered", json!(3)),
        ("lost", json!(0)),
    ] {
        assert_eq!(went[name], value, "{name} in {went}");
    }
    assert!(went["received_bytes"].as_u64() > Some(0) && went["duration_ms"].is_u64(), "{went}");
    server.until_metric("stentor_connections_dropped_total", &[r#"reason="operator""#], 1.0).await;

    // The others stay, and an id is not used again.
    let mut next_one = AnyClient::on(&server, wire, &["t"]).await;
    let came_next = next(&mut watcher, "that another came").await;
    assert_ne!(came_next["id"], came["id"]);
    let gone = server.delete(&format!("/connections/{}", came["id"].as_str().unwrap())).await;
    assert_eq!(gone.status, 404, "{gone:?}");
    server.publish("t", "4").await;
    next_one.expect_only(&server, &[message("t", 4, 4)]).await;
}

async fn who_leaves_is_told(wire: Wire) {
    let server = TestServer::start();
    let (mut watcher, own) = watcher_of_connections(&server, wire).await;
    let client = AnyClient::on(&server, wire, &["t"]).await;
    let came = until(&mut watcher, "that it came", |entry| entry["id"] != own).await;
    drop(client);
    let went = next(&mut watcher, "that it went").await;
    assert_eq!((&went["id"], &went["reason"]), (&came["id"], &json!("client")), "{went}");
    server.until_metric("stentor_subscriptions", &[], 1.0).await;
}

/// Proves: what a slow consumer did not get is told when it is gone, to the message.
async fn what_a_slow_consumer_lost_is_told(wire: Wire) {
    let server = TestServer::with(|settings| settings.limits.queue_frames = 20);
    let (mut watcher, own) = watcher_of_connections(&server, wire).await;
    let stalled = AnyClient::on(&server, wire, &["t"]).await;
    until(&mut watcher, "that it came", |entry| entry["id"] != own).await;
    let payload = "x".repeat(64 << 10);
    let mut published = 0;
    while server.metric("stentor_abandoned_total", &[]).await < 0.5 {
        for _ in 0..50 {
            server.publish("t", payload.clone()).await;
            published += 1;
        }
    }
    // Nobody waits for the close to be read any longer.
    drop(stalled);
    let went = next(&mut watcher, "that it went").await;
    assert_eq!(went["reason"], "slow_consumer", "{went}");
    let (delivered, lost) = (went["delivered"].as_u64().unwrap(), went["lost"].as_u64().unwrap());
    assert!(lost > 0 && went["abandoned"] == lost, "{went}");
    assert!(delivered + lost <= published, "{went}");
    let routed = server.metric("stentor_routed_total", &[]).await;
    let of_watcher = server.metric("stentor_delivered_total", &[]).await - delivered as f64;
    assert!((routed - of_watcher - (delivered + lost) as f64).abs() < 0.5, "{went}: {routed} {of_watcher}");
}

/// Proves: figures that nobody watches are not made, and nothing of them is kept.
async fn nobody_publishes_there_and_nothing_is_kept(wire: Wire) {
    let server = roomy();
    let answer = server.post("/publish/$sys.stats", None, "1").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(server.get("/topics/$sys.stats").await.status, 404);
    let mut watcher = AnyClient::on(&server, wire, &["$sys.stats"]).await;
    next(&mut watcher, "the figures").await;
    let topic = server.get("/topics/$sys.stats").await.json();
    assert_eq!((&topic["class"], &topic["subscribers"]), (&json!("state"), &json!(1)), "{topic}");
    let left = watcher.ask(json!({"op": "unsubscribe", "args": ["$sys.stats"]})).await;
    assert_eq!(left["event"], "ack", "{left}");
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
    assert_eq!(server.metric("stentor_history_messages", &[]).await, 0.0);
}

matrix! {
    everywhere:
        what_the_server_counts_can_be_watched
        the_busiest_topics_come_first
        who_comes_and_is_ended_is_told
        nobody_publishes_there_and_nothing_is_kept;
    streams:
        who_leaves_is_told
        what_a_slow_consumer_lost_is_told;
}
