//! What waits of one topic in a queue: where its messages stand, so that the newest can replace the one before it,
//! the oldest be taken back, and a gap grow, without a walk over the queue.

use std::collections::VecDeque;

/// A gap that the client has not been told of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Where its notice stands.
    pub(crate) position: u64,
    /// The first message that will not come.
    pub(crate) from: u64,
    /// The last.
    pub(crate) to: u64,
}

/// See the module. Positions are those of the queue; a frame that has begun does not wait any more.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Of its messages, ascending.
    positions: VecDeque<u64>,
    /// Of its messages together.
    pub(crate) bytes: usize,
    pub(crate) gap: Option<Gap>,
}

impl Waiting {
    /// Messages waiting.
    pub(crate) fn frames(&self) -> usize {
        self.positions.len()
    }

    /// Where the oldest stands.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.positions.front().copied()
    }

    /// Where all of them stand.
    pub(crate) fn positions(&self) -> impl Iterator<Item = u64> {
        self.positions.iter().copied()
    }

    pub(crate) fn push(&mut self, position: u64, bytes: usize) {
        self.positions.push_back(position);
        self.bytes += bytes;
    }

    /// The oldest waits no more.
    pub(crate) fn pop(&mut self, bytes: usize) {
        self.positions.pop_front();
        self.bytes -= bytes;
    }

    /// True exactly when nothing is left to know.
    pub(crate) fn is_idle(&self) -> bool {
        self.positions.is_empty() && self.gap.is_none()
    }
}
