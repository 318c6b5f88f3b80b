//! What became of what was asked: places in a topic's history, and refusals.

use super::class::{Class, Terms};
use super::pattern::Pattern;
use super::topic::TopicName;
use crate::ids::{Epoch, TopicId};

/// Where a message was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The topic's history.
    pub epoch: Epoch,
    /// The message's number in it.
    pub seq: u64,
}

/// Why the sequencer would not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The table of topics is full. The operator's bound; a retry helps once topics have retired.
    #[error("the server holds as many topics as it may (limits.topics)")]
    Topics,
    /// A sequence that was given out already, or an epoch that is over. The publisher's doing; a retry does not help.
    #[error("stale: the topic is at {seq} of epoch {epoch}")]
    Stale {
        /// The topic's history.
        epoch: Epoch,
        /// Its newest number.
        seq: u64,
    },
    /// The topic has another class, by its rule or by its first publisher. A retry does not help.
    #[error("the topic has another class, by its rule or by its first publisher: {}", .has.as_str())]
    Class {
        /// The class it has.
        has: Class,
    },
    /// This connection has as many as it may. The client's doing.
    #[error("this connection has as many topics as it may (limits.topics_per_connection)")]
    TopicsPerConnection,
    /// The patterns match more topics than those of one connection may. The client's doing: a longer pattern helps.
    #[error(
        "this matches more topics than a connection's patterns may (limits.matches_per_connection); name fewer"
    )]
    Matches,
}

impl Refusal {
    /// As errors on the wire name it.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Topics | Self::TopicsPerConnection | Self::Matches => "limit",
            Self::Stale { .. } => "stale",
            Self::Class { .. } => "class",
        }
    }
}

/// What became of one wish.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) topic: TopicName,
    pub(crate) granted: Result<Grant, Refusal>,
}

/// What became of one pattern: the topics that it matches now.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) pattern: Pattern,
    pub(crate) matched: Result<Vec<(TopicName, Grant)>, Refusal>,
}

/// A place in a topic's history from which a subscription is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) id: TopicId,
    pub(crate) epoch: Epoch,
    /// The topic's head: the next message has the number after it.
    pub(crate) seq: u64,
    pub(crate) terms: Terms,
    /// Answer to `since`, where one was given.
    pub(crate) recovered: Option<Recovery>,
}

/// Whether what followed `since` could be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// Nothing was missed.
    Complete,
    /// The topic has another epoch: its history was lost.
    Epoch,
    /// The message after `last` is not in the history any more.
    Evicted { last: u64 },
    /// The topic keeps no history: what came after `last` is lost to this subscriber.
    NoHistory { last: u64 },
}
