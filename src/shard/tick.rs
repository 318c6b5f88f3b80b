//! What a shard does once a second: pings, deadlines, heartbeats. One walk over the hot array, no timers.

use super::core::Shard;
use super::outbound::Control;
use super::writer::{Sockets, State};
use crate::clock::Moment;
use crate::ids::Slot;
use crate::message::frame;
use crate::protocol::close::Reason;
use crate::protocol::reply;
use std::time::Duration;

impl Shard {
    /// Pings the silent, closes the dead and the stalled, resets what did not close in time.
    pub(crate) fn tick(&mut self, now: Moment, sockets: &mut impl Sockets) {
        for slot in 0..self.hot.len() as Slot {
            let hot = self.hot[slot as usize];
            match hot.state {
                State::Free | State::Opening => {}
                State::Closing => self.tick_closing(slot, now),
                State::Open | State::Blocked => {
                    let silent_s = now.secs().saturating_sub(hot.heard_s);
                    if silent_s >= self.limits.idle_s {
                        let reason = Reason::NoPong;
                        self.close(slot, reason, reason.code(), "no pong", now, sockets);
                    } else if hot.state == State::Blocked && self.is_stalled(slot, now) {
                        self.give_up(slot, now, sockets);
                    } else if silent_s >= self.limits.ping_s && !hot.pinged {
                        self.hot[slot as usize].pinged = true;
                        self.control(slot, frame::frame(frame::PING, b""), Control::Ping, now, sockets);
                    }
                }
            }
        }
        self.send_heartbeats(now, sockets);
    }

    fn tick_closing(&mut self, slot: Slot, now: Moment) {
        let closing = self.writers.get(slot as usize).and_then(|writer| writer.closing);
        if let Some(closing) = closing.filter(|closing| closing.deadline <= now) {
            self.end(slot, closing.reason, true);
        }
    }

    fn is_stalled(&self, slot: Slot, now: Moment) -> bool {
        let queue = self.writers.get(slot as usize).and_then(|writer| writer.outbound.as_ref());
        queue.is_some_and(|queue| now.since(queue.progress) >= Duration::from_secs(self.limits.queue_stall_s))
    }

    fn send_heartbeats(&mut self, now: Moment, sockets: &mut impl Sockets) {
        let due: Vec<Slot> =
            self.heartbeats.iter().copied().filter(|slot| self.is_heartbeat_due(*slot, now)).collect();
        for slot in due {
            let heads =
                self.writers[slot as usize].subscriptions.iter().filter_map(|id| self.topics.get(*id));
            let text = reply::heartbeat(heads.map(|topic| (&topic.name, topic.seq)));
            self.control(slot, frame::frame(frame::TEXT, text.as_bytes()), Control::Notice, now, sockets);
        }
    }

    /// True at most once a period; and never behind a full socket, where the heads would be stale on arrival.
    fn is_heartbeat_due(&self, slot: Slot, now: Moment) -> bool {
        let every_s = self.writers.get(slot as usize).and_then(|writer| writer.heartbeat_s);
        let is_open = self.hot[slot as usize].state == State::Open;
        every_s.is_some_and(|every_s| is_open && now.secs() % every_s == slot % every_s)
    }
}
