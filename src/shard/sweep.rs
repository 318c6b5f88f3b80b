//! The sweep: pays every slot in debt, each in one write where the socket takes it.
//!
//! Binding is late: what joins the log while a sweep is under way is paid to those visited later in the same
//! write, and those visited earlier are in debt again for the next sweep. Every sweep starts elsewhere, so that
//! nobody is always first. When it ends, every frame that was in the log when it began has been taken by the
//! kernel or moved to a blocked writer's queue, and is cut.

use super::core::Shard;
use super::debts::Run;
use super::outbound::{Control, Entry};
use super::policy::{self, Verdict};
use super::writer::{Sockets, State, Taken};
use crate::clock::Moment;
use crate::ids::{Slot, TopicId};
use crate::limits::{ENTRY_BYTES, GATHER_BYTES_MAX};
use crate::message::Encoding;
use crate::protocol::class::Class;
use crate::protocol::close::Reason;
use crate::protocol::reply;

/// A sweep under way, or the memory of the last.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    slots: Vec<Slot>,
    /// How many of them have been visited.
    visited: usize,
    /// Which of them was visited first.
    start: usize,
    /// The log's head when the sweep began: what lies before is cut at its end.
    head: u32,
    /// Counts sweeps, to start each elsewhere.
    turn: usize,
}

impl Shard {
    /// True exactly when somebody is owed something that no sweep has set out to pay.
    pub(crate) fn is_in_debt(&self) -> bool {
        !self.debts.is_clear()
    }

    /// Sets out to pay everyone who is in debt now.
    pub(crate) fn begin_sweep(&mut self) {
        let sweep = &mut self.sweep;
        sweep.slots = self.debts.take_debtors(std::mem::take(&mut sweep.slots));
        sweep.visited = 0;
        // A stride that is coprime to most lengths spreads the starts over all of them.
        sweep.turn = sweep.turn.wrapping_add(7_919);
        sweep.start = if sweep.slots.is_empty() { 0 } else { sweep.turn % sweep.slots.len() };
        sweep.head = self.log.head();
        self.counters.sweep_slots.record(sweep.slots.len() as u64);
    }

    /// Pays at most so many; true when the sweep is complete.
    pub(crate) fn sweep(&mut self, budget: usize, now: Moment, sockets: &mut impl Sockets) -> bool {
        let len = self.sweep.slots.len();
        let end = len.min(self.sweep.visited + budget);
        while self.sweep.visited < end {
            let at = self.sweep.start + self.sweep.visited;
            let slot = self.sweep.slots[if at < len { at } else { at - len }];
            self.sweep.visited += 1;
            self.pay(slot, now, sockets);
        }
        end == len
    }

    /// Cuts what the sweep has paid; returns how many frames have come since it began.
    pub(crate) fn end_sweep(&mut self) -> u32 {
        self.counters.delivered += self.log.cut(self.sweep.head);
        self.frames_since_sweep()
    }

    /// Frames that joined the log since the last sweep began.
    pub(crate) fn frames_since_sweep(&self) -> u32 {
        self.log.head().wrapping_sub(self.sweep.head)
    }

    /// True when waiting longer would do harm.
    pub(crate) fn is_half_full(&self) -> bool {
        self.log.is_half_full()
    }

    /// Pays a slot what it owes: one write if it is a run, one per gathered piece otherwise; into its queue if
    /// its socket is full.
    pub(super) fn pay(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
        if !self.debts.owes(slot) {
            return;
        }
        let hot = self.hot[slot as usize];
        if hot.state != State::Open {
            let (run, list) = self.debts.take(slot);
            self.defer(slot, run.numbers().chain(list.iter().copied()), 0, now, sockets);
            self.debts.give_back(slot, list);
        } else if !self.debts.has_list(slot) && self.log.is_contiguous(hot.encoding) {
            let run = self.debts.take_run(slot);
            let bytes = self.log.slice(hot.encoding, run);
            let len = bytes.len();
            let taken = sockets.send(slot, bytes);
            self.settle(slot, run.numbers(), run.len, len, taken, now, sockets);
        } else {
            self.pay_gathered(slot, hot.encoding, now, sockets);
        }
    }

    /// Pays a debt that is not one slice: copies small frames together, sends large ones from where they are.
    fn pay_gathered(&mut self, slot: Slot, encoding: Encoding, now: Moment, sockets: &mut impl Sockets) {
        let (run, list) = self.debts.take(slot);
        let owed = run.len as usize + list.len();
        let numbers = || run.numbers().chain(list.iter().copied());
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut paid = 0;
        while paid < owed {
            scratch.clear();
            let mut frames = 0;
            let mut large = None;
            for number in numbers().skip(paid) {
                if let Some(held) = self.log.referenced(encoding, number) {
                    if frames == 0 {
                        large = Some(held.clone());
                        frames = 1;
                    }
                    break;
                }
                let bytes = self.log.slice(encoding, Run { first: number, len: 1 });
                if frames > 0 && scratch.len() + bytes.len() > GATHER_BYTES_MAX {
                    break;
                }
                scratch.extend_from_slice(bytes);
                frames += 1;
            }
            let bytes = large.as_ref().map_or(&scratch[..], |held| &held.bytes[..]);
            let taken = sockets.send(slot, bytes);
            let rest = numbers().skip(paid);
            paid += frames;
            if !self.settle(slot, rest, frames as u32, bytes.len(), taken, now, sockets) {
                break;
            }
        }
        self.scratch = scratch;
        self.debts.give_back(slot, list);
    }

    /// Books what the socket did with the first `frames` of `numbers`; false when the slot is not `Open` any
    /// more, with everything that was not taken in its queue.
    #[allow(clippy::too_many_arguments)]
    fn settle(
        &mut self,
        slot: Slot,
        numbers: impl Iterator<Item = u32>,
        frames: u32,
        offered: usize,
        taken: Taken,
        now: Moment,
        sockets: &mut impl Sockets,
    ) -> bool {
        match taken {
            Taken::Bytes(taken) => {
                self.counters.bytes += taken as u64;
                self.counters.write_frames.record(u64::from(frames));
                if taken == offered {
                    self.hot[slot as usize].sent += u64::from(frames);
                    return true;
                }
                self.block(slot, now);
                self.defer(slot, numbers, taken, now, sockets);
            }
            Taken::Dead => {
                for number in numbers {
                    self.abandon(number);
                }
                self.end(slot, Reason::Socket, true);
            }
        }
        false
    }

    /// Moves frames of the log into the slot's queue; of the first ones the kernel already has `taken` bytes.
    fn defer(
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

    fn abandon(&mut self, number: u32) {
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
    fn bound_the_shard(&mut self, now: Moment, sockets: &mut impl Sockets) {
        while self.queued.bytes > self.limits.queues_bytes_per_shard {
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
