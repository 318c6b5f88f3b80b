//! What a client asks for and what it is told.

use super::error::ClientError;
use crate::message::Payload;
use crate::protocol::class::Class;
use crate::protocol::topic::TopicName;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A place in a topic's history: the last message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The history, as the server names it.
    pub epoch: String,
    /// The message's number in it.
    pub seq: u64,
}

/// A text that is not `EPOCH:SEQ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position; give EPOCH:SEQ, for example k3f9:88123, as the subscription was answered")]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (epoch, seq) = text.rsplit_once(':').filter(|(epoch, _)| !epoch.is_empty()).ok_or(NotAPlace)?;
        Ok(Self { epoch: epoch.to_owned(), seq: seq.parse().map_err(|_| NotAPlace)? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

/// A topic or pattern to subscribe to, and where to resume it. A text is one without a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The topic's name, or a pattern: the beginning of names and `*`.
    pub topic: String,
    /// The last message received; a pattern has none.
    pub since: Option<Place>,
}

impl From<&str> for Wish {
    fn from(topic: &str) -> Self {
        topic.to_owned().into()
    }
}

impl From<String> for Wish {
    fn from(topic: String) -> Self {
        Self { topic, since: None }
    }
}

impl From<(&str, Place)> for Wish {
    fn from((topic, since): (&str, Place)) -> Self {
        Self { topic: topic.to_owned(), since: Some(since) }
    }
}

/// A message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// Its number.
    pub seq: u64,
    /// What was published, byte for byte. Over TCP and UDP its kind is found by looking.
    pub payload: Payload,
    /// True exactly when it takes the place of everything before it.
    pub is_snapshot: bool,
}

/// A subscription as the server granted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The topic or pattern.
    pub topic: String,
    /// Absent for patterns.
    pub class: Option<Class>,
    /// The topic's head at that moment; absent for patterns.
    pub head: Option<Place>,
    /// Whether all since the place that was named follows; absent where none was.
    pub recovered: Option<bool>,
    /// Why it does not: `epoch`, `evicted` or `none`.
    pub reason: Option<String>,
}

/// A topic or pattern that the server does not grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The topic or pattern.
    pub topic: String,
    /// As errors on the wire name it.
    pub code: String,
    /// The server's words.
    pub message: String,
}

/// What came. What the server says beside messages stands in its own words in [`Client::words`](super::Client::words).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Message),
    /// The answer to a subscription, and again when it has been resumed: before the first message of its topics.
    Subscribed {
        /// What is subscribed now.
        granted: Vec<Granted>,
        /// What is not.
        refused: Vec<Refused>,
    },
    /// Topics and patterns were left: nothing more comes because of them.
    Unsubscribed {
        /// Which.
        topics: Vec<String>,
    },
    /// Messages that will not come, or that nothing shows to have come.
    Gap {
        /// Of which topic.
        topic: String,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
        /// As the server says it; `datagram` where datagrams were lost and nothing repaired it, `unseen` where a pattern
        /// brought a topic that was not known, or could not be resumed, after the connection was lost.
        reason: String,
    },
    /// A topic's history was lost; what follows belongs to a new one.
    Epoch {
        /// Of which topic.
        topic: String,
        /// The new history, and its newest number. Its name is empty where a pattern brought the topic over WebSocket, whose
        /// messages do not tell.
        head: Place,
    },
    /// The server holds this many frames that were not read yet.
    Slow {
        /// Frames.
        behind: u64,
    },
    /// Nothing waits any more.
    CaughtUp {
        /// How many messages of each topic were replaced by newer ones.
        conflated: BTreeMap<String, u64>,
    },
    /// The server announces something, such as its `shutdown`.
    Notice {
        /// What.
        code: String,
        /// When to come back, which the client does by itself.
        retry_after: Option<Duration>,
    },
    /// The server would not do something that has no other answer.
    Error {
        /// As errors on the wire name it.
        code: String,
        /// The server's words.
        message: String,
    },
    /// The connection is lost, or an attempt to have another failed. The next is made by itself.
    Disconnected {
        /// What happened.
        why: ClientError,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// There is a connection again; everything is being subscribed from where it was.
    Reconnected,
    /// Something this client does not know; see the server's own words.
    Other,
}
