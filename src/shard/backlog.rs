//! Behind a full socket: frames move from the log into the writer's bounded queue, the writer's task drains it,
//! and past its bounds the policy of the topic's class runs.
//!
//! What becomes of whom: a queue over its frames or bytes is first offered to the socket once more; a shard over
//! its bytes gives up the connection furthest behind; a connection closed as slow has its queue dropped, the
//! begun frame finished, and the close frame sent.

use super::core::Shard;
use super::outbound::{Control, Entry};
use super::policy::{self, Verdict};
use super::writer::{Effect, Sockets, State, Taken};
use crate::clock::Moment;
use crate::ids::{Slot, TopicId};
use crate::limits::{ENTRY_BYTES, GATHER_BYTES_MAX};
use crate::protocol::class::Class;
use crate::protocol::close::Reason;
use crate::protocol::reply;

impl Shard {
    /// Moves frames of the log into the slot's queue; of the first ones the kernel already has `taken` bytes.
    pub(super) fn defer(
        &mut self,
        slot: Slot,
        numbers: impl Iterator<Item = u32>,
        mut taken: usize,
        now: Moment,
        sockets: &mut impl Sockets,
    ) {
        let encoding = self.hot[slot as usize].encoding;
        for number in numbers {
            let len = self.log.len_of(encoding, number);
            if taken >= len {
                taken -= len;
                self.hot[slot as usize].sent += 1;
            } else if self.makes_room(slot, number, len, now, sockets) {
                let frame = self.log.frame(number);
                let held = self.log.hold(encoding, number);
                self.log.forgive(number);
                let entry = Entry::Data { held, topic: frame.topic, seq: frame.seq };
                self.enqueue(slot, entry, std::mem::take(&mut taken));
            } else {
                self.abandon(number);
            }
        }
        self.bound_the_shard(now, sockets);
    }

    pub(super) fn abandon(&mut self, number: u32) {
        self.log.forgive(number);
        self.counters.abandoned += 1;
    }

    /// True when the blocked slot's queue may take the frame; otherwise its policy has run.
    fn makes_room(
        &mut self,
        slot: Slot,
        number: u32,
        len: usize,
        now: Moment,
        sockets: &mut impl Sockets,
    ) -> bool {
        let fits = |shard: &Self| {
            let limits = &shard.limits;
            let queue = shard.writers.get(slot as usize).and_then(|writer| writer.outbound.as_ref());
            queue.is_some_and(|queue| {
                queue.is_empty()
                    || (queue.frames() < limits.queue_frames
                        && queue.bytes() + len + ENTRY_BYTES <= limits.queue_bytes)
            })
        };
        if self.hot[slot as usize].state != State::Blocked {
            return false;
        }
        if fits(self) {
            return true;
        }
        self.write_queue(slot, now, sockets);
        if self.hot[slot as usize].state != State::Blocked || fits(self) {
            return self.hot[slot as usize].state == State::Blocked;
        }
        let frame = self.log.frame(number);
        let Some(queue) = &self.writers[slot as usize].outbound else { return false };
        let Verdict::Close { last } = policy::of(Class::Event).overflow(queue, frame.topic, frame.seq);
        self.close_slow(slot, frame.topic, last, now, sockets);
        false
    }

    /// Closes a slow consumer: the queue is dropped, the begun frame finished, the close frame sent.
    fn close_slow(&mut self, slot: Slot, topic: TopicId, last: u64, now: Moment, sockets: &mut impl Sockets) {
        let text = self.topics.get(topic).map_or_else(
            || "slow consumer".to_owned(),
            |topic| reply::slow_consumer(&topic.name, topic.epoch, last),
        );
        self.forgive(slot);
        if let Some(queue) = &mut self.writers[slot as usize].outbound {
            self.counters.abandoned += queue.abandon(&mut self.queued);
        }
        self.close_with(slot, Reason::SlowConsumer, Reason::SlowConsumer.code(), &text, now, sockets);
    }

    /// Closes a blocked slot that is too far behind, naming the last message it will have received.
    pub(super) fn give_up(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
        let Some(queue) = &self.writers[slot as usize].outbound else { return };
        let last = queue.iter().find_map(|(entry, begun)| match entry {
            Entry::Data { topic, seq, .. } if begun == 0 => Some((*topic, *seq - 1)),
            _ => None,
        });
        let begun = queue.iter().find_map(|(entry, _)| match entry {
            Entry::Data { topic, seq, .. } => Some((*topic, *seq)),
            Entry::Control { .. } => None,
        });
        let (topic, last) = last.or(begun).unwrap_or((TopicId::MAX, 0));
        self.close_slow(slot, topic, last, now, sockets);
    }

    /// All queues of a shard together have a bound; past it the connection furthest behind goes first.
    pub(super) fn bound_the_shard(&mut self, now: Moment, sockets: &mut impl Sockets) {
        while self.queued.bytes > self.limits.queues_bytes_per_shard && self.counters.blocked > 0 {
            let blocked = self.writers.iter().filter(|(slot, _)| self.hot[*slot].state == State::Blocked);
            let queues = blocked.filter_map(|(slot, writer)| Some((writer.outbound.as_ref()?.bytes(), slot)));
            let Some((_, furthest)) = queues.max() else { return };
            self.give_up(furthest as Slot, now, sockets);
        }
    }

    /// The writer task's turn: moves the slot's debts into its queue, then writes. True when there is no more
    /// to do for it.
    pub(crate) fn drain(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) -> bool {
        self.pay(slot, now, sockets);
        self.write_queue(slot, now, sockets);
        let Some(writer) = self.writers.get_mut(slot as usize) else { return true };
        if !writer.outbound.as_ref().is_some_and(|queue| queue.is_empty()) {
            return writer.outbound.is_none();
        }
        writer.outbound = None;
        self.effects.push(Effect::Readable(slot));
        self.counters.blocked -= 1;
        if self.hot[slot as usize].state == State::Blocked {
            self.hot[slot as usize].state = State::Open;
        }
        true
    }

    /// Writes from the queue until it is empty or the socket full.
    fn write_queue(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(queue) =
            self.writers.get_mut(slot as usize).and_then(|writer| writer.outbound.as_mut())
        {
            if queue.is_empty() {
                break;
            }
            queue.gather(&mut scratch, GATHER_BYTES_MAX);
            let taken = match sockets.send(slot, &scratch) {
                Taken::Bytes(taken) => taken,
                Taken::Dead => {
                    self.end(slot, Reason::Socket, true);
                    break;
                }
            };
            self.sends += 1;
            self.counters.bytes += taken as u64;
            if taken > 0 {
                queue.progress = now;
                // A connection that takes bytes is alive, whether or not it sends any.
                self.hot[slot as usize].heard_s = now.secs();
            }
            let (mut delivered, mut controls) = (0, Vec::<Control>::new());
            queue.advance(taken, &mut self.queued, |entry| match entry {
                Entry::Data { .. } => delivered += 1,
                Entry::Control { kind, .. } => controls.push(kind),
            });
            self.counters.delivered += delivered;
            self.hot[slot as usize].sent += delivered;
            controls.into_iter().for_each(|kind| self.control_sent(slot, kind));
            if taken < scratch.len() {
                break;
            }
        }
        self.scratch = scratch;
    }
}
