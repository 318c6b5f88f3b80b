//! Proves: SIGTERM ends in order, on every wire at once. Every client gets a notice and 1012 within the drain time, at
//! moments spread out; the exit code is 0; a second signal ends at once.
//! Method: a server process with many clients, a third of them on each wire.

// A failed step is a failed test, and tests time what they wait for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::any::{AnyClient, Came, Wire};
use common::process::Process;
use common::within;
use futures_util::future::join_all;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WIRES: [Wire; 3] = [Wire::WebSocket, Wire::Tcp, Wire::Udp];
/// Nobody is closed for another reason, however long a machine takes for so many.
const PATIENT: [&str; 4] = ["--set", "limits.lease_s=600", "--set", "limits.idle_s=600"];

/// A server that has so long to drain.
fn serve(drain: &str) -> Process {
    // Both ends of a connection take a descriptor each, in two processes.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    Process::start("serve", &[&PATIENT[..], &["--set", drain]].concat())
}

/// So many subscribers, the wires in turn.
async fn subscribers(server: &Process, count: usize) -> Vec<(Wire, AnyClient)> {
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let wire = WIRES[number % WIRES.len()];
        let topic = format!("topic-{}", number % 7);
        clients.push((wire, AnyClient::on(server.at, wire, &[&topic]).await));
    }
    clients
}

async fn until_notice(client: &mut AnyClient) {
    let notice = client.next_said("the notice").await;
    assert_eq!((&notice["event"], &notice["code"]), (&json!("notice"), &json!("shutdown")), "{notice}");
    assert!(notice["retry_after_ms"].is_u64(), "{notice}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_are_told_and_closed_at_moments_spread_out() {
    const CLIENTS: usize = 1_000;
    const DRAIN: Duration = Duration::from_secs(30);
    let mut process = serve("drain_s=30");
    let mut clients = JoinSet::new();
    for (wire, mut client) in subscribers(&process, CLIENTS).await {
        clients.spawn(async move {
            until_notice(&mut client).await;
            assert_eq!(client.next("the close").await, Came::Close(1012, "restart".to_owned()));
            (wire, Instant::now())
        });
    }
    let began = Instant::now();
    process.terminate();
    let mut ended = Vec::new();
    while let Some(told) = within("a client to be closed", clients.join_next()).await {
        ended.push(told.unwrap());
    }
    assert_eq!(ended.len(), CLIENTS);
    for wire in WIRES {
        let mut moments: Vec<_> = ended.iter().filter(|(of, _)| *of == wire).map(|(_, at)| *at).collect();
        moments.sort_unstable();
        let spread = moments[moments.len() * 9 / 10] - moments[moments.len() / 10];
        // Five seconds are planned: most of them may pass with the machine standing still.
        assert!(spread > Duration::from_millis(500), "{wire:?} closed within {spread:?}: a stampede");
    }
    assert_eq!(process.code().await, Some(0));
    assert!(began.elapsed() < DRAIN, "took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut process = serve("drain_s=60");
    let mut clients = subscribers(&process, 600).await;
    process.terminate();
    // The notice proves that the first signal was taken; seconds are left until it has done its work.
    join_all(clients.iter_mut().take(WIRES.len()).map(|(_, client)| until_notice(client))).await;
    process.terminate();
    assert_eq!(process.code().await, Some(143));
}
