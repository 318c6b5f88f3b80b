//! The shard's core: its slab of writers, its topics, its log. Pure: no threads, no clock, and sockets only as
//! a trait that takes bytes.
//!
//! Here is routing, over [`topics`], [`log`](mod@log), [`debts`] and their [`lists`]; [`sweep`] pays, or [`datagrams`]
//! where there is no queue; [`ledger`] is what became of it. The others are everything that is not data.
//!
//! Contract:
//! 1. Deliveries are handled in the order of the FIFO. A subscription holds from its answer on.
//! 2. A connection gets its frames in that order, each once, or is closed; frames from outside the log come
//!    after what the log still owes it, except pings and pongs.
//! 3. `routed = delivered + conflated + skipped + abandoned + pending` at all times, of each topic and of all.
//! 4. Nothing here waits: a full socket gets a queue, a full queue its policy.
//!
//! What is to be done outside (tasks, sockets, requests to the sequencer) is left in `effects`, `leaves`, `exits`,
//! `wildcards` and `replays`.

pub(crate) mod connections;
mod control;
pub(crate) mod counters;
mod datagrams;
pub(crate) mod debts;
mod guests;
pub(crate) mod ledger;
mod lists;
pub(crate) mod log;
mod replay;
#[cfg(test)]
mod replays;
#[cfg(test)]
mod rings;
#[cfg(test)]
mod situations;
mod subscriptions;
mod sweep;
mod tick;
pub(crate) mod topics;
mod wildcards;
pub(crate) mod writer;

use crate::clock::Moment;
use crate::ids::{ConnectionId, ShardId, Slot, TopicId};
use crate::limits::Limits;
use crate::message::Message;
use crate::protocol::topic::TopicName;
use crate::sequencer::request::Delivery;
use crate::shard::queue::account::Total;
use counters::Counters;
use debts::Debts;
use ledger::Ledgers;
use log::Log;
use replay::Replays;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use sweep::Sweep;
use topics::Topics;
use wildcards::Wildcards;
use writer::{Effect, Hot, Sockets, Writer};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(super) id: ShardId,
    pub(super) limits: Limits,
    pub(super) writers: Slab<Writer>,
    pub(super) hot: Vec<Hot>,
    pub(super) debts: Debts,
    pub(super) topics: Topics,
    pub(super) log: Log,
    pub(super) queued: Total,
    pub(super) counters: Counters,
    pub(crate) ledgers: Ledgers,
    pub(super) scratch: Vec<u8>,
    pub(super) sweep: Sweep,
    /// Frames that go as datagrams in the next call: for whom, and their numbers.
    pub(super) batch: Vec<(Slot, u32)>,
    /// Sends so far, to spend a budget of them.
    pub(super) sends: usize,
    /// Who asked for heartbeats.
    pub(super) heartbeats: BTreeSet<Slot>,
    /// Who is not live yet on what it subscribed to.
    pub(crate) replays: Replays,
    /// Who has which pattern.
    pub(crate) wildcards: Wildcards,
    pub(super) next_generation: u32,
    /// Subscriptions that ended here and that the sequencer does not know of yet, by topic.
    pub(crate) leaves: BTreeMap<TopicId, u32>,
    /// Sessions with an identity that have ended, and its topic: the sequencer is to be told.
    pub(crate) exits: Vec<(ConnectionId, TopicName)>,
    /// What the shell is to do, oldest first.
    pub(crate) effects: Vec<Effect>,
    /// True exactly when the end mark has been taken from the FIFO.
    pub(crate) ended: bool,
}

impl Shard {
    /// With memory set aside for so many connections: until it is touched it costs nothing, and growing would stall.
    pub(crate) fn new(id: ShardId, limits: Limits, slots: usize) -> Self {
        Self {
            id,
            limits,
            writers: Slab::with_capacity(slots),
            hot: Vec::with_capacity(slots),
            debts: Debts::new(slots),
            ..Self::default()
        }
    }

    /// True exactly when the log may take another message.
    pub(crate) fn has_room(&self) -> bool {
        self.log.has_room() && self.debts.has_room()
    }

    /// Handles the next of the FIFO.
    pub(crate) fn deliver(&mut self, delivery: Delivery, now: Moment, sockets: &mut impl Sockets) {
        match delivery {
            Delivery::Message(message) => self.route(&message),
            Delivery::Born(born) => self.born(&born, now, sockets),
            Delivery::Subscribed(answer) => self.subscribed(*answer, now, sockets),
            Delivery::Replayed(answer) => self.replayed(*answer, now, sockets),
            Delivery::News(news) => self.news(&news, now, sockets),
            Delivery::Unsubscribed(answer) => self.unsubscribed(&answer, now, sockets),
            Delivery::List(connection, tag) => self.list(connection, &tag, now, sockets),
            Delivery::Published(receipt) => self.published(&receipt, now, sockets),
            Delivery::Close(farewell) => self.see_off(farewell, now, sockets),
            Delivery::End => self.ended = true,
        }
    }

    /// Frames a message once per encoding in use and adds its number to what each subscriber owes.
    fn route(&mut self, message: &Message) {
        let Some(topic) = self.topics.get_mut(message.topic) else { return };
        topic.seq = message.seq;
        let encodings = topic.encodings();
        let slots = topic.slots();
        if slots.is_empty() {
            // Those who want it here are not live yet. A frame that nobody owes would never be cut.
            return;
        }
        let number = self.log.append(message, encodings, slots.len() as u32);
        self.debts.owe(slots, number);
        self.ledgers.book(message.topic, |of| of.routed += slots.len() as u64);
    }
}
