//! Frames from outside the log: answers, notices, pings, pongs, closes.
//!
//! While a connection is open none is dropped; nothing follows a close. All but pings and pongs come after what
//! the log still owes the connection.

use super::Shard;
use super::writer::{Effect, Sockets, State, Taken};
use crate::clock::Moment;
use crate::ids::{ConnectionId, Slot};
use crate::limits::ANSWERS_OWED_MAX;
use crate::message::wire::Wire;
use crate::protocol::close::Reason;
use crate::protocol::reply::{self, Tag};
use crate::sequencer::request::PublishedFor;
use crate::shard::queue::entry::{Control, Entry};
use crate::shard::queue::outbound::Outbound;

impl Shard {
    /// An operation has been taken whose answer is owed from now on.
    pub(crate) fn owe_answer(&mut self, slot: Slot) {
        let owed = &mut self.writers[slot as usize].answers_owed;
        *owed = owed.saturating_add(1);
    }

    /// True exactly when what the connection sent next may be acted on: its handshake is answered, it is owed few
    /// answers, and its queue has room for more of them. One that is closing gets none, and is read to its end.
    pub(crate) fn may_read(&self, id: ConnectionId) -> bool {
        if !self.is_here(id) {
            return true;
        }
        let writer = &self.writers[id.slot as usize];
        match self.hot[id.slot as usize].state {
            State::Free | State::Closing => true,
            State::Opening => false,
            State::Open | State::Blocked => {
                let queued = writer.outbound.as_ref().map_or(0, |queue| queue.bytes());
                writer.answers_owed < ANSWERS_OWED_MAX && queued < self.limits.queue_bytes
            }
        }
    }

    /// What the connection speaks.
    pub(in crate::shard) fn wire(&self, slot: Slot) -> Wire {
        self.hot[slot as usize].wire
    }

    /// Gives an answer that is owed.
    pub(crate) fn answer(
        &mut self,
        slot: Slot,
        text: Option<String>,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        match text {
            Some(text) => self.control(slot, self.wire(slot).text(&text), Control::Answer, now, sockets),
            None => self.answered(slot),
        }
    }

    /// Tells a connection something that it did not ask.
    pub(super) fn notify(&mut self, slot: Slot, text: &str, now: Moment, sockets: &mut impl Sockets) {
        self.control(slot, self.wire(slot).text(text), Control::Notice, now, sockets);
    }

    /// Gives the receipt of a published message; who asked for none is told of a refusal only.
    pub(super) fn published(&mut self, receipt: &PublishedFor, now: Moment, sockets: &mut impl Sockets) {
        if !self.is_here(receipt.connection) {
            return;
        }
        let slot = receipt.connection.slot;
        let text = reply::published(&receipt.tag, &receipt.topic, receipt.outcome);
        if receipt.tag != Tag::Silent {
            self.answer(slot, text, now, sockets);
        } else if let Some(text) = text {
            self.notify(slot, &text, now, sockets);
        }
    }

    fn answered(&mut self, slot: Slot) {
        let Some(writer) = self.writers.get_mut(slot as usize) else { return };
        writer.answers_owed = writer.answers_owed.saturating_sub(1);
        if writer.answers_owed == ANSWERS_OWED_MAX - 1 {
            self.effects.push(Effect::Readable(slot));
        }
    }

    /// Sends or queues a frame from outside the log.
    pub(crate) fn control(
        &mut self,
        slot: Slot,
        bytes: Vec<u8>,
        kind: Control,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        let pays_first =
            matches!(kind, Control::Answer | Control::Notice | Control::Gap(..) | Control::Close);
        if pays_first && self.debts.owes(slot) {
            self.pay(slot, now, sockets);
        }
        let Some(writer) = self.writers.get_mut(slot as usize) else { return };
        if self.hot[slot as usize].state == State::Closing && kind != Control::Close {
            // Nothing comes after a close frame.
            return;
        }
        if let Some(queue) = &mut writer.outbound {
            let bytes =
                if kind == Control::Pong { queue.replace_pong(bytes, &mut self.queued) } else { Some(bytes) };
            if let Some(bytes) = bytes {
                self.enqueue(slot, Entry::Control { bytes, kind }, 0);
            }
            if kind != Control::Close {
                self.bound_the_shard(now, sockets);
            }
            return;
        }
        match self.offer(slot, &bytes, sockets) {
            Taken::Dead => self.end(slot, Reason::Socket, true),
            Taken::Bytes(taken) => {
                self.counters.bytes += taken as u64;
                if taken == bytes.len() {
                    self.control_sent(slot, kind);
                } else {
                    self.block(slot, now);
                    self.enqueue(slot, Entry::Control { bytes, kind }, taken);
                }
            }
        }
    }

    pub(in crate::shard) fn control_sent(&mut self, slot: Slot, kind: Control) {
        match kind {
            Control::Answer => self.answered(slot),
            // There is no other side to wait for.
            Control::Close if self.is_sent_datagrams(slot) => self.end(slot, Reason::Client, false),
            Control::Close => self.effects.push(Effect::Finished(slot)),
            Control::Notice | Control::Gap(..) | Control::Ping | Control::Pong => {}
        }
    }

    /// Gives the writer a queue and has its task started. It must have none.
    pub(super) fn block(&mut self, slot: Slot, now: Moment) {
        if self.hot[slot as usize].state == State::Open {
            self.hot[slot as usize].state = State::Blocked;
        }
        self.counters.blocked += 1;
        self.effects.push(Effect::Blocked(slot));
        self.writers[slot as usize].outbound = Some(Box::new(Outbound::new(now)));
    }

    /// Queues a frame of which the kernel already has `begun` bytes; the writer must be blocked.
    pub(super) fn enqueue(&mut self, slot: Slot, entry: Entry, begun: usize) {
        if let Some(queue) = &mut self.writers[slot as usize].outbound {
            queue.push(entry, begun, &mut self.queued);
        }
    }
}
