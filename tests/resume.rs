//! Proves: replay and what is live meet at one number, whenever and however often a client comes back; what cannot
//! be given is said, with the reason; snapshots begin where they must; publishers may number what they publish.
//! Method: over real sockets; each message carries its number, so that what arrived can be told from what should have.
//! The list at the end says what runs on which wire: a replay that is larger than a socket has no datagrams, whose losses
//! are fetched elsewhere. URLs are of WebSocket only; `cuts.rs` cuts frames at their bytes.

// A failed step is a failed test, and a failed expectation of the test itself is one too.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{AnyClient, Came, Wire, matrix, message, open};
use common::process::{Process, run};
use common::{TestServer, within};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stentor::config::{Rule, Snapshot};
use stentor::{Accepted, Class, PublishOptions, Publisher, Server, Settings};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

fn rule(pattern: &str) -> Rule {
    Rule { pattern: pattern.into(), ..Rule::default() }
}

/// Publishes numbers from `first` on, some a millisecond and no more before `reader` has them, until told to stop: on a
/// machine that is slow, or stands still, the burst is too.
async fn burst(publisher: Publisher, mut reader: AnyClient, first: u64, stop: Arc<AtomicBool>) {
    const AT_ONCE: u64 = 4;
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        for number in next..next + AT_ONCE {
            while publisher.publish("t", number.to_string()).unwrap() == Accepted::Full {
                publisher.ready().await;
            }
        }
        expect_numbers(&mut reader, next, AT_ONCE).await;
        next += AT_ONCE;
    }
}

/// What a URL asks for and cannot be given is said by an event before the next message, and both ends are counted; a
/// `state` topic goes on with its newest, and begins with it, verbatim too.
#[tokio::test]
async fn what_a_url_cannot_be_given_is_said_with_the_reason() {
    let server = TestServer::with(|settings| {
        settings.topics = vec![
            Rule { history_messages: Some(3), ..rule("t") },
            Rule { history_messages: Some(0), ..rule("none") },
            Rule { class: Some(Class::State), history_messages: Some(0), ..rule("state") },
        ];
    });
    let mut epochs = Vec::new();
    for topic in ["t", "none", "state"] {
        for number in 1..=5 {
            server.publish(topic, number.to_string()).await;
        }
        epochs.push(server.epoch_of(topic).await);
    }
    let [epoch, none, state] = &epochs[..] else { panic!("three topics") };
    let mut recovered = server.connect(&format!("/stream?seq=1&streams=t&since={epoch}:3")).await;
    for number in 4..=5 {
        let message = json!({"stream": "t", "seq": number, "data": number});
        assert_eq!(recovered.next_json("the next number").await, message);
    }
    let path = format!("/stream?streams=t/none/state&since={epoch}:1,{none}:2,{state}:3");
    let mut client = server.connect(&path).await;
    for expected in [
        json!({"event": "gap", "topic": "t", "from": 2, "to": 5, "reason": "evicted"}),
        json!({"event": "gap", "topic": "none", "from": 3, "to": 5, "reason": "none"}),
        json!({"event": "gap", "topic": "state", "from": 4, "to": 5, "reason": "evicted"}),
        json!({"stream": "state", "snap": true, "data": 5}),
    ] {
        assert_eq!(client.next_json("a gap or the newest").await, expected);
    }
    assert_eq!(server.connect("/ws/state").await.next_text("the newest, verbatim").await, "5");
    assert_eq!(server.metric("stentor_recovered_total", &[]).await, 1.0);
    assert_eq!(server.metric("stentor_not_recovered_total", &[]).await, 3.0);
}

/// Settings that cannot be are refused whole, and the rules before them stay; what else would change is named.
#[tokio::test]
async fn wrong_rules_are_refused_and_change_nothing() {
    let any = "127.0.0.1:0".parse().unwrap();
    let state = Rule { class: Some(Class::State), ..rule("a.*") };
    let settings = Settings { topics: vec![state.clone()], shards: 1, ..Settings::default() };
    let server = Server::builder().settings(settings.clone()).listen(any).admin(any).start().unwrap();
    let publish = async |topic: &str, class: Class| {
        let options = PublishOptions { class: Some(class), ..PublishOptions::default() };
        server.publisher().publish_with(topic, "1", options).await
    };
    let hidden = Settings { topics: vec![rule("*"), state], ..settings.clone() };
    let refused = server.reload(&hidden).await.unwrap_err().to_string();
    assert!(refused.contains("never applies"), "{refused}");
    assert!(publish("a.1", Class::State).await.is_ok() && publish("a.2", Class::Event).await.is_err());
    let mut other = Settings { topics: vec![rule("*")], ..settings.clone() };
    (other.listen, other.admin) = (server.websocket_address(), settings.admin);
    assert_eq!(server.reload(&other).await.unwrap(), ["admin", "listen"]);
    assert!(publish("a.2", Class::Event).await.is_ok() && publish("a.1", Class::Event).await.is_err());
    tokio::task::spawn_blocking(move || server.shutdown()).await.unwrap();
}

/// The rules come from the file, a hang-up has it read again, and a wrong one changes nothing.
#[tokio::test]
async fn a_hang_up_reloads_the_rules_and_a_wrong_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stentor.toml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("[[topic]]\npattern = \"a.*\"\nclass = \"state\"\nhistory_bytes = 4096\n");
    let file = path.to_str().unwrap();
    let checked = String::from_utf8(run(&["check", "--config", file]).stdout).unwrap();
    assert!(checked.contains("[[topic]]\npattern = \"a.*\"\nclass = \"state\""), "{checked}");
    assert!(checked.contains("# history under \"a.*\": 4.00 KiB a topic, 256.00 MiB"), "{checked}");
    let mut server = Process::start("serve", &["--config", file]);
    let operator = server.operator.clone();
    let class = async |topic: &str| {
        let url = format!("{operator}/publish/{topic}");
        let of = format!("{operator}/topics/{topic}");
        let asked = tokio::task::spawn_blocking(move || {
            ureq::post(&url).send("1").unwrap();
            ureq::get(&of).call().unwrap().body_mut().read_to_string().unwrap()
        });
        let text = within("a topic's class", asked).await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["class"].as_str().unwrap().to_owned()
    };
    assert_eq!((class("a.1").await, class("b.1").await), ("state".into(), "event".into()));

    write("[[topic]]\npattern = \"a b\"\n");
    server.hang_up();
    assert_eq!(class("a.2").await, "state", "the file is wrong: what was in force stays");
    let refused = run(&["check", "--config", file]);
    assert_eq!(refused.status.code(), Some(2));
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(line.contains("[[topic]] number 1, \"a b\"") && line.trim().lines().count() == 1, "{line}");

    write("shards = 9\n[[topic]]\npattern = \"b.*\"\nclass = \"delta\"\n");
    server.hang_up();
    let mut number = 2;
    within("the rules to be read again", async {
        while class(&format!("b.{number}")).await != "delta" {
            number += 1;
        }
    })
    .await;
    assert_eq!(
        (class("a.1").await, class("b.1").await),
        ("state".into(), "event".into()),
        "as they were born"
    );
    assert_eq!(class("a.9").await, "event");
    server.terminate();
    assert_eq!(server.code().await, Some(0));
}

/// The next must be the messages `first..first + count` of `t`, each with its own number in it.
async fn expect_numbers(client: &mut AnyClient, first: u64, count: u64) {
    for number in first..first + count {
        client.expect(&[message("t", number, number)]).await;
    }
}

/// A publisher that numbers its messages, over HTTP, in a path or in the program: a stale one is refused and counted, one
/// left out is a gap before the next, another epoch begins anew; who resumes across all that is told the same.
async fn publishers_may_number_what_they_publish(wire: Wire) {
    let server = TestServer::start();
    let mut client = AnyClient::on(&server, wire, &["t"]).await;
    let publish = async |query: &str, data: &str| {
        let answer = server.post(&format!("/publish/t?{query}"), None, data.to_owned()).await;
        (answer.status, answer.json())
    };
    assert_eq!(publish("seq=5&epoch=k1", "5").await.1, json!({"topic": "t", "epoch": "k1", "seq": 5}));
    assert_eq!(publish("epoch=k1", "6").await.1["seq"], 6);
    assert_eq!(publish("seq=9", "9").await.1["seq"], 9);
    for (query, code) in [("seq=9", "stale"), ("seq=1&epoch=k1", "stale"), ("seq=99&epoch=k0", "stale")] {
        let (status, problem) = publish(query, "0").await;
        assert_eq!((status, &problem["code"]), (409, &json!(code)), "{query}: {problem}");
    }
    assert_eq!(publish("seq=0", "0").await.0, 400);
    assert_eq!(publish("epoch=k2", "1").await.1, json!({"topic": "t", "epoch": "k2", "seq": 1}));
    let gap = |from: u64, to: u64| {
        Came::Said(json!({"event": "gap", "topic": "t", "from": from, "to": to, "reason": "publisher"}))
    };
    let expected = [
        Came::Said(json!({"event": "epoch", "topic": "t", "epoch": "k1", "seq": 4})),
        message("t", 5, 5),
        message("t", 6, 6),
        gap(7, 8),
        message("t", 9, 9),
        Came::Said(json!({"event": "epoch", "topic": "t", "epoch": "k2", "seq": 0})),
        message("t", 1, 1),
    ];
    client.expect(&expected).await;
    assert_eq!(server.metric("stentor_publishes_stale_total", &[]).await, 3.0);

    // In a path the first has the number, the others count on; what was there already is refused, and the rest taken.
    let mut numbering = server.connect("/publish/t?seq=1&epoch=k2").await;
    for number in 1..=3 {
        numbering.send_text(number.to_string()).await;
    }
    let refused = numbering.next_json("the first again").await;
    assert_eq!((&refused["event"], &refused["code"]), (&json!("error"), &json!("stale")), "{refused}");
    client.expect(&[message("t", 2, 2), message("t", 3, 3)]).await;
    let (publisher, epoch) = (server.publisher(), Some("k2".parse().unwrap()));
    let options = PublishOptions { seq: Some(6), epoch, ..PublishOptions::default() };
    assert_eq!(publisher.publish_with("t", "6", options).await.unwrap().seq, 6);
    assert!(publisher.publish_with("t", "6", options).await.is_err(), "a number that was there");
    client.expect_only(&server, &[gap(4, 5), message("t", 6, 6)]).await;
    let mut back = AnyClient::connect(&server, wire).await;
    assert_eq!(back.resume("k2", 2).await["recovered"], true);
    back.expect_only(&server, &[message("t", 3, 3), gap(4, 5), message("t", 6, 6)]).await;
}

/// After a restart the numbers begin anew, and who comes back with the old ones is told so.
async fn a_restart_is_another_epoch(wire: Wire) {
    let server = TestServer::start();
    server.publish("t", "1").await;
    let epoch = server.epoch_of("t").await;
    server.shutdown().await;
    let server = TestServer::start();
    server.publish("t", "again").await;
    let mut client = AnyClient::connect(&server, wire).await;
    let granted = client.resume(&epoch, 1).await;
    assert_eq!((&granted["recovered"], &granted["reason"]), (&json!(false), &json!("epoch")), "{granted}");
    assert_eq!((&granted["epoch"], &granted["seq"]), (&json!(server.epoch_of("t").await), &json!(1)));
    server.publish("t", "2").await;
    client.expect_only(&server, &[message("t", 2, 2)]).await;
}

/// A subscriber of a `state` topic that comes back too late is told so in the ack, and given the newest.
async fn who_comes_back_to_state_is_given_the_newest(wire: Wire) {
    let server = TestServer::with(|settings| {
        settings.topics = vec![Rule { class: Some(Class::State), history_messages: Some(0), ..rule("t") }];
    });
    for number in 1..=10 {
        server.publish("t", number.to_string()).await;
    }
    let epoch = server.epoch_of("t").await;
    for (seq, has_all) in [(4, false), (10, true)] {
        let mut client = AnyClient::connect(&server, wire).await;
        assert_eq!(client.resume(&epoch, seq).await["recovered"], has_all);
        let newest = Came::Message { topic: "t".into(), seq: 10, payload: json!(10), is_snapshot: true };
        let expected = if has_all { vec![] } else { vec![newest] };
        client.expect_only(&server, &expected).await;
    }
}

/// A snapshot is the newest image and every message after it; when one of those has gone there is none. Publishers mark
/// images in an operation, over HTTP and in a path.
async fn a_snapshot_is_the_newest_image_and_all_after_it(wire: Wire) {
    let server = TestServer::with(|settings| {
        let delta = Rule { class: Some(Class::Delta), history_messages: Some(4), ..rule("t") };
        settings.topics = vec![delta, Rule { snapshot: Some(Snapshot::None), ..rule("none") }];
        open(settings);
    });
    let image = |seq: u64, book: &str| Came::Message {
        topic: "t".into(),
        seq,
        payload: json!(book),
        is_snapshot: true,
    };
    let mut publisher = AnyClient::connect(&server, wire).await;
    let first = json!({"op": "publish", "topic": "t", "id": 1, "image": true, "data": "book 1"});
    assert_eq!(publisher.ask(first).await["ok"][0]["seq"], 1);
    server.publish("t", "+1").await;
    let mut client = AnyClient::on(&server, wire, &["t"]).await;
    client.expect(&[image(1, "book 1")]).await;
    assert!(matches!(client.next("what followed").await, Came::Message { seq: 2, .. }));
    assert_eq!(client.bytes, b"+1");

    assert_eq!(server.post("/publish/t?image=1", None, "\"book 2\"").await.status, 200);
    server.publish("t", "-2").await;
    let mut client = AnyClient::on(&server, wire, &["t"]).await;
    client.expect(&[image(3, "book 2")]).await;
    assert!(matches!(client.next("what followed").await, Came::Message { seq: 4, .. }));

    let mut images = server.connect("/publish/t?image=1").await;
    images.send_text("\"book 3\"").await;
    // An image that is live is a message.
    client.expect(&[message("t", 5, "book 3")]).await;
    for _ in 0..4 {
        server.publish("t", "+3").await;
    }
    let mut late = AnyClient::connect(&server, wire).await;
    late.subscribe(&["t"]).await;
    late.expect_only(&server, &[]).await;

    let image = PublishOptions { image: true, ..PublishOptions::default() };
    server.publisher().publish_with("none", "1", image).await.unwrap();
    let mut unasked = AnyClient::connect(&server, wire).await;
    unasked.subscribe(&["none"]).await;
    unasked.expect_only(&server, &[]).await;
    assert_eq!(server.metric("stentor_snapshots_total", &[]).await, 2.0);
}

/// The class of a topic is its rule's, else what its first publisher asks for; asking for another is refused.
async fn a_topic_has_one_class(wire: Wire) {
    let server = TestServer::with(|settings| {
        settings.topics = vec![Rule { class: Some(Class::Delta), ..rule("book.*") }];
    });
    let mut client = AnyClient::connect(&server, wire).await;
    assert_eq!(client.subscribe(&["quote"]).await["ok"][0]["class"], "event", "nobody has begun it");
    let status = async |path: &str| {
        let answer = server.post(path, None, "1").await;
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(status("/publish/quote?class=state").await.0, 200);
    assert_eq!(status("/publish/quote?class=state").await.0, 200);
    assert_eq!(status("/publish/quote?class=event").await, (409, "class".into()));
    assert_eq!(status("/publish/book.x?class=state").await, (409, "class".into()));
    assert_eq!(status("/publish/book.x?class=fast").await, (400, "bad_request".into()));
    assert_eq!(server.get("/topics/quote").await.json()["class"], "state");
    client.expect(&[message("quote", 1, 1), message("quote", 2, 1)]).await;
    let list = client.ask(json!({"op": "list"})).await;
    assert_eq!(list["ok"][0]["class"], "state", "{list}");
    assert_eq!(server.metric("stentor_publishes_misclassed_total", &[]).await, 2.0);
}

/// 500 clients join a topic at random moments of a burst, some where it is live and some from a number they had: the
/// ack names the head, and what follows it, or what was asked for, comes without a hole or a repeat.
async fn whoever_joins_during_a_burst_gets_every_number_once(wire: Wire) {
    let server = TestServer::with(|settings| {
        settings.limits.history_messages = 5_000;
        settings.limits.history_bytes = 4 << 20;
    });
    let first = server.publish("t", "1").await;
    let epoch = server.epoch_of("t").await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = AnyClient::on(&server, wire, &["t"]).await;
    let publishing = tokio::spawn(burst(server.publisher(), reader, first + 1, stop.clone()));
    let server = Arc::new(server);
    for _ in 0..10 {
        let mut joins = JoinSet::new();
        for number in 0..50 {
            let (server, epoch) = (server.clone(), epoch.clone());
            joins.spawn(async move {
                let mut client = AnyClient::connect(server.at, wire).await;
                assert_eq!(client.subscribe(&["u"]).await["ok"][0]["seq"], 0);
                let ack = client.subscribe(&["t"]).await;
                let head = ack["ok"][0]["seq"].as_u64().unwrap();
                expect_numbers(&mut client, head + 1, 5).await;
                if number % 2 == 0 {
                    // Back again, to what may long be over or has just been.
                    let mut client = AnyClient::connect(server.at, wire).await;
                    let last = head.saturating_sub(fastrand::u64(0..200));
                    let granted = client.resume(&epoch, last).await;
                    if granted["recovered"] == true {
                        expect_numbers(&mut client, last + 1, 250).await;
                    } else {
                        assert_eq!(granted["reason"], "evicted", "{granted}");
                        expect_numbers(&mut client, granted["seq"].as_u64().unwrap() + 1, 5).await;
                    }
                }
            });
        }
        while let Some(joined) = joins.join_next().await {
            joined.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    assert!(server.metric("stentor_recovered_total", &[]).await > 100.0);
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
}

/// A replay of many times what the connection's queue may hold, to a client that begins to read late, while the topic
/// goes on: it is sent as the socket takes it, nobody is closed, and it ends in what is live.
async fn a_replay_larger_than_the_queue_goes_as_the_socket_takes_it(wire: Wire) {
    const KEPT: u64 = 9_000;
    let server = TestServer::with(|settings| {
        settings.limits.queue_bytes = 64 << 10;
        settings.limits.queue_frames = 64;
        settings.limits.history_messages = 20_000;
        settings.limits.history_bytes = 64 << 20;
    });
    let text = |number: u64| format!("{number:04096}");
    let publisher = server.publisher();
    let publish = async |number: u64| {
        while publisher.publish("t", text(number)).unwrap() == Accepted::Full {
            publisher.ready().await;
        }
    };
    for number in 1..=KEPT {
        publish(number).await;
    }
    assert_eq!(server.publish("mark", "1").await, 1);
    let epoch = server.epoch_of("t").await;
    let mut client = AnyClient::connect(&server, wire).await;
    assert_eq!(client.resume(&epoch, 0).await["recovered"], true);
    // Far behind, and not reading: what is published now is nothing to it yet.
    server.until_metric("stentor_connections_blocked", &[], 1.0).await;
    for number in KEPT + 1..=KEPT + 500 {
        publish(number).await;
    }
    let queued = server.metric("stentor_outbound_bytes", &[]).await;
    assert!(queued <= 64.0 * 1024.0, "{queued} bytes queued");
    for number in 1..=KEPT + 500 {
        client.expect(&[message("t", number, text(number))]).await;
    }
    publish(KEPT + 501).await;
    client.expect(&[message("t", KEPT + 501, text(KEPT + 501))]).await;
    assert_eq!(server.metric("stentor_replayed_total", &[]).await, (KEPT + 500) as f64);
    assert_eq!(server.metric("stentor_routed_total", &[]).await, 1.0);
}

/// Leaving in the middle of a replay, by unsubscribing or by closing, leaves nothing behind; and whoever unsubscribes and
/// comes back at once gets what the second subscription asks for.
async fn leaving_in_the_middle_of_a_replay_leaves_nothing(wire: Wire) {
    let server = TestServer::with(|settings| settings.limits.history_bytes = 16 << 20);
    let text = |number: u64| format!("{number:08192}");
    for number in 1..=1_000 {
        server.publish("t", text(number)).await;
    }
    let epoch = server.epoch_of("t").await;
    for _ in 0..50 {
        let mut client = AnyClient::connect(&server, wire).await;
        client.resume(&epoch, 0).await;
    }
    let mut client = AnyClient::connect(&server, wire).await;
    client.resume(&epoch, 0).await;
    client.say(json!({"op": "unsubscribe", "args": ["t"]})).await;
    let since = json!({"topic": "t", "since": {"epoch": epoch, "seq": 997}});
    client.say(json!({"op": "subscribe", "id": 9, "args": [since]})).await;
    let mut next = 1;
    loop {
        match client.next("the replay, then two acks").await {
            Came::Said(said) if said["op"] == "unsubscribe" => break,
            other => {
                assert_eq!(other, message("t", next, text(next)), "a replay has no hole, wherever it ends")
            }
        }
        next += 1;
    }
    assert!(next < 1_000, "the replay was over before it was to be left");
    let ack = client.next_said("the second subscription").await;
    assert_eq!((&ack["id"], &ack["ok"][0]["recovered"]), (&json!(9), &json!(true)), "{ack}");
    let rest = [998, 999, 1_000].map(|number| message("t", number, text(number)));
    client.expect_only(&server, &rest).await;
    drop(client);
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
    server.until_metric("stentor_outbound_bytes", &[], 0.0).await;
    assert_eq!(server.get("/topics/t").await.json()["subscribers"], 0);
}

/// Many topics at once, each with more to replay than an answer carries: all of it comes, topic after topic.
async fn a_resume_of_many_topics_gives_all_of_each(wire: Wire) {
    let server = TestServer::start();
    let names: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    for number in 1..=60 {
        for name in &names {
            server.publish(name, number.to_string()).await;
        }
    }
    let mut args = Vec::new();
    for name in &names {
        args.push(json!({"topic": name, "since": {"epoch": server.epoch_of(name).await, "seq": 10}}));
    }
    let mut client = AnyClient::connect(&server, wire).await;
    let ack = client.ask(json!({"op": "subscribe", "args": args})).await;
    assert!(ack["ok"].as_array().unwrap().iter().all(|one| one["recovered"] == true), "{ack}");
    let mut last = vec![10; names.len()];
    for _ in 0..40 * 50 {
        let came = client.next("the replays").await;
        let Came::Message { topic, .. } = &came else { panic!("no message: {came:?}") };
        let at = names.iter().position(|name| name == topic).unwrap();
        last[at] += 1;
        assert_eq!(came, message(&names[at], last[at], last[at]));
    }
    assert!(last.iter().all(|last| *last == 60));
    server.publish("t7", "61").await;
    client.expect(&[message("t7", 61, 61)]).await;
}

matrix! {
    everywhere:
        publishers_may_number_what_they_publish
        a_restart_is_another_epoch
        who_comes_back_to_state_is_given_the_newest
        a_snapshot_is_the_newest_image_and_all_after_it
        a_topic_has_one_class;
    streams:
        whoever_joins_during_a_burst_gets_every_number_once
        a_replay_larger_than_the_queue_goes_as_the_socket_takes_it
        leaving_in_the_middle_of_a_replay_leaves_nothing
        a_resume_of_many_topics_gives_all_of_each;
}
