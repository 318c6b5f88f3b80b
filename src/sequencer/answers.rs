//! What the sequencer answers beside publishing: subscriptions, and the operator's questions.

use super::core::{Now, Outbox, Sequencer};
use super::request::{Delivery, Question, SequencerCounters, Subscribed, TopicReport, Unsubscribed};
use super::topics::Topic;
use crate::ids::ConnectionId;
use crate::protocol::operation::{Since, Wish};
use crate::protocol::outcome::{Grant, Outcome, Recovery, Refusal};
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
        let outcomes = wishes.into_iter().map(|wish| {
            let granted = match self.topics.touch(&wish.topic, now.moment) {
                None => Err(Refusal::Topics),
                Some((id, topic)) => {
                    let recovered = wish.since.map(|since| recovery(topic, since));
                    let grant =
                        Grant { id, epoch: topic.epoch, seq: topic.seq, terms: topic.terms, recovered };
                    self.topics.join(id, connection.shard);
                    Ok(grant)
                }
            };
            Outcome { topic: wish.topic, granted }
        });
        let answer = Subscribed { connection, tag, outcomes: outcomes.collect() };
        out.push_back((connection.shard, Delivery::Subscribed(Box::new(answer))));
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
        class: topic.terms.class,
        epoch: topic.epoch.to_string(),
        seq: topic.seq,
        subscribers: topic.subscribers(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::ids::Epoch;
    use crate::sequencer::topics::Topics;

    #[test]
    fn since_is_answered_honestly_without_a_history() {
        let mut topics = Topics::new(1, 1, 7);
        let name = TopicName::try_from("t").unwrap();
        let (_, topic) = topics.touch(&name, Moment::default()).unwrap();
        topic.seq = 2;
        let epoch = topic.epoch;
        assert_eq!(recovery(topic, Since { epoch, seq: 2 }), Recovery::Complete);
        assert_eq!(recovery(topic, Since { epoch, seq: 1 }), Recovery::NoHistory { last: 1 });
        assert_eq!(recovery(topic, Since { epoch, seq: 3 }), Recovery::Epoch, "a number never given out");
        assert_eq!(recovery(topic, Since { epoch: Epoch(9), seq: 2 }), Recovery::Epoch);
    }
}
