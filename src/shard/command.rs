//! What a shard is asked beside its FIFO: by doors, by the operator, by the one who shuts it down.

use crate::clock::Moment;
use crate::door::admission::Admitted;
use crate::ids::{ConnectionId, TopicId};
use crate::mailbox::Weigh;
use crate::sequencer::request::Reply;
use crate::shard::core::connections::ConnectionReport;
use crate::shard::core::counters::Counters;
use crate::shard::core::ledger::Ledger;
use crate::shard::core::writer::Lost;
use crate::shard::register::Visitor;
use serde::Serialize;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) enum Command {
    /// A socket that has passed the door; the shard writes the handshake's answer.
    Adopt(Box<Admitted>),
    /// The connections furthest behind, at most so many.
    Connections { sort: Sort, limit: usize, reply: Reply<Vec<Ranked>> },
    /// Close one connection; answers whether it was here.
    Disconnect { id: ConnectionId, reply: Reply<bool> },
    /// What has been counted.
    Counters(Reply<Counters>),
    /// What has been counted of these topics, in their order.
    Ledgers { topics: Arc<[TopicId]>, reply: Reply<Vec<Ledger>> },
    /// Tell everybody that the server goes down, then close one kind of connections over some time.
    Drain(Drain),
}

/// One step of a shutdown.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) who: Who,
    /// The closes are spread at random between now and then.
    pub(crate) until: Moment,
    /// When whoever has not closed by then is let go.
    pub(crate) finish_by: Moment,
    /// What clients are told to wait before they come back, at most; jittered per connection.
    pub(crate) retry_after: Duration,
    /// Called when the last of them has its close frame.
    pub(crate) done: Reply<()>,
}

/// Whom a drain closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Everyone who does not only publish.
    Subscribers,
    /// Those who came to publish.
    Publishers,
}

/// What `GET /connections` sorts by, greatest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    /// Bytes queued, then frames.
    #[default]
    Lag,
    /// Frames sent.
    Sent,
    /// How long it has been connected.
    Age,
    /// Topics.
    Subscriptions,
}

/// A connection in `GET /connections`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConnectionLine {
    #[serde(flatten)]
    pub(crate) visitor: Visitor,
    pub(crate) state: crate::shard::core::writer::State,
    pub(crate) subscriptions: usize,
    pub(crate) sent_frames: u64,
    #[serde(flatten)]
    pub(crate) lost: Lost,
    pub(crate) queued_frames: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) stalled_ms: u64,
    pub(crate) silent_s: u32,
    pub(crate) age_s: u64,
}

/// What an order compares, greatest first.
pub(crate) type Rank = (u64, u64);

/// A connection in its place.
pub(crate) type Ranked = (Rank, ConnectionLine);

/// Keeps the first so many, in order.
pub(crate) fn keep_first<T>(ranked: &mut Vec<(Rank, T)>, limit: usize) {
    if limit < ranked.len() {
        ranked.select_nth_unstable_by_key(limit, |(rank, _)| Reverse(*rank));
        ranked.truncate(limit);
    }
    ranked.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
}

impl Sort {
    pub(crate) fn rank(self, report: &ConnectionReport) -> Rank {
        match self {
            Self::Lag => (report.queued_bytes as u64, report.queued_frames as u64),
            Self::Sent => (report.sent_frames, 0),
            Self::Age => (millis(report.age), 0),
            Self::Subscriptions => (report.subscriptions as u64, 0),
        }
    }
}

impl ConnectionLine {
    pub(crate) fn new(report: &ConnectionReport, visitor: Visitor) -> Self {
        Self {
            visitor,
            state: report.state,
            subscriptions: report.subscriptions,
            sent_frames: report.sent_frames,
            lost: report.lost,
            queued_frames: report.queued_frames,
            queued_bytes: report.queued_bytes,
            stalled_ms: millis(report.stalled),
            silent_s: report.silent_s,
            age_s: report.age.as_secs(),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Weigh for Command {
    fn weight(&self) -> usize {
        0
    }
}
