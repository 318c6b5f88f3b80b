//! The sequencer's core: the single writer of truth about topics. Pure: no threads, no sockets, no clock.
//!
//! Contract: requests are handled one by one in the order they came; each puts what it causes into the outbox,
//! in an order that every shard's FIFO keeps. So a topic has one order everywhere (promise 1), and a
//! subscription's answer and its first live message meet at one number (promise 4).
//!
//! ```text
//!   Request ──► handle ──► outbox: (shard, Delivery), (shard, Delivery), …
//! ```

use super::request::{
    Delivery, PublishedFor, Question, Receipt, Request, SequencerCounters, Subscribed, TopicReport,
    Unsubscribed,
};
use super::topics::{Topic, Topics};
use crate::clock::Moment;
use crate::ids::{ConnectionId, ShardId};
use crate::limits::{Limits, RETIRE_SCAN};
use crate::message::{Message, Payload};
use crate::protocol::class::Class;
use crate::protocol::operation::Since;
use crate::protocol::operation::Wish;
use crate::protocol::outcome::{Grant, Outcome, Published, Recovery, Refusal};
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What waits to be posted to shards, oldest first.
pub(crate) type Outbox = VecDeque<(ShardId, Delivery)>;

/// The time of a request, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) moment: Moment,
    /// Microseconds since 1970, for `ts`.
    pub(crate) unix_us: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Sequencer {
    topics: Topics,
    topic_idle: Duration,
    pub(crate) counters: SequencerCounters,
}

impl Sequencer {
    /// A sequencer for so many shards, without topics. `first_epoch` must grow from start to start.
    pub(crate) fn new(shards: usize, limits: &Limits, first_epoch: u64) -> Self {
        Self {
            topics: Topics::new(shards, limits.topics, first_epoch),
            topic_idle: Duration::from_secs(limits.topic_idle_s),
            counters: SequencerCounters::default(),
        }
    }

    /// Does what is asked and leaves what it causes in `out`.
    pub(crate) fn handle(&mut self, request: Request, now: Now, out: &mut Outbox) {
        match request {
            Request::Publish { topic, payload, receipt } => self.publish(topic, payload, receipt, now, out),
            Request::Subscribe { connection, tag, wishes } => {
                self.subscribe(connection, tag, wishes, now, out)
            }
            Request::Unsubscribe { connection, tag, topics } => {
                let topics = topics.into_iter().map(|name| {
                    let id = self.topics.id(name.as_str());
                    (name, id)
                });
                let answer = Unsubscribed { connection, tag, topics: topics.collect() };
                out.push_back((connection.shard, Delivery::Unsubscribed(Box::new(answer))));
            }
            Request::Leave { shard, topic, count } => self.topics.leave(topic, shard, count, now.moment),
            Request::Ask(question) => self.answer(question),
        }
    }

    /// Once a second or so: lets idle topics go.
    pub(crate) fn tick(&mut self, now: Moment) {
        self.counters.retired += self.topics.retire_idle(now, self.topic_idle, RETIRE_SCAN);
    }

    fn publish(
        &mut self,
        name: TopicName,
        payload: Payload,
        receipt: Option<Receipt>,
        now: Now,
        out: &mut Outbox,
    ) {
        let outcome = match self.topics.touch(&name, now.moment) {
            None => {
                self.counters.refused += 1;
                Err(Refusal::Topics)
            }
            Some((id, topic)) => {
                topic.seq += 1;
                self.counters.published += 1;
                self.counters.published_bytes += payload.len() as u64;
                let published = Published { epoch: topic.epoch, seq: topic.seq };
                let mut shards = topic.shards().peekable();
                if shards.peek().is_some() {
                    let message = Arc::new(Message {
                        topic: id,
                        name: topic.name.clone(),
                        seq: topic.seq,
                        time_us: now.unix_us,
                        payload,
                    });
                    out.extend(shards.map(|shard| (shard, Delivery::Message(message.clone()))));
                }
                Ok(published)
            }
        };
        match receipt {
            None => {}
            Some(Receipt::Caller(reply)) => reply.send(outcome),
            Some(Receipt::Connection(_, Tag::Silent)) if outcome.is_ok() => {}
            Some(Receipt::Connection(connection, tag)) => {
                let receipt = PublishedFor { connection, tag, topic: name, outcome };
                out.push_back((connection.shard, Delivery::Published(Box::new(receipt))));
            }
        }
    }

    fn subscribe(
        &mut self,
        connection: ConnectionId,
        tag: Tag,
        wishes: Vec<Wish>,
        now: Now,
        out: &mut Outbox,
    ) {
        let outcomes = wishes.into_iter().map(|wish| {
            let granted = match self.topics.touch(&wish.topic, now.moment) {
                None => Err(Refusal::Topics),
                Some((id, topic)) => {
                    let recovered = wish.since.map(|since| recovery(topic, since));
                    let grant = Grant { id, epoch: topic.epoch, seq: topic.seq, recovered };
                    self.topics.join(id, connection.shard);
                    Ok(grant)
                }
            };
            Outcome { topic: wish.topic, granted }
        });
        let answer = Subscribed { connection, tag, outcomes: outcomes.collect() };
        out.push_back((connection.shard, Delivery::Subscribed(Box::new(answer))));
    }

    fn answer(&self, question: Question) {
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
                reply.send(SequencerCounters { topics: self.topics.len() as u64, ..self.counters });
            }
        }
    }
}

/// Without a history, what followed `since` can be given only when nothing did.
fn recovery(topic: &Topic, since: Since) -> Recovery {
    // A number that was never given out belongs to no history of ours.
    if since.epoch != topic.epoch || since.seq > topic.seq {
        Recovery::Epoch
    } else if since.seq == topic.seq {
        Recovery::Complete
    } else {
        Recovery::NoHistory { last: since.seq }
    }
}

fn report(topic: &Topic) -> TopicReport {
    TopicReport {
        topic: topic.name.clone(),
        class: Class::Event,
        epoch: topic.epoch.to_string(),
        seq: topic.seq,
        subscribers: topic.subscribers(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { moment: Moment::from_micros(0), unix_us: 1 };

    fn name(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    fn connection(shard: ShardId) -> ConnectionId {
        ConnectionId { shard, slot: 0, generation: 0 }
    }

    fn publish(sequencer: &mut Sequencer, topic: &str) -> Vec<(ShardId, Delivery)> {
        let mut out = Outbox::new();
        let request = Request::Publish { topic: name(topic), payload: "1".into(), receipt: None };
        sequencer.handle(request, NOW, &mut out);
        out.into()
    }

    fn subscribe(sequencer: &mut Sequencer, shard: ShardId, topic: &str) -> Outcome {
        let mut out = Outbox::new();
        let wishes = vec![Wish { topic: name(topic), since: None }];
        let request = Request::Subscribe { connection: connection(shard), tag: Tag::Silent, wishes };
        sequencer.handle(request, NOW, &mut out);
        match out.pop_front() {
            Some((to, Delivery::Subscribed(answer))) if to == shard => answer.outcomes[0].clone(),
            other => panic!("not an answer to shard {shard}: {other:?}"),
        }
    }

    /// Proves: a message goes to the shards that want its topic, and to no other, from the answer on.
    #[test]
    fn only_interested_shards_get_a_message() {
        let mut sequencer = Sequencer::new(3, &Limits::default(), 1);
        assert!(publish(&mut sequencer, "t").is_empty());
        let grant = subscribe(&mut sequencer, 2, "t").granted.unwrap();
        assert_eq!(grant.seq, 1, "the head at that moment");
        let out = publish(&mut sequencer, "t");
        assert!(matches!(&out[..], [(2, Delivery::Message(message))] if message.seq == 2));
        assert!(publish(&mut sequencer, "other").is_empty());
        let mut none = Outbox::new();
        sequencer.handle(Request::Leave { shard: 2, topic: grant.id, count: 1 }, NOW, &mut none);
        assert!(publish(&mut sequencer, "t").is_empty());
    }

    #[test]
    fn since_is_answered_honestly_without_a_history() {
        let mut sequencer = Sequencer::new(1, &Limits::default(), 1);
        publish(&mut sequencer, "t");
        let epoch = subscribe(&mut sequencer, 0, "t").granted.unwrap().epoch;
        let topic_id = sequencer.topics.id("t").unwrap();
        let topic = sequencer.topics.get(topic_id).unwrap();
        assert_eq!(recovery(topic, Since { epoch, seq: 1 }), Recovery::Complete);
        assert_eq!(recovery(topic, Since { epoch, seq: 0 }), Recovery::NoHistory { last: 0 });
        assert_eq!(recovery(topic, Since { epoch: crate::ids::Epoch(9), seq: 1 }), Recovery::Epoch);
    }
}
