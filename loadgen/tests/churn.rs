//! Proves: subscriptions that come and go are checked from ack to ack, alone and in the rounds of a soak.
//! Method: the real binary against a tiny server in this process that takes operations. The first subscription asks for the
//! head, the next two are the steady ones; every later one is a churning connection's.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::process::{Command, Output};

use serde_json::{Value, json};
use tiny_server::{Mischief, TinyServer};

/// Over this wire.
fn run_over(wire: &str, scenario: &str, mischief: Mischief, args: &str) -> (Output, Value) {
    let server = TinyServer::start(mischief);
    let url = server.url(wire);
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    let common = ["--json", "--url", &url, "--rate", "100", "--warmup", "0"];
    let output = command.arg(scenario).args(common).args(args.split_whitespace()).output().unwrap();
    assert!(server.pongs() > 0);
    (output.clone(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

fn run(scenario: &str, mischief: Mischief, args: &str) -> (Output, Value) {
    run_over("ws", scenario, mischief, args)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CHURN: &str = "--conns 3 --steady 2 --cycles 10 --secs 1";

#[test]
fn what_comes_and_goes_gets_all_between_its_acks() {
    for wire in ["ws", "tcp"] {
        let (output, json) = run_over(wire, "churn", Mischief::default(), CHURN);
        assert_eq!(output.status.code(), Some(0), "{wire}: {}", said(&output));
        assert_eq!((&json["published"], &json["deliveries"]), (&json!(100), &json!(200)));
        let churn = &json["churn"];
        assert!(churn["cycles"].as_u64() >= Some(3) && churn["received"].as_u64() > Some(0), "{churn}");
        for name in ["missing", "misplaced", "stray", "broken"] {
            assert_eq!(churn[name], 0, "{wire}: {name}");
        }
    }
}

#[test]
fn a_message_that_a_churning_one_does_not_get_is_found() {
    // Some of the messages of every later subscription never come, the last before its end among them or not.
    let lost = (3..200).flat_map(|who| (0..100).step_by(2).map(move |number| ((who, number), vec![])));
    let (output, json) = run("churn", Mischief { instead: lost.collect(), ..Mischief::default() }, CHURN);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(json["churn"]["misplaced"].as_u64() > Some(0), "{json}");
    assert!(said(&output).contains("verification of the churning connections failed"), "{}", said(&output));
    assert_eq!((&json["missing"], &json["deliveries"]), (&json!(0), &json!(200)));
}

/// The shortest there is: one round of five seconds, and a look at the server behind it.
#[test]
fn a_soak_goes_in_rounds_and_looks_at_the_server_between_them() {
    let args = format!("--conns 2 --churners 2 --stalled 1 --secs 6.5 --pid {}", std::process::id());
    let (output, json) = run("soak", Mischief::default(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((&json["published"], &json["deliveries"]), (&json!(650), &json!(1_300)));
    let (soak, churn) = (&json["soak"], &json["churn"]);
    assert_eq!((&soak["stalled"], &soak["judged"]), (&json!(1), &json!(false)));
    let samples = soak["samples"].as_array().unwrap();
    assert!(samples.len() == 1 && samples[0]["at_s"].as_f64() > Some(5.5), "{soak}");
    assert_eq!(samples[0]["descriptors"].is_u64(), cfg!(target_os = "linux"));
    assert!(churn["cycles"].as_u64() >= Some(2) && churn["missing"] == 0, "{churn}");
}
