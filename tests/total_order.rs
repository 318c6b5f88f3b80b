//! Proves: every subscriber of a topic sees its messages in one order, the topic's sequence, on every shard and over
//! every stream, whoever publishes and however small the queues between the threads are.
//! Method: two publishers over WebSocket and two over HTTP at once; subscribers on both shards, half of them over TCP;
//! what each saw is compared, and its `seq` must count from 1 without a hole.

// A failed step is a failed test, and tests time what they wait for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::any::{AnyClient, Came, Wire};
use common::{TestServer, within};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const PUBLISHERS: usize = 4;
const EACH: usize = 250;
const SUBSCRIBERS: usize = 6;

async fn everyone_sees_one_order(server: TestServer) {
    let mut subscribers = JoinSet::new();
    for wire in [Wire::WebSocket, Wire::Tcp].repeat(SUBSCRIBERS / 2) {
        let mut client = AnyClient::on(&server, wire, &["t"]).await;
        subscribers.spawn(async move {
            let mut seen = Vec::new();
            for expected in 1..=(PUBLISHERS * EACH) as u64 {
                match client.next("the next of the total order").await {
                    Came::Message { seq, payload, .. } if seq == expected => seen.push(payload),
                    other => panic!("a hole, a repeat or a swap: {other:?} is not {expected}"),
                }
            }
            seen
        });
    }
    let server = std::sync::Arc::new(server);
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let server = server.clone();
        publishers.spawn(async move {
            let texts = (0..EACH).map(|number| format!("[{publisher},{number}]"));
            if publisher % 2 == 0 {
                let mut client = server.connect("/publish/t").await;
                for text in texts {
                    client.send(Message::text(text)).await;
                }
                // The answer to the close comes after everything before it was accepted.
                assert_eq!(client.close().await, Some(1000));
            } else {
                for text in texts {
                    while server.post("/publish/t", Some("application/json"), text.clone()).await.status
                        == 503
                    {}
                }
            }
        });
    }
    while let Some(ended) = within("a publisher", publishers.join_next()).await {
        ended.unwrap();
    }
    let mut orders: Vec<Vec<Value>> = Vec::new();
    while let Some(seen) = within("a subscriber", subscribers.join_next()).await {
        orders.push(seen.unwrap());
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "two subscribers saw two orders");
    for publisher in 0..PUBLISHERS {
        let own = orders[0].iter().filter(|message| message[0] == publisher as u64);
        let numbers: Vec<_> = own.map(|message| message[1].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..EACH as u64).collect::<Vec<_>>(), "publisher {publisher}'s own order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_publishers_make_one_order_on_every_shard() {
    everyone_sees_one_order(TestServer::start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_inboxes_of_four_there_is_back_pressure_and_no_loss() {
    everyone_sees_one_order(TestServer::with(|settings| {
        settings.limits.inbox_frames = 4;
        settings.limits.sequencer_frames = 4;
    }))
    .await;
}
