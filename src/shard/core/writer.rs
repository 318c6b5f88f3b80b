//! A writer: one connection as its shard knows it. The hot part stands in an array, the cold part in the slab.

use crate::clock::Moment;
use crate::ids::{ConnectionId, Slot, TopicId};
use crate::message::Encoding;
use crate::message::wire::Wire;
use crate::protocol::close::Reason;
use crate::shard::core::replay::Replay;
use crate::shard::core::wildcards::Wild;
use crate::shard::queue::outbound::Outbound;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Nobody is here.
    #[default]
    Free,
    /// Adopted; its handshake's answer is not written yet, so nothing else may be.
    Opening,
    /// At a frame boundary: what it is owed goes straight to the socket.
    Open,
    /// Behind a full socket: there is a queue, and a task that drains it.
    Blocked,
    /// Its close frame is sent or queued; it is routed nothing more, and is reset at its deadline.
    Closing,
}

/// What a sweep touches of a connection: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hot {
    pub(crate) state: State,
    pub(crate) encoding: Encoding,
    pub(crate) wire: Wire,
    /// True exactly when a ping has been sent since the last byte was heard.
    pub(crate) pinged: bool,
    /// Second of the clock when it last gave a sign of life.
    pub(crate) heard_s: u32,
    /// Data frames handed to the kernel in full.
    pub(crate) sent: u64,
}

impl Hot {
    pub(crate) const FREE: Self = Self {
        state: State::Free,
        encoding: Encoding::Raw,
        wire: Wire::WebSocket,
        pinged: false,
        heard_s: 0,
        sent: 0,
    };
}

/// The rest of it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) generation: u32,
    /// By name, sorted.
    pub(crate) subscriptions: Vec<TopicId>,
    /// Its patterns, while it has any.
    pub(crate) wild: Option<Box<Wild>>,
    /// What `SET_PROPERTY combined` switches to.
    pub(crate) combined: Encoding,
    /// The bounded queue, while the socket is full.
    pub(crate) outbound: Option<Box<Outbound>>,
    /// What it did not get, once there is anything.
    pub(crate) lost: Option<Box<Lost>>,
    /// The topics on which it is not live yet, while there are any.
    pub(crate) replay: Option<Box<Replay>>,
    /// Operations whose answer the kernel does not have yet.
    pub(crate) answers_owed: u16,
    /// Why and until when, once it is closing.
    pub(crate) closing: Option<Box<Closing>>,
    pub(crate) opened: Moment,
    /// Bytes that came in.
    pub(crate) received: u64,
    /// When the heads of its topics are told, where asked for.
    pub(crate) heartbeat: Option<Heartbeat>,
}

/// Messages routed to a connection that it did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Lost {
    /// A newer one took their place.
    pub(crate) conflated: u64,
    /// They were skipped, and it was told.
    pub(crate) skipped: u64,
    /// They died with it.
    pub(crate) abandoned: u64,
}

/// Seconds, by the clock of [`Moment::secs`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) every_s: u32,
    pub(crate) next_s: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) reason: Reason,
    pub(crate) deadline: Moment,
}

/// What a socket did with bytes it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many of them, from the first; fewer than offered means full.
    Bytes(usize),
    /// It will never take any again.
    Dead,
}

/// Bytes for a slot's socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer<'a> {
    pub(crate) slot: Slot,
    pub(crate) bytes: &'a [u8],
}

/// The sockets of a shard's writers. The core writes through it and does nothing else with them.
pub(crate) trait Sockets {
    /// Offers bytes without waiting.
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Taken;

    /// The same for several slots, each named once: what became of each offer stands at its place in `taken`.
    fn send_all(&mut self, offers: &[Offer<'_>], taken: &mut [Taken]) {
        for (offer, taken) in offers.iter().zip(taken) {
            *taken = self.send(offer.slot, offer.bytes);
        }
    }

    /// Offers frames to slots that are sent datagrams, one each; a slot may be named several times. What is not taken
    /// at once is not sent: `Bytes(0)`.
    fn send_datagrams(&mut self, offers: &[Offer<'_>], taken: &mut [Taken]) {
        self.send_all(offers, taken);
    }

    /// Bytes taken that the peer has not acknowledged; 0 where nobody tells.
    fn unacknowledged(&self, _: Slot) -> usize {
        0
    }
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) id: ConnectionId,
    pub(crate) reason: Reason,
    /// True exactly when it did not end well: the kernel is to throw away what it still holds.
    pub(crate) reset: bool,
    pub(crate) opened: Moment,
    /// Bytes that came in.
    pub(crate) received: u64,
    /// Messages that the kernel took.
    pub(crate) delivered: u64,
    pub(crate) lost: Lost,
}

/// What the shell is to do for the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The socket is full: drain the queue when it takes bytes again.
    Blocked(Slot),
    /// Everything is written: close the writing side.
    Finished(Slot),
    /// The connection is gone from the core: let its socket go.
    Ended(Ended),
    /// A connection that was not read may be read again.
    Readable(Slot),
}
