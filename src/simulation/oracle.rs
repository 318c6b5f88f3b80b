//! The naive, obviously right model: every client has a list of the numbers it is to get of each topic, and what
//! its socket took is held against that after every step.

use super::operation::Operation;
use super::reading::{self, Read};
use super::scene::{Scene, imbalance};
use crate::ids::ConnectionId;
use crate::limits::{ENTRY_BYTES, Limits};
use crate::message::frame;
use crate::protocol::class::{Class, Terms};
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::operation::{OpId, Wish};
use crate::protocol::pattern::Subject;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::request::{Delivery, Request, Subscribed, Unsubscribed};
use crate::shard::outbound::Control;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const TOPICS: [(&str, Class); 12] = [
    ("trade", Class::Event),
    ("chat", Class::Event),
    ("quote", Class::State),
    ("tick", Class::State),
    ("pulse", Class::BestEffort),
    ("book", Class::Delta),
    ("trade.a", Class::Event),
    ("trade.b", Class::Event),
    ("quote.a", Class::State),
    ("pulse.a", Class::BestEffort),
    ("book.a", Class::Delta),
    ("$chat", Class::Event),
];
const PATTERNS: [&str; 6] = ["*", "t*", "trade*", "trade.*", "quote*", "p*"];
/// More than any frame of a schedule.
const FRAME_BYTES: usize = 21_000;
/// More than the notices, acks and pongs of any queue.
const CONTROL_FRAMES: usize = 200;

/// What became of what, over all schedules.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    messages: u64,
    delivered: u64,
    conflated: u64,
    skipped: u64,
    abandoned: u64,
    slow: u64,
    unsynced: u64,
    rejoined: u64,
    /// Topics that came to a client by a pattern, before their first message and after it.
    awaited: u64,
    matched: u64,
    /// Topics left by name, or with a pattern, that a client kept because of what else it asked for.
    kept: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.delivered += other.delivered;
        self.conflated += other.conflated;
        self.skipped += other.skipped;
        self.abandoned += other.abandoned;
        self.slow += other.slow;
        self.unsynced += other.unsynced;
        self.rejoined += other.rejoined;
        self.awaited += other.awaited;
        self.matched += other.matched;
        self.kept += other.kept;
    }

    /// True when everything there is to try has happened.
    pub(super) fn is_varied(&self) -> bool {
        let ends = [self.conflated, self.skipped, self.abandoned, self.slow, self.unsynced];
        let joins = [self.rejoined, self.awaited, self.matched, self.kept];
        ends.into_iter().chain(joins).all(|count| count > 10)
    }
}

/// The messages of one topic that one client is to get: all after `after`, up to `to` where it has left.
#[derive(Clone, Copy, Debug)]
struct Span {
    after: u64,
    to: Option<u64>,
    /// The pattern it began with, where it was one: there is no ack of the topic's own.
    pattern: Option<&'static str>,
}

/// One topic as one client sees it.
#[derive(Debug, Default)]
struct View {
    spans: Vec<Span>,
    /// The last number that came, or that it was told would not.
    last: u64,
    /// Heads that acks named.
    acked: Vec<u64>,
    /// Numbers left out that it has not been told of.
    untold: i64,
}

impl View {
    fn is_live(&self) -> bool {
        self.spans.last().is_some_and(|span| span.to.is_none())
    }

    /// The next number that is to come.
    fn next(&self) -> Option<u64> {
        self.spans.iter().find_map(|span| {
            let next = self.last.max(span.after) + 1;
            span.to.is_none_or(|to| next <= to).then_some(next)
        })
    }

    /// The span of a number.
    fn span_of(&self, number: u64) -> Option<Span> {
        let holds = |span: &&Span| number > span.after && span.to.is_none_or(|to| number <= to);
        self.spans.iter().find(holds).copied()
    }
}

struct Client {
    id: ConnectionId,
    topics: BTreeMap<String, View>,
    /// What it is subscribed to at its shard's place in the FIFO.
    names: BTreeSet<String>,
    patterns: BTreeSet<&'static str>,
    /// The patterns whose answer is on its way, each with the heads of all topics when it was asked.
    asked: VecDeque<(&'static str, BTreeMap<&'static str, u64>)>,
    /// Patterns it has read an ack of.
    acked: BTreeSet<String>,
    closed: bool,
    unread: Vec<u8>,
}

impl Client {
    /// True exactly when it has asked for that topic, whatever way.
    fn wants(&self, topic: &str) -> bool {
        self.names.contains(topic) || self.patterns.iter().any(|pattern| is_match(pattern, topic))
    }
}

/// What PROTOCOL says of patterns.
fn is_match(pattern: &str, topic: &str) -> bool {
    !topic.starts_with('$') && topic.starts_with(pattern.trim_end_matches('*'))
}

/// See the module.
pub(super) struct Oracle {
    scene: Scene,
    limits: Limits,
    /// Bytes of padding of each message of each topic.
    published: BTreeMap<&'static str, Vec<usize>>,
    /// The newest message of each topic that each shard has taken.
    taken: [BTreeMap<String, u64>; 2],
    clients: Vec<Client>,
    totals: Totals,
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, says: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(says()) }
}

impl Oracle {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limits = Limits {
            queue_frames: rng.usize(5..100),
            queue_bytes: rng.usize(2_000..100_000),
            queues_bytes_per_shard: rng.usize(50_000..500_000),
            ..Limits::default()
        };
        let mut scene = Scene::new(2, limits.clone());
        scene.terms = TOPICS.map(|(topic, class)| (topic, Terms { class, ..Terms::default() })).into();
        let published = TOPICS.map(|(topic, _)| (topic, Vec::new())).into();
        Self {
            scene,
            limits,
            published,
            taken: Default::default(),
            clients: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// One step, and then every promise.
    pub(super) fn step(&mut self, operation: &Operation) -> Verdict {
        self.act(operation)?;
        self.check()
    }

    /// Lets everything come to rest: nothing may be left, and whoever is still open must have got all there was.
    pub(super) fn finish(mut self) -> Result<Totals, String> {
        while !self.scene.is_quiet() {
            for shard in 0..2 {
                self.take(shard, usize::MAX)?;
                self.scene.sweep(shard, usize::MAX);
            }
        }
        for place in &mut self.scene.places {
            place.sockets.room.clear();
        }
        for at in 0..self.clients.len() {
            let id = self.clients[at].id;
            let place = &mut self.scene.places[usize::from(id.shard)];
            if place.shard.is_here(id) {
                let is_done = place.shard.drain(id.slot, self.scene.now, &mut place.sockets);
                ensure(is_done, || format!("something is left for {id}"))?;
            }
        }
        let open: Vec<_> = self.clients.iter().map(|client| client.id).collect();
        self.read()?;
        for client in &self.clients {
            let place = &self.scene.places[usize::from(client.id.shard)];
            if client.closed || !open.contains(&client.id) || !place.shard.is_here(client.id) {
                continue;
            }
            for (topic, view) in &client.topics {
                let id = client.id;
                let head = self.published[topic.as_str()].len() as u64;
                let rest = view.next().filter(|next| *next <= head);
                ensure(rest.is_none(), || format!("{id} misses {topic} from {rest:?} on: {view:?}"))?;
                ensure(view.untold == 0, || format!("{id} was not told of {} of {topic}", view.untold))?;
            }
        }
        for place in &self.scene.places {
            let counters = place.shard.counters();
            let left = (counters.pending, counters.queued_frames, counters.queued_bytes, counters.blocked);
            ensure(left == (0, 0, 0, 0), || format!("left behind: {left:?}"))?;
            let (slow, unsynced) = (Reason::SlowConsumer as usize, Reason::CannotResume as usize);
            self.totals.add(&Totals {
                delivered: counters.delivered,
                conflated: counters.conflated,
                skipped: counters.skipped,
                abandoned: counters.abandoned,
                slow: counters.dropped[slow],
                unsynced: counters.dropped[unsynced],
                ..Totals::default()
            });
        }
        Ok(self.totals)
    }

    fn act(&mut self, operation: &Operation) -> Verdict {
        let now = self.scene.now;
        match *operation {
            Operation::Connect { room, combined } => {
                let shard = (self.clients.len() % 2) as u16;
                let id = self.scene.connect(shard, room, combined);
                self.clients.push(Client {
                    id,
                    topics: BTreeMap::new(),
                    names: BTreeSet::new(),
                    patterns: BTreeSet::new(),
                    asked: VecDeque::new(),
                    acked: BTreeSet::new(),
                    closed: false,
                    unread: Vec::new(),
                });
            }
            Operation::Publish { topic, size } => {
                let (topic, _) = TOPICS[topic % TOPICS.len()];
                let sizes = self.published.entry(topic).or_default();
                sizes.push(size);
                let payload = reading::payload(topic, sizes.len() as u64, size).into();
                self.totals.messages += 1;
                self.scene.request(Request::Publish {
                    topic: name(topic),
                    payload,
                    options: None,
                    receipt: None,
                });
            }
            Operation::Take { shard, count } => self.take(shard, count)?,
            Operation::Sweep { shard, sends } => self.scene.sweep(shard, sends),
            Operation::Leave { shard } => self.scene.leave(shard),
            Operation::Wait { millis } => {
                self.scene.wait(Duration::from_millis(millis));
                // Clients answer pings.
                for client in &self.clients {
                    let place = &mut self.scene.places[usize::from(client.id.shard)];
                    if place.shard.is_here(client.id) {
                        place.shard.heard(client.id.slot, 1, self.scene.now);
                    }
                }
            }
            Operation::Subscribe { who, topic } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let (topic, _) = TOPICS[topic % TOPICS.len()];
                let tag = Tag::Native(OpId::Null, Vec::new());
                self.scene.places[usize::from(connection.shard)].shard.owe_answer(connection.slot);
                let wishes = vec![wish(topic)];
                self.scene.request(Request::Subscribe { connection, tag, wishes });
            }
            Operation::Unsubscribe { who, topic } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let subjects = vec![wish(TOPICS[topic % TOPICS.len()].0).subject];
                self.scene.request(Request::Unsubscribe { connection, tag: Tag::Silent, subjects });
            }
            Operation::SubscribePattern { who, pattern, topic } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let pattern = PATTERNS[pattern % PATTERNS.len()];
                let heads =
                    self.published.iter().map(|(topic, sizes)| (*topic, sizes.len() as u64)).collect();
                let client = self.clients.iter_mut().find(|client| client.id == connection);
                client
                    .into_iter()
                    .for_each(|client| client.asked.push_back((pattern, BTreeMap::clone(&heads))));
                let mut wishes = vec![wish(pattern)];
                wishes.extend(topic.map(|topic| wish(TOPICS[topic % TOPICS.len()].0)));
                self.scene.places[usize::from(connection.shard)].shard.owe_answer(connection.slot);
                let tag = Tag::Native(OpId::Null, Vec::new());
                self.scene.request(Request::Subscribe { connection, tag, wishes });
            }
            Operation::UnsubscribePattern { who, pattern } => {
                let Some(connection) = self.pick(who) else { return Ok(()) };
                let subjects = vec![wish(PATTERNS[pattern % PATTERNS.len()]).subject];
                self.scene.request(Request::Unsubscribe { connection, tag: Tag::Silent, subjects });
            }
            Operation::Room { who, .. }
            | Operation::Die { who }
            | Operation::Pong { who }
            | Operation::Answer { who }
            | Operation::Combine { who, .. }
            | Operation::Close { who }
            | Operation::End { who } => {
                let Some(id) = self.pick(who) else { return Ok(()) };
                let place = &mut self.scene.places[usize::from(id.shard)];
                let (slot, shard, sockets) = (id.slot, &mut place.shard, &mut place.sockets);
                match *operation {
                    Operation::Room { bytes, .. } => {
                        let room = sockets.room.entry(slot).or_default();
                        *room = room.saturating_add(bytes);
                        shard.drain(slot, now, sockets);
                    }
                    Operation::Die { .. } => {
                        sockets.dead.insert(slot);
                        shard.drain(slot, now, sockets);
                    }
                    Operation::Pong { .. } => {
                        shard.control(slot, frame::frame(frame::PONG, b"?"), Control::Pong, now, sockets);
                    }
                    Operation::Answer { .. } => {
                        shard.owe_answer(slot);
                        shard.answer(slot, Some(r#"{"event":"pong"}"#.into()), now, sockets);
                    }
                    Operation::Combine { combined, .. } => shard.set_combined(slot, combined, now, sockets),
                    Operation::Close { .. } => {
                        let reason = Reason::Operator;
                        shard.close(slot, reason, reason.code(), "closed", now, sockets);
                    }
                    _ => shard.end(slot, Reason::Client, false),
                }
            }
        }
        Ok(())
    }

    /// One of those who are here.
    fn pick(&self, who: usize) -> Option<ConnectionId> {
        let here =
            |client: &&Client| self.scene.places[usize::from(client.id.shard)].shard.is_here(client.id);
        let here: Vec<_> = self.clients.iter().filter(here).map(|client| client.id).collect();
        here.get(who % here.len().max(1)).copied()
    }

    /// A shard takes from its inbox; what that makes of the clients' expectations is noted before it acts.
    fn take(&mut self, shard: usize, count: usize) -> Verdict {
        for _ in 0..count {
            let Some(delivery) = self.scene.next_delivery(shard) else { break };
            match &delivery {
                Delivery::Message(message) => {
                    let taken = self.taken[shard].entry(message.name.to_string()).or_default();
                    ensure(message.seq > *taken, || {
                        format!("{} after {taken} of {}", message.seq, message.name)
                    })?;
                    *taken = message.seq;
                }
                Delivery::Subscribed(answer) => self.expect(answer),
                Delivery::Unsubscribed(answer) => self.expect_no_more(shard, answer),
                _ => {}
            }
            self.scene.deliver(shard, delivery);
        }
        Ok(())
    }

    fn client(&mut self, id: ConnectionId) -> Option<&mut Client> {
        let place = &self.scene.places[usize::from(id.shard)];
        let is_open = place.shard.is_here(id) && !place.shard.is_closing(id.slot);
        self.clients.iter_mut().find(|client| is_open && client.id == id)
    }

    fn expect(&mut self, answer: &Subscribed) {
        let mut seen = Totals::default();
        let Some(client) = self.client(answer.connection) else { return };
        for outcome in &answer.outcomes {
            let Ok(grant) = &outcome.granted else { continue };
            let view = client.topics.entry(outcome.topic.to_string()).or_default();
            if !view.is_live() {
                seen.rejoined += u64::from(!view.spans.is_empty());
                view.spans.push(Span { after: grant.seq, to: None, pattern: None });
            }
            client.names.insert(outcome.topic.to_string());
        }
        if !answer.patterns.is_empty() {
            let (pattern, heads) = client.asked.pop_front().expect("an answer to what was asked");
            client.patterns.insert(pattern);
            // Whether the topic exists makes no difference to who is to get its messages.
            for (topic, head) in heads.into_iter().filter(|(topic, _)| is_match(pattern, topic)) {
                let view = client.topics.entry(topic.to_owned()).or_default();
                if !view.is_live() {
                    *(if head == 0 { &mut seen.awaited } else { &mut seen.matched }) += 1;
                    view.spans.push(Span { after: head, to: None, pattern: Some(pattern) });
                }
            }
        }
        self.totals.add(&seen);
    }

    fn expect_no_more(&mut self, shard: usize, answer: &Unsubscribed) {
        let taken = self.taken[shard].clone();
        let Some(client) = self.client(answer.connection) else { return };
        for (topic, _) in &answer.topics {
            client.names.remove(topic.as_str());
        }
        for pattern in &answer.patterns {
            client.patterns.remove(pattern.to_string().as_str());
        }
        let mut views = std::mem::take(&mut client.topics);
        let mut kept = 0;
        for (topic, view) in &mut views {
            let Some(span) = view.spans.last_mut().filter(|span| span.to.is_none()) else { continue };
            let is_meant = answer.topics.iter().any(|(name, _)| name.as_str() == topic)
                || answer.patterns.iter().any(|pattern| is_match(&pattern.to_string(), topic));
            if client.wants(topic) {
                kept += u64::from(is_meant);
            } else {
                span.to = Some(taken.get(topic.as_str()).copied().unwrap_or_default().max(span.after));
            }
        }
        client.topics = views;
        self.totals.kept += kept;
    }

    fn check(&mut self) -> Verdict {
        self.read()?;
        let limits = &self.limits;
        for place in &self.scene.places {
            let counters = place.shard.counters();
            if let Some(says) = imbalance(&counters) {
                return Err(says);
            }
            let mut connections = 0;
            for report in place.shard.connections(self.scene.now) {
                connections += 1;
                let bytes_max = limits.queue_bytes + FRAME_BYTES + CONTROL_FRAMES * (ENTRY_BYTES + 100);
                let is_bounded = report.queued_frames <= limits.queue_frames + CONTROL_FRAMES
                    && report.queued_bytes <= bytes_max;
                ensure(is_bounded, || format!("over its bounds: {report:?}"))?;
            }
            let bytes_max = limits.queues_bytes_per_shard + connections * FRAME_BYTES;
            ensure(counters.queued_bytes <= bytes_max as u64, || format!("over its bytes: {counters:?}"))?;
        }
        Ok(())
    }

    /// Every client reads what its socket has taken; those who are gone have read for the last time.
    fn read(&mut self) -> Verdict {
        for client in &mut self.clients {
            let place = &mut self.scene.places[usize::from(client.id.shard)];
            if let Some(taken) = place.sockets.taken.get_mut(&client.id.slot) {
                client.unread.append(taken);
            }
            while let Some(read) = reading::next(&mut client.unread) {
                let says = |says: String| format!("{}: {says}", client.id);
                ensure(!client.closed, || says(format!("after its close frame came {read:?}")))?;
                match read {
                    Read::Pong => {}
                    Read::Close(code, reason) => {
                        client.closed = true;
                        named_its_last(&client.topics, code, &reason).map_err(says)?;
                    }
                    Read::Event(event) => {
                        told(&mut client.topics, &mut client.acked, &event).map_err(says)?
                    }
                    Read::Message { topic, number, pad } => {
                        let sizes = &self.published[topic.as_str()];
                        let is_whole = sizes.get(number as usize - 1) == Some(&pad.len())
                            && pad.bytes().all(|byte| byte == b'x');
                        ensure(is_whole, || says(format!("{topic} {number} with other bytes")))?;
                        let view = client.topics.entry(topic.clone()).or_default();
                        came(view, &client.acked, &topic, number).map_err(says)?;
                    }
                }
            }
        }
        let places = &self.scene.places;
        self.clients.retain(|client| places[usize::from(client.id.shard)].shard.is_here(client.id));
        Ok(())
    }
}

/// A message came: it must be the next, or of a class that may leave some out.
fn came(view: &mut View, acked: &BTreeSet<String>, topic: &str, number: u64) -> Verdict {
    let Some(span) = view.span_of(number) else {
        return Err(format!("{topic} {number} was not subscribed to: {view:?}"));
    };
    let is_acked = match span.pattern {
        Some(pattern) => acked.contains(pattern),
        None => view.acked.contains(&span.after),
    };
    ensure(is_acked, || format!("{topic} {number} before its ack: {view:?}"))?;
    if class(topic) == Class::State {
        while let Some(next) = view.next().filter(|next| *next < number) {
            view.last = next;
            view.untold += 1;
        }
    }
    ensure(view.next() == Some(number), || {
        format!("{topic} {number} instead of {:?}: {view:?}", view.next())
    })?;
    view.last = number;
    Ok(())
}

/// An event came.
fn told(topics: &mut BTreeMap<String, View>, acked: &mut BTreeSet<String>, event: &Value) -> Verdict {
    match event["event"].as_str() {
        Some("ack") if event["op"] == "subscribe" => {
            for one in event["ok"].as_array().into_iter().flatten() {
                let topic = one["topic"].as_str().unwrap_or_default().to_owned();
                match one["seq"].as_u64() {
                    Some(seq) => topics.entry(topic).or_default().acked.push(seq),
                    None => _ = acked.insert(topic),
                }
            }
        }
        Some("gap") => {
            let topic = event["topic"].as_str().unwrap_or_default();
            let view = topics.entry(topic.to_owned()).or_default();
            ensure(class(topic) == Class::BestEffort, || format!("a gap of {topic}: {event}"))?;
            let (from, to) = (event["from"].as_u64(), event["to"].as_u64().unwrap_or_default());
            ensure(view.next() == from, || format!("{event} instead of {:?}: {view:?}", view.next()))?;
            while let Some(next) = view.next().filter(|next| *next <= to) {
                view.last = next;
            }
            ensure(view.last == to, || format!("{event} names what was never to come: {view:?}"))?;
        }
        Some("caught_up") => {
            for (topic, count) in event["conflated"].as_object().into_iter().flatten() {
                let view = topics.entry(topic.clone()).or_default();
                view.untold -= count.as_i64().unwrap_or_default();
                ensure(view.untold == 0, || format!("{event} is off by {} of {topic}", view.untold))?;
            }
        }
        Some("slow" | "pong" | "error") => {}
        _ => return Err(format!("not an event: {event}")),
    }
    Ok(())
}

/// A 4001 names the last message that came of one of the topics.
fn named_its_last(topics: &BTreeMap<String, View>, code: CloseCode, reason: &str) -> Verdict {
    let words: BTreeMap<_, _> = reason.split(' ').filter_map(|word| word.split_once('=')).collect();
    let (Some(last), Some(topic)) = (words.get("last"), words.get("topic")) else { return Ok(()) };
    let seq = last.split(':').nth(1).and_then(|seq| seq.parse::<u64>().ok());
    let view = topics.get(*topic).ok_or_else(|| format!("{reason}: never subscribed"))?;
    let next = view.next().ok_or_else(|| format!("{reason}: nothing more was to come"))?;
    let is_exact = code != CloseCode::SLOW_CONSUMER || class(topic) == Class::State || seq == Some(next - 1);
    ensure(is_exact, || format!("closed with {reason:?}, to come was {next}: {view:?}"))
}

fn class(topic: &str) -> Class {
    TOPICS.iter().find(|(name, _)| *name == topic).map_or(Class::Event, |(_, class)| *class)
}

fn wish(text: &str) -> Wish {
    Wish { subject: Subject::try_from(text).expect("a topic or a pattern"), since: None }
}

fn name(text: &str) -> TopicName {
    TopicName::try_from(text).expect("a topic name")
}
