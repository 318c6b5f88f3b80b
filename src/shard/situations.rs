//! Proves, in virtual time and over sockets that take what a script says: what the core's contract promises.
//! Each test is a situation; the last plays thousands of random ones, each named by its seed.

use super::core::Shard;
use super::outbound::Control;
use super::writer::{Effect, Sockets, Taken};
use crate::clock::Moment;
use crate::ids::{ConnectionId, Slot};
use crate::limits::{LOG_BYTES_MAX, Limits};
use crate::message::{Encoding, frame};
use crate::protocol::close::Reason;
use crate::protocol::operation::Wish;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::core::{Now, Outbox, Sequencer};
use crate::sequencer::request::Request;
use std::collections::BTreeMap;

const NOW: Moment = Moment::from_micros(1_000_000);

/// Sockets that take so many bytes more, and keep what they took.
#[derive(Default)]
struct Script {
    room: BTreeMap<Slot, usize>,
    taken: BTreeMap<Slot, Vec<u8>>,
}

impl Sockets for Script {
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Taken {
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
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let sequencer = Sequencer::new(1, &limits, 1);
        Self { sequencer, shard: Shard::new(0, limits), sockets: Script::default() }
    }

    fn request(&mut self, request: Request) {
        let mut out = Outbox::new();
        self.sequencer.handle(request, Now { moment: NOW, unix_us: 0 }, &mut out);
        for (_, delivery) in out {
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
            counters.delivered + counters.abandoned + counters.pending,
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

/// Random connections, subscriptions, publishes of all sizes, pongs, answers, closes, and sockets that take a
/// few bytes at a time. Whatever happens: each connection's topic is a sequence without a hole, a repeat or a
/// byte out of place; the account balances; and when every socket has taken everything, nothing is left.
#[test]
fn random_schedules_keep_every_promise() {
    for seed in 0..300 {
        random_schedule(seed);
    }
}

fn random_schedule(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let limits = Limits {
        queue_frames: rng.usize(5..200),
        queue_bytes: rng.usize(2_000..200_000),
        queues_bytes_per_shard: rng.usize(50_000..500_000),
        ..Limits::default()
    };
    let mut scene = Scene::new(limits);
    let topics = ["a", "b", "c"];
    let mut heads = BTreeMap::new();
    let mut live: Vec<ConnectionId> = Vec::new();
    for _ in 0..400 {
        match rng.u32(0..100) {
            0..5 => {
                let count = rng.usize(0..=topics.len());
                let id = scene.connect(&topics[..count]);
                scene.sockets.taken.insert(id.slot, Vec::new());
                scene.sockets.room.insert(id.slot, if rng.bool() { usize::MAX } else { rng.usize(0..5_000) });
                live.push(id);
            }
            5..55 => {
                let topic = topics[rng.usize(..topics.len())];
                let number = heads.entry(topic).or_insert(0u64);
                *number += 1;
                let size = if rng.u32(0..20) == 0 { rng.usize(16_000..20_000) } else { rng.usize(0..300) };
                let text = format!("{topic} {number} {}", "x".repeat(size));
                scene.publish(topic, text);
            }
            55..75 => {
                scene.shard.begin_sweep();
                while !scene.shard.sweep(2, NOW, &mut scene.sockets) {
                    if rng.u32(0..3) == 0 {
                        let topic = topics[rng.usize(..topics.len())];
                        let number = heads.entry(topic).or_insert(0u64);
                        *number += 1;
                        scene.publish(topic, format!("{topic} {number} "));
                    }
                }
                scene.shard.end_sweep();
            }
            75..90 if !live.is_empty() => {
                let id = live[rng.usize(..live.len())];
                let room = scene.sockets.room.entry(id.slot).or_default();
                *room = room.saturating_add(rng.usize(0..3_000));
                if scene.shard.is_here(id) {
                    scene.shard.drain(id.slot, NOW, &mut scene.sockets);
                }
            }
            90..95 if !live.is_empty() => {
                let id = live[rng.usize(..live.len())];
                if scene.shard.is_here(id) {
                    let pong = frame::frame(frame::PONG, &rng.u32(..).to_be_bytes());
                    scene.shard.control(id.slot, pong, Control::Pong, NOW, &mut scene.sockets);
                }
            }
            95..98 if !live.is_empty() => {
                let id = live.swap_remove(rng.usize(..live.len()));
                if scene.shard.is_here(id) {
                    scene.shard.end(id.slot, Reason::Client, false);
                }
            }
            _ => {
                let mut leaves = std::mem::take(&mut scene.shard.leaves);
                while let Some((topic, count)) = leaves.pop_first() {
                    scene.request(Request::Leave { shard: 0, topic, count });
                }
            }
        }
        scene.assert_balanced();
    }
    while scene.shard.is_in_debt() {
        scene.sweep();
    }
    scene.sockets.room.clear();
    for id in &live {
        if scene.shard.is_here(*id) {
            assert!(
                scene.shard.drain(id.slot, NOW, &mut scene.sockets),
                "seed {seed}: something is left for {id}"
            );
        }
        let mut seen = BTreeMap::<String, u64>::new();
        let (texts, close) = scene.read(id.slot);
        for text in texts {
            let mut words = text.split(' ');
            let topic = words.next().unwrap_or_default().to_owned();
            let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
            assert!(
                words.next().is_some_and(|pad| pad.bytes().all(|byte| byte == b'x')),
                "seed {seed}: {text}"
            );
            let last = seen.insert(topic.clone(), number);
            assert!(
                last.is_none_or(|last| number == last + 1),
                "seed {seed}: {topic} {last:?} then {number}"
            );
        }
        if close.is_none() && scene.shard.is_here(*id) {
            for (topic, last) in seen {
                assert_eq!(heads[topic.as_str()], last, "seed {seed}: {id} misses the end of {topic}");
            }
        }
    }
    let counters = scene.shard.counters();
    assert_eq!(
        (counters.pending, counters.queued_bytes, counters.blocked),
        (0, 0, 0),
        "seed {seed}: {counters:?}"
    );
    scene.assert_balanced();
}
