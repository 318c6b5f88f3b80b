//! Proves, in virtual time and over sockets that take what a script says: what a replay promises, whatever happens
//! between two of its pieces.

use super::Shard;
use crate::clock::Moment;
use crate::config::Rule;
use crate::ids::{ConnectionId, Epoch, Slot};
use crate::limits::Limits;
use crate::message::Encoding;
use crate::protocol::class::Class;
use crate::protocol::operation::{OpId, Since, Wish};
use crate::protocol::options::PublishOptions;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::core::{Outbox, Sequencer};
use crate::sequencer::request::{Now, Request};
use crate::sequencer::rules::Rules;
use crate::simulation::reading::texts;
use crate::simulation::scene::{Script, imbalance};
use std::time::Duration;

/// A sequencer and a shard, wired; a replay goes on only when [`Scene::go_on`] says so.
struct Scene {
    sequencer: Sequencer,
    shard: Shard,
    sockets: Script,
    now: Moment,
}

impl Scene {
    fn new(limits: Limits, rules: Vec<Rule>) -> Self {
        let sequencer = Sequencer::new(1, &limits, 1).under(Rules::new(rules, &limits));
        let (shard, sockets) = (Shard::new(0, limits, 0), Script::default());
        Self { sequencer, shard, sockets, now: Moment::from_micros(1_000_000) }
    }

    fn request(&mut self, request: Request) {
        let mut out = Outbox::new();
        self.sequencer.handle(request, Now { moment: self.now, unix_us: 0 }, &mut out);
        for (_, delivery) in out {
            self.shard.deliver(delivery, self.now, &mut self.sockets);
        }
    }

    fn connect(&mut self) -> ConnectionId {
        let id = self.shard.adopt(Encoding::Raw, Encoding::Combined, self.now);
        self.sockets.taken.insert(id.slot, Vec::new());
        self.sockets.room.remove(&id.slot);
        self.shard.greet(id, Vec::new(), self.now, &mut self.sockets);
        id
    }

    /// Subscribes `t`, after that number where one is given.
    fn subscribe(&mut self, connection: ConnectionId, last: Option<u64>) {
        let since = last.map(|seq| Since { epoch: Epoch(1), seq });
        let wishes = vec![Wish { subject: name().into(), since }];
        self.request(Request::Subscribe { connection, tag: Tag::Silent, wishes });
    }

    fn unsubscribe(&mut self, connection: ConnectionId) {
        self.request(Request::Unsubscribe { connection, tag: Tag::Silent, subjects: vec![name().into()] });
    }

    fn publish(&mut self, text: &str, options: PublishOptions) {
        let request =
            Request::Publish { topic: name(), payload: text.into(), options: options.boxed(), receipt: None };
        self.request(request);
        self.shard.begin_sweep();
        while !self.shard.sweep(32, self.now, &mut self.sockets) {}
        self.shard.end_sweep();
    }

    fn publish_numbers(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        numbers.for_each(|number| self.publish(&number.to_string(), PublishOptions::default()));
    }

    /// Asks for what is to be asked for now; true when there was something.
    fn go_on(&mut self) -> bool {
        let asks = std::mem::take(&mut self.shard.replays.asks);
        let any = !asks.is_empty();
        asks.into_iter().for_each(|ask| self.request(Request::Replay(Box::new(ask))));
        any
    }

    fn leave(&mut self) {
        let leaves = std::mem::take(&mut self.shard.leaves);
        leaves.into_iter().for_each(|(topic, count)| self.request(Request::Leave { shard: 0, topic, count }));
    }

    /// The texts that the socket has taken in whole, and the close code.
    fn read(&self, slot: Slot) -> (Vec<String>, Option<u16>) {
        texts(self.sockets.taken.get(&slot).map_or(&[][..], Vec::as_slice))
    }

    fn assert_read(&self, id: ConnectionId, expected: &[String]) {
        assert_eq!(self.read(id.slot), (expected.to_vec(), None));
        assert_eq!(imbalance(&self.shard.counters()), None);
    }
}

fn name() -> TopicName {
    TopicName::try_from("t").unwrap()
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn gap(from: u64, to: u64, reason: &str) -> Vec<String> {
    vec![format!(r#"{{"event":"gap","topic":"t","from":{from},"to":{to},"reason":"{reason}"}}"#)]
}

fn image() -> PublishOptions {
    PublishOptions { image: true, ..PublishOptions::default() }
}

/// A topic whose history keeps so many.
fn keeping(history_messages: usize) -> Rule {
    Rule { pattern: "t".into(), history_messages: Some(history_messages), ..Rule::default() }
}

/// An answer carries 256 messages; what is published between two of them is neither lost nor sent twice.
#[test]
fn what_is_published_between_two_pieces_comes_once_and_in_its_place() {
    let mut scene = Scene::new(Limits::default(), Vec::new());
    scene.publish_numbers(1..=600);
    let id = scene.connect();
    scene.subscribe(id, Some(0));
    scene.assert_read(id, &numbers(1..=256));
    scene.publish_numbers(601..=605);
    scene.assert_read(id, &numbers(1..=256));
    assert!(scene.go_on());
    scene.publish_numbers(606..=610);
    scene.assert_read(id, &numbers(1..=512));
    assert!(scene.go_on() && !scene.go_on());
    scene.publish_numbers(611..=612);
    scene.assert_read(id, &numbers(1..=612));
    assert_eq!(scene.shard.counters().replayed, 610);
    assert_eq!(scene.shard.counters().account.routed, 2);
}

/// The next piece is asked for when the kernel has the last, not before.
#[test]
fn a_full_socket_is_asked_no_more_for() {
    let mut scene = Scene::new(Limits::default(), Vec::new());
    scene.publish_numbers(1..=600);
    let id = scene.connect();
    scene.sockets.room.insert(id.slot, 100);
    scene.subscribe(id, Some(0));
    assert!(!scene.go_on());
    assert!(scene.shard.counters().queued_bytes > 0);
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, scene.now, &mut scene.sockets));
    while scene.go_on() {}
    scene.assert_read(id, &numbers(1..=600));
    assert_eq!(scene.shard.counters().queued_bytes, 0);
}

/// What the history lets go between two pieces is a gap; with a snapshot to begin from, that comes after it.
#[test]
fn what_was_evicted_midway_is_a_gap() {
    let mut scene = Scene::new(Limits::default(), vec![keeping(300)]);
    scene.publish_numbers(1..=300);
    let id = scene.connect();
    scene.subscribe(id, Some(0));
    scene.publish_numbers(301..=700);
    while scene.go_on() {}
    scene.assert_read(id, &[numbers(1..=256), gap(257, 400, "evicted"), numbers(401..=700)].concat());

    let other = scene.connect();
    scene.subscribe(other, Some(400));
    scene.publish("image", image());
    scene.publish_numbers(702..=1_000);
    while scene.go_on() {}
    let snapshot = [vec!["image".to_owned()], numbers(702..=1_000)].concat();
    scene.assert_read(other, &[numbers(401..=656), gap(657, 1_000, "evicted"), snapshot].concat());
}

/// A publisher's new epoch between two pieces: the rest of the old is lost, which is said, and the new is whole.
#[test]
fn a_new_epoch_midway_is_told_before_the_first_of_it() {
    let mut scene = Scene::new(Limits::default(), Vec::new());
    scene.publish_numbers(1..=300);
    let id = scene.connect();
    scene.subscribe(id, Some(0));
    scene.publish("1", PublishOptions { epoch: Some(Epoch(36)), ..PublishOptions::default() });
    scene.publish_numbers(2..=3);
    while scene.go_on() {}
    let event = vec![r#"{"event":"epoch","topic":"t","epoch":"10","seq":0}"#.to_owned()];
    scene.assert_read(id, &[numbers(1..=256), event, numbers(1..=3)].concat());
}

/// Who unsubscribes midway and subscribes again is not sent the answer to what it asked for before; who took the slot
/// of one that closed is not either; and nothing is left of any of them.
#[test]
fn an_answer_that_comes_too_late_reaches_nobody() {
    let mut scene = Scene::new(Limits::default(), Vec::new());
    scene.publish_numbers(1..=600);
    let id = scene.connect();
    scene.subscribe(id, Some(0));
    let late = std::mem::take(&mut scene.shard.replays.asks);
    scene.unsubscribe(id);
    scene.subscribe(id, Some(598));
    late.iter().for_each(|ask| scene.request(Request::Replay(Box::new(*ask))));
    assert!(!scene.go_on());
    scene.publish_numbers(601..=601);
    scene.assert_read(id, &[numbers(1..=256), numbers(599..=601)].concat());

    let closing = scene.connect();
    scene.subscribe(closing, Some(0));
    scene.shard.end(closing.slot, crate::protocol::close::Reason::Client, false);
    let next = scene.connect();
    assert_eq!(next.slot, closing.slot);
    assert!(scene.go_on());
    scene.assert_read(next, &[]);
    scene.shard.end(id.slot, crate::protocol::close::Reason::Client, false);
    scene.leave();
    assert_eq!(scene.shard.counters().subscriptions, 0);
    scene.publish_numbers(602..=602);
    assert_eq!(scene.shard.counters().account.routed, 1, "the sequencer knows that nobody is left");
}

/// While one replay is under way another subscription waits its turn: a connection is sent one answer's pieces at a time.
#[test]
fn one_connection_is_sent_one_piece_at_a_time() {
    let mut scene = Scene::new(
        Limits::default(),
        vec![Rule { pattern: "*".into(), class: Some(Class::State), ..Rule::default() }],
    );
    scene.publish_numbers(1..=300);
    let state = TopicName::try_from("state").unwrap();
    let publish = |text: &str| Request::Publish {
        topic: state.clone(),
        payload: text.into(),
        options: None,
        receipt: None,
    };
    scene.request(publish("old"));
    let id = scene.connect();
    scene.subscribe(id, Some(0));
    let wishes = vec![Wish { subject: state.clone().into(), since: None }];
    scene.request(Request::Subscribe { connection: id, tag: Tag::Silent, wishes });
    scene.assert_read(id, &numbers(1..=256));
    scene.request(publish("new"));
    while scene.go_on() {}
    scene.assert_read(id, &[numbers(1..=300), vec!["new".to_owned()]].concat());
}

/// 10,000 clients that join at once are sent one encoding of the snapshot; behind full sockets they share its bytes.
#[test]
fn a_snapshot_is_encoded_once_for_ten_thousand() {
    let mut scene = Scene::new(Limits::default(), Vec::new());
    let text = "x".repeat(50_000);
    scene.publish(&text, image());
    scene.publish_numbers(2..=3);
    for number in 0..10_000 {
        let id = scene.connect();
        if number % 2 == 0 {
            scene.sockets.room.insert(id.slot, 10);
        } else {
            scene.sockets.taken.remove(&id.slot);
        }
        scene.subscribe(id, None);
        scene.sockets.taken.remove(&id.slot);
    }
    let counters = scene.shard.counters();
    assert_eq!((counters.snapshots, counters.replays_encoded), (10_000, 1));
    assert_eq!(counters.queued_frames, 5_000);
    assert!(counters.queued_bytes < 1_000_000, "{} bytes", counters.queued_bytes);
}

/// A subscriber that is behind begins again from the snapshot, once its queue is empty and at most once a second; where
/// there is none it is closed with 4002.
#[test]
fn one_that_is_behind_begins_again_from_the_snapshot() {
    let mut scene = Scene::new(Limits::default(), Vec::new());
    scene.publish("image", image());
    let id = scene.connect();
    scene.subscribe(id, Some(1));
    let snapshot = |to: u64| [vec!["image".to_owned()], numbers(2..=to)].concat();
    let topic = scene.shard.topics.get(0).map(|_| 0).unwrap();
    let mut expected = Vec::new();
    for last in [1, 2] {
        scene.shard.resync(id.slot, topic, last);
        let number = last + 1;
        scene.publish_numbers(number..=number);
        assert!(!scene.go_on(), "its queue may hold something still");
        if last == 2 {
            scene.shard.tick(0, 10, scene.now, &mut scene.sockets);
            assert!(!scene.go_on(), "twice in a second");
            scene.now = scene.now + Duration::from_secs(1);
        }
        scene.shard.tick(0, 10, scene.now, &mut scene.sockets);
        assert!(scene.go_on());
        expected.extend([gap(number, number, "slow"), snapshot(number)].concat());
        scene.assert_read(id, &expected);
    }
    scene.publish_numbers(4..=4);
    expected.push("4".to_owned());
    scene.assert_read(id, &expected);

    let mut scene = Scene::new(Limits::default(), Vec::new());
    scene.publish_numbers(1..=1);
    let id = scene.connect();
    scene.subscribe(id, None);
    scene.shard.resync(id.slot, topic, 1);
    scene.shard.tick(0, 10, scene.now, &mut scene.sockets);
    assert!(scene.go_on());
    assert_eq!(scene.read(id.slot), (Vec::new(), Some(4002)));
}

/// Random joins, resumes, leaves, publishes, evictions, and sockets that take a few bytes at a time; answers come when
/// they come. Whatever happens: after each ack the numbers go on from where it says, without a hole that was not told
/// of and without a repeat, nothing comes of what was left, and in the end whoever is there has all there was.
#[test]
fn random_resumes_have_no_seam() {
    let mut resumed = 0;
    for seed in 0..300 {
        resumed += play(fastrand::Rng::with_seed(seed), seed);
    }
    assert!(resumed > 1_000, "only {resumed} subscriptions were resumed");
}

/// One connection: where each subscription that was not acked yet was to resume, and whether it is subscribed.
struct Resumer {
    id: ConnectionId,
    asked: Vec<Option<u64>>,
    is_in: bool,
}

fn play(mut rng: fastrand::Rng, seed: u64) -> usize {
    let limits = Limits { queue_frames: rng.usize(16..400), ..Limits::default() };
    let mut scene = Scene::new(limits, vec![keeping(rng.usize(1..150))]);
    let (mut head, mut clients) = (0_u64, Vec::<Resumer>::new());
    for _ in 0..300 {
        let who = if clients.is_empty() { 0 } else { rng.usize(..clients.len()) };
        match rng.u32(0..20) {
            0 => {
                let id = scene.connect();
                clients.retain(|client| client.id.slot != id.slot);
                clients.push(Resumer { id, asked: Vec::new(), is_in: false });
            }
            1..5 if !clients.is_empty() && !clients[who].is_in => {
                let since = rng.bool().then(|| head.saturating_sub(rng.u64(0..150)));
                scene.shard.owe_answer(clients[who].id.slot);
                let wishes = vec![Wish {
                    subject: name().into(),
                    since: since.map(|seq| Since { epoch: Epoch(1), seq }),
                }];
                let tag = Tag::Native(OpId::Null, Vec::new());
                scene.request(Request::Subscribe { connection: clients[who].id, tag, wishes });
                clients[who].asked.push(since);
                clients[who].is_in = true;
            }
            5 if !clients.is_empty() && clients[who].is_in => {
                scene.shard.owe_answer(clients[who].id.slot);
                let tag = Tag::Native(OpId::Null, Vec::new());
                let topics = vec![name().into()];
                scene.request(Request::Unsubscribe { connection: clients[who].id, tag, subjects: topics });
                clients[who].is_in = false;
            }
            6..11 => {
                let more = rng.u64(1..40);
                scene.publish_numbers(head + 1..=head + more);
                head += more;
            }
            11..15 => {
                scene.go_on();
            }
            15..19 if !clients.is_empty() && scene.shard.is_here(clients[who].id) => {
                let slot = clients[who].id.slot;
                let more = if rng.bool() { usize::MAX } else { rng.usize(0..400) };
                scene.sockets.room.insert(slot, more);
                scene.shard.drain(slot, scene.now, &mut scene.sockets);
            }
            _ => scene.leave(),
        }
        assert_eq!(imbalance(&scene.shard.counters()), None, "seed {seed}");
    }
    scene.sockets.room.clear();
    let mut is_busy = true;
    while is_busy {
        is_busy = scene.go_on();
        for client in &clients {
            if scene.shard.is_here(client.id) {
                scene.shard.drain(client.id.slot, scene.now, &mut scene.sockets);
            }
        }
        is_busy |= scene.go_on();
    }
    clients.iter().map(|client| check(&scene, client, head, seed)).sum()
}

/// What one connection got; returns how many of its subscriptions were resumed.
fn check(scene: &Scene, client: &Resumer, head: u64, seed: u64) -> usize {
    let (texts, close) = scene.read(client.id.slot);
    let (mut asked, mut last, mut resumed) = (client.asked.iter(), None, 0);
    for text in &texts {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let says = || format!("seed {seed}: {} got {text} after {last:?}", client.id);
        match (value["event"].as_str(), value["op"].as_str()) {
            (Some("ack"), Some("subscribe")) => {
                let (granted, since) = (&value["ok"][0], asked.next().unwrap());
                let is_recovered = granted["recovered"] == true;
                resumed += usize::from(is_recovered);
                last = if is_recovered { *since } else { granted["seq"].as_u64() };
            }
            (Some("ack"), _) => last = None,
            (Some("gap"), _) => {
                assert_eq!(value["from"].as_u64(), last.map(|last| last + 1), "{}", says());
                last = value["to"].as_u64();
            }
            (Some(_), _) => {}
            (None, _) => {
                assert_eq!(value.as_u64(), last.map(|last| last + 1), "{}", says());
                last = value.as_u64();
            }
        }
    }
    if close.is_none() && scene.shard.is_here(client.id) && !scene.shard.is_closing(client.id.slot) {
        assert_eq!(last, client.is_in.then_some(head), "seed {seed}: {} in the end", client.id);
    }
    resumed
}
