//! The sweep: pays every slot in debt, each in one write where the socket takes it.
//!
//! Binding is late: what joins the log while a sweep is under way is paid to those visited later in the same
//! write, and those visited earlier are in debt again for the next sweep. Every sweep starts a little further on,
//! so that nobody is always first; only a little, because who is visited early in one sweep and late in the next
//! waits for two. When it ends, every frame that was in the log when it began has been taken by the
//! kernel or moved to a blocked writer's queue, and is cut.

use super::core::Shard;
use super::debts::Run;
use super::writer::{Sockets, State, Taken};
use crate::clock::Moment;
use crate::ids::Slot;
use crate::limits::GATHER_BYTES_MAX;
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
    pub(crate) fn sweep(&mut self, budget: u64, now: Moment, sockets: &mut impl Sockets) -> bool {
        let len = self.sweep.slots.len();
        let mut spent = 0;
        while self.sweep.visited < len && spent < budget {
            let at = self.sweep.start + self.sweep.visited;
            let slot = self.sweep.slots[if at < len { at } else { at - len }];
            self.sweep.visited += 1;
            let before = self.sends;
            self.pay(slot, now, sockets);
            // A visit without a send costs little, and a million of them would not.
            spent += (self.sends - before).max(1);
        }
        self.sweep.visited == len
    }

    /// Cuts what the sweep has paid: all that was there when it began, and what came since if nobody owes it.
    pub(crate) fn end_sweep(&mut self) {
        let paid = if self.debts.is_clear() { self.log.head() } else { self.sweep.head };
        self.counters.delivered += self.log.cut(paid);
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
                self.sends += 1;
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
}
