//! The shard's topics: who here is subscribed to what. Knows nothing of sockets.
//!
//! Those who are not live yet are guests (`guests.rs`): they keep the topic here, and are routed nothing.
//!
//! Subscribers are a sorted `Vec` of slots, so that routing walks memory in order (unsorted: twice the time at
//! a million). Changes collect and merge before the topic is next routed: removing one by one from a million
//! costs 51 us each.

use crate::ids::{Epoch, Slot, TopicId};
use crate::message::Encoding;
use crate::protocol::class::Terms;
use crate::protocol::outcome::Grant;
use crate::protocol::topic::TopicName;

/// Changes a topic may collect however few its subscribers.
const CHANGES_KEPT: usize = 64;

/// One topic with at least one subscriber or guest here.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) epoch: Epoch,
    /// The topic's head as this shard has seen it.
    pub(crate) seq: u64,
    pub(crate) terms: Terms,
    pub(super) slots: Vec<Slot>,
    /// Joins (`true`) and leaves since the last merge, in order: the last one for a slot wins.
    pub(super) changes: Vec<(Slot, bool)>,
    /// How many subscribers use each encoding.
    pub(super) encodings: [u32; Encoding::COUNT],
    pub(super) guests: u32,
}

impl Topic {
    /// The subscribers, sorted, with every change merged.
    pub(crate) fn slots(&mut self) -> &[Slot] {
        if !self.changes.is_empty() {
            self.merge();
        }
        &self.slots
    }

    /// Which encodings its subscribers use.
    pub(crate) fn encodings(&self) -> [bool; Encoding::COUNT] {
        self.encodings.map(|count| count > 0)
    }

    /// Notes a change; so many that a merge is cheap beside them are merged at once, or a topic that nobody
    /// publishes to would collect them for ever.
    pub(super) fn change(&mut self, slot: Slot, joins: bool) {
        self.changes.push((slot, joins));
        if self.changes.len() > self.slots.len().max(CHANGES_KEPT) {
            self.merge();
        }
    }

    fn merge(&mut self) {
        // Stable, so that of one slot's changes the last stays last.
        self.changes.sort_by_key(|(slot, _)| *slot);
        let first = self.changes[0].0;
        let untouched = self.slots.partition_point(|slot| *slot < first);
        let mut old = self.slots.split_off(untouched).into_iter().peekable();
        let mut changes = self.changes.drain(..).peekable();
        while let Some((slot, joins)) = changes.next() {
            if changes.peek().is_some_and(|(next, _)| *next == slot) {
                continue;
            }
            while let Some(before) = old.next_if(|old| *old < slot) {
                self.slots.push(before);
            }
            old.next_if_eq(&slot);
            if joins {
                self.slots.push(slot);
            }
        }
        self.slots.extend(old);
    }
}

/// See the module. Indexed by topic id: routing hashes nothing.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    pub(super) table: Vec<Option<Box<Topic>>>,
}

impl Topics {
    pub(crate) fn get(&self, id: TopicId) -> Option<&Topic> {
        self.table.get(id as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.table.get_mut(id as usize)?.as_deref_mut()
    }

    /// One subscriber more.
    pub(crate) fn join(&mut self, name: &TopicName, grant: &Grant, slot: Slot, encoding: Encoding) {
        let topic = self.invite(name, grant);
        topic.change(slot, true);
        topic.encodings[encoding as usize] += 1;
    }

    /// One subscriber fewer; a topic without any is forgotten.
    pub(crate) fn leave(&mut self, id: TopicId, slot: Slot, encoding: Encoding) {
        if let Some(topic) = self.get_mut(id) {
            topic.change(slot, false);
            topic.encodings[encoding as usize] -= 1;
            self.forget_if_deserted(id);
        }
    }

    /// One of its subscribers changes from one encoding to another.
    pub(crate) fn recode(&mut self, id: TopicId, from: Encoding, to: Encoding) {
        if let Some(topic) = self.get_mut(id) {
            topic.encodings[from as usize] -= 1;
            topic.encodings[to as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: TopicId) -> Grant {
        Grant { id, epoch: Epoch(1), seq: 0, terms: Terms::default(), recovered: None }
    }

    fn topics_with(slots: &[Slot]) -> Topics {
        let mut topics = Topics::default();
        let name = TopicName::try_from("t").unwrap();
        for slot in slots {
            topics.join(&name, &grant(5), *slot, Encoding::Raw);
        }
        topics
    }

    #[test]
    fn slots_stay_sorted_and_the_last_change_wins() {
        let mut topics = topics_with(&[9, 3, 7]);
        assert_eq!(topics.get_mut(5).unwrap().slots(), [3, 7, 9]);
        topics.leave(5, 7, Encoding::Raw);
        topics.leave(5, 9, Encoding::Raw);
        let name = TopicName::try_from("t").unwrap();
        topics.join(&name, &grant(5), 9, Encoding::Combined);
        topics.join(&name, &grant(5), 1, Encoding::Raw);
        let topic = topics.get_mut(5).unwrap();
        assert_eq!(topic.slots(), [1, 3, 9]);
        assert_eq!(topic.encodings(), [true, true, false, false, false, false]);
    }

    #[test]
    fn a_topic_without_subscribers_is_forgotten() {
        let mut topics = topics_with(&[1]);
        topics.leave(5, 1, Encoding::Raw);
        assert!(topics.get(5).is_none());
    }
}
