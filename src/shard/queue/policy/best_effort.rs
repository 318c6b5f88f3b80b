//! `best-effort`: the newest matter more than the oldest, and a gap notice tells which are missing.

use super::{Policy, Verdict};

pub(crate) struct BestEffort;

impl Policy for BestEffort {
    fn overflow(&self) -> Verdict {
        Verdict::SkipOldest
    }
}
