//! Proves: operations are answered as the protocol says, each dialect in its own words, on the same socket. What holds
//! on every wire is in `matrix.rs`.
//! Method: a server in this process, clients that compare whole answers; where an order is promised, publishers
//! keep publishing while it is tested.

mod common;

use common::{Client, TestServer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every kind of id, each of which must come back as it went.
fn ids() -> Vec<Value> {
    vec![
        json!(0),
        json!(7),
        json!(-3),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(""),
        json!("seven"),
        json!("\"\\\u{1}é"),
        Value::Null,
    ]
}

/// Sends an operation with this id, or none, and checks that the answer has the same.
async fn ask_with_id(client: &mut Client, mut operation: Value, id: Option<Value>) -> Value {
    if let Some(id) = &id {
        operation["id"] = id.clone();
    }
    let answer = client.ask(operation.clone()).await;
    match &id {
        Some(id) => assert_eq!(answer.get("id"), Some(id), "{operation} -> {answer}"),
        None => assert!(answer.get("id").is_none_or(Value::is_null), "{operation} -> {answer}"),
    }
    answer
}

/// The topics an ack grants, sorted.
fn topics(ack: &Value) -> Vec<&str> {
    let ok = ack["ok"].as_array().expect("a list");
    let mut topics: Vec<_> = ok.iter().map(|one| one["topic"].as_str().expect("a topic")).collect();
    topics.sort_unstable();
    topics
}

/// Proves: a publish with an id (null is one) is acked with its sequence; without, it is not answered at all.
#[tokio::test]
async fn a_publish_is_acked_exactly_when_it_has_an_id() {
    let server = TestServer::start();
    let mut subscriber = server.connect("/stream?streams=t&seq=1").await;
    let mut client = server.connect("/ws").await;
    let mut seq = 0;
    for id in ids() {
        for payload in ["data", "text", "base64"] {
            seq += 1;
            let mut publish = json!({"op": "publish", "topic": "t"});
            publish[payload] = json!("YWI=");
            let ack = ask_with_id(&mut client, publish, Some(id.clone())).await;
            assert_eq!((&ack["event"], &ack["op"]), (&json!("ack"), &json!("publish")), "{ack}");
            assert_eq!((&ack["ok"][0]["topic"], &ack["ok"][0]["seq"]), (&json!("t"), &json!(seq)), "{ack}");
            let envelope = subscriber.next_json("what was published").await;
            assert_eq!(envelope["seq"], seq, "{envelope}");
        }
    }
    // What was published without an id is on its way before the ping is read; the pong is the only answer.
    client.send_text(r#"{"op":"publish","topic":"t","data":{ "verbatim" : 1.0e2 }}"#).await;
    let pong = client.ask(json!({"op": "ping", "id": 1})).await;
    assert_eq!((&pong["event"], &pong["id"]), (&json!("pong"), &json!(1)));
    assert_eq!(
        subscriber.next_text("the verbatim message").await,
        format!(r#"{{"stream":"t","seq":{},"data":{{ "verbatim" : 1.0e2 }}}}"#, seq + 1)
    );
}

/// Proves: the three ways of naming a payload arrive as their kinds; naming none or two is an error.
#[tokio::test]
async fn a_publish_names_its_payload_once() {
    let server = TestServer::start();
    let mut raw = server.connect("/ws/t").await;
    let mut client = server.connect("/ws").await;
    client.send_json(json!({"op": "publish", "topic": "t", "data": null})).await;
    assert_eq!(raw.next_text("null").await, "null");
    client.send_json(json!({"op": "publish", "topic": "t", "text": "plain \u{0}"})).await;
    assert_eq!(raw.next_text("text").await, "plain \u{0}");
    client.send_json(json!({"op": "publish", "topic": "t", "base64": "AP8="})).await;
    assert_eq!(raw.next_binary("binary").await, [0, 255]);
    for bad in [
        json!({"op": "publish", "topic": "t", "data": 1, "text": "x"}),
        json!({"op": "publish", "topic": "t", "text": 1}),
        json!({"op": "publish", "topic": "t", "base64": "not base64!"}),
    ] {
        let answer = client.ask(bad.clone()).await;
        assert_eq!(answer["event"], "error", "{bad} -> {answer}");
    }
    raw.expect_only(&server, &[]).await;
}

/// Proves: one who publishes to what he subscribes gets the message, and both ack and message come once.
#[tokio::test]
async fn a_publisher_hears_himself_where_he_listens() {
    let server = TestServer::start();
    let mut client = server.connect("/ws/t").await;
    client.send_text(r#"{"op":"publish","topic":"t","data":"echo","id":1}"#).await;
    let mut came = [client.next_text("one of two").await, client.next_text("the other").await];
    came.sort_unstable();
    assert_eq!(came[0], "\"echo\"");
    assert!(came[1].contains(r#""op":"publish""#), "{came:?}");
    client.expect_only(&server, &[]).await;
}

/// Proves: subscriptions in the URL are not acked, can be listed, and can be left.
#[tokio::test]
async fn subscriptions_of_the_url_are_not_acked_but_are_listed_and_left() {
    let server = TestServer::start();
    let mut client = server.connect("/stream?streams=a/b").await;
    server.publish("b", "1").await;
    assert_eq!(client.next_text("no ack but a message").await, r#"{"stream":"b","data":1}"#);
    let list = client.ask(json!({"op": "list"})).await;
    assert_eq!(topics(&list), ["a", "b"], "{list}");
    client.ask(json!({"op": "unsubscribe", "args": ["a"]})).await;
    server.publish("a", "1").await;
    server.publish("b", "2").await;
    assert_eq!(client.next_text("b's message").await, r#"{"stream":"b","data":2}"#);
}

/// Proves: however often a topic is subscribed on one connection, a message comes once; leaving once is enough.
#[tokio::test]
async fn overlapping_subscriptions_get_a_message_once() {
    let server = TestServer::start();
    let mut client = server.connect("/ws/t").await;
    client.send_json(json!({"op": "subscribe", "args": ["t", "t"]})).await;
    assert_eq!(client.next_json("an ack").await["err"], json!([]));
    client.send_json(json!({"method": "SUBSCRIBE", "params": ["t"], "id": 1})).await;
    assert_eq!(client.next_json("a result").await, json!({"result": null, "id": 1}));
    server.publish("t", "1").await;
    server.publish("t", "2").await;
    client.expect_only(&server, &["1", "2"]).await;
    server.until_metric("stentor_subscriptions", &[], 1.0).await;
    client.ask(json!({"op": "unsubscribe", "args": ["t"]})).await;
    server.publish("t", "3").await;
    client.expect_only(&server, &[]).await;
}

/// Proves: heartbeats come to who asked for them, with the head of each topic, and to nobody else.
#[tokio::test]
async fn heartbeats_come_only_when_asked_for() {
    let server = TestServer::start();
    server.publish("a", "0").await;
    let mut asking = server.connect("/ws").await;
    let mut quiet = server.connect("/ws").await;
    quiet.subscribe(&["a", "b"]).await;
    let ack = asking.ask(json!({"op": "subscribe", "args": ["a", "b"], "heartbeat_s": 1})).await;
    assert_eq!(ack["err"], json!([]), "{ack}");
    let heartbeat = asking.next_json("a heartbeat").await;
    assert_eq!(heartbeat, json!({"event": "heartbeat", "seq": {"a": 1, "b": 0}}));
    server.publish("b", "1").await;
    loop {
        let text = asking.next_text("a heartbeat that knows of the message").await;
        if text == r#"{"event":"heartbeat","seq":{"a":1,"b":1}}"# {
            break;
        }
    }
    quiet.expect_only(&server, &["1"]).await;
}

/// Proves: the Binance dialect, answer by answer.
#[tokio::test]
async fn the_binance_dialect_answers_as_that_venue_does() {
    let server = TestServer::start();
    let mut client = server.connect("/ws").await;
    for id in ids() {
        let subscribe = json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "a"], "id": id});
        assert_eq!(client.ask(subscribe).await, json!({"result": null, "id": id}));
        let mut list = client.ask(json!({"method": "LIST_SUBSCRIPTIONS", "id": id})).await;
        if let Some(streams) = list["result"].as_array_mut() {
            streams.sort_by_key(Value::to_string);
        }
        assert_eq!(list, json!({"result": ["a", "btcusdt@trade"], "id": id}));
        let unsubscribe = json!({"method": "UNSUBSCRIBE", "params": ["a", "btcusdt@trade"], "id": id});
        assert_eq!(client.ask(unsubscribe).await, json!({"result": null, "id": id}));
        let list = client.ask(json!({"method": "LIST_SUBSCRIPTIONS", "id": id})).await;
        assert_eq!(list, json!({"result": [], "id": id}));
        for on in [true, false] {
            let set = json!({"method": "SET_PROPERTY", "params": ["combined", on], "id": id});
            assert_eq!(client.ask(set).await, json!({"result": null, "id": id}));
            let get = json!({"method": "GET_PROPERTY", "params": ["combined"], "id": id});
            assert_eq!(client.ask(get).await, json!({"result": on, "id": id}));
        }
    }
}

/// Proves: the Binance dialect's errors: their codes, the id where one was given, and the connection stays.
#[tokio::test]
async fn the_binance_dialect_fails_as_that_venue_does() {
    let server = TestServer::start();
    let mut client = server.connect("/ws").await;
    let list = json!({"method": "LIST_SUBSCRIPTIONS", "id": 1});
    assert_eq!(client.ask(list.clone()).await, json!({"result": [], "id": 1}));
    for (operation, code) in [
        (json!({"method": "SET_PROPERTY", "params": ["colour", true], "id": 9}), 0),
        (json!({"method": "GET_PROPERTY", "params": ["colour"], "id": 9}), 0),
        (json!({"method": "SET_PROPERTY", "params": ["combined", "true"], "id": 9}), 1),
        (json!({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 9}), 1),
        (json!({"method": "SET_PROPERTY", "params": ["combined", null], "id": 9}), 1),
        (json!({"method": "FLY", "params": ["a"], "id": 9}), 2),
        (json!({"method": "subscribe", "params": ["a"], "id": 9}), 2),
        (json!({"method": 1, "params": ["a"], "id": 9}), 2),
        (json!({"method": "SUBSCRIBE", "id": 9}), 2),
        (json!({"method": "SUBSCRIBE", "params": "a", "id": 9}), 2),
        (json!({"method": "SUBSCRIBE", "params": [1], "id": 9}), 2),
        (json!({"method": "SUBSCRIBE", "params": ["a b"], "id": 9}), 2),
        (json!({"method": "UNSUBSCRIBE", "params": {}, "id": 9}), 2),
    ] {
        let answer = client.ask(operation.clone()).await;
        assert_eq!((&answer["code"], &answer["id"]), (&json!(code), &json!(9)), "{operation} -> {answer}");
        assert!(answer["msg"].as_str().is_some_and(|msg| !msg.is_empty()), "{operation} -> {answer}");
    }
    for (text, code) in [
        (r#"{"method":"SUBSCRIBE","params":["a"],"id":"#, 3),
        ("nonsense", 3),
        (r#"{"method":"SUBSCRIBE","params":["a"],"id":1.5}"#, 2),
        (r#"{"method":"SUBSCRIBE","params":["a"],"id":{}}"#, 2),
        (r#"{"method":"SUBSCRIBE","params":["a"],"id":false}"#, 2),
    ] {
        client.send_text(text).await;
        let answer = client.next_json(text).await;
        assert_eq!(answer["code"], code, "{text} -> {answer}");
        assert!(answer.get("id").is_none_or(Value::is_null), "{text} -> {answer}");
    }
    assert_eq!(client.ask(list).await, json!({"result": [], "id": 1}), "nothing of it subscribed anything");
}

/// Proves: both dialects speak of the same subscriptions on one socket, each in its own words.
#[tokio::test]
async fn both_dialects_share_one_socket() {
    let server = TestServer::start();
    let mut client = server.connect("/ws").await;
    client.subscribe(&["native"]).await;
    let subscribe = json!({"method": "SUBSCRIBE", "params": ["binance"], "id": "b"});
    assert_eq!(client.ask(subscribe).await, json!({"result": null, "id": "b"}));
    let list = client.ask(json!({"op": "list", "id": "n"})).await;
    assert_eq!((topics(&list), &list["id"]), (vec!["binance", "native"], &json!("n")));
    let unsubscribe = json!({"method": "UNSUBSCRIBE", "params": ["native"], "id": null});
    assert_eq!(client.ask(unsubscribe).await, json!({"result": null, "id": null}));
    let error = client.ask(json!({"op": "fly", "id": 1})).await;
    assert_eq!((&error["event"], &error["id"]), (&json!("error"), &json!(1)));
    server.publish("native", "1").await;
    server.publish("binance", "2").await;
    client.expect_only(&server, &["2"]).await;
}

/// Proves: answers come in the order of the operations, whatever their kind.
#[tokio::test]
async fn answers_to_one_kind_of_operation_come_in_order() {
    let server = TestServer::start();
    let mut client = server.connect("/ws").await;
    for id in 0..50 {
        client.send_json(json!({"op": "subscribe", "args": [format!("t{id}")], "id": id})).await;
    }
    for id in 0..50 {
        let ack = client.next_json("an ack").await;
        assert_eq!((&ack["id"], &ack["ok"][0]["topic"]), (&json!(id), &json!(format!("t{id}"))));
    }
    for id in 0..50 {
        client.send_json(json!({"op": "ping", "id": id})).await;
    }
    for id in 0..50 {
        assert_eq!(client.next_json("a pong").await["id"], id);
    }
}

/// Proves: the envelope is switched on and off exactly at the answer, on either endpoint, with the fields that
/// the URL asked for.
#[tokio::test]
async fn the_envelope_is_switched_at_the_answer() {
    let server = TestServer::start();
    let set = |on: bool| json!({"method": "SET_PROPERTY", "params": ["combined", on], "id": 1});
    let done = json!({"result": null, "id": 1});
    for (path, starts_combined, envelope) in [
        ("/ws/t", false, r#"{"stream":"t","data":N}"#),
        ("/stream?streams=t", true, r#"{"stream":"t","data":N}"#),
        ("/stream?streams=t&seq=1", true, r#"{"stream":"t","seq":S,"data":N}"#),
    ] {
        let mut client = server.connect(path).await;
        let mut is_combined = starts_combined;
        for n in 0..6 {
            let seq = server.publish("t", n.to_string()).await;
            let expected = if is_combined {
                envelope.replace('N', &n.to_string()).replace('S', &seq.to_string())
            } else {
                n.to_string()
            };
            assert_eq!(client.next_text(path).await, expected, "{path}, {n}");
            if n % 3 != 2 {
                is_combined = !is_combined;
            }
            assert_eq!(client.ask(set(is_combined)).await, done);
        }
    }
}

/// Proves: switching the envelope under a flood loses nothing, doubles nothing, and every message behind the
/// answer has the new form.
/// Method: a publisher who stays at most a thousand messages ahead of the reader, so that there is always more to
/// come and never a reason to be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_the_envelope_under_a_flood_loses_nothing() {
    let server = TestServer::start();
    let mut client = server.connect("/ws/t").await;
    let received = Arc::new(AtomicU64::new(0));
    let flood = tokio::spawn({
        let (publisher, received) = (server.publisher(), received.clone());
        async move {
            let mut sent = 0;
            // The end of the reading is told as a number that no flood reaches.
            while received.load(Ordering::Relaxed) < u64::MAX {
                if sent < received.load(Ordering::Relaxed) + 1_000 {
                    publisher.publish_and_wait("t", sent.to_string()).await.expect("a running server");
                    sent += 1;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let (mut expected, mut is_combined) = (0, false);
    for switch in 1..=60 {
        let set = json!({"method": "SET_PROPERTY", "params": ["combined", !is_combined], "id": switch});
        client.send_json(set).await;
        let mut behind_the_answer = 0;
        while behind_the_answer < 100 {
            let message = client.next_json("a message or the answer").await;
            if message["id"] == switch {
                assert_eq!(message, json!({"result": null, "id": switch}));
                is_combined = !is_combined;
                behind_the_answer = 1;
                continue;
            }
            let form = if is_combined { json!({"stream": "t", "data": expected}) } else { json!(expected) };
            assert_eq!(message, form, "around switch {switch}");
            expected += 1;
            received.store(expected, Ordering::Relaxed);
            behind_the_answer += usize::from(behind_the_answer > 0);
        }
    }
    received.store(u64::MAX, Ordering::Relaxed);
    flood.await.unwrap();
}

/// Proves: `since` in a URL is answered honestly too: with a gap or a new epoch before the next message.
#[tokio::test]
async fn since_in_a_url_is_told_what_it_missed() {
    let server = TestServer::with(|settings| settings.limits.history_messages = 0);
    for number in 1..=5 {
        server.publish("t", number.to_string()).await;
    }
    let epoch = server.get("/topics/t").await.json()["epoch"].as_str().unwrap().to_owned();
    let gap = json!({"event": "gap", "topic": "t", "from": 4, "to": 5, "reason": "none"});
    let mut behind = server.connect(&format!("/stream?streams=t&seq=1&since={epoch}:3")).await;
    assert_eq!(behind.next_json("the gap").await, gap);
    let mut other = server.connect("/ws/t?since=zz:3").await;
    let changed = json!({"event": "epoch", "topic": "t", "epoch": epoch, "seq": 5});
    assert_eq!(other.next_json("the new epoch").await, changed);
    let mut at_head = server.connect(&format!("/ws/t?since={epoch}:5")).await;
    server.publish("t", "6").await;
    assert_eq!(behind.next_json("the next message").await["seq"], 6);
    assert_eq!(at_head.next_text("the next message").await, "6");
}

/// Proves: a list knows of everything asked before it, also of the URL's streams and of what is not yet acked.
#[tokio::test]
async fn a_list_comes_behind_what_was_asked_before_it() {
    let server = TestServer::start();
    for number in 0..100 {
        let mut client = server.connect(&format!("/ws/url.{number}")).await;
        client.send_json(json!({"op": "subscribe", "args": [format!("op.{number}")]})).await;
        client.send_json(json!({"op": "list"})).await;
        assert_eq!(client.next_json("the ack").await["op"], "subscribe");
        let list = client.next_json("the list").await;
        assert_eq!(list["ok"].as_array().map(Vec::len), Some(2), "{list}");
    }
}

/// Proves: an array is no operation, though a parser might read it as one.
#[tokio::test]
async fn an_array_is_no_operation() {
    let server = TestServer::start();
    let mut client = server.connect("/ws").await;
    client.send_text(r#"["ping",null,1,null,null,null,null,null,null,null]"#).await;
    let answer = client.next_json("an error").await;
    assert_eq!((&answer["event"], &answer["code"]), (&json!("error"), &json!("bad_request")), "{answer}");
}

/// Proves: what a connection asks reaches the sequencer in the order it was asked, also when that has hardly any
/// room: a publish never overtakes the subscribe before it, so the client gets its own message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_does_not_overtake_the_subscribe_before_it() {
    const ROUNDS: usize = 400;
    let server = TestServer::with(|settings| {
        settings.limits.sequencer_frames = 2;
        settings.limits.operations_burst = 10_000;
    });
    let noise = server.publisher();
    let noise = tokio::spawn(async move {
        loop {
            while noise.publish("noise", "x").unwrap() == stentor::Accepted::Yes {}
            noise.ready().await;
        }
    });
    let mut client = server.connect("/ws").await;
    for number in 0..ROUNDS {
        let topic = format!("t.{number}");
        client.send_json(json!({"op": "subscribe", "args": [topic]})).await;
        client.send_json(json!({"op": "publish", "topic": topic, "data": number})).await;
        let ack = client.next_json("the ack").await;
        assert_eq!((&ack["op"], &ack["ok"][0]["seq"]), (&json!("subscribe"), &json!(0)), "{ack}");
        assert_eq!(client.next_text("its own message").await, number.to_string());
    }
    noise.abort();
}
