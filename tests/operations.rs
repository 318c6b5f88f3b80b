//! Proves: operations are answered as the protocol says, each dialect in its own words, on the same connection.
//! Method: a server in this process, clients that compare whole answers; where an order is promised, publishers
//! keep publishing while it is tested. The list at the end says what runs on which wire; what has a copy of its own
//! before it is of WebSocket only: the streams of a URL, and the envelope, which other wires do not have. What is no JSON
//! object has no cookie, and is ignored by datagram; what needs a full sequencer has no datagrams either: they are dropped.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{AnyClient, Came, Wire, matrix, message, open, topics};
use common::{TestServer, eventually};
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
async fn ask_with_id(client: &mut AnyClient, mut operation: Value, id: Option<Value>) -> Value {
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

/// Proves: the envelope is switched on and off exactly at the answer, on either endpoint, with the fields that
/// the URL asked for.
#[tokio::test]
async fn the_envelope_is_switched_at_the_answer() {
    let server = TestServer::start();
    let set = |on: bool| json!({"method": "SET_PROPERTY", "params": ["combined", on], "id": 1});
    let get = json!({"method": "GET_PROPERTY", "params": ["combined"], "id": "g"});
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
            assert_eq!(client.ask(get.clone()).await, json!({"result": is_combined, "id": "g"}));
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

/// Proves: each operation is answered once, with its own name and the id as it came, or without one.
async fn acks_carry_the_operation_and_the_id_as_it_came(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::connect(&server, wire).await;
    for id in ids().into_iter().map(Some).chain([None]) {
        let mut answers = Vec::new();
        for operation in [
            json!({"op": "subscribe", "args": ["a", "b"]}),
            json!({"op": "list"}),
            json!({"op": "unsubscribe", "args": ["b", "a"]}),
            json!({"op": "list"}),
            json!({"op": "ping"}),
            json!({"op": "fly"}),
        ] {
            answers.push(ask_with_id(&mut client, operation, id.clone()).await);
        }
        let events: Vec<_> = answers.iter().map(|answer| answer["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["ack", "ack", "ack", "ack", "pong", "error"]);
        let operations = answers[..4].iter().map(|answer| answer["op"].as_str().unwrap());
        assert_eq!(operations.collect::<Vec<_>>(), ["subscribe", "list", "unsubscribe", "list"]);
        for (at, topic) in ["a", "b"].into_iter().enumerate() {
            let one = &answers[0]["ok"][at];
            let told = (&one["topic"], &one["class"], &one["seq"]);
            assert_eq!(told, (&json!(topic), &json!("event"), &json!(0)));
            assert!(one["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{one}");
            assert!(one.get("recovered").is_none(), "nothing was to be resumed: {one}");
        }
        assert_eq!((topics(&answers[1]), &answers[3]["ok"]), (vec!["a", "b"], &json!([])));
    }
}

/// Proves: a publish with an id (null is one) is acked with its sequence; without, it is not answered at all. Either way
/// it arrives byte for byte.
async fn a_publish_is_acked_exactly_when_it_has_an_id(wire: Wire) {
    let server = TestServer::with(open);
    let mut subscriber = AnyClient::on(&server, wire, &["t"]).await;
    let mut client = AnyClient::connect(&server, wire).await;
    let mut seq = 0;
    for id in ids() {
        for (kind, payload) in [("data", "YWI="), ("text", "YWI="), ("base64", "ab")] {
            seq += 1;
            let mut publish = json!({"op": "publish", "topic": "t"});
            publish[kind] = json!("YWI=");
            let ack = ask_with_id(&mut client, publish, Some(id.clone())).await;
            assert_eq!((&ack["event"], &ack["op"]), (&json!("ack"), &json!("publish")), "{ack}");
            assert_eq!((&ack["ok"][0]["topic"], &ack["ok"][0]["seq"]), (&json!("t"), &json!(seq)), "{ack}");
            subscriber.expect(&[message("t", seq, payload)]).await;
        }
    }
    // What was published without an id is on its way before the ping is read; the pong is the only answer.
    client.say_text(r#"{"op":"publish","topic":"t","data":{ "verbatim" : 1.0e2 }}"#).await;
    let pong = client.ask(json!({"op": "ping", "id": 1})).await;
    assert_eq!((&pong["event"], &pong["id"]), (&json!("pong"), &json!(1)));
    subscriber.expect(&[message("t", seq + 1, json!({"verbatim": 100.0}))]).await;
    assert_eq!(subscriber.bytes, br#"{ "verbatim" : 1.0e2 }"#);
}

/// Proves: the three ways of naming a payload arrive as they were; naming none or two is an error, and publishes nothing.
async fn a_publish_names_its_payload_once(wire: Wire) {
    let server = TestServer::with(open);
    let mut subscriber = AnyClient::on(&server, wire, &["t"]).await;
    let mut client = AnyClient::connect(&server, wire).await;
    for (seq, kind, named, bytes) in [
        (1, "data", Value::Null, &b"null"[..]),
        (2, "text", json!("plain \u{0}"), b"plain \0"),
        (3, "base64", json!("AP8="), &[0, 255]),
    ] {
        let mut publish = json!({"op": "publish", "topic": "t"});
        publish[kind] = named;
        client.say(publish).await;
        assert!(matches!(subscriber.next(kind).await, Came::Message { seq: came, .. } if came == seq));
        assert_eq!(subscriber.bytes, bytes);
    }
    for bad in [
        json!({"op": "publish", "topic": "t"}),
        json!({"op": "publish", "topic": "t", "data": 1, "text": "x"}),
        json!({"op": "publish", "topic": "t", "text": 1}),
        json!({"op": "publish", "topic": "t", "base64": "not base64!"}),
    ] {
        let answer = client.ask(bad.clone()).await;
        assert_eq!(answer["event"], "error", "{bad} -> {answer}");
    }
    subscriber.expect_only(&server, &[]).await;
}

/// Proves: what may not be published is refused with its reason, takes no number and reaches nobody: a number that was
/// given out, another class than the topic's, a name of the server's own, what is no name.
async fn what_may_not_be_published_is_refused(wire: Wire) {
    let server = TestServer::with(open);
    let mut subscriber = AnyClient::on(&server, wire, &["t"]).await;
    let mut client = AnyClient::connect(&server, wire).await;
    let publish =
        |seq: u64| json!({"op": "publish", "id": seq, "topic": "t", "data": seq, "seq": seq, "epoch": "k1"});
    for seq in [5, 6] {
        assert_eq!(client.ask(publish(seq)).await["ok"][0]["seq"], seq);
    }
    let mut misclassed = publish(7);
    misclassed["class"] = json!("state");
    let (mut reserved, mut unnamed) = (publish(1), publish(1));
    (reserved["topic"], unnamed["topic"]) = (json!("$sys.stats"), json!("a b"));
    for (refused, code) in [
        (publish(6), "stale"),
        (publish(1), "stale"),
        (misclassed, "class"),
        (reserved, "bad_topic"),
        (unnamed, "bad_topic"),
    ] {
        let answer = client.ask(refused.clone()).await;
        assert_eq!((&answer["event"], &answer["code"]), (&json!("error"), &json!(code)), "{answer}");
        assert_eq!(answer["id"], refused["id"], "{answer}");
    }
    assert_eq!(client.ask(publish(7)).await["ok"][0]["seq"], 7);
    let began = json!({"event": "epoch", "topic": "t", "epoch": "k1", "seq": 4});
    let expected = [Came::Said(began), message("t", 5, 5), message("t", 6, 6), message("t", 7, 7)];
    subscriber.expect_only(&server, &expected).await;
    assert_eq!(server.metric("stentor_publishes_stale_total", &[]).await, 2.0);
    assert_eq!(server.metric("stentor_publishes_misclassed_total", &[]).await, 1.0);
}

/// Proves: one who publishes to what he subscribes gets the message, and both ack and message come once.
async fn a_publisher_hears_himself_where_he_listens(wire: Wire) {
    let server = TestServer::with(open);
    let mut client = AnyClient::on(&server, wire, &["t"]).await;
    client.say(json!({"op": "publish", "topic": "t", "data": "echo", "id": 1})).await;
    let came = [client.next("one of two").await, client.next("the other").await];
    assert!(came.contains(&message("t", 1, "echo")), "{came:?}");
    let is_ack = |came: &Came| matches!(came, Came::Said(said) if said["op"] == "publish" && said["id"] == 1);
    assert!(came.iter().any(is_ack), "{came:?}");
    client.expect_only(&server, &[]).await;
}

/// Proves: what is published right after an ack is never missed.
/// Method: 200 acks, each followed at once by a publish from the library, which nothing delays.
async fn after_the_ack_nothing_is_missed(wire: Wire) {
    let server = TestServer::start();
    let publisher = server.publisher();
    for round in 0..200 {
        let topic = format!("fresh.{}", round % 50);
        let mut client = AnyClient::on(&server, wire, &["other", &topic]).await;
        assert_eq!(publisher.publish(topic.as_str(), round.to_string()).unwrap(), stentor::Accepted::Yes);
        client.expect(&[message(&topic, round / 50 + 1, round)]).await;
    }
}

/// Proves: however often a topic is subscribed on one connection, a message comes once; leaving once is enough.
async fn a_topic_subscribed_twice_comes_once(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::on(&server, wire, &["t"]).await;
    client.subscribe(&["t", "t"]).await;
    let subscribe = json!({"method": "SUBSCRIBE", "params": ["t"], "id": 1});
    assert_eq!(client.ask(subscribe).await, json!({"result": null, "id": 1}));
    server.publish("t", "1").await;
    server.publish("t", "2").await;
    client.expect_only(&server, &[message("t", 1, 1), message("t", 2, 2)]).await;
    server.until_metric("stentor_subscriptions", &[], 1.0).await;
    client.ask(json!({"op": "unsubscribe", "args": ["t"]})).await;
    server.publish("t", "3").await;
    client.expect_only(&server, &[]).await;
}

/// Proves: heartbeats come to who asked for them, with the head of each topic, and to nobody else.
async fn heartbeats_come_only_when_asked_for(wire: Wire) {
    let server = TestServer::start();
    server.publish("a", "0").await;
    let mut asking = AnyClient::connect(&server, wire).await;
    let mut quiet = AnyClient::on(&server, wire, &["a", "b"]).await;
    let ack = asking.ask(json!({"op": "subscribe", "args": ["a", "b"], "heartbeat_s": 1})).await;
    assert_eq!(ack["err"], json!([]), "{ack}");
    let heartbeat = |b: u64| Came::Said(json!({"event": "heartbeat", "seq": {"a": 1, "b": b}}));
    asking.expect(&[heartbeat(0)]).await;
    server.publish("b", "1").await;
    while asking.next("a heartbeat that knows of the message").await != heartbeat(1) {}
    quiet.expect_only(&server, &[message("b", 1, 1)]).await;
}

/// Proves: the Binance dialect, answer by answer.
async fn the_binance_dialect_answers_as_that_venue_does(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::connect(&server, wire).await;
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
    }
}

/// Proves: the Binance dialect's errors: their codes, the id where one was given, and the connection stays.
async fn the_binance_dialect_fails_as_that_venue_does(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::connect(&server, wire).await;
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
        if client.say_text(text).await {
            let answer = client.next_said(text).await;
            assert_eq!(answer["code"], code, "{text} -> {answer}");
            assert!(answer.get("id").is_none_or(Value::is_null), "{text} -> {answer}");
        }
    }
    assert_eq!(client.ask(list).await, json!({"result": [], "id": 1}), "nothing of it subscribed anything");
}

/// Proves: both dialects speak of the same subscriptions on one connection, each in its own words.
async fn both_dialects_share_one_connection(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::on(&server, wire, &["native"]).await;
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
    client.expect_only(&server, &[message("binance", 1, 2)]).await;
}

/// Proves: answers come in the order of the operations, whatever their kind.
async fn answers_to_one_kind_of_operation_come_in_order(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::connect(&server, wire).await;
    for id in 0..50 {
        client.say(json!({"op": "subscribe", "args": [format!("t{id}")], "id": id})).await;
    }
    for id in 0..50 {
        let ack = client.next_said("an ack").await;
        assert_eq!((&ack["id"], &ack["ok"][0]["topic"]), (&json!(id), &json!(format!("t{id}"))));
    }
    for id in 0..50 {
        client.say(json!({"op": "ping", "id": id})).await;
    }
    for id in 0..50 {
        assert_eq!(client.next_said("a pong").await["id"], id);
    }
}

/// Proves: an array is no operation, though a parser might read it as one.
async fn an_array_is_no_operation(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::connect(&server, wire).await;
    client.say_text(r#"["ping",null,1,null,null,null,null,null,null,null]"#).await;
    let answer = client.next_said("an error").await;
    assert_eq!((&answer["event"], &answer["code"]), (&json!("error"), &json!("bad_request")), "{answer}");
}

/// Proves: what a connection asks reaches the sequencer in the order it was asked, also when that has hardly any
/// room: a publish never overtakes the subscribe before it, so the client gets its own message.
async fn a_publish_does_not_overtake_the_subscribe_before_it(wire: Wire) {
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
    let mut client = AnyClient::connect(&server, wire).await;
    for number in 0..ROUNDS {
        let topic = format!("t.{number}");
        client.say(json!({"op": "subscribe", "args": [topic]})).await;
        client.say(json!({"op": "publish", "topic": topic, "data": number})).await;
        let ack = client.next_said("the ack").await;
        assert_eq!((&ack["op"], &ack["ok"][0]["seq"]), (&json!("subscribe"), &json!(0)), "{ack}");
        client.expect(&[message(&topic, 1, number)]).await;
    }
    noise.abort();
}

/// Proves: a publisher that says all it has and shuts its sending side has been heard to the end.
async fn a_publisher_that_just_ends_is_heard_to_the_end(wire: Wire) {
    let server = TestServer::start();
    let mut subscriber = AnyClient::on(&server, wire, &["t"]).await;
    let mut publisher = AnyClient::connect(&server, wire).await;
    for number in 1..=1_000 {
        publisher.say(json!({"op": "publish", "topic": "t", "data": number})).await;
    }
    publisher.shut_sending().await;
    for number in 1..=1_000 {
        subscriber.expect(&[message("t", number, number)]).await;
    }
    server.until_metric("stentor_connections", &[], 1.0).await;
}

/// Proves: a connection that is left with subscribes still under way leaves no subscription behind.
async fn subscribes_under_way_at_the_end_leave_nothing_behind(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::connect(&server, wire).await;
    for number in 0..50 {
        client.say(json!({"op": "subscribe", "args": [format!("t{number}")]})).await;
    }
    client.shut_sending().await;
    drop(client);
    server.until_metric("stentor_connections_dropped_total", &[], 1.0).await;
    server.until_metric("stentor_connections", &[], 0.0).await;
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
    eventually("every topic to be without subscribers", async || {
        let listed = server.get("/topics").await.json();
        listed["topics"].as_array().unwrap().iter().all(|topic| topic["subscribers"] == 0)
    })
    .await;
}

matrix! {
    everywhere:
        acks_carry_the_operation_and_the_id_as_it_came
        a_publish_is_acked_exactly_when_it_has_an_id
        a_publish_names_its_payload_once
        what_may_not_be_published_is_refused
        a_publisher_hears_himself_where_he_listens
        after_the_ack_nothing_is_missed
        a_topic_subscribed_twice_comes_once
        heartbeats_come_only_when_asked_for
        the_binance_dialect_answers_as_that_venue_does
        the_binance_dialect_fails_as_that_venue_does
        both_dialects_share_one_connection
        answers_to_one_kind_of_operation_come_in_order;
    streams:
        an_array_is_no_operation
        a_publish_does_not_overtake_the_subscribe_before_it
        a_publisher_that_just_ends_is_heard_to_the_end
        subscribes_under_way_at_the_end_leave_nothing_behind;
}
