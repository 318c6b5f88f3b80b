//! Proves, in virtual time and over sockets that take what a script says: what the core's contract promises.
//! Each test is a situation; thousands of random ones are played by `simulation`.

mod behind;

use super::Shard;
use super::writer::Effect;
use crate::clock::Moment;
use crate::config::Rule;
use crate::ids::{ConnectionId, Slot, TopicId};
use crate::limits::{LOG_BYTES_MAX, Limits};
use crate::message::{Encoding, frame, tcp};
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
