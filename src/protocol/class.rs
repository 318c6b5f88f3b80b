//! Classes of data: what a topic's subscribers may expect of it when they fall behind.

use serde::{Deserialize, Serialize};

/// The class of a topic; each has its policy in `shard/queue/policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Trades, alerts, chat: every message counts. Past its limit a connection closes with 4001.
    #[default]
    Event,
    /// Best bid and ask, tickers: behind a full socket the newest replaces the one that waits, counted.
    State,
    /// Increments of a book: past its limit what waits is dropped, and a snapshot brings the subscriber up to date.
    Delta,
    /// Pulses: past its limit the oldest are skipped, and a gap notice says which.
    BestEffort,
}

impl Class {
    /// As it stands in settings and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::State => "state",
            Self::Delta => "delta",
            Self::BestEffort => "best-effort",
        }
    }

    /// The class of that name, as it stands in settings and on the wire.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Event, Self::State, Self::Delta, Self::BestEffort]
            .into_iter()
            .find(|class| class.as_str() == name)
    }
}

/// On what terms a topic is subscribed to: its class, and the limits that its rule sets below the connection's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) class: Class,
    /// Frames of the topic that one connection's queue may hold.
    pub(crate) queue_frames: Option<usize>,
    /// Bytes of the topic that one connection's queue may hold.
    pub(crate) queue_bytes: Option<usize>,
    /// Seconds that a frame of the topic may wait in it.
    pub(crate) queue_age_s: Option<u64>,
}
