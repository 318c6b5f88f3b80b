//! Proves: the floor is a server like another for the scenarios, verified like another, and ends with its parent; `fanout` compares
//! with it.
//! Method: the real binary as generator and as floor; for the server's side a client we did not write.
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_server;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tiny_server::{Mischief, TinyServer};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn run(args: &str) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    let output = command.args(args.split_whitespace()).arg("--json").output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A floor without a generator; it ends when its standard input does.
fn floor_server(args: &[&str]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
    command.arg("floor-server").args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ws://").unwrap().to_owned();
    (child, address)
}

async fn connect(address: &str, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let request = format!("ws://{address}{path}");
    tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await.unwrap().0
}

async fn hear(subscriber: &mut WebSocketStream<TcpStream>) -> Message {
    tokio::time::timeout(Duration::from_secs(20), subscriber.next()).await.unwrap().unwrap().unwrap()
}

#[test]
fn the_floor_keeps_its_word_with_and_without_coalescing() {
    for coalesce in ["", "--coalesce"] {
        let (output, json) =
            run(&format!("floor {coalesce} --conns 40 --threads 2 --messages 50 --rate 2000 --size 200"));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!((&json["scenario"], &json["verified"]), (&json!("floor"), &json!(true)));
        assert_eq!((&json["published"], &json["deliveries"]), (&json!(50), &json!(2_000)));
        assert!(json["server"]["pid"].as_u64() > Some(0) && json["against_floor"].is_null());
        assert!(!said(&output).contains("stentor-loadgen: the server"), "{}", said(&output));
    }
}

#[test]
fn the_floor_by_datagram_is_driven_like_another() {
    let (output, json) =
        run("floor --transport udp --conns 40 --threads 2 --messages 50 --rate 500 --size 200");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((&json["verified"], &json["published"]), (&json!(true), &json!(50)));
    let told = [&json["deliveries"], &json["missing"]].map(|count| count.as_u64().unwrap());
    assert!(told[0] > 0 && told[0] + told[1] == 2_000, "{told:?}");
    assert!(json["url"].as_str().unwrap().starts_with("udp://"), "{json}");
}

#[test]
fn fanout_against_the_floor_has_the_ratios() {
    let server = TinyServer::start(Mischief::default());
    let own = std::process::id();
    let load = "--conns 5 --messages 40 --rate 500";
    let (output, json) =
        run(&format!("fanout --against-floor --url {} --pid {own} {load}", server.url("ws")));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(server.pongs(), 5);
    let against = &json["against_floor"];
    assert_eq!((&json["scenario"], &against["floor"]["scenario"]), (&json!("fanout"), &json!("floor")));
    assert_eq!((&json["deliveries"], &against["floor"]["deliveries"]), (&json!(200), &json!(200)));
    let p99 = |report: &Value| report["latency_us"]["p99"].as_f64().unwrap();
    let ratio = p99(&json) / p99(&against["floor"]);
    assert!((against["p99_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9, "{against}");
    assert!(against["p50_ratio"].as_f64() > Some(0.0));
    // So short a run may cost less CPU than the system's accounts can tell; then there is no ratio.
    let cpu = |report: &Value| report["server"]["cpu_us_per_delivery"].as_f64().filter(|us| *us > 0.0);
    let expected = cpu(&json).zip(cpu(&against["floor"])).map(|(own, floor)| own / floor);
    let told = against["cpu_per_delivery_ratio"].as_f64().filter(|ratio| *ratio > 0.0);
    match (told, expected) {
        (Some(told), Some(expected)) => assert!((told - expected).abs() < 1e-9, "{against}"),
        (told, expected) => assert_eq!(told, expected, "{against}"),
    }
}

/// The message is larger than any socket's buffers, so that it goes out in parts.
#[tokio::test]
async fn any_client_is_upgraded_and_gets_large_messages_whole() {
    for args in [&[][..], &["--coalesce"]] {
        let (mut child, address) = floor_server(args);
        let mut subscribers = [connect(&address, "/ws/t").await, connect(&address, "/any/other?path").await];
        let mut publisher = connect(&address, "/publish/t").await;
        let large = Message::binary((0..20_000_000u32).map(|n| n as u8).collect::<Vec<_>>());
        publisher.send(Message::text("first")).await.unwrap();
        for subscriber in &mut subscribers {
            assert_eq!(hear(subscriber).await, Message::text("first"));
        }
        publisher.send(large.clone()).await.unwrap();
        for subscriber in &mut subscribers {
            assert!(hear(subscriber).await == large);
        }
        // One who left is forgotten, and his place taken; the others are served on.
        let [mut left, mut stayed] = subscribers;
        left.close(None).await.unwrap();
        while let Some(Ok(_)) = left.next().await {}
        let mut joined = connect(&address, "/ws/t").await;
        publisher.send(Message::text("last")).await.unwrap();
        for subscriber in [&mut stayed, &mut joined] {
            assert_eq!(hear(subscriber).await, Message::text("last"));
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}

#[cfg(unix)]
#[test]
fn the_floor_ends_well_on_sigterm() {
    let (mut child, _) = floor_server(&[]);
    // Its standard input stays open: it is the signal that ends it.
    let stdin = child.stdin.take();
    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    drop(stdin);
}

#[cfg(target_os = "linux")]
#[test]
fn a_pinned_run_says_so_and_keeps_to_its_cores() {
    let (output, json) = run("floor --pin 0,0 --conns 3 --messages 20");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(json["header"]["pinned"], json!({ "server_cores": [0], "generator_cores": [0] }));
    assert_eq!(json["deliveries"], 60);
    let (output, _) = run("floor --pin 0,nowhere --conns 1");
    assert_eq!((output.status.code(), said(&output).lines().count()), (Some(2), 1), "{}", said(&output));
}
