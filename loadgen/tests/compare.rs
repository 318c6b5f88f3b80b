//! Proves: two results are compared by their figures, refused where they are not of the same thing, and told apart by exit code.
//! Method: the real binary makes one result, which the test changes.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use tiny_server::{Mischief, TinyServer};

fn loadgen(directory: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    command.current_dir(directory).args(args.split_whitespace()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory with `a.json`, which is valid whatever this machine was busy with, and its content.
fn result() -> (TempDir, Value) {
    let directory = TempDir::new().unwrap();
    let server = TinyServer::start(Mischief::default());
    let output = loadgen(
        directory.path(),
        &format!("fanout --url {} --conns 2 --messages 9 --json", server.url("ws")),
    );
    assert_eq!(server.pongs(), 2);
    let mut json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["valid"] = json!(true);
    fs::write(directory.path().join("a.json"), json.to_string()).unwrap();
    (directory, json)
}

#[test]
fn a_figure_beyond_the_noise_decides_the_exit_code() {
    let (directory, a) = result();
    let compare = |p99: f64, args: &str| {
        let mut b = a.clone();
        b["latency_us"]["p99"] = json!((a["latency_us"]["p99"].as_f64().unwrap() * p99).ceil());
        fs::write(directory.path().join("b.json"), b.to_string()).unwrap();
        loadgen(directory.path(), &format!("compare a.json b.json {args}"))
    };
    let worse = compare(2.0, "");
    assert_eq!(worse.status.code(), Some(1), "{}", said(&worse));
    let table = String::from_utf8(worse.stdout).unwrap();
    for words in ["a.json", "latency p99 ", "WORSE", "within noise", "0 better, 1 worse, by more than 10 %"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    assert_eq!(compare(2.0, "--noise 150").status.code(), Some(0));
    let better = compare(0.25, "--json");
    assert_eq!(better.status.code(), Some(0), "{}", said(&better));
    let json: Value = serde_json::from_slice(&better.stdout).unwrap();
    assert_eq!((&json["better"], &json["worse"]), (&json!(1), &json!(0)));
    let figures = json["figures"].as_array().unwrap();
    let p99 = figures.iter().find(|figure| figure["name"] == "latency p99").unwrap();
    assert_eq!((&p99["verdict"], &p99["a"]), (&json!("better"), &json!(a["latency_us"]["p99"].as_f64())));
}

#[test]
fn results_of_different_things_are_refused_unless_asked_for() {
    let (directory, mut b) = result();
    b["header"]["parameters"]["rate_per_s"] = json!(7.0);
    fs::write(directory.path().join("b.json"), b.to_string()).unwrap();
    let refused = loadgen(directory.path(), "compare a.json b.json");
    assert_eq!((refused.status.code(), refused.stdout.is_empty()), (Some(2), true));
    assert!(
        said(&refused).contains("rate_per_s is 100.0 in a.json and 7.0 in b.json; --anyway"),
        "{}",
        said(&refused)
    );
    let asked = loadgen(directory.path(), "compare a.json b.json --anyway");
    assert_eq!(asked.status.code(), Some(0));
    assert!(said(&asked).contains("rate_per_s is 100.0"), "{}", said(&asked));
}

#[test]
fn what_is_no_result_is_named_in_one_line() {
    let (directory, _) = result();
    for (name, content, words) in [
        ("none.json", None, "cannot read none.json"),
        ("text.json", Some("latency"), "text.json is not the JSON of one result"),
        ("old.json", Some("{\"scenario\":\"fanout\"}"), "old.json does not say what it is of"),
    ] {
        if let Some(content) = content {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let output = loadgen(directory.path(), &format!("compare a.json {name}"));
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(words) && said(&output).lines().count() == 1, "{}", said(&output));
    }
    let output = loadgen(directory.path(), "compare a.json a.json --noise=-1");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--noise must be 0 or more"), "{}", said(&output));
}
