//! Proves, in virtual time and over sockets that take what a script says: what the core's contract promises.
//! Each test is a situation; the last plays thousands of random ones, each named by its seed.

use super::core::Shard;
use super::counters::Counters;
use super::outbound::Control;
use super::writer::{Effect, Sockets, Taken};
use crate::clock::Moment;
use crate::ids::{ConnectionId, Slot};
use crate::limits::{LOG_BYTES_MAX, Limits};
use crate::message::{Encoding, frame};
use crate::protocol::class::{Class, Terms};
use crate::protocol::close::Reason;
use crate::protocol::operation::Wish;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::core::{Now, Outbox, Sequencer};
use crate::sequencer::request::{Delivery, Request};
use std::collections::{BTreeMap, BTreeSet};

const NOW: Moment = Moment::from_micros(1_000_000);

/// Sockets that take so many bytes more, and keep what they took.
#[derive(Default)]
struct Script {
    room: BTreeMap<Slot, usize>,
    taken: BTreeMap<Slot, Vec<u8>>,
    /// Those that will never take any more.
    dead: BTreeSet<Slot>,
}

impl Sockets for Script {
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Taken {
        if self.dead.contains(&slot) {
            return Taken::Dead;
        }
        let room = self.room.entry(slot).or_insert(usize::MAX);
        let taken = bytes.len().min(*room);
        *room -= taken;
        self.taken.entry(slot).or_default().extend_from_slice(&bytes[..taken]);
        Taken::Bytes(taken)
    }
}

/// A sequencer and a shard, wired, with scripted sockets.
struct Scene {
    sequencer: Sequencer,
    shard: Shard,
    sockets: Script,
    /// On what terms a topic is subscribed to, where they are not the default.
    terms: BTreeMap<&'static str, Terms>,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let sequencer = Sequencer::new(1, &limits, 1);
        let (shard, sockets) = (Shard::new(0, limits, 0), Script::default());
        Self { sequencer, shard, sockets, terms: BTreeMap::new() }
    }

    fn request(&mut self, request: Request) {
        let mut out = Outbox::new();
        self.sequencer.handle(request, Now { moment: NOW, unix_us: 0 }, &mut out);
        for (_, mut delivery) in out {
            if let Delivery::Subscribed(answer) = &mut delivery {
                for outcome in &mut answer.outcomes {
                    if let (Ok(grant), Some(terms)) =
                        (&mut outcome.granted, self.terms.get(outcome.topic.as_str()))
                    {
                        grant.terms = *terms;
                    }
                }
            }
            self.shard.deliver(delivery, NOW, &mut self.sockets);
        }
    }

    fn connect(&mut self, topics: &[&str]) -> ConnectionId {
        let id = self.shard.adopt(Encoding::Raw, Encoding::Combined, NOW);
        self.shard.greet(id, Vec::new(), NOW, &mut self.sockets);
        self.subscribe(id, topics);
        id
    }

    fn subscribe(&mut self, connection: ConnectionId, topics: &[&str]) {
        let wish = |topic: &&str| Wish { topic: name(topic), since: None };
        let wishes = topics.iter().map(wish).collect();
        self.request(Request::Subscribe { connection, tag: Tag::Silent, wishes });
    }

    fn publish(&mut self, topic: &str, text: String) {
        self.request(Request::Publish { topic: name(topic), payload: text.into(), receipt: None });
    }

    fn sweep(&mut self) {
        self.shard.begin_sweep();
        while !self.shard.sweep(32, NOW, &mut self.sockets) {}
        self.shard.end_sweep();
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.shard.effects)
    }

    fn assert_balanced(&self) {
        let counters = self.shard.counters();
        assert_eq!(
            counters.routed,
            counters.delivered
                + counters.conflated
                + counters.skipped
                + counters.abandoned
                + counters.pending,
            "{counters:?}"
        );
    }

    /// The texts and the close code that the socket has taken in whole.
    fn read(&self, slot: Slot) -> (Vec<String>, Option<u16>) {
        let mut bytes = self.sockets.taken.get(&slot).map_or(&[][..], Vec::as_slice);
        let (mut texts, mut close) = (Vec::new(), None);
        while let [first, length, rest @ ..] = bytes {
            let (len, rest) = match length {
                126 if rest.len() >= 2 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                126 => break,
                127 if rest.len() >= 8 => (
                    usize::from(rest[5]) << 16 | usize::from(rest[6]) << 8 | usize::from(rest[7]),
                    &rest[8..],
                ),
                127 => break,
                len => (usize::from(*len), rest),
            };
            let Some((payload, rest)) = rest.split_at_checked(len) else { break };
            assert_eq!(close, None, "something follows the close frame");
            match first & 0x0F {
                frame::TEXT => texts.push(String::from_utf8(payload.to_vec()).unwrap()),
                frame::CLOSE => close = Some(u16::from_be_bytes([payload[0], payload[1]])),
                frame::PONG => {}
                other => panic!("not a frame of ours: {other}"),
            }
            bytes = rest;
        }
        (texts, close)
    }
}

fn of(class: Class) -> Terms {
    Terms { class, ..Terms::default() }
}

fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

/// Frames that join the log while a sweep is under way, for slots not visited yet, are paid by that sweep. Once
/// they all were, the log kept them, full, and a shard with a full log and no debt never took its inbox again.
#[test]
fn a_log_of_paid_frames_is_cut_by_the_sweep_that_paid_them() {
    let mut scene = Scene::new(Limits::default());
    let ids: Vec<_> = (0..40).map(|_| scene.connect(&["all"])).collect();
    scene.publish("all", "first".into());
    scene.shard.begin_sweep();
    assert!(!scene.shard.sweep(32, NOW, &mut scene.sockets));
    let unpaid = ids.iter().find(|id| scene.read(id.slot).0.is_empty()).copied().unwrap();
    scene.subscribe(unpaid, &["one"]);
    while scene.shard.has_room() {
        scene.publish("one", "x".repeat(LOG_BYTES_MAX / 4));
    }
    while !scene.shard.sweep(32, NOW, &mut scene.sockets) {}
    scene.shard.end_sweep();
    assert!(!scene.shard.is_in_debt() && scene.shard.has_room());
    assert_eq!(scene.shard.counters().pending, 0);
    scene.assert_balanced();
}

/// Reading stops when too many bytes of answers wait, not only when too many answers do; it went on only after
/// the latter.
#[test]
fn a_reader_stopped_by_bytes_goes_on_when_they_have_gone() {
    let mut scene = Scene::new(Limits { queue_bytes: 10_000, ..Limits::default() });
    let id = scene.connect(&[]);
    scene.sockets.room.insert(id.slot, 100);
    for _ in 0..3 {
        scene.shard.owe_answer(id.slot);
        scene.shard.answer(id.slot, Some("x".repeat(9_000)), NOW, &mut scene.sockets);
    }
    assert!(!scene.shard.may_read(id));
    scene.effects();
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    assert!(scene.shard.may_read(id));
    assert!(scene.effects().contains(&Effect::Readable(id.slot)));
}

/// An answer that came after the close frame went to a socket whose writing side was shut: an error, and the
/// connection was reset with its close frame still on the way.
#[test]
fn nothing_follows_a_close_frame() {
    let mut scene = Scene::new(Limits::default());
    let id = scene.connect(&["t"]);
    scene.publish("t", "last".into());
    let reason = Reason::Shutdown;
    scene.shard.close(id.slot, reason, reason.code(), "restart", NOW, &mut scene.sockets);
    scene.shard.owe_answer(id.slot);
    scene.shard.answer(id.slot, Some("late".into()), NOW, &mut scene.sockets);
    scene.shard.control(id.slot, frame::frame(frame::PONG, b""), Control::Pong, NOW, &mut scene.sockets);
    scene.publish("t", "later".into());
    scene.sweep();
    assert_eq!(scene.read(id.slot), (vec!["last".to_owned()], Some(1012)));
    assert!(scene.effects().contains(&Effect::Finished(id.slot)));
    scene.assert_balanced();
}

/// The bytes that answers hold count towards the shard's bound, as those of messages do.
#[test]
fn answers_that_nobody_reads_are_bounded_by_the_shard() {
    let mut scene = Scene::new(Limits { queues_bytes_per_shard: 50_000, ..Limits::default() });
    let ids: Vec<_> = (0..10).map(|_| scene.connect(&[])).collect();
    for id in &ids {
        scene.sockets.room.insert(id.slot, 10);
        for _ in 0..3 {
            scene.shard.owe_answer(id.slot);
            scene.shard.answer(id.slot, Some("x".repeat(5_000)), NOW, &mut scene.sockets);
        }
    }
    let counters = scene.shard.counters();
    // A frame that has begun is finished, so each closing connection still holds one.
    assert!(counters.queued_bytes <= 50_000 + 10 * 5_200, "{counters:?}");
    let closing = ids.iter().filter(|id| scene.shard.is_closing(id.slot)).count();
    assert!(closing >= 5, "{closing} of 10 were closed");
}

/// A reader stopped by answers owed must see the client's own close once its connection is closing: no answer
/// will be sent any more that could set it going.
#[test]
fn a_closing_connection_is_read_to_its_end() {
    let mut scene = Scene::new(Limits::default());
    let id = scene.connect(&[]);
    (0..100).for_each(|_| scene.shard.owe_answer(id.slot));
    assert!(!scene.shard.may_read(id));
    scene.shard.close(id.slot, Reason::Shutdown, Reason::Shutdown.code(), "restart", NOW, &mut scene.sockets);
    assert!(scene.shard.may_read(id));
    assert!(scene.effects().contains(&Effect::Readable(id.slot)));
}

#[test]
fn a_slow_consumer_is_closed_after_a_prefix_and_the_others_get_all() {
    let mut scene = Scene::new(Limits { queue_frames: 20, ..Limits::default() });
    let (slow, healthy) = (scene.connect(&["t"]), scene.connect(&["t"]));
    scene.sockets.room.insert(slow.slot, 25);
    for number in 0..100 {
        scene.publish("t", format!("message {number}"));
        scene.sweep();
        scene.assert_balanced();
    }
    assert_eq!(scene.read(healthy.slot).0.len(), 100);
    assert!(scene.shard.is_closing(slow.slot));
    scene.sockets.room.insert(slow.slot, usize::MAX);
    scene.shard.drain(slow.slot, NOW, &mut scene.sockets);
    let (texts, close) = scene.read(slow.slot);
    assert_eq!(
        (texts, close),
        (vec!["message 0".to_owned(), "message 1".to_owned(), "message 2".to_owned()], Some(4001))
    );
    scene.assert_balanced();
}

/// Proves: behind a full socket the newest state takes the place of the one before it, goes out with the first
/// write after the socket frees, the client is told how many it did not get, and lag closes nothing.
#[test]
fn a_state_subscriber_that_fell_behind_gets_the_newest() {
    let mut scene = Scene::new(Limits { queue_frames: 10, ..Limits::default() });
    scene.terms.insert("s", of(Class::State));
    let id = scene.connect(&["s"]);
    scene.sockets.room.insert(id.slot, 5);
    for number in 1..=100 {
        scene.publish("s", format!("{number}"));
        scene.sweep();
        scene.assert_balanced();
    }
    let later = NOW + std::time::Duration::from_secs(30);
    scene.shard.heard(id.slot, 1, later);
    scene.shard.tick(0, 10, later, &mut scene.sockets);
    assert!(!scene.shard.is_closing(id.slot));
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    let (texts, close) = scene.read(id.slot);
    assert_eq!(texts, ["1", "2", "100", r#"{"event":"caught_up","conflated":{"s":97}}"#]);
    assert_eq!((close, scene.shard.counters().conflated), (None, 97));
    scene.assert_balanced();
}

/// Proves: past the limit the oldest are skipped, a gap before the next message names exactly which, and the
/// client hears at half of its bounds that it is behind.
#[test]
fn a_best_effort_subscriber_that_fell_behind_is_told_what_it_missed() {
    let mut scene = Scene::new(Limits { queue_frames: 6, ..Limits::default() });
    scene.terms.insert("o", of(Class::BestEffort));
    let id = scene.connect(&["o"]);
    scene.sockets.room.insert(id.slot, 4);
    for number in 1..=20 {
        scene.publish("o", format!("{number}"));
        scene.sweep();
        scene.assert_balanced();
    }
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    let (texts, close) = scene.read(id.slot);
    let gap = r#"{"event":"gap","topic":"o","from":3,"to":17,"reason":"slow"}"#;
    let (slow, caught_up) = (r#"{"event":"slow","behind":3}"#, r#"{"event":"caught_up","conflated":{}}"#);
    assert_eq!(texts, ["1", "2", slow, gap, "18", "19", "20", caught_up]);
    assert_eq!((close, scene.shard.counters().skipped), (None, 15));
    scene.assert_balanced();
}

/// Proves: a rule's limits hold for its topic alone, in frames, bytes and seconds.
#[test]
fn a_topic_has_limits_of_its_own() {
    let terms = [
        Terms { queue_frames: Some(3), ..Terms::default() },
        Terms { queue_bytes: Some(7), ..Terms::default() },
        Terms { queue_age_s: Some(2), ..Terms::default() },
    ];
    for terms in terms {
        let mut scene = Scene::new(Limits::default());
        scene.terms.insert("t", terms);
        let (other, id) = (scene.connect(&["u"]), scene.connect(&["t", "u"]));
        for id in [other, id] {
            scene.sockets.room.insert(id.slot, 0);
        }
        for number in 1..=4 {
            scene.publish("t", format!("{number}"));
            scene.publish("u", format!("{number}"));
        }
        scene.sweep();
        scene.shard.tick(0, 10, NOW + std::time::Duration::from_secs(2), &mut scene.sockets);
        assert!(scene.shard.is_closing(id.slot), "{terms:?}");
        assert!(!scene.shard.is_closing(other.slot), "{terms:?}");
        scene.assert_balanced();
    }
}

/// Random connections, subscriptions, publishes of all sizes and classes, pongs, answers, closes, and sockets that
/// take a few bytes at a time or die. Whatever happens: what a connection gets of a topic begins after the head it
/// joined at and has no repeat, no byte out of place and no hole that it was not told of, as its class says; the
/// account balances; and when every socket has taken everything, whoever is still open has got all there was, and
/// nothing is left.
#[test]
fn random_schedules_keep_every_promise() {
    let mut lost = (0, 0, 0);
    for seed in 0..500 {
        let counters = Play::new(seed).run();
        lost.0 += counters.conflated;
        lost.1 += counters.skipped;
        lost.2 += counters.dropped[Reason::CannotResume as usize];
    }
    assert!(lost.0 > 1_000 && lost.1 > 500 && lost.2 > 10, "the schedules hardly lost anything: {lost:?}");
}

const TOPICS: [(&str, Class); 6] = [
    ("a", Class::Event),
    ("b", Class::Event),
    ("state", Class::State),
    ("tick", Class::State),
    ("pulse", Class::BestEffort),
    ("book", Class::Delta),
];

/// One random schedule.
struct Play {
    seed: u64,
    rng: fastrand::Rng,
    scene: Scene,
    /// The number of each topic's newest message.
    heads: BTreeMap<&'static str, u64>,
    /// Who has ever connected and not gone, with the head of each topic when it was joined.
    live: BTreeMap<Slot, (ConnectionId, BTreeMap<&'static str, u64>)>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limits = Limits {
            queue_frames: rng.usize(5..200),
            queue_bytes: rng.usize(2_000..200_000),
            queues_bytes_per_shard: rng.usize(50_000..500_000),
            ..Limits::default()
        };
        let heads = TOPICS.map(|(topic, _)| (topic, 0)).into();
        let mut scene = Scene::new(limits);
        scene.terms = TOPICS.map(|(topic, class)| (topic, of(class))).into();
        Self { seed, rng, scene, heads, live: BTreeMap::new() }
    }

    fn run(mut self) -> Counters {
        for _ in 0..400 {
            self.step();
            self.scene.assert_balanced();
        }
        while self.scene.shard.is_in_debt() {
            self.scene.sweep();
        }
        self.scene.sockets.room.clear();
        for (slot, (id, joined)) in &self.live {
            if self.scene.shard.is_here(*id) {
                let done = self.scene.shard.drain(*slot, NOW, &mut self.scene.sockets);
                assert!(done, "seed {}: something is left for {id}", self.seed);
                self.check(*id, joined);
            }
        }
        let counters = self.scene.shard.counters();
        let left = (counters.pending, counters.queued_frames, counters.queued_bytes, counters.blocked);
        assert_eq!(left, (0, 0, 0, 0), "seed {}", self.seed);
        self.scene.assert_balanced();
        counters
    }

    fn check(&self, id: ConnectionId, joined: &BTreeMap<&'static str, u64>) {
        let seed = self.seed;
        let mut last = joined.clone();
        let mut conflated = BTreeMap::<String, i64>::new();
        let (texts, close) = self.scene.read(id.slot);
        for text in texts.iter().filter(|text| *text != "answer") {
            if text.starts_with('{') {
                let event: serde_json::Value = serde_json::from_str(text).unwrap();
                if event["event"] == "gap" {
                    let last = last.get_mut(event["topic"].as_str().unwrap()).unwrap();
                    assert_eq!(event["from"], *last + 1, "seed {seed}: {id}: {text}");
                    *last = event["to"].as_u64().unwrap();
                }
                for (topic, count) in event["conflated"].as_object().into_iter().flatten() {
                    *conflated.entry(topic.clone()).or_default() += count.as_i64().unwrap();
                }
                continue;
            }
            let mut words = text.split(' ');
            let topic = words.next().unwrap_or_default();
            let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
            let is_whole = words.next().is_some_and(|pad| pad.bytes().all(|byte| byte == b'x'));
            assert!(is_whole, "seed {seed}: {text}");
            let last =
                last.get_mut(topic).unwrap_or_else(|| panic!("seed {seed}: {id} never joined {topic}"));
            if self.scene.terms[topic].class == Class::State {
                assert!(number > *last, "seed {seed}: {id} got {topic} {number} after {last}");
                *conflated.entry(topic.to_owned()).or_default() -= (number - *last - 1) as i64;
            } else {
                assert_eq!(number, *last + 1, "seed {seed}: {id} got {topic} {number} after {last}");
            }
            *last = number;
        }
        if close.is_none() && !self.scene.shard.is_closing(id.slot) {
            for (topic, last) in last {
                assert_eq!(last, self.heads[topic], "seed {seed}: {id} misses the end of {topic}");
            }
            assert!(
                conflated.values().all(|count| *count == 0),
                "seed {seed}: {id} told {conflated:?} too many"
            );
        }
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..6 => self.connect(),
            6..50 => {
                let is_large = self.rng.u32(0..20) == 0;
                let size = if is_large { self.rng.usize(16_000..20_000) } else { self.rng.usize(0..300) };
                self.publish(size);
            }
            50..70 => {
                self.scene.shard.begin_sweep();
                while !self.scene.shard.sweep(2, NOW, &mut self.scene.sockets) {
                    if self.rng.u32(0..3) == 0 {
                        self.publish(0);
                    }
                }
                self.scene.shard.end_sweep();
            }
            70..72 => {
                let mut leaves = std::mem::take(&mut self.scene.shard.leaves);
                while let Some((topic, count)) = leaves.pop_first() {
                    self.scene.request(Request::Leave { shard: 0, topic, count });
                }
            }
            action => self.touch(action),
        }
    }

    fn connect(&mut self) {
        let joined: BTreeMap<_, _> =
            self.heads.iter().filter(|_| self.rng.bool()).map(|(t, n)| (*t, *n)).collect();
        let topics: Vec<_> = joined.keys().copied().collect();
        let id = self.scene.connect(&[]);
        self.scene.sockets.taken.insert(id.slot, Vec::new());
        self.scene.sockets.dead.remove(&id.slot);
        let room = if self.rng.bool() { usize::MAX } else { self.rng.usize(0..5_000) };
        self.scene.sockets.room.insert(id.slot, room);
        self.scene.subscribe(id, &topics);
        self.live.insert(id.slot, (id, joined));
    }

    fn publish(&mut self, size: usize) {
        let (topic, _) = TOPICS[self.rng.usize(..TOPICS.len())];
        let number = self.heads.entry(topic).or_default();
        *number += 1;
        let text = format!("{topic} {number} {}", "x".repeat(size));
        self.scene.publish(topic, text);
    }

    /// Does something to one of those who are here.
    fn touch(&mut self, action: u32) {
        let here: Vec<_> =
            self.live.values().map(|(id, _)| *id).filter(|id| self.scene.shard.is_here(*id)).collect();
        let Some(id) = self.rng.choice(&here).copied() else { return };
        let Scene { shard, sockets, .. } = &mut self.scene;
        match action {
            72..86 => {
                let room = sockets.room.entry(id.slot).or_default();
                *room = room.saturating_add(self.rng.usize(0..3_000));
                shard.drain(id.slot, NOW, sockets);
            }
            86..90 => {
                let pong = frame::frame(frame::PONG, &self.rng.u32(..).to_be_bytes());
                shard.control(id.slot, pong, Control::Pong, NOW, sockets);
            }
            90..95 => {
                shard.owe_answer(id.slot);
                shard.answer(id.slot, Some("answer".into()), NOW, sockets);
            }
            95..97 => {
                let reason = Reason::Operator;
                shard.close(id.slot, reason, reason.code(), "closed", NOW, sockets);
            }
            97 => shard.end(id.slot, Reason::Client, false),
            98 => {
                sockets.dead.insert(id.slot);
                shard.drain(id.slot, NOW, sockets);
                self.publish(10);
            }
            _ => shard.set_combined(id.slot, false, NOW, sockets),
        }
    }
}
