//! Proves: all clients are cut off and come back, and the served ones are verified throughout.
//! Method: the real binary against a tiny server in this process, which counts handshakes.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::process::{Command, Output};

use serde_json::{Value, json};
use tiny_server::{Mischief, TinyServer};

fn storm(mischief: Mischief) -> (Output, Value) {
    let server = TinyServer::start(mischief);
    let url = server.url("ws");
    let load = [
        "--clients",
        "50",
        "--in-flight",
        "8",
        "--served",
        "3",
        "--rate",
        "40",
        "--secs",
        "0.5",
        "--warmup",
        "0",
    ];
    let peer = ["storm", "--json", "--url", &url, "--ws-path", "/app", "--publish-path", "/publish/t"];
    let output = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen")).args(peer).args(load).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    // Only the served ones read, and answer their pings.
    assert_eq!(server.pongs(), if output.status.success() { 3 } else { 0 });
    (output, json)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn everybody_comes_back_and_the_served_miss_nothing() {
    let (output, json) = storm(Mischief::default());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    // Half a second before the cut, and five behind it.
    assert_eq!((&json["published"], &json["deliveries"]), (&json!(220), &json!(660)));
    let storm = &json["storm"];
    assert_eq!((&storm["clients"], &storm["lost"], &storm["in_flight"]), (&json!(50), &json!(0), &json!(8)));
    let seconds =
        ["cut_s", "back_p50_s", "back_p99_s", "back_all_s"].map(|name| storm[name].as_f64().unwrap());
    assert!(seconds.is_sorted() && seconds[0] > 0.0, "{storm}");
    assert!(storm["latency_us"]["p99"].as_u64() > Some(0) && json["latency_us"]["p99"].as_u64() > Some(0));
}

#[test]
fn a_crowd_that_cannot_be_opened_is_told_apart() {
    let (output, _) = storm(Mischief { refuse_from: Some(20), ..Mischief::default() });
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("the crowd of 50 clients could not be opened: the server answered 503"));
}
