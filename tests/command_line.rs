//! Proves: the commands work together on real processes, byte for byte, and say what is wrong in one line.
//! Method: a server process; recordings made here, with everything a payload may contain.

// A failed step is a failed test, and tests time what they wait for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::process::{Process, run, stentor};
use common::within;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

/// What `sub --json` prints, without its own `t` and `seq`; answers and events left out.
fn topic_and_payload(line: &str) -> Option<(String, String)> {
    let rest = line.split_once(r#","topic":""#)?.1;
    let (topic, rest) = rest.split_once('"')?;
    let payload = match rest.strip_prefix(r#","seq":"#) {
        Some(rest) => rest.split_once(',')?.1,
        None => rest.strip_prefix(',')?,
    };
    Some((topic.to_owned(), payload.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_recording_arrives_in_order_and_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let payloads = [
        r#""data":{"e":"aggTrade","p":"64135.30","q":1.0,"m":true}"#,
        r#""data":{ "odd" : [ 1e3 , null ], "u":"\u00e9é", "dup":1,"dup":2 }"#,
        r#""text":"not \"JSON\" at all""#,
        r#""base64":"AP8BAgM=""#,
        r#""data":"just a string""#,
    ];
    let lines: Vec<String> = (0..500)
        .map(|n| format!(r#"{{"t":{}.{:03},"topic":"topic@{}",{}}}"#, n / 1000, n, n % 3, payloads[n % 5]))
        .collect();
    let file = dir.path().join("recording.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();

    let server = Process::start("serve", &[]);
    let mut sub = stentor()
        .args([
            "sub",
            "topic@0",
            "topic@1",
            "topic@2",
            "--json",
            "--count",
            "500",
            "--url",
            &server.websocket,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(sub.stdout.take().unwrap()).lines();
    let ack = printed.next().unwrap().unwrap();
    assert!(ack.contains(r#""event":"ack""#), "{ack}");
    let replayed = run(&["replay", file.to_str().unwrap(), "--speed", "20", "--url", &server.websocket]);
    assert!(replayed.status.success(), "{replayed:?}");
    let collected =
        tokio::task::spawn_blocking(move || printed.map(|line| line.unwrap()).collect::<Vec<_>>());
    let got = within("the subscriber to have all", collected).await.unwrap();
    assert!(sub.wait().unwrap().success());
    let parse =
        |lines: &[String]| lines.iter().filter_map(|line| topic_and_payload(line)).collect::<Vec<_>>();
    assert_eq!(parse(&got), parse(&lines));
    assert_eq!(got.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn pub_takes_an_argument_or_lines_and_what_it_says_is_published_has_arrived() {
    let server = Process::start("serve", &["--shards", "1"]);
    let mut sub = stentor()
        .args(["sub", "chat", "--raw", "--count", "3", "--url", &server.websocket])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(sub.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("subscribed"));
    assert!(run(&["pub", "chat", "one", "--url", &server.websocket]).status.success());
    let mut lines = stentor()
        .args(["pub", "chat", "--url", &server.websocket])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut lines.stdin.take().unwrap(), b"two\nthree\n").unwrap();
    assert!(lines.wait().unwrap().success());
    let output = within("the subscriber", tokio::task::spawn_blocking(|| sub.wait_with_output())).await;
    assert_eq!(String::from_utf8(output.unwrap().unwrap().stdout).unwrap(), "one\ntwo\nthree\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_publishes_a_feed_and_says_what_to_try() {
    let mut demo = Process::start("demo", &[]);
    let page = format!("{}/", demo.operator);
    let told: Vec<String> = (0..6).map(|_| demo.next_line()).collect();
    assert!(told.iter().filter(|line| line.starts_with("  ")).count() == 3, "three commands: {told:?}");
    assert!(told.iter().any(|line| line.contains(&page)), "{told:?}");
    let seen = stentor()
        .args(["sub", "trade.BTCUSDT", "bbo.BTCUSDT", "--json", "--count", "20", "--url", &demo.websocket])
        .output();
    let text = String::from_utf8(seen.unwrap().stdout).unwrap();
    assert_eq!(text.lines().filter_map(topic_and_payload).count(), 20, "{text}");
    demo.terminate();
    assert_eq!(demo.code().await, Some(0));
}

#[test]
fn a_wrong_setting_is_one_clear_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stentor.toml");
    std::fs::write(&file, "shards = 1\n[limits]\nqueue_byte = 5\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["serve", "--listen", "nowhere"], "--listen"),
        (&["serve", "--set", "limits.queue=1"], "limits.queue"),
        (&["serve", "--set", "limits.ping_s=100"], "limits.ping_s"),
        (&["check", "--config", file], "line 3"),
        (&["check", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
    ];
    for (args, what) in cases {
        let output = run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(what), "{args:?}: {said}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["serve", "--listen", &address, "--admin", "127.0.0.1:0"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn check_prints_every_setting_with_its_effective_value_and_the_worst_case() {
    let mut check = stentor();
    check.args(["check", "--shards", "3"]).env("STENTOR_LIMITS_QUEUE_BYTES", "12345");
    let printed = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let settings: toml::Table = printed.parse().unwrap();
    assert_eq!(settings["shards"].as_integer(), Some(3));
    assert_eq!(settings["limits"]["queue_bytes"].as_integer(), Some(12_345));
    assert!(printed.contains("worst-case memory"), "{printed}");
}
