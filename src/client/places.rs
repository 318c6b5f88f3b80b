//! Where a client is in each topic: the last message it has, and what the next one is to that. Pure.
//!
//! Contract: a place says what was handed on, never more; so whoever resumes by it misses nothing and gets nothing twice.

use super::event::{Granted, Place};
use crate::protocol::topic::TopicName;
use std::collections::HashMap;

/// Topics remembered at most; those seen through patterns after that cannot be resumed, and are `unseen` then.
const TOPICS_MAX: usize = 65_536;

/// What is known of one topic.
#[derive(Debug)]
struct Known {
    /// Not known of what a pattern brings over WebSocket, until that was asked for.
    epoch: Option<String>,
    seq: u64,
    /// False from when a connection is lost until the server has said how the topic goes on.
    is_sure: bool,
    /// True from when somebody has been told that its epoch is to be asked for.
    is_asked: bool,
    /// As of the last heartbeat: the newest number that it named, and the last one that we had.
    beat: (u64, u64),
}

impl Known {
    /// It may go back: what a snapshot begins with is replayed from there.
    fn advance(&mut self, seq: u64) {
        (self.seq, self.is_sure) = (seq, true);
    }
}

/// What a heartbeat is to what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Agrees,
    /// A topic that was never named here.
    Unknown,
    /// Everything up to that number should have come by now.
    Due(u64),
    /// The topic's numbers have begun anew, and what said so was lost.
    Anew,
}

/// What numbers are to what came before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// They follow, and the place is theirs now.
    Next,
    /// They came already.
    Old,
    /// Those from the first to the last come before, and have not come.
    Behind(u64, u64),
}

/// What a topic's announcement is to what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    AsKnown,
    /// Another history.
    Anew,
    /// Nobody can say whether those from the first to the last came.
    Unseen(u64, u64),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places {
    topics: HashMap<TopicName, Known>,
    aliases: HashMap<u32, TopicName>,
    /// True from when a connection was lost.
    was_lost: bool,
}

impl Places {
    /// The topic's name, kept once.
    pub(super) fn name(&self, topic: &str) -> Option<TopicName> {
        match self.topics.get_key_value(topic) {
            Some((name, _)) => Some(name.clone()),
            None => TopicName::try_from(topic).ok(),
        }
    }

    pub(super) fn has(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub(super) fn of_alias(&self, alias: u32) -> Option<TopicName> {
        self.aliases.get(&alias).cloned()
    }

    /// The place of a topic, where its history is known.
    pub(super) fn of(&self, topic: &str) -> Option<Place> {
        let known = self.topics.get(topic)?;
        Some(Place { epoch: known.epoch.clone()?, seq: known.seq })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// The number of the last message handed on.
    pub(super) fn seq(&self, topic: &TopicName) -> u64 {
        self.topics.get(topic).map_or(0, |known| known.seq)
    }

    /// True once, of a topic of which it is known where it is, but not in which history.
    pub(super) fn asks_for_epoch(&mut self, topic: &TopicName) -> bool {
        let Some(known) = self.topics.get_mut(topic).filter(|known| known.epoch.is_none()) else {
            return false;
        };
        !std::mem::replace(&mut known.is_asked, true)
    }

    /// A topic is resumed from a place that the caller had from elsewhere.
    pub(super) fn begin(&mut self, topic: &str, since: Place) {
        if let Some(name) = self.name(topic) {
            self.set(name, Some(since.epoch), since.seq);
        }
    }

    /// The server has answered how a topic goes on. What was never interrupted keeps its place.
    pub(super) fn granted(&mut self, granted: &Granted, alias: Option<u32>) {
        let (Some(name), Some(head)) = (self.name(&granted.topic), &granted.head) else { return };
        if let Some(alias) = alias {
            self.aliases.insert(alias, name.clone());
        }
        match self.topics.get_mut(&name) {
            Some(known)
                if granted.recovered != Some(false)
                    && known.epoch.as_ref().is_none_or(|epoch| *epoch == head.epoch) =>
            {
                known.epoch = Some(head.epoch.clone());
                known.is_sure = true;
            }
            _ => self.set(name, Some(head.epoch.clone()), head.seq),
        }
    }

    /// The server names a topic before its first message on this connection.
    pub(super) fn announced(&mut self, topic: &str, alias: Option<u32>, head: Place) -> Announced {
        let Some(name) = self.name(topic) else { return Announced::AsKnown };
        if let Some(alias) = alias {
            self.aliases.insert(alias, name.clone());
        }
        let before = self.topics.get(&name).map(|known| (known.epoch.clone(), known.seq, known.is_sure));
        match before {
            Some((Some(epoch), _, true)) if epoch == head.epoch => return Announced::AsKnown,
            _ => self.set(name, Some(head.epoch.clone()), head.seq),
        }
        match before {
            None if self.was_lost && head.seq > 0 => Announced::Unseen(1, head.seq),
            None => Announced::AsKnown,
            Some((Some(epoch), ..)) if epoch != head.epoch => Announced::Anew,
            Some((_, seq, _)) if seq < head.seq => Announced::Unseen(seq.saturating_add(1), head.seq),
            Some(_) => Announced::AsKnown,
        }
    }

    /// What a number, or several that are told of in one, are to what came before. Only what follows is taken down.
    pub(super) fn arrival(&mut self, topic: &TopicName, from: u64, to: u64, is_lossy: bool) -> Arrival {
        match self.topics.get_mut(topic) {
            None if self.was_lost && from > 1 => Arrival::Behind(1, from - 1),
            None => {
                self.set(topic.clone(), None, to);
                Arrival::Next
            }
            Some(known) if to <= known.seq => Arrival::Old,
            Some(known) if from > known.seq.saturating_add(1) && (is_lossy || !known.is_sure) => {
                Arrival::Behind(known.seq.saturating_add(1), from - 1)
            }
            Some(known) => {
                known.advance(to);
                Arrival::Next
            }
        }
    }

    /// The message was handed on, or what was told of is known.
    pub(super) fn advance(&mut self, topic: &TopicName, seq: u64) {
        match self.topics.get_mut(topic) {
            Some(known) => known.advance(seq),
            None => self.set(topic.clone(), None, seq),
        }
    }

    /// The history that a topic's numbers belong to is not known any more.
    pub(super) fn forget_epoch(&mut self, topic: &TopicName) {
        if let Some(known) = self.topics.get_mut(topic) {
            (known.epoch, known.is_asked) = (None, false);
        }
    }

    /// A heartbeat names a topic's newest number. It is held against the heartbeat before: this one may have overtaken
    /// messages, and been overtaken by what was fetched elsewhere.
    pub(super) fn beat(&mut self, topic: &TopicName, head: u64) -> Beat {
        let Some(known) = self.topics.get_mut(topic) else { return Beat::Unknown };
        let (head_then, seq_then) = std::mem::replace(&mut known.beat, (head, known.seq));
        let due = head_then.min(head);
        if head < seq_then {
            Beat::Anew
        } else if due > known.seq {
            Beat::Due(due)
        } else {
            Beat::Agrees
        }
    }

    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// The connection is gone, and with it what it meant by its aliases.
    pub(super) fn lost(&mut self) {
        self.was_lost = true;
        self.aliases.clear();
        for known in self.topics.values_mut() {
            (known.is_sure, known.is_asked, known.beat) = (false, false, (0, 0));
        }
    }

    fn set(&mut self, topic: TopicName, epoch: Option<String>, seq: u64) {
        if self.topics.len() < TOPICS_MAX || self.topics.contains_key(&topic) {
            self.topics.insert(topic, Known { epoch, seq, is_sure: true, is_asked: false, beat: (0, 0) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicName {
        TopicName::try_from("t").unwrap()
    }

    fn granted(epoch: &str, seq: u64, recovered: Option<bool>) -> Granted {
        let head = Some(Place { epoch: epoch.into(), seq });
        Granted { topic: "t".into(), class: None, head, recovered, reason: None }
    }

    #[test]
    fn a_place_is_what_was_handed_on() {
        let mut places = Places::default();
        places.granted(&granted("e", 7, None), None);
        assert_eq!(places.of("t").unwrap().to_string(), "e:7");
        assert_eq!(places.arrival(&topic(), 8, 8, false), Arrival::Next);
        places.lost();
        // Everything since then follows, so the head of now is not where we are.
        places.granted(&granted("e", 100, Some(true)), None);
        assert_eq!(places.of("t").unwrap().to_string(), "e:8");
        assert_eq!(places.arrival(&topic(), 8, 8, false), Arrival::Old);
        places.lost();
        places.granted(&granted("e", 100, Some(false)), None);
        assert_eq!(places.of("t").unwrap().to_string(), "e:100");
        places.granted(&granted("f", 3, None), None);
        assert_eq!(places.of("t").unwrap().to_string(), "f:3");
    }

    #[test]
    fn a_jump_counts_where_datagrams_are_lost_or_nothing_was_said_of_how_it_goes_on() {
        let mut places = Places::default();
        places.granted(&granted("e", 7, None), None);
        assert_eq!(places.arrival(&topic(), 10, 10, true), Arrival::Behind(8, 9));
        assert_eq!(places.arrival(&topic(), 10, 10, false), Arrival::Next, "conflated");
        places.lost();
        assert_eq!(places.arrival(&topic(), 13, 13, false), Arrival::Behind(11, 12));
        let other = TopicName::try_from("born.meanwhile").unwrap();
        assert_eq!(places.arrival(&other, 4, 4, false), Arrival::Behind(1, 3));
    }

    #[test]
    fn what_a_pattern_brings_is_known_unknown_or_another() {
        let mut places = Places::default();
        let head = |epoch: &str, seq| Place { epoch: epoch.into(), seq };
        assert_eq!(places.announced("t", Some(3), head("e", 5)), Announced::AsKnown);
        assert_eq!(places.of_alias(3), Some(topic()));
        assert_eq!(places.announced("t", Some(3), head("f", 0)), Announced::Anew);
        places.lost();
        assert_eq!(places.of_alias(3), None);
        assert_eq!(places.announced("t", Some(4), head("f", 2)), Announced::Unseen(1, 2));
        assert_eq!(places.announced("u", Some(5), head("g", 2)), Announced::Unseen(1, 2));
        assert_eq!(places.announced("v", Some(6), head("g", 0)), Announced::AsKnown);
    }

    #[test]
    fn a_heartbeat_counts_what_the_one_before_named() {
        let mut places = Places::default();
        places.granted(&granted("e", 7, None), None);
        assert_eq!(places.beat(&topic(), 9), Beat::Agrees);
        assert_eq!(places.beat(&topic(), 12), Beat::Due(9));
        places.advance(&topic(), 14);
        assert_eq!(places.beat(&topic(), 12), Beat::Agrees, "what was fetched elsewhere is ahead");
        assert_eq!(places.beat(&topic(), 3), Beat::Anew);
        let other = TopicName::try_from("never.named").unwrap();
        assert_eq!(places.beat(&other, 3), Beat::Unknown);
    }
}
