//! `best-effort`: the newest matter more than the oldest, and a gap notice tells which are missing.

use super::{Policy, Verdict};
use crate::ids::TopicId;
use crate::shard::outbound::Outbound;

pub(crate) struct BestEffort;

impl Policy for BestEffort {
    fn overflow(&self, _: &Outbound, _: TopicId, _: u64) -> Verdict {
        Verdict::SkipOldest
    }
}
