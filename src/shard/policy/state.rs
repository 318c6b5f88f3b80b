//! `state`: only the newest counts, so it takes the place of the one that waits, and lag never closes a connection.

use super::{Policy, Verdict};
use crate::ids::TopicId;
use crate::shard::outbound::Outbound;

pub(crate) struct State;

impl Policy for State {
    fn conflates(&self) -> bool {
        true
    }

    fn overflow(&self, _: &Outbound, _: TopicId, _: u64) -> Verdict {
        // Nothing of the topic waits, or it would have been replaced.
        Verdict::Queue
    }
}
