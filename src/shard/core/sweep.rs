//! The sweep: pays every slot in debt, each in one write where the socket takes it; with datagrams, which are one a
//! frame, a part at a time.
//!
//! Binding is late: what joins the log while a sweep is under way is paid to those visited later in the same
//! write, and those visited earlier are in debt again for the next sweep. Every sweep starts a little further on,
//! so that nobody is always first; only a little, because who is visited early in one sweep and late in the next
//! waits for two. When it ends, every frame that was in the log when it began has been taken by the
//! kernel or moved to a blocked writer's queue, and is cut.

use super::Shard;
use super::debts::Run;
use super::writer::{Offer, Sockets, State, Taken};
use crate::clock::Moment;
use crate::ids::Slot;
use crate::limits::{GATHER_BYTES_MAX, SENDS_PER_YIELD};
use crate::message::Encoding;
use crate::protocol::close::Reason;

/// After about so many sweeps everybody has been first.
const STARTS: Slot = 64;

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
    /// Where the next sweep starts: with the first in debt from this slot on.
    next_start: Slot,
}

/// One write: so many frames of so many bytes, and what became of them.
#[derive(Clone, Copy, Debug)]
struct Sent {
    frames: u32,
    offered: usize,
    taken: Taken,
}

impl Sweep {
    fn is_complete(&self) -> bool {
        self.visited == self.slots.len()
    }

    fn next(&mut self) -> Option<Slot> {
        let at = self.start + self.visited;
        let slot = self.slots.get(if at < self.slots.len() { at } else { at - self.slots.len() });
        if self.is_complete() {
            return None;
        }
        self.visited += 1;
        slot.copied()
    }

    /// True exactly when a frame was in the log when the sweep began.
    fn is_due(&self, number: u32) -> bool {
        (number.wrapping_sub(self.head) as i32) < 0
    }
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
        let from = sweep.next_start;
        let nearest = sweep.slots.iter().enumerate().min_by_key(|(_, slot)| slot.wrapping_sub(from));
        sweep.start = nearest.map_or(0, |(at, _)| at);
        sweep.next_start = (from + self.hot.len() as Slot / STARTS + 1) % self.hot.len().max(1) as Slot;
        sweep.head = self.log.head();
        self.counters.sweep_slots.record(sweep.slots.len() as u64);
    }

    /// Pays with about so many sends; true when the sweep is complete.
    pub(crate) fn sweep(&mut self, sends: usize, now: Moment, sockets: &mut impl Sockets) -> bool {
        let mut spent = 0;
        while spent < sends && !self.sweep.is_complete() {
            spent += self.pay_next((sends - spent).min(SENDS_PER_YIELD), now, sockets);
        }
        self.sweep.is_complete()
    }

    /// Pays the slots that come next: those that owe one slice of the log together, any other by itself. Returns
    /// what that cost, about as much as it may: a visit without a send costs little, but a million would not.
    fn pay_next(&mut self, sends: usize, now: Moment, sockets: &mut impl Sockets) -> usize {
        let mut due = [(0, Run::default()); SENDS_PER_YIELD];
        let mut count = 0;
        let mut spent = 0;
        while spent < sends
            && let Some(slot) = self.sweep.next()
        {
            let before = self.sends;
            if self.owes_a_slice(slot) {
                due[count] = (slot, self.debts.take_run(slot));
                count += 1;
            } else if self.is_sent_datagrams(slot) {
                self.batch(slot, sends - spent);
                self.visit_again_in_debt(slot);
            } else {
                self.pay(slot, now, sockets);
            }
            spent += (self.sends - before).max(1);
        }
        self.pay_slices(&due[..count], now, sockets);
        self.send_batch(sockets);
        spent
    }

    /// Whoever was visited last comes next, too, while it owes what was in the log when the sweep began; else with
    /// the next sweep.
    fn visit_again_in_debt(&mut self, slot: Slot) {
        match self.debts.first(slot) {
            Some(number) if self.sweep.is_due(number) => self.sweep.visited -= 1,
            Some(_) => self.debts.remain(slot),
            None => {}
        }
    }

    /// Pays slots a slice of the log each, [`SENDS_PER_YIELD`] of them at most.
    fn pay_slices(&mut self, due: &[(Slot, Run)], now: Moment, sockets: &mut impl Sockets) {
        let mut offers = [Offer::default(); SENDS_PER_YIELD];
        let mut taken = [Taken::Dead; SENDS_PER_YIELD];
        for ((slot, run), offer) in due.iter().zip(&mut offers) {
            *offer = Offer { slot: *slot, bytes: self.log.slice(self.hot[*slot as usize].encoding, *run) };
        }
        sockets.send_all(&offers[..due.len()], &mut taken);
        let offered = offers.map(|offer| offer.bytes.len());
        for (((slot, run), offered), taken) in due.iter().zip(offered).zip(taken) {
            self.settle(*slot, run.numbers(), Sent { frames: run.len, offered, taken }, now, sockets);
        }
    }

    /// True exactly when a slot's debt is one piece of the log and its socket may be offered it.
    fn owes_a_slice(&self, slot: Slot) -> bool {
        let hot = &self.hot[slot as usize];
        hot.state == State::Open
            && !self.is_sent_datagrams(slot)
            && self.debts.owes(slot)
            && !self.debts.has_list(slot)
            && self.log.is_contiguous(hot.encoding)
    }

    /// Cuts what the sweep has paid: all that was there when it began, and what came since if nobody owes it.
    pub(crate) fn end_sweep(&mut self) {
        let paid = if self.debts.is_clear() { self.log.head() } else { self.sweep.head };
        let ledgers = &mut self.ledgers;
        self.log.cut(paid, |topic, count| ledgers.book(topic, |of| of.delivered += count));
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
    pub(in crate::shard) fn pay(&mut self, slot: Slot, now: Moment, sockets: &mut impl Sockets) {
        if !self.debts.owes(slot) {
            return;
        }
        let hot = self.hot[slot as usize];
        if hot.state != State::Open {
            let debt = self.debts.take(slot);
            self.defer(slot, debt.iter().copied(), 0, now, sockets);
            self.debts.give_back(debt);
        } else if self.owes_a_slice(slot) {
            let run = self.debts.take_run(slot);
            self.pay_slices(&[(slot, run)], now, sockets);
        } else if self.is_sent_datagrams(slot) {
            // All of them, however many: what it is to be sent next comes behind.
            self.batch(slot, usize::MAX);
            self.send_batch(sockets);
        } else {
            self.pay_gathered(slot, hot.encoding, now, sockets);
        }
    }

    /// Pays a debt that is not one slice: copies small frames together, sends large ones from where they are.
    fn pay_gathered(&mut self, slot: Slot, encoding: Encoding, now: Moment, sockets: &mut impl Sockets) {
        let debt = self.debts.take(slot);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut paid = 0;
        while paid < debt.len() {
            scratch.clear();
            let mut frames = 0;
            let mut large = None;
            for number in &debt[paid..] {
                if let Some(held) = self.log.referenced(encoding, *number) {
                    if frames == 0 {
                        large = Some(held.clone());
                        frames = 1;
                    }
                    break;
                }
                let bytes = self.log.slice(encoding, Run { first: *number, len: 1 });
                if frames > 0 && scratch.len() + bytes.len() > GATHER_BYTES_MAX {
                    break;
                }
                scratch.extend_from_slice(bytes);
                frames += 1;
            }
            let bytes = large.as_ref().map_or(&scratch[..], |held| &held.bytes[..]);
            let sent = Sent { frames, offered: bytes.len(), taken: sockets.send(slot, bytes) };
            let rest = &debt[paid..];
            paid += frames as usize;
            if !self.settle(slot, rest.iter().copied(), sent, now, sockets) {
                break;
            }
        }
        self.scratch = scratch;
        self.debts.give_back(debt);
    }

    /// Books what the socket did with the first of `numbers`; false when the slot is not `Open` any more, with
    /// everything that was not taken in its queue.
    fn settle(
        &mut self,
        slot: Slot,
        numbers: impl Iterator<Item = u32>,
        sent: Sent,
        now: Moment,
        sockets: &mut impl Sockets,
    ) -> bool {
        match sent.taken {
            Taken::Bytes(taken) => {
                self.sends += 1;
                self.counters.bytes += taken as u64;
                self.counters.write_frames.record(u64::from(sent.frames));
                if taken == sent.offered {
                    self.hot[slot as usize].sent += u64::from(sent.frames);
                    return true;
                }
                self.block(slot, now);
                self.defer(slot, numbers, taken, now, sockets);
            }
            Taken::Dead => {
                for number in numbers {
                    self.abandon(slot, number);
                }
                self.end(slot, Reason::Socket, true);
            }
        }
        false
    }
}
