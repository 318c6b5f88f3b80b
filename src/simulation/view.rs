//! One topic as one client sees it: which numbers are to come, which came, and what it was told of the others.

use super::published::Published;
use crate::config::Snapshot;
use crate::ids::Epoch;
use crate::protocol::class::Class;
use crate::protocol::close::CloseCode;
use crate::protocol::operation::Since;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) type Verdict = Result<(), String>;

pub(super) fn ensure(holds: bool, says: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(says()) }
}

/// One topic: its class, how many messages its history keeps, and what a new subscriber is sent first.
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) class: Class,
    pub(super) kept: u64,
    pub(super) snapshot: Snapshot,
}

pub(super) const TOPICS: [Topic; 12] = [
    Topic { name: "trade", class: Class::Event, kept: 1_000, snapshot: Snapshot::Image },
    Topic { name: "chat", class: Class::Event, kept: 0, snapshot: Snapshot::None },
    Topic { name: "quote", class: Class::State, kept: 5, snapshot: Snapshot::Latest },
    Topic { name: "tick", class: Class::State, kept: 0, snapshot: Snapshot::None },
    Topic { name: "pulse", class: Class::BestEffort, kept: 8, snapshot: Snapshot::None },
    Topic { name: "book", class: Class::Delta, kept: 12, snapshot: Snapshot::Image },
    Topic { name: "trade.a", class: Class::Event, kept: 10, snapshot: Snapshot::Image },
    Topic { name: "trade.b", class: Class::Event, kept: 0, snapshot: Snapshot::None },
    Topic { name: "quote.a", class: Class::State, kept: 2, snapshot: Snapshot::Latest },
    Topic { name: "pulse.a", class: Class::BestEffort, kept: 0, snapshot: Snapshot::None },
    Topic { name: "book.a", class: Class::Delta, kept: 12, snapshot: Snapshot::None },
    Topic { name: "$chat", class: Class::Event, kept: 1_000, snapshot: Snapshot::Image },
];
pub(super) const PATTERNS: [&str; 6] = ["*", "t*", "trade*", "trade.*", "quote*", "p*"];

/// What the protocol says of patterns.
pub(super) fn is_match(pattern: &str, topic: &str) -> bool {
    !topic.starts_with('$') && topic.starts_with(pattern.trim_end_matches('*'))
}

/// The messages of one topic that one client is to get: all after `after`, up to `to` where it has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) after: u64,
    pub(super) to: Option<u64>,
    /// The topic's head when it was asked for.
    pub(super) head: u64,
    /// Which of the topic's acks is its own, from 1.
    pub(super) ack: usize,
    /// True until something has come where what comes next may begin a snapshot.
    pub(super) is_fresh: bool,
    /// True when it was left before it was live: what was left of the replay may not come.
    pub(super) may_stop: bool,
}

/// One topic as one client sees it.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The first is the one that is read.
    pub(super) spans: VecDeque<Span>,
    /// The last number that came of it, or that the client was told would not.
    pub(super) last: u64,
    /// The heads that acks are to name, in their order, and how many acks have come.
    pub(super) heads: Vec<u64>,
    pub(super) acked: usize,
    /// The history that it knows what comes to belong to, once it has been told.
    pub(super) epoch: Option<Epoch>,
    /// Numbers left out that it has not been told of.
    pub(super) untold: i64,
    /// Numbers routed to it that have not come, and that it has not been told of.
    pub(super) owed: BTreeSet<u64>,
}

impl View {
    pub(super) fn is_live(&self) -> bool {
        self.spans.back().is_some_and(|span| span.to.is_none())
    }

    pub(super) fn begin(&mut self, span: Span) {
        if self.spans.is_empty() {
            self.last = span.after;
        }
        self.spans.push_back(span);
    }

    /// The next number that is to come.
    pub(super) fn next(&self) -> Option<u64> {
        self.nexts().next().map(|(next, _)| next)
    }

    /// Of each span the next number, while there is one, and whether it may never come.
    fn nexts(&self) -> impl Iterator<Item = (u64, bool)> {
        let lasts = std::iter::once(self.last).chain(self.spans.iter().skip(1).map(|span| span.after));
        let nexts = lasts.zip(&self.spans).filter(|(last, span)| span.to.is_none_or(|to| *last < to));
        nexts.map(|(last, span)| (last + 1, span.may_stop))
    }

    /// True when the number may be the first that has not come.
    fn may_be_next(&self, number: u64) -> bool {
        let mut has_stopped = true;
        let mut nexts =
            self.nexts().take_while(|(_, may_stop)| std::mem::replace(&mut has_stopped, *may_stop));
        nexts.any(|(next, _)| next == number)
    }

    /// Goes on to the span whose ack has come: what was left of the one before has come too, if it was to.
    fn turn(&mut self) {
        while let [front, behind, ..] = self.spans.make_contiguous() {
            let is_over = front.may_stop || front.to.is_some_and(|to| self.last >= to);
            if !is_over || self.acked < behind.ack {
                return;
            }
            self.last = behind.after;
            self.spans.pop_front();
        }
    }

    /// The numbers to come before `end` will not: returns how many they are.
    fn pass_until(&mut self, end: u64) -> i64 {
        let to = self.spans.front().and_then(|span| span.to).unwrap_or(u64::MAX);
        let last = (end - 1).min(to).max(self.last);
        let passed = last - self.last;
        self.last = last;
        self.owed = self.owed.split_off(&(last + 1));
        passed as i64
    }
}

/// A message came: it must be the next, or of a class that may leave some out, or the first of a snapshot.
pub(super) fn came(view: &mut View, topic: &str, number: u64, published: &Published) -> Verdict {
    let epoch = published.place(number).epoch;
    let is_told = *view.epoch.get_or_insert(epoch) == epoch;
    ensure(is_told, || format!("{topic} {number} of {epoch}, which it was not told of: {view:?}"))?;
    let Some(span) = view.spans.front().copied() else {
        return Err(format!("{topic} {number} was not subscribed to: {view:?}"));
    };
    ensure(view.acked >= span.ack, || format!("{topic} {number} before its ack: {view:?}"))?;
    let topic = kind(topic);
    let begins = match topic.snapshot {
        Snapshot::None => false,
        Snapshot::Latest => true,
        Snapshot::Image => published.is_image(number),
    };
    // What was to be the snapshot may be gone by the time it is this topic's turn: then the ack's head counts.
    if span.is_fresh && (begins || number == span.head + 1) {
        view.last = number - 1;
    }
    if topic.class == Class::State {
        view.untold += view.pass_until(number);
    }
    let next = view.next();
    ensure(next == Some(number), || format!("{} {number} instead of {next:?}: {view:?}", topic.name))?;
    view.last = number;
    view.spans.iter_mut().take(1).for_each(|span| span.is_fresh = false);
    Ok(())
}

/// An event came.
pub(super) fn told(
    topics: &mut BTreeMap<String, View>,
    event: &Value,
    published: &BTreeMap<&'static str, Published>,
) -> Verdict {
    let number = |name: &str| event[name].as_u64().unwrap_or_default();
    match event["event"].as_str() {
        Some("ack") if event["op"] == "subscribe" => {
            for one in event["ok"].as_array().into_iter().flatten() {
                let name = one["topic"].as_str().unwrap_or_default();
                if name.ends_with('*') {
                    // It is the ack of every topic that it matches.
                    for topic in TOPICS.iter().filter(|topic| is_match(name, topic.name)) {
                        acked(topics.entry(topic.name.to_owned()).or_default(), &published[topic.name]);
                    }
                    continue;
                }
                let view = topics.entry(name.to_owned()).or_default();
                let head = acked(view, &published[name]).filter(|head| *head > 0);
                let place = head.map(|head| published[name].place(head));
                let is_said = one["seq"].as_u64() == Some(place.map_or(0, |place| place.seq))
                    && place.is_none_or(|place| one["epoch"] == place.epoch.to_string());
                ensure(is_said, || format!("{event} instead of {place:?}: {view:?}"))?;
            }
        }
        Some("gap") => {
            let name = event["topic"].as_str().unwrap_or_default();
            let (view, published) = (topics.entry(name.to_owned()).or_default(), &published[name]);
            let (from, to) = (number("from"), number("to"));
            let epoch = view.epoch.unwrap_or(published.place(0).epoch);
            let up_to = |seq| published.up_to(Since { epoch, seq });
            let (Some(before), Some(last)) = (up_to(from - 1), up_to(to)) else {
                return Err(format!("{event} of no history of it: {view:?}"));
            };
            let may_be = match (event["reason"].as_str(), kind(name).class) {
                (Some("slow"), class) => matches!(class, Class::BestEffort | Class::Delta),
                (Some("publisher"), class) => before == last || class == Class::State,
                (reason, _) => reason == Some("evicted"),
            };
            ensure(may_be, || format!("a gap of {name}: {event}"))?;
            if let Some(head) = view.spans.front().filter(|span| span.is_fresh).map(|span| span.head)
                && before == head
            {
                view.last = head;
            }
            if kind(name).class == Class::State && event["reason"] == "publisher" {
                // Messages before it and between the numbers it names were replaced.
                view.untold += view.pass_until(last + 1);
                return Ok(());
            }
            let next = view.next();
            ensure(next == Some(before + 1), || format!("{event} instead of {next:?}: {view:?}"))?;
            if event["reason"] != "publisher" {
                view.pass_until(last + 1);
                ensure(view.last == last, || format!("{event} names what was never to come: {view:?}"))?;
                // What follows may begin with a snapshot, from before the end of the gap.
                let begins = event["reason"] == "evicted" || kind(name).class == Class::Delta;
                view.spans.iter_mut().take(1).for_each(|span| span.is_fresh = begins);
            }
        }
        Some("epoch") => {
            let name = event["topic"].as_str().unwrap_or_default();
            let (view, published) = (topics.entry(name.to_owned()).or_default(), &published[name]);
            let place = Since::new(event["epoch"].as_str().unwrap_or_default(), number("seq"));
            let last = published.up_to(place).ok_or_else(|| format!("{event} of no history of it"))?;
            let span = view.spans.front().ok_or_else(|| format!("{event} was not subscribed to"))?;
            // Who is live gets all of the old history; who was to be sent some of it, or a snapshot, may not.
            let may_lose = span.after < span.head || kind(name).class == Class::Delta;
            let mut lost = view.pass_until(last + 1);
            let is_in_place =
                published.of_epoch(place.epoch).is_some_and(|of_epoch| *of_epoch.start() == last + 1);
            if kind(name).class == Class::State && is_in_place {
                // Who is live on it has none of the old history waiting any more.
                view.untold += std::mem::take(&mut lost);
            }
            ensure(lost == 0 || may_lose, || format!("{event}, and {lost} are lost: {view:?}"))?;
            // Then a snapshot may follow, from before that place.
            view.spans.iter_mut().take(1).for_each(|span| span.is_fresh |= lost > 0);
            view.epoch = Some(place.epoch);
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

/// The next of a topic's acks came: returns which head it is to name. What comes belongs to that history.
fn acked(view: &mut View, published: &Published) -> Option<u64> {
    let head = view.heads.get(view.acked).copied();
    view.acked += 1;
    view.turn();
    if let Some(head) = head.filter(|head| *head > 0) {
        view.epoch = Some(published.place(head).epoch);
    }
    head
}

/// A 4001 names the last message that came of one of the topics.
pub(super) fn named_its_last(
    topics: &BTreeMap<String, View>,
    published: &BTreeMap<&'static str, Published>,
    code: CloseCode,
    reason: &str,
) -> Verdict {
    let words: BTreeMap<_, _> = reason.split(' ').filter_map(|word| word.split_once('=')).collect();
    let (Some(last), Some(topic)) = (words.get("last"), words.get("topic")) else { return Ok(()) };
    let view = topics.get(*topic).ok_or_else(|| format!("{reason}: never subscribed"))?;
    let (kind, published) = (kind(topic), &published[topic]);
    let last = Since::parse(last).and_then(|last| published.up_to(last));
    // One whose snapshot still waits resumes before it, or needs nothing up to the head that its ack named.
    let before_snapshot = |last| kind.snapshot == Snapshot::Image && published.is_image(last + 1);
    let at_head = |last| view.spans.iter().any(|span| span.is_fresh && span.head == last);
    let is_exact = code != CloseCode::SLOW_CONSUMER
        || kind.class == Class::State
        || last.is_some_and(|last| view.may_be_next(last + 1) || before_snapshot(last) || at_head(last))
        || view.next().is_none() && last == Some(view.last);
    ensure(is_exact, || format!("closed with {reason:?}, to come was {:?}: {view:?}", view.next()))
}

pub(super) fn kind(topic: &str) -> &'static Topic {
    TOPICS.iter().find(|one| one.name == topic).unwrap_or_else(|| panic!("no topic is named {topic}"))
}
