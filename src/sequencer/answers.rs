//! What the sequencer answers beside publishing: subscriptions, and the operator's questions.

use super::core::{Now, Outbox, Sequencer};
use super::piece::{Budget, Piece, Place};
use super::request::{
    Ask, Delivery, PublishedFor, Question, Receipt, Replayed, SequencerCounters, Subscribed, TopicReport,
    Unsubscribed,
};
use super::topics::Topic;
use crate::ids::ConnectionId;
use crate::protocol::operation::{Since, Wish};
use crate::protocol::outcome::{Grant, Outcome, Published, Recovery, Refusal};
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
        let mut pieces = Vec::new();
        for wish in wishes {
            let granted = self.grant(&wish, connection, now, &mut budget).map(|(grant, piece)| {
                pieces.extend(piece.map(|piece| (outcomes.len(), piece)));
                grant
            });
            outcomes.push(Outcome { topic: wish.topic, granted });
        }
        let answer = Subscribed { connection, tag, outcomes, pieces };
        out.push_back((connection.shard, Delivery::Subscribed(Box::new(answer))));
    }

    /// One subscription, and what is to be sent before what is live.
    fn grant(
        &mut self,
        wish: &Wish,
        connection: ConnectionId,
        now: Now,
        budget: &mut Budget,
    ) -> Result<(Grant, Option<Piece>), Refusal> {
        let Some((id, _)) = self.topics.touch(&wish.topic, now.moment) else { return Err(Refusal::Topics) };
        self.topics.trim(id, now.moment);
        self.topics.join(id, connection.shard);
        let Some(topic) = self.topics.get(id) else { return Err(Refusal::Topics) };
        let recovered = wish.since.map(|since| recovery(topic, since));
        let place = match (recovered, wish.since) {
            (Some(Recovery::Complete), Some(since)) => Place::After(since.seq),
            _ => Place::Snapshot { head: topic.seq },
        };
        let piece = topic.piece(topic.epoch, place, budget).filter(|piece| !piece.is_empty());
        let terms = topic.charter.terms;
        let grant = Grant { id, epoch: topic.epoch, seq: topic.seq, terms, recovered };
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
        topics: Vec<TopicName>,
        out: &mut Outbox,
    ) {
        let topics = topics.into_iter().map(|name| {
            let id = self.topics.id(name.as_str());
            (name, id)
        });
        let answer = Unsubscribed { connection, tag, topics: topics.collect() };
        out.push_back((connection.shard, Delivery::Unsubscribed(Box::new(answer))));
    }

    pub(super) fn answer(&self, question: Question) {
        match question {
            Question::Topics { prefix, limit, reply } => {
                let named = self.topics.iter().filter(|topic| topic.name.as_str().starts_with(&prefix));
                reply.send(named.take(limit).map(report).collect());
            }
            Question::Topic { name, reply } => {
                let topic = self.topics.id(&name).and_then(|id| self.topics.get(id));
                reply.send(topic.map(report));
            }
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

fn report(topic: &Topic) -> TopicReport {
    TopicReport {
        topic: topic.name.clone(),
        class: topic.charter.terms.class,
        epoch: topic.epoch.to_string(),
        seq: topic.seq,
        subscribers: topic.subscribers(),
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
