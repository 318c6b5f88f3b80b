//! What a shard does once a second: pings, deadlines, heartbeats. One walk over the hot array, no timers.

use super::Shard;
use super::writer::{Sockets, State};
use crate::clock::Moment;
use crate::ids::Slot;
use crate::limits::HEARTBEAT_TOPICS_PER_S;
use crate::message::wire::Wire;
use crate::protocol::close::Reason;
use crate::protocol::reply;
use crate::shard::queue::entry::Control;
use std::time::Duration;

impl Shard {
    /// Pings the silent, closes the dead and the stalled, resets what did not close in time, sends heartbeats that
    /// are due; for so many slots from `first`. Returns where to go on.
    pub(crate) fn tick(
        &mut self,
        first: Slot,
        count: usize,
        now: Moment,
        sockets: &mut impl Sockets,
    ) -> Option<Slot> {
        let end = self.hot.len().min(first as usize + count) as Slot;
        for slot in first..end {
            let hot = self.hot[slot as usize];
            match hot.state {
                State::Free | State::Opening => {}
                State::Closing => self.tick_closing(slot, now),
                State::Open | State::Blocked => {
                    if hot.state == State::Blocked {
                        self.note_acknowledged(slot, now, sockets);
                    }
                    let silent_s = now.secs().saturating_sub(self.hot[slot as usize].heard_s);
                    let (limit_s, reason, text) = match hot.wire {
                        Wire::Udp => (self.limits.lease_s, Reason::LeaseExpired, "the lease has expired"),
                        Wire::WebSocket | Wire::Tcp => (self.limits.idle_s, Reason::NoPong, "no pong"),
                    };
                    if silent_s >= limit_s {
                        self.close(slot, reason, reason.code(), text, now, sockets);
                    } else if hot.state == State::Blocked && self.is_stalled(slot, now) {
                        self.give_up(slot, now, sockets);
                    } else if self.is_to_be_pinged(slot, silent_s, now) {
                        self.hot[slot as usize].pinged = true;
                        self.control(slot, self.wire(slot).ping(), Control::Ping, now, sockets);
                    }
                    self.judge_age(slot, now, sockets);
                }
            }
        }
        let due: Vec<Slot> = self.heartbeats.range(first..end).copied().collect();
        due.into_iter().for_each(|slot| self.beat(slot, now, sockets));
        self.ask_where_due(first..end, now);
        ((end as usize) < self.hot.len()).then_some(end)
    }

    /// WebSocket clients answer a ping, one is enough. Of TCP either side only says that it is there, at intervals.
    fn is_to_be_pinged(&self, slot: Slot, silent_s: u32, now: Moment) -> bool {
        let hot = self.hot[slot as usize];
        match hot.wire {
            Wire::WebSocket => silent_s >= self.limits.ping_s && !hot.pinged,
            Wire::Tcp | Wire::Udp => {
                hot.state == State::Open && (now.secs() + slot).is_multiple_of(self.limits.ping_s)
            }
        }
    }

    fn tick_closing(&mut self, slot: Slot, now: Moment) {
        let closing = self.writers.get(slot as usize).and_then(|writer| writer.closing.as_deref().copied());
        if let Some(closing) = closing.filter(|closing| closing.deadline <= now) {
            self.end(slot, closing.reason, true);
        }
    }

    /// A socket asks for more only once much of what it holds has gone, so who takes little at a time is known by
    /// what it has acknowledged.
    fn note_acknowledged(&mut self, slot: Slot, now: Moment, sockets: &impl Sockets) {
        let writer = self.writers.get_mut(slot as usize);
        let Some(queue) = writer.and_then(|writer| writer.outbound.as_mut()) else { return };
        let unacknowledged = sockets.unacknowledged(slot);
        if unacknowledged < queue.unacknowledged {
            queue.progress = now;
            self.hot[slot as usize].heard_s = now.secs();
        }
        queue.unacknowledged = unacknowledged;
    }

    fn is_stalled(&self, slot: Slot, now: Moment) -> bool {
        let queue = self.writers.get(slot as usize).and_then(|writer| writer.outbound.as_ref());
        queue.is_some_and(|queue| {
            !queue.is_patient() && now.since(queue.progress) >= Duration::from_secs(self.limits.queue_stall_s)
        })
    }

    /// Sends a heartbeat if it is due: never behind a full socket, where the heads would be stale on arrival.
    fn beat(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
        let is_open = self.hot[slot as usize].state == State::Open;
        let Some(writer) = self.writers.get_mut(slot as usize).filter(|_| is_open) else { return };
        let fewest_s = (writer.topics().count() / HEARTBEAT_TOPICS_PER_S) as u32;
        let Some(heartbeat) = writer.heartbeat.as_mut().filter(|heartbeat| heartbeat.next_s <= now.secs())
        else {
            return;
        };
        heartbeat.next_s = now.secs().saturating_add(heartbeat.every_s.max(fewest_s));
        let heads = writer.topics().filter_map(|id| self.topics.get(id));
        let text = reply::heartbeat(heads.map(|topic| (&topic.name, topic.seq)));
        self.notify(slot, &text, now, sockets);
    }
}
