//! Proves: SIGTERM ends in order. Every client gets a notice and 1012 within the drain time, at moments spread
//! out; the exit code is 0; a second signal ends at once.
//! Method: a server process with many clients.

// A failed step is a failed test, and tests time what they wait for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::process::Process;
use common::{PATIENCE, within};
use futures_util::StreamExt as _;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

type Connection = tokio_tungstenite::WebSocketStream<TcpStream>;

/// A subscriber of a topic, its handshake done.
async fn subscriber(address: &str, topic: &str) -> Connection {
    let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    let shaken = tokio_tungstenite::client_async(format!("ws://{address}/ws/{topic}"), stream);
    within("a handshake", shaken).await.unwrap().0
}

/// Reads to the end; returns whether a notice came before the close, its code, and when it came.
async fn until_told(mut client: Connection) -> (bool, Option<u16>, Instant) {
    let (mut noticed, mut code) = (false, None);
    while let Some(Ok(message)) = client.next().await {
        match message {
            Message::Text(text) => noticed |= text.contains(r#""code":"shutdown","retry_after_ms":"#),
            Message::Close(Some(frame)) => code = Some(u16::from(frame.code)),
            _ => {}
        }
    }
    (noticed, code, Instant::now())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_are_told_and_closed_at_moments_spread_out() {
    const CLIENTS: usize = 1_000;
    let mut process = Process::start("serve", &["--set", "drain_s=6"]);
    let address = process.websocket.strip_prefix("ws://").unwrap().to_owned();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(until_told(subscriber(&address, &format!("topic-{}", number % 7)).await));
    }
    let began = Instant::now();
    process.terminate();
    let mut ended = Vec::new();
    while let Some(told) = within("a client to be closed", clients.join_next()).await {
        let (noticed, code, at) = told.unwrap();
        assert!(noticed, "closed without a notice");
        assert_eq!(code, Some(1012));
        ended.push(at.duration_since(began));
    }
    assert_eq!(ended.len(), CLIENTS);
    ended.sort_unstable();
    let spread = ended[CLIENTS * 9 / 10] - ended[CLIENTS / 10];
    assert!(spread > Duration::from_millis(500), "closed within {spread:?} of each other: a stampede");
    assert_eq!(process.code().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(6), "took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut process = Process::start("serve", &["--set", "drain_s=60"]);
    let address = process.websocket.strip_prefix("ws://").unwrap().to_owned();
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(subscriber(&address, "t").await);
    }
    process.terminate();
    // The notice proves that the first signal was taken.
    let notice = within("the notice", clients[0].next()).await.unwrap().unwrap();
    assert!(notice.to_text().unwrap().contains("shutdown"));
    let began = Instant::now();
    process.terminate();
    assert_eq!(process.code().await, Some(143));
    assert!(began.elapsed() < PATIENCE / 2);
}
