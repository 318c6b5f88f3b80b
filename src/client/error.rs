//! What can go wrong for a client. Each message says what to do next.

use super::closed::Closed;

/// See the module. A retry helps exactly where [`ClientError::is_final`] is false.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The caller's mistake: a URL, or something this transport cannot do.
    #[error("{0}")]
    Usage(String),
    /// A message that no datagram can carry.
    #[error("{0}; publish over tcp:// or ws://")]
    Unsendable(String),
    /// Nothing answers there.
    #[error("cannot connect to {server}: {why}; is the server running? start one with `stentor demo`")]
    Unreachable {
        /// The URL, without its parameters.
        server: String,
        /// What the system says.
        why: String,
    },
    /// The server answered the handshake with something else than an upgrade.
    #[error("{server} refused {path} with {status}{}{text}; check the URL and what this client may do there", if .text.is_empty() { "" } else { ": " })]
    Refused {
        /// The URL, without its parameters.
        server: String,
        /// What was asked for.
        path: String,
        /// The HTTP status and its words.
        status: String,
        /// What the answer says.
        text: String,
    },
    /// Something else listens there.
    #[error("{server} does not speak WebSocket here ({why}); check the URL")]
    Foreign {
        /// The URL, without its parameters.
        server: String,
        /// What was wrong with its answer.
        why: String,
    },
    /// A connection was taken, and then nothing was said.
    #[error("{server} took the connection and did not answer within 10 s; check the URL")]
    Silent {
        /// The URL, without its parameters.
        server: String,
    },
    /// An operation was not answered in time.
    #[error("the server did not answer the subscription within 10 s; check the URL")]
    Unanswered,
    /// Nothing of what was asked for was granted.
    #[error("not subscribed: {why}; check the topics{}", if *.by_topic { " and what this client may read" } else { "" })]
    NotSubscribed {
        /// What the server says.
        why: String,
        /// True exactly when each topic was refused for itself.
        by_topic: bool,
    },
    /// A message was refused.
    #[error("the server refused the message with {code}: {message}; check what this client may publish")]
    NotPublished {
        /// As errors on the wire name it.
        code: String,
        /// What the server says.
        message: String,
    },
    /// The server closed the connection.
    #[error("the server closed the connection: {closed}; {}", .closed.advice())]
    Closed {
        /// With which code, and why.
        closed: Closed,
    },
    /// The connection ended without a close.
    #[error("the connection was lost ({0}); check the server and run it again")]
    Lost(String),
    /// The connection ended before what was published was answered: sent again, it may come twice.
    #[error("{0}: the last messages sent may not have been accepted; check the server and send them again")]
    Unconfirmed(String),
    /// More was received meanwhile than is held: the caller must take it with `next` first.
    #[error("the messages received meanwhile fill the client's memory; call next before asking more")]
    Behind,
}

impl ClientError {
    /// True exactly when trying again by itself cannot help, or is not wanted by the server.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Usage(_)
            | Self::Unsendable(_)
            | Self::Foreign { .. }
            | Self::NotSubscribed { .. }
            | Self::NotPublished { .. } => true,
            // What is at fault there is the server, or its load.
            Self::Refused { status, .. } => !status.starts_with(['5']) && !status.starts_with("429"),
            Self::Closed { closed } => closed.is_final(),
            _ => false,
        }
    }

    /// As a command ends with it: the server ended what still had to be confirmed.
    pub(super) fn ended() -> Self {
        Self::Lost("it ended without a close".to_owned())
    }
}
