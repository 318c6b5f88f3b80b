//! Proves: what a client may rely on holds on every wire. Each behaviour is described once and played on all that have it.
//! Method: a server in this process and clients whose messages are told alike; the lists at the end say what runs where, as
//! they do in `operations.rs`, `wildcards.rs`, `resume.rs`, `cuts.rs`, `classes.rs`, `slow_consumer.rs`, `storm.rs`,
//! `system.rs`, `operator.rs` and `bad_input.rs`; all wires at once are in `shutdown.rs` and `lives.rs`. What needs that
//! nothing is lost, or a socket that fills, has no datagrams. Of WebSocket only are paths and their identities
//! (`endpoints.rs`, `identity.rs`), the envelope, and RFC 6455's frames.

// A failed step is a failed test, and tests time what they wait for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::any::{AnyClient, Came, Wire, matrix, message, topics};
use common::{PATIENCE, TestServer, within};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use stentor::Class;
use stentor::config::Rule;
use tokio::task::JoinSet;

fn rule(pattern: &str) -> Rule {
    Rule { pattern: pattern.into(), ..Rule::default() }
}

/// Proves: a subscribe that is bad in part grants the rest, and says which and why.
async fn a_partly_bad_subscribe_grants_the_rest(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::connect(&server, wire).await;
    let args = json!(["good", "", "has space", {"topic": "fine"}, "$client.other", "x".repeat(201)]);
    let ack = client.ask(json!({"op": "subscribe", "id": 7, "args": args})).await;
    assert_eq!((&ack["event"], &ack["id"]), (&json!("ack"), &json!(7)), "{ack}");
    assert_eq!(topics(&ack), ["fine", "good"]);
    let refused = ack["err"].as_array().unwrap();
    assert_eq!(refused.len(), 4, "{ack}");
    for name in ["", "has space", "$client.other"] {
        assert!(refused.iter().any(|one| one["topic"] == name), "{name:?} in {ack}");
    }
    for one in refused {
        assert!(one["code"].is_string() && one["message"].is_string(), "{one}");
    }
    server.publish("fine", "1").await;
    server.publish("good", "2").await;
    client.expect_only(&server, &[message("fine", 1, 1), message("good", 1, 2)]).await;
}

/// Proves: behind the ack of an unsubscribe nothing of the topic comes, and other topics go on; leaving what one
/// never had is no error.
async fn nothing_follows_the_ack_of_an_unsubscribe(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::on(&server, wire, &["a", "b"]).await;
    server.publish("a", "1").await;
    client.expect(&[message("a", 1, 1)]).await;
    let ack = client.ask(json!({"op": "unsubscribe", "args": ["a", "never.had"]})).await;
    assert_eq!((&ack["event"], &ack["err"]), (&json!("ack"), &json!([])), "{ack}");
    server.publish("a", "2").await;
    server.publish("b", "3").await;
    client.expect_only(&server, &[message("b", 1, 3)]).await;
    // And back again.
    let ack = client.subscribe(&["a"]).await;
    assert_eq!(ack["ok"][0]["seq"], 2, "{ack}");
    server.publish("a", "4").await;
    client.expect_only(&server, &[message("a", 3, 4)]).await;
}

/// Proves: an ack comes before its topic's first message, its sequence is the head at that moment, and what
/// follows begins right behind it: no gap and no duplicate, however fast others publish meanwhile.
async fn an_ack_names_the_head_and_the_next_message_follows_it(wire: Wire) {
    let server = TestServer::start();
    let is_over = Arc::new(AtomicBool::new(false));
    let flood = tokio::spawn({
        let (publisher, is_over) = (server.publisher(), is_over.clone());
        async move {
            while !is_over.load(Ordering::Relaxed) {
                publisher.publish_and_wait("flood", "0").await.expect("a running server");
            }
        }
    });
    let mut client = AnyClient::on(&server, wire, &["other"]).await;
    for round in 0..40 {
        let ack = client.subscribe(&["flood"]).await;
        let mut head = ack["ok"][0]["seq"].as_u64().unwrap();
        for _ in 0..20 {
            head += 1;
            assert_eq!(client.next("the flood").await, message("flood", head, 0), "round {round}");
        }
        // Until the ack messages may come, behind it none.
        client.say(json!({"op": "unsubscribe", "args": ["flood"]})).await;
        loop {
            head += 1;
            match client.next("the ack of leaving").await {
                Came::Said(said) if said["op"] == "unsubscribe" => break,
                other => assert_eq!(other, message("flood", head, 0), "round {round}"),
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    flood.await.unwrap();
    let list = client.ask(json!({"op": "list"})).await;
    assert_eq!(topics(&list), ["other"]);
}

/// Proves: operations above the rate close with 4005, which is told.
async fn too_many_operations_are_closed(wire: Wire) {
    let server = TestServer::with(|settings| {
        (settings.limits.operations_per_s, settings.limits.operations_burst) = (1, 10);
    });
    let mut client = AnyClient::connect(&server, wire).await;
    for _ in 0..10 {
        assert_eq!(client.ask(json!({"op": "ping"})).await["event"], "pong");
    }
    for _ in 0..5 {
        client.say(json!({"op": "ping"})).await;
    }
    assert_eq!(client.until_close().await.0, 4005);
}

/// Proves: the server asks for a sign of life; who gives one stays, who gives none is closed.
async fn silence_is_closed_and_a_sign_of_life_is_enough(wire: Wire) {
    let server = TestServer::with(|settings| (settings.limits.ping_s, settings.limits.idle_s) = (1, 8));
    let mut alive = AnyClient::on(&server, wire, &["t"]).await;
    let mut silent = [AnyClient::connect(&server, wire).await];
    let ending = async {
        server.until_given_up(&silent).await;
        let (code, _) = silent[0].until_close().await;
        drop(silent);
        server.until_metric("stentor_connections_dropped_total", &[r#"reason="no_pong""#], 1.0).await;
        server.publish("t", "1").await;
        code
    };
    // It answers while it waits for a message.
    let (code, came) = tokio::join!(ending, alive.next("a message after the other's end"));
    assert_eq!((code, came), (4003, message("t", 1, 1)));
}

/// Proves: those who go are gone from the counts with their subscriptions, and those who stay get what they are on.
async fn who_goes_leaves_nothing(wire: Wire) {
    let server = TestServer::with(|settings| {
        (settings.limits.lease_s, settings.limits.operations_burst) = (6, 100_000);
    });
    let mut going = Vec::new();
    for topics in [&["a", "b"][..], &["a", "b", "c"]] {
        let mut client = AnyClient::connect(&server, wire).await;
        client.subscribe(topics).await;
        going.push(client);
    }
    server.until_metric("stentor_connections", &[], 2.0).await;
    server.until_metric("stentor_subscriptions", &[], 5.0).await;
    let mut staying = AnyClient::on(&server, wire, &["a"]).await;
    drop(going);
    let going = async {
        while server.metric("stentor_connections", &[]).await > 1.5 {
            // A lease lasts while something comes.
            staying.ask(json!({"op": "ping"})).await;
        }
    };
    within("those who go to be gone", going).await;
    server.until_metric("stentor_connections_dropped_total", &[], 2.0).await;
    server.until_metric("stentor_subscriptions", &[], 1.0).await;
    server.publish("a", "1").await;
    staying.expect_only(&server, &[message("a", 1, 1)]).await;
}

/// Proves: `since` is answered honestly. At the head nothing was missed; further back all that follows is replayed, or it
/// says that it cannot and why: let go, never kept, or another history.
async fn what_cannot_be_given_is_said_with_the_reason(wire: Wire) {
    for (kept, cases) in [
        (3, [(5, vec![], ""), (4, vec![5], ""), (2, vec![3, 4, 5], ""), (1, vec![], "evicted")]),
        (0, [(5, vec![], ""), (4, vec![], "none"), (2, vec![], "none"), (6, vec![], "epoch")]),
    ] {
        let server = TestServer::with(|settings| {
            settings.topics = vec![Rule { history_messages: Some(kept), ..rule("t") }];
        });
        for number in 1..=5 {
            server.publish("t", number.to_string()).await;
        }
        let epoch = server.epoch_of("t").await;
        let own = cases.into_iter().map(|(seq, missed, reason)| (epoch.as_str(), seq, missed, reason));
        let others = ["zz", "", "not an epoch!"].map(|other| (other, 5, vec![], "epoch"));
        let beyond = [6, u64::MAX].map(|seq| (epoch.as_str(), seq, vec![], "epoch"));
        for (epoch, seq, missed, reason) in own.chain(others).chain(beyond) {
            let mut client = AnyClient::connect(&server, wire).await;
            let granted = client.resume(epoch, seq).await;
            assert_eq!((&granted["recovered"], &granted["seq"]), (&json!(reason.is_empty()), &json!(5)));
            assert_eq!(granted["reason"].as_str().unwrap_or_default(), reason, "{epoch}:{seq} {granted}");
            let missed: Vec<_> = missed.into_iter().map(|number| message("t", number, number)).collect();
            client.expect_only(&server, &missed).await;
        }
    }
}

/// Proves: a connection whose subscriptions overlap gets a message once, and what it leaves by one of them it keeps
/// by the others; never what begins with `$`.
async fn overlapping_subscriptions_give_a_message_once_and_are_left_one_by_one(wire: Wire) {
    let server = TestServer::start();
    server.publish("t.1", "0").await;
    let mut client = AnyClient::connect(&server, wire).await;
    let ack = client.ask(json!({"op": "subscribe", "args": ["t.*", "t.1", "*", "t.1*"]})).await;
    assert_eq!(topics(&ack), ["*", "t.*", "t.1", "t.1*"]);
    let mut number = 0;
    for left in ["*", "t.1", "t.1*", "t.*"] {
        number += 1;
        server.publish("t.1", number.to_string()).await;
        server.publish("$client.1", "0").await;
        server.publish("t.2", number.to_string()).await;
        client.expect(&[message("t.1", number + 1, number), message("t.2", number, number)]).await;
        let ack = client.ask(json!({"op": "unsubscribe", "args": [left]})).await;
        assert_eq!(ack["ok"], json!([{"topic": left}]));
    }
    server.publish("t.1", "9").await;
    client.expect_only(&server, &[]).await;
    assert_eq!(client.ask(json!({"op": "list"})).await["ok"], json!([]));
}

/// Proves: what cannot be is refused in words, and nothing of it is done.
async fn what_a_pattern_cannot_do_is_refused(wire: Wire) {
    let server = TestServer::with(|settings| {
        settings.limits.topics_per_connection = 3;
        settings.limits.matches_per_connection = 3;
    });
    for topic in ["a", "b", "c", "d"] {
        server.publish(topic, "1").await;
    }
    let mut client = AnyClient::connect(&server, wire).await;
    let since = json!({"epoch": "1", "seq": 1});
    let args = json!(["$sys.*", {"topic": "a*", "since": since}, "*", "a*", "b*"]);
    let ack = client.ask(json!({"op": "subscribe", "args": args})).await;
    let codes: Vec<_> = ack["err"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(codes, ["bad_topic", "bad_request", "limit"], "{ack}");
    assert_eq!(ack["ok"], json!([{"topic": "a*"}, {"topic": "b*"}]));
    let ack = client.ask(json!({"op": "subscribe", "args": ["c*", "d*"]})).await;
    assert_eq!((&ack["ok"], &ack["err"][0]["topic"]), (&json!([{"topic": "c*"}]), &json!("d*")));
    for topic in ["x", "d", "b"] {
        server.publish(topic, "7").await;
    }
    client.expect(&[message("b", 2, 7)]).await;
}

/// Proves: the newest message of each topic that a pattern matches comes first, marked, and what is live behind it.
async fn a_state_topic_begins_with_its_newest_message(wire: Wire) {
    let server = TestServer::with(|settings| {
        settings.topics = vec![Rule { class: Some(Class::State), ..rule("quote.*") }];
    });
    for number in 1..=9 {
        server.publish("quote.a", number.to_string()).await;
    }
    let snapshot = || Came::Message { topic: "quote.a".into(), seq: 9, payload: json!(9), is_snapshot: true };
    let mut named = AnyClient::connect(&server, wire).await;
    assert_eq!(named.subscribe(&["quote.a"]).await["ok"][0]["class"], "state");
    let mut matched = AnyClient::on(&server, wire, &["quote.*"]).await;
    for client in [&mut named, &mut matched] {
        client.expect(&[snapshot()]).await;
    }
    server.publish("quote.a", "10").await;
    for client in [&mut named, &mut matched] {
        client.expect_only(&server, &[message("quote.a", 10, 10)]).await;
    }
}

/// Proves: what was accepted before the shutdown reaches those who are subscribed, before their close.
async fn what_was_accepted_is_delivered(wire: Wire) {
    const COUNT: u64 = 5_000;
    let server = TestServer::start();
    let mut subscribers = JoinSet::new();
    for _ in 0..4 {
        let mut client = AnyClient::on(&server, wire, &["t"]).await;
        subscribers.spawn(async move {
            let mut last = 0;
            loop {
                match client.next("the next, or the close").await {
                    Came::Said(said) => {
                        assert!(said["event"] == "notice" || said["event"] == "slow", "{said}")
                    }
                    Came::Close(code, _) => return (last, code),
                    other => {
                        last += 1;
                        assert_eq!(other, message("t", last, last));
                    }
                }
            }
        });
    }
    let publisher = server.publisher();
    for number in 1..=COUNT {
        publisher.publish_and_wait("t", number.to_string()).await.unwrap();
    }
    server.shutdown().await;
    while let Some(got) = within("a subscriber", subscribers.join_next()).await {
        assert_eq!(got.unwrap(), (COUNT, 1012));
    }
    assert!(publisher.publish("t", "late").is_err(), "accepted after the end");
}

/// Proves: a socket that takes nothing at all is given up after `queue_stall_s`, long before its queue is full; what it got
/// is a prefix, whose end the close names.
async fn a_stalled_socket_is_given_up_by_time(wire: Wire) {
    let server = TestServer::with(|settings| settings.limits.queue_stall_s = 1);
    let mut stalled = AnyClient::on(&server, wire, &["t"]).await;
    let publisher = server.publisher();
    let (began, mut number) = (Instant::now(), 0);
    while server.metric("stentor_abandoned_total", &[]).await < 0.5 {
        assert!(began.elapsed() < PATIENCE, "still not given up");
        for _ in 0..10 {
            number += 1;
            publisher.publish_and_wait("t", format!("\"{number:01022}\"")).await.unwrap();
        }
    }
    assert!(number < 8_000, "closed by bytes, not by time");
    let mut last = 0;
    loop {
        match stalled.next("what it was sent, and the close").await {
            Came::Message { seq, payload, .. } => {
                last += 1;
                assert_eq!((seq, payload), (last, json!(format!("{last:01022}"))));
            }
            Came::Said(said) => assert_eq!(said["event"], "slow", "{said}"),
            Came::Close(code, reason) => {
                assert_eq!(code, 4001, "{reason}");
                assert!(reason.contains(&format!(":{last} topic=t")), "after {last}: {reason}");
                return;
            }
        }
    }
}

matrix! {
    everywhere:
        a_partly_bad_subscribe_grants_the_rest
        nothing_follows_the_ack_of_an_unsubscribe
        what_cannot_be_given_is_said_with_the_reason
        overlapping_subscriptions_give_a_message_once_and_are_left_one_by_one
        what_a_pattern_cannot_do_is_refused
        a_state_topic_begins_with_its_newest_message
        who_goes_leaves_nothing;
    streams:
        silence_is_closed_and_a_sign_of_life_is_enough
        an_ack_names_the_head_and_the_next_message_follows_it
        too_many_operations_are_closed
        what_was_accepted_is_delivered
        a_stalled_socket_is_given_up_by_time;
}
