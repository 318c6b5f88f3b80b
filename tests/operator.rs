//! Proves: every route of the operator's HTTP does what the protocol says of it.
//! Method: a server in this process, asked with an HTTP library that we did not write, beside WebSocket clients
//! who see the effect; what happens to a connection is tried on every wire that has it, here and in `system.rs`.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{AnyClient, Wire, matrix, message};
use common::{HttpAnswer, TestServer, eventually, sum_of_series};
use serde_json::{Value, json};

/// A few of these are over what the sockets hold and under what a queue does.
const BIG_BYTES: usize = 1 << 20;

/// A refusal: its status, and a body with something in it to act on.
fn assert_refused(answer: &HttpAnswer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(!answer.text().trim().is_empty(), "{status} without a word why");
}

/// Proves: a post publishes the body verbatim and tells its place; the topic is percent-decoded.
#[tokio::test]
async fn a_post_publishes_and_tells_the_place() {
    let server = TestServer::start();
    for (path, topic) in [
        ("/publish/plain", "plain"),
        ("/publish/a/b", "a/b"),
        ("/publish/a%2Fb", "a/b"),
        ("/publish/btc%40trade", "btc@trade"),
        ("/publish/btc@trade", "btc@trade"),
        ("/publish/%C3%BC%25", "ü%"),
    ] {
        let mut subscriber = server.connect("/ws").await;
        let head = subscriber.subscribe(&[topic]).await["ok"][0].clone();
        let answer = server.post(path, None, "{ \"verbatim\":1.0 }").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let place = answer.json();
        assert_eq!((&place["topic"], &place["epoch"]), (&json!(topic), &head["epoch"]), "{path}");
        assert_eq!(place["seq"].as_u64(), head["seq"].as_u64().map(|seq| seq + 1), "{path}");
        assert_eq!(subscriber.next_text(path).await, "{ \"verbatim\":1.0 }");
        subscriber.close().await;
    }
}

/// Proves: what was declared must hold, else 400, and what is refused takes no sequence and reaches nobody.
#[tokio::test]
async fn a_payload_must_be_what_it_is_declared_to_be() {
    let server = TestServer::start();
    let mut subscriber = server.connect("/ws/t").await;
    let json = Some("application/json");
    for (content_type, body) in [
        (json, b"{".as_slice()),
        (json, b""),
        (json, b"{} {}"),
        (json, b"NaN"),
        (Some("application/json; charset=utf-8"), b"nope"),
        (Some("Application/JSON"), b"nope"),
        (Some("text/plain"), b"\xff\xfe"),
        (Some("text/csv; charset=utf-8"), b"\xc3\x28"),
    ] {
        assert_refused(&server.post("/publish/t", content_type, body).await, 400);
    }
    for (content_type, body, is_text) in [
        (json, b" [1] ".as_slice(), true),
        (Some("APPLICATION/JSON"), b"1", true),
        (Some("text/csv"), b"a;b", true),
        (Some("application/octet-stream"), b"{}", false),
        (Some("application/x-protobuf"), b"text", false),
        (None, b"\xff", false),
        (None, b"text", true),
    ] {
        let answer = server.post("/publish/t", content_type, body).await;
        assert_eq!(answer.status, 200, "{content_type:?}: {}", answer.text());
        let arrived = subscriber.next_named("what was taken").await.unwrap();
        assert_eq!((arrived.is_text(), arrived.into_data().as_ref()), (is_text, body), "{content_type:?}");
    }
    assert_eq!(server.publish("t", "8").await, 8, "what was refused took a sequence");
}

/// Proves: names that are no topics are 400, the server's own are not for publishing, too much is refused.
#[tokio::test]
async fn bad_posts_are_refused_with_a_reason() {
    let server = TestServer::with(|settings| settings.limits.message_bytes = 300 << 10);
    let too_long = format!("/publish/{}", "x".repeat(201));
    for path in ["/publish/a%20b", "/publish/%00", "/publish/%ff", too_long.as_str()] {
        assert_refused(&server.post(path, None, "1").await, 400);
    }
    let reserved = server.post("/publish/$sys.stats", None, "1").await;
    assert!([400, 403].contains(&reserved.status), "{reserved:?}");
    let full = server.post("/publish/t", Some("text/plain"), "x".repeat(300 << 10)).await;
    assert_eq!(full.status, 200);
    assert_refused(&server.post("/publish/t", Some("text/plain"), "x".repeat((300 << 10) + 1)).await, 413);
    assert_eq!(server.get("/publish/t").await.status, 405);
}

/// Proves: a batch publishes its good lines in their order and verbatim, and names each bad one.
#[tokio::test]
async fn a_batch_publishes_its_good_lines_and_names_the_bad_ones() {
    let server = TestServer::start();
    let mut subscriber = server.connect("/stream?streams=a/b&seq=1").await;
    let long = "x".repeat(201);
    let lines = [
        r#"{"topic":"a","data":{ "n" : 1.0 }}"#,
        "nonsense",
        r#"{"topic":"b","data":[]}"#,
        "",
        r#"{"topic":"a b","data":1}"#,
        r#"{"topic":"a"}"#,
        r#"{"data":1}"#,
        r#"{"topic":7,"data":1}"#,
        r#"{"topic":"$sys.x","data":1}"#,
        r#"{"topic":"a","text":"plain"}"#,
        r#"{"topic":"b","base64":"AP8="}"#,
        r#"{"topic":"b","base64":"!"}"#,
        &format!(r#"{{"topic":"{long}","data":1}}"#),
        r#"{"topic":"a","data":4}"#,
    ];
    for end_of_line in ["\n", "\r\n"] {
        let body = lines.join(end_of_line);
        let answer = server.post("/publish", Some("application/x-ndjson"), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let outcome = answer.json();
        assert_eq!(outcome["accepted"], 5, "{outcome}");
        let rejected: Vec<_> =
            outcome["rejected"].as_array().unwrap().iter().map(|one| one["line"].as_u64().unwrap()).collect();
        assert_eq!(rejected, [2, 5, 6, 7, 8, 9, 12, 13], "{outcome}");
    }
    for round in 0..2 {
        let (a, b) = (round * 3, round * 2);
        for envelope in [
            format!(r#"{{"stream":"a","seq":{},"data":{{ "n" : 1.0 }}}}"#, a + 1),
            format!(r#"{{"stream":"b","seq":{},"data":[]}}"#, b + 1),
            format!(r#"{{"stream":"a","seq":{},"text":"plain"}}"#, a + 2),
            format!(r#"{{"stream":"b","seq":{},"base64":"AP8="}}"#, b + 2),
            format!(r#"{{"stream":"a","seq":{},"data":4}}"#, a + 3),
        ] {
            assert_eq!(subscriber.next_text("a good line").await, envelope);
        }
    }
    let nothing = server.post("/publish", None, "\n\n").await.json();
    assert_eq!(nothing, json!({"accepted": 0, "rejected": []}));
}

/// Proves: a batch that is larger than the sequencer's queue is published whole: full is waited for, not lost.
async fn a_batch_larger_than_the_queue_is_published_whole(wire: Wire) {
    let server = TestServer::with(|settings| settings.limits.sequencer_frames = 16);
    let mut subscriber = AnyClient::on(&server, wire, &["t"]).await;
    let body: String = (0..2_000).map(|n| format!("{{\"topic\":\"t\",\"data\":{n}}}\n")).collect();
    let outcome = server.post("/publish", None, body).await.json();
    assert_eq!(outcome, json!({"accepted": 2_000, "rejected": []}));
    for n in 0..2_000 {
        subscriber.expect(&[message("t", n + 1, n)]).await;
    }
}

/// Proves: a server that cannot take a message says 503 and when to come back, and takes nothing of it.
async fn a_full_table_of_topics_is_503_with_retry_after(wire: Wire) {
    let server = TestServer::with(|settings| settings.limits.topics = 2);
    for topic in ["a", "b"] {
        assert_eq!(server.post(&format!("/publish/{topic}"), None, "1").await.status, 200);
    }
    let refused = server.post("/publish/c", None, "1").await;
    assert_refused(&refused, 503);
    assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{refused:?}");
    // The topics there are go on.
    assert_eq!(server.post("/publish/a", None, "2").await.json()["seq"], 2);
    let mut client = AnyClient::connect(&server, wire).await;
    let ack = client.ask(json!({"op": "subscribe", "args": ["a", "c"]})).await;
    assert_eq!((&ack["ok"][0]["topic"], &ack["err"][0]["topic"]), (&json!("a"), &json!("c")), "{ack}");
    server.until_metric("stentor_published_total", &[], 3.0).await;
}

/// Proves: the topics are listed with class, epoch, head and subscribers, all of them and one by one.
async fn topics_are_listed_with_their_heads_and_subscribers(wire: Wire) {
    let server = TestServer::start();
    let mut clients = Vec::new();
    for topics in [&["a/b", "quiet"][..], &["a/b"], &["a/b"]] {
        clients.push(AnyClient::on(&server, wire, topics).await);
    }
    for n in 0..3 {
        server.publish("a/b", n.to_string()).await;
        server.publish("unheard", n.to_string()).await;
    }
    server.until_metric("stentor_delivered_total", &[], 9.0).await;
    let mut expected = vec![("a/b", 3, 3), ("quiet", 0, 1), ("unheard", 3, 0)];
    check_topics(&server, &expected).await;
    server.close(&clients.pop().unwrap()).await;
    eventually("a subscriber to be gone", async || {
        server.get("/topics/a%2Fb").await.json()["subscribers"] == 2
    })
    .await;
    expected[0].2 = 2;
    check_topics(&server, &expected).await;

    assert_refused(&server.get("/topics/unknown").await, 404);
    assert_refused(&server.get("/topics/a%20b").await, 400);
}

/// Name, head and subscribers of each topic, in the list and alone.
async fn check_topics(server: &TestServer, expected: &[(&str, u64, u64)]) {
    let listed = server.get("/topics").await.json();
    let listed = listed["topics"].as_array().expect("a list");
    for (name, seq, subscribers) in expected {
        let one = listed.iter().find(|one| one["topic"] == *name).expect(name);
        assert_eq!(one["class"], "event", "{one}");
        assert!(one["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{one}");
        assert_eq!((&one["seq"], &one["subscribers"]), (&json!(seq), &json!(subscribers)), "{one}");
        let path = format!("/topics/{}", name.replace('/', "%2F"));
        assert_eq!(server.get(&path).await.json(), *one);
    }
    let own =
        listed.iter().filter(|one| !one["topic"].as_str().is_some_and(|name| name.starts_with("$sys.")));
    assert_eq!(own.count(), expected.len(), "{listed:?}");
}

/// The connections as the operator sees them.
async fn connections(server: &TestServer, query: &str) -> Vec<Value> {
    let answer = server.get(&format!("/connections{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["connections"].as_array().expect("a list").clone()
}

/// Proves: the connection furthest behind comes first, whatever its shard, and the list keeps to its limit.
/// Method: one subscriber never reads while messages larger than all socket buffers are published; of eight
/// others who read, none is listed before it.
async fn connections_are_sorted_by_lag(wire: Wire) {
    let server = TestServer::start();
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(AnyClient::on(&server, wire, &["big"]).await);
    }
    let stalled = AnyClient::on(&server, wire, &["big"]).await;
    let stalled_address = stalled.address().to_string();
    for _ in 0..4 {
        readers.push(AnyClient::on(&server, wire, &["small"]).await);
    }
    let big = "x".repeat(BIG_BYTES);
    for number in 1..=6 {
        server.publish("big", big.clone()).await;
        for reader in &mut readers[..4] {
            reader.expect(&[message("big", number, big.clone())]).await;
        }
    }
    for query in ["?sort=lag", "?sort=lag&limit=20", ""] {
        let listed = connections(&server, query).await;
        assert_eq!(listed.len(), 9, "{query}");
        assert_eq!(listed[0]["address"], stalled_address, "{query}: {listed:?}");
        assert!(listed[0]["queued_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{listed:?}");
        let lags: Vec<_> = listed.iter().map(|one| one["queued_bytes"].as_u64().unwrap()).collect();
        assert!(lags.is_sorted_by(|before, after| before >= after), "{lags:?}");
    }
    let first = connections(&server, "?sort=lag&limit=1").await;
    assert_eq!((first.len(), &first[0]["address"]), (1, &json!(stalled_address)));
    assert_eq!(connections(&server, "?limit=0").await.len(), 0);
    assert_refused(&server.get("/connections?sort=beauty").await, 400);
    assert_refused(&server.get("/connections?limit=many").await, 400);
}

/// Proves: a connection can be closed by its id, sees a close, and is gone; the others stay; ids are not reused.
async fn a_connection_is_closed_by_its_id(wire: Wire) {
    let server = TestServer::start();
    let mut staying = AnyClient::on(&server, wire, &["t"]).await;
    let mut victim = AnyClient::on(&server, wire, &["victim"]).await;
    let id = server.close(&victim).await;
    assert_eq!(victim.until_close().await.0, 1001, "going away");
    drop(victim);
    server.until_metric("stentor_connections", &[], 1.0).await;
    server.until_metric("stentor_connections_dropped_total", &[r#"reason="operator""#], 1.0).await;

    let mut next = AnyClient::on(&server, wire, &["victim"]).await;
    assert_ne!(server.view_of(&next).await.unwrap()["id"], id);
    assert_refused(&server.delete(&format!("/connections/{id}")).await, 404);
    for unknown in ["0-999-1", "99-0-0", "1-4294967295-4294967295"] {
        assert_refused(&server.delete(&format!("/connections/{unknown}")).await, 404);
    }
    let nonsense = server.delete("/connections/nonsense").await;
    assert!([400, 404].contains(&nonsense.status), "{nonsense:?}");
    for (client, topic) in [(&mut staying, "t"), (&mut next, "victim")] {
        let seq = server.publish(topic, "1").await;
        client.expect_only(&server, &[message(topic, seq, 1)]).await;
    }
}

/// Proves: a started server is alive and ready.
#[tokio::test]
async fn a_started_server_is_alive_and_ready() {
    let server = TestServer::start();
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
}

/// Proves: the metrics are Prometheus text, and right after known traffic.
async fn metrics_are_right_after_known_traffic(wire: Wire) {
    let server = TestServer::start();
    let mut subscribers = Vec::new();
    for topics in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        subscribers.push(AnyClient::on(&server, wire, topics).await);
    }
    for n in 0..10 {
        server.publish("a", n.to_string()).await;
        server.publish("b", n.to_string()).await;
        server.publish("unheard", n.to_string()).await;
    }
    for (subscriber, expected) in subscribers.iter_mut().zip([10, 20, 20]) {
        for _ in 0..expected {
            subscriber.next("a message").await;
        }
    }
    // Refused publishes are not published.
    assert_eq!(server.post("/publish/a", Some("application/json"), "{").await.status, 400);
    for (name, value) in [
        ("stentor_connections", 3.0),
        ("stentor_subscriptions", 6.0),
        ("stentor_published_total", 30.0),
        ("stentor_delivered_total", 50.0),
        ("stentor_connections_dropped_total", 0.0),
    ] {
        server.until_metric(name, &[], value).await;
    }
    let answer = server.get("/metrics").await;
    let content_type = answer.header("content-type").unwrap_or_default();
    assert!(
        content_type.starts_with("text/plain") || content_type.starts_with("application/openmetrics-text"),
        "{content_type}"
    );
    let text = answer.text();
    for (name, labels) in [
        ("stentor_connections", &[][..]),
        ("stentor_subscriptions", &[]),
        ("stentor_published_total", &[]),
        ("stentor_delivered_total", &[]),
        ("stentor_connections_dropped_total", &[r#"reason="slow_consumer""#]),
        ("stentor_connections_dropped_total", &[r#"reason="panic""#]),
    ] {
        assert!(sum_of_series(&text, name, labels).is_some(), "{name}{labels:?} is missing");
    }
    server.close(&subscribers.pop().unwrap()).await;
    server.until_metric("stentor_connections", &[], 2.0).await;
    server.until_metric("stentor_subscriptions", &[], 3.0).await;
    server.until_metric("stentor_connections_dropped_total", &[], 1.0).await;
    server.until_metric("stentor_connections_dropped_total", &[r#"reason="operator""#], 1.0).await;
}

/// Proves: the books balance: what was routed was delivered, or abandoned by those who left, or is pending.
async fn what_was_routed_is_accounted_for(wire: Wire) {
    let server = TestServer::start();
    let mut reader = AnyClient::on(&server, wire, &["t"]).await;
    let stalled = AnyClient::on(&server, wire, &["t"]).await;
    for _ in 0..6 {
        server.publish("t", "x".repeat(BIG_BYTES)).await;
        reader.next("a big message").await;
    }
    check_books(&server, 12.0).await;
    drop(stalled);
    server.until_metric("stentor_connections", &[], 1.0).await;
    server.until_metric("stentor_pending", &[], 0.0).await;
    check_books(&server, 12.0).await;
    assert!(server.metric("stentor_abandoned_total", &[]).await > 0.0);
}

/// Proves: the books balance for each topic too, on all shards together, also when everybody has left; and the topics
/// together are what the shards have counted.
/// Method: two topics with other subscribers each; one of them reads nothing, and is closed with its queue full.
async fn what_was_routed_is_accounted_for_by_topic(wire: Wire) {
    let server = TestServer::start();
    let mut both = AnyClient::on(&server, wire, &["big", "q\"t"]).await;
    let mut small = AnyClient::on(&server, wire, &["q\"t"]).await;
    let stalled = AnyClient::on(&server, wire, &["big"]).await;
    for n in 1..=6 {
        server.publish("big", "x".repeat(BIG_BYTES)).await;
        server.publish("q\"t", n.to_string()).await;
        both.next("a big message").await;
        for reader in [&mut both, &mut small] {
            reader.expect(&[message("q\"t", n, n)]).await;
        }
    }
    let waiting = server.get("/topics/big").await.json();
    assert!(waiting["pending"].as_u64().is_some_and(|pending| pending > 0), "{waiting}");
    server.close(&stalled).await;
    drop((stalled, both, small));
    server.until_metric("stentor_connections", &[], 0.0).await;

    let of = |topic: &Value| {
        let term = |name: &str| topic[name].as_u64().expect(name);
        ["routed", "delivered", "conflated", "skipped", "abandoned", "pending"].map(term)
    };
    let [routed, delivered, conflated, skipped, abandoned, pending] =
        of(&server.get("/topics/big").await.json());
    assert_eq!((routed, conflated, skipped, pending), (12, 0, 0, 0));
    assert_eq!(delivered + abandoned, 12);
    assert!(delivered >= 6 && abandoned > 0, "{delivered} delivered, {abandoned} abandoned");
    let listed = server.get("/topics?prefix=q").await.json();
    assert_eq!(of(&listed["topics"][0]), [12, 12, 0, 0, 0, 0], "{listed}");

    let without = server.get("/metrics").await.text();
    assert!(!without.contains("stentor_topic_"), "names are unbounded, and nobody asked");
    let text = server.get("/metrics?topics=").await.text();
    for (name, big) in [("routed_total", 12), ("delivered_total", delivered), ("abandoned_total", abandoned)]
    {
        let of_topic = |label: &str| sum_of_series(&text, &format!("stentor_topic_{name}"), &[label]);
        assert_eq!(of_topic(r#"topic="big""#), Some(big as f64), "{name}");
        let all = sum_of_series(&text, &format!("stentor_{name}"), &[]);
        assert_eq!(of_topic("topic="), all, "{name}: what topics have counted is what shards have");
    }
    let one = server.get("/metrics?topics=q%22").await.text();
    assert_eq!(sum_of_series(&one, "stentor_topic_routed_total", &[]), Some(12.0));
    assert!(one.contains(r#"stentor_topic_pending{topic="q\"t"} 0"#), "a quote in a name is escaped: {one}");
}

async fn check_books(server: &TestServer, routed: f64) {
    let text = server.get("/metrics").await.text();
    let of = |name: &str| sum_of_series(&text, name, &[]).unwrap_or(0.0);
    let accounted = ["delivered_total", "conflated_total", "skipped_total", "abandoned_total", "pending"]
        .map(|name| of(&format!("stentor_{name}")));
    assert_eq!(of("stentor_routed_total"), routed);
    assert_eq!(accounted.iter().sum::<f64>(), routed, "{accounted:?}");
}

/// Proves: the page is one HTML page that loads nothing from elsewhere.
#[tokio::test]
async fn the_page_is_served_and_needs_nothing_from_elsewhere() {
    let server = TestServer::start();
    let answer = server.get("/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{answer:?}");
    let page = answer.text();
    assert!(page.contains("Stentor") && page.contains("</html>"), "{page:.200}");
    for elsewhere in ["src=\"http", "src=\"//", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(elsewhere), "the page wants {elsewhere}");
    }
}

/// Proves: an unknown route is 404, and a known one with the wrong method 405.
#[tokio::test]
async fn unknown_routes_are_not_found() {
    let server = TestServer::start();
    for path in ["/nope", "/connections/0-0-0/x", "/ws/t", "/topics/"] {
        let answer = server.get(path).await;
        assert!([400, 404, 405].contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(server.post("/metrics", None, "").await.status, 405);
    assert_eq!(server.delete("/topics").await.status, 405);
}

/// Proves: bytes declared to be JSON that are not UTF-8 are refused; they once went out in text frames, and one
/// bad post cut off every compliant subscriber.
#[tokio::test]
async fn json_that_is_not_utf8_is_refused() {
    let server = TestServer::start();
    let body = b"\"\xff\"".as_slice();
    assert_eq!(server.post("/publish/t", Some("application/json"), body).await.status, 400);
    let line = b"{\"topic\":\"t\",\"data\":\"\xff\"}".as_slice();
    assert_eq!(server.post("/publish", None, line).await.json()["accepted"], 0);
}

/// Proves: null is JSON and may be published; an array is no line, though a parser might read it as one.
#[tokio::test]
async fn a_line_is_an_object_and_its_data_may_be_null() {
    let server = TestServer::start();
    let answer =
        server.post("/publish", None, "{\"topic\":\"t\",\"data\":null}\n[\"t\",1,null,null]").await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["line"]), (&json!(1), &json!(2)), "{answer}");
}

/// Proves: what is wrong with a request to the operator's port is told in JSON, whatever it is.
#[tokio::test]
async fn every_wrong_request_is_told_why() {
    let server = TestServer::start();
    for (path, status) in [("/nowhere", 404), ("/publish/t", 405), ("/connections?limit=many", 400)] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.json()["message"].is_string(), "{path}: {}", answer.text());
    }
}

/// Proves: histograms end in `+Inf`, without which no quantile can be computed.
#[tokio::test]
async fn histograms_have_an_infinite_bucket() {
    let text = TestServer::start().get("/metrics").await.text();
    assert!(text.contains(r#"stentor_write_frames_bucket{le="+Inf""#), "{text}");
}

/// Proves: a connection that has stopped reading can be closed too, and is then gone.
async fn a_stalled_connection_is_closed_by_its_id(wire: Wire) {
    let server = TestServer::start();
    let stalled = AnyClient::on(&server, wire, &["stalled"]).await;
    for _ in 0..6 {
        server.publish("stalled", "x".repeat(BIG_BYTES)).await;
    }
    eventually("a queue behind the full socket", async || {
        server.view_of(&stalled).await.unwrap()["queued_bytes"].as_u64().is_some_and(|bytes| bytes > 0)
    })
    .await;
    server.close(&stalled).await;
    server.until_metric("stentor_connections", &[], 0.0).await;
    server.until_metric("stentor_outbound_bytes", &[], 0.0).await;
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
}

matrix! {
    everywhere:
        a_full_table_of_topics_is_503_with_retry_after
        topics_are_listed_with_their_heads_and_subscribers
        a_connection_is_closed_by_its_id
        metrics_are_right_after_known_traffic;
    streams:
        a_batch_larger_than_the_queue_is_published_whole
        connections_are_sorted_by_lag
        what_was_routed_is_accounted_for
        what_was_routed_is_accounted_for_by_topic
        a_stalled_connection_is_closed_by_its_id;
}
