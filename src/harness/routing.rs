//! A shard's topics and debts by themselves: who gets a message, and what that makes them owe, without a log.

use crate::ids::{Epoch, Slot, TopicId};
use crate::message::Encoding;
use crate::protocol::class::Terms;
use crate::protocol::outcome::Grant;
use crate::protocol::topic::TopicName;
use crate::shard::core::debts::Debts;
use crate::shard::core::topics::Topics;

/// See the module.
#[derive(Debug)]
pub struct Routing {
    topics: Topics,
    debts: Debts,
    debtors: Vec<Slot>,
}

impl Routing {
    /// A connection for each list, subscribed to the topics of these indices.
    pub fn new(names: &[TopicName], connections: &[Vec<usize>]) -> Self {
        let mut topics = Topics::default();
        let mut debts = Debts::default();
        for (slot, chosen) in connections.iter().enumerate() {
            debts.admit(slot as Slot);
            for topic in chosen {
                let id = *topic as TopicId;
                let grant = Grant { id, epoch: Epoch(0), seq: 0, terms: Terms::default(), recovered: None };
                topics.join(&names[*topic], &grant, slot as Slot, Encoding::Raw);
            }
        }
        Self { topics, debts, debtors: Vec::new() }
    }

    /// One message more, with that number, for the subscribers of a topic.
    pub fn route(&mut self, topic: usize, number: u32) {
        if let Some(topic) = self.topics.get_mut(topic as TopicId) {
            self.debts.owe(topic.slots(), number);
        }
    }

    /// Takes what everyone owes; returns how many deliveries that is.
    pub fn take_all(&mut self) -> usize {
        let mut deliveries = 0;
        self.debtors = self.debts.take_debtors(std::mem::take(&mut self.debtors));
        for slot in &self.debtors {
            let debt = self.debts.take(*slot);
            deliveries += debt.len();
            self.debts.give_back(debt);
        }
        deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_owes_what_was_published_to_their_topics() {
        let names: Vec<_> = ["a", "b"].into_iter().map(|name| TopicName::try_from(name).unwrap()).collect();
        let mut routing = Routing::new(&names, &[vec![0], vec![0, 1], vec![]]);
        [0, 1, 0].into_iter().zip(0..).for_each(|(topic, number)| routing.route(topic, number));
        assert_eq!(routing.take_all(), 2 + 3);
        assert_eq!(routing.take_all(), 0);
    }
}
