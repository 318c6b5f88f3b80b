//! A piece of a topic's history on its way to one subscriber.
//!
//! Contract: pieces follow each other from where the subscriber stands to the topic's head; the one that reaches it
//! says so, and what follows it in the FIFO is live. What was let go between two pieces is named in the next.

use super::topics::Topic;
use crate::ids::Epoch;
use crate::limits::{Limits, REPLAY_BYTES_MAX, REPLAY_MESSAGES_MAX};
use crate::message::Message;
use std::sync::Arc;

/// Where a subscriber stands that is not live yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before a snapshot, if there is one; else it needs nothing up to that number.
    Snapshot { head: u64 },
    /// Behind: it was sent nothing after `last`, and cannot go on without a snapshot.
    Resync { last: u64 },
    /// It has everything up to that number.
    After(u64),
}

impl Place {
    /// The last message that whoever stands there has or needs no more.
    pub(crate) fn seq(self) -> u64 {
        match self {
            Self::Snapshot { head: seq } | Self::Resync { last: seq } | Self::After(seq) => seq,
        }
    }
}

/// What a subscriber is told before a piece, because it will not be sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Gap {
        from: u64,
        to: u64,
        reason: &'static str,
    },
    /// Another history has begun, of which it is sent what comes after `seq`.
    Epoch {
        epoch: Epoch,
        seq: u64,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) epoch: Epoch,
    pub(crate) loss: Option<Loss>,
    /// Where it begins, to be asked for again.
    pub(crate) place: Place,
    /// The number before the first message's, were none left out.
    pub(crate) after: u64,
    pub(crate) messages: Vec<Arc<Message>>,
    /// True exactly when the first message begins a snapshot.
    pub(crate) is_snapshot: bool,
    /// True exactly when it reaches the head.
    pub(crate) is_last: bool,
}

impl Piece {
    /// Where the subscriber stands once it has the piece.
    pub(crate) fn end(&self) -> Place {
        match self.messages.last() {
            Some(message) => Place::After(message.seq),
            // Everything up to there was told to be lost.
            None if self.loss.is_some() => Place::After(self.after),
            None => self.place,
        }
    }

    /// True exactly when there is nothing to send before what is live.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_last && self.messages.is_empty() && self.loss.is_none()
    }

    pub(crate) fn weight(&self) -> usize {
        self.messages.iter().map(|message| message.payload.len() + 16).sum()
    }
}

/// What one answer may carry; one message it always may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    messages: usize,
    bytes: usize,
    is_untouched: bool,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        // A connection's queue must bear a piece and what is live beside it.
        let bytes = REPLAY_BYTES_MAX.min(limits.queue_bytes / 4);
        let messages = REPLAY_MESSAGES_MAX.min(limits.queue_frames / 4);
        Self { messages, bytes, is_untouched: true }
    }

    /// True when the message may go along; once one may not, none behind it may.
    fn take(&mut self, message: &Message) -> bool {
        let len = message.payload.len();
        if !self.is_untouched && (self.messages == 0 || self.bytes < len) {
            self.messages = 0;
            return false;
        }
        *self = Self {
            messages: self.messages.saturating_sub(1),
            bytes: self.bytes.saturating_sub(len),
            is_untouched: false,
        };
        true
    }
}

impl Topic {
    /// The number its snapshot begins with, if there is one.
    pub(crate) fn snapshot(&self) -> Option<u64> {
        self.history.snapshot(self.charter.snapshot)
    }

    /// The next piece for who stands there in that epoch; `None` when it cannot go on without a snapshot.
    pub(crate) fn piece(&self, epoch: Epoch, place: Place, budget: &mut Budget) -> Option<Piece> {
        let gap =
            |last: u64, to: u64, reason| (last < to).then_some(Loss::Gap { from: last + 1, to, reason });
        let (snapshot, floor, head) = (self.snapshot(), self.history.floor(), self.seq);
        let (loss, snapshot, after) = if epoch != self.epoch {
            let after = if snapshot.is_some() { head } else { floor };
            (Some(Loss::Epoch { epoch: self.epoch, seq: after }), snapshot, after)
        } else {
            match place {
                Place::Snapshot { .. } if snapshot.is_some() => (None, snapshot, head),
                Place::Resync { last } => (gap(last, head, "slow"), Some(snapshot?), head),
                Place::After(seq) | Place::Snapshot { head: seq } if self.history.reaches(seq) => {
                    (None, None, seq)
                }
                Place::After(seq) if snapshot.is_some() => (gap(seq, head, "evicted"), snapshot, head),
                Place::After(seq) | Place::Snapshot { head: seq } => {
                    (gap(seq, floor, "evicted"), None, floor)
                }
            }
        };
        let after = snapshot.map_or(after, |first| first - 1);
        let mut follow = self.history.after(after).peekable();
        let mut messages = Vec::new();
        while let Some(message) = follow.next_if(|message| budget.take(message)) {
            messages.push(message.clone());
        }
        let is_last = follow.peek().is_none();
        let is_snapshot = snapshot.is_some() && !messages.is_empty();
        // Asked for again, it is a piece of this epoch, and what is lost has been told.
        let place = match (loss, snapshot, place) {
            (_, Some(_), place @ Place::Snapshot { .. }) => place,
            (_, Some(_), _) => Place::Snapshot { head },
            (Some(_), None, _) => Place::After(after),
            (None, None, place) => place,
        };
        Some(Piece { epoch: self.epoch, loss, place, after, messages, is_snapshot, is_last })
    }
}
