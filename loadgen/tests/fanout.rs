//! Proves: the generator believes a server that keeps its word, and counts exactly what another breaks.
//! Method: the real binary against a tiny server in this process, whose mischief is known to the message.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tiny_server::{Mischief, TinyServer};

fn loadgen() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    command.arg("fanout");
    command
}

fn run(server: &TinyServer, args: &str) -> (Output, Value) {
    run_over("ws", server, args)
}

fn run_over(wire: &str, server: &TinyServer, args: &str) -> (Output, Value) {
    let url = server.url(wire);
    let output = loadgen().args(["--json", "--url", &url]).args(args.split_whitespace()).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_server_that_keeps_its_word_is_verified() {
    for (wire, pongs) in [("ws", 40), ("tcp", 41)] {
        is_verified(wire, pongs);
    }
}

/// Over TCP the publisher is asked for a sign of life, too.
fn is_verified(wire: &str, pongs: usize) {
    let server = TinyServer::start(Mischief::default());
    let (output, json) =
        run_over(wire, &server, "--conns 40 --threads 2 --messages 50 --rate 500 --size 200");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(json["verified"], true);
    assert!(json["valid"].is_boolean());
    for (name, value) in
        [("connections", 40), ("published", 50), ("deliveries", 2_000), ("receiver_threads", 2)]
    {
        assert_eq!(json[name], value, "{name}");
    }
    for name in ["gaps", "duplicates", "reordered", "missing", "closed", "unstamped", "unsent"] {
        assert_eq!(json[name], 0, "{name}");
    }
    let latency = &json["latency_us"];
    assert!(
        latency["p50"].as_u64() > Some(0) && latency["p50"].as_u64() <= latency["max"].as_u64(),
        "{latency}"
    );
    let curve = json["latency_curve_ms"].as_array().unwrap();
    let highest = curve.last().unwrap()[1].as_f64().unwrap() * 1e3;
    assert!((highest - latency["max"].as_f64().unwrap()).abs() < 1e-3, "{latency} {curve:?}");
    assert!(json["server"].is_null());
    assert_eq!(server.pongs(), pongs);
}

#[test]
fn a_timed_run_measures_what_comes_after_the_warm_up() {
    let server = TinyServer::start(Mischief::default());
    let (output, json) = run(&server, "--conns 3 --rate 200 --warmup 0.25 --secs 0.5 --topic a/b@c");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((&json["published"], &json["deliveries"]), (&json!(150), &json!(450)));
    let phases: Vec<String> = said(&output).lines().map(|line| line.trim().to_owned()).collect();
    for (line, name) in phases.iter().zip(["connect:", "warm-up:", "measure:", "drain:"]) {
        assert!(line.starts_with(name), "{phases:?}");
    }
    let timeline = &json["timeline"];
    let phases: Vec<_> = timeline["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(phases, ["connect", "warm-up", "measure", "drain"]);
    let list = |name: &str| timeline[name].as_array().unwrap().clone();
    let (at_s, rates) = (list("at_s"), list("deliveries_per_s"));
    assert!(at_s.len() >= 3 && list("server_resident_bytes") == vec![Value::Null; at_s.len()], "{timeline}");
    // What the points stand for adds up to what was delivered.
    let mut before = 0.0;
    let sum: f64 = at_s.iter().zip(&rates).fold(0.0, |sum, (at_s, rate)| {
        let length_s = at_s.as_f64().unwrap() - std::mem::replace(&mut before, at_s.as_f64().unwrap());
        sum + rate.as_f64().unwrap() * length_s
    });
    assert!((sum - 450.0).abs() < 25.0, "{sum} of 450: {timeline}");
}

/// Who measured what, when and where stands in the result itself.
#[test]
fn a_result_says_what_it_is_of() {
    let server = TinyServer::start(Mischief::default());
    let (_, json) = run(&server, "--conns 2 --messages 3 --size 99");
    let header = &json["header"];
    assert_eq!(header["loadgen"], env!("CARGO_PKG_VERSION"));
    assert_eq!(header["server"], server.url("ws"));
    let date = header["started_at"].as_str().unwrap();
    assert!(date.len() == 20 && date.ends_with('Z') && date.as_bytes()[10] == b'T', "{date}");
    assert!(header["machine"]["cores"].as_u64() > Some(0), "{header}");
    let parameters = json!({
        "scenario": "fanout", "topic": "loadgen", "topics": 1, "topics_per_connection": 1, "choice": "uniform",
        "connections": 2, "others": 0, "rate_per_s": 100.0, "payload_bytes": 99,
        "amount": { "messages": 3 }, "threads": 1, "slow": { "stalled": 0, "trickling": 0 }, "against": null,
    });
    assert_eq!(header["parameters"], parameters);
}

#[test]
fn lost_repeated_and_swapped_messages_are_counted_exactly() {
    let instead = BTreeMap::from([
        ((0, 0), vec![]),
        ((3, 10), vec![]),
        ((3, 49), vec![]),
        ((4, 20), vec![20, 20]),
        ((4, 21), vec![21, 5]),
        ((5, 30), vec![]),
        ((5, 31), vec![31, 30]),
    ]);
    for wire in ["ws", "tcp"] {
        let server = TinyServer::start(Mischief { instead: instead.clone(), ..Mischief::default() });
        let (output, json) = run_over(wire, &server, "--conns 8 --messages 50 --rate 1000");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(json["verified"], false);
        // Three never came; two of them were followed by another message, so that the gap shows in the sequence itself.
        for (name, value) in [("missing", 3), ("gaps", 2), ("duplicates", 2), ("reordered", 1), ("closed", 0)]
        {
            assert_eq!(json[name], value, "{wire}: {name}");
        }
        assert_eq!(json["deliveries"], 8 * 50 - 3 + 2);
        assert!(said(&output).contains("verification failed: 3 missing, 2 skipped"), "{}", said(&output));
    }
}

#[test]
fn a_closed_subscriber_is_counted_under_its_code_and_misses_nothing_more() {
    for wire in ["ws", "tcp"] {
        let close = Some((2, 7, 4001, "last 7"));
        let server = TinyServer::start(Mischief { close, ..Mischief::default() });
        let (output, json) = run_over(wire, &server, "--conns 4 --messages 20 --rate 1000");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!((&json["closed"], &json["closed_by_code"]), (&json!(1), &json!({ "4001": 1 })));
        assert_eq!((&json["first_close_reason"], &json["missing"]), (&json!("last 7"), &json!(0)));
        assert_eq!(json["deliveries"], 3 * 20 + 8);
    }
}

#[test]
fn a_run_ends_early_when_nobody_is_left() {
    let close = Some((0, 0, 1013, ""));
    let server = TinyServer::start(Mischief { close, ..Mischief::default() });
    let (output, json) = run(&server, "--conns 1 --secs 3600 --rate 10 --warmup 0");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json["closed_by_code"], json!({ "1013": 1 }));
}

#[test]
fn a_server_that_refuses_is_quoted() {
    let server = TinyServer::start(Mischief { refuse_from: Some(3), ..Mischief::default() });
    let (output, json) = run(&server, "--conns 10");
    assert_eq!((output.status.code(), json), (Some(1), Value::Null));
    let line = said(&output);
    assert!(
        line.contains("of 10 connections, then: the server answered 503") && line.contains("no room"),
        "{line}"
    );
}

#[test]
fn a_port_where_nobody_listens_is_one_clear_line() {
    let address = TinyServer::start(Mischief::default()).address;
    let output = loadgen().args(["--url", &format!("ws://{address}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(said(&output).contains("refuses connections"), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1);
}

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    let output = loadgen().args(["--url", "ws://127.0.0.1:1", "--size", "12"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
}

#[test]
fn without_json_the_result_is_a_table() {
    let server = TinyServer::start(Mischief::default());
    let url = server.url("ws");
    let args = ["--url", &url, "--conns", "2", "--messages", "5", "--pid", &std::process::id().to_string()];
    let output = loadgen().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    for word in ["latency p99.9", "publisher's lag", "server's CPU per delivery", "per idle connection"] {
        assert!(table.contains(word), "{table}");
    }
}
