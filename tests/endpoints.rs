//! Proves: what each WebSocket path is for, and how payloads look on it.
//! Method: a server in this process; library, HTTP and WebSocket publishers; every byte that arrives is compared.

mod common;

use common::{FIN, PING, PONG, TEXT, TestServer, frame};
use serde_json::{Value, json};
use stentor::Payload;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

/// Proves: `/ws/<topic>` delivers each payload verbatim, and the topic is percent-decoded.
#[tokio::test]
async fn a_topic_in_the_path_is_percent_decoded_and_delivered_verbatim() {
    let server = TestServer::start();
    for (path, topic) in [
        ("/ws/btcusdt@trade", "btcusdt@trade"),
        ("/ws/btcusdt%40trade", "btcusdt@trade"),
        ("/ws/a%2Fb", "a/b"),
        ("/ws/a.b-c:d!e_f", "a.b-c:d!e_f"),
        ("/ws/gr%C3%BC%C3%9Fe", "grüße"),
        ("/ws/100%25", "100%"),
    ] {
        let mut client = server.connect(path).await;
        let payload = format!("{{ \"from\" : \"{topic}\", \"pi\": 3.140 }}");
        server.publish(topic, payload.clone()).await;
        assert_eq!(client.next_text(path).await, payload);
        client.close().await;
    }
}

/// Proves: on `/ws` nothing is subscribed, and data comes verbatim once something is.
#[tokio::test]
async fn a_bare_session_has_no_subscriptions_and_gets_data_verbatim() {
    let server = TestServer::start();
    let mut client = server.connect("/ws").await;
    server.publish("a", "[1]").await;
    let list = client.ask(json!({"op": "list"})).await;
    assert_eq!(list["ok"], json!([]), "{list}");
    client.subscribe(&["a"]).await;
    server.publish("a", "[ 2 ]").await;
    assert_eq!(client.next_text("the message after the ack").await, "[ 2 ]");
}

/// Proves: `/stream` splits on `/` and `,` first and decodes after, and envelopes are byte-exact.
#[tokio::test]
async fn a_combined_stream_splits_first_and_decodes_after() {
    let server = TestServer::start();
    let mut client = server.connect("/stream?streams=a%2Fb/c@d,e%2Cf").await;
    for (topic, envelope) in [
        ("a/b", r#"{"stream":"a/b","data":{"n": 1.0}}"#),
        ("c@d", r#"{"stream":"c@d","data":{"n": 1.0}}"#),
        ("e,f", r#"{"stream":"e,f","data":{"n": 1.0}}"#),
    ] {
        server.publish(topic, r#"{"n": 1.0}"#).await;
        assert_eq!(client.next_text(topic).await, envelope);
    }
    for elsewhere in ["a", "b", "e", "f"] {
        server.publish(elsewhere, "0").await;
    }
    let list = client.ask(json!({"op": "list"})).await;
    let mut topics: Vec<_> = list["ok"].as_array().unwrap().iter().map(|one| one["topic"].clone()).collect();
    topics.sort_by_key(Value::to_string);
    assert_eq!(topics, ["a/b", "c@d", "e,f"]);
}

/// Proves: a name with a quote and a backslash is escaped in the envelope, so that the envelope parses.
#[tokio::test]
async fn a_topic_that_needs_escaping_is_escaped_in_the_envelope() {
    let server = TestServer::start();
    let topic = r#"say"hi"\now"#;
    let mut client = server.connect("/stream?streams=say%22hi%22%5Cnow&seq=1").await;
    server.publish(topic, "true").await;
    let envelope = client.next_json("the envelope").await;
    assert_eq!(envelope, json!({"stream": topic, "seq": 1, "data": true}));
}

/// Proves: `seq=1` puts the topic's sequence between stream and data, and `ts=1` adds microseconds.
#[tokio::test]
async fn sequence_and_time_join_the_envelope_when_asked_for() {
    let server = TestServer::start();
    let mut with_seq = server.connect("/stream?streams=a/b&seq=1").await;
    let mut with_ts = server.connect("/stream?streams=a&ts=1").await;
    let mut with_both = server.connect("/stream?streams=a&seq=1&ts=1").await;
    server.publish("a", "\"x\"").await;
    server.publish("b", "\"y\"").await;
    assert_eq!(with_seq.next_text("a's first").await, r#"{"stream":"a","seq":1,"data":"x"}"#);
    assert_eq!(with_seq.next_text("b's first").await, r#"{"stream":"b","seq":1,"data":"y"}"#);
    server.publish("a", "\"z\"").await;
    assert_eq!(with_seq.next_text("a's second").await, r#"{"stream":"a","seq":2,"data":"z"}"#);

    let envelope = with_ts.next_json("an envelope with the time").await;
    assert!(envelope.get("seq").is_none(), "{envelope}");
    let microseconds = envelope["ts"].as_u64().unwrap();
    // Between 2020 and 2100: neither milliseconds nor nanoseconds.
    assert!((1_577_836_800_000_000..4_102_444_800_000_000).contains(&microseconds), "{envelope}");
    let envelope = with_both.next_json("an envelope with both").await;
    assert_eq!((&envelope["seq"], &envelope["data"]), (&json!(1), &json!("x")), "{envelope}");
    assert_eq!(envelope["ts"].as_u64(), Some(microseconds), "one message has one time");
}

/// Proves: what is published right after a handshake returns is never missed, raw or combined.
/// Method: 200 connections, each followed at once by a publish from the library, which nothing delays.
#[tokio::test]
async fn after_the_101_nothing_is_missed() {
    let server = TestServer::start();
    let publisher = server.publisher();
    for round in 0..200 {
        let topic = format!("fresh.{}", round % 50);
        let (path, expected) = if round % 2 == 0 {
            (format!("/ws/{topic}"), format!("{round}"))
        } else {
            (format!("/stream?streams=other/{topic}"), format!(r#"{{"stream":"{topic}","data":{round}}}"#))
        };
        let mut client = server.connect(&path).await;
        assert_eq!(publisher.publish(topic, round.to_string()).unwrap(), stentor::Accepted::Yes);
        assert_eq!(client.next_text("what was published after the 101").await, expected);
        client.close().await;
    }
}

/// Proves: each message received on `/publish/<topic>` is published verbatim, in order, in its own kind.
#[tokio::test]
async fn a_publishing_connection_publishes_verbatim_and_in_order() {
    let server = TestServer::start();
    let mut subscriber = server.connect("/ws/prices/eur").await;
    let mut publisher = server.connect("/publish/prices%2Feur").await;
    for round in 0..100u8 {
        publisher.send_text(format!("{{ \"n\":{round} }}")).await;
        publisher.send_text(format!("not json {round}")).await;
        publisher.send(Message::binary(vec![0xFF, round])).await;
    }
    // An operation is a message like any other here.
    publisher.send_text(r#"{"op":"list"}"#).await;
    for round in 0..100u8 {
        assert_eq!(subscriber.next_text("JSON").await, format!("{{ \"n\":{round} }}"));
        assert_eq!(subscriber.next_text("text").await, format!("not json {round}"));
        assert_eq!(subscriber.next_binary("binary").await, [0xFF, round]);
    }
    assert_eq!(subscriber.next_text("the last").await, r#"{"op":"list"}"#);
}

/// Proves: a message sent in fragments is one message.
#[tokio::test]
async fn fragments_are_one_message() {
    let server = TestServer::start();
    let mut subscriber = server.connect("/ws/t").await;
    let mut publisher = server.raw_upgraded("/publish/t").await;
    publisher.write(&frame(TEXT, b"{\"a\":")).await;
    // Control frames may come between fragments.
    publisher.write(&frame(FIN | PING, b"mid")).await;
    publisher.write(&frame(0, b"")).await;
    publisher.write(&frame(FIN, b"1}")).await;
    assert_eq!(subscriber.next_text("the whole").await, "{\"a\":1}");
    let pong = publisher.next_frame().await.unwrap();
    assert_eq!((pong.first, pong.payload), (FIN | PONG, b"mid".to_vec()));
}

/// Proves: `/echo` exists exactly when `diagnostics.echo` says so, and returns every message unchanged.
#[tokio::test]
async fn echo_is_there_only_when_configured() {
    let without = TestServer::start();
    assert_eq!(without.refused("/echo").await.status, 404);

    let server = TestServer::with(|settings| settings.diagnostics.echo = true);
    let mut client = server.connect("/echo").await;
    let messages = [
        Message::text("hello"),
        Message::text(""),
        Message::text(r#"{"op":"subscribe","args":["a"]}"#),
        Message::binary(vec![]),
        Message::binary((0..=255).collect::<Vec<u8>>()),
        Message::text("x".repeat(125)),
        Message::text("x".repeat(126)),
        Message::text("x".repeat(65_535)),
        Message::text("x".repeat(65_536)),
        Message::binary(vec![7; 1 << 20]),
    ];
    for message in messages {
        client.send(message.clone()).await;
        let echoed = client.next_named("the echo").await.unwrap();
        assert!(echoed == message, "{} bytes of another kind or content", message.len());
    }
}

/// A payload, how it arrives raw (text or binary), and its envelope behind the stream's name.
struct Kind {
    name: &'static str,
    content_type: Option<&'static str>,
    payload: Vec<u8>,
    is_text: bool,
    enveloped: &'static str,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, content_type, payload: &[u8], is_text, enveloped| Kind {
        name,
        content_type,
        payload: payload.to_vec(),
        is_text,
        enveloped,
    };
    let json_mime = Some("application/json");
    vec![
        kind("object", json_mime, b"{ \"p\" : 1.10,\"e\":1e3 }", true, "\"data\":{ \"p\" : 1.10,\"e\":1e3 }"),
        kind("big number", json_mime, b"12345678901234567890.10", true, "\"data\":12345678901234567890.10"),
        kind("null", json_mime, b"null", true, "\"data\":null"),
        kind("JSON with charset", Some("application/json; charset=utf-8"), b"[]", true, "\"data\":[]"),
        kind("JSON as text/plain", Some("text/plain"), b"{\"a\":1}", true, "\"data\":{\"a\":1}"),
        kind("JSON undeclared", None, b"[1, 2]", true, "\"data\":[1, 2]"),
        kind("text", Some("text/plain"), "say \"hi\"\n\\ é".as_bytes(), true, r#""text":"say \"hi\"\n\\ é""#),
        kind("text undeclared", None, b"hello", true, "\"text\":\"hello\""),
        kind(
            "binary",
            Some("application/octet-stream"),
            &[0, 1, 0xFE, 0xFF],
            false,
            "\"base64\":\"AAH+/w==\"",
        ),
        kind("binary undeclared", None, &[0xC3, 0x28], false, "\"base64\":\"wyg=\""),
        kind("ASCII declared binary", Some("image/png"), b"PNG", false, "\"base64\":\"UE5H\""),
    ]
}

/// Proves: a payload keeps its kind and its bytes from HTTP to both envelopes.
#[tokio::test]
async fn every_kind_published_by_http_arrives_byte_for_byte() {
    let server = TestServer::start();
    let mut raw = server.connect("/ws/k").await;
    let mut combined = server.connect("/stream?streams=k&seq=1").await;
    for (at, kind) in kinds().iter().enumerate() {
        let answer = server.post("/publish/k", kind.content_type, kind.payload.clone()).await;
        assert_eq!(answer.status, 200, "{}: {}", kind.name, answer.text());
        let arrived = raw.next_named(kind.name).await.unwrap();
        assert_eq!(arrived.is_text(), kind.is_text, "{}", kind.name);
        assert_eq!(arrived.into_data().as_ref(), kind.payload, "{}", kind.name);
        let envelope = format!(r#"{{"stream":"k","seq":{},{}}}"#, at + 1, kind.enveloped);
        assert_eq!(combined.next_text(kind.name).await, envelope, "{}", kind.name);
    }
}

/// Proves: the same by WebSocket, where the frame says what it is; text that is JSON is JSON.
#[tokio::test]
async fn every_kind_published_by_websocket_arrives_byte_for_byte() {
    let server = TestServer::start();
    let mut raw = server.connect("/ws/k").await;
    let mut combined = server.connect("/stream?streams=k").await;
    let mut publisher = server.connect("/publish/k").await;
    for kind in kinds() {
        let sent = match String::from_utf8(kind.payload.clone()) {
            Ok(text) if kind.is_text => Message::text(text),
            _ => Message::binary(kind.payload.clone()),
        };
        publisher.send(sent).await;
        let arrived = raw.next_named(kind.name).await.unwrap();
        assert_eq!(arrived.is_text(), kind.is_text, "{}", kind.name);
        assert_eq!(arrived.into_data().as_ref(), kind.payload, "{}", kind.name);
        let envelope = format!(r#"{{"stream":"k",{}}}"#, kind.enveloped);
        assert_eq!(combined.next_text(kind.name).await, envelope, "{}", kind.name);
    }
}

/// Proves: the library's explicit kinds arrive as what they are, the empty ones too, and payloads at each of a
/// frame header's lengths arrive whole.
#[tokio::test]
async fn payloads_of_every_header_length_arrive_whole() {
    let server = TestServer::start();
    let mut raw = server.connect("/ws/k").await;
    let mut combined = server.connect("/stream?streams=k").await;
    let publisher = server.publisher();
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let text = "x".repeat(len);
        publisher.publish_and_wait("k", Payload::text(text.clone())).await.unwrap();
        assert!(raw.next_text("a text").await == text, "{len} bytes of text differ");
        let envelope = combined.next_text("an envelope of text").await;
        assert!(envelope == format!(r#"{{"stream":"k","text":"{text}"}}"#), "{len} bytes of text differ");
        publisher.publish_and_wait("k", Payload::binary(vec![0xFF; len])).await.unwrap();
        assert!(raw.next_binary("binary").await == vec![0xFF; len], "{len} binary bytes differ");
        let envelope = combined.next_json("an envelope of binary").await;
        assert!(envelope["base64"].is_string(), "{len} binary bytes");
    }
}

/// Proves: `stentor.v1` is echoed when offered, alone or among others; nothing is chosen otherwise.
#[tokio::test]
async fn the_subprotocol_is_echoed_when_offered() {
    let server = TestServer::start();
    for (offered, chosen) in [("stentor.v1", Some("stentor.v1")), ("other, stentor.v1", Some("stentor.v1"))] {
        let client = server.connect_with("/ws", &[("sec-websocket-protocol", offered)]).await;
        assert_eq!(client.subprotocol.as_deref(), chosen, "offered {offered}");
    }
    assert_eq!(server.connect("/ws").await.subprotocol, None);
    // By hand: a library gives up when none of its protocols is chosen.
    let mut raw = server.raw().await;
    raw.write(common::upgrade_request("/ws", "Sec-WebSocket-Protocol: stentor.v9\r\n").as_bytes()).await;
    let answer = raw.http_answer().await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None));
}

/// Proves: the answer to the handshake is RFC 6455's own example.
#[tokio::test]
async fn the_handshake_answers_the_key() {
    let server = TestServer::start();
    let answer = server.raw().await.upgrade("/ws").await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(answer.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
}

/// Proves: a ping comes back as a pong with its payload, on every endpoint, in the midst of data.
#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let server = TestServer::with(|settings| settings.diagnostics.echo = true);
    for path in ["/ws", "/ws/t", "/stream?streams=t", "/publish/t", "/echo"] {
        let mut client = server.raw_upgraded(path).await;
        for payload in [b"".as_slice(), b"ping", &[0xFF; 125]] {
            client.write(&frame(FIN | PING, payload)).await;
            let pong = client.next_frame().await.unwrap();
            assert_eq!((pong.first, pong.payload.as_slice()), (FIN | PONG, payload), "{path}");
        }
        // A pong nobody asked for is nothing.
        client.write(&frame(FIN | PONG, b"unasked")).await;
        client.write(&frame(FIN | PING, b"still here")).await;
        assert_eq!(client.next_frame().await.unwrap().payload, b"still here", "{path}");
    }
}

/// Proves: a close is answered with its code, and then the connection ends.
#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let server = TestServer::start();
    for code in [1000u16, 1001, 3000, 4321] {
        let mut client = server.raw_upgraded("/ws/t").await;
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(b"bye");
        client.write(&frame(FIN | common::CLOSE, &payload)).await;
        let answer = client.next_frame().await.unwrap();
        assert_eq!(answer.close_code(), code);
        assert_eq!(client.next_frame().await, None);
    }
    // Without a code there is none to answer with: empty, or 1000.
    let mut client = server.raw_upgraded("/ws/t").await;
    client.write(&frame(FIN | common::CLOSE, b"")).await;
    let answer = client.next_frame().await.unwrap();
    assert_eq!(answer.opcode(), common::CLOSE);
    assert!(answer.payload.is_empty() || answer.close_code() == 1000, "{answer:?}");
    assert_eq!(client.next_frame().await, None);
}

/// Proves: what comes before a close counts and what comes behind it does not.
#[tokio::test]
async fn nothing_behind_a_close_is_taken() {
    let server = TestServer::start();
    let mut subscriber = server.connect("/ws/t").await;
    let mut publisher = server.raw_upgraded("/publish/t").await;
    let mut bytes = frame(FIN | TEXT, b"1");
    bytes.extend(frame(FIN | common::CLOSE, &1000u16.to_be_bytes()));
    bytes.extend(frame(FIN | TEXT, b"2"));
    publisher.write(&bytes).await;
    assert_eq!(publisher.until_close().await, 1000);
    publisher.until_end().await;
    assert_eq!(subscriber.next_text("what came before the close").await, "1");
    subscriber.expect_only(&server, &[]).await;
}

/// Proves: the answer to a publisher's close says that it has been told of all that was refused, also where it says no
/// more at all and where the sequencer has no room.
#[tokio::test]
async fn refusals_come_before_the_answer_to_a_close() {
    let server = TestServer::with(|settings| settings.limits.sequencer_frames = 4);
    server.publish("t", "1").await;
    for (path, message) in
        [("/publish/t?seq=1", "1"), ("/ws", r#"{"op":"publish","topic":"t","seq":1,"data":1}"#)]
    {
        for round in 0..20 {
            let mut publisher = server.raw_upgraded(path).await;
            let mut bytes = frame(FIN | TEXT, message.as_bytes()).repeat(if path == "/ws" { 50 } else { 1 });
            bytes.extend(frame(FIN | common::CLOSE, &3000u16.to_be_bytes()));
            publisher.write(&bytes).await;
            if round % 2 == 0 {
                publisher.stream.shutdown().await.unwrap();
            }
            for _ in 0..if path == "/ws" { 50 } else { 1 } {
                assert!(publisher.next_text().await.contains(r#""code":"stale""#), "{path} {round}");
            }
            assert_eq!(publisher.until_close().await, 3000, "{path} {round}");
            publisher.write_unless_closed(&frame(FIN | common::CLOSE, &[])).await;
            publisher.until_end().await;
        }
    }
}

/// Proves: a frame may come byte by byte.
#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let server = TestServer::start();
    let mut client = server.raw_upgraded("/ws").await;
    for byte in frame(FIN | TEXT, br#"{"op":"ping","id":"slowly"}"#) {
        client.write(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(client.next_text().await.contains("slowly"));
}

/// Proves: a client on IPv4 loopback is local to a dual-stack listener too, which sees it as `::ffff:127.0.0.1`.
#[tokio::test]
async fn loopback_is_loopback_on_a_dual_stack_listener() {
    let any = "[::]:0".parse().unwrap();
    // A machine without IPv6 has no such listener.
    let Ok(server) = stentor::Server::builder().listen(any).admin(any).shards(1).start() else { return };
    let address = format!("127.0.0.1:{}", server.websocket_address().port());
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let shaken = tokio_tungstenite::client_async(format!("ws://{address}/publish/t"), stream).await;
    assert!(shaken.is_ok(), "{:?}", shaken.err());
}
