//! Proves: a client gets every message of what it wants once and in order, over each transport, whatever becomes of its
//! connections; what it cannot get it is told.
//! Method: one description of each behaviour, run over every transport; a relay between client and server cuts connections.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{TestServer, within};
use std::net::SocketAddr;
use std::time::Duration;
use stentor::client::{BackoffBounds, Client, ClientError, Event, Message, Place};
use stentor::config::{Networks, Rule, SecondSession};
use stentor::{Class, PayloadKind, PublishOptions, Settings};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

fn publish_from_here(settings: &mut Settings) {
    settings.udp_publish_from = Networks::try_from("127.0.0.0/8".to_owned()).unwrap();
}

async fn connect(url: &str) -> Client {
    let bounds = BackoffBounds { first: Duration::from_millis(5), most: Duration::from_millis(100) };
    within("a client to connect", Client::builder(url).backoff(bounds).connect()).await.unwrap()
}

async fn next(client: &mut Client) -> Event {
    within("the next event", client.next()).await.unwrap()
}

/// The next message; what else comes before it goes into `aside`.
async fn message(client: &mut Client, aside: &mut Vec<Event>) -> Message {
    loop {
        match next(client).await {
            Event::Message(message) => return message,
            event => aside.push(event),
        }
    }
}

/// The next message, and nothing but answers before it.
async fn expect(client: &mut Client, topic: &str, seq: u64, payload: &[u8]) {
    let mut aside = Vec::new();
    let message = message(client, &mut aside).await;
    assert_eq!(
        (message.topic.as_str(), message.seq, &message.payload.bytes()[..], message.is_snapshot),
        (topic, seq, payload, false)
    );
    assert!(
        aside.iter().all(|event| matches!(event, Event::Subscribed { .. } | Event::Unsubscribed { .. })),
        "{aside:?}"
    );
}

/// Cuts every connection through it when told to, and lets new ones through.
struct Relay {
    address: SocketAddr,
    cut: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Relay {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, cuts) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { address, cut, task }
    }

    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn what_is_published_on_any_has_the_same_numbers_and_bytes_on_all() {
    let server = TestServer::with(publish_from_here);
    let mut clients = Vec::new();
    for url in server.at.urls() {
        let mut client = connect(&url).await;
        client.subscribe(["t", "u"]).await.unwrap();
        let Event::Subscribed { granted, refused } = next(&mut client).await else { panic!("no answer") };
        assert_eq!((granted.len(), refused.len()), (2, 0));
        assert_eq!((granted[0].class, granted[0].head.as_ref().unwrap().seq), (Some(Class::Event), 0));
        clients.push(client);
    }
    let payloads: [(&[u8], PayloadKind); 4] = [
        (b" {\"a\": 1.10}\n", PayloadKind::Json),
        ("é\n".as_bytes(), PayloadKind::Text),
        (b"", PayloadKind::Text),
        (&[0xFF, 0], PayloadKind::Binary),
    ];
    let mut seq = 0;
    for publisher in &mut clients {
        for (payload, _) in payloads {
            seq += 1;
            let published = publisher.publish("t", payload.to_vec()).await.unwrap();
            // A datagram has no receipt; another may only follow once it is taken.
            match published {
                Some(published) => assert_eq!(published.seq, seq),
                None => server.until_metric("stentor_published_total", &[], seq as f64).await,
            }
        }
    }
    for client in &mut clients {
        for seq in 1..=seq {
            let (payload, kind) = payloads[(seq as usize - 1) % payloads.len()];
            let message = message(client, &mut Vec::new()).await;
            assert_eq!((message.topic.as_str(), message.seq), ("t", seq));
            assert_eq!((&message.payload.bytes()[..], message.payload.kind()), (payload, kind));
        }
        assert_eq!(client.place("t").unwrap().seq, seq);
        client.unsubscribe(["t"]).await.unwrap();
    }
    server.publish("t", "unheard").await;
    let heard = server.publish("u", "heard").await;
    for client in &mut clients {
        expect(client, "u", heard, b"heard").await;
    }
}

#[tokio::test]
async fn options_go_with_a_message_and_a_refusal_is_the_error_of_that_message() {
    let server = TestServer::start();
    for (n, url) in server.at.urls().into_iter().take(2).enumerate() {
        let topic = format!("quote.{n}");
        let mut client = connect(&url).await;
        let state = PublishOptions { class: Some(Class::State), seq: Some(9), ..PublishOptions::default() };
        assert_eq!(client.publish_with(&topic, "1", &state).await.unwrap().unwrap().seq, 9);
        let refused = client.publish_with(&topic, "1", &state).await;
        assert!(
            matches!(&refused, Err(ClientError::NotPublished { code, .. }) if code == "stale"),
            "{refused:?}"
        );
        assert_eq!(client.publish(&topic, "2").await.unwrap().unwrap().seq, 10);
        client.subscribe([topic.as_str()]).await.unwrap();
        let snapshot = message(&mut client, &mut Vec::new()).await;
        assert!(snapshot.is_snapshot && snapshot.seq == 10, "{snapshot:?}");
    }
}

/// Everything that happens to a client whose connection is cut while messages are published, once and in order.
#[tokio::test]
async fn who_is_cut_off_goes_on_where_it_was() {
    let server = TestServer::start();
    for (n, to) in [server.at.websocket, server.at.tcp].into_iter().enumerate() {
        let relay = Relay::to(to).await;
        let scheme = ["ws", "tcp"][n];
        let mut client = connect(&format!("{scheme}://{}", relay.address)).await;
        let (named, matched) = (format!("named.{n}"), format!("matched.{n}.a"));
        client.subscribe([named.clone(), format!("matched.{n}.*")]).await.unwrap();
        let mut got = [0, 0];
        let mut count = 0;
        for round in 1..=20 {
            for topic in [&named, &matched] {
                server.publish(topic, format!("{round}")).await;
            }
            let (mut cuts, mut returns) = (0, 0);
            while got != [round, round] {
                match next(&mut client).await {
                    Event::Message(message) => {
                        let which = usize::from(message.topic.as_str() == matched);
                        got[which] += 1;
                        assert_eq!((message.seq, message.is_snapshot), (got[which], false), "{message:?}");
                        assert_eq!(message.payload.bytes(), got[which].to_string().as_bytes());
                    }
                    Event::Subscribed { granted, refused } => {
                        assert!(refused.is_empty(), "{refused:?}");
                        assert!(granted.iter().all(|one| one.recovered != Some(false)), "{granted:?}");
                    }
                    Event::Disconnected { .. } => cuts += 1,
                    Event::Reconnected => returns += 1,
                    event => panic!("{event:?}"),
                }
            }
            count += returns;
            assert!(cuts >= returns, "{cuts} {returns}");
            // The epoch of what a pattern brings over WebSocket is known one answer later.
            while client.place(&matched).is_none() {
                client.publish("aside", "").await.unwrap();
            }
            if round % 2 == 0 {
                relay.cut();
            }
        }
        assert!(count >= 9, "came back {count} times");
    }
}

#[tokio::test]
async fn who_is_closed_by_the_operator_comes_back() {
    let server = TestServer::start();
    for (n, url) in server.at.urls().into_iter().enumerate() {
        let topic = format!("t.{n}");
        let mut client = connect(&url).await;
        client.subscribe([topic.clone()]).await.unwrap();
        server.publish(&topic, "1").await;
        expect(&mut client, &topic, 1, b"1").await;
        let connections = server.get("/connections").await.json();
        let ids =
            connections["connections"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap());
        for id in ids {
            server.delete(&format!("/connections/{id}")).await;
        }
        server.publish(&topic, "2").await;
        let mut aside = Vec::new();
        assert_eq!(message(&mut client, &mut aside).await.seq, 2);
        let closed = |event: &Event| matches!(event, Event::Disconnected { why: ClientError::Closed { closed }, .. } if closed.code == 1001);
        assert!(aside.iter().any(closed) && aside.contains(&Event::Reconnected), "{aside:?}");
        client.close().await;
    }
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again_and_its_lost_history_is_told() {
    for scheme in ["ws", "tcp", "udp"] {
        let server = TestServer::start();
        let address = match scheme {
            "ws" => server.at.websocket,
            "tcp" => server.at.tcp,
            _ => server.at.udp,
        };
        let mut client = connect(&format!("{scheme}://{address}")).await;
        client.subscribe(["t"]).await.unwrap();
        for text in ["1", "2"] {
            server.publish("t", text).await;
        }
        expect(&mut client, "t", 1, b"1").await;
        expect(&mut client, "t", 2, b"2").await;
        let stop = tokio::spawn(server.shutdown());
        let mut notices = 0;
        let (why, retry_in) = loop {
            match next(&mut client).await {
                Event::Notice { code, retry_after } => {
                    assert_eq!(code, "shutdown");
                    notices += 1;
                    assert!(retry_after.is_some());
                }
                Event::Disconnected { why, retry_in } => break (why, retry_in),
                event => panic!("{event:?}"),
            }
        };
        assert!(matches!(&why, ClientError::Closed { closed } if closed.code == 1012), "{why:?}");
        assert!(notices == 1 && retry_in > Duration::ZERO, "{notices} {retry_in:?}");
        within("the server to end", stop).await.unwrap();
        let server = TestServer::at(address, scheme);
        server.publish("t", "anew").await;
        let mut aside = Vec::new();
        loop {
            let event = next(&mut client).await;
            if let Event::Subscribed { granted, .. } = &event {
                assert_eq!(
                    (granted[0].recovered, granted[0].reason.as_deref()),
                    (Some(false), Some("epoch"))
                );
                break;
            }
            aside.push(event);
        }
        assert!(aside.contains(&Event::Reconnected), "{aside:?}");
        let head = client.place("t").unwrap().seq;
        server.publish("t", "after").await;
        loop {
            let message = message(&mut client, &mut Vec::new()).await;
            if message.seq == head + 1 {
                break;
            }
        }
    }
}

#[tokio::test]
async fn who_is_not_wanted_back_stays_away() {
    let server = TestServer::with(|settings: &mut Settings| {
        settings.identity.trust_client = true;
        settings.identity.second_session = SecondSession::Replace;
    });
    let [url, tcp, _] = server.at.urls();
    let mut first = Client::builder(&url).identity("7").connect().await.unwrap();
    let mut second = Client::builder(&url).identity("7").connect().await.unwrap();
    let ended = loop {
        match within("the end", first.next()).await {
            Ok(event) => assert!(!matches!(event, Event::Disconnected { .. }), "{event:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&ended, ClientError::Closed { closed } if closed.code == 4504), "{ended}");
    assert_eq!(first.next().await, Err(ended), "and stays ended");
    server.publish("$client.7", "for you").await;
    expect(&mut second, "$client.7", 1, b"for you").await;
    // Over TCP nothing says who one is.
    let refused = Client::builder(&tcp).identity("7").connect().await.err();
    assert!(matches!(refused, Some(ClientError::Usage(_))), "{refused:?}");
}

#[tokio::test]
async fn without_reconnecting_a_lost_connection_is_the_end() {
    let server = TestServer::start();
    for (n, to) in [server.at.websocket, server.at.tcp].into_iter().enumerate() {
        let relay = Relay::to(to).await;
        let url = format!("{}://{}", ["ws", "tcp"][n], relay.address);
        let mut client = Client::builder(&url).reconnect(false).connect().await.unwrap();
        client.subscribe(["t"]).await.unwrap();
        relay.cut();
        let ended = loop {
            match within("the end", client.next()).await {
                Ok(event) => assert!(matches!(event, Event::Subscribed { .. }), "{event:?}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, ClientError::Lost(_)), "{ended:?}");
        let refused = client.publish("t", "1").await;
        assert!(matches!(refused, Err(ClientError::Lost(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_told_and_the_rest_is_granted() {
    let server = TestServer::start();
    for url in server.at.urls() {
        let mut client = connect(&url).await;
        client.subscribe(["t", "not a topic", "$client.7"]).await.unwrap();
        let Event::Subscribed { granted, refused } = next(&mut client).await else { panic!("no answer") };
        assert_eq!((granted.len(), granted[0].topic.as_str()), (1, "t"));
        let codes: Vec<_> = refused.iter().map(|one| (one.topic.as_str(), one.code.as_str())).collect();
        assert_eq!(codes, [("not a topic", "bad_topic"), ("$client.7", "not_entitled")]);
        let whole = client.subscribe(["also not"]).await.unwrap_err().to_string();
        assert!(whole.contains("also not: bad_topic"), "{whole}");
        assert!(client.words().is_some_and(|words| words.contains("not_entitled")));
    }
}

/// A place from an earlier life is resumed from, or it is told why not.
#[tokio::test]
async fn a_place_is_resumed_from() {
    let server = TestServer::with(|settings| {
        let rule = Rule { pattern: "short".into(), history_messages: Some(2), ..Rule::default() };
        settings.topics.push(rule);
    });
    for topic in ["t", "short"] {
        for n in 1..=5 {
            server.publish(topic, n.to_string()).await;
        }
    }
    for url in server.at.urls() {
        let mut before = connect(&url).await;
        before.subscribe(["t", "short"]).await.unwrap();
        let place = |topic: &str, seq| Place { seq, ..before.place(topic).unwrap() };
        let (whole, lost) = (place("t", 3), place("short", 1));
        let mut client = connect(&url).await;
        client.subscribe([("t", whole), ("short", lost)]).await.unwrap();
        let Event::Subscribed { granted, .. } = next(&mut client).await else { panic!("no answer") };
        assert_eq!(granted[0].recovered, Some(true));
        assert_eq!((granted[1].recovered, granted[1].reason.as_deref()), (Some(false), Some("evicted")));
        expect(&mut client, "t", 4, b"4").await;
        expect(&mut client, "t", 5, b"5").await;
    }
}

#[tokio::test]
async fn a_pattern_brings_what_is_born_later() {
    let server = TestServer::with(|settings| {
        let class = Some(Class::State);
        settings.topics.push(Rule { pattern: "quote.*".into(), class, ..Rule::default() });
    });
    server.publish("quote.old", "1").await;
    for (n, url) in server.at.urls().into_iter().enumerate() {
        let mut client = connect(&url).await;
        client.subscribe(["quote.*"]).await.unwrap();
        let mut seen = Vec::new();
        let born = format!("quote.new.{n}");
        server.publish(&born, "2").await;
        while !seen.iter().any(|message: &Message| message.topic.as_str() == born) {
            seen.push(message(&mut client, &mut Vec::new()).await);
        }
        let old = seen.iter().find(|message| message.topic.as_str() == "quote.old").unwrap();
        assert!(old.is_snapshot && old.seq == 1, "{old:?}");
        let new = seen.last().unwrap();
        assert!(!new.is_snapshot && new.seq == 1, "{new:?}");
    }
}

/// What is not waited for to the end is not lost.
#[tokio::test]
async fn a_call_may_be_dropped_while_it_waits() {
    let server = TestServer::start();
    for url in server.at.urls() {
        let topic = url.split(':').next().unwrap();
        let mut client = connect(&url).await;
        client.subscribe([topic]).await.unwrap();
        let publisher = server.publisher();
        let publishing = tokio::spawn({
            let topic = topic.to_owned();
            async move {
                for n in 1..=200 {
                    publisher.publish_and_wait(topic.as_str(), n.to_string()).await.unwrap();
                }
            }
        });
        let mut expected = 1;
        while expected <= 200 {
            let next = tokio::time::timeout(Duration::from_micros(50), client.next());
            match within("a call to end", next).await {
                Ok(Ok(Event::Message(message))) => {
                    assert_eq!(message.seq, expected);
                    expected += 1;
                }
                Ok(event) => assert!(matches!(event, Ok(Event::Subscribed { .. })), "{event:?}"),
                Err(_) => {}
            }
        }
        publishing.await.unwrap();
    }
}

/// Passes datagrams on in both directions, but of those with a message loses what `is_lost` says of its number.
async fn lossy(server: SocketAddr, is_lost: impl Fn(u64) -> bool + Send + 'static) -> String {
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let url = format!("udp://{}", outside.local_addr().unwrap());
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    inside.connect(server).await.unwrap();
    tokio::spawn(async move {
        let mut client = None;
        let (mut sent, mut received) = ([0; 2_048], [0; 2_048]);
        loop {
            tokio::select! {
                Ok((length, from)) = outside.recv_from(&mut sent) => {
                    client = Some(from);
                    let _ = inside.send(&sent[..length]).await;
                }
                Ok(length) = inside.recv(&mut received) => {
                    let is_message = received[0] == b'D';
                    let seq = || u64::from_be_bytes(received[5..13].try_into().unwrap());
                    if let Some(client) = client.filter(|_| !(is_message && is_lost(seq()))) {
                        let _ = outside.send_to(&received[..length], client).await;
                    }
                }
            }
        }
    });
    url
}

const MESSAGES: u64 = 300;

/// A tenth is lost here and there, a run of some, and the last.
fn is_lost(seq: u64) -> bool {
    seq % 10 == 3 || (100..120).contains(&seq) || seq == MESSAGES
}

#[tokio::test]
async fn what_datagrams_lose_is_a_gap_of_just_that() {
    let server = TestServer::start();
    let mut client = connect(&lossy(server.at.udp, is_lost).await).await;
    client.subscribe(["t"]).await.unwrap();
    for n in 1..=MESSAGES {
        server.publish("t", n.to_string()).await;
    }
    let mut next_seq = 1;
    while next_seq <= MESSAGES {
        match next(&mut client).await {
            Event::Message(message) => {
                assert_eq!((message.seq, is_lost(message.seq)), (next_seq, false));
                next_seq += 1;
            }
            Event::Gap { topic, from, to, reason } => {
                assert_eq!((topic.as_str(), from, reason.as_str()), ("t", next_seq, "datagram"));
                assert!((from..=to).all(is_lost), "{from} to {to}");
                next_seq = to + 1;
            }
            event => assert!(matches!(event, Event::Subscribed { .. }), "{event:?}"),
        }
    }
}

#[tokio::test]
async fn what_datagrams_lose_is_fetched_elsewhere_and_comes_in_its_place() {
    let server = TestServer::start();
    let [websocket, tcp, _] = server.at.urls();
    for (n, repair) in [tcp, websocket].into_iter().enumerate() {
        let topics = [format!("t.{n}"), format!("u.{n}")];
        let url = lossy(server.at.udp, is_lost).await;
        let mut client = Client::builder(&url).repair(repair).connect().await.unwrap();
        client.subscribe(topics.clone()).await.unwrap();
        let mut got = [0, 0];
        for n in 1..=MESSAGES {
            for topic in &topics {
                server.publish(topic, n.to_string()).await;
            }
            // Some are read while the next are published, and some in one go.
            while n < 50 && got[0] + 3 < n {
                take(&mut client, &topics, &mut got).await;
            }
        }
        while got != [MESSAGES, MESSAGES] {
            take(&mut client, &topics, &mut got).await;
        }
        server.publish(&topics[0], "after").await;
        expect(&mut client, &topics[0], MESSAGES + 1, b"after").await;
    }
}

/// The next event, which must be the next message of one of the topics.
async fn take(client: &mut Client, topics: &[String; 2], got: &mut [u64; 2]) {
    match next(client).await {
        Event::Message(message) => {
            let which = usize::from(message.topic.as_str() == topics[1]);
            got[which] += 1;
            assert_eq!(
                (message.seq, message.payload.bytes().to_vec()),
                (got[which], got[which].to_string().into())
            );
        }
        event => assert!(matches!(event, Event::Subscribed { .. }), "{event:?}"),
    }
}

/// Where the repair itself cannot give what is missing, that is told, and what follows it comes.
#[tokio::test]
async fn what_cannot_be_fetched_is_a_gap_all_the_same() {
    let server = TestServer::with(|settings| settings.limits.history_messages = 5);
    let [_, tcp, _] = server.at.urls();
    let nowhere = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("tcp://{}", listener.local_addr().unwrap())
    };
    for (n, repair) in [tcp, nowhere].into_iter().enumerate() {
        let topic = format!("t.{n}");
        let url = lossy(server.at.udp, |seq| seq < 20).await;
        let mut client = Client::builder(&url).repair(repair).connect().await.unwrap();
        client.subscribe([topic.clone()]).await.unwrap();
        for n in 1..=20 {
            server.publish(&topic, n.to_string()).await;
        }
        let mut next_seq = 1;
        while next_seq <= 20 {
            match next(&mut client).await {
                Event::Message(message) => {
                    assert_eq!(message.seq, next_seq);
                    next_seq += 1;
                }
                Event::Gap { from, to, reason, .. } => {
                    assert_eq!((from, to), (next_seq, 19));
                    assert_eq!(reason, ["evicted", "datagram"][n]);
                    next_seq = to + 1;
                }
                event => assert!(matches!(event, Event::Subscribed { .. }), "{event:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_no_datagram_can_say_is_an_error_that_names_who_can() {
    let server = TestServer::start();
    let [websocket, _, udp] = server.at.urls();
    let mut client = connect(&udp).await;
    let large = client.publish("t", "x".repeat(1_500)).await.unwrap_err();
    let image = PublishOptions { image: true, ..PublishOptions::default() };
    let image = client.publish_with("t", "1", &image).await.unwrap_err();
    for error in [large, image] {
        assert!(error.to_string().contains("tcp://"), "{error}");
    }
    let needless = Client::builder(&websocket).repair(udp.clone()).connect().await.unwrap_err();
    let circular = Client::builder(&udp).repair(udp.clone()).connect().await.unwrap_err();
    assert!(matches!((needless, circular), (ClientError::Usage(_), ClientError::Usage(_))));
}
