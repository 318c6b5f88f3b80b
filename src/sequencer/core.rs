//! The sequencer's core: the single writer of truth about topics. Pure: no threads, no sockets, no clock.
//!
//! Contract: requests are handled one by one in the order they came; each puts what it causes into the outbox,
//! in an order that every shard's FIFO keeps. So a topic has one order everywhere (promise 1), and a
//! subscription's answer and its first live message meet at one number (promise 4).
//!
//! ```text
//!   Request ──► handle ──► outbox: (shard, Delivery), (shard, Delivery), …
//! ```

use super::answers::give;
use super::identities::Identities;
use super::piece::Budget;
use super::request::{Delivery, Farewell, Now, Request, SequencerCounters};
use super::topics::Topics;
use crate::ids::{ShardId, TopicId};
use crate::limits::Limits;
use crate::message::{Message, Payload};
use crate::protocol::close::Reason;
use crate::protocol::options::PublishOptions;
use crate::protocol::outcome::{Published, Refusal};
use crate::protocol::topic::TopicName;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What waits to be posted to shards, oldest first.
pub(crate) type Outbox = VecDeque<(ShardId, Delivery)>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sequencer {
    pub(super) topics: Topics,
    pub(super) identities: Identities,
    pub(super) topic_idle: Duration,
    /// Topics that the patterns of one answer may match.
    pub(super) matches_max: usize,
    /// What one answer may carry of histories.
    pub(super) budget: Budget,
    pub(crate) counters: SequencerCounters,
}

impl Sequencer {
    /// A sequencer for so many shards, without topics. `first_epoch` must grow from start to start.
    pub(crate) fn new(shards: usize, limits: &Limits, first_epoch: u64) -> Self {
        Self {
            topics: Topics::new(shards, limits, first_epoch),
            identities: Identities::default(),
            topic_idle: Duration::from_secs(limits.topic_idle_s),
            matches_max: limits.matches_per_connection,
            budget: Budget::new(limits),
            counters: SequencerCounters::default(),
        }
    }

    /// Does what is asked and leaves what it causes in `out`.
    pub(crate) fn handle(&mut self, request: Request, now: Now, out: &mut Outbox) {
        match request {
            Request::Publish { topic, payload, options, receipt } => {
                let outcome = self.publish(&topic, payload, options, now, out);
                receipt.into_iter().for_each(|receipt| give(receipt, &topic, outcome, out));
            }
            Request::Enter { connection, identity, wishes } => {
                self.enter(connection, identity, wishes, now, out)
            }
            Request::Exit { connection, identity } => self.identities.release(&identity, connection),
            Request::Subscribe { connection, tag, wishes } => {
                self.subscribe(connection, tag, wishes, now, out)
            }
            Request::Unsubscribe { connection, tag, subjects } => {
                self.unsubscribe(connection, tag, subjects, out)
            }
            Request::Announce { topic, payload } => self.announce(&topic, payload, now, out),
            Request::List { connection, tag } => {
                out.push_back((connection.shard, Delivery::List(connection, Box::new(tag))));
            }
            Request::Farewell { connection, code } => {
                let farewell = Farewell { connection, reason: Reason::Client, code, text: "" };
                out.push_back((connection.shard, Delivery::Close(farewell)));
            }
            Request::Leave { shard, topic, count } => self.leave(topic, shard, count, now, out),
            Request::Unwatch { shard, pattern, count } => self.topics.unwatch(&pattern, shard, count),
            Request::Replay(ask) => self.replay(*ask, out),
            Request::Rules(rules) => self.set_rules(*rules, now, out),
            Request::Ask(question) => self.answer(question),
        }
    }

    /// Publishes a message as its publisher asks.
    fn publish(
        &mut self,
        name: &TopicName,
        payload: Payload,
        options: Option<Box<PublishOptions>>,
        now: Now,
        out: &mut Outbox,
    ) -> Result<Published, Refusal> {
        let Some(id) = self.topic(name, now.moment, out) else {
            self.counters.refused += 1;
            return Err(Refusal::Topics);
        };
        if let Some(options) = &options {
            self.prepare(id, options, out)?;
        }
        let is_image = options.is_some_and(|options| options.image);
        self.place(id, payload, is_image, now, out).ok_or(Refusal::Topics)
    }

    /// Gives a message the next number of its topic, keeps it, and sends it to the shards that want it.
    pub(super) fn place(
        &mut self,
        id: TopicId,
        payload: Payload,
        is_image: bool,
        now: Now,
        out: &mut Outbox,
    ) -> Option<Published> {
        let topic = self.topics.get_mut(id)?;
        topic.seq += 1;
        topic.has_begun = true;
        self.counters.published += 1;
        self.counters.published_bytes += payload.len() as u64;
        let published = Published { epoch: topic.epoch, seq: topic.seq };
        let is_kept = topic.charter.bounds.keep_anything();
        if !is_kept {
            topic.history.pass(topic.seq);
        }
        let mut shards = topic.shards().peekable();
        if is_kept || shards.peek().is_some() {
            let message = Arc::new(Message {
                topic: id,
                name: topic.name.clone(),
                seq: topic.seq,
                time_us: now.unix_us,
                is_image,
                payload,
            });
            out.extend(shards.map(|shard| (shard, Delivery::Message(message.clone()))));
            if is_kept {
                self.topics.keep(id, message, now.moment);
            }
        }
        Some(published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::ids::ConnectionId;
    use crate::protocol::operation::Wish;
    use crate::protocol::outcome::Outcome;
    use crate::protocol::reply::Tag;

    const NOW: Now = Now { moment: Moment::from_micros(0), unix_us: 1 };

    fn name(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    fn connection(shard: ShardId) -> ConnectionId {
        ConnectionId { shard, slot: 0, generation: 0 }
    }

    fn publish(sequencer: &mut Sequencer, topic: &str) -> Vec<(ShardId, Delivery)> {
        let mut out = Outbox::new();
        let request =
            Request::Publish { topic: name(topic), payload: "1".into(), options: None, receipt: None };
        sequencer.handle(request, NOW, &mut out);
        out.into()
    }

    fn subscribe(sequencer: &mut Sequencer, shard: ShardId, topic: &str) -> Outcome {
        let mut out = Outbox::new();
        let wishes = vec![Wish { subject: name(topic).into(), since: None }];
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
}
