//! What can go wrong for someone who embeds Stentor.

use crate::config::ConfigError;
use crate::protocol::outcome::Refusal;
use crate::protocol::topic::TopicError;
use std::net::SocketAddr;

/// A message was not taken. A full queue is not among these: see [`Accepted`](crate::Accepted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The publisher's mistake: not a topic name.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The publisher's mistake: names beginning with `$sys.` belong to the server.
    #[error("topics that begin with $sys. belong to the server")]
    Reserved,
    /// The publisher's mistake: over `limits.message_bytes`.
    #[error("the message has {bytes} bytes; at most {max} are taken (limits.message_bytes)")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The sequencer would not; the refusal says whose doing it is and whether a retry helps.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server is shutting down; publish elsewhere.
    #[error("the server is shutting down")]
    Closed,
}

/// Settings were not taken in; those before them stay in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The caller's mistake: a setting cannot be.
    #[error(transparent)]
    Setting(#[from] ConfigError),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closed,
}

/// The server did not start. The caller's settings or the machine's limits; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port could not be bound.
    #[error("cannot listen on {address}: {source}; is another server running there? (--listen, --admin)")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A setting contradicts another or the machine.
    #[error("{0}")]
    Setting(String),
    /// The system refused a thread or a runtime.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}
