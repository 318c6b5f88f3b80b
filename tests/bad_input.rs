//! Proves: whatever one client sends, it gets the answer that the protocol names, and nobody else notices.
//! Method: every case runs beside a healthy subscriber who must get a message before, in between and after; what
//! no library would send goes out as raw bytes. The list at the end says which runs on which wire. The rest is of the
//! handshake, of paths and of RFC 6455's frames, which only WebSocket has; `tcp.rs` and `udp.rs` have bad frames of theirs.
//! Not by UDP: what cannot be read as an operation has no cookie that could be, and 1,024 topics fit no one datagram.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{self, AnyClient, Wire, matrix, message};
use common::{
    BINARY, Bystander, CLOSE, CONTINUATION, FIN, HOME, PING, PONG, RawClient, TEXT, TestServer,
    eventually_some, frame, frame_header, upgrade_request, within,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// A server, a healthy subscriber on it, and a session whose operations are about to be bad.
async fn scene() -> (TestServer, Bystander, common::Client) {
    let server = TestServer::start();
    let bystander = Bystander::on(&server).await;
    let client = server.connect("/ws").await;
    (server, bystander, client)
}

/// The same on one wire, all of them.
async fn scene_by(wire: Wire) -> (TestServer, Bystander, AnyClient) {
    let server = TestServer::start();
    let bystander = Bystander::by(&server, wire).await;
    let client = AnyClient::connect(&server, wire).await;
    (server, bystander, client)
}

fn assert_is_error(answer: &Value, to: &str) {
    assert_eq!(answer["event"], "error", "{to:.100} -> {answer}");
    assert!(answer["code"].as_str().is_some_and(|code| !code.is_empty()), "{to:.100} -> {answer}");
    assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{to:.100} -> {answer}");
}

/// Names that are no topics: of 0 or 201 and more bytes, or with a space or a control character in them.
fn no_topics() -> Vec<String> {
    let within_length = ["", "a b", " ", "a\nb", "\u{0}", "\u{7f}", "a\tb"];
    within_length.map(str::to_owned).into_iter().chain(["x".repeat(201), "ü".repeat(101)]).collect()
}

/// The longest names that are topics.
fn longest_topics() -> [String; 2] {
    ["x".repeat(200), "ü".repeat(100)]
}

/// Proves: the bounds of a topic's name hold in operations.
async fn names_that_are_no_topics_are_refused(wire: Wire) {
    let server = TestServer::with(any::open);
    let mut bystander = Bystander::by(&server, wire).await;
    let mut client = AnyClient::connect(&server, wire).await;
    for name in no_topics() {
        let ack = client.ask(json!({"op": "subscribe", "id": 1, "args": [name]})).await;
        assert_eq!((&ack["event"], &ack["ok"]), (&json!("ack"), &json!([])), "{name:?}: {ack}");
        assert_eq!(ack["err"].as_array().unwrap().len(), 1, "{name:?}: {ack}");
        assert_eq!(ack["err"][0]["topic"], name, "{ack}");
        let answer = client.ask(json!({"op": "publish", "topic": name, "data": 1, "id": 2})).await;
        assert_is_error(&answer, &name);
        bystander.check(&server).await;
    }
    for name in longest_topics() {
        client.subscribe(&[&name]).await;
    }
    bystander.check(&server).await;
}

/// Proves: the same bounds hold in paths.
#[tokio::test]
async fn names_that_are_no_topics_are_refused_in_paths() {
    let (server, mut bystander, _) = scene().await;
    for name in no_topics() {
        let posted = server.post(&format!("/publish/{}", percent(&name)), None, "1").await;
        assert!((400..500).contains(&posted.status), "{name:?}: {posted:?}");
        if !name.is_empty() {
            for path in ["/ws/", "/publish/", "/stream?streams="] {
                let answer = server.refused(&format!("{path}{}", percent(&name))).await;
                assert_eq!(answer.status, 400, "{path} {name:?}");
                assert!(!answer.text().trim().is_empty());
            }
        }
        bystander.check(&server).await;
    }
    for name in longest_topics() {
        server.connect(&format!("/ws/{}", percent(&name))).await.close().await;
    }
    // Bytes that are not UTF-8 can only come in a path.
    assert_eq!(server.refused("/ws/%ff%fe").await.status, 400);
    bystander.check(&server).await;
}

/// Every byte percent-encoded.
fn percent(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("t{n}")).collect()
}

/// Proves: the same bound holds for the topics of a URL.
#[tokio::test]
async fn a_url_with_too_many_topics_is_refused() {
    let (server, mut bystander, _) = scene().await;
    let answer = server.refused(&format!("/stream?streams={}", names(0..1_025).join("/"))).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("topics"), "{}", answer.text());
    bystander.check(&server).await;
    let mut full = server.connect(&format!("/stream?streams={}", names(0..1_024).join("/"))).await;
    let ack = full.ask(json!({"op": "subscribe", "args": ["one.more"]})).await;
    assert_eq!((ack["ok"].as_array().unwrap().len(), ack["err"].as_array().unwrap().len()), (0, 1), "{ack}");
    bystander.check(&server).await;
}

/// Proves: a message over the limit closes 1009: whole, in fragments, or merely announced; on every endpoint.
#[tokio::test]
async fn a_message_over_the_limit_closes_1009() {
    let (server, mut bystander, _) = scene().await;
    for path in ["/ws", "/publish/t"] {
        let mut whole = server.raw_upgraded(path).await;
        whole.write_unless_closed(&frame(FIN | BINARY, &vec![0; (1 << 20) + 1])).await;
        assert_eq!(whole.until_close().await, 1009, "{path}");
        whole.until_end().await;
        bystander.check(&server).await;

        let mut announced = server.raw_upgraded(path).await;
        announced.write(&frame_header(FIN | BINARY, 1 << 62, true)).await;
        assert_eq!(announced.until_close().await, 1009, "{path}");

        let mut flood = server.raw_upgraded(path).await;
        flood.write(&frame(TEXT, &[b'x'; 4_096])).await;
        let fragment = frame(CONTINUATION, &[b'x'; 4_096]);
        for _ in 0..300 {
            if !flood.write_unless_closed(&fragment).await {
                break;
            }
        }
        assert_eq!(flood.until_close().await, 1009, "{path}");
        bystander.check(&server).await;
    }
    server.until_metric("stentor_connections_dropped_total", &["too_big"], 6.0).await;
}

/// Proves: ten thousand empty fragments are only a slow way to send a message.
#[tokio::test]
async fn empty_fragments_do_no_harm() {
    let (server, mut bystander, _) = scene().await;
    let mut client = server.raw_upgraded("/ws").await;
    client.write(&frame(TEXT, br#"{"op":"#)).await;
    client.write(&frame(CONTINUATION, b"").repeat(10_000)).await;
    bystander.check(&server).await;
    client.write(&frame(FIN | CONTINUATION, br#""ping","id":3}"#)).await;
    let answer: Value = serde_json::from_str(&client.next_text().await).unwrap();
    assert_eq!(answer["id"], 3, "{answer}");
    bystander.check(&server).await;
}

/// One violation: what is sent after the handshake, and the code that it is closed with.
async fn expect_close(
    server: &TestServer,
    bystander: &mut Bystander,
    what: &str,
    bytes: &[u8],
    codes: &[u16],
) {
    for path in ["/ws/t", "/publish/t"] {
        let mut client = server.raw_upgraded(path).await;
        client.write(bytes).await;
        let code = client.until_close().await;
        assert!(codes.contains(&code), "{what} on {path}: closed {code}, not {codes:?}");
        // A client that answers the close sees the end of the connection.
        client.write_unless_closed(&frame(FIN | CLOSE, &code.to_be_bytes())).await;
        client.until_end().await;
        bystander.check(server).await;
    }
}

/// Proves: text that is not UTF-8 closes 1007, however it is cut; a character cut by a fragment is none.
#[tokio::test]
async fn text_that_is_not_utf8_closes_1007() {
    let (server, mut bystander, _) = scene().await;
    let mut split = frame(TEXT, &[b'"', 0xC3]);
    split.extend(frame(FIN, &[0x28, b'"']));
    let mut bad_reason = 1000u16.to_be_bytes().to_vec();
    bad_reason.push(0xFF);
    for (what, bytes) in [
        ("a lone byte", frame(FIN | TEXT, &[0xFF])),
        ("an overlong slash", frame(FIN | TEXT, &[0xC0, 0xAF])),
        ("a surrogate", frame(FIN | TEXT, &[0xED, 0xA0, 0x80])),
        ("a character without its end", frame(FIN | TEXT, &[b'a', 0xE2, 0x82])),
        ("fragments that do not fit", split),
        ("a close with such a reason", frame(FIN | CLOSE, &bad_reason)),
    ] {
        expect_close(&server, &mut bystander, what, &bytes, &[1007]).await;
    }
    let mut subscriber = server.connect("/ws/cut").await;
    let mut publisher = server.raw_upgraded("/publish/cut").await;
    publisher.write(&frame(TEXT, &[0xE2])).await;
    publisher.write(&frame(CONTINUATION, &[0x82])).await;
    publisher.write(&frame(FIN | CONTINUATION, &[0xAC])).await;
    assert_eq!(subscriber.next_text("a character in three pieces").await, "€");
}

/// Proves: frames that break RFC 6455 close 1002.
#[tokio::test]
async fn frames_that_break_the_rfc_close_1002() {
    let (server, mut bystander, _) = scene().await;
    let mut unmasked = frame_header(FIN | TEXT, 2, false);
    unmasked.extend_from_slice(b"{}");
    let mut second_start = frame(TEXT, b"a");
    second_start.extend(frame(FIN | TEXT, b"b"));
    let close = |code: u16| frame(FIN | CLOSE, &code.to_be_bytes());
    for (what, bytes) in [
        ("an unmasked frame", unmasked),
        ("the first reserved bit", frame(FIN | 0x40 | TEXT, b"{}")),
        ("the second reserved bit", frame(FIN | 0x20 | TEXT, b"{}")),
        ("the third reserved bit", frame(FIN | 0x10 | TEXT, b"{}")),
        ("an unknown data opcode", frame(FIN | 0x3, b"{}")),
        ("an unknown control opcode", frame(FIN | 0xB, b"")),
        ("a continuation without a start", frame(FIN | CONTINUATION, b"x")),
        ("a start within a message", second_start),
        ("a fragmented ping", frame(PING, b"x")),
        ("a ping of 126 bytes", frame(FIN | PING, &[0; 126])),
        ("a close of one byte", frame(FIN | CLOSE, &[3])),
        ("a close code that may not be sent", close(1005)),
        ("a close code that does not exist", close(999)),
    ] {
        expect_close(&server, &mut bystander, what, &bytes, &[1002]).await;
    }
    // The highest bit of a length must be 0: a broken frame, or one too large.
    let endless = frame_header(FIN | TEXT, u64::MAX, true);
    expect_close(&server, &mut bystander, "a length of 64 ones", &endless, &[1002, 1009]).await;
}

/// Proves: a handshake that is not finished in time is closed, whether it says nothing, half, or drips; others
/// get in meanwhile, and its place is free again after.
#[tokio::test]
async fn a_handshake_left_open_is_closed_at_its_deadline() {
    let server = TestServer::with(|settings| {
        settings.limits.handshake_s = 1;
        settings.limits.connections = 5;
    });
    let mut bystander = Bystander::on(&server).await;
    let mut silent = server.raw().await;
    let mut half = server.raw().await;
    half.write(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpg").await;
    let mut dripping = server.raw().await;
    let mut other = server.connect("/ws").await;
    other.subscribe(&["t"]).await;
    bystander.check(&server).await;
    // The deadline is for all of it: bytes do not put it off.
    let drip = async {
        for byte in upgrade_request("/ws", "").bytes().cycle() {
            if !dripping.write_unless_closed(&[byte]).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("one who drips to be closed", drip).await;
    half.until_end().await;
    silent.until_end().await;
    bystander.check(&server).await;
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(server.connect("/ws").await);
    }
    bystander.check(&server).await;
}

/// Proves: a message that is not finished in time closes its connection, on either stream, however its bytes drip; one
/// that is between messages may wait.
#[tokio::test]
async fn a_message_left_open_is_closed_at_its_deadline() {
    let server = TestServer::with(|settings| settings.limits.read_s = 1);
    let mut bystander = Bystander::on(&server).await;
    for (mut client, begun) in half_said(&server, "/ws").await {
        client.write(&begun).await;
        let drip = async {
            while client.write_unless_closed(b"x").await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("one who drips to be closed", drip).await;
        bystander.check(&server).await;
    }
    let reason = [r#"reason="read_deadline""#];
    assert_eq!(server.metric("stentor_connections_dropped_total", &reason).await, 2.0);
}

/// Proves: a request's head of 100 KiB ends in 431 or a close, in one header or in many, and never in a wait.
#[tokio::test]
async fn a_head_without_end_is_refused() {
    let (server, mut bystander, _) = scene().await;
    let one = format!("X-Long: {}\r\n", "x".repeat(100 << 10));
    let many: String = (0..5_000).map(|n| format!("X-{n}: some twenty bytes\r\n")).collect();
    for extra in [one, many] {
        let mut client = server.raw().await;
        client.write_unless_closed(upgrade_request("/ws", &extra).as_bytes()).await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        bystander.check(&server).await;
    }
}

/// Proves: requests that are no handshakes, and bytes that are no requests, are answered or closed at once.
#[tokio::test]
async fn what_is_no_handshake_is_told_so() {
    let (server, mut bystander, _) = scene().await;
    let upgrade = upgrade_request("/ws", "");
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /publish/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1",
        &upgrade.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        &upgrade.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        &upgrade.replace("HTTP/1.1", "HTTP/1.0"),
        &upgrade.replace("GET", "POST"),
    ] {
        let mut client = server.raw().await;
        client.write(request.as_bytes()).await;
        let answer = client.http_answer().await;
        assert!((400..500).contains(&answer.status), "{request}: {answer:?}");
        assert!(answer.text().contains("WebSocket"), "{request}: {}", answer.text());
        client.until_end().await;
        bystander.check(&server).await;
    }
    // A TLS greeting, a binary protocol, a line of text.
    for bytes in [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0; 64], b"hello\r\n\r\n"] {
        let mut client = server.raw().await;
        client.write(bytes).await;
        client.until_end().await;
        bystander.check(&server).await;
    }
}

/// Proves: an unknown path is 404 and told what there is; a query that cannot be read is 400.
#[tokio::test]
async fn an_unknown_path_is_told_what_there_is() {
    let (server, mut bystander, _) = scene().await;
    for path in ["/", "/nope", "/wss", "/WS/t", "/stream/t", "/publish", "/echo", "/metrics", "//ws"] {
        let answer = server.refused(path).await;
        assert_eq!(answer.status, 404, "{path}");
        let body = answer.text();
        assert!(["/ws", "/stream", "/publish/"].iter().all(|known| body.contains(known)), "{path}: {body}");
    }
    for path in [
        "/stream?streams=a&since=nonsense",
        "/stream?streams=a&since=k3f9:x",
        "/stream?streams=a&since=k3f9:1,k3f9:2",
        "/ws/t?since=5",
    ] {
        assert_eq!(server.refused(path).await.status, 400, "{path}");
    }
    bystander.check(&server).await;
}

async fn expect_no_seat(from: [u8; 4], server: &TestServer, wire: Wire) {
    let refused = AnyClient::seated(from, server, wire).await;
    let reason = refused.map(|_| ()).expect_err("there is no seat");
    assert!(reason.contains("limits.connections"), "{reason}");
}

/// Who is closed leaves a seat a moment later.
async fn until_seated(from: [u8; 4], server: &TestServer, wire: Wire) -> AnyClient {
    eventually_some("a seat to be free", async || AnyClient::seated(from, server, wire).await.ok()).await
}

/// Proves: a full server says why, and by HTTP when to come back; when one leaves, the next gets in. All wires share
/// the seats.
async fn a_full_server_says_when_to_come_back(wire: Wire) {
    let server = TestServer::with(|settings| settings.limits.connections = 2);
    let mut bystander = Bystander::by(&server, wire).await;
    for _ in 0..3 {
        let second = until_seated(HOME, &server, wire).await;
        for other in [Wire::WebSocket, Wire::Tcp, Wire::Udp] {
            expect_no_seat(HOME, &server, other).await;
            bystander.check(&server).await;
        }
        server.close(&second).await;
        drop(second);
        server.until_metric("stentor_connections", &[], 1.0).await;
    }
    bystander.check(&server).await;
}

/// Proves: the limit of an address is its own: another address gets in. Leases are counted by shard, here of one.
async fn a_full_address_leaves_the_others_their_seats(wire: Wire) {
    const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];
    let server = TestServer::with(|settings| {
        (settings.limits.connections_per_address, settings.shards) = (2, 1);
    });
    let mut bystander = Bystander::by(&server, wire).await;
    let second = AnyClient::seated(HOME, &server, wire).await.unwrap();
    expect_no_seat(HOME, &server, wire).await;
    let mut elsewhere = Vec::new();
    for _ in 0..2 {
        elsewhere.push(AnyClient::seated(ELSEWHERE, &server, wire).await.unwrap());
    }
    expect_no_seat(ELSEWHERE, &server, wire).await;
    bystander.check(&server).await;
    server.close(&second).await;
    drop(second);
    until_seated(HOME, &server, wire).await;
    bystander.check(&server).await;
}

/// Proves: a binary message where operations are expected is an error, and no more than that.
#[tokio::test]
async fn binary_is_no_operation() {
    let (server, mut bystander, mut client) = scene().await;
    for bytes in [br#"{"op":"subscribe","args":["t"]}"#.to_vec(), vec![], vec![0xFF; 1_000]] {
        client.send(Message::binary(bytes)).await;
        let answer = client.next_json("an error").await;
        assert_is_error(&answer, "binary");
    }
    let list = client.ask(json!({"op": "list"})).await;
    assert_eq!(list["ok"], json!([]), "{list}");
    bystander.check(&server).await;
}

/// Proves: operations faster than the limit close 4005, bad ones and binary ones count too; pongs, pings of the
/// transport and publishing do not.
#[tokio::test]
async fn operating_too_fast_closes_4005() {
    let server = TestServer::with(|settings| {
        settings.limits.operations_per_s = 1;
        settings.limits.operations_burst = 20;
    });
    let mut bystander = Bystander::on(&server).await;
    // A list is answered through the sequencer: what is under way when the close goes out does not arrive.
    for (flood, answers_min) in [
        (frame(FIN | TEXT, br#"{"op":"ping"}"#), 20),
        (frame(FIN | TEXT, br#"{"op":"list"}"#), 0),
        (frame(FIN | TEXT, b"nonsense"), 20),
        (frame(FIN | BINARY, b"nonsense"), 20),
    ] {
        let mut client = server.raw_upgraded("/ws").await;
        client.write_unless_closed(&flood.repeat(100)).await;
        let mut answers = 0;
        let code = loop {
            let frame = client.next_frame().await.expect("a close before the end");
            if frame.opcode() == CLOSE {
                break frame.close_code();
            }
            answers += 1;
        };
        assert_eq!(code, 4005);
        assert!((answers_min..40).contains(&answers), "{answers} answers before the close");
        bystander.check(&server).await;
    }
    server.until_metric("stentor_connections_dropped_total", &["rate_limited"], 4.0).await;

    let mut quiet = server.raw_upgraded("/ws").await;
    quiet.write(&frame(FIN | PONG, b"").repeat(1_000)).await;
    quiet.write(&frame(FIN | TEXT, br#"{"op":"publish","topic":"t","data":1}"#).repeat(1_000)).await;
    quiet.write(&frame(FIN | PING, b"alive")).await;
    assert_eq!(quiet.next_frame().await.unwrap().payload, b"alive");
    server.until_metric("stentor_connections_dropped_total", &["rate_limited"], 4.0).await;
    bystander.check(&server).await;
}

/// Proves: a client that stops halfway harms nobody, on either stream.
#[tokio::test]
async fn a_client_that_stops_halfway_harms_nobody() {
    let (server, mut bystander, _client) = scene().await;
    let halves = half_said(&server, "/publish/bystander").await;
    for ((mut half, begun), others) in halves.into_iter().zip([3.0, 2.0]) {
        half.write(&begun).await;
        half.write(b"12345").await;
        drop(half);
        server.until_metric("stentor_connections", &[], others).await;
        bystander.check(&server).await;
    }
}

/// A connection by each stream, and the beginning of a message of 1,000 bytes there.
async fn half_said(server: &TestServer, path: &str) -> [(RawClient, Vec<u8>); 2] {
    let websocket = server.raw_upgraded(path).await;
    let tcp = server.raw_tcp().await;
    [(websocket, frame_header(FIN | TEXT, 1_000, true)), (tcp, 1_000_u32.to_be_bytes().to_vec())]
}

/// Proves: a bad operation gets exactly one error, and the connection works on.
async fn bad_operations_get_one_error_each_and_the_connection_stays(wire: Wire) {
    let (server, mut bystander, mut client) = scene_by(wire).await;
    let deep = "[".repeat(100_000);
    let bad = [
        // Not JSON.
        "",
        " ",
        "{",
        "hello",
        r#"{"op":"list""#,
        r#"{"op":"list"} trailing"#,
        r#"{'op':'list'}"#,
        deep.as_str(),
        // Not an object.
        "[]",
        "1",
        "null",
        "true",
        r#""subscribe""#,
        r#"[{"op":"list"}]"#,
        // No operation, or none that exists.
        "{}",
        r#"{"op":null}"#,
        r#"{"op":1}"#,
        r#"{"op":["list"]}"#,
        r#"{"op":"fly"}"#,
        r#"{"op":"SUBSCRIBE","args":["a"]}"#,
        r#"{"op":""}"#,
        r#"{"event":"ack"}"#,
        // Wrong types.
        r#"{"op":"subscribe"}"#,
        r#"{"op":"subscribe","args":null}"#,
        r#"{"op":"subscribe","args":"a"}"#,
        r#"{"op":"subscribe","args":{"topic":"a"}}"#,
        r#"{"op":"subscribe","args":[1]}"#,
        r#"{"op":"subscribe","args":[null]}"#,
        r#"{"op":"subscribe","args":[["a"]]}"#,
        r#"{"op":"subscribe","args":[{"topic":1}]}"#,
        r#"{"op":"subscribe","args":[{}]}"#,
        r#"{"op":"subscribe","args":[{"topic":"a","since":5}]}"#,
        r#"{"op":"subscribe","args":[{"topic":"a","since":{"epoch":1,"seq":1}}]}"#,
        r#"{"op":"subscribe","args":[{"topic":"a","since":{"epoch":"k","seq":-1}}]}"#,
        r#"{"op":"subscribe","args":[{"topic":"a","since":{"epoch":"k","seq":1.5}}]}"#,
        r#"{"op":"subscribe","args":["a"],"heartbeat_s":"1"}"#,
        r#"{"op":"subscribe","args":["a"],"heartbeat_s":-1}"#,
        r#"{"op":"unsubscribe"}"#,
        r#"{"op":"unsubscribe","args":"a"}"#,
        r#"{"op":"publish"}"#,
        r#"{"op":"publish","topic":"t"}"#,
        r#"{"op":"publish","data":1}"#,
        r#"{"op":"publish","topic":1,"data":1}"#,
        r#"{"op":"publish","topic":"","data":1}"#,
        r#"{"op":"publish","topic":"a b","data":1}"#,
        r#"{"op":"publish","topic":"$sys.mine","data":1}"#,
        // Identifiers that cannot be echoed.
        r#"{"op":"list","id":{}}"#,
        r#"{"op":"list","id":[1]}"#,
        r#"{"op":"list","id":1.5}"#,
        r#"{"op":"list","id":true}"#,
    ];
    for text in bad {
        client.say_text(text).await;
        let answer = client.next_said(&format!("the error for {text:.100}")).await;
        assert_is_error(&answer, text);
    }
    bystander.check(&server).await;
    // One error each and no more; and nothing of it has subscribed anything.
    let list = client.ask(json!({"op": "list", "id": 1})).await;
    assert_eq!((&list["id"], &list["ok"]), (&json!(1), &json!([])), "{list}");
    bystander.check(&server).await;
}

/// Proves: an error names the operation it answers whenever its id can be read.
async fn an_error_echoes_the_id(wire: Wire) {
    let (_server, _bystander, mut client) = scene_by(wire).await;
    for id in [json!(7), json!(-1), json!(u64::MAX), json!("x\"y"), json!("")] {
        for mut operation in [
            json!({"op": "fly"}),
            json!({"op": "subscribe", "args": 1}),
            json!({"op": "publish", "topic": "t"}),
            json!({}),
        ] {
            operation["id"] = id.clone();
            let answer = client.ask(operation.clone()).await;
            assert_is_error(&answer, &operation.to_string());
            assert_eq!(answer["id"], id, "{operation}");
        }
    }
}

/// Proves: the 1,025th topic of a connection is refused, and told so, in one operation and over several; a place
/// given up can be taken again.
async fn a_connection_gets_its_topics_and_not_one_more(wire: Wire) {
    let (server, mut bystander, mut client) = scene_by(wire).await;
    let ack = client.ask(json!({"op": "subscribe", "args": names(0..1_025)})).await;
    assert_eq!(ack["ok"].as_array().unwrap().len(), 1_024);
    assert_eq!(ack["err"].as_array().unwrap().len(), 1);
    assert_eq!(ack["err"][0]["topic"], "t1024");
    bystander.check(&server).await;

    let mut other = AnyClient::connect(&server, wire).await;
    for start in (0..1_000).step_by(100) {
        let ack = other.ask(json!({"op": "subscribe", "args": names(start..start + 100)})).await;
        assert_eq!((ack["ok"].as_array().unwrap().len(), &ack["err"]), (100, &json!([])));
    }
    let ack = other.ask(json!({"op": "subscribe", "args": names(1_000..1_030)})).await;
    assert_eq!(ack["ok"].as_array().unwrap().len(), 24, "{ack}");
    assert_eq!(ack["err"].as_array().unwrap().len(), 6, "{ack}");
    for refused in ack["err"].as_array().unwrap() {
        assert!(refused["code"].is_string() && refused["message"].is_string(), "{refused}");
    }
    // What one has already is no topic more.
    let ack = other.ask(json!({"op": "subscribe", "args": ["t5"]})).await;
    assert_eq!((ack["ok"].as_array().unwrap().len(), &ack["err"]), (1, &json!([])), "{ack}");
    let left = other.ask(json!({"op": "unsubscribe", "args": ["t5"]})).await;
    assert_eq!(left["event"], "ack", "{left}");
    other.subscribe(&["another"]).await;
    let list = other.ask(json!({"op": "list"})).await;
    assert_eq!(list["ok"].as_array().unwrap().len(), 1_024);
    server.publish("another", "1").await;
    other.expect(&[message("another", 1, 1)]).await;

    // Not even by not waiting for the answers.
    let mut hasty = AnyClient::connect(&server, wire).await;
    for start in [0, 900, 1_800] {
        hasty.say(json!({"op": "subscribe", "args": names(start..start + 900)})).await;
    }
    let (mut granted, mut refused) = (0, 0);
    for _ in 0..3 {
        let ack = hasty.next_said("an ack").await;
        granted += ack["ok"].as_array().unwrap().len();
        refused += ack["err"].as_array().unwrap().len();
    }
    assert_eq!((granted, refused), (1_024, 2_700 - 1_024));
    bystander.check(&server).await;
}

/// Proves: an operation over its limit is an error by itself.
async fn an_operation_over_its_limit_is_one_error(wire: Wire) {
    let (server, mut bystander, mut client) = scene_by(wire).await;
    let long = format!(r#"{{"op":"subscribe","id":5,"args":["{}"]}}"#, "x".repeat(300 << 10));
    client.say_text(&long).await;
    let answer = client.next_said("an error").await;
    assert_eq!(answer["id"], 5, "{answer}");
    assert!(answer["event"] == "error" || answer["ok"] == json!([]), "{answer:.200}");
    bystander.check(&server).await;
}

/// Proves: a panic in one connection's code closes that connection and no other, and is counted.
async fn a_panic_closes_its_own_connection_only(wire: Wire) {
    // One shard, so that everybody lives where it happens.
    let server = TestServer::with(|settings| {
        settings.shards = 1;
        settings.diagnostics.panic = true;
    });
    let mut bystander = Bystander::by(&server, wire).await;
    let mut victim = AnyClient::on(&server, wire, &["bystander"]).await;
    bystander.check(&server).await;
    victim.expect(&[message("bystander", 2, 2)]).await;
    victim.say(json!({"op": "panic"})).await;
    assert_eq!(victim.until_close().await.0, 1011);
    drop(victim);
    bystander.check(&server).await;
    let panics = ("stentor_connections_dropped_total", &[r#"reason="panic""#][..]);
    server.until_metric(panics.0, panics.1, 1.0).await;
    server.until_metric("stentor_connections", &[], 1.0).await;
    server.until_metric("stentor_subscriptions", &[], 1.0).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    // Whoever comes next finds everything in order, in the same place.
    let mut next = AnyClient::on(&server, wire, &["bystander"]).await;
    bystander.check(&server).await;
    next.expect(&[message("bystander", 4, 4)]).await;
}

/// Proves: without the setting the drill is an unknown operation.
async fn the_panic_drill_is_off_by_default(wire: Wire) {
    let (server, mut bystander, mut client) = scene_by(wire).await;
    let answer = client.ask(json!({"op": "panic", "id": 1})).await;
    assert_is_error(&answer, "panic");
    assert_eq!(server.metric("stentor_connections_dropped_total", &["panic"]).await, 0.0);
    bystander.check(&server).await;
}

matrix! {
    everywhere:
        names_that_are_no_topics_are_refused
        a_full_server_says_when_to_come_back
        a_full_address_leaves_the_others_their_seats
        an_error_echoes_the_id
        a_panic_closes_its_own_connection_only
        the_panic_drill_is_off_by_default;
    streams:
        bad_operations_get_one_error_each_and_the_connection_stays
        a_connection_gets_its_topics_and_not_one_more
        an_operation_over_its_limit_is_one_error;
}
