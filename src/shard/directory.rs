//! The snapshot of shard handles: what doors, the sequencer and the operator hold of the shards.

use crate::clock::Moment;
use crate::ids::ShardId;
use crate::mailbox::{Mailbox, Sleeper};
use crate::sequencer::request::Delivery;
use crate::shard::command::Command;
use arc_swap::{ArcSwap, Guard};
use crossbeam::atomic::AtomicCell;
use std::sync::Arc;
use tokio::sync::Notify;

/// What others hold of a shard. Its methods' effects happen on the shard's own thread.
#[derive(Clone, Debug)]
pub(crate) struct ShardHandle {
    pub(crate) id: ShardId,
    /// The FIFO. Only the sequencer posts here.
    pub(crate) inbox: Arc<Mailbox<Delivery>>,
    /// Everybody else's requests, beside the FIFO.
    pub(crate) commands: Arc<Mailbox<Command>>,
    /// What the shard sleeps on.
    pub(crate) wake: Arc<Notify>,
    /// One clone a connection, held by its [`Seat`](crate::door::admission::Seat): counting them is counting
    /// connections, without another counter to keep.
    pub(crate) seats: Arc<()>,
    /// When it last began to deliver; the clock's start before it ever did.
    pub(crate) swept: Arc<AtomicCell<Moment>>,
}

impl ShardHandle {
    /// A handle to a shard that is about to start. `posters` is who waits for room in the inbox.
    pub(crate) fn new(id: ShardId, inbox_frames: usize, inbox_bytes: usize, posters: Sleeper) -> Self {
        let wake = Arc::new(Notify::new());
        let taker = || Sleeper::Task(wake.clone());
        // Nobody waits for room among commands: who finds none says so to whoever asked.
        let nobody = Sleeper::Tasks(Arc::new(Notify::new()));
        Self {
            id,
            inbox: Arc::new(Mailbox::new(inbox_frames, inbox_bytes, taker(), posters)),
            commands: Arc::new(Mailbox::new(crate::limits::COMMANDS_MAX, usize::MAX >> 1, taker(), nobody)),
            wake: wake.clone(),
            seats: Arc::default(),
            swept: Arc::default(),
        }
    }

    /// Connections that have a seat here.
    pub(crate) fn load(&self) -> usize {
        // One is the handle's own; a clone of the handle shares it only in passing, which a choice can bear.
        Arc::strong_count(&self.seats)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Directory {
    shards: ArcSwap<Vec<ShardHandle>>,
}

impl Directory {
    pub(crate) fn new(shards: Vec<ShardHandle>) -> Self {
        Self { shards: ArcSwap::from_pointee(shards) }
    }

    /// The shards as they are now; holding it delays nobody.
    pub(crate) fn load(&self) -> Guard<Arc<Vec<ShardHandle>>> {
        self.shards.load()
    }
}
