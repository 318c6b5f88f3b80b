//! One topic as one client sees it: which numbers are to come, which came, and what it was told of the others.

use crate::config::Snapshot;
use crate::protocol::class::Class;
use crate::protocol::close::CloseCode;
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
    Topic { name: "book.a", class: Class::Delta, kept: 12, snapshot: Snapshot::Image },
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
        let lasts = std::iter::once(self.last).chain(self.spans.iter().skip(1).map(|span| span.after));
        let nexts = lasts.zip(&self.spans).map(|(last, span)| (last + 1, span.to));
        nexts.into_iter().find(|(next, to)| to.is_none_or(|to| *next <= to)).map(|(next, _)| next)
    }

    /// Goes on to the span that `number` belongs to, or a gap that begins with it.
    fn turn_to(&mut self, number: u64) {
        while let [front, behind, ..] = self.spans.make_contiguous() {
            let is_read = front.to.is_some_and(|to| self.last >= to);
            // What was left of a replay comes before the ack of the next subscription, if at all.
            let is_left = front.may_stop && (number != self.last + 1 || self.acked >= behind.ack);
            if !is_read && !is_left {
                return;
            }
            self.last = behind.after;
            self.spans.pop_front();
        }
    }

    /// The numbers to come before `end` will not: returns how many they are.
    fn pass_until(&mut self, end: u64) -> i64 {
        let mut passed = 0;
        while let Some(next) = self.next().filter(|next| *next < end) {
            self.turn_to(next);
            self.last = next;
            passed += 1;
        }
        passed
    }
}

/// A message came: it must be the next, or of a class that may leave some out, or the first of a snapshot.
pub(super) fn came(view: &mut View, topic: &str, number: u64, images: &[u64]) -> Verdict {
    view.turn_to(number);
    let Some(span) = view.spans.front().copied() else {
        return Err(format!("{topic} {number} was not subscribed to: {view:?}"));
    };
    ensure(view.acked >= span.ack, || format!("{topic} {number} before its ack: {view:?}"))?;
    let topic = kind(topic);
    let begins = match topic.snapshot {
        Snapshot::None => false,
        Snapshot::Latest => true,
        Snapshot::Image => images.contains(&number),
    };
    // What was to be the snapshot may be gone by the time it is this topic's turn: then the ack's head counts.
    if span.is_fresh && (begins || number == span.head + 1) {
        view.last = number - 1;
    }
    if topic.class == Class::State {
        view.untold += view.pass_until(number);
        view.owed = view.owed.split_off(&number);
    }
    let next = view.next();
    ensure(next == Some(number), || format!("{} {number} instead of {next:?}: {view:?}", topic.name))?;
    view.last = number;
    view.spans.iter_mut().take(1).for_each(|span| span.is_fresh = false);
    Ok(())
}

/// An event came.
pub(super) fn told(topics: &mut BTreeMap<String, View>, event: &Value) -> Verdict {
    match event["event"].as_str() {
        Some("ack") if event["op"] == "subscribe" => {
            for one in event["ok"].as_array().into_iter().flatten() {
                let name = one["topic"].as_str().unwrap_or_default();
                if name.ends_with('*') {
                    // It is the ack of every topic that it matches.
                    for topic in TOPICS.iter().filter(|topic| is_match(name, topic.name)) {
                        topics.entry(topic.name.to_owned()).or_default().acked += 1;
                    }
                    continue;
                }
                let view = topics.entry(name.to_owned()).or_default();
                let head = view.heads.get(view.acked).copied();
                ensure(one["seq"].as_u64() == head, || format!("{event} instead of {head:?}: {view:?}"))?;
                view.acked += 1;
            }
        }
        Some("gap") => {
            let topic = event["topic"].as_str().unwrap_or_default();
            let view = topics.entry(topic.to_owned()).or_default();
            let (from, to) =
                (event["from"].as_u64().unwrap_or_default(), event["to"].as_u64().unwrap_or_default());
            view.turn_to(from);
            let may_be = match (event["reason"].as_str(), kind(topic).class) {
                (Some("slow"), class) => matches!(class, Class::BestEffort | Class::Delta),
                (reason, _) => reason == Some("evicted"),
            };
            ensure(may_be, || format!("a gap of {topic}: {event}"))?;
            if let Some(head) = view.spans.front().filter(|span| span.is_fresh).map(|span| span.head)
                && from == head + 1
            {
                view.last = head;
            }
            let next = view.next();
            ensure(next == Some(from), || format!("{event} instead of {next:?}: {view:?}"))?;
            view.pass_until(to + 1);
            view.owed.retain(|number| !(from..=to).contains(number));
            ensure(view.last == to, || format!("{event} names what was never to come: {view:?}"))?;
            // What follows may begin with a snapshot, from before the end of the gap.
            let begins = event["reason"] == "evicted" || kind(topic).class == Class::Delta;
            view.spans.iter_mut().take(1).for_each(|span| span.is_fresh = begins);
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
pub(super) fn named_its_last(
    topics: &BTreeMap<String, View>,
    images: &BTreeMap<&'static str, Vec<u64>>,
    code: CloseCode,
    reason: &str,
) -> Verdict {
    let words: BTreeMap<_, _> = reason.split(' ').filter_map(|word| word.split_once('=')).collect();
    let (Some(last), Some(topic)) = (words.get("last"), words.get("topic")) else { return Ok(()) };
    let seq = last.split(':').nth(1).and_then(|seq| seq.parse::<u64>().ok());
    let view = topics.get(*topic).ok_or_else(|| format!("{reason}: never subscribed"))?;
    let next = view.next().ok_or_else(|| format!("{reason}: nothing more was to come"))?;
    let kind = kind(topic);
    // One whose snapshot still waits resumes before it.
    let before_snapshot = |seq| kind.snapshot == Snapshot::Image && images[kind.name].contains(&(seq + 1));
    let is_exact = code != CloseCode::SLOW_CONSUMER
        || kind.class == Class::State
        || seq.is_some_and(|seq| seq + 1 == next || before_snapshot(seq));
    ensure(is_exact, || format!("closed with {reason:?}, to come was {next}: {view:?}"))
}

pub(super) fn kind(topic: &str) -> &'static Topic {
    TOPICS.iter().find(|one| one.name == topic).unwrap_or_else(|| panic!("no topic is named {topic}"))
}
