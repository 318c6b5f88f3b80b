//! The sequencer's table of topics: names to ids, and per topic its epoch, its head, its history and who wants it.
//!
//! Invariants:
//! 1. A name has one id as long as it lives; an id is reused only after its topic has retired.
//! 2. A topic retires only when no shard wants it by name, it has been idle and its history has aged out; shards
//!    that want it by a pattern, or may have been sent a message of it, are told. An epoch that the server gave it never
//!    comes back.
//! 3. All histories together are below their bound after every message.

use super::history::History;
use super::rules::{Charter, Rules};
use super::turns::{Loss, Turns};
use super::wildcards::Wildcards;
use crate::clock::Moment;
use crate::ids::{Epoch, ShardId, TopicId};
use crate::limits::Limits;
use crate::message::Message;
use crate::protocol::class::Class;
use crate::protocol::topic::TopicName;
use slab::Slab;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) epoch: Epoch,
    /// The number of the newest message; 0 before the first.
    pub(crate) seq: u64,
    pub(crate) charter: Charter,
    pub(crate) history: History,
    /// True exactly when something was published to it: from then on its class stays.
    pub(crate) has_begun: bool,
    /// True exactly when a publisher gave it its epoch: the next must be a later one.
    pub(crate) is_epoch_assigned: bool,
    /// Its number when the busiest topics were last asked for.
    seq_seen: u64,
    /// Who wants it, by shard.
    pub(super) wants: Box<[Want]>,
    /// When it was last published to, subscribed or left.
    touched: Moment,
}

/// Why one shard wants a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Want {
    /// Subscriptions by name, granted and not yet left.
    by_name: u32,
    /// Patterns of its connections that match the topic.
    patterns: u32,
    /// True exactly when there was ever either: the shard may keep an account of the topic.
    was_wanted: bool,
}

impl Want {
    pub(super) fn watch(&mut self) {
        self.patterns += 1;
        self.was_wanted = true;
    }

    pub(super) fn unwatch(&mut self) {
        self.patterns -= 1;
    }
}

impl Topic {
    /// The shards that want it.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards_where(|want| want.by_name > 0 || want.patterns > 0)
    }

    /// The shards that have a pattern which matches it.
    pub(crate) fn watching(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards_where(|want| want.patterns > 0)
    }

    fn shards_where(&self, holds: impl Fn(&Want) -> bool) -> impl Iterator<Item = ShardId> {
        let wants = self.wants.iter().enumerate();
        wants.filter(move |(_, want)| holds(want)).map(|(shard, _)| shard as ShardId)
    }

    /// Subscriptions by name, on all shards.
    pub(crate) fn subscribers(&self) -> u64 {
        self.wants.iter().map(|want| u64::from(want.by_name)).sum()
    }

    /// True exactly when nobody needs it any more.
    fn is_idle(&self, now: Moment, idle: Duration) -> bool {
        let resting = now.since(self.touched);
        let has_aged_out =
            self.history.len() == 0 || self.charter.bounds.age.is_some_and(|age| resting >= age);
        resting >= idle && has_aged_out && self.subscribers() == 0
    }
}

/// A topic that is no more, and the shards that know of it: they are to be told before its id has another owner.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) id: TopicId,
    pub(crate) tell: Vec<ShardId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Topics {
    names: HashMap<TopicName, TopicId>,
    pub(super) table: Slab<Topic>,
    pub(super) wildcards: Wildcards,
    pub(super) shards: usize,
    rules: Rules,
    /// What all histories hold, and whose turn it is to lose some of it.
    kept_messages: usize,
    kept_bytes: usize,
    turns: Turns,
    topics_max: usize,
    kept_bytes_max: usize,
    next_epoch: u64,
    /// Where the next idle scan begins.
    scan: usize,
}

impl Topics {
    /// An empty table. Epochs are counted from `first_epoch`: a later start must begin higher.
    pub(crate) fn new(shards: usize, limits: &Limits, first_epoch: u64) -> Self {
        Self {
            names: HashMap::new(),
            table: Slab::new(),
            wildcards: Wildcards::default(),
            shards,
            rules: Rules::new(Vec::new(), limits),
            kept_messages: 0,
            kept_bytes: 0,
            turns: Turns::default(),
            topics_max: limits.topics,
            kept_bytes_max: limits.histories_bytes,
            next_epoch: first_epoch,
            scan: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn id(&self, name: &str) -> Option<TopicId> {
        self.names.get(name).copied()
    }

    /// True exactly when some shard wants the topic of that name.
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.id(name).and_then(|id| self.get(id)).is_some_and(|topic| topic.shards().next().is_some())
    }

    /// The topics with messages since this was last asked, each with how many.
    pub(crate) fn take_busy(&mut self) -> Vec<(u64, TopicId)> {
        let of = |(id, topic): (usize, &mut Topic)| {
            let seen = std::mem::replace(&mut topic.seq_seen, topic.seq);
            // A publisher's new epoch may begin lower.
            (topic.seq > seen).then_some((topic.seq - seen, id as TopicId))
        };
        self.table.iter_mut().filter_map(of).collect()
    }

    /// Messages and bytes in all histories.
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.kept_messages, self.kept_bytes)
    }

    pub(crate) fn get(&self, id: TopicId) -> Option<&Topic> {
        self.table.get(id as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicId, &Topic)> {
        self.table.iter().map(|(id, topic)| (id as TopicId, topic))
    }

    /// The topic of that name, and whether it is born only now; `None` when the table is full.
    pub(crate) fn touch(&mut self, name: &TopicName, now: Moment) -> Option<(TopicId, bool)> {
        let Some(id) = self.names.get(name.as_str()).copied() else {
            return Some((self.give_birth(name, now)?, true));
        };
        self.table.get_mut(id as usize)?.touched = now;
        Some((id, false))
    }

    /// The topic of that id, to be changed in anything but its history.
    pub(crate) fn get_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.table.get_mut(id as usize)
    }

    /// Has a topic's history changed, and all that hangs on how much it holds.
    fn change(&mut self, id: TopicId, change: impl FnOnce(&mut Topic)) {
        let Some(topic) = self.table.get_mut(id as usize) else { return };
        let (messages, bytes) = (topic.history.len(), topic.history.bytes());
        change(topic);
        self.kept_messages = self.kept_messages + topic.history.len() - messages;
        self.kept_bytes = self.kept_bytes + topic.history.bytes() - bytes;
    }

    /// Keeps a topic's newest message; whoever's turn it is loses an old one for it.
    pub(crate) fn keep(&mut self, id: TopicId, message: Arc<Message>, now: Moment) {
        self.change(id, |topic| topic.history.push(message, now, &topic.charter.bounds));
        self.turns.enter(id);
        while self.kept_bytes > self.kept_bytes_max {
            let table = &self.table;
            let may_lose =
                |id: TopicId| match table.get(id as usize).map(|topic| (topic.history.len(), topic)) {
                    None | Some((0, _)) => Loss::Nothing,
                    Some((1, topic)) if topic.charter.bounds.keeps_last => Loss::LastValue,
                    Some(_) => Loss::Oldest,
                };
            let Some(loser) = self.turns.next(may_lose) else { return };
            self.change(loser, |topic| topic.history.evict());
        }
    }

    /// A topic's history begins anew: after that number, in another epoch.
    pub(crate) fn begin_anew(&mut self, id: TopicId, epoch: Epoch, floor: u64) {
        self.change(id, |topic| {
            topic.history.clear(floor);
            (topic.epoch, topic.seq, topic.is_epoch_assigned) = (epoch, floor, true);
        });
    }

    /// Lets go what is too old of one topic.
    pub(crate) fn trim(&mut self, id: TopicId, now: Moment) {
        self.change(id, |topic| topic.history.trim(now, &topic.charter.bounds));
    }

    /// Puts other rules in force. A topic keeps its class; returns those whose other terms have changed.
    pub(crate) fn set_rules(&mut self, rules: Rules, now: Moment) -> Vec<TopicId> {
        self.rules = rules;
        let mut changed = Vec::new();
        for at in 0..self.table.capacity() {
            let Some(topic) = self.table.get_mut(at) else { continue };
            let class = topic.has_begun.then_some(topic.charter.terms.class);
            let charter = self.rules.charter(topic.name.as_str(), class);
            if charter.terms != topic.charter.terms {
                changed.push(at as TopicId);
            }
            topic.charter = charter;
            self.change(at as TopicId, |topic| {
                if topic.charter.bounds.keep_anything() {
                    topic.history.trim(now, &topic.charter.bounds);
                } else {
                    topic.history.clear(topic.seq);
                }
            });
        }
        changed
    }

    /// The topic takes the class that its first publisher asks for.
    pub(crate) fn choose_class(&mut self, id: TopicId, class: Class) {
        if let Some(topic) = self.table.get_mut(id as usize) {
            topic.charter = self.rules.charter(topic.name.as_str(), Some(class));
        }
    }

    /// One more subscription by name on that shard.
    pub(crate) fn join(&mut self, id: TopicId, shard: ShardId) {
        if let Some(topic) = self.table.get_mut(id as usize) {
            let want = &mut topic.wants[usize::from(shard)];
            want.by_name += 1;
            want.was_wanted = true;
        }
    }

    /// So many subscriptions by name fewer on that shard; returns the shards to be told if that ends the topic.
    pub(crate) fn leave(&mut self, id: TopicId, shard: ShardId, count: u32, now: Moment) -> Option<Retired> {
        let topic = self.table.get_mut(id as usize)?;
        let want = &mut topic.wants[usize::from(shard)].by_name;
        *want = want.saturating_sub(count);
        topic.touched = now;
        // Nothing was ever published: nobody holds a place in it, and whoever only asks for topics must not fill
        // the table.
        (!topic.has_begun && topic.subscribers() == 0).then(|| self.forget(id))
    }

    /// Retires idle topics among the next `scan` places of the table, and lets go what is too old of the others;
    /// returns those that retired.
    pub(crate) fn retire_idle(&mut self, now: Moment, idle: Duration, scan: usize) -> Vec<Retired> {
        let end = self.table.capacity();
        let mut retired = Vec::new();
        for _ in 0..scan.min(end) {
            self.scan = if self.scan + 1 < end { self.scan + 1 } else { 0 };
            let id = self.scan as TopicId;
            if self.table.get(self.scan).is_some_and(|topic| topic.is_idle(now, idle)) {
                retired.push(self.forget(id));
            } else {
                self.trim(id, now);
            }
        }
        retired
    }

    fn forget(&mut self, id: TopicId) -> Retired {
        self.change(id, |topic| topic.history.clear(0));
        let topic = self.table.remove(id as usize);
        self.names.remove(topic.name.as_str());
        self.wildcards.strike_out(&topic.name);
        // Nothing was routed of one that never began.
        let knows = |want: &Want| want.patterns > 0 || (topic.has_begun && want.was_wanted);
        Retired { id, tell: topic.shards_where(knows).collect() }
    }

    fn give_birth(&mut self, name: &TopicName, now: Moment) -> Option<TopicId> {
        if self.table.len() >= self.topics_max {
            return None;
        }
        let epoch = Epoch(self.next_epoch);
        self.next_epoch += 1;
        let wants = vec![Want::default(); self.shards].into_boxed_slice();
        let name_kept = name.clone();
        let charter = self.rules.charter(name.as_str(), None);
        let topic = Topic {
            name: name_kept,
            epoch,
            seq: 0,
            charter,
            history: History::default(),
            has_begun: false,
            is_epoch_assigned: false,
            seq_seen: 0,
            wants,
            touched: now,
        };
        let id = self.table.insert(topic) as TopicId;
        self.names.insert(name.clone(), id);
        let wants = &mut self.table[id as usize].wants;
        self.wildcards.enter(name, id).for_each(|shard| wants[shard].watch());
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_micros(secs * 1_000_000)
    }

    fn topics(shards: usize, limits: Limits) -> Topics {
        Topics::new(shards, &limits, 100)
    }

    /// Publishes a message of that length, as the core does.
    fn publish(topics: &mut Topics, name: &str, len: usize, now: Moment) -> TopicId {
        let name = TopicName::try_from(name).unwrap();
        let (id, _) = topics.touch(&name, now).unwrap();
        let topic = topics.get_mut(id).unwrap();
        topic.seq += 1;
        topic.has_begun = true;
        let payload = "x".repeat(len).into();
        let message = Message { topic: id, name, seq: topic.seq, time_us: 0, is_image: false, payload };
        topics.keep(id, Arc::new(message), now);
        id
    }

    /// Proves: whoever may have counted something of a topic hears that its id may be another's, and nobody else does.
    #[test]
    fn shards_that_had_a_topic_are_told_that_it_retired() {
        let mut topics = topics(3, Limits { history_age_s: 30, ..Limits::default() });
        let id = publish(&mut topics, "t", 1, at(0));
        topics.join(id, 1);
        assert!(topics.leave(id, 1, 1, at(0)).is_none(), "it has begun, and may have been sent there");
        let retired = topics.retire_idle(at(60), Duration::from_secs(60), 10);
        assert_eq!(retired.iter().map(|retired| &retired.tell[..]).collect::<Vec<_>>(), [[1]]);
        let (id, _) = topics.touch(&TopicName::try_from("u").unwrap(), at(60)).unwrap();
        topics.join(id, 2);
        assert!(topics.leave(id, 2, 1, at(60)).unwrap().tell.is_empty(), "nothing was ever published to it");
    }

    #[test]
    fn an_idle_topic_retires_when_its_history_has_aged_out_and_returns_with_another_epoch() {
        let mut topics = topics(1, Limits { history_age_s: 30, ..Limits::default() });
        let id = publish(&mut topics, "t", 1, at(0));
        assert_eq!(topics.get(id).unwrap().epoch, Epoch(100));
        topics.join(id, 0);
        let idle = Duration::from_secs(10);
        assert_eq!(topics.retire_idle(at(60), idle, 100).len(), 0, "somebody wants it");
        assert_eq!(topics.kept(), (0, 0), "too old by now");
        publish(&mut topics, "t", 1, at(60));
        topics.leave(id, 0, 1, at(60));
        assert_eq!(topics.retire_idle(at(75), idle, 100).len(), 0, "somebody may come back for its history");
        assert_eq!(topics.retire_idle(at(90), idle, 100).len(), 1);
        let name = TopicName::try_from("t").unwrap();
        let (id, is_new) = topics.touch(&name, at(91)).unwrap();
        assert_eq!((is_new, topics.get(id).unwrap().epoch), (true, Epoch(101)));
        assert_eq!(topics.kept(), (0, 0));
    }

    #[test]
    fn a_topic_that_was_only_asked_for_goes_with_its_last_subscriber() {
        let mut topics = topics(2, Limits::default());
        let name = TopicName::try_from("t").unwrap();
        let (id, _) = topics.touch(&name, at(0)).unwrap();
        topics.join(id, 0);
        topics.join(id, 1);
        topics.leave(id, 0, 1, at(0));
        assert_eq!(topics.len(), 1);
        topics.leave(id, 1, 1, at(0));
        assert_eq!((topics.len(), topics.id("t")), (0, None));
    }

    #[test]
    fn a_full_table_takes_no_new_name_and_keeps_the_old() {
        let mut topics = topics(1, Limits { topics: 1, ..Limits::default() });
        let name = |text: &str| TopicName::try_from(text).unwrap();
        assert!(topics.touch(&name("a"), at(0)).is_some());
        assert!(topics.touch(&name("b"), at(0)).is_none());
        assert!(topics.touch(&name("a"), at(0)).is_some());
    }

    /// Proves: all histories together stay below their bound, a busy topic does not cost the quiet ones all they have,
    /// and what is counted is what is there.
    #[test]
    fn all_histories_together_are_bounded_and_lose_in_turn() {
        let mut topics = topics(1, Limits { histories_bytes: 20_000, ..Limits::default() });
        for number in 0..30 {
            publish(&mut topics, &format!("quiet.{}", number % 3), 100, at(0));
        }
        for _ in 0..1_000 {
            publish(&mut topics, "busy", 500, at(0));
            let (messages, bytes) = topics.kept();
            let sum = topics
                .iter()
                .fold((0, 0), |sum, (_, topic)| (sum.0 + topic.history.len(), sum.1 + topic.history.bytes()));
            assert_eq!((messages, bytes), sum);
            assert!(bytes <= 20_000);
        }
        assert!(topics.iter().all(|(_, topic)| topic.history.reaches(topic.seq)));
    }

    #[test]
    fn other_rules_change_what_is_kept_and_never_a_class() {
        let limits = Limits::default();
        let mut topics = topics(1, limits.clone());
        let id = publish(&mut topics, "t", 100, at(0));
        let state =
            crate::config::Rule { pattern: "*".into(), class: Some(Class::State), ..Default::default() };
        let none = crate::config::Rule { history_messages: Some(0), queue_frames: Some(5), ..state.clone() };
        assert!(topics.set_rules(Rules::new(vec![state], &limits), at(0)).is_empty());
        assert_eq!(topics.get(id).unwrap().charter.terms.class, Class::Event);
        assert_eq!(topics.set_rules(Rules::new(vec![none], &limits), at(0)), [id]);
        assert_eq!(topics.kept(), (0, 0));
        assert!(!topics.get(id).unwrap().history.reaches(0));
        let born = publish(&mut topics, "u", 100, at(0));
        assert_eq!(topics.get(born).unwrap().charter.terms.class, Class::State);
    }
}
