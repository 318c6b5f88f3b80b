//! `event`: every message counts, so a connection that cannot keep up is told where it stopped, and closed.

use super::{Policy, Verdict};

pub(crate) struct Event;

impl Policy for Event {
    fn overflow(&self) -> Verdict {
        Verdict::Close
    }
}
