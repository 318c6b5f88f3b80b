//! Proves, in virtual time and over sockets that take what a script says: what the core's contract promises.
//! Each test is a situation; thousands of random ones are played by `simulation`.

use super::Shard;
use super::writer::Effect;
use crate::clock::Moment;
use crate::config::Rule;
use crate::ids::{ConnectionId, Epoch, Slot, TopicId};
use crate::limits::{LOG_BYTES_MAX, Limits};
use crate::message::{Encoding, frame, tcp};
use crate::protocol::class::Class;
use crate::protocol::close::Reason;
use crate::protocol::operation::Wish;
use crate::protocol::options::PublishOptions;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::core::{Outbox, Sequencer};
use crate::sequencer::request::{Now, Request};
use crate::sequencer::rules::Rules;
use crate::shard::queue::entry::{Control, Entry};
use crate::simulation::reading::texts;
use crate::simulation::scene::{Script, imbalance};
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: Moment = Moment::from_micros(1_000_000);

impl Shard {
    /// Deliveries of each topic that wait in the log and in queues, counted one by one.
    pub(crate) fn waits(&self) -> (BTreeMap<TopicId, u64>, BTreeMap<TopicId, u64>) {
        let (mut in_log, mut in_queues) = (BTreeMap::new(), BTreeMap::new());
        for (topic, count) in self.log.pending() {
            *in_log.entry(topic).or_default() += count;
        }
        let queues = self.writers.iter().filter_map(|(_, writer)| writer.outbound.as_ref());
        for (entry, _) in queues.flat_map(|queue| queue.iter()) {
            if let Entry::Data(data) = entry {
                *in_queues.entry(data.topic).or_default() += 1;
            }
        }
        (in_log, in_queues)
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
        Self::under(limits, Vec::new())
    }

    fn under(limits: Limits, rules: Vec<Rule>) -> Self {
        let sequencer = Sequencer::new(1, &limits, 1).under(Rules::new(rules, &limits));
        Self { sequencer, shard: Shard::new(0, limits, 0), sockets: Script::default() }
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
        let wish = |topic: &&str| Wish { subject: name(topic).into(), since: None };
        let wishes = topics.iter().map(wish).collect();
        self.request(Request::Subscribe { connection, tag: Tag::Silent, wishes });
    }

    fn publish(&mut self, topic: &str, text: String) {
        self.request(Request::Publish {
            topic: name(topic),
            payload: text.into(),
            options: None,
            receipt: None,
        });
    }

    fn publish_with(&mut self, topic: &str, text: &str, options: PublishOptions) {
        let (topic, options) = (name(topic), options.boxed());
        self.request(Request::Publish { topic, payload: text.into(), options, receipt: None });
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
        assert_eq!(imbalance(&self.shard.counters()), None);
    }

    /// The reason of the close frame, which is the last thing that the socket took once it took everything.
    fn reason(&mut self, slot: Slot) -> String {
        self.sockets.room.insert(slot, usize::MAX);
        self.shard.drain(slot, NOW, &mut self.sockets);
        let taken = String::from_utf8_lossy(&self.sockets.taken[&slot]).into_owned();
        taken[taken.find("slow consumer").unwrap()..].to_owned()
    }

    /// The texts and the close code that the socket has taken in whole.
    fn read(&self, slot: Slot) -> (Vec<String>, Option<u16>) {
        texts(self.sockets.taken.get(&slot).map_or(&[][..], Vec::as_slice))
    }
}

fn rule(pattern: &str) -> Rule {
    Rule { pattern: pattern.into(), ..Rule::default() }
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

/// A publisher began a new history while messages of the old one waited: the close named their number as one of the
/// new history, from which whoever resumed there missed the beginning, and was told that it had missed nothing.
#[test]
fn a_close_names_a_place_in_the_history_that_its_number_is_of() {
    for by_bytes in [false, true] {
        let limits = if by_bytes {
            Limits { queues_bytes_per_shard: 200, ..Limits::default() }
        } else {
            Limits { queue_frames: 4, ..Limits::default() }
        };
        let mut scene = Scene::new(limits);
        let id = scene.connect(&["t"]);
        scene.sockets.room.insert(id.slot, 4);
        for text in ["1", "2", "3"] {
            scene.publish("t", text.into());
        }
        scene.sweep();
        let anew = PublishOptions { epoch: Some(Epoch(36)), ..PublishOptions::default() };
        scene.publish_with("t", "1", anew);
        for text in ["2", "3", "4", "5"] {
            scene.publish("t", text.into());
        }
        scene.sweep();
        assert!(scene.shard.is_closing(id.slot));
        assert_eq!(scene.reason(id.slot), "slow consumer last=1:2 topic=t");
        scene.assert_balanced();
    }
}

/// What was owed when the new history began overflowed as if it were of that: the subscriber of a `delta` topic was
/// told of a gap of numbers of the old one in the new.
#[test]
fn what_overflows_before_a_new_history_is_of_the_old_one() {
    let rules = vec![Rule { class: Some(Class::Delta), ..rule("d") }];
    let mut scene = Scene::under(Limits { queue_frames: 3, ..Limits::default() }, rules);
    let id = scene.connect(&["d"]);
    scene.sockets.room.insert(id.slot, 4);
    for number in 1..=9 {
        scene.publish("d", format!("{number}"));
    }
    let anew = PublishOptions { epoch: Some(Epoch(36)), image: true, ..PublishOptions::default() };
    scene.publish_with("d", "image", anew);
    scene.sockets.room.insert(id.slot, usize::MAX);
    scene.shard.drain(id.slot, NOW, &mut scene.sockets);
    for ask in std::mem::take(&mut scene.shard.replays.asks) {
        scene.request(Request::Replay(Box::new(ask)));
    }
    let (texts, close) = scene.read(id.slot);
    let told = texts.iter().position(|text| *text == r#"{"event":"epoch","topic":"d","epoch":"10","seq":1}"#);
    let gaps = texts.iter().filter(|text| text.contains("gap")).count();
    assert_eq!(
        (told.map(|at| &texts[at + 1..]), gaps, close),
        (Some(&["image".to_owned()][..]), 0, None),
        "{texts:?}"
    );
    scene.assert_balanced();
}

/// A connection that was given up while a gap waited in its queue was named the number before the next message, and
/// never heard of the gap: whoever resumed there missed what was skipped.
#[test]
fn a_close_names_the_place_before_a_gap_that_was_not_told() {
    let rules = vec![Rule { class: Some(Class::BestEffort), ..rule("o") }];
    let limits = Limits { queue_frames: 4, queues_bytes_per_shard: 2_000, ..Limits::default() };
    let mut scene = Scene::under(limits, rules);
    let id = scene.connect(&["o"]);
    scene.sockets.room.insert(id.slot, 4);
    for number in 1..=9 {
        scene.publish("o", format!("{number}"));
    }
    scene.sweep();
    assert!(!scene.shard.is_closing(id.slot));
    scene.publish("o", "x".repeat(2_000));
    scene.sweep();
    assert!(scene.shard.is_closing(id.slot));
    assert_eq!(scene.reason(id.slot), "slow consumer last=1:2 topic=o");
    scene.assert_balanced();
}

/// Proves: one who is owed thousands of datagrams is sent them in their order and in parts, of which each sweep pays what
/// was there when it began; who leaves between two parts is sent no more, nor is who comes in its place.
#[test]
fn many_datagrams_to_one_are_sent_a_part_at_a_time() {
    const COUNT: usize = 1_000;
    const LATER: usize = 200;
    let mut scene = Scene::new(Limits::default());
    let lease = |scene: &mut Scene, topics: &[&str]| {
        let id = scene.shard.adopt(Encoding::Tcp, Encoding::Tcp, NOW);
        scene.shard.send_datagrams_to(id);
        scene.subscribe(id, topics);
        id
    };
    // Of every other message a run, of all of one topic a list.
    let stays = [lease(&mut scene, &["t", "u"]), lease(&mut scene, &["t"])];
    let leaves = lease(&mut scene, &["t", "u"]);
    let publish =
        |scene: &mut Scene, number: usize| scene.publish(["t", "u"][number % 2], format!("{number:04}"));
    (0..COUNT).for_each(|number| publish(&mut scene, number));

    scene.shard.begin_sweep();
    let (mut parts, mut before) = (0, 0);
    let mut came = None;
    while !scene.shard.sweep(32, NOW, &mut scene.sockets) {
        let sent = scene.shard.sends;
        assert!(sent - before <= 32 + 30, "{} at once", sent - before);
        (parts, before) = (parts + 1, sent);
        if parts == 3 {
            (COUNT..COUNT + LATER).for_each(|number| publish(&mut scene, number));
        }
        if came.is_none() && scene.sockets.taken.contains_key(&leaves.slot) {
            scene.shard.end(leaves.slot, Reason::Client, false);
            scene.sockets.taken.remove(&leaves.slot);
            came = Some(scene.connect(&["u"]));
        }
    }
    scene.shard.end_sweep();
    assert!(parts > 20 && scene.shard.is_in_debt(), "what came meanwhile is for the next");
    scene.sweep();

    for (id, step) in stays.into_iter().zip([1, 2]) {
        let frames = tcp::frames(&scene.sockets.taken[&id.slot]);
        let numbers: Vec<_> =
            frames.map(|frame| String::from_utf8_lossy(&frame[frame.len() - 4..]).into_owned()).collect();
        let expected: Vec<_> =
            (0..COUNT + LATER).step_by(step).map(|number| format!("{number:04}")).collect();
        assert_eq!(numbers, expected);
    }
    let came = came.expect("somebody left");
    assert_eq!(came.slot, leaves.slot);
    assert_eq!(scene.read(came.slot), (Vec::new(), None), "came after all that was published of its topic");
    assert!(!scene.shard.is_in_debt());
    scene.assert_balanced();
}

/// Proves: whoever takes a byte of what its socket holds within the limit is not given up, though the socket asks for
/// no more; whoever takes none is, when the limit has passed since its last.
#[test]
fn who_takes_little_at_a_time_is_not_stalled() {
    const STALL_S: u64 = 3;
    let mut scene = Scene::new(Limits { queue_stall_s: STALL_S, ..Limits::default() });
    let id = scene.connect(&["t"]);
    scene.sockets.room.insert(id.slot, 5);
    scene.publish("t", "more than it takes".to_owned());
    scene.sweep();
    let mut is_closed_at = |second: u64, unacknowledged| {
        scene.sockets.unacknowledged.insert(id.slot, unacknowledged);
        scene.shard.tick(0, 10, NOW + Duration::from_secs(second), &mut scene.sockets);
        scene.shard.is_closing(id.slot)
    };
    for (second, unacknowledged) in [(1, 1_000), (2, 1_000), (3, 999), (5, 999), (6, 0)] {
        assert!(!is_closed_at(second, unacknowledged), "after {second} s");
    }
    assert!(!is_closed_at(6 + STALL_S - 1, 0), "too early");
    assert!(is_closed_at(6 + STALL_S, 0), "never");
}

/// Proves: behind a full socket the newest state takes the place of the one before it, goes out with the first
/// write after the socket frees, the client is told how many it did not get, and lag closes nothing.
#[test]
fn a_state_subscriber_that_fell_behind_gets_the_newest() {
    let rules = vec![Rule { class: Some(Class::State), ..rule("s") }];
    let mut scene = Scene::under(Limits { queue_frames: 10, ..Limits::default() }, rules);
    let id = scene.connect(&["s"]);
    scene.sockets.room.insert(id.slot, 5);
    for number in 1..=100 {
        scene.publish("s", format!("{number}"));
        scene.sweep();
        scene.assert_balanced();
    }
    let later = NOW + Duration::from_secs(30);
    scene.shard.heard(id.slot, 1, later);
    scene.shard.tick(0, 10, later, &mut scene.sockets);
    assert!(!scene.shard.is_closing(id.slot));
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    let (texts, close) = scene.read(id.slot);
    assert_eq!(texts, ["1", "2", "100", r#"{"event":"caught_up","conflated":{"s":97}}"#]);
    assert_eq!((close, scene.shard.counters().account.conflated), (None, 97));
    scene.assert_balanced();
}

/// A publisher of a `state` topic that leaves numbers out, or begins anew: what was told of it fixed the message that
/// waited in its place, so a subscriber that was behind had all of them in its queue, and was closed in the end.
#[test]
fn a_state_subscriber_has_one_message_waiting_whatever_its_publisher_leaves_out() {
    let rules = vec![Rule { class: Some(Class::State), ..rule("s") }];
    let mut scene = Scene::under(Limits { queue_frames: 20, ..Limits::default() }, rules);
    let id = scene.connect(&["s"]);
    scene.sockets.room.insert(id.slot, 5);
    scene.publish("s", "1".into());
    scene.publish("s", "2".into());
    for number in 2..=100 {
        let options = PublishOptions { seq: Some(number * 2), ..PublishOptions::default() };
        scene.publish_with("s", &format!("{}", number * 2), options);
        scene.sweep();
        scene.assert_balanced();
    }
    assert!(scene.shard.counters().queued_frames <= 4, "{:?}", scene.shard.counters());
    for epoch in [36, 37] {
        let anew = PublishOptions { epoch: Some(Epoch(epoch)), ..PublishOptions::default() };
        scene.publish_with("s", &format!("{epoch}:1"), anew);
        scene.sweep();
    }
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    let (texts, close) = scene.read(id.slot);
    let gap =
        |from, to| format!(r#"{{"event":"gap","topic":"s","from":{from},"to":{to},"reason":"publisher"}}"#);
    let epoch = |epoch| format!(r#"{{"event":"epoch","topic":"s","epoch":"{epoch}","seq":0}}"#);
    let caught_up = r#"{"event":"caught_up","conflated":{"s":100}}"#.to_owned();
    let expected =
        ["1".into(), "2".into(), gap(3, 3), gap(5, 199), epoch("10"), epoch("11"), "37:1".into(), caught_up];
    assert_eq!((texts, close), (expected.to_vec(), None));
    scene.assert_balanced();
}

/// Proves: past the limit the oldest are skipped, a gap before the next message names exactly which, and the
/// client hears at half of its bounds that it is behind.
#[test]
fn a_best_effort_subscriber_that_fell_behind_is_told_what_it_missed() {
    let rules = vec![Rule { class: Some(Class::BestEffort), ..rule("o") }];
    let mut scene = Scene::under(Limits { queue_frames: 6, ..Limits::default() }, rules);
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
    assert_eq!((close, scene.shard.counters().account.skipped), (None, 15));
    scene.assert_balanced();
}

/// Proves: a rule's limits hold for its topic alone, in frames, bytes and seconds.
#[test]
fn a_topic_has_limits_of_its_own() {
    let rules = [
        Rule { queue_frames: Some(3), ..rule("t") },
        Rule { queue_bytes: Some(7), ..rule("t") },
        Rule { queue_age_s: Some(2), ..rule("t") },
    ];
    for rule in rules {
        let mut scene = Scene::under(Limits::default(), vec![rule.clone()]);
        let (other, id) = (scene.connect(&["u"]), scene.connect(&["t", "u"]));
        for id in [other, id] {
            scene.sockets.room.insert(id.slot, 0);
        }
        for number in 1..=4 {
            scene.publish("t", format!("{number}"));
            scene.publish("u", format!("{number}"));
        }
        scene.sweep();
        scene.shard.tick(0, 10, NOW + Duration::from_secs(2), &mut scene.sockets);
        assert!(scene.shard.is_closing(id.slot), "{rule:?}");
        assert!(!scene.shard.is_closing(other.slot), "{rule:?}");
        scene.assert_balanced();
    }
}
