//! What is done about datagrams that were lost: fetched elsewhere where there is an elsewhere, told as a gap where not.

use super::{Repair, Session};
use crate::client::event::{Event, Message, Wish};
use crate::client::holes::Item;
use crate::client::places::Beat;
use crate::protocol::topic::TopicName;
use std::collections::BTreeMap;

impl Session {
    /// The newest numbers, as datagrams name them now and then.
    pub(super) fn hear_heads(&mut self, heads: BTreeMap<String, u64>) {
        for (topic, head) in heads {
            let Some(name) = self.places.name(&topic).filter(|_| self.is_lossy()) else { continue };
            match self.places.beat(&name, head) {
                Beat::Agrees => {}
                // The event that named it was lost, or the one that said that it began anew.
                Beat::Unknown | Beat::Anew => {
                    if !self.nameless.contains(&topic) {
                        self.nameless.push(topic);
                    }
                }
                Beat::Due(_) if self.holes.has(&name) => {}
                Beat::Due(due) => {
                    if !self.begin_repair(&name, due) {
                        self.tell_gap(&name, self.places.seq(&name).saturating_add(1), due, "datagram");
                        self.places.advance(&name, due);
                    }
                }
            }
        }
        self.look_up();
    }

    /// Has everything after the topic's place fetched elsewhere; false where there is no elsewhere.
    pub(super) fn begin_repair(&mut self, topic: &TopicName, until: u64) -> bool {
        let Some(place) = self.places.of(topic.as_str()).filter(|_| self.can_repair) else { return false };
        if self.holes.open(topic, until) {
            let wish = Wish { topic: topic.to_string(), since: Some(place) };
            self.repairs.push_back(Repair::Begin(wish));
        }
        true
    }

    /// What was fetched elsewhere.
    pub(in crate::client) fn mended(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.mend_by(message),
            Event::Gap { topic, from, to, reason } => {
                let Some(name) = self.places.name(&topic).filter(|name| self.holes.is_fetched(name)) else {
                    return;
                };
                self.mend(&name, Item { from, to, event: Event::Gap { topic, from, to, reason } });
            }
            Event::Subscribed { granted, refused } => {
                for one in &granted {
                    if let Some(name) = self.places.name(&one.topic) {
                        self.holes.fetched(&name);
                    }
                }
                let lost = granted.into_iter().filter(|one| one.recovered == Some(false));
                let lost = lost.map(|one| (one.topic, one.reason.unwrap_or_default()));
                let lost: Vec<_> = lost.chain(refused.into_iter().map(|one| (one.topic, one.code))).collect();
                for (topic, reason) in lost {
                    if let Some(name) = self.places.name(&topic) {
                        self.give_up(&name, &reason);
                    }
                }
            }
            Event::Epoch { topic, .. } => {
                if let Some(name) = self.places.name(&topic) {
                    self.give_up(&name, "epoch");
                }
            }
            _ => {}
        }
    }

    /// There is no elsewhere any more.
    pub(in crate::client) fn unmendable(&mut self) {
        for topic in self.holes.topics() {
            self.give_up(&topic, "datagram");
        }
        // Whoever is asked next is asked anew.
        self.repairs.clear();
    }

    fn mend_by(&mut self, message: Message) {
        let (topic, seq) = (message.topic.clone(), message.seq);
        if self.holes.is_fetched(&topic) {
            self.mend(&topic, Item { from: seq, to: seq, event: Event::Message(message) });
        }
    }

    fn mend(&mut self, topic: &TopicName, item: Item) {
        self.hand_on(topic, item);
        self.hand_on_waiting(topic);
        if self.holes.end(topic, self.places.seq(topic)).is_none() {
            self.end_repair(topic);
        }
    }

    /// What is missing of the topic stays so: says what, and hands on what waited.
    pub(super) fn give_up(&mut self, topic: &TopicName, reason: &str) {
        self.hand_on_waiting(topic);
        while let Some(end) = self.holes.end(topic, self.places.seq(topic)) {
            self.tell_gap(topic, self.places.seq(topic).saturating_add(1), end - 1, reason);
            self.places.advance(topic, end - 1);
            self.hand_on_waiting(topic);
        }
        self.end_repair(topic);
    }

    fn hand_on_waiting(&mut self, topic: &TopicName) {
        while let Some(item) = self.holes.next(topic, self.places.seq(topic)) {
            self.hand_on(topic, item);
        }
    }

    fn hand_on(&mut self, topic: &TopicName, item: Item) {
        let seq = self.places.seq(topic);
        if item.to <= seq {
            return;
        }
        if item.from > seq.saturating_add(1) {
            self.tell_gap(topic, seq.saturating_add(1), item.from - 1, "datagram");
        }
        self.places.advance(topic, item.to);
        self.tell(item.event, None);
    }

    /// Nothing is missing any more, or nothing of it will be waited for.
    pub(super) fn end_repair(&mut self, topic: &TopicName) {
        if self.holes.has(topic) {
            self.holes.close(topic);
            self.repairs.push_back(Repair::End(topic.to_string()));
        }
    }
}
