//! Patterns of this shard's connections, and the topics that connections have because of them.
//!
//! Contract:
//! 1. A connection is among a topic's subscribers once, however many of its subscriptions mean it: by name, or by
//!    patterns alone (a *match*).
//! 2. A match is made when its pattern is answered or when the topic is born, both at their place in the FIFO; it ends
//!    with the last pattern that makes it, with the topic, or with the connection.
//! 3. Matches are bounded per connection: a pattern over the bound is refused, a birth over it closes the connection.
//!
//! What the sequencer must be told of patterns that ended is left in `unwatched`.

use super::Shard;
use super::ledger::DEPARTED;
use super::writer::{Sockets, Writer};
use crate::clock::Moment;
use crate::ids::{Slot, TopicId};
use crate::protocol::close::Reason;
use crate::protocol::outcome::{Grant, Refusal};
use crate::protocol::pattern::Pattern;
use crate::protocol::prefixes::Prefixes;
use crate::protocol::reply;
use crate::protocol::topic::TopicName;
use crate::sequencer::request::{Born, Watched};
use crate::shard::queue::entry::Portion;
use std::collections::{BTreeMap, BTreeSet};

/// The patterns of one connection.
#[derive(Debug, Default)]
pub(crate) struct Wild {
    pub(crate) patterns: BTreeSet<Pattern>,
    /// The topics it has because of them alone.
    pub(super) matched: BTreeSet<TopicId>,
}

/// What all patterns of a shard share.
#[derive(Debug, Default)]
pub(crate) struct Wildcards {
    /// Who has each.
    slots: Prefixes<BTreeSet<Slot>>,
    /// Patterns that ended here and that the sequencer does not know of yet, and how many times.
    pub(crate) unwatched: BTreeMap<Pattern, u32>,
}

impl Wildcards {
    /// Who has a pattern that matches the name, each once.
    fn slots_of(&self, name: &str) -> BTreeSet<Slot> {
        self.slots.matching(name).flatten().copied().collect()
    }

    fn unwatch_later(&mut self, pattern: &Pattern) {
        *self.unwatched.entry(pattern.clone()).or_default() += 1;
    }
}

impl Writer {
    /// Subscriptions, by name and by pattern: what `limits.topics_per_connection` bounds.
    pub(crate) fn asked(&self) -> usize {
        self.subscriptions.len() + self.patterns().map_or(0, BTreeSet::len)
    }

    pub(crate) fn patterns(&self) -> Option<&BTreeSet<Pattern>> {
        self.wild.as_ref().map(|wild| &wild.patterns)
    }

    /// The topics it has.
    pub(crate) fn topics(&self) -> impl Iterator<Item = TopicId> {
        let matched = self.wild.iter().flat_map(|wild| &wild.matched);
        self.subscriptions.iter().chain(matched).copied()
    }

    /// True exactly when it has the topic, whatever it is because of.
    pub(crate) fn has(&self, topic: TopicId) -> bool {
        self.subscriptions.binary_search(&topic).is_ok() || self.is_matched(topic)
    }

    fn is_matched(&self, topic: TopicId) -> bool {
        self.wild.as_ref().is_some_and(|wild| wild.matched.contains(&topic))
    }
}

impl Wild {
    fn matches(&self, name: &TopicName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name.as_str()))
    }
}

impl Shard {
    /// A topic that the connection has because of a pattern is asked for by name too; true when it was one.
    pub(super) fn name_match(&mut self, slot: Slot, topic: TopicId) -> bool {
        let wild = self.writers[slot as usize].wild.as_mut();
        wild.is_some_and(|wild| wild.matched.remove(&topic))
    }

    /// A topic that was asked for by name is left; true when the connection still has it because of a pattern.
    pub(super) fn is_kept_by_pattern(&mut self, slot: Slot, topic: TopicId) -> bool {
        let Some(name) = self.topics.get(topic).map(|topic| &topic.name) else { return false };
        let wild = self.writers[slot as usize].wild.as_mut().filter(|wild| wild.matches(name));
        wild.is_some_and(|wild| wild.matched.insert(topic))
    }

    /// The topics of the pattern that the connection does not have yet.
    fn new_matches(&self, slot: Slot, matched: &[(TopicName, Grant)]) -> BTreeSet<TopicId> {
        let writer = &self.writers[slot as usize];
        matched.iter().map(|(_, grant)| grant.id).filter(|id| !writer.has(*id)).collect()
    }

    fn may_match(&self, slot: Slot, more: usize) -> bool {
        let has = self.writers[slot as usize].wild.as_ref().map_or(0, |wild| wild.matched.len());
        has + more <= self.limits.matches_per_connection
    }

    /// Why an operation's patterns cannot all be granted beside so many topics more.
    pub(super) fn refuse_patterns(&self, slot: Slot, patterns: &[Watched], topics: usize) -> Option<Refusal> {
        let writer = &self.writers[slot as usize];
        let is_new = |one: &&Watched| !writer.patterns().is_some_and(|has| has.contains(&one.found.pattern));
        let new: BTreeSet<_> = patterns.iter().filter(is_new).map(|one| &one.found.pattern).collect();
        let refused = patterns.iter().find_map(|one| one.found.matched.as_ref().err().copied());
        let matched = patterns.iter().filter_map(|one| one.found.matched.as_ref().ok());
        let more: BTreeSet<_> = matched.flat_map(|matched| self.new_matches(slot, matched)).collect();
        let is_too_many = writer.asked() + topics + new.len() > self.limits.topics_per_connection;
        refused
            .or(is_too_many.then_some(Refusal::TopicsPerConnection))
            .or((!self.may_match(slot, more.len())).then_some(Refusal::Matches))
    }

    /// The pattern is not granted, though the sequencer would have.
    pub(super) fn refuse_pattern(&mut self, one: &mut Watched, refusal: Refusal) {
        if one.found.matched.is_ok() {
            one.found.matched = Err(refusal);
            self.wildcards.unwatch_later(&one.found.pattern);
        }
    }

    /// The connection has the pattern from here on: returns what is to be sent once that is answered.
    pub(super) fn watched(&mut self, slot: Slot, one: &mut Watched, must_wait: bool) -> Vec<Portion> {
        let mut ready = Vec::new();
        let Ok(matched) = &one.found.matched else { return ready };
        let writer = &self.writers[slot as usize];
        if writer.patterns().is_some_and(|patterns| patterns.contains(&one.found.pattern)) {
            self.wildcards.unwatch_later(&one.found.pattern);
            return ready;
        }
        if writer.asked() >= self.limits.topics_per_connection {
            self.refuse_pattern(one, Refusal::TopicsPerConnection);
            return ready;
        }
        let new = self.new_matches(slot, matched);
        if !self.may_match(slot, new.len()) {
            self.refuse_pattern(one, Refusal::Matches);
            return ready;
        }
        let wild = self.writers[slot as usize].wild.get_or_insert_default();
        wild.patterns.insert(one.found.pattern.clone());
        wild.matched.extend(&new);
        self.wildcards.slots.get_or_insert_with(&one.found.pattern, BTreeSet::new).insert(slot);
        self.counters.subscriptions += 1;
        let encoding = self.hot[slot as usize].encoding;
        let mut pieces = std::mem::take(&mut one.pieces).into_iter().peekable();
        for (at, (name, grant)) in matched.iter().enumerate() {
            let piece = pieces.next_if(|(of, _)| *of == at);
            match piece.filter(|_| new.contains(&grant.id)) {
                Some((_, piece)) => ready.extend(self.begin_replay(slot, name, grant, &piece, must_wait)),
                None if new.contains(&grant.id) => self.topics.join(name, grant, slot, encoding),
                None => {}
            }
        }
        ready
    }

    /// The connection has a pattern no more; returns the topics that it has lost with it, in ascending order.
    pub(super) fn unwatch(&mut self, slot: Slot, pattern: &Pattern) -> Vec<TopicId> {
        let Some(wild) = &mut self.writers[slot as usize].wild else { return Vec::new() };
        if !wild.patterns.remove(pattern) {
            return Vec::new();
        }
        let is_left = |topic: &&TopicId| {
            let name = self.topics.get(**topic).map(|topic| &topic.name);
            name.is_none_or(|name| pattern.matches(name.as_str()) && !wild.matches(name))
        };
        let left: Vec<_> = wild.matched.iter().filter(is_left).copied().collect();
        left.iter().for_each(|topic| _ = wild.matched.remove(topic));
        if wild.patterns.is_empty() {
            self.writers[slot as usize].wild = None;
        }
        self.strike_out(slot, pattern);
        left
    }

    /// All patterns of a connection end; returns the topics that it had because of them.
    pub(super) fn unwatch_all(&mut self, slot: Slot) -> BTreeSet<TopicId> {
        let Some(wild) = self.writers[slot as usize].wild.take() else { return BTreeSet::new() };
        wild.patterns.iter().for_each(|pattern| self.strike_out(slot, pattern));
        wild.matched
    }

    fn strike_out(&mut self, slot: Slot, pattern: &Pattern) {
        if let Some(slots) = self.wildcards.slots.get_mut(pattern) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.wildcards.slots.remove(pattern);
            }
        }
        self.counters.subscriptions -= 1;
        self.wildcards.unwatch_later(pattern);
    }

    /// A topic is born: whoever has a pattern for it has it from its first message on.
    pub(super) fn born(&mut self, born: &Born, now: Moment, sockets: &mut impl Sockets) {
        for slot in self.wildcards.slots_of(born.topic.as_str()) {
            if !self.may_match(slot, 1) {
                let text = "the patterns match more topics than one connection's may; name fewer";
                self.close(slot, Reason::Limit, Reason::Limit.code(), text, now, sockets);
                continue;
            }
            if let Some(wild) = &mut self.writers[slot as usize].wild {
                wild.matched.insert(born.grant.id);
                self.topics.join(&born.topic, &born.grant, slot, self.hot[slot as usize].encoding);
                if self.wire(slot).has_aliases() {
                    let Grant { id, epoch, seq, .. } = born.grant;
                    self.notify(slot, &reply::topic(&born.topic, id, epoch, seq), now, sockets);
                }
            }
        }
    }

    /// A topic is no more. Those who have it here have it by patterns: what they are owed of it is theirs still.
    pub(super) fn retired(&mut self, topic: TopicId, now: Moment, sockets: &mut impl Sockets) {
        let name = self.topics.get(topic).map(|topic| topic.name.clone());
        for slot in name.map(|name| self.wildcards.slots_of(name.as_str())).unwrap_or_default() {
            self.pay(slot, now, sockets);
            let wild = self.writers.get_mut(slot as usize).and_then(|writer| writer.wild.as_mut());
            if wild.is_some_and(|wild| wild.matched.remove(&topic)) {
                self.depart_told(slot, &[topic], now, sockets);
                self.ask(slot);
            }
        }
        if self.ledgers.of(topic).pending() > 0 {
            self.log.retag(topic, DEPARTED);
            let queues = self.writers.iter_mut().filter_map(|(_, writer)| writer.outbound.as_mut());
            queues.for_each(|queue| queue.retag(topic, DEPARTED));
        }
        self.ledgers.close(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ConnectionId;
    use crate::limits::Limits;
    use crate::protocol::operation::Wish;
    use crate::protocol::options::PublishOptions;
    use crate::protocol::pattern::Subject;
    use crate::protocol::reply::Tag;
    use crate::sequencer::request::Request;
    use crate::simulation::scene::{Scene, imbalance};
    use std::time::Duration;

    /// Lets the first shard take all there is and pay it.
    fn settle(scene: &mut Scene) {
        while let Some(delivery) = scene.next_delivery(0) {
            scene.deliver(0, delivery);
        }
        scene.sweep(0, usize::MAX);
        scene.tell(0);
        assert_eq!(imbalance(&scene.places[0].shard.counters()), None);
    }

    fn publish(scene: &mut Scene, topic: &str, text: &str, image: bool) {
        let topic = TopicName::try_from(topic).unwrap();
        let options = PublishOptions { image, ..PublishOptions::default() }.boxed();
        scene.request(Request::Publish { topic, payload: text.into(), options, receipt: None });
        settle(scene);
    }

    fn subjects(texts: &[&str]) -> Vec<Subject> {
        texts.iter().map(|text| Subject::try_from(*text).unwrap()).collect()
    }

    fn subscribe(scene: &mut Scene, connection: ConnectionId, texts: &[&str]) {
        let wishes = subjects(texts).into_iter().map(|subject| Wish { subject, since: None }).collect();
        scene.request(Request::Subscribe { connection, tag: Tag::Silent, wishes });
        settle(scene);
    }

    /// What the socket has taken since the last look, without the frames' headers.
    fn read(scene: &mut Scene, id: ConnectionId) -> Vec<String> {
        let bytes = std::mem::take(scene.places[0].sockets.taken.get_mut(&id.slot).unwrap());
        let (mut rest, mut texts) = (&bytes[..], Vec::new());
        while let [_, len, more @ ..] = rest {
            let (len, more) = match len {
                126 => (u16::from_be_bytes([more[0], more[1]]), &more[2..]),
                len => (u16::from(*len), more),
            };
            let (text, after) = more.split_at(usize::from(len));
            texts.push(String::from_utf8_lossy(text).into_owned());
            rest = after;
        }
        texts
    }

    /// Who has a topic by a pattern alone does not keep it alive; it is told apart from the one that has its id next,
    /// and comes back by its name.
    #[test]
    fn a_matched_topic_retires_and_its_id_is_anothers() {
        let limits = Limits { topic_idle_s: 1, history_messages: 0, ..Limits::default() };
        let mut scene = Scene::new(2, limits, Vec::new());
        let (by_pattern, other) = (scene.connect(0, usize::MAX, false), scene.connect(0, usize::MAX, false));
        subscribe(&mut scene, by_pattern, &["a*"]);
        publish(&mut scene, "a", "1", false);
        assert!(scene.places[0].shard.topics.get(0).is_some());
        scene.wait(Duration::from_secs(2));
        settle(&mut scene);
        assert!(scene.places[0].shard.topics.get(0).is_none());
        subscribe(&mut scene, other, &["b"]);
        publish(&mut scene, "b", "2", false);
        assert_eq!(scene.places[0].shard.topics.get(0).map(|topic| topic.name.as_str()), Some("b"));
        publish(&mut scene, "a", "3", false);
        assert_eq!(
            (read(&mut scene, by_pattern), read(&mut scene, other)),
            (vec!["1".to_owned(), "3".to_owned()], vec!["2".to_owned()])
        );
    }

    /// A topic that was only asked for goes with who asked; a pattern then has it from its next birth on.
    #[test]
    fn a_matched_topic_that_never_began_ends_with_the_last_that_named_it() {
        let mut scene = Scene::new(2, Limits::default(), Vec::new());
        let (by_pattern, by_name) =
            (scene.connect(0, usize::MAX, false), scene.connect(0, usize::MAX, false));
        subscribe(&mut scene, by_pattern, &["*"]);
        subscribe(&mut scene, by_name, &["a"]);
        scene.places[0].shard.end(by_name.slot, Reason::Client, false);
        settle(&mut scene);
        settle(&mut scene);
        assert!(scene.places[0].shard.topics.get(0).is_none());
        publish(&mut scene, "a", "1", false);
        assert_eq!(read(&mut scene, by_pattern), ["1"]);
        scene.places[0].shard.end(by_pattern.slot, Reason::Client, false);
        settle(&mut scene);
        let counters = scene.places[0].shard.counters();
        publish(&mut scene, "a", "2", false);
        publish(&mut scene, "b", "2", false);
        assert_eq!((counters.subscriptions, scene.places[0].shard.counters().account), (0, counters.account));
    }

    /// The images of 600 topics come in pieces, one after the other; what is published meanwhile comes once, behind
    /// the image of its own topic.
    #[test]
    fn snapshots_of_many_matches_come_in_pieces() {
        let mut scene = Scene::new(2, Limits::default(), Vec::new());
        let topics: Vec<_> = (0..600).map(|number| format!("t.{number}")).collect();
        topics.iter().for_each(|topic| publish(&mut scene, topic, &format!("{topic} image"), true));
        let id = scene.connect(0, usize::MAX, false);
        subscribe(&mut scene, id, &["t.*", "t.7*", "t.5"]);
        topics.iter().for_each(|topic| publish(&mut scene, topic, &format!("{topic} live"), false));
        while !scene.is_quiet() {
            settle(&mut scene);
        }
        publish(&mut scene, "t.599", "t.599 last", false);
        let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in read(&mut scene, id) {
            let (topic, what) = text.split_once(' ').unwrap();
            came.entry(topic.to_owned()).or_default().push(what.to_owned());
        }
        assert_eq!(came.remove("t.599").unwrap(), ["image", "live", "last"]);
        assert_eq!(came.len(), 599);
        assert!(came.values().all(|what| *what == ["image", "live"]), "{came:?}");
    }

    #[test]
    fn matches_are_bounded_when_a_pattern_comes_and_when_a_topic_is_born() {
        let mut scene = Scene::new(2, Limits { matches_per_connection: 2, ..Limits::default() }, Vec::new());
        publish(&mut scene, "a.1", "1", false);
        publish(&mut scene, "b.1", "1", false);
        let id = scene.connect(0, usize::MAX, false);
        subscribe(&mut scene, id, &["a*", "b*", "$client.9"]);
        publish(&mut scene, "$client.9", "2", false);
        let other = scene.connect(0, usize::MAX, false);
        subscribe(&mut scene, other, &["a*"]);
        publish(&mut scene, "a.2", "3", false);
        assert!(read(&mut scene, id)[1].ends_with("name fewer"));
        assert_eq!(read(&mut scene, other), ["3"]);
        let third = scene.connect(0, usize::MAX, false);
        subscribe(&mut scene, third, &["*"]);
        assert!(read(&mut scene, third)[0].contains("limits.matches_per_connection"));
        assert!(scene.places[0].shard.is_here(third));
        publish(&mut scene, "a.1", "4", false);
        assert_eq!((read(&mut scene, third).len(), read(&mut scene, other)), (0, vec!["4".to_owned()]));
    }
}
