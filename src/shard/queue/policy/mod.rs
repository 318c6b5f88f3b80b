//! What becomes of a message that does not fit: one small file per class of data.
//!
//! A policy runs only behind a full socket, and only after the socket was offered the queue again. The policy
//! that runs is that of the message that does not fit.

mod best_effort;
mod delta;
mod event;
mod state;

use crate::protocol::class::Class;

/// What a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The connection closes with 4001, which names the last message of that topic it will have received.
    Close,
    /// It waits all the same: there is never more of the topic than this.
    Queue,
    /// The oldest messages of the topic are skipped until it fits, or it is itself; a gap notice says so.
    SkipOldest,
    /// All that waits of the topic is dropped, and it; the subscriber starts again from a snapshot.
    Resync,
}

/// One class's answer to a queue that is full.
pub(crate) trait Policy {
    /// True where a message takes the place of the one of its topic that waits.
    fn conflates(&self) -> bool {
        false
    }

    /// Decides about a message that does not fit.
    fn overflow(&self) -> Verdict;
}

/// The policy of a class.
pub(crate) fn of(class: Class) -> &'static dyn Policy {
    match class {
        Class::Event => &event::Event,
        Class::State => &state::State,
        Class::Delta => &delta::Delta,
        Class::BestEffort => &best_effort::BestEffort,
    }
}
