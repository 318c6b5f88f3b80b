//! Proves: what a rule with a multicast group matches goes to that group, each message once whoever listens, with the
//! numbers and bytes that its other subscribers get; nothing else goes there.
//! Method: in a network namespace of the test's own, in which this program runs itself again: elsewhere a group may be
//! anybody's. Where the system allows no such namespace it says so, and proves nothing.

#![cfg(target_os = "linux")]
// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::framed::{Frame, Framed as _};
use common::tcp::TcpClient;
use common::{TestServer, within};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::process::Command;
use stentor::config::{Multicast, Rule};
use tokio::net::UdpSocket;

const INSIDE: &str = "STENTOR_TEST_NAMESPACE";
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const PORT: u16 = 7_410;

#[test]
fn a_group_gets_what_its_rule_matches() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]);
        command
    };
    let up = "ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo";
    if !namespace(up).output().is_ok_and(|output| output.status.success()) {
        println!("NOT TRIED: no network namespace can be made here");
        return;
    }
    let again = std::env::current_exe().unwrap();
    let script =
        format!("{up} && exec '{}' --exact a_group_gets_what_its_rule_matches --nocapture", again.display());
    let output = namespace(&script).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A listener that has joined.
async fn listener() -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&std::net::SocketAddr::from((GROUP, PORT)).into()).unwrap();
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST).unwrap();
    UdpSocket::from_std(socket.into()).unwrap()
}

async fn next(listener: &UdpSocket, what: &str) -> Frame {
    let mut buffer = vec![0; 2_048];
    loop {
        let length = within(what, listener.recv(&mut buffer)).await.unwrap();
        match Frame::read(&buffer[..length], what) {
            Frame::Heartbeat => {}
            Frame::Json(event) if event["event"] == "ack" => {}
            frame => return frame,
        }
    }
}

/// The next event that is not a heartbeat.
async fn next_named(listener: &UdpSocket) -> Value {
    loop {
        match next(listener, "a topic's name").await {
            Frame::Json(event) if event["event"] == "heartbeat" => {}
            Frame::Json(event) => return event,
            other => panic!("{other:?}"),
        }
    }
}

async fn inside() {
    let listeners = [listener().await, listener().await];
    let server = TestServer::with(|settings| {
        let interface = Some(Ipv4Addr::LOCALHOST);
        let multicast = Some(Multicast { group: (GROUP, PORT).into(), interface, ttl: 1 });
        settings.topics.push(Rule { pattern: "quote.*".into(), multicast, ..Rule::default() });
    });
    server.publish("trade.a", "not for the group").await;
    let mut tcp = TcpClient::connect(&server).await;
    let alias = tcp.subscribe(&["quote.a"]).await[0];
    for listener in &listeners {
        let named = next_named(listener).await;
        assert_eq!((&named["topic"], &named["alias"]), (&json!("quote.a"), &json!(alias)), "{named}");
    }
    for number in 1..=100 {
        server.publish("quote.a", number.to_string()).await;
        tcp.expect(alias, number, number.to_string().as_bytes()).await;
    }
    for listener in &listeners {
        for number in 1..=100 {
            let frame = loop {
                match next(listener, "a message").await {
                    Frame::Json(event) => assert_eq!(event["event"], "heartbeat", "{event}"),
                    frame => break frame,
                }
            };
            assert_eq!(frame, Frame::Message(b'D', alias, number, number.to_string().into_bytes()));
        }
        // Whoever missed the end sees it by the head.
        let Frame::Json(beat) = next(listener, "a heartbeat").await else { panic!("no heartbeat") };
        assert_eq!(beat, json!({"event": "heartbeat", "seq": {"quote.a": 100}}));
    }
    // One datagram for all who listen.
    assert_eq!(server.metric("stentor_topic_delivered_total", &[]).await, 0.0);
    let of_topic = server.get("/topics/quote.a").await.json();
    assert_eq!(of_topic["subscribers"], 2, "{of_topic}");
    let list = server.get("/connections?sort=sent").await.json();
    let group = list["connections"].as_array().unwrap().iter().find(|one| one["path"] == "quote.*").unwrap();
    assert_eq!((&group["sent_frames"], &group["address"]), (&json!(100), &json!("239.1.2.3:7410")), "{list}");
}
