//! Proves: replay and what is live meet at one number, whenever and however often a client comes back; what cannot
//! be given is said, with the reason; snapshots begin where they must; publishers may number what they publish.
//! Method: over real sockets; each message carries its number, so that what arrived can be told from what should have.
//! The list at the end says what runs on which wire: a replay that is larger than a socket has no datagrams, whose losses
//! are fetched elsewhere. URLs, and frames cut at their bytes, are of WebSocket only; `cuts.rs` cuts TCP too.

// A failed step is a failed test, and a failed expectation of the test itself is one too.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{AnyClient, Came, Wire, matrix, message, open};
use common::process::{Process, run};
use common::{Client, TestServer, within};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stentor::config::{Rule, Snapshot};
use stentor::{Accepted, Class, PublishOptions, Publisher, Server, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn rule(pattern: &str) -> Rule {
    Rule { pattern: pattern.into(), ..Rule::default() }
}

/// Publishes numbers from `first` on, many a millisecond, until told to stop; returns the last.
async fn burst(publisher: Publisher, topic: &'static str, first: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut number = first;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(1));
    while !stop.load(Ordering::Relaxed) {
        match publisher.publish(topic, number.to_string()).unwrap() {
            Accepted::Yes => number += 1,
            Accepted::Full => publisher.ready().await,
        }
        if number.is_multiple_of(16) {
            pace.tick().await;
        }
    }
    number - 1
}

/// Reads messages of the envelope with `seq`: they must be `first..first + count`, each with its own number in it.
async fn expect_run(client: &mut Client, first: u64, count: u64) {
    for number in first..first + count {
        let message = client.next_json("the next number").await;
        assert_eq!((&message["seq"], &message["data"]), (&json!(number), &json!(number)), "{message}");
    }
}

/// The payloads of whole frames at the start of what was read; the rest stays.
fn take_frames(bytes: &mut Vec<u8>, frames: &mut Vec<Vec<u8>>) {
    let mut at = 0;
    while let Some(second) = bytes.get(at + 1) {
        let (header, len) = match second {
            126 if bytes.len() >= at + 4 => {
                (4, usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])))
            }
            126 => break,
            len => (2, usize::from(*len)),
        };
        let Some(payload) = bytes.get(at + header..at + header + len) else { break };
        frames.push(payload.to_vec());
        at += header + len;
    }
    bytes.drain(..at);
}

/// Bytes of a frame with so many of payload.
fn framed(len: usize) -> usize {
    len + if len < 126 { 2 } else { 4 }
}

/// Opens a path, reads at most so many bytes of what follows the handshake, and cuts the connection there.
async fn read_and_cut(server: &TestServer, path: &str, bytes: usize) -> Vec<u8> {
    let mut stream = within("a connection", TcpStream::connect(server.websocket)).await.unwrap();
    stream.write_all(common::upgrade_request(path, "").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the handshake", stream.read_u8()).await.unwrap());
    }
    let mut read = vec![0; bytes];
    within("bytes before a cut", stream.read_exact(&mut read)).await.unwrap();
    read
}

/// A client that is cut at random bytes, in the middle of a frame as likely as not, and comes back with the last number
/// it had whole, ends with the very bytes of one that never was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_at_random_bytes_is_the_same_stream() {
    const NUMBERS: usize = 3_000;
    let server = TestServer::with(|settings| {
        settings.limits.history_messages = NUMBERS + 1;
        settings.limits.history_bytes = 4 << 20;
    });
    server.publish("t", "0").await;
    let epoch = server.epoch_of("t").await;
    let payload = |number: usize| format!("{number} {}", "x".repeat(number * 7 % 300));
    let publisher = server.publisher();
    let publishing = tokio::spawn(async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(1));
        for number in 1..NUMBERS {
            while publisher.publish("t", payload(number)).unwrap() == Accepted::Full {
                publisher.ready().await;
            }
            if number.is_multiple_of(50) {
                pace.tick().await;
            }
        }
    });
    let mut frames = Vec::new();
    while frames.len() < NUMBERS - 1 {
        let last = frames.len() as u64 + 1;
        let left: usize = (frames.len() + 1..NUMBERS).map(|number| framed(payload(number).len())).sum();
        let bytes = fastrand::usize(1..20_000).min(left);
        let mut read = read_and_cut(&server, &format!("/ws/t?since={epoch}:{last}"), bytes).await;
        take_frames(&mut read, &mut frames);
    }
    publishing.await.unwrap();
    for (at, frame) in frames.iter().enumerate() {
        assert_eq!(String::from_utf8_lossy(frame), payload(at + 1));
    }
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
    assert!(server.metric("stentor_replayed_total", &[]).await > 0.0);
    assert_eq!(server.metric("stentor_routed_total", &[]).await, {
        let ends = ["delivered", "conflated", "skipped", "abandoned", "pending"];
        let mut sum = 0.0;
        for end in ends {
            let total = if end == "pending" { "" } else { "_total" };
            sum += server.metric(&format!("stentor_{end}{total}"), &[]).await;
        }
        sum
    });
}

/// What a URL asks for and cannot be given is said by an event before the next message, and both ends are counted.
#[tokio::test]
async fn what_a_url_cannot_be_given_is_said_with_the_reason() {
    let server = TestServer::with(|settings| {
        settings.topics = vec![
            Rule { history_messages: Some(3), ..rule("t") },
            Rule { history_messages: Some(0), ..rule("none") },
        ];
    });
    for number in 1..=5 {
        server.publish("t", number.to_string()).await;
        server.publish("none", number.to_string()).await;
    }
    let (epoch, other) = (server.epoch_of("t").await, server.epoch_of("none").await);
    let mut recovered = server.connect(&format!("/stream?seq=1&streams=t&since={epoch}:3")).await;
    expect_run(&mut recovered, 4, 2).await;
    let path = format!("/stream?streams=t/none&since={epoch}:1,{other}:2");
    let mut client = server.connect(&path).await;
    let evicted = json!({"event": "gap", "topic": "t", "from": 2, "to": 5, "reason": "evicted"});
    let none = json!({"event": "gap", "topic": "none", "from": 3, "to": 5, "reason": "none"});
    assert_eq!([client.next_json("a gap").await, client.next_json("a gap").await], [evicted, none]);
    assert_eq!(server.metric("stentor_recovered_total", &[]).await, 1.0);
    assert_eq!(server.metric("stentor_not_recovered_total", &[]).await, 2.0);
}

/// A subscriber of a `state` topic that lost numbers is told so and given the newest; a verbatim one too.
#[tokio::test]
async fn a_state_topic_goes_on_with_its_newest_message() {
    let server = TestServer::with(|settings| {
        settings.topics = vec![Rule { class: Some(Class::State), history_messages: Some(0), ..rule("t") }];
    });
    for number in 1..=10 {
        server.publish("t", number.to_string()).await;
    }
    let epoch = server.epoch_of("t").await;
    let mut client = server.connect(&format!("/stream?streams=t&since={epoch}:4")).await;
    let gap = json!({"event": "gap", "topic": "t", "from": 5, "to": 10, "reason": "evicted"});
    assert_eq!(client.next_json("the gap").await, gap);
    assert_eq!(client.next_json("the snapshot").await, json!({"stream": "t", "snap": true, "data": 10}));
    assert_eq!(server.connect("/ws/t").await.next_text("the snapshot, verbatim").await, "10");
}

/// A publisher that numbers its messages: a stale one is refused and counted, one left out is a gap before the next,
/// another epoch begins anew; who resumes across all that is told the same.
#[tokio::test]
async fn publishers_may_number_what_they_publish() {
    let server = TestServer::start();
    let mut client = server.connect("/stream?seq=1").await;
    client.subscribe(&["t"]).await;
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
    let expected: VecDeque<Value> = [
        json!({"event": "epoch", "topic": "t", "epoch": "k1", "seq": 4}),
        json!({"stream": "t", "seq": 5, "data": 5}),
        json!({"stream": "t", "seq": 6, "data": 6}),
        json!({"event": "gap", "topic": "t", "from": 7, "to": 8, "reason": "publisher"}),
        json!({"stream": "t", "seq": 9, "data": 9}),
        json!({"event": "epoch", "topic": "t", "epoch": "k2", "seq": 0}),
        json!({"stream": "t", "seq": 1, "data": 1}),
    ]
    .into();
    for expected in &expected {
        assert_eq!(&client.next_json("what was published").await, expected);
    }
    assert_eq!(server.metric("stentor_publishes_stale_total", &[]).await, 3.0);

    // By a path: the first has the number, the others count on; what was there already is refused, and the rest taken.
    let mut numbering = server.connect("/publish/t?seq=1&epoch=k2").await;
    for number in 1..=3 {
        numbering.send_text(number.to_string()).await;
    }
    let refused = numbering.next_json("the first again").await;
    assert_eq!((&refused["event"], &refused["code"]), (&json!("error"), &json!("stale")), "{refused}");
    expect_run(&mut client, 2, 2).await;
    assert_eq!(publish("seq=6", "6").await.1["seq"], 6);
    let mut back = server.connect("/stream?seq=1&streams=t&since=k2:2").await;
    expect_run(&mut back, 3, 1).await;
    let gap = json!({"event": "gap", "topic": "t", "from": 4, "to": 5, "reason": "publisher"});
    assert_eq!(back.next_json("the gap, replayed").await, gap);
    expect_run(&mut back, 6, 1).await;
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
    let mut client = AnyClient::connect(&server, wire).await;
    client.subscribe(&["t"]).await;
    client.expect(&[image(1, "book 1")]).await;
    assert!(matches!(client.next("what followed").await, Came::Message { seq: 2, .. }));
    assert_eq!(client.bytes, b"+1");

    assert_eq!(server.post("/publish/t?image=1", None, "\"book 2\"").await.status, 200);
    server.publish("t", "-2").await;
    let mut client = AnyClient::connect(&server, wire).await;
    client.subscribe(&["t"]).await;
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
    let publishing = tokio::spawn(burst(server.publisher(), "t", first + 1, stop.clone()));
    let server = Arc::new(server);
    for _ in 0..10 {
        let mut joins = JoinSet::new();
        for number in 0..50 {
            let (server, epoch) = (server.clone(), epoch.clone());
            joins.spawn(async move {
                let mut client = AnyClient::connect(&server, wire).await;
                assert_eq!(client.subscribe(&["u"]).await["ok"][0]["seq"], 0);
                let ack = client.subscribe(&["t"]).await;
                let head = ack["ok"][0]["seq"].as_u64().unwrap();
                expect_numbers(&mut client, head + 1, 5).await;
                if number % 2 == 0 {
                    // Back again, to what may long be over or has just been.
                    let mut client = AnyClient::connect(&server, wire).await;
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
