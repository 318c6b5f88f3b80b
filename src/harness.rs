//! The pure cores wired together without threads, sockets or a clock: what benchmarks time, and what tests run
//! in virtual time. Not part of the public API.

use crate::clock::Moment;
use crate::ids::Slot;
use crate::limits::Limits;
use crate::message::{Encoding, Payload};
use crate::protocol::operation::Wish;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use crate::sequencer::core::{Now, Outbox, Sequencer};
use crate::sequencer::request::Request;
use crate::shard::core::Shard;
use crate::shard::writer::{Sockets, Taken};

/// One sequencer and one shard, whose sockets take everything.
#[derive(Debug)]
pub struct InProcess {
    sequencer: Sequencer,
    shard: Shard,
    outbox: Outbox,
    sink: Sink,
}

/// Sockets that take every byte and keep none.
#[derive(Debug, Default)]
struct Sink {
    writes: u64,
    bytes: u64,
}

impl Sockets for Sink {
    fn send(&mut self, _: Slot, bytes: &[u8]) -> Taken {
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
        let limits = Limits::default();
        let mut wired = Self {
            sequencer: Sequencer::new(1, &limits, 1),
            shard: Shard::new(0, limits, connections),
            outbox: Outbox::new(),
            sink: Sink::default(),
        };
        for _ in 0..connections {
            let connection = wired.shard.adopt(Encoding::Raw, Encoding::Combined, START.moment);
            wired.shard.greet(connection, Vec::new(), START.moment, &mut wired.sink);
            let wishes = topics.iter().map(|topic| Wish { topic: topic.clone(), since: None }).collect();
            wired.handle(Request::Subscribe { connection, tag: Tag::Silent, wishes });
        }
        wired.sink = Sink::default();
        wired
    }

    /// Takes one message in, up to the debts of its subscribers.
    pub fn publish(&mut self, topic: &TopicName, payload: Payload) {
        self.handle(Request::Publish { topic: topic.clone(), payload, receipt: None });
    }

    /// Pays everyone; nothing is owed afterwards.
    pub fn sweep(&mut self) -> Paid {
        self.shard.begin_sweep();
        while !self.shard.sweep(usize::MAX, START.moment, &mut self.sink) {}
        self.shard.end_sweep();
        Paid { deliveries: self.shard.counters().delivered, writes: self.sink.writes, bytes: self.sink.bytes }
    }

    fn handle(&mut self, request: Request) {
        self.sequencer.handle(request, START, &mut self.outbox);
        for (_, delivery) in self.outbox.drain(..) {
            self.shard.deliver(delivery, START.moment, &mut self.sink);
        }
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
}
