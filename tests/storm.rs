//! Storms of clients that come and go while others are served.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::any::{AnyClient, Wire, matrix, message};
use common::{HOME, TestServer, within};
use futures_util::future::join_all;
use std::time::{Duration, Instant};

/// Proves: while messages are delivered handshakes go at their pace and not faster, nobody is refused, everyone is
/// subscribed, and who is served gets all; without a limit everyone gets in, too.
/// Method: 24 clients at once where 20 handshakes a second are begun, the first 4 without waiting. The time is
/// bounded from below, so a slow machine cannot fail it.
#[tokio::test]
async fn handshakes_go_at_a_pace_while_messages_are_delivered() {
    for (per_s, at_least) in [(20, Duration::from_millis(990)), (0, Duration::ZERO)] {
        let server = TestServer::with(|settings| settings.limits.handshakes_per_s = per_s);
        let mut served = server.connect("/ws/feed").await;
        server.publish("feed", "0").await;
        assert_eq!(served.next_text("the first message").await, "0");
        #[allow(clippy::disallowed_methods)]
        let began = Instant::now();
        let coming = join_all((0..24).map(|_| server.connect("/ws/feed")));
        tokio::pin!(coming);
        let mut published = 1;
        let clients = loop {
            tokio::select! {
                clients = &mut coming => break clients,
                () = tokio::time::sleep(Duration::from_millis(10)) => {
                    server.publish("feed", published.to_string()).await;
                    published += 1;
                }
            }
        };
        assert!(began.elapsed() >= at_least, "at {per_s} a second it took {:?}", began.elapsed());
        server.publish("feed", "to all").await;
        for mut client in clients {
            while client.next_text("the message to all").await != "to all" {}
        }
        for seq in 1..published {
            assert_eq!(served.next_text("every message").await, seq.to_string());
        }
    }
}

/// Proves: when more clients go at once than a shard closes at once, all of their places are free soon after, none is
/// told to be closing any more, and who is served meanwhile gets all.
/// Method: a server with room for so many and no more; they go, and as many come, until each has found a place.
async fn the_places_of_many_who_go_at_once_are_free_again(wire: Wire) {
    const MANY: usize = 150;
    let server = TestServer::with(|settings| {
        settings.shards = 1;
        settings.limits.connections = MANY + 1;
    });
    let mut served = AnyClient::seated(HOME, &server, wire).await.unwrap();
    let mut clients = Vec::new();
    for round in 1..=3 {
        clients.clear();
        let filled = async {
            while clients.len() < MANY {
                clients.extend(AnyClient::seated(HOME, &server, wire).await);
            }
        };
        within("every place to be taken again", filled).await;
        assert!(AnyClient::seated(HOME, &server, wire).await.is_err(), "more clients than places");
        server.publish("seat", round.to_string()).await;
        served.expect(&[message("seat", round, round)]).await;
    }
    drop(clients);
    server.until_metric("stentor_connections", &[], 1.0).await;
    server.until_metric("stentor_connections_closing", &[], 0.0).await;
}

matrix! {
    streams: the_places_of_many_who_go_at_once_are_free_again;
}
