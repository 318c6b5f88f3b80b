//! The sequencer's table of topics: names to ids, and per topic its epoch, its head and who wants it.
//!
//! Invariants:
//! 1. A name has one id as long as it lives; an id is reused only after its topic has retired.
//! 2. A topic retires only when no shard wants it and it has been idle; its epoch never comes back.

use crate::clock::Moment;
use crate::ids::{Epoch, ShardId, TopicId};
use crate::protocol::class::Terms;
use crate::protocol::topic::TopicName;
use slab::Slab;
use std::collections::HashMap;
use std::time::Duration;

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) epoch: Epoch,
    /// The number of the newest message; 0 before the first.
    pub(crate) seq: u64,
    pub(crate) terms: Terms,
    /// Subscriptions granted and not yet left, by shard.
    wants: Box<[u32]>,
    /// When it was last published to, subscribed or left.
    touched: Moment,
}

impl Topic {
    /// The shards that want it.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.wants.iter().enumerate().filter(|(_, count)| **count > 0).map(|(shard, _)| shard as ShardId)
    }

    /// Subscriptions on all shards.
    pub(crate) fn subscribers(&self) -> u64 {
        self.wants.iter().map(|count| u64::from(*count)).sum()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Topics {
    names: HashMap<TopicName, TopicId>,
    table: Slab<Topic>,
    shards: usize,
    topics_max: usize,
    next_epoch: u64,
    /// Where the next idle scan begins.
    scan: usize,
}

impl Topics {
    /// An empty table. Epochs are counted from `first_epoch`: a later start must begin higher.
    pub(crate) fn new(shards: usize, topics_max: usize, first_epoch: u64) -> Self {
        Self {
            names: HashMap::new(),
            table: Slab::new(),
            shards,
            topics_max,
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

    pub(crate) fn get(&self, id: TopicId) -> Option<&Topic> {
        self.table.get(id as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.table.iter().map(|(_, topic)| topic)
    }

    /// The topic of that name, born now if need be; `None` when the table is full.
    pub(crate) fn touch(&mut self, name: &TopicName, now: Moment) -> Option<(TopicId, &mut Topic)> {
        let id = match self.names.get(name.as_str()) {
            Some(id) => *id,
            None => self.give_birth(name, now)?,
        };
        let topic = self.table.get_mut(id as usize)?;
        topic.touched = now;
        Some((id, topic))
    }

    /// One more subscription on that shard.
    pub(crate) fn join(&mut self, id: TopicId, shard: ShardId) {
        if let Some(topic) = self.table.get_mut(id as usize) {
            topic.wants[usize::from(shard)] += 1;
        }
    }

    /// So many subscriptions fewer on that shard.
    pub(crate) fn leave(&mut self, id: TopicId, shard: ShardId, count: u32, now: Moment) {
        if let Some(topic) = self.table.get_mut(id as usize) {
            let wants = &mut topic.wants[usize::from(shard)];
            *wants = wants.saturating_sub(count);
            topic.touched = now;
            if topic.seq == 0 && topic.subscribers() == 0 {
                // Nothing was ever published: nobody holds a place in it, and whoever only asks for topics must
                // not fill the table.
                self.forget(id);
            }
        }
    }

    /// Retires idle topics among the next `scan` places of the table; returns how many.
    pub(crate) fn retire_idle(&mut self, now: Moment, idle: Duration, scan: usize) -> u64 {
        let end = self.table.capacity();
        let mut retired = 0;
        for _ in 0..scan.min(end) {
            self.scan = if self.scan + 1 < end { self.scan + 1 } else { 0 };
            let is_idle = |topic: &Topic| {
                now.since(topic.touched) >= idle && topic.wants.iter().all(|count| *count == 0)
            };
            if self.table.get(self.scan).is_some_and(is_idle) {
                self.forget(self.scan as TopicId);
                retired += 1;
            }
        }
        retired
    }

    fn forget(&mut self, id: TopicId) {
        let topic = self.table.remove(id as usize);
        self.names.remove(topic.name.as_str());
    }

    fn give_birth(&mut self, name: &TopicName, now: Moment) -> Option<TopicId> {
        if self.table.len() >= self.topics_max {
            return None;
        }
        let epoch = Epoch(self.next_epoch);
        self.next_epoch += 1;
        let wants = vec![0; self.shards].into_boxed_slice();
        let name_kept = name.clone();
        let terms = Terms::default();
        let topic = Topic { name: name_kept, epoch, seq: 0, terms, wants, touched: now };
        let id = self.table.insert(topic) as TopicId;
        self.names.insert(name.clone(), id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_micros(secs * 1_000_000)
    }

    #[test]
    fn an_idle_topic_retires_and_returns_with_another_epoch() {
        let mut topics = Topics::new(1, 10, 100);
        let name = TopicName::try_from("t").unwrap();
        let (id, topic) = topics.touch(&name, at(0)).unwrap();
        assert_eq!(topic.epoch, Epoch(100));
        topic.seq = 1;
        topics.join(id, 0);
        let idle = Duration::from_secs(10);
        assert_eq!(topics.retire_idle(at(60), idle, 100), 0, "somebody wants it");
        topics.leave(id, 0, 1, at(60));
        assert_eq!(topics.retire_idle(at(61), idle, 100), 0, "not idle for long enough");
        assert_eq!(topics.retire_idle(at(70), idle, 100), 1);
        assert_eq!(topics.touch(&name, at(71)).unwrap().1.epoch, Epoch(101));
    }

    #[test]
    fn a_topic_that_was_only_asked_for_goes_with_its_last_subscriber() {
        let mut topics = Topics::new(2, 10, 100);
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
        let mut topics = Topics::new(1, 1, 0);
        let name = |text: &str| TopicName::try_from(text).unwrap();
        assert!(topics.touch(&name("a"), at(0)).is_some());
        assert!(topics.touch(&name("b"), at(0)).is_none());
        assert!(topics.touch(&name("a"), at(0)).is_some());
    }
}
