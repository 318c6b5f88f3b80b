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

fn knee(repeat_from: usize) -> (Output, Value) {
    let server = TinyServer::start(Mischief { repeat_from: Some(repeat_from), ..Mischief::default() });
    let load = "--conns 2 --rate 100 --secs 0.1 --warmup 0 --bound-ms 60000";
    let output = loadgen(&format!("--json --url ws://{} {load}", server.address));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Each step opened its own subscribers.
    assert_eq!(server.pongs(), 2 * json["steps"].as_array().unwrap().len());
    (output, json)
}

/// The first two rates take 10 and 20 messages; every later one meets the repetition.
#[test]
fn the_highest_rate_that_held_is_found_between_steps() {
    let (output, json) = knee(30);
    let steps = json["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["held"] == step["reason"].is_null()));
    let held = steps.iter().rfind(|step| step["held"] == true).map(|step| &step["intended_per_s"]);
    assert_eq!(output.status.code(), Some(if held.is_some() { 0 } else { 1 }));
    assert_eq!(&json["held_per_s"], held.unwrap_or(&Value::Null));
    assert_eq!(json["limited_by"], "verification");
    assert!(json["failed_reason"].as_str().unwrap().contains("duplicated"), "{json}");
    if let Some(held) = json["held_per_s"].as_f64() {
        let failed = json["failed_per_s"].as_f64().unwrap();
        assert!(held < failed && failed <= held * 1.05, "{json}");
    }
}

#[test]
fn where_nothing_holds_each_rate_was_tried_twice_and_the_reason_is_said() {
    let (output, json) = knee(0);
    assert_eq!(output.status.code(), Some(1));
    assert!(json["held_per_s"].is_null());
    let rates: Vec<f64> = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["intended_per_s"].as_f64().unwrap())
        .collect();
    assert!(rates.chunks(2).all(|tries| tries[0] == tries[1]), "{rates:?}");
    assert!(rates.len() == 12 && rates[11] == 100.0 / 32.0, "{rates:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no rate held: verification failed"), "{said}");
}

#[test]
fn the_floor_has_a_knee_too_and_it_is_a_table() {
    let output = loadgen("--floor --coalesce --conns 2 --rate 50 --secs 0.1 --warmup 0 --bound-ms 0.0001");
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    for words in ["highest rate held: -", "p99 is above the bound", "CPU/delivery"] {
        assert!(table.contains(words), "{table}");
    }
}

#[test]
fn several_servers_are_searched_in_turns_and_stand_in_one_table() {
    let server = TinyServer::start(Mischief::default());
    let load = "--conns 1 --rate 100 --secs 0.05 --warmup 0 --bound-ms 0.0001";
    let output = loadgen(&format!("--url ws://{} --against-floor {load} --json", server.address));
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = json["cells"].as_array().unwrap().iter().map(|cell| &cell["server"]).collect();
    assert_eq!(names, ["server", "floor"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let begun: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("-- ")?.split(',').next()).collect();
    let turns: Vec<_> = begun.into_iter().filter(|name| names.contains(&&Value::from(*name))).collect();
    // Each rate is tried twice before it is the other's turn.
    assert_eq!(turns[..6], ["server", "server", "floor", "floor", "server", "server"]);
}
