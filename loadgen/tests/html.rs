//! Proves: the page of a result is whole, needs nothing beside itself, and shows the figures of that very run.
//! Method: the real binary writes JSON and page of one run; the page's tags are counted, its words are looked up.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tiny_server::{Mischief, TinyServer};

fn loadgen(args: &str) -> (Output, Value, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("page.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    let output =
        command.args(args.split_whitespace()).arg("--json").arg("--html").arg(&path).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json, fs::read_to_string(path).unwrap_or_default())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every element ends, in the right order, and nothing is fetched.
fn check(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "<{tag}>"),
            None if tag.ends_with('/') || ["!doctype", "meta"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for words in ["http:", "https:", "src=", "href", "url(", "@import", "<script", "{{", "}}", "NaN", "inf"] {
        assert!(!page.contains(words), "{words}: {page}");
    }
}

fn count(page: &str, words: &str) -> usize {
    page.matches(words).count()
}

#[test]
fn a_page_shows_its_run() {
    let server = TinyServer::start(Mischief::default());
    let load = "--conns 4 --rate 200 --secs 0.5 --warmup 0.1 --topic <b>&";
    let (output, json, page) = loadgen(&format!("fanout --url {} {load}", server.url("ws")));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(server.pongs(), 4);
    check(&page);
    assert_eq!(count(&page, "<svg"), 3);
    let p99_ms = json["latency_us"]["p99"].as_f64().unwrap() / 1e3;
    for words in [
        "fanout: 4 subscribers, 200 messages/s of 128 bytes",
        &format!("<td>{p99_ms:.3} ms</td>"),
        "<td>deliveries</td><td>480</td>",
        json["header"]["started_at"].as_str().unwrap(),
        &server.address.to_string(),
        "&#60;b&#62;&#38;",
        "\nmeasure\n",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // Each chart has a line, that of the latencies has all points.
    let lines: Vec<usize> = page
        .lines()
        .filter(|line| line.starts_with("<polyline") && line.contains("series-0"))
        .map(|line| {
            line.split("points=\"").nth(1).unwrap().split('"').next().unwrap().split_whitespace().count()
        })
        .collect();
    let curve = json["latency_curve_ms"].as_array().unwrap().len();
    let steps = 2 * json["timeline"]["at_s"].as_array().unwrap().len();
    let memory = if cfg!(target_os = "linux") { vec![steps] } else { vec![] };
    assert_eq!(lines, [vec![curve, steps], memory].concat());
}

#[test]
fn runs_that_are_compared_share_their_charts() {
    let server = TinyServer::start(Mischief::default());
    let load = "--against-floor --conns 3 --messages 20 --rate 500";
    let (output, _, page) = loadgen(&format!("fanout --url {} {load}", server.url("ws")));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    check(&page);
    assert_eq!(count(&page, "<svg"), 3);
    assert!(page.contains("<tr><th></th><th>server</th><th>floor</th></tr>"), "{page}");
    assert!(page.contains("<polyline") && count(&page, "stroke=\"var(--series-1)\"") >= 3, "{page}");
}

#[test]
fn a_failed_run_has_its_page_too_and_says_so() {
    let close = Some((2, 7, 4001, "behind </p>"));
    let server = TinyServer::start(Mischief { close, ..Mischief::default() });
    let (output, _, page) =
        loadgen(&format!("fanout --url {} --conns 4 --messages 20 --rate 1000", server.url("ws")));
    assert_eq!(output.status.code(), Some(1));
    check(&page);
    assert!(page.contains("<p class=\"bad\">verification failed: 1 connections closed"), "{page}");
    assert!(page.contains("first: behind &#60;/p&#62;"), "{page}");
}

#[test]
fn a_knee_has_two_dots_for_each_step() {
    let server = TinyServer::start(Mischief { repeat_from: Some(0), ..Mischief::default() });
    let load = "--conns 2 --rate 3200 --secs 0.1 --warmup 0 --bound-ms 60000";
    let (output, json, page) = loadgen(&format!("knee --url {} {load}", server.url("ws")));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    check(&page);
    let steps = json["steps"].as_array().unwrap();
    let measured = steps.iter().filter(|step| step["latency_us"]["p99"].is_number()).count();
    // Its p50 and its p99; what a server costs is not known without its process.
    assert!(measured > 0 && count(&page, "<circle") == 2 * measured, "{page}");
    assert!(page.contains("<p class=\"bad\">no rate held"), "{page}");
}

#[test]
fn connections_have_their_memory_over_time_and_several_servers_their_knees() {
    let server = TinyServer::start(Mischief::default());
    let own = std::process::id();
    let args = format!("connections --url {} --pid {own} --conns 5 --hold 0.6", server.url("ws"));
    let (output, _, page) = loadgen(&args);
    assert_eq!((output.status.code(), server.pongs()), (Some(0), 5), "{}", said(&output));
    check(&page);
    assert_eq!(count(&page, "<svg"), 1);
    for words in ["Memory", "seconds since the first connection", "\nconnect\n"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // The generator's, and the server's where its process can be watched.
    assert_eq!(count(&page, "<polyline") >= 2, cfg!(target_os = "linux"), "{page}");
    let server = TinyServer::start(Mischief { repeat_from: Some(300), ..Mischief::default() });
    let load = "--conns 1,3 --rate 300 --secs 0.1 --warmup 0 --bound-ms 50 --against-floor";
    let (output, json, page) = loadgen(&format!("knee --url {} {load}", server.url("ws")));
    check(&page);
    let held = json["cells"].as_array().unwrap().iter().filter(|cell| cell["knee"]["held_per_s"].is_number());
    assert_eq!(count(&page, "<circle"), held.count(), "{}", said(&output));
    assert!(count(&page, "<svg") == 1 && page.contains("The highest rate held"), "{page}");
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_the_run() {
    for path in ["/no/such/directory/page.html", "."] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
        let output = command.args(["floor", "--html", path]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("--html must name a file"), "{}", said(&output));
    }
}
