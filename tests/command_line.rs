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

/// A server on every transport, and where each is.
fn server() -> (Process, [String; 3]) {
    let server = Process::start("serve", &["--set", "udp_publish_from=127.0.0.0/8"]);
    let urls = server.at.urls();
    (server, urls)
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
    // Datagrams at their own pace, as a burst that does not fit the kernel's buffer is lost; what is lost nevertheless
    // on its way to the subscriber is fetched.
    for (transport, speed) in [(0, "20"), (1, "20"), (2, "1")] {
        let (_server, urls) = server();
        let url = urls[transport].as_str();
        let mut sub = stentor();
        sub.args(["sub", "topic@0", "topic@1", "topic@2", "--json", "--count", "500", "--url", url]);
        if transport == 2 {
            sub.args(["--repair", &urls[1]]);
        }
        let mut sub = sub.stdout(Stdio::piped()).spawn().unwrap();
        let mut printed = BufReader::new(sub.stdout.take().unwrap()).lines();
        let ack = printed.next().unwrap().unwrap();
        assert!(ack.contains(r#""event":"ack""#), "{ack}");
        let replayed = run(&["replay", file.to_str().unwrap(), "--speed", speed, "--url", url]);
        assert!(replayed.status.success(), "{replayed:?}");
        let collected =
            tokio::task::spawn_blocking(move || printed.map(|line| line.unwrap()).collect::<Vec<_>>());
        let got = within("the subscriber to have all", collected).await.unwrap();
        assert!(sub.wait().unwrap().success());
        let parse = |lines: &[String]| {
            let mut parsed = lines.iter().filter_map(|line| topic_and_payload(line)).collect::<Vec<_>>();
            if transport == 2 {
                // What is fetched comes in its place in its topic, not among others.
                parsed.sort_by(|one, other| one.0.cmp(&other.0));
            }
            parsed
        };
        assert_eq!(parse(&got), parse(&lines), "over {url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pub_takes_an_argument_or_lines_and_what_it_says_is_published_has_arrived() {
    let (_server, urls) = server();
    for url in urls {
        let topic = url.split(':').next().unwrap();
        let mut sub = stentor()
            .args(["sub", topic, "--raw", "--count", "3", "--url", &url])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(sub.stderr.take().unwrap()).lines();
        assert!(said.next().unwrap().unwrap().starts_with("subscribed"));
        assert!(run(&["pub", topic, "one", "--url", &url]).status.success());
        let mut lines = stentor()
            .args(["pub", topic, "--url", &url])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut lines.stdin.take().unwrap(), b"two\nthree\n").unwrap();
        assert!(lines.wait().unwrap().success());
        let output = within("the subscriber", tokio::task::spawn_blocking(|| sub.wait_with_output())).await;
        assert_eq!(String::from_utf8(output.unwrap().unwrap().stdout).unwrap(), "one\ntwo\nthree\n");
    }
}

#[test]
fn pub_ends_with_1_when_the_server_refuses_and_with_2_when_the_transport_cannot_say_it() {
    let (_server, [websocket, tcp, udp]) = server();
    let publish = |url: &str, topic: &str, more: &[&str]| {
        let output = run(&[&["pub", topic, "1", "--url", url], more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (url, topic) in [(&websocket, "a"), (&tcp, "b")] {
        assert_eq!(publish(url, topic, &["--class", "state", "--seq", "7"]).0, Some(0));
        let (code, said) = publish(url, topic, &["--seq", "7"]);
        assert!(
            code == Some(1) && said.contains("refused 1 of 1 messages") && said.contains("stale"),
            "{said}"
        );
    }
    for url in [&websocket, &tcp] {
        let (code, said) = publish(url, "$sys.stats", &[]);
        assert!(code == Some(1) && said.contains("$sys."), "{said}");
    }
    let refused = run(&["pub", "t", "1", "--image", "--url", &udp]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.lines().count() == 1 && said.contains("tcp://"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_comes_back_when_told_to_and_ends_when_not() {
    let mut first = Process::start("serve", &[]);
    let [_, url, _] = first.at.urls();
    let start = |more: &[&str]| {
        let mut sub = stentor();
        sub.args(["sub", "t", "--raw", "--count", "1", "--url", &url]).args(more);
        let mut sub = sub.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(sub.stderr.take().unwrap()).lines();
        assert!(said.next().unwrap().unwrap().starts_with("subscribed t"));
        (sub, said)
    };
    let (mut ending, _) = start(&[]);
    let (returning, mut said) = start(&["--reconnect"]);
    first.terminate();
    assert_eq!(first.code().await, Some(0));
    assert_eq!(ending.wait().unwrap().code(), Some(1));
    let _second = Process::start("serve", &["--tcp", url.strip_prefix("tcp://").unwrap()]);
    let subscribed = tokio::task::spawn_blocking(move || {
        said.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("subscribed t"))).unwrap().unwrap()
    });
    let again = within("the subscription to be back", subscribed).await.unwrap();
    assert!(again.contains("recovered=false") && again.contains("reason=epoch"), "{again}");
    assert!(run(&["pub", "t", "after", "--url", &url]).status.success());
    let output = tokio::task::spawn_blocking(|| returning.wait_with_output());
    assert_eq!(within("the subscriber", output).await.unwrap().unwrap().stdout, b"after\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_publishes_a_feed_and_says_what_to_try() {
    let mut demo = Process::start("demo", &[]);
    let [url, ..] = demo.at.urls();
    let page = format!("{}/", demo.operator);
    let told: Vec<String> = (0..6).map(|_| demo.next_line()).collect();
    assert!(told.iter().filter(|line| line.starts_with("  ")).count() == 3, "three commands: {told:?}");
    assert!(told.iter().any(|line| line.contains(&page)), "{told:?}");
    let seen = stentor()
        .args(["sub", "trade.BTCUSDT", "bbo.BTCUSDT", "--json", "--count", "20", "--url", &url])
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
