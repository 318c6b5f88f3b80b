//! Proves: whoever is cut off, however often and wherever in the stream, and comes back with the last message it had
//! whole, ends with the very bytes of one that never was.
//! Method: a feed is published by its own timestamps; each client takes some of its topics, drops its socket at random
//! bytes and moments (some with a reset), and resumes. Every frame is held, as it comes, against what was published, framed
//! anew for its wire. `STENTOR_RECORDING` plays a recording in a loop in place of the made-up feed; `STENTOR_CLIENTS` and
//! `STENTOR_SECS` say how many clients and how long.

// A failed step is a failed test, and the feed is published by the clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use bytes::BufMut as _;
use common::any::{Wire, matrix};
use common::{FIN, TEXT, TestServer, frame, frame_header, tcp, upgrade_request, within};
use fastrand::Rng;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use socket2::SockRef;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::{AddAssign, Range};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use stentor::{Accepted, Publisher};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Bytes a client asks its socket for at once.
const READ_BYTES: usize = 16 << 10;
/// What a connection reads before it is cut, as a power of two: some are cut in the handshake's answer or in an ack.
const CUT_BYTES_BITS: Range<u32> = 7..18;

/// How messages come to a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// By WebSocket, each with its topic and number.
    Envelope,
    /// By WebSocket, each as it was published; of one topic, which only a URL can name.
    Verbatim,
    /// By TCP, each with its topic's alias and its number.
    Framed,
}

impl Speech {
    /// Where the body of the first frame begins and ends, once all of it is there.
    fn bounds(self, bytes: &[u8]) -> Option<(usize, usize)> {
        let big_endian = |range: Range<usize>| {
            bytes.get(range).map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        };
        let (start, len) = match (self, *bytes.get(1)?) {
            (Self::Framed, _) => (4, big_endian(0..4)?),
            (_, 126) => (4, big_endian(2..4)?),
            (_, 127) => (10, big_endian(2..10)?),
            (_, len) => (2, usize::from(len)),
        };
        (bytes.len() >= start + len).then_some((start, start + len))
    }

    /// What the server says, if this is not a message.
    fn event(self, body: &[u8]) -> Option<Value> {
        let text = match self {
            Self::Framed => body.strip_prefix(b"J")?,
            Self::Envelope if body.starts_with(br#"{"stream":""#) => return None,
            // What is published may be called an event too.
            Self::Verbatim if !body.starts_with(br#"{"event":"gap","topic":""#) => return None,
            _ => body,
        };
        Some(serde_json::from_slice(text).unwrap())
    }
}

/// One message of a feed.
struct Item {
    at: Duration,
    topic: usize,
    text: String,
}

/// What is published, over and over, and with it the reference: message `seq` of a topic is known by its number.
struct Feed {
    items: Vec<Item>,
    topics: Vec<String>,
    numbers: HashMap<String, usize>,
    /// Of each topic its items.
    of_topic: Vec<Vec<usize>>,
    /// When the feed begins again.
    period: Duration,
}

impl Feed {
    fn new(messages: impl Iterator<Item = (Duration, String, String)>) -> Self {
        let mut feed = Self {
            items: Vec::new(),
            topics: Vec::new(),
            numbers: HashMap::new(),
            of_topic: Vec::new(),
            period: Duration::ZERO,
        };
        for (at, name, text) in messages {
            let topic = *feed.numbers.entry(name.clone()).or_insert(feed.topics.len());
            if topic == feed.topics.len() {
                feed.topics.push(name);
                feed.of_topic.push(Vec::new());
            }
            feed.of_topic[topic].push(feed.items.len());
            feed.items.push(Item { at, topic, text });
            feed.period = at;
        }
        assert!(!feed.period.is_zero(), "a feed takes time");
        feed
    }

    /// Two seconds of a market: busy topics and quiet ones, bursts, small messages and some of many kilobytes.
    fn made_up() -> Self {
        let mut rng = Rng::with_seed(7);
        let mut at = Duration::ZERO;
        Self::new((0..1_200).map(move |number| {
            if rng.u8(..4) == 0 {
                at += Duration::from_micros(rng.u64(..13_000));
            }
            let topic = rng.usize(..24).min(rng.usize(..24));
            let len = if rng.u8(..50) == 0 { rng.usize(..20_000) } else { rng.usize(..400) };
            (
                at,
                format!("made-up.{topic}@trade"),
                format!("{{\"n\":{number},\"x\":\"{}\"}}", "x".repeat(len)),
            )
        }))
    }

    fn recorded(path: &Path) -> Self {
        #[derive(Deserialize)]
        struct Line {
            t: f64,
            topic: String,
            data: Box<RawValue>,
        }
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::new(text.lines().map(|line| {
            let line: Line =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:.200}"));
            (Duration::from_secs_f64(line.t), line.topic, line.data.get().to_owned())
        }))
    }

    /// The frame that everybody who follows the topic is to get of its message `seq`.
    fn frame(&self, one: &Followed, seq: u64, speech: Speech) -> Vec<u8> {
        let (topic, of_topic) = (&self.topics[one.topic], &self.of_topic[one.topic]);
        let text = &self.items[of_topic[(seq - 1) as usize % of_topic.len()]].text;
        let payload = match speech {
            Speech::Envelope => format!(r#"{{"stream":"{topic}","seq":{seq},"data":{text}}}"#),
            Speech::Verbatim => text.clone(),
            Speech::Framed => {
                let alias = one.alias.unwrap_or_else(|| panic!("{topic} has no alias yet"));
                let body = [&alias.to_be_bytes()[..], &seq.to_be_bytes(), text.as_bytes()].concat();
                return tcp::frame(b'D', &body);
            }
        };
        [&frame_header(FIN | TEXT, payload.len() as u64, false), payload.as_bytes()].concat()
    }

    /// Publishes one message; waits while there is no room.
    async fn publish_one(&self, publisher: &Publisher, item: &Item) {
        let topic = self.topics[item.topic].as_str();
        while publisher.publish(topic, item.text.clone()).unwrap() == Accepted::Full {
            publisher.ready().await;
        }
    }

    /// Publishes the first message of each topic: one without any is forgotten with its last subscriber, and whoever
    /// comes back to it is told so.
    async fn begin(&self, publisher: &Publisher) {
        for of_topic in &self.of_topic {
            self.publish_one(publisher, &self.items[of_topic[0]]).await;
        }
    }

    /// Publishes the rest, each at its time, and all of it again until the end; returns how many messages each topic had.
    async fn go_on(&self, publisher: &Publisher, length: Duration) -> Vec<u64> {
        let mut counts = vec![1; self.topics.len()];
        let start = Instant::now();
        for round in 0.. {
            for (number, item) in self.items.iter().enumerate() {
                let at = self.period * round + item.at;
                if at >= length {
                    return counts;
                }
                if round > 0 || self.of_topic[item.topic][0] != number {
                    sleep_until(start + at).await;
                    self.publish_one(publisher, item).await;
                    counts[item.topic] += 1;
                }
            }
        }
        counts
    }
}

/// What happened, over all clients.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    cuts: u64,
    resets: u64,
    /// Connections that came back, and topics resumed on them.
    resumed: u64,
    recovered: u64,
    not_recovered: u64,
    messages: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.resets += other.resets;
        self.resumed += other.resumed;
        self.recovered += other.recovered;
        self.not_recovered += other.not_recovered;
        self.messages += other.messages;
    }
}

/// A topic that a client follows, and how far it has it.
struct Followed {
    topic: usize,
    /// Epoch and last number, once an ack has named them.
    place: Option<(String, u64)>,
    /// What this connection's ack calls it, where messages are framed.
    alias: Option<u32>,
}

/// When a connection is cut: after so many bytes, or at that moment.
#[derive(Clone, Copy)]
struct Cut {
    bytes: usize,
    at: Instant,
}

struct Client {
    feed: Arc<Feed>,
    server: SocketAddr,
    speech: Speech,
    /// Its own address: ports of connections that it closed may not be free for a minute.
    address: SocketAddr,
    followed: Vec<Followed>,
    rng: Rng,
    tally: Tally,
}

impl Client {
    async fn new(number: usize, feed: Arc<Feed>, server: &TestServer, wire: Wire) -> Self {
        let mut rng = Rng::with_seed(number as u64);
        let speech = match wire {
            Wire::Tcp => Speech::Framed,
            _ if number.is_multiple_of(8) => Speech::Verbatim,
            _ => Speech::Envelope,
        };
        let count = if speech == Speech::Verbatim { 1 } else { rng.usize(1..=feed.topics.len()) };
        let mut followed = Vec::new();
        for topic in rng.choose_multiple(0..feed.topics.len(), count) {
            let place = match speech {
                // Nobody tells it. Of each topic there is the first.
                Speech::Verbatim => Some((server.epoch_of(&feed.topics[topic]).await, 1)),
                _ => None,
            };
            followed.push(Followed { topic, place, alias: None });
        }
        let address = SocketAddr::from(([127, 0, 1 + (number / 250) as u8, 1 + (number % 250) as u8], 0));
        let server = if wire == Wire::Tcp { server.at.tcp } else { server.at.websocket };
        Self { feed, server, speech, address, followed, rng, tally: Tally::default() }
    }

    /// Is cut and comes back until everything is published, and then reads it to the end; tells what it went through.
    async fn run(mut self, mut counts: watch::Receiver<Option<Vec<u64>>>) -> Tally {
        // On a machine that stands still, too, each is cut.
        while counts.borrow().is_none() || self.tally.cuts < 2 {
            let bits = self.rng.u32(CUT_BYTES_BITS);
            let bytes = self.rng.usize(..1 << bits);
            let cut = Cut { bytes, at: Instant::now() + Duration::from_millis(self.rng.u64(..3_000)) };
            let stream = self.connection(Some(cut), |_| false).await;
            self.tally.cuts += 1;
            if self.rng.u8(..4) == 0 {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                self.tally.resets += 1;
            }
            drop(stream);
            sleep(Duration::from_millis(self.rng.u64(..300))).await;
        }
        let counts = counts.borrow_and_update().clone().unwrap();
        let has_all = |one: &Followed| one.place.as_ref().is_some_and(|place| place.1 == counts[one.topic]);
        within("all there was", self.connection(None, has_all)).await;
        self.tally
    }

    /// One connection, until it is cut or `has_all` says so of every topic.
    async fn connection(&mut self, cut: Option<Cut>, has_all: impl Fn(&Followed) -> bool) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(self.address).unwrap();
        let mut stream = within("a connection", socket.connect(self.server)).await.unwrap();
        let knows_all = self.followed.iter().all(|one| one.place.is_some());
        self.tally.resumed += u64::from(self.followed.iter().any(|one| one.place.is_some()));
        let in_url = match self.speech {
            Speech::Envelope => knows_all && self.rng.bool(),
            Speech::Verbatim => true,
            Speech::Framed => false,
        };
        let mut is_open = self.speech == Speech::Framed;
        let first = if is_open {
            self.followed.iter_mut().for_each(|one| one.alias = None);
            self.subscription()
        } else {
            let path = if in_url { self.path() } else { "/stream?seq=1".to_owned() };
            upgrade_request(&path, "").into_bytes()
        };
        stream.write_all(&first).await.unwrap();
        let mut unread = Vec::with_capacity(READ_BYTES);
        let mut left = cut.map_or(usize::MAX, |cut| cut.bytes);
        while !self.followed.iter().all(&has_all) {
            let mut room = (&mut unread).limit(left.min(READ_BYTES));
            let read = stream.read_buf(&mut room);
            let read = match cut {
                Some(cut) => timeout_at(cut.at, read).await,
                None => Ok(read.await),
            };
            match read {
                Ok(Ok(0)) if left == 0 => break,
                Ok(Ok(len)) if len > 0 => left -= len,
                Ok(end) => panic!("the server ended it: {end:?}"),
                Err(_) => break,
            }
            if !is_open && let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                assert!(unread.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&unread));
                unread.drain(..end + 4);
                is_open = true;
                if in_url {
                    self.tally.recovered += self.followed.len() as u64;
                } else {
                    stream.write_all(&self.subscription()).await.unwrap();
                }
            }
            if is_open {
                self.take_frames(&mut unread);
            }
        }
        stream
    }

    /// All it follows, each from where it stands, in the URL.
    fn path(&self) -> String {
        let names = self.followed.iter().map(|one| self.feed.topics[one.topic].as_str());
        let places = self.followed.iter().filter_map(|one| one.place.as_ref());
        let places: Vec<_> = places.map(|(epoch, seq)| format!("{epoch}:{seq}")).collect();
        let (names, places) = (names.collect::<Vec<_>>().join("/"), places.join(","));
        match self.speech {
            Speech::Verbatim => format!("/ws/{names}?since={places}"),
            _ => format!("/stream?seq=1&streams={names}&since={places}"),
        }
    }

    /// The same as an operation; what has no place yet begins with what is live.
    fn subscription(&self) -> Vec<u8> {
        let arg = |one: &Followed| match &one.place {
            None => json!(self.feed.topics[one.topic]),
            Some((epoch, seq)) => {
                json!({"topic": self.feed.topics[one.topic], "since": {"epoch": epoch, "seq": seq}})
            }
        };
        let args: Vec<_> = self.followed.iter().map(arg).collect();
        let operation = json!({"op": "subscribe", "args": args}).to_string();
        match self.speech {
            Speech::Framed => tcp::frame(b'J', operation.as_bytes()),
            _ => frame(FIN | TEXT, operation.as_bytes()),
        }
    }

    /// Takes every whole frame off the front: an event, or the next message of a topic, byte for byte.
    fn take_frames(&mut self, unread: &mut Vec<u8>) {
        let mut at = 0;
        while let Some((start, end)) = self.speech.bounds(&unread[at..]) {
            let (frame, body) = (&unread[at..at + end], &unread[at + start..at + end]);
            at += end;
            if self.speech == Speech::Framed && body == b"H" {
                // A sign of life.
                continue;
            }
            if let Some(event) = self.speech.event(body) {
                assert!(
                    self.speech == Speech::Framed || frame[0] == FIN | TEXT,
                    "no frame of ours: {frame:?}"
                );
                self.told(&event);
                continue;
            }
            let one = match self.speech {
                Speech::Envelope => {
                    let name = body[br#"{"stream":""#.len()..].split(|byte| *byte == b'"').next().unwrap();
                    one_of(&mut self.followed, &self.feed, str::from_utf8(name).unwrap())
                }
                Speech::Verbatim => &mut self.followed[0],
                Speech::Framed => {
                    let alias = Some(u32::from_be_bytes(body[1..5].try_into().unwrap()));
                    let one = self.followed.iter_mut().find(|one| one.alias == alias);
                    one.unwrap_or_else(|| panic!("{alias:?} has no name"))
                }
            };
            let seq = one.place.as_ref().expect("an ack before its messages").1 + 1;
            let expected = self.feed.frame(one, seq, self.speech);
            let both = || [&expected[..], frame].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let name = &self.feed.topics[one.topic];
            assert!(frame == expected, "message {seq} of {name} is to be, and is: {:#?}", both());
            one.place.as_mut().unwrap().1 = seq;
            self.tally.messages += 1;
        }
        unread.drain(..at);
    }

    /// An ack says where each topic stands; a gap, that the rest of what was asked for is lost.
    fn told(&mut self, event: &Value) {
        match event["event"].as_str() {
            Some("ack") => {
                assert_eq!(event["err"], json!([]), "{event}");
                for granted in event["ok"].as_array().unwrap() {
                    let name = granted["topic"].as_str().unwrap();
                    let one = one_of(&mut self.followed, &self.feed, name);
                    let is_recovered = granted["recovered"] == true;
                    one.alias = granted["alias"].as_u64().map(|alias| alias as u32);
                    if one.place.is_some() {
                        self.tally.recovered += u64::from(is_recovered);
                        self.tally.not_recovered += u64::from(!is_recovered);
                    }
                    if !is_recovered {
                        let epoch = granted["epoch"].as_str().unwrap().to_owned();
                        one.place = Some((epoch, granted["seq"].as_u64().unwrap()));
                    }
                }
            }
            Some("gap") => {
                let one = one_of(&mut self.followed, &self.feed, event["topic"].as_str().unwrap());
                let (_, seq) = one.place.as_mut().unwrap();
                assert_eq!(
                    (&event["from"], &event["reason"]),
                    (&json!(*seq + 1), &json!("evicted")),
                    "{event}"
                );
                *seq = event["to"].as_u64().unwrap();
                self.tally.recovered -= 1;
                self.tally.not_recovered += 1;
            }
            _ => panic!("nobody is to be told {event}"),
        }
    }
}

/// The one of these topics that has this name.
fn one_of<'a>(followed: &'a mut [Followed], feed: &Feed, name: &str) -> &'a mut Followed {
    let topic = feed.numbers.get(name);
    let one = followed.iter_mut().find(|one| Some(&one.topic) == topic);
    one.unwrap_or_else(|| panic!("{name} was not asked for"))
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn every_stream_cut_and_resumed_at_random_is_the_same_stream(wire: Wire) {
    let count = setting("STENTOR_CLIENTS", 100);
    let length = Duration::from_secs(setting("STENTOR_SECS", 3));
    // Both ends of every connection are in this process.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let feed = std::env::var_os("STENTOR_RECORDING");
    let feed = Arc::new(feed.map_or_else(Feed::made_up, |path| Feed::recorded(Path::new(&path))));
    let server = TestServer::start();
    let publisher = server.publisher();
    feed.begin(&publisher).await;
    let (tell, counts) = watch::channel(None);
    let mut clients = JoinSet::new();
    for number in 0..count {
        let client = Client::new(number, feed.clone(), &server, wire).await;
        clients.spawn(client.run(counts.clone()));
    }
    let published = feed.go_on(&publisher, length).await;
    let total: u64 = published.iter().sum();
    tell.send_replace(Some(published));
    let mut tally = Tally::default();
    while let Some(ended) = clients.join_next().await {
        tally += ended.unwrap();
    }
    println!(
        "{wire:?}: {count} clients, {} topics, {total} published in {length:?}: {tally:?}",
        feed.topics.len()
    );
    assert!(tally.recovered >= 999 * tally.not_recovered && tally.recovered > 0);

    // What the server says of it is the same: it knows also of the answers that were cut off on their way.
    let (recovered, not_recovered) = (
        server.metric("stentor_recovered_total", &[]).await,
        server.metric("stentor_not_recovered_total", &[]).await,
    );
    assert!(recovered >= tally.recovered as f64 && recovered >= 999.0 * not_recovered);
    server.until_metric("stentor_subscriptions", &[], 0.0).await;
    let mut accounted = 0.0;
    for end in ["delivered_total", "conflated_total", "skipped_total", "abandoned_total", "pending"] {
        accounted += server.metric(&format!("stentor_{end}"), &[]).await;
    }
    assert_eq!(server.metric("stentor_routed_total", &[]).await, accounted);
    assert!(server.metric("stentor_replayed_total", &[]).await > 0.0);
}

matrix! {
    streams: every_stream_cut_and_resumed_at_random_is_the_same_stream;
}
