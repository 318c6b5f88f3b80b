//! Proves: over length-prefixed TCP there are the same topics, numbers, bytes, operations and ends as over WebSocket.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::framed::{Frame, Framed as _};
use common::tcp::{TcpClient, frame, publish_frame};
use common::{TestServer, eventually};
use serde_json::json;
use stentor::config::Rule;
use stentor::{Class, Settings};

fn rule(settings: &mut Settings, pattern: &str, class: Class) {
    settings.topics.push(Rule { pattern: pattern.into(), class: Some(class), ..Rule::default() });
}

/// The close that comes next, and the end behind it.
async fn close_of(client: &mut TcpClient) -> (u64, String) {
    let close = client.next_json("the close").await;
    assert_eq!(close["event"], "close", "{close}");
    assert_eq!(client.next("the end").await, Frame::End);
    (close["code"].as_u64().unwrap(), close["reason"].as_str().unwrap().to_owned())
}

/// Proves: what one publishes on any wire comes to all with the same number and the same bytes; an alias is the same
/// for everybody; binary and text are what they are.
#[tokio::test]
async fn every_wire_has_the_same_numbers_and_bytes() {
    let server = TestServer::start();
    let mut websocket = server.connect("/stream?streams=t&seq=1").await;
    let mut publisher = server.connect("/publish/t").await;
    let mut first = TcpClient::connect(&server).await;
    let mut second = TcpClient::connect(&server).await;
    let aliases = first.subscribe(&["other", "t"]).await;
    assert_eq!(second.subscribe(&["t"]).await, aliases[1..]);
    assert_ne!(aliases[0], aliases[1]);
    let alias = aliases[1];
    publisher.send_text(r#"{"a": 1.10}"#).await;
    first.expect(alias, 1, br#"{"a": 1.10}"#).await;
    second.send(&publish_frame("t", "é\n".as_bytes())).await;
    first.expect(alias, 2, "é\n".as_bytes()).await;
    second.send(&publish_frame("t", &[0xFF, 0])).await;
    first.expect(alias, 3, &[0xFF, 0]).await;
    let receipt = first.ask(json!({"op": "publish", "id": 5, "topic": "u", "data": 1})).await;
    assert_eq!(receipt["ok"][0]["seq"], 1, "{receipt}");
    for (number, payload) in [(1, &b"{\"a\": 1.10}"[..]), (2, "é\n".as_bytes()), (3, &[0xFF, 0])] {
        second.expect(alias, number, payload).await;
    }
    for expected in [
        json!({"stream": "t", "seq": 1, "data": {"a": 1.1}}),
        json!({"stream": "t", "seq": 2, "text": "é\n"}),
        json!({"stream": "t", "seq": 3, "base64": "/wA="}),
    ] {
        assert_eq!(websocket.next_json("the same").await, expected);
    }
    let list = second.ask(json!({"op": "list"})).await;
    assert_eq!((&list["ok"][0]["topic"], &list["ok"][0]["alias"]), (&json!("t"), &json!(alias)), "{list}");
}

/// Proves: frames may be cut anywhere and come together; a bad one is told, and the next is read.
#[tokio::test]
async fn frames_are_cut_anywhere_and_bad_ones_are_told() {
    let server = TestServer::start();
    let mut client = TcpClient::connect(&server).await;
    let alias = client.subscribe(&["t"]).await[0];
    for byte in publish_frame("t", b"in pieces") {
        client.send(&[byte]).await;
    }
    client.expect(alias, 1, b"in pieces").await;
    let joined: Vec<u8> =
        (0..200).flat_map(|number: u32| publish_frame("t", &number.to_be_bytes())).collect();
    client.send(&joined).await;
    for number in 0..200_u32 {
        client.expect(alias, 2 + u64::from(number), &number.to_be_bytes()).await;
    }
    for (wrong, code) in [
        (frame(b'X', b"?"), "bad_request"),
        (frame(b'J', b"{"), "bad_request"),
        (frame(b'J', b"\xFF"), "bad_request"),
        (frame(b'J', br#"{"op":"nothing"}"#), "unknown_op"),
        (frame(b'P', b"\0\x09t"), "bad_request"),
        (publish_frame("a b", b""), "bad_topic"),
        (publish_frame("$sys.stats", b""), "bad_topic"),
        (0_u32.to_be_bytes().to_vec(), "bad_request"),
    ] {
        client.send(&wrong).await;
        let error = client.next_json("what is wrong").await;
        assert_eq!((&error["event"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
    }
    client.send(&publish_frame("t", b"still here")).await;
    client.expect(alias, 202, b"still here").await;
    client.send(&[0xFF; 4]).await;
    let error = client.next_json("what is wrong").await;
    assert_eq!((&error["event"], &error["code"]), (&json!("error"), &json!("too_large")), "{error}");
    assert_eq!(close_of(&mut client).await.0, 1009);
}

/// Proves: what a pattern matches is named, with its alias, before the first message of it.
#[tokio::test]
async fn what_a_pattern_matches_is_named_first() {
    let server = TestServer::with(|settings| rule(settings, "quote.*", Class::State));
    server.publish("quote.old", "1").await;
    let mut client = TcpClient::connect(&server).await;
    let ack = client.ask(json!({"op": "subscribe", "args": ["quote.*"]})).await;
    assert_eq!(ack["ok"], json!([{"topic": "quote.*"}]), "{ack}");
    let named = client.next_json("its name").await;
    assert_eq!(
        (&named["event"], &named["topic"], &named["seq"]),
        (&json!("topic"), &json!("quote.old"), &json!(1))
    );
    let old = named["alias"].as_u64().unwrap() as u32;
    assert_eq!(client.next("its newest").await, Frame::Message(b'S', old, 1, b"1".to_vec()));
    server.publish("quote.new", "2").await;
    let named = client.next_json("the name of the new one").await;
    assert_eq!(
        (&named["event"], &named["topic"], &named["seq"]),
        (&json!("topic"), &json!("quote.new"), &json!(0))
    );
    assert!(named["epoch"].is_string(), "{named}");
    client.expect(named["alias"].as_u64().unwrap() as u32, 1, b"2").await;
    server.publish("quote.old", "3").await;
    client.expect(old, 2, b"3").await;
}

/// Proves: an answer that has no room for aliases is followed by them.
#[tokio::test]
async fn the_other_dialect_is_told_aliases_too() {
    let server = TestServer::start();
    let mut client = TcpClient::connect(&server).await;
    let answer = client.ask(json!({"method": "SUBSCRIBE", "params": ["a", "b"], "id": 1})).await;
    assert_eq!(answer, json!({"result": null, "id": 1}));
    let mut aliases = Vec::new();
    for topic in ["a", "b"] {
        let named = client.next_json("its name").await;
        assert_eq!((&named["event"], &named["topic"]), (&json!("topic"), &json!(topic)), "{named}");
        aliases.push(named["alias"].as_u64().unwrap() as u32);
    }
    for (topic, alias) in ["a", "b"].into_iter().zip(aliases) {
        server.publish(topic, topic).await;
        client.expect(alias, 1, topic.as_bytes()).await;
    }
}

/// Proves: who moves from one wire to the other misses nothing and gets nothing twice.
#[tokio::test]
async fn a_client_moves_between_wires_by_its_place() {
    let server = TestServer::start();
    let mut tcp = TcpClient::connect(&server).await;
    let ack = tcp.ask(json!({"op": "subscribe", "args": ["t"]})).await;
    let (alias, epoch) = (ack["ok"][0]["alias"].as_u64().unwrap() as u32, ack["ok"][0]["epoch"].clone());
    for number in 1..=5 {
        server.publish("t", number.to_string()).await;
    }
    tcp.expect(alias, 1, b"1").await;
    tcp.expect(alias, 2, b"2").await;
    drop(tcp);
    let path = format!("/stream?streams=t&seq=1&since={}:2", epoch.as_str().unwrap());
    let mut websocket = server.connect(&path).await;
    for number in 3..=4 {
        assert_eq!(websocket.next_json("the next").await["seq"], number);
    }
    websocket.close().await;
    let mut tcp = TcpClient::connect(&server).await;
    let since = json!({"topic": "t", "since": {"epoch": epoch, "seq": 4}});
    let ack = tcp.ask(json!({"op": "subscribe", "args": [since]})).await;
    assert_eq!((&ack["ok"][0]["recovered"], &ack["ok"][0]["alias"]), (&json!(true), &json!(alias)), "{ack}");
    tcp.expect(alias, 5, b"5").await;
    server.publish("t", "6").await;
    tcp.expect(alias, 6, b"6").await;
}

/// Proves: a slow consumer is told where to resume; another is told of the shutdown; each behind whole frames.
#[tokio::test]
async fn ends_are_told_behind_whole_frames() {
    let server = TestServer::with(|settings| settings.limits.queue_frames = 20);
    let mut slow = TcpClient::connect(&server).await;
    let alias = slow.subscribe(&["t"]).await[0];
    let mut other = TcpClient::connect(&server).await;
    other.subscribe(&["u"]).await;
    let payload = "x".repeat(64 << 10);
    eventually("the slow one to be closed", async || {
        for _ in 0..50 {
            server.publish("t", payload.clone()).await;
        }
        server.metric("stentor_abandoned_total", &[]).await > 0.5
    })
    .await;
    let mut last = 0;
    let close = loop {
        match slow.next("what it was sent").await {
            Frame::Message(b'D', of, seq, bytes) => {
                assert_eq!((of, seq, bytes.len()), (alias, last + 1, payload.len()));
                last = seq;
            }
            Frame::Json(json) if json["event"] == "slow" => {}
            Frame::Json(json) => break json,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&close["event"], &close["code"]), (&json!("close"), &json!(4001)), "{close}");
    assert!(close["reason"].as_str().unwrap().contains(&format!(":{last} topic=t")), "{last}: {close}");
    assert_eq!(slow.next("the end").await, Frame::End);
    let down = tokio::spawn(server.shutdown());
    let notice = other.next_json("the notice").await;
    assert_eq!((&notice["event"], &notice["code"]), (&json!("notice"), &json!("shutdown")), "{notice}");
    assert_eq!(close_of(&mut other).await, (1012, "restart".to_owned()));
    drop((slow, other));
    down.await.unwrap();
}
