//! Proves: the search drives real steps, believes their verification, and reports the highest rate that held.
//! Method: the real binary against a tiny server that repeats every message from a certain one on. A machine under load may fail
//! a step that should have held; what is asserted is true all the same.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::process::{Command, Output};

use serde_json::Value;
use tiny_server::{Mischief, TinyServer};

fn loadgen(args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    command.arg("knee").args(args.split_whitespace()).output().unwrap()
}

fn knee(repeat_from: usize, rate: u32) -> (Output, Value) {
    let server = TinyServer::start(Mischief { repeat_from: Some(repeat_from), ..Mischief::default() });
    let load = format!("--conns 2 --rate {rate} --secs 0.1 --warmup 0 --bound-ms 60000");
    let output = loadgen(&format!("--json --url {} {load}", server.url("ws")));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Each step opened its own subscribers.
    assert_eq!(server.pongs(), 2 * json["steps"].as_array().unwrap().len());
    (output, json)
}

/// The first two rates take 30 messages each, the fewest there are; every later one meets the repetition.
#[test]
fn the_highest_rate_that_held_is_found_between_steps() {
    let (output, json) = knee(90, 100);
    let steps = json["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["held"] == step["reason"].is_null()));
    let held = steps.iter().rfind(|step| step["held"] == true).map(|step| &step["intended_per_s"]);
    assert_eq!(output.status.code(), Some(if held.is_some() { 0 } else { 1 }));
    assert_eq!(&json["held_per_s"], held.unwrap_or(&Value::Null));
    assert_eq!(json["limited_by"], "verification");
    assert!(json["failed_reason"].as_str().unwrap().contains("duplicated"), "{json}");
    if let Some(held) = json["held_per_s"].as_f64() {
        let failed = json["failed_per_s"].as_f64().unwrap();
        assert!(held < failed && failed <= held * 1.1, "{json}");
    }
}

#[test]
fn where_nothing_holds_the_lowest_rate_was_tried_twice_and_the_reason_is_said() {
    let (output, json) = knee(0, 3_200);
    assert_eq!(output.status.code(), Some(1));
    assert!(json["held_per_s"].is_null());
    let rates: Vec<f64> = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["intended_per_s"].as_f64().unwrap())
        .collect();
    assert_eq!(rates, [3_200.0, 3_200.0, 1_600.0, 800.0, 400.0, 400.0]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no rate held: verification failed"), "{said}");
}

/// Nothing is delivered, to none of the 46 subscribers that a search on a disturbed machine may open: a step would last a
/// minute, and has clearly failed after 0.3 s.
#[test]
fn a_step_that_has_clearly_failed_ends_early() {
    let everybody = (0..46).flat_map(|who| (0..2_000).map(move |number| (who, number)));
    let instead = everybody.map(|lost| (lost, vec![])).collect();
    let server = TinyServer::start(Mischief { instead, ..Mischief::default() });
    let load = "--conns 1 --rate 100 --secs 60 --warmup 0 --bound-ms 100";
    let output = loadgen(&format!("--json --url {} {load}", server.url("ws")));
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reason = json["failed_reason"].as_str().unwrap();
    let after = reason.split("when ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(after.parse::<f64>().unwrap() < 5.0, "{reason}");
}

#[test]
fn the_floor_has_a_knee_too_and_it_is_a_table() {
    let output = loadgen("--floor --coalesce --conns 2 --rate 3200 --secs 0.1 --warmup 0 --bound-ms 0.0001");
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    for words in ["highest rate held: -", "the bound", "CPU/delivery"] {
        assert!(table.contains(words), "{table}");
    }
}

#[test]
fn several_servers_are_searched_in_turns_and_stand_in_one_table() {
    let server = TinyServer::start(Mischief::default());
    let load = "--conns 1 --rate 3200 --secs 0.05 --warmup 0 --bound-ms 0.0001";
    let output = loadgen(&format!("--url {} --against-floor {load} --json", server.url("ws")));
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = json["cells"].as_array().unwrap().iter().map(|cell| &cell["server"]).collect();
    assert_eq!(names, ["server", "floor"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let turns: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("-- ")?.split(", ").nth(1)).collect();
    let [server, floor] = ["0 of 2 found: server", "0 of 2 found: floor"];
    assert_eq!(turns[..4], [server, floor, server, floor]);
}
