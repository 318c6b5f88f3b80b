//! Proves: slow subscribers are kept apart from the healthy ones, and judged by their own rule: any beginning, no hole.
//! Method: the real binary against a tiny server in this process. It numbers subscribers and messages over both runs: with 6
//! healthy ones and 20 messages, the slow ones are 12 and later, and the second run's messages 20 and later.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tiny_server::{Mischief, TinyServer};

const LOAD: &str = "--conns 8 --stalled 12.5 --trickling 12.5 --messages 20 --rate 1000";

fn run(mischief: Mischief, args: &str) -> (Output, Value, usize) {
    let server = TinyServer::start(mischief);
    let url = server.url("ws");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    let output = command
        .args(["slow", "--json", "--rounds", "1", "--url", &url])
        .args(args.split_whitespace())
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json, server.pongs())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// 13 MB wait for each slow one when the last healthy one has everything.
#[test]
fn slow_ones_are_read_out_at_the_end_and_have_it_all() {
    let (output, json, pongs) = run(
        Mischief::default(),
        "--conns 4 --stalled 25 --trickling 25 --messages 200 --rate 1000 --size 65536",
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((&json["scenario"], &json["verified"]), (&json!("slow"), &json!(true)));
    assert_eq!((&json["connections"], &json["deliveries"]), (&json!(2), &json!(400)));
    let slow = &json["slow"];
    for (name, value) in
        [("stalled", 1), ("trickling", 1), ("received", 400), ("behind", 0), ("gaps", 0), ("closed", 0)]
    {
        assert_eq!(slow[name], value, "{name}");
    }
    // They too answer their ping, when they read.
    assert_eq!(pongs, 2 + 2 + 2);
    let without = &slow["without"];
    assert_eq!((&without["connections"], &without["deliveries"]), (&json!(2), &json!(400)));
    assert!(without["slow"].is_null());
    let p99 = |report: &Value| report["latency_us"]["p99"].as_f64().unwrap();
    let ratio = p99(&json) / p99(without);
    assert!((slow["p99_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9, "{slow}");
}

#[test]
fn a_slow_one_that_is_closed_is_counted_and_fails_nothing() {
    let close = Some((12, 27, 4001, "too slow"));
    let (output, json, _) = run(Mischief { close, ..Mischief::default() }, LOAD);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let slow = &json["slow"];
    assert_eq!((&slow["closed"], &slow["closed_by_code"]), (&json!(1), &json!({ "4001": 1 })));
    assert_eq!((&slow["first_close_reason"], &slow["received"]), (&json!("too slow"), &json!(8 + 20)));
    assert_eq!((&json["closed"], &json["missing"]), (&json!(0), &json!(0)));
}

#[test]
fn a_hole_in_a_slow_one_fails_and_its_end_that_is_missing_does_not() {
    for (lost, code, gaps) in [(30, 1, 1), (39, 0, 0)] {
        let instead = BTreeMap::from([((13, lost), vec![])]);
        let (output, json, _) = run(Mischief { instead, ..Mischief::default() }, LOAD);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert_eq!((&json["slow"]["gaps"], &json["slow"]["behind"]), (&json!(gaps), &json!(1)));
        assert_eq!((&json["gaps"], &json["missing"]), (&json!(0), &json!(0)));
        assert_eq!(said(&output).contains("slow subscribers failed: 1 skipped"), code == 1);
    }
}

#[test]
fn what_the_healthy_ones_miss_fails_in_either_run() {
    for (who, lost, words) in [(7, 30, "verification failed: 1 missing"), (0, 10, "without slow subscribers")]
    {
        let instead = BTreeMap::from([((who, lost), vec![])]);
        let (output, ..) = run(Mischief { instead, ..Mischief::default() }, LOAD);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}
