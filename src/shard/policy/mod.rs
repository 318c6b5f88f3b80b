//! What becomes of a message that does not fit: one small file per class of data.
//!
//! A policy runs only behind a full socket, and only after the socket was offered the queue again. The policy
//! that runs is that of the message that does not fit.

mod event;

use crate::ids::TopicId;
use crate::protocol::class::Class;
use crate::shard::outbound::Outbound;

/// What a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The connection closes with 4001; `last` is the last message of that topic it will have received.
    Close { last: u64 },
}

/// One class's answer to a queue that is full.
pub(crate) trait Policy {
    /// Decides about message `seq` of `topic`, which does not fit behind what `queue` holds.
    fn overflow(&self, queue: &Outbound, topic: TopicId, seq: u64) -> Verdict;
}

/// The policy of a class.
pub(crate) fn of(class: Class) -> &'static dyn Policy {
    match class {
        Class::Event | Class::State | Class::Delta | Class::BestEffort => &event::Event,
    }
}
