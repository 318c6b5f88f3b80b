//! What the sequencer answers beside publishing: subscriptions, and the operator's questions.

use super::core::{Outbox, Sequencer};
use super::piece::{Budget, Piece, Place};
use super::request::{
    Ask, Born, Delivery, Now, PublishedFor, Question, Receipt, Replayed, SequencerCounters, Subscribed,
    TopicReport, Unsubscribed, Watched,
};
use super::topics::Topic;
use crate::clock::Moment;
use crate::ids::{ConnectionId, TopicId};
use crate::protocol::operation::{Since, Wish};
use crate::protocol::outcome::{Found, Grant, Outcome, Published, Recovery, Refusal};
use crate::protocol::pattern::{Pattern, Subject};
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;

impl Sequencer {
    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        tag: Tag,
        wishes: Vec<Wish>,
        now: Now,
        out: &mut Outbox,
    ) {
        let mut budget = self.budget;
        let mut outcomes = Vec::with_capacity(wishes.len());
        let (mut pieces, mut patterns) = (Vec::new(), Vec::new());
        for wish in wishes {
            let topic = match wish.subject {
                Subject::Topic(topic) => topic,
                Subject::Pattern(pattern) => {
                    patterns.push(pattern);
                    continue;
                }
            };
            let granted = self.grant(&topic, wish.since, connection, now, &mut budget, out);
            let granted = granted.map(|(grant, piece)| {
                pieces.extend(piece.map(|piece| (outcomes.len(), piece)));
                grant
            });
            outcomes.push(Outcome { topic, granted });
        }
        // Behind the topics, so that one born with them is among what the patterns match.
        let mut room = self.matches_max;
        let watch = |pattern| self.watch(pattern, connection, now, &mut room, &mut budget);
        let patterns = patterns.into_iter().map(watch).collect();
        let answer = Subscribed { connection, tag, outcomes, pieces, patterns };
        out.push_back((connection.shard, Delivery::Subscribed(Box::new(answer))));
    }

    /// One pattern, the topics that it matches now, and what is to be sent of them before what is live.
    fn watch(
        &mut self,
        pattern: Pattern,
        connection: ConnectionId,
        now: Now,
        room: &mut usize,
        budget: &mut Budget,
    ) -> Watched {
        let Some(ids) = self.topics.watch(&pattern, connection.shard, *room) else {
            return Watched { found: Found { pattern, matched: Err(Refusal::Matches) }, pieces: Vec::new() };
        };
        *room -= ids.len();
        let (mut matched, mut pieces) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            self.topics.trim(id, now.moment);
            let Some(topic) = self.topics.get(id) else { continue };
            let at_head = Place::Snapshot { head: topic.seq };
            let piece = topic.piece(topic.epoch, at_head, budget).filter(|piece| !piece.is_empty());
            pieces.extend(piece.map(|piece| (matched.len(), piece)));
            matched.push((topic.name.clone(), topic.grant(id, None)));
        }
        Watched { found: Found { pattern, matched: Ok(matched) }, pieces }
    }

    /// The topic of that name; one born only now is announced to the shards with a pattern that matches it.
    pub(super) fn topic(&mut self, name: &TopicName, now: Moment, out: &mut Outbox) -> Option<TopicId> {
        let (id, is_new) = self.topics.touch(name, now)?;
        if is_new && let Some(topic) = self.topics.get(id) {
            let born = || Born { topic: name.clone(), grant: topic.grant(id, None) };
            out.extend(topic.watching().map(|shard| (shard, Delivery::Born(Box::new(born())))));
        }
        Some(id)
    }

    /// One subscription, and what is to be sent before what is live.
    fn grant(
        &mut self,
        name: &TopicName,
        since: Option<Since>,
        connection: ConnectionId,
        now: Now,
        budget: &mut Budget,
        out: &mut Outbox,
    ) -> Result<(Grant, Option<Piece>), Refusal> {
        let Some(id) = self.topic(name, now.moment, out) else { return Err(Refusal::Topics) };
        self.topics.trim(id, now.moment);
        self.topics.join(id, connection.shard);
        let Some(topic) = self.topics.get(id) else { return Err(Refusal::Topics) };
        let recovered = since.map(|since| recovery(topic, since));
        let place = match (recovered, since) {
            (Some(Recovery::Complete), Some(since)) => Place::After(since.seq),
            _ => Place::Snapshot { head: topic.seq },
        };
        let piece = topic.piece(topic.epoch, place, budget).filter(|piece| !piece.is_empty());
        let grant = topic.grant(id, recovered);
        match recovered {
            None => {}
            Some(Recovery::Complete) => self.counters.recovered += 1,
            Some(_) => self.counters.not_recovered += 1,
        }
        Ok((grant, piece))
    }

    /// The next piece for who is not live yet. A topic that is gone was left by who asked.
    pub(super) fn replay(&self, ask: Ask, out: &mut Outbox) {
        let Some(topic) = self.topics.get(ask.topic) else { return };
        let piece = topic.piece(ask.epoch, ask.place, &mut { self.budget });
        let answer = Replayed { connection: ask.connection, ticket: ask.ticket, piece };
        out.push_back((ask.connection.shard, Delivery::Replayed(Box::new(answer))));
    }

    pub(super) fn unsubscribe(
        &self,
        connection: ConnectionId,
        tag: Tag,
        subjects: Vec<Subject>,
        out: &mut Outbox,
    ) {
        let (mut topics, mut patterns) = (Vec::new(), Vec::new());
        for subject in subjects {
            match subject {
                Subject::Topic(name) => {
                    let id = self.topics.id(name.as_str());
                    topics.push((name, id));
                }
                Subject::Pattern(pattern) => patterns.push(pattern),
            }
        }
        let answer = Unsubscribed { connection, tag, topics, patterns };
        out.push_back((connection.shard, Delivery::Unsubscribed(Box::new(answer))));
    }

    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::Topics { prefix, limit, reply } => {
                let named = self.topics.iter().filter(|(_, topic)| topic.name.as_str().starts_with(&prefix));
                reply.send(named.take(limit).filter_map(|(id, _)| self.report(id)).collect());
            }
            Question::Topic { name, reply } => {
                reply.send(self.topics.id(&name).and_then(|id| self.report(id)));
            }
            Question::Busiest { limit, reply } => reply.send(self.busiest(limit)),
            Question::IsWanted { topic, reply } => reply.send(self.topics.is_wanted(topic)),
            Question::Counters(reply) => {
                let (messages, bytes) = self.topics.kept();
                reply.send(SequencerCounters {
                    topics: self.topics.len() as u64,
                    kept_messages: messages as u64,
                    kept_bytes: bytes as u64,
                    ..self.counters
                });
            }
        }
    }

    pub(super) fn report(&self, id: TopicId) -> Option<TopicReport> {
        let topic = self.topics.get(id)?;
        Some(TopicReport {
            id,
            topic: topic.name.clone(),
            class: topic.charter.terms.class,
            epoch: topic.epoch.to_string(),
            seq: topic.seq,
            subscribers: topic.subscribers() + self.topics.watchers(&topic.name),
        })
    }
}

impl Topic {
    /// A subscription that begins at its head.
    fn grant(&self, id: TopicId, recovered: Option<Recovery>) -> Grant {
        Grant { id, epoch: self.epoch, seq: self.seq, terms: self.charter.terms, recovered }
    }
}

/// Whether what followed `since` can be given.
fn recovery(topic: &Topic, since: Since) -> Recovery {
    // A number that was never given out belongs to no history of ours.
    if since.epoch != topic.epoch || since.seq > topic.seq {
        Recovery::Epoch
    } else if topic.history.reaches(since.seq) {
        Recovery::Complete
    } else if topic.charter.bounds.keep_anything() {
        Recovery::Evicted { last: since.seq }
    } else {
        Recovery::NoHistory { last: since.seq }
    }
}

/// Tells whoever wants to know what became of a message.
pub(super) fn give(
    receipt: Receipt,
    topic: &TopicName,
    outcome: Result<Published, Refusal>,
    out: &mut Outbox,
) {
    match receipt {
        Receipt::Caller(reply) => reply.send(outcome),
        Receipt::Connection(_, Tag::Silent) if outcome.is_ok() => {}
        Receipt::Connection(connection, tag) => {
            let receipt = PublishedFor { connection, tag, topic: topic.clone(), outcome };
            out.push_back((connection.shard, Delivery::Published(Box::new(receipt))));
        }
    }
}
