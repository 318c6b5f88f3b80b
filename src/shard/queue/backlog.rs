//! Behind a full socket: frames move from the log into the writer's bounded queue, and the writer's task drains it.
//!
//! What does not fit is the business of `overflow.rs`. A shard over its bytes gives up the connection furthest
//! behind.

use super::entry::{Control, Data, Entry};
use super::policy;
use crate::clock::Moment;
use crate::ids::{Epoch, Slot, TopicId};
use crate::limits::GATHER_BYTES_MAX;
use crate::protocol::class::Terms;
use crate::protocol::close::Reason;
use crate::shard::core::Shard;
use crate::shard::core::writer::{Effect, Sockets, State, Taken};

impl Shard {
    /// Moves frames of the log into the slot's queue; of the first ones the kernel already has `taken` bytes.
    pub(in crate::shard) fn defer(
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
                self.take_in(slot, number, std::mem::take(&mut taken), now);
            }
        }
        self.warn(slot);
        self.bound_the_shard(now, sockets);
    }

    /// Queues a frame of the log, or puts it in the place of the one of its topic that waits.
    fn take_in(&mut self, slot: Slot, number: u32, begun: usize, now: Moment) {
        let frame = self.log.frame(number);
        let held = self.log.hold(self.hot[slot as usize].encoding, number);
        self.log.forgive(number);
        let terms = self.terms(frame.topic);
        let data = Data {
            held,
            topic: frame.topic,
            epoch: self.topics.get(frame.topic).map_or(Epoch(0), |topic| topic.epoch),
            seq: frame.seq,
            class: terms.class,
            indexed: terms != Terms::default(),
            since_s: now.secs(),
        };
        let writer = &mut self.writers[slot as usize];
        let Some(queue) = &mut writer.outbound else { return };
        let topic =
            self.topics.get(frame.topic).filter(|_| begun == 0 && policy::of(terms.class).conflates());
        let newer = match topic {
            Some(topic) => queue.conflate(data, &topic.name, &mut self.queued),
            None => Some(data),
        };
        match newer {
            Some(data) => queue.push(Entry::Data(data), begun, &mut self.queued),
            None => {
                writer.lost.get_or_insert_default().conflated += 1;
                self.ledgers.book(frame.topic, |of| of.conflated += 1);
            }
        }
    }

    /// On what terms a topic is subscribed to here.
    pub(super) fn terms(&self, topic: TopicId) -> Terms {
        self.topics.get(topic).map_or_else(Terms::default, |topic| topic.terms)
    }

    /// Dies with its connection.
    pub(in crate::shard) fn abandon(&mut self, slot: Slot, number: u32) {
        self.log.forgive(number);
        self.abandoned(slot, &[self.log.frame(number).topic]);
    }

    /// Deliveries of these topics, one each, died with their connection.
    pub(in crate::shard) fn abandoned(&mut self, slot: Slot, topics: &[TopicId]) {
        let count = topics.len() as u64;
        if count == 0 {
            return;
        }
        topics.iter().for_each(|topic| self.ledgers.book(*topic, |of| of.abandoned += 1));
        if let Some(writer) = self.writers.get_mut(slot as usize) {
            writer.lost.get_or_insert_default().abandoned += count;
            return;
        }
        // It ended meanwhile; what is told of it has not left yet.
        let report = self.effects.iter_mut().rev().find_map(|effect| match effect {
            Effect::Ended(ended) if ended.id.slot == slot => Some(ended),
            _ => None,
        });
        report.into_iter().for_each(|report| report.lost.abandoned += count);
    }

    /// All queues of a shard together have a bound; past it the connection furthest behind goes first.
    pub(in crate::shard) fn bound_the_shard(&mut self, now: Moment, sockets: &mut impl Sockets) {
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
        if self.tell_caught_up(slot) {
            self.write_queue(slot, now, sockets);
        }
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
        self.ask_if_due(slot, now);
        true
    }

    /// Writes from the queue until it is empty or the socket full.
    pub(super) fn write_queue(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
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
            let (mut delivered, mut pieces, mut controls) = (0, 0, Vec::<Control>::new());
            let ledgers = &mut self.ledgers;
            queue.advance(taken, &mut self.queued, |entry| match entry {
                Entry::Data(data) => {
                    delivered += 1;
                    ledgers.book(data.topic, |of| of.delivered += 1);
                }
                Entry::Control { kind, .. } => controls.push(kind),
                Entry::Piece(_) => pieces += 1,
                Entry::Gone => {}
            });
            self.hot[slot as usize].sent += delivered;
            controls.into_iter().for_each(|kind| self.control_sent(slot, kind));
            self.pieces_sent(slot, pieces);
            if taken < scratch.len() {
                break;
            }
        }
        self.scratch = scratch;
    }
}
