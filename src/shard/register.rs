//! The register of visitors: who came and who went, as shards tell whoever keeps it.
//!
//! Contract: a shard never waits for it. It is bounded; what does not fit is counted and forgotten.

use crate::ids::ConnectionId;
use crate::limits::{REGISTER_BYTES_MAX, REGISTER_ENTRIES_MAX};
use crate::mailbox::{Mailbox, Sleeper, Weigh};
use crate::shard::core::writer::{Ended, Lost};
use serde::{Serialize, Serializer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// See the module. Shards post, one keeper takes.
#[derive(Debug)]
pub(crate) struct Register {
    entries: Mailbox<Entry>,
    bell: Arc<Notify>,
}

/// Somebody came or went.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Entry {
    Connected(Visitor),
    Disconnected(Box<Visit>),
}

/// Who it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Visitor {
    #[serde(serialize_with = "as_text")]
    pub(crate) id: ConnectionId,
    /// Its identity, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    pub(crate) address: SocketAddr,
    pub(crate) transport: &'static str,
    /// As requested.
    pub(crate) path: Box<str>,
}

/// What became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Visit {
    #[serde(flatten)]
    pub(crate) visitor: Visitor,
    pub(crate) reason: &'static str,
    pub(crate) duration_ms: u64,
    /// Bytes that came in.
    pub(crate) received_bytes: u64,
    /// Messages that the kernel took.
    pub(crate) delivered: u64,
    /// Messages routed to it that it did not get: the sum of what follows.
    pub(crate) lost: u64,
    #[serde(flatten)]
    pub(crate) of_these: Lost,
}

impl Visit {
    pub(crate) fn new(visitor: Visitor, ended: &Ended, lasted: Duration) -> Self {
        let Ended { reason, received, delivered, lost, .. } = *ended;
        Self {
            visitor,
            reason: reason.as_str(),
            duration_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            received_bytes: received,
            delivered,
            lost: lost.conflated + lost.skipped + lost.abandoned,
            of_these: lost,
        }
    }
}

impl Register {
    pub(crate) fn new() -> Self {
        let bell = Arc::new(Notify::new());
        // Nobody waits for room.
        let nobody = Sleeper::Tasks(Arc::new(Notify::new()));
        let entries =
            Mailbox::new(REGISTER_ENTRIES_MAX, REGISTER_BYTES_MAX, Sleeper::Task(bell.clone()), nobody);
        Self { entries, bell }
    }

    /// Enters somebody; false when there was no room.
    pub(crate) fn enter(&self, entry: Entry) -> bool {
        self.entries.post(entry).is_ok()
    }

    /// The oldest entry; `None` for now.
    pub(crate) fn take(&self) -> Option<Entry> {
        self.entries.take()
    }

    /// Waits until there is one; true when there will be none any more.
    pub(crate) async fn is_finished(&self) -> bool {
        self.entries.arrivals.arm();
        if self.entries.is_empty() && !self.entries.is_finished() {
            self.bell.notified().await;
        }
        self.entries.is_finished()
    }

    /// Nothing is entered any more.
    pub(crate) fn close(&self) {
        self.entries.close();
    }
}

impl Weigh for Entry {
    fn weight(&self) -> usize {
        let (who, visit) = match self {
            Self::Connected(who) => (who, 0),
            Self::Disconnected(visit) => (&visit.visitor, size_of::<Visit>()),
        };
        size_of::<Self>() + visit + who.path.len() + who.client.as_ref().map_or(0, String::len)
    }
}

fn as_text<S: Serializer>(id: &ConnectionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
