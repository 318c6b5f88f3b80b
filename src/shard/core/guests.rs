//! Who keeps a topic in a shard's table: subscribers, and guests, who are subscribed and not live yet. It comes with
//! the first and goes with the last of them; guests are routed nothing.

use super::topics::{Topic, Topics};
use crate::ids::{Slot, TopicId};
use crate::message::Encoding;
use crate::protocol::outcome::Grant;
use crate::protocol::topic::TopicName;

impl Topics {
    /// The topic, made if need be, on the newest terms.
    pub(super) fn invite(&mut self, name: &TopicName, grant: &Grant) -> &mut Topic {
        let at = grant.id as usize;
        if at >= self.table.len() {
            self.table.resize_with(at + 1, || None);
        }
        let topic = self.table[at].get_or_insert_with(|| {
            Box::new(Topic {
                name: name.clone(),
                epoch: grant.epoch,
                seq: grant.seq,
                terms: grant.terms,
                slots: Vec::new(),
                changes: Vec::new(),
                encodings: [0; Encoding::COUNT],
                guests: 0,
            })
        });
        topic.terms = grant.terms;
        topic
    }

    /// One guest more.
    pub(crate) fn host(&mut self, name: &TopicName, grant: &Grant) {
        self.invite(name, grant).guests += 1;
    }

    /// A guest is live from here on.
    pub(crate) fn promote(&mut self, id: TopicId, slot: Slot, encoding: Encoding) {
        if let Some(topic) = self.get_mut(id) {
            topic.guests -= 1;
            topic.change(slot, true);
            topic.encodings[encoding as usize] += 1;
        }
    }

    /// A subscriber is a guest from here on.
    pub(crate) fn demote(&mut self, id: TopicId, slot: Slot, encoding: Encoding) {
        if let Some(topic) = self.get_mut(id) {
            topic.guests += 1;
            topic.change(slot, false);
            topic.encodings[encoding as usize] -= 1;
        }
    }

    /// One guest fewer.
    pub(crate) fn dismiss(&mut self, id: TopicId) {
        if let Some(topic) = self.get_mut(id) {
            topic.guests -= 1;
            self.forget_if_deserted(id);
        }
    }

    /// A topic without subscribers and guests is forgotten.
    pub(super) fn forget_if_deserted(&mut self, id: TopicId) {
        let place = &mut self.table[id as usize];
        if place.as_ref().is_some_and(|topic| topic.guests == 0 && topic.encodings.iter().all(|n| *n == 0)) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::protocol::class::Terms;

    #[test]
    fn a_guest_keeps_the_topic_and_is_routed_nothing() {
        let grant = Grant { id: 5, epoch: Epoch(1), seq: 0, terms: Terms::default(), recovered: None };
        let name = TopicName::try_from("t").unwrap();
        let mut topics = Topics::default();
        topics.join(&name, &grant, 1, Encoding::Raw);
        topics.host(&name, &grant);
        topics.leave(5, 1, Encoding::Raw);
        assert!(topics.get_mut(5).unwrap().slots().is_empty());
        topics.promote(5, 2, Encoding::Combined);
        assert_eq!(topics.get_mut(5).unwrap().slots(), [2]);
        topics.demote(5, 2, Encoding::Combined);
        assert!(topics.get_mut(5).unwrap().slots().is_empty());
        topics.dismiss(5);
        assert!(topics.get(5).is_none());
    }
}
