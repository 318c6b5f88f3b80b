//! `delta`: an increment is worth nothing without those before it, so past the limit all of them go, and a snapshot
//! brings the subscriber up to date.

use super::{Policy, Verdict};
use crate::ids::TopicId;
use crate::shard::outbound::Outbound;

pub(crate) struct Delta;

impl Policy for Delta {
    fn overflow(&self, _: &Outbound, _: TopicId, _: u64) -> Verdict {
        Verdict::Resync
    }
}
