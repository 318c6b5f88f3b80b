//! The pure cores wired together without threads, sockets or a clock: what benchmarks time, and what tests run
//! in virtual time. Not part of the public API.

mod inbox;
mod routing;

pub use inbox::Inbox;
pub use routing::Routing;

use crate::clock::Moment;
use crate::ids::Slot;
use crate::limits::{Limits, TICK_SLOTS_PER_YIELD};
use crate::message::{Encoding, Payload};
use crate::protocol::operation::Wish;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::core::{Outbox, Sequencer};
use crate::sequencer::request::{Now, Request};
use crate::shard::core::Shard;
use crate::shard::core::writer::{Effect, Sockets, Taken};

/// One sequencer and one shard, whose sockets take everything unless told otherwise.
#[derive(Debug)]
pub struct InProcess {
    sequencer: Sequencer,
    shard: Shard,
    outbox: Outbox,
    sink: Sink,
}

/// Sockets that take every byte and keep none; or, while full, take none.
#[derive(Debug, Default)]
struct Sink {
    is_full: bool,
    writes: u64,
    bytes: u64,
}

impl Sockets for Sink {
    fn send(&mut self, _: Slot, bytes: &[u8]) -> Taken {
        if self.is_full {
            return Taken::Bytes(0);
        }
        self.writes += 1;
        self.bytes += bytes.len() as u64;
        Taken::Bytes(bytes.len())
    }
}

/// What has been paid so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Messages handed to subscribers, summed over them.
    pub deliveries: u64,
    /// Writes that took.
    pub writes: u64,
    /// Bytes in them.
    pub bytes: u64,
}

const START: Now = Now { moment: Moment::from_micros(0), unix_us: 0 };

impl InProcess {
    /// So many connections, each subscribed to all of the topics.
    pub fn new(connections: usize, topics: &[TopicName]) -> Self {
        Self::with(Limits::default(), (0..connections).map(|_| topics.to_vec()))
    }

    /// A connection for each list of topics, subscribed to them.
    pub fn with(limits: Limits, connections: impl Iterator<Item = Vec<TopicName>>) -> Self {
        let mut wired = Self {
            sequencer: Sequencer::new(1, &limits, 1),
            shard: Shard::new(0, limits, 0),
            outbox: Outbox::new(),
            sink: Sink::default(),
        };
        for topics in connections {
            let connection = wired.shard.adopt(Encoding::Raw, Encoding::Combined, START.moment);
            wired.shard.greet(connection, Vec::new(), START.moment, &mut wired.sink);
            let wishes =
                topics.into_iter().map(|topic| Wish { subject: topic.into(), since: None }).collect();
            wired.request(Request::Subscribe { connection, tag: Tag::Silent, wishes });
            wired.route();
        }
        wired.shard.effects = Vec::new();
        wired.sink = Sink::default();
        wired
    }

    /// Takes one message in, up to the debts of its subscribers.
    pub fn publish(&mut self, topic: &TopicName, payload: Payload) {
        self.sequence(topic, payload);
        self.route();
    }

    /// Gives one message its place and leaves it in front of the shard.
    pub fn sequence(&mut self, topic: &TopicName, payload: Payload) {
        self.request(Request::Publish { topic: topic.clone(), payload, options: None, receipt: None });
    }

    /// Takes what is in front of the shard to the debts of its subscribers.
    pub fn route(&mut self) {
        for (_, delivery) in self.outbox.drain(..) {
            self.shard.deliver(delivery, START.moment, &mut self.sink);
        }
    }

    /// Pays everyone; nothing is owed afterwards but what stands in queues.
    pub fn sweep(&mut self) -> Paid {
        self.shard.begin_sweep();
        while !self.shard.sweep(usize::MAX, START.moment, &mut self.sink) {}
        self.shard.end_sweep();
        self.paid()
    }

    /// What is done once a second for all connections.
    pub fn tick(&mut self) {
        let mut next = Some(0);
        while let Some(slot) = next {
            next = self.shard.tick(slot, TICK_SLOTS_PER_YIELD, START.moment, &mut self.sink);
        }
    }

    /// Makes every socket full, or takes that back.
    pub fn fill(&mut self, is_full: bool) {
        self.sink.is_full = is_full;
    }

    /// Has every connection behind a full socket write its queue, as its writer's task would.
    pub fn drain(&mut self) -> Paid {
        for effect in std::mem::take(&mut self.shard.effects) {
            if let Effect::Blocked(slot) = effect {
                self.shard.drain(slot, START.moment, &mut self.sink);
            }
        }
        self.shard.effects.clear();
        self.paid()
    }

    fn paid(&self) -> Paid {
        Paid {
            deliveries: self.shard.counters().account.delivered,
            writes: self.sink.writes,
            bytes: self.sink.bytes,
        }
    }

    fn request(&mut self, request: Request) {
        self.sequencer.handle(request, START, &mut self.outbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sweep_pays_everyone_everything_in_one_write_each() {
        let topic = TopicName::try_from("t").unwrap();
        let mut wired = InProcess::new(100, std::slice::from_ref(&topic));
        for _ in 0..16 {
            wired.publish(&topic, "0123456789".into());
        }
        assert_eq!(wired.sweep(), Paid { deliveries: 1_600, writes: 100, bytes: 100 * 16 * 12 });
        assert_eq!(wired.sweep().writes, 100, "and nothing is owed twice");
    }

    #[test]
    fn behind_full_sockets_everything_waits_until_they_are_drained() {
        let topic = TopicName::try_from("t").unwrap();
        let mut wired = InProcess::new(100, std::slice::from_ref(&topic));
        wired.fill(true);
        for _ in 0..16 {
            wired.publish(&topic, "0123456789".into());
        }
        assert_eq!(wired.sweep(), Paid { deliveries: 0, writes: 0, bytes: 0 });
        wired.fill(false);
        assert_eq!(wired.drain(), Paid { deliveries: 1_600, writes: 100, bytes: 100 * 16 * 12 });
    }
}
