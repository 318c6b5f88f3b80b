//! How connections come, live and go, as the core sees it.

use super::Shard;
use super::writer::{Closing, Effect, Ended, Hot, Lost, Sockets, State, Writer};
use crate::clock::Moment;
use crate::ids::{ConnectionId, Slot};
use crate::limits::CLOSE_LINGER_S;
use crate::message::Encoding;
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::reply;
use crate::sequencer::request::Farewell;
use crate::shard::queue::entry::Control;
use std::time::Duration;

/// A connection as the operator sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionReport {
    pub(crate) id: ConnectionId,
    pub(crate) state: State,
    pub(crate) subscriptions: usize,
    pub(crate) sent_frames: u64,
    pub(crate) lost: Lost,
    pub(crate) queued_frames: usize,
    pub(crate) queued_bytes: usize,
    /// Since the socket last took a byte or was seen to have passed one on, while it is full.
    pub(crate) stalled: Duration,
    /// Since the last sign of life.
    pub(crate) silent_s: u32,
    pub(crate) age: Duration,
}

impl Shard {
    /// A new connection, `Opening` until [`Shard::greet`].
    pub(crate) fn adopt(&mut self, encoding: Encoding, combined: Encoding, now: Moment) -> ConnectionId {
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let slot = self.writers.insert(Writer {
            generation,
            subscriptions: Vec::new(),
            wild: None,
            combined,
            outbound: None,
            replay: None,
            lost: None,
            answers_owed: 0,
            closing: None,
            opened: now,
            received: 0,
            heartbeat: None,
        }) as Slot;
        if slot as usize >= self.hot.len() {
            self.hot.resize(slot as usize + 1, Hot::FREE);
        }
        let (state, wire, heard_s) = (State::Opening, encoding.wire(), now.secs());
        self.hot[slot as usize] = Hot { state, encoding, wire, heard_s, ..Hot::FREE };
        self.debts.admit(slot);
        self.counters.opened += 1;
        ConnectionId { shard: self.id, slot, generation }
    }

    /// Writes the handshake's answer, where there is one; from here on the connection is open.
    pub(crate) fn greet(
        &mut self,
        id: ConnectionId,
        answer: Vec<u8>,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        if self.is_here(id) && self.hot[id.slot as usize].state == State::Opening {
            self.hot[id.slot as usize].state = State::Open;
            self.effects.push(Effect::Readable(id.slot));
            if !answer.is_empty() {
                self.control(id.slot, answer, Control::Notice, now, sockets);
            }
        }
    }

    /// True exactly when that very connection is still here.
    pub(crate) fn is_here(&self, id: ConnectionId) -> bool {
        id.shard == self.id
            && self.writers.get(id.slot as usize).is_some_and(|w| w.generation == id.generation)
    }

    /// The connection that has the slot now.
    pub(crate) fn id_of(&self, slot: Slot) -> Option<ConnectionId> {
        let generation = self.writers.get(slot as usize)?.generation;
        Some(ConnectionId { shard: self.id, slot, generation })
    }

    /// True exactly when nobody is connected.
    pub(crate) fn is_deserted(&self) -> bool {
        self.writers.is_empty()
    }

    /// True exactly when the connection has its close frame, sent or queued.
    pub(crate) fn is_closing(&self, slot: Slot) -> bool {
        self.hot[slot as usize].state == State::Closing
    }

    /// Bytes came from the client: it lives.
    pub(crate) fn heard(&mut self, slot: Slot, bytes: usize, now: Moment) {
        let hot = &mut self.hot[slot as usize];
        hot.heard_s = now.secs();
        hot.pinged = false;
        self.writers[slot as usize].received += bytes as u64;
        self.counters.bytes_received += bytes as u64;
    }

    /// Tells a connection that the server goes down.
    pub(crate) fn notify_shutdown(
        &mut self,
        id: ConnectionId,
        wait_ms: u64,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        if self.is_here(id) && matches!(self.hot[id.slot as usize].state, State::Open | State::Blocked) {
            self.notify(id.slot, &reply::shutdown_notice(wait_ms), now, sockets);
        }
    }

    /// Ends a connection in order: what it is owed, then the close frame. Nothing more is routed to it.
    pub(crate) fn close(
        &mut self,
        slot: Slot,
        reason: Reason,
        code: CloseCode,
        text: &str,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        match self.hot[slot as usize].state {
            State::Free | State::Closing => return,
            State::Opening => return self.end(slot, reason, true),
            State::Open | State::Blocked => {}
        }
        self.pay(slot, now, sockets);
        if matches!(self.hot[slot as usize].state, State::Open | State::Blocked) {
            self.close_with(slot, reason, code, text, now, sockets);
        }
    }

    /// The second half of every close: debts must be paid or forgiven by now.
    pub(in crate::shard) fn close_with(
        &mut self,
        slot: Slot,
        reason: Reason,
        code: CloseCode,
        text: &str,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        self.unsubscribe_all(slot);
        self.hot[slot as usize].state = State::Closing;
        let deadline = now + Duration::from_secs(CLOSE_LINGER_S);
        self.writers[slot as usize].closing = Some(Box::new(Closing { reason, deadline }));
        self.effects.push(Effect::Readable(slot));
        self.control(slot, self.wire(slot).close(code, text), Control::Close, now, sockets);
    }

    /// Closes a connection with its reason's code, if it is still here; says whether it was.
    pub(crate) fn close_if_here(
        &mut self,
        connection: ConnectionId,
        reason: Reason,
        text: &str,
        now: Moment,
        sockets: &mut impl Sockets,
    ) -> bool {
        let is_here = self.is_here(connection);
        self.see_off(Farewell { connection, reason, code: reason.code(), text }, now, sockets);
        is_here
    }

    /// Closes one that may not or does not want to stay, if it is still here.
    pub(super) fn see_off(&mut self, farewell: Farewell<'_>, now: Moment, sockets: &mut impl Sockets) {
        let Farewell { connection, reason, code, text } = farewell;
        if self.is_here(connection) {
            self.close(connection.slot, reason, code, text, now, sockets);
        }
    }

    /// Ends a connection at once. What it was owed dies with it.
    pub(crate) fn end(&mut self, slot: Slot, reason: Reason, reset: bool) {
        if self.hot[slot as usize].state == State::Free {
            return;
        }
        self.forgive(slot);
        self.unsubscribe_all(slot);
        if let Some(queue) = &mut self.writers[slot as usize].outbound {
            let lost = queue.clear(&mut self.queued);
            self.abandoned(slot, &lost);
            self.counters.blocked -= 1;
        }
        let writer = self.writers.remove(slot as usize);
        let delivered = std::mem::replace(&mut self.hot[slot as usize], Hot::FREE).sent;
        self.heartbeats.remove(&slot);
        // What closed it first is why it ended.
        let reason = writer.closing.map_or(reason, |closing| closing.reason);
        self.counters.dropped[reason as usize] += 1;
        self.effects.push(Effect::Ended(Ended {
            id: ConnectionId { shard: self.id, slot, generation: writer.generation },
            reason,
            reset,
            opened: writer.opened,
            received: writer.received,
            delivered,
            lost: writer.lost.map(|lost| *lost).unwrap_or_default(),
        }));
    }

    fn unsubscribe_all(&mut self, slot: Slot) {
        self.replays.due.remove(&slot);
        let mut topics = std::mem::take(&mut self.writers[slot as usize].subscriptions);
        self.counters.subscriptions -= topics.len() as u64;
        topics.iter().for_each(|topic| self.leave_later(*topic));
        topics.extend(self.unwatch_all(slot));
        topics.sort_unstable();
        self.depart(slot, &topics);
    }

    /// What the slot owes in the log is abandoned.
    pub(in crate::shard) fn forgive(&mut self, slot: Slot) {
        let debt = self.debts.take(slot);
        debt.iter().for_each(|number| self.abandon(slot, *number));
        self.debts.give_back(debt);
    }

    /// What an operator may want to know of every connection.
    pub(crate) fn connections(&self, now: Moment) -> impl Iterator<Item = ConnectionReport> {
        self.writers.iter().map(move |(slot, writer)| {
            let hot = self.hot[slot];
            let queue = writer.outbound.as_ref();
            ConnectionReport {
                id: ConnectionId { shard: self.id, slot: slot as Slot, generation: writer.generation },
                state: hot.state,
                subscriptions: writer.asked(),
                sent_frames: hot.sent,
                lost: writer.lost.as_deref().copied().unwrap_or_default(),
                queued_frames: queue.map_or(0, |queue| queue.frames()),
                queued_bytes: queue.map_or(0, |queue| queue.bytes()),
                stalled: queue.map_or(Duration::ZERO, |queue| now.since(queue.progress)),
                silent_s: now.secs().saturating_sub(hot.heard_s),
                age: now.since(writer.opened),
            }
        })
    }
}
