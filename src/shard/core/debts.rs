//! What every slot owes: frame numbers routed to it and not yet paid.
//!
//! A debt is a leading run of consecutive frames, held inline in eight bytes, and a list for the rest (`lists.rs`):
//! one hot topic costs 1 to 2 ns a delivery and no memory, 10,000 sparse ones 5 to 13 ns. A list holds the low halves
//! of its numbers: with whole ones 20,000 connections cost half as much again.
//!
//! Invariants:
//! 1. A slot with an empty run has an empty list: so `number == first + len` alone tells that a run goes on,
//!    without a look at the list.
//! 2. A slot in debt stands in `debtors`, or in the list the running sweep took from there.

use super::lists::Lists;
use crate::ids::Slot;
use crate::limits::LOG_LINES_MAX;

/// Consecutive frames: so many from `first`, absolute and wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u32,
    pub(crate) len: u32,
}

impl Run {
    pub(crate) fn numbers(self) -> impl Iterator<Item = u32> + Clone {
        (0..self.len).map(move |at| self.first.wrapping_add(at))
    }

    /// The first so many, and the rest.
    fn split(self, len: usize) -> (Self, Self) {
        let len = len.min(self.len as usize) as u32;
        (Self { len, ..self }, Self { first: self.first.wrapping_add(len), len: self.len - len })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    runs: Vec<Run>,
    lists: Lists,
    debtors: Vec<Slot>,
    /// The memory of debts that were given back.
    spare: Vec<u32>,
}

impl Debts {
    /// With memory set aside for so many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self { runs: Vec::with_capacity(slots), lists: Lists::new(slots), ..Self::default() }
    }

    /// Makes room for a slot, which owes nothing.
    pub(crate) fn admit(&mut self, slot: Slot) {
        let slots = self.runs.len().max(slot as usize + 1);
        self.runs.resize(slots, Run::default());
        self.lists.admit(slots);
    }

    /// One frame more for each of them. Frames come in the order of their numbers.
    pub(crate) fn owe(&mut self, slots: &[Slot], number: u32) {
        let Self { runs, lists, debtors, .. } = self;
        let (runs, mut list) = (&mut runs[..], lists.adding(number as u16));
        for slot in slots {
            let run = &mut runs[*slot as usize];
            if run.len == 0 {
                *run = Run { first: number, len: 1 };
                debtors.push(*slot);
            } else if run.first.wrapping_add(run.len) == number {
                run.len += 1;
            } else {
                list(*slot);
            }
        }
    }

    /// True exactly when the slot owes something.
    pub(crate) fn owes(&self, slot: Slot) -> bool {
        self.runs[slot as usize].len > 0
    }

    /// The first frame that the slot owes.
    pub(crate) fn first(&self, slot: Slot) -> Option<u32> {
        self.owes(slot).then(|| self.runs[slot as usize].first)
    }

    /// The slot, no debtor any more, still owes what was not taken.
    pub(crate) fn remain(&mut self, slot: Slot) {
        self.debtors.push(slot);
    }

    /// True exactly when the debt is more than one run.
    pub(crate) fn has_list(&self, slot: Slot) -> bool {
        !self.lists.is_empty(slot)
    }

    /// The debt of a slot without a list, which owes nothing afterwards.
    pub(crate) fn take_run(&mut self, slot: Slot) -> Run {
        std::mem::take(&mut self.runs[slot as usize])
    }

    /// The whole debt of a slot, its frames in their order; it owes nothing afterwards. To be given back.
    pub(crate) fn take(&mut self, slot: Slot) -> Vec<u32> {
        self.take_first(slot, usize::MAX)
    }

    /// The first frames that a slot owes, in their order: so many at least, thirty more at most; the rest it still owes.
    /// To be given back.
    pub(crate) fn take_first(&mut self, slot: Slot, least: usize) -> Vec<u32> {
        let mut debt = std::mem::take(&mut self.spare);
        let (run, rest) = self.take_run(slot).split(least);
        debt.extend(run.numbers());
        if rest.len > 0 {
            self.runs[slot as usize] = rest;
            return debt;
        }
        // The log is shorter than the range of a half, so the distance from the first tells the whole.
        let whole = |low: &u16| run.first.wrapping_add(low.wrapping_sub(run.first as u16).into());
        while debt.len() <= least && self.lists.take_line(slot, |lows| debt.extend(lows.iter().map(whole))) {}
        // What is left begins with a run, as ever.
        if self.has_list(slot)
            && let Some(first) = debt.pop()
        {
            self.runs[slot as usize] = Run { first, len: 1 };
        }
        debt
    }

    /// The memory of the next debt.
    pub(crate) fn give_back(&mut self, mut debt: Vec<u32>) {
        debt.clear();
        self.spare = debt;
    }

    /// Who came into debt since this was last called, in that order; `swept` is a list to be used next.
    pub(crate) fn take_debtors(&mut self, mut swept: Vec<Slot>) -> Vec<Slot> {
        swept.clear();
        std::mem::replace(&mut self.debtors, swept)
    }

    /// True exactly when nobody came into debt since the debtors were last taken.
    pub(crate) fn is_clear(&self) -> bool {
        self.debtors.is_empty()
    }

    /// Below its bound; the message that follows may overshoot.
    pub(crate) fn has_room(&self) -> bool {
        self.lists.lines() < LOG_LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_frames_are_one_run_and_the_rest_is_listed() {
        let mut debts = Debts::default();
        debts.admit(2);
        let numbers = [u32::MAX, 0, 1, 4, 0xFFFE];
        for number in numbers {
            debts.owe(&[2], number);
        }
        assert_eq!(debts.runs[2], Run { first: u32::MAX, len: 3 });
        assert_eq!(debts.take(2), numbers);
        assert!(!debts.owes(2) && !debts.has_list(2));
        assert_eq!(debts.take_debtors(Vec::new()), [2]);
        debts.owe(&[2], 9);
        assert_eq!(debts.take_debtors(Vec::new()), [2], "in debt again, named again");
    }

    #[test]
    fn what_all_slots_list_is_bounded_and_paying_makes_room() {
        let mut debts = Debts::default();
        let slots: Vec<_> = (0..LOG_LINES_MAX as Slot).collect();
        slots.iter().for_each(|slot| debts.admit(*slot));
        debts.owe(&slots, 0);
        assert!(debts.has_room(), "runs take no line");
        debts.owe(&slots, 2);
        assert!(!debts.has_room());
        let debt = debts.take(7);
        assert_eq!(debt, [0, 2]);
        debts.give_back(debt);
        assert!(debts.has_room());
    }
}
