//! Proves: as many connections are opened as a limit permits, the limit is named, and the message reaches all of them.
//! Method: the real binary against a tiny server in this process, with and without a limit.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tiny_server::{Mischief, TinyServer};

fn connections(mischief: Mischief) -> (Output, Value) {
    let server = TinyServer::start(mischief);
    let url = server.url("ws");
    let pid = std::process::id().to_string();
    let args = ["connections", "--json", "--url", &url, "--pid", &pid, "--conns", "40", "--hold", "0.2"];
    let output = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen")).args(args).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    assert_eq!(json["opened"], server.pongs());
    (output, json)
}

#[test]
fn all_stand_and_the_message_reaches_all() {
    let (output, json) = connections(Mischief::default());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((&json["opened"], &json["reached"]), (&json!(40), &json!(40)));
    assert!(json["stopped_by"].is_null() && json["last_reached_ms"].as_f64() > Some(0.0), "{json}");
    assert_eq!(json["computed_for_a_million"]["source_addresses"], 200);
    if cfg!(target_os = "linux") {
        assert!(json["memory_idle"]["server_bytes"].as_u64() > Some(0), "{json}");
    }
}

#[test]
fn a_limit_of_the_server_is_named_and_those_before_it_are_served() {
    let (output, json) = connections(Mischief { refuse_from: Some(25), ..Mischief::default() });
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((&json["opened"], &json["reached"]), (&json!(25), &json!(25)));
    assert!(json["stopped_by"].as_str().unwrap().contains("503"), "{json}");
}

#[test]
fn whom_the_message_does_not_reach_is_missing() {
    let (output, json) =
        connections(Mischief { instead: BTreeMap::from([((3, 0), vec![])]), ..Mischief::default() });
    assert_eq!((output.status.code(), &json["missing"], &json["reached"]), (Some(1), &json!(1), &json!(39)));
}
