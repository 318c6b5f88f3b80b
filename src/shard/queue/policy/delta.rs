//! `delta`: an increment is worth nothing without those before it, so past the limit all of them go, and a snapshot
//! brings the subscriber up to date.

use super::{Policy, Verdict};

pub(crate) struct Delta;

impl Policy for Delta {
    fn overflow(&self) -> Verdict {
        Verdict::Resync
    }
}
