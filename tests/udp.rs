//! Proves: by datagram there are the same topics, numbers and bytes; loss is seen and can be mended; an address that has
//! not been proved is never sent more than it sent; a lease that is not renewed leaves nothing behind.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::open;
use common::framed::{Frame, Framed as _};
use common::tcp::TcpClient;
use common::udp::{UdpClient, hello, socket};
use common::{TestServer, eventually, within};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use stentor::Class;
use stentor::config::Rule;
use tokio::net::UdpSocket;

/// Proves: a publisher on any wire, a subscriber on each: the same numbers and bytes. One that moves from datagrams to
/// TCP to WebSocket by its place misses nothing.
#[tokio::test]
async fn every_wire_has_the_same_numbers_and_bytes_and_one_may_move() {
    let server = TestServer::with(open);
    let mut websocket = server.connect("/stream?streams=t&seq=1").await;
    let mut tcp = TcpClient::connect(&server).await;
    let alias = tcp.subscribe(&["t"]).await[0];
    let mut udp = UdpClient::connect(&server).await;
    assert_eq!(udp.subscribe(&["t"]).await, [alias]);
    let mut mover = UdpClient::connect(&server).await;
    let ack = mover.ask(json!({"op": "subscribe", "args": ["t"]})).await;
    let epoch = ack["ok"][0]["epoch"].as_str().unwrap().to_owned();
    let payloads = [&br#"{"a": 1.10}"#[..], "é\n".as_bytes(), &[0xFF, 0], b"4", b"5", b"6"];
    for (payload, number) in payloads.iter().zip(1..) {
        udp.publish("t", payload).await;
        udp.expect(alias, number, payload).await;
        tcp.expect(alias, number, payload).await;
        assert_eq!(websocket.next_json("the same").await["seq"], number);
        if number < 3 {
            mover.expect(alias, number, payload).await;
        }
    }
    let mut moved = TcpClient::connect(&server).await;
    let since = |seq: u64| json!([{"topic": "t", "since": {"epoch": epoch, "seq": seq}}]);
    let ack = moved.ask(json!({"op": "subscribe", "args": since(2)})).await;
    assert_eq!(ack["ok"][0]["recovered"], true, "{ack}");
    moved.expect(alias, 3, payloads[2]).await;
    moved.expect(alias, 4, payloads[3]).await;
    let mut moved = server.connect(&format!("/stream?streams=t&seq=1&since={epoch}:4")).await;
    for number in [5, 6] {
        assert_eq!(moved.next_json("the rest").await, json!({"stream": "t", "seq": number, "data": number}));
    }
    // And back: what is asked for by datagram comes by datagram.
    let mut back = UdpClient::connect(&server).await;
    let ack = back.ask(json!({"op": "subscribe", "args": since(4)})).await;
    assert_eq!(ack["ok"][0]["recovered"], true, "{ack}");
    back.expect(alias, 5, b"5").await;
    back.expect(alias, 6, b"6").await;
}

/// Proves: before its cookie an address is sent nothing but the answer to a padded hello, which is shorter; whatever
/// else comes is not answered at all.
#[tokio::test]
async fn an_address_that_is_not_proved_is_never_sent_more_than_it_sent() {
    let server = TestServer::start();
    let client = socket(server.at.udp).await;
    let other = UdpClient::connect(&server).await;
    let forged = json!({"op": "subscribe", "args": ["t"], "cookie": other.cookie});
    let wrong: Vec<Vec<u8>> = vec![
        hello(127),
        br#"J{"op":"hello"}"#.to_vec(),
        br#"J{"op":"subscribe","args":["t"]}"#.to_vec(),
        format!("J{forged}").into_bytes(),
        format!("J{}", json!({"op": "list", "cookie": "0123456789abcdef", "pad": "x".repeat(900)}))
            .into_bytes(),
        format!("H{}", other.cookie).into_bytes(),
        b"P\0\x01tnot from here".to_vec(),
        b"D\0\0\0\x01\0\0\0\0\0\0\0\x01!".to_vec(),
        vec![0xFF; 1_400],
        b"H".to_vec(),
    ];
    for datagram in &wrong {
        client.send(datagram).await.unwrap();
    }
    server.until_metric("stentor_datagrams_ignored_total", &[], wrong.len() as f64).await;
    let mut buffer = [0; 2_048];
    assert!(client.try_recv(&mut buffer).is_err(), "something was answered");
    for bytes in [128, 500] {
        client.send(&hello(bytes)).await.unwrap();
        let length = within("a cookie", client.recv(&mut buffer)).await.unwrap();
        assert!(length <= bytes, "{length} bytes answer {bytes}");
    }
    assert_eq!(server.metric("stentor_connections", &[]).await, 0.0, "a cookie alone is no lease");
}

/// Proves: a lease lasts while it is renewed, each renewal is answered; one that is not is closed and leaves nothing.
#[tokio::test]
async fn a_lease_lasts_while_it_is_renewed() {
    let server = TestServer::with(|settings| settings.limits.lease_s = 2);
    let mut kept = UdpClient::connect(&server).await;
    let alias = kept.subscribe(&["a", "b"]).await[0];
    let mut lost = UdpClient::connect(&server).await;
    lost.subscribe(&["a", "c"]).await;
    let list = server.get("/connections").await.json();
    assert_eq!(list["connections"][0]["transport"], "udp", "{list}");
    while server.metric("stentor_connections", &[]).await > 1.5 {
        kept.renew().await;
        assert_eq!(kept.next_of_any("a sign of life").await, Frame::Heartbeat);
    }
    let close = lost.next_json("the close").await;
    assert_eq!((&close["event"], &close["code"]), (&json!("close"), &json!(4003)), "{close}");
    let dropped = server.metric("stentor_connections_dropped_total", &[r#"reason="lease_expired""#]).await;
    assert_eq!((dropped, server.metric("stentor_subscriptions", &[]).await), (1.0, 2.0));
    server.publish("a", "1").await;
    kept.expect(alias, 1, b"1").await;
    // Its cookie is still good: it begins anew.
    lost.subscribe(&["c"]).await;
    server.until_metric("stentor_connections", &[], 2.0).await;
}

/// Proves: by datagram only those may publish who are named.
#[tokio::test]
async fn only_networks_that_are_named_publish() {
    let closed = TestServer::start();
    let mut client = UdpClient::connect(&closed).await;
    let alias = client.subscribe(&["t"]).await[0];
    client.publish("t", b"not taken").await;
    closed.until_metric("stentor_datagrams_ignored_total", &[], 1.0).await;
    let refused = client.ask(json!({"op": "publish", "id": 1, "topic": "t", "data": 1})).await;
    assert_eq!((&refused["code"], &refused["id"]), (&json!("not_entitled"), &json!(1)), "{refused}");
    closed.publish("t", "1").await;
    client.expect(alias, 1, b"1").await;
}

/// Proves: a message that does not fit a datagram is counted as skipped and not sent; the numbers tell; the account of
/// deliveries adds up.
#[tokio::test]
async fn what_does_not_fit_is_counted_and_seen_by_the_numbers() {
    let server = TestServer::start();
    let mut client = UdpClient::connect(&server).await;
    let alias = client.subscribe(&["t"]).await[0];
    // 13 bytes of a datagram are kind, alias and number.
    for bytes in [1_472 - 13, 1_472 - 12, 20_000, 1] {
        server.publish("t", "x".repeat(bytes)).await;
    }
    client.expect(alias, 1, "x".repeat(1_472 - 13).as_bytes()).await;
    client.expect(alias, 4, b"x").await;
    server.until_metric("stentor_pending", &[], 0.0).await;
    let counted = async |name: &str| server.metric(&format!("stentor_{name}_total"), &[]).await;
    let seen = (counted("routed").await, counted("delivered").await, counted("skipped").await);
    assert_eq!(seen, (4.0, 2.0, 2.0));
    assert_eq!(counted("oversized").await, 2.0);
}

/// Proves: a heartbeat names the head, so that the loss of the last message is seen too; a snapshot and a pattern's
/// topics come as over TCP.
#[tokio::test]
async fn heartbeats_snapshots_and_patterns_come_by_datagram() {
    let server = TestServer::with(|settings| {
        let class = Some(Class::State);
        settings.topics.push(Rule { pattern: "quote.*".into(), class, ..Rule::default() });
    });
    server.publish("quote.a", "1").await;
    let mut client = UdpClient::connect(&server).await;
    client.send_json(json!({"op": "subscribe", "args": ["quote.*"], "heartbeat_s": 1})).await;
    assert_eq!(client.next_json("the ack").await["event"], "ack");
    let named = client.next_json("its name").await;
    let alias = named["alias"].as_u64().unwrap() as u32;
    assert_eq!((&named["event"], &named["topic"]), (&json!("topic"), &json!("quote.a")), "{named}");
    assert_eq!(client.next("its newest").await, Frame::Message(b'S', alias, 1, b"1".to_vec()));
    let beat = client.next_json("a heartbeat").await;
    assert_eq!(beat, json!({"event": "heartbeat", "seq": {"quote.a": 1}}));
    client.send_json(json!({"op": "unsubscribe", "args": ["quote.*"]})).await;
    eventually("the end of the subscription", async || {
        server.metric("stentor_subscriptions", &[]).await < 0.5
    })
    .await;
}

/// Passes datagrams on in both directions, and loses so many per cent of those that carry a message.
async fn lossy_relay(server: SocketAddr, percent: u8, seed: u64) -> SocketAddr {
    let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = outside.local_addr().unwrap();
    let inside = socket(server).await;
    let mut chance = fastrand::Rng::with_seed(seed);
    tokio::spawn(async move {
        let mut client = None;
        let (mut from_client, mut from_server) = ([0; 2_048], [0; 2_048]);
        loop {
            tokio::select! {
                Ok((length, from)) = outside.recv_from(&mut from_client) => {
                    client = Some(from);
                    let _ = inside.send(&from_client[..length]).await;
                }
                Ok(length) = inside.recv(&mut from_server) => {
                    let is_lost = from_server[0] == b'D' && chance.u8(..100) < percent;
                    if let Some(client) = client.filter(|_| !is_lost) {
                        let _ = outside.send_to(&from_server[..length], client).await;
                    }
                }
            }
        }
    });
    address
}

/// Proves: whatever is lost on the way is seen by its number, and mended over TCP by `since`: every message is had once,
/// with its own bytes.
#[tokio::test]
async fn every_loss_is_seen_and_mended_over_tcp() {
    const MESSAGES: u64 = 600;
    for percent in [1, 5, 20] {
        let server = TestServer::start();
        let mut client = UdpClient::connect_to(lossy_relay(server.at.udp, percent, 7).await).await;
        client.send_json(json!({"op": "subscribe", "args": ["t"], "heartbeat_s": 1})).await;
        let ack = client.next_json("the ack").await;
        let epoch = ack["ok"][0]["epoch"].clone();
        for number in 1..=MESSAGES {
            server.publish("t", number.to_string()).await;
        }
        let (mut had, mut head) = (BTreeMap::new(), 0);
        // The heartbeat names the head, whatever was lost at the end.
        while head < MESSAGES {
            match client.next("a message or a heartbeat").await {
                Frame::Message(b'D', _, seq, payload) => {
                    assert_eq!(had.insert(seq, payload), None, "{seq} came twice");
                }
                Frame::Json(beat) => head = beat["seq"]["t"].as_u64().unwrap(),
                other => panic!("{other:?}"),
            }
        }
        let lost = MESSAGES - had.len() as u64;
        assert!(lost > 0, "nothing was lost at {percent} %");
        let mut mender = TcpClient::connect(&server).await;
        while let Some(first) = (1..=MESSAGES).find(|seq| !had.contains_key(seq)) {
            let since: Value = json!({"topic": "t", "since": {"epoch": epoch, "seq": first - 1}});
            let ack = mender.ask(json!({"op": "subscribe", "args": [since]})).await;
            assert_eq!(ack["ok"][0]["recovered"], true, "{ack}");
            for seq in first..=MESSAGES {
                let Frame::Message(b'D', _, number, payload) = mender.next("what was lost").await else {
                    panic!("no message")
                };
                assert_eq!(number, seq);
                let known = had.entry(seq).or_insert_with(|| payload.clone());
                assert_eq!(*known, payload);
            }
            mender.ask(json!({"op": "unsubscribe", "args": ["t"]})).await;
        }
        assert!((1..=MESSAGES).all(|seq| had[&seq] == seq.to_string().as_bytes()));
    }
}
