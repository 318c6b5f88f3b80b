//! What is asked of the sequencer, and what it sends to shards: the two directions of every hand-over.

use super::piece::{Piece, Place};
use super::rules::Rules;
use crate::clock::Moment;
use crate::ids::{ConnectionId, Epoch, ShardId, TopicId};
use crate::mailbox::Weigh;
use crate::message::{Message, Payload};
use crate::protocol::class::{Class, Terms};
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::operation::Wish;
use crate::protocol::options::PublishOptions;
use crate::protocol::outcome::{Found, Grant, Outcome, Published, Refusal};
use crate::protocol::pattern::{Pattern, Subject};
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use std::fmt;
use std::sync::Arc;

/// Something to do for the sequencer.
#[derive(Debug)]
pub(crate) enum Request {
    /// One message in.
    Publish {
        /// Where to.
        topic: TopicName,
        /// What.
        payload: Payload,
        /// What is said of it, where anything is.
        options: Option<Box<PublishOptions>>,
        /// Who wants to know its sequence.
        receipt: Option<Receipt>,
    },
    /// A session with an identity comes in, and wants topics; the others of that identity may have to go.
    Enter {
        /// Who.
        connection: ConnectionId,
        /// Its identity's topic.
        identity: TopicName,
        /// What it wants beside that, in the order asked.
        wishes: Vec<Wish>,
    },
    /// Such a session has ended.
    Exit {
        /// Who.
        connection: ConnectionId,
        /// Its identity's topic.
        identity: TopicName,
    },
    /// A connection wants topics and patterns; answered through its shard's FIFO.
    Subscribe {
        /// Who.
        connection: ConnectionId,
        /// How the answer is to be worded.
        tag: Tag,
        /// What, in the order asked.
        wishes: Vec<Wish>,
    },
    /// A connection wants topics and patterns no more; the answer marks the place in the FIFO from which nothing arrives.
    Unsubscribe {
        /// Who.
        connection: ConnectionId,
        /// How the answer is to be worded.
        tag: Tag,
        /// What.
        subjects: Vec<Subject>,
    },
    /// The server says something of itself, to who listens.
    Announce {
        /// On which of its own topics.
        topic: TopicName,
        /// What.
        payload: Payload,
    },
    /// A connection wants to know its topics; the answer comes behind those of the operations before it.
    List {
        /// Who.
        connection: ConnectionId,
        /// How the answer is to be worded.
        tag: Tag,
    },
    /// A connection that has published wants to close: it is, behind what it is told of its messages.
    Farewell {
        /// Who.
        connection: ConnectionId,
        /// The client's own, which it is answered with.
        code: CloseCode,
    },
    /// Subscriptions that a shard has already ended by itself.
    Leave {
        /// Which shard.
        shard: ShardId,
        /// Of which topic.
        topic: TopicId,
        /// How many.
        count: u32,
    },
    /// The same of a pattern.
    Unwatch {
        /// Which shard.
        shard: ShardId,
        /// Which pattern.
        pattern: Pattern,
        /// How many.
        count: u32,
    },
    /// A subscriber that is not live yet wants the next piece of a history; answered through its shard's FIFO.
    Replay(Box<Ask>),
    /// Other topic rules are in force from now on.
    Rules(Box<Rules>),
    /// A question of the operator.
    Ask(Question),
}

/// The time of a request, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) moment: Moment,
    /// Microseconds since 1970, for `ts`.
    pub(crate) unix_us: u64,
}

/// Where a subscriber stands that wants the next piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) connection: ConnectionId,
    pub(crate) topic: TopicId,
    /// Told back, so that an answer to one that has unsubscribed since is known.
    pub(crate) ticket: u32,
    pub(crate) epoch: Epoch,
    pub(crate) place: Place,
}

/// Called once with the answer, on the thread of the one asked; it must not block.
pub(crate) struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    pub(crate) fn new(answer: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    pub(crate) fn send(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Who is told the sequence of a published message.
#[derive(Debug)]
pub(crate) enum Receipt {
    /// A connection, through its shard's FIFO.
    Connection(ConnectionId, Tag),
    /// A caller outside the shards.
    Caller(Reply<Result<Published, Refusal>>),
}

impl Receipt {
    /// True exactly when a connection's operation is answered by it.
    pub(crate) fn is_owed(&self) -> bool {
        matches!(self, Self::Connection(_, Tag::Native(..)))
    }
}

/// A question of the operator; the answer goes through its reply.
#[derive(Debug)]
pub(crate) enum Question {
    /// Topics in the order of their ids, at most so many, of names that begin so.
    Topics { prefix: String, limit: usize, reply: Reply<Vec<TopicReport>> },
    /// One topic.
    Topic { name: String, reply: Reply<Option<TopicReport>> },
    /// The topics with the most messages since this was last asked, at most so many.
    Busiest { limit: usize, reply: Reply<Vec<Busy>> },
    /// Whether somebody has subscribed to a topic.
    IsWanted { topic: &'static str, reply: Reply<bool> },
    /// The sequencer's counters.
    Counters(Reply<SequencerCounters>),
}

/// A topic as the operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct TopicReport {
    #[serde(skip)]
    pub(crate) id: TopicId,
    pub(crate) topic: TopicName,
    pub(crate) class: Class,
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    pub(crate) subscribers: u64,
}

/// A topic, and its messages in some time.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Busy {
    #[serde(flatten)]
    pub(crate) report: TopicReport,
    pub(crate) messages: u64,
}

/// What the sequencer has counted since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SequencerCounters {
    pub(crate) topics: u64,
    pub(crate) published: u64,
    pub(crate) published_bytes: u64,
    pub(crate) refused: u64,
    /// Publishes refused because their sequence was given out already.
    pub(crate) stale: u64,
    /// Publishes refused because the topic has another class.
    pub(crate) misclassed: u64,
    /// What histories hold now.
    pub(crate) kept_messages: u64,
    pub(crate) kept_bytes: u64,
    /// What became of `since`.
    pub(crate) recovered: u64,
    pub(crate) not_recovered: u64,
    pub(crate) retired: u64,
    pub(crate) stalls: u64,
    pub(crate) queued: u64,
}

/// What one shard's FIFO carries.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// A message of a topic the shard wants.
    Message(Arc<Message>),
    /// A topic that a pattern of the shard matches is born; it comes before the topic's first message.
    Born(Box<Born>),
    /// The answer to a `Subscribe`: what follows in the FIFO is live.
    Subscribed(Box<Subscribed>),
    /// The answer to a `Replay`: what follows one that is the last is live.
    Replayed(Box<Replayed>),
    /// Something about a topic the shard wants has changed.
    News(Box<News>),
    /// The answer to an `Unsubscribe`.
    Unsubscribed(Box<Unsubscribed>),
    /// The place in the FIFO at which a connection asked for its topics.
    List(ConnectionId, Box<Tag>),
    /// The receipt of a message that this shard's connection published.
    Published(Box<PublishedFor>),
    /// A connection is to be closed, behind all that it is told before.
    Close(Farewell<'static>),
    /// Nothing follows.
    End,
}

impl Delivery {
    pub(crate) fn is_message(&self) -> bool {
        matches!(self, Self::Message(_))
    }
}

#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) connection: ConnectionId,
    pub(crate) tag: Tag,
    pub(crate) outcomes: Vec<Outcome>,
    /// What is sent before what is live, each with the place of its outcome; ascending.
    pub(crate) pieces: Vec<(usize, Piece)>,
    /// What became of the patterns. A topic that is born with an outcome above is among what they match.
    pub(crate) patterns: Vec<Watched>,
}

/// A pattern, and the topics it matches at its place in the FIFO.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) found: Found,
    /// What is sent before what is live, each with the place of its topic; ascending.
    pub(crate) pieces: Vec<(usize, Piece)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) reason: Reason,
    pub(crate) code: CloseCode,
    /// What it is told.
    pub(crate) text: &'a str,
}

#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) topic: TopicName,
    pub(crate) grant: Grant,
}

#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) connection: ConnectionId,
    pub(crate) ticket: u32,
    /// `None`: there is no snapshot to go on from.
    pub(crate) piece: Option<Piece>,
}

#[derive(Debug)]
pub(crate) struct News {
    pub(crate) topic: TopicId,
    pub(crate) change: Change,
}

/// What may change about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Another history begins after `seq`; subscribers are told.
    Epoch { epoch: Epoch, seq: u64 },
    /// Its publisher left out these numbers; subscribers are told.
    Skip { from: u64, to: u64 },
    /// Its terms are others.
    Terms(Terms),
    /// It is no more; who had it by a pattern will have it again when it is born again. Its id may be another's next,
    /// so what was counted of it ends here.
    Retired,
}

#[derive(Debug)]
pub(crate) struct Unsubscribed {
    pub(crate) connection: ConnectionId,
    pub(crate) tag: Tag,
    /// Each name asked for, with its topic if there is one.
    pub(crate) topics: Vec<(TopicName, Option<TopicId>)>,
    pub(crate) patterns: Vec<Pattern>,
}

#[derive(Debug)]
pub(crate) struct PublishedFor {
    pub(crate) connection: ConnectionId,
    pub(crate) tag: Tag,
    pub(crate) topic: TopicName,
    pub(crate) outcome: Result<Published, Refusal>,
}

impl Weigh for Request {
    fn weight(&self) -> usize {
        match self {
            Self::Publish { topic, payload, receipt, .. } => {
                let tag = if let Some(Receipt::Connection(_, tag)) = receipt { tag.weight() } else { 0 };
                topic.as_str().len() + payload.len() + tag
            }
            Self::Enter { identity, wishes, .. } => identity.as_str().len() + 48 + weight_of(wishes),
            Self::Exit { identity, .. } => identity.as_str().len(),
            Self::Subscribe { wishes, tag, .. } => weight_of(wishes) + tag.weight(),
            Self::Unsubscribe { subjects, tag, .. } => {
                subjects.iter().map(|subject| subject.len() + 16).sum::<usize>() + tag.weight()
            }
            Self::Announce { topic, payload } => topic.as_str().len() + payload.len(),
            Self::List { tag, .. } => tag.weight(),
            Self::Farewell { .. }
            | Self::Leave { .. }
            | Self::Unwatch { .. }
            | Self::Replay(_)
            | Self::Rules(_)
            | Self::Ask(_) => 0,
        }
    }
}

fn weight_of(wishes: &[Wish]) -> usize {
    wishes.iter().map(|wish| wish.subject.len() + 48).sum()
}

impl Weigh for Delivery {
    fn weight(&self) -> usize {
        match self {
            Self::Message(message) => message.payload.len(),
            Self::Subscribed(answer) => {
                let pieces = answer.patterns.iter().flat_map(|one| &one.pieces).chain(&answer.pieces);
                let pieces: usize = pieces.map(|(_, piece)| piece.weight()).sum();
                let matched = answer.patterns.iter().filter_map(|one| one.found.matched.as_ref().ok());
                let topics = answer.outcomes.len() + matched.map(|matched| matched.len() + 1).sum::<usize>();
                topics * 96 + answer.tag.weight() + pieces
            }
            Self::Replayed(answer) => answer.piece.as_ref().map_or(0, Piece::weight),
            Self::News(_) | Self::Born(_) | Self::Close(_) => 0,
            Self::Unsubscribed(answer) => {
                (answer.topics.len() + answer.patterns.len()) * 32 + answer.tag.weight()
            }
            Self::List(_, tag) => tag.weight(),
            Self::Published(receipt) => receipt.tag.weight(),
            Self::End => 0,
        }
    }
}
