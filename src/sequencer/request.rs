//! What is asked of the sequencer, and what it sends to shards: the two directions of every hand-over.

use crate::ids::{ConnectionId, ShardId, TopicId};
use crate::mailbox::Weigh;
use crate::message::{Message, Payload};
use crate::protocol::class::Class;
use crate::protocol::operation::Wish;
use crate::protocol::outcome::{Outcome, Published, Refusal};
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
        /// Who wants to know its sequence.
        receipt: Option<Receipt>,
    },
    /// A connection wants topics; answered through its shard's FIFO.
    Subscribe {
        /// Who.
        connection: ConnectionId,
        /// How the answer is to be worded.
        tag: Tag,
        /// What, in the order asked.
        wishes: Vec<Wish>,
    },
    /// A connection wants topics no more; the answer marks the place in the FIFO from which nothing arrives.
    Unsubscribe {
        /// Who.
        connection: ConnectionId,
        /// How the answer is to be worded.
        tag: Tag,
        /// What.
        topics: Vec<TopicName>,
    },
    /// A connection wants to know its topics; the answer comes behind those of the operations before it.
    List {
        /// Who.
        connection: ConnectionId,
        /// How the answer is to be worded.
        tag: Tag,
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
    /// A question of the operator.
    Ask(Question),
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
    /// The sequencer's counters.
    Counters(Reply<SequencerCounters>),
}

/// A topic as the operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct TopicReport {
    pub(crate) topic: TopicName,
    pub(crate) class: Class,
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    pub(crate) subscribers: u64,
}

/// What the sequencer has counted since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SequencerCounters {
    pub(crate) topics: u64,
    pub(crate) published: u64,
    pub(crate) published_bytes: u64,
    pub(crate) refused: u64,
    pub(crate) retired: u64,
    pub(crate) stalls: u64,
    pub(crate) queued: u64,
}

/// What one shard's FIFO carries.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// A message of a topic the shard wants.
    Message(Arc<Message>),
    /// The answer to a `Subscribe`: what follows in the FIFO is live.
    Subscribed(Box<Subscribed>),
    /// The answer to an `Unsubscribe`.
    Unsubscribed(Box<Unsubscribed>),
    /// The place in the FIFO at which a connection asked for its topics.
    List(ConnectionId, Box<Tag>),
    /// The receipt of a message that this shard's connection published.
    Published(Box<PublishedFor>),
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
}

#[derive(Debug)]
pub(crate) struct Unsubscribed {
    pub(crate) connection: ConnectionId,
    pub(crate) tag: Tag,
    /// Each name asked for, with its topic if there is one.
    pub(crate) topics: Vec<(TopicName, Option<TopicId>)>,
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
            Self::Publish { topic, payload, receipt } => {
                let tag = if let Some(Receipt::Connection(_, tag)) = receipt { tag.weight() } else { 0 };
                topic.as_str().len() + payload.len() + tag
            }
            Self::Subscribe { wishes, tag, .. } => {
                wishes.iter().map(|wish| wish.topic.as_str().len() + 48).sum::<usize>() + tag.weight()
            }
            Self::Unsubscribe { topics, tag, .. } => {
                topics.iter().map(|topic| topic.as_str().len() + 16).sum::<usize>() + tag.weight()
            }
            Self::List { tag, .. } => tag.weight(),
            Self::Leave { .. } | Self::Ask(_) => 0,
        }
    }
}

impl Weigh for Delivery {
    fn weight(&self) -> usize {
        match self {
            Self::Message(message) => message.payload.len(),
            Self::Subscribed(answer) => answer.outcomes.len() * 64 + answer.tag.weight(),
            Self::Unsubscribed(answer) => answer.topics.len() * 32 + answer.tag.weight(),
            Self::List(_, tag) => tag.weight(),
            Self::Published(receipt) => receipt.tag.weight(),
            Self::End => 0,
        }
    }
}
