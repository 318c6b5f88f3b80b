//! Proves: servers that are not Stentor are driven in their own words, over any of the ways to publish, and verified alike.
//! Method: the real binary against tiny servers in this process.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_nats;
mod tiny_operator;
mod tiny_server;

use std::process::{Command, Output};

use serde_json::{Value, json};
use tiny_nats::TinyNats;
use tiny_operator::TinyOperator;
use tiny_server::{Mischief, TinyServer};

fn run(args: &[&str]) -> (Output, Value) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_stentor-loadgen")).args(args).arg("--json").output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn any_websocket_server_is_spoken_to_by_templates() {
    let server = TinyServer::start(Mischief::default());
    let url = server.url("ws");
    let texts = ["--subscribe-text", "SUB {topic}", "--publish-text", r#"{"to":"{topic}","what":{payload}}"#];
    let paths = ["--ws-path", "/app", "--publish-path", "/publish/anything"];
    let load = ["--conns", "4", "--messages", "25", "--rate", "500"];
    let (output, json) = run(&[&["fanout", "--url", &url][..], &texts, &paths, &load].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((&json["deliveries"], &json["verified"]), (&json!(100), &json!(true)));
    assert_eq!(server.pongs(), 4);
}

#[test]
fn nats_is_driven_with_one_topic_and_with_many() {
    let server = TinyNats::start("forbidden");
    let url = format!("nats://{}", server.address);
    let (output, json) = run(&["fanout", "--url", &url, "--conns", "4", "--messages", "25", "--window", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((&json["deliveries"], &json["closed"], &json["window"]), (&json!(100), &json!(0), &json!(3)));
    let topics = ["--topics", "40", "--topics-per-conn", "10", "--uniform"];
    let load = ["--url", &url, "--conns", "8", "--messages", "50", "--rate", "1000"];
    let (output, json) = run(&[&["topics"][..], &topics, &load].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    // 8 connections with 10 of 40 topics each: 2 subscribers a topic.
    assert_eq!((&json["deliveries"], &json["astray"], &json["topics"]), (&json!(100), &json!(0), &json!(40)));
}

#[test]
fn a_recording_is_replayed_to_subscribers_of_all_its_topics() {
    let server = TinyNats::start("forbidden");
    let url = format!("nats://{}", server.address);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.ndjson");
    let line = |n: u32| {
        format!("{{\"t\":{},\"topic\":\"t{}\",\"data\":{{\"n\":{n}}}}}\n", f64::from(n) / 100.0, n % 3)
    };
    std::fs::write(&path, (0..60).map(line).collect::<String>()).unwrap();
    let file = path.to_str().unwrap();
    let (output, json) = run(&["feed", "--url", &url, "--conns", "4", "--file", file, "--speed", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        (&json["published"], &json["deliveries"], &json["topics"]),
        (&json!(60), &json!(240), &json!(3))
    );
    // 0.59 s at twice the speed; the last message waits for nobody.
    assert!(json["measured_s"].as_f64() > Some(0.29), "{json}");
}

#[test]
fn a_refused_subscription_is_quoted() {
    let server = TinyNats::start("forbidden");
    let url = format!("nats://{}", server.address);
    let (output, _) = run(&["fanout", "--url", &url, "--topic", "forbidden"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("refused the subscription: -ERR 'Permissions"), "{}", said(&output));
}

/// Two servers that know nothing of each other: what is posted to the one cannot arrive at the other.
#[test]
fn messages_go_to_the_operator_port_and_its_counters_are_compared() {
    let (server, operator) =
        (TinyServer::start(Mischief::default()), TinyOperator::start(&[[0; 4], [5, 10, 10, 0]]));
    let (url, admin) = (server.url("ws"), format!("http://{}", operator.address));
    let load = ["--conns", "2", "--messages", "5", "--rate", "500"];
    let peer = ["fanout", "--url", &url, "--admin", &admin];
    let (output, json) = run(&[&peer[..], &load, &["--publish-via", "http"]].concat());
    assert_eq!((output.status.code(), &json["published"]), (Some(1), &json!(5)), "{}", said(&output));
    assert!(said(&output).contains("10 missing"), "{}", said(&output));
    assert!(json["server_counts"]["mismatch"].as_str().unwrap().contains("10 delivered, of which 0 arrived"));
    // The last reading is told for ever: from here on nothing moves.
    let (output, json) = run(&[&peer[..], &load].concat());
    assert_eq!((output.status.code(), &json["missing"]), (Some(1), &json!(0)), "{}", said(&output));
    assert!(
        said(&output).contains("counters do not agree: it counts 0 published, of our 5"),
        "{}",
        said(&output)
    );
}

#[test]
fn an_operator_port_that_is_none_is_named() {
    let server = TinyServer::start(Mischief::default());
    let url = server.url("ws");
    let (output, _) = run(&["fanout", "--url", &url, "--admin", &format!("http://{}", server.address)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is --admin its operator port?"), "{}", said(&output));
}
