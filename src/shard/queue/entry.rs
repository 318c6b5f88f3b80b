//! What waits in a writer's queue: a message, a frame from outside the log, or a piece of a replay.

use crate::ids::{Epoch, TopicId};
use crate::protocol::class::Class;
use crate::protocol::operation::Since;
use crate::shard::core::log::Held;
use std::rc::Rc;

/// What a frame from outside the log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// The answer to an operation; one fewer is owed once it has gone.
    Answer,
    /// A handshake's answer, a notice, a heartbeat.
    Notice,
    /// What of a topic will not come after that place; it stands before the topic's next message.
    Gap(TopicId, Since),
    /// A question whether the client is there; it need not wait for what is owed.
    Ping,
    /// Of pongs one is owed at a time: the newest.
    Pong,
    /// The last frame; when it has gone, so has the writing side.
    Close,
}

/// One message waiting.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) held: Rc<Held>,
    pub(crate) topic: TopicId,
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
    pub(crate) class: Class,
    /// Whether its topic is indexed.
    pub(crate) indexed: bool,
    /// Second of the clock when it came.
    pub(crate) since_s: u32,
}

/// Frames of a topic's history.
#[derive(Clone, Debug)]
pub(crate) struct Portion {
    pub(crate) held: Rc<Held>,
    pub(crate) topic: TopicId,
    /// Where a subscriber stands that lacks them, and one that has them.
    pub(crate) before: Since,
    pub(crate) last: Since,
}

/// One frame waiting.
#[derive(Debug)]
pub(crate) enum Entry {
    Data(Data),
    Control {
        bytes: Vec<u8>,
        kind: Control,
    },
    /// A piece of a replay, shared by all who are sent the same.
    Piece(Box<Portion>),
    /// A message that was taken back.
    Gone,
}

impl Entry {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Data(data) => &data.held.bytes,
            Self::Control { bytes, .. } => bytes,
            Self::Piece(portion) => &portion.held.bytes,
            Self::Gone => &[],
        }
    }
}
