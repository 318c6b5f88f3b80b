//! Proves: one client or one group is addressed by publishing to its topic; nobody else reads it; and a second session
//! of an identity is allowed, takes the first one's place or is refused, as the configuration says.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::process::stentor;
use common::{Client, TestServer};
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use stentor::config::SecondSession;
use tokio::task::JoinSet;

const REPLACED: (u16, &str) = (4504, "replaced by a newer session of the same identity");
const TAKEN: (u16, &str) = (4503, "another session has this identity");

fn server(second: SecondSession) -> TestServer {
    TestServer::with(|settings| {
        settings.identity.trust_client = true;
        settings.identity.second_session = second;
    })
}

/// What is published to the identity now must be the client's next message.
async fn assert_reached(server: &TestServer, identity: &str, clients: &mut [&mut Client]) {
    let mark = fastrand::u64(..).to_string();
    server.publish(&format!("$client.{identity}"), mark.clone()).await;
    for client in clients {
        assert_eq!(client.next_text("what is addressed to it").await, mark);
    }
}

#[tokio::test]
async fn a_client_is_addressed_by_its_topic_and_nobody_else_reads_it() {
    let server = server(SecondSession::Allow);
    let mut seven = server.connect("/ws/trade?client=desk%2F7").await;
    let mut eight = server.connect("/stream?streams=trade&client=8").await;
    let mut nobody = server.connect("/ws/trade").await;
    assert_reached(&server, "desk/7", &mut [&mut seven]).await;
    server.publish("$client.8", "1").await;
    assert_eq!(eight.next_json("its own").await, json!({"stream": "$client.8", "data": 1}));
    server.publish("trade", "2").await;
    assert_eq!(seven.next_text("what all get").await, "2");
    assert_eq!(eight.next_json("what all get").await, json!({"stream": "trade", "data": 2}));
    for (client, own) in [(&mut seven, "$client.desk/7"), (&mut eight, "$client.8")] {
        let ack = client.ask(json!({"op": "subscribe", "args": ["$client.9"]})).await;
        assert_eq!((&ack["ok"], &ack["err"][0]["code"]), (&json!([]), &json!("not_entitled")), "{ack}");
        // It may leave its own and come back to it, and no pattern matches it.
        let ack = client.ask(json!({"op": "unsubscribe", "args": [own]})).await;
        assert_eq!(ack["event"], "ack", "{ack}");
        client.subscribe(&["*"]).await;
        server.publish(own, "3").await;
        client.subscribe(&[own]).await;
    }
    nobody.expect_only(&server, &["2"]).await;
    assert_eq!(server.refused("/ws/$client.8?client=7").await.status, 403);
    assert_eq!(server.refused("/ws?client=a%20b").await.status, 400);
    let connections = server.get("/connections?limit=10").await.json();
    let mut known: Vec<_> =
        connections["connections"].as_array().unwrap().iter().map(|one| one["client"].as_str()).collect();
    known.sort_unstable();
    assert_eq!(known, [None, Some("8"), Some("desk/7")], "{connections}");
}

#[tokio::test]
async fn who_is_not_trusted_has_no_identity() {
    let server = TestServer::start();
    let mut client = server.connect("/ws?client=7").await;
    server.publish("$client.7", "1").await;
    let ack = client.ask(json!({"op": "subscribe", "args": ["$client.7"]})).await;
    assert_eq!(ack["err"][0]["code"], "not_entitled", "{ack}");
    client.expect_only(&server, &[]).await;
}

#[tokio::test]
async fn sessions_of_one_identity_are_a_group() {
    let server = server(SecondSession::Allow);
    let mut first = server.connect("/ws?client=desk").await;
    let mut second = server.connect("/ws?client=desk").await;
    let third = server.connect("/ws?client=desk").await;
    assert_reached(&server, "desk", &mut [&mut first, &mut second]).await;
    third.close().await;
    assert_reached(&server, "desk", &mut [&mut first, &mut second]).await;
}

/// Proves: a newer session takes the place of the older, on whichever shard; the late end of the older one leaves the
/// newer in its place, so that a third replaces that.
#[tokio::test]
async fn a_newer_session_takes_the_place_of_the_older() {
    let server = server(SecondSession::Replace);
    let mut sessions = vec![server.connect("/ws/t?client=desk").await];
    for _ in 0..8 {
        let mut newer = server.connect("/ws/t?client=desk").await;
        let mut older = sessions.pop().unwrap();
        let (code, reason) = older.next_close("the close of the older").await;
        assert_eq!((code, reason.as_str()), REPLACED);
        assert_reached(&server, "desk", &mut [&mut newer]).await;
        older.until_closed().await;
        server.until_metric("stentor_connections", &[], 1.0).await;
        assert_reached(&server, "desk", &mut [&mut newer]).await;
        sessions.push(newer);
    }
    assert_eq!(server.metric("stentor_connections_dropped_total", &["reason=\"replaced\""]).await, 8.0);
}

#[tokio::test]
async fn a_second_session_is_refused_while_the_first_is_there() {
    let server = server(SecondSession::Refuse);
    let mut first = server.connect("/ws?client=desk").await;
    for _ in 0..3 {
        let mut second = server.connect("/ws/t?client=desk").await;
        let (code, reason) = second.next_close("the close of the second").await;
        assert_eq!((code, reason.as_str()), TAKEN);
    }
    assert_reached(&server, "desk", &mut [&mut first]).await;
    let mut other = server.connect("/ws?client=other").await;
    assert_reached(&server, "other", &mut [&mut other]).await;
    first.close().await;
    server.until_metric("stentor_connections", &[], 1.0).await;
    // The word of the first one's end may still be on its way.
    let mut next = loop {
        let mut next = server.connect("/ws?client=desk").await;
        server.publish("$client.desk", "here").await;
        match next.next().await {
            Some(message) if message.is_text() => break next,
            Some(message) if message.is_close() => {}
            other => panic!("neither a message nor a close: {other:?}"),
        }
    };
    assert_reached(&server, "desk", &mut [&mut next]).await;
}

/// Proves: many sessions of one identity that come at once leave one, and of many that come and go none is left
/// an owner who is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_come_at_once_one_stays() {
    let server = Arc::new(server(SecondSession::Replace));
    let mut coming = JoinSet::new();
    for _ in 0..200 {
        let server = server.clone();
        coming.spawn(async move { server.connect("/ws?client=desk").await });
    }
    let sessions = coming.join_all().await;
    server.until_metric("stentor_connections_dropped_total", &["reason=\"replaced\""], 199.0).await;
    drop(sessions);
    server.until_metric("stentor_connections", &[], 0.0).await;
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
    let mut last = server.connect("/ws?client=desk").await;
    assert_reached(&server, "desk", &mut [&mut last]).await;
}

#[tokio::test]
async fn the_command_line_says_who_it_is() {
    let server = server(SecondSession::Replace);
    let url = format!("ws://{}", server.at.websocket);
    let sub = ["sub", "t", "--client", "desk/é&7", "--json", "--url", &url];
    let mut sub = stentor().args(sub).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(sub.stdout.take().unwrap()).lines();
    assert!(printed.next().unwrap().unwrap().contains(r#""event":"ack""#));
    server.publish("$client.desk/é&7", "7").await;
    let line = printed.next().unwrap().unwrap();
    assert!(line.contains(r#""topic":"$client.desk/é&7","seq":1,"data":7}"#), "{line}");
    let newer = server.connect("/ws?client=desk%2F%C3%A9%267").await;
    let ended = sub.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("4504") && said.contains("replaced"), "{said}");
    newer.close().await;
}
