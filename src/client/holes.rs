//! What waits for messages before it that are being fetched again. Pure.
//!
//! Contract: what is put in comes out once, in the order of its numbers, as soon as what is missing before it has come or
//! has been given up. What waits is bounded; over the bound the caller gives the topic up.

use super::event::Event;
use crate::protocol::topic::TopicName;
use std::collections::{BTreeMap, HashMap};

/// Things that may wait, of all topics together.
const WAITING_MAX: usize = 65_536;
/// The same in bytes of payload.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A message or a gap, and the numbers it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) event: Event,
}

impl Item {
    fn bytes(&self) -> usize {
        if let Event::Message(message) = &self.event { message.payload.len() } else { 0 }
    }
}

#[derive(Debug, Default)]
struct Hole {
    waiting: BTreeMap<u64, Item>,
    /// The last number known to have been published.
    until: u64,
    /// True exactly when what is fetched is what was asked for last: it begins where the hole does.
    is_fetched: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Holes {
    by_topic: HashMap<TopicName, Hole>,
    count: usize,
    bytes: usize,
}

impl Holes {
    pub(super) fn topics(&self) -> Vec<TopicName> {
        self.by_topic.keys().cloned().collect()
    }

    /// What is fetched from here on begins where the hole does.
    pub(super) fn fetched(&mut self, topic: &TopicName) {
        if let Some(hole) = self.by_topic.get_mut(topic) {
            hole.is_fetched = true;
        }
    }

    pub(super) fn is_fetched(&self, topic: &TopicName) -> bool {
        self.by_topic.get(topic).is_some_and(|hole| hole.is_fetched)
    }

    pub(super) fn has(&self, topic: &TopicName) -> bool {
        !self.by_topic.is_empty() && self.by_topic.contains_key(topic)
    }

    /// Something is missing, up to that number at least. True exactly when nothing was missing of the topic before.
    pub(super) fn open(&mut self, topic: &TopicName, until: u64) -> bool {
        let is_new = !self.has(topic);
        let hole = self.by_topic.entry(topic.clone()).or_default();
        hole.until = hole.until.max(until);
        is_new
    }

    /// True exactly when there was room.
    pub(super) fn wait(&mut self, topic: &TopicName, item: Item) -> bool {
        let Some(hole) = self.by_topic.get_mut(topic) else { return false };
        hole.until = hole.until.max(item.to);
        if self.count >= WAITING_MAX || self.bytes + item.bytes() > WAITING_BYTES_MAX {
            return false;
        }
        self.bytes += item.bytes();
        self.count += 1;
        if let Some(twice) = hole.waiting.insert(item.from, item) {
            self.count -= 1;
            self.bytes -= twice.bytes();
        }
        true
    }

    /// What follows the number, if it waits.
    pub(super) fn next(&mut self, topic: &TopicName, seq: u64) -> Option<Item> {
        loop {
            let first = self.by_topic.get_mut(topic)?.waiting.first_entry()?;
            if *first.key() > seq.saturating_add(1) {
                return None;
            }
            let item = first.remove();
            self.count -= 1;
            self.bytes -= item.bytes();
            if item.to > seq {
                return Some(item);
            }
        }
    }

    /// The number before which something is missing after `seq`.
    pub(super) fn end(&self, topic: &TopicName, seq: u64) -> Option<u64> {
        let hole = self.by_topic.get(topic)?;
        let end = hole.waiting.keys().next().copied().unwrap_or(hole.until.saturating_add(1));
        (end > seq.saturating_add(1)).then_some(end)
    }

    pub(super) fn close(&mut self, topic: &TopicName) {
        if let Some(hole) = self.by_topic.remove(topic) {
            self.count -= hole.waiting.len();
            self.bytes -= hole.waiting.values().map(Item::bytes).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(from: u64, to: u64) -> Item {
        Item { from, to, event: Event::Other }
    }

    #[test]
    fn what_waits_comes_out_in_order_and_once() {
        let topic = TopicName::try_from("t").unwrap();
        let mut holes = Holes::default();
        assert!(holes.open(&topic, 0));
        for (from, to) in [(9, 9), (7, 7), (8, 8), (7, 7), (12, 14)] {
            assert!(holes.wait(&topic, item(from, to)));
        }
        assert_eq!(holes.count, 4);
        assert_eq!((holes.next(&topic, 5), holes.end(&topic, 5)), (None, Some(7)));
        assert_eq!(holes.next(&topic, 6), Some(item(7, 7)));
        // The repair overtook what waited.
        assert_eq!(holes.next(&topic, 8), Some(item(9, 9)));
        assert_eq!(holes.end(&topic, 9), Some(12));
        assert_eq!(holes.next(&topic, 11), Some(item(12, 14)));
        assert_eq!(holes.end(&topic, 14), None);
        holes.close(&topic);
        assert!(!holes.has(&topic) && holes.count == 0);
    }

    #[test]
    fn a_hole_without_anything_behind_it_ends_where_the_heartbeat_said() {
        let topic = TopicName::try_from("t").unwrap();
        let mut holes = Holes::default();
        assert!(holes.open(&topic, 9) && !holes.open(&topic, 8));
        assert_eq!(holes.end(&topic, 5), Some(10));
        assert_eq!(holes.end(&topic, 9), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let topic = TopicName::try_from("t").unwrap();
        let mut holes = Holes::default();
        holes.open(&topic, 1);
        assert!((0..WAITING_MAX as u64).all(|seq| holes.wait(&topic, item(seq + 3, seq + 3))));
        assert!(!holes.wait(&topic, item(1 << 40, 1 << 40)));
    }
}
