//! `state`: only the newest counts, so it takes the place of the one that waits, and lag never closes a connection.

use super::{Policy, Verdict};

pub(crate) struct State;

impl Policy for State {
    fn conflates(&self) -> bool {
        true
    }

    fn overflow(&self) -> Verdict {
        // Nothing of the topic waits, or it would have been replaced.
        Verdict::Queue
    }
}
