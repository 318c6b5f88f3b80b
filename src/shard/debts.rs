//! What every slot owes: frame numbers routed to it and not yet paid.
//!
//! A debt is a leading run of consecutive frames, held inline in eight bytes, and a list for the rest: one hot
//! topic costs 1 ns a delivery and no memory, 10,000 sparse ones 7 to 14 ns. A list holds the low halves of its
//! numbers: with whole ones 20,000 connections cost half as much again.
//!
//! Invariants:
//! 1. A slot with an empty run has an empty list: so `number == first + len` alone tells that a run goes on,
//!    without a look at the list.
//! 2. A slot in debt stands in `debtors`, or in the list the running sweep took from there.

use crate::ids::Slot;
use crate::limits::{LISTED_KEPT, LISTED_SPARE};

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
}

/// What one slot owed; it is given back when it is paid.
#[derive(Debug)]
pub(crate) struct Debt {
    run: Run,
    list: Vec<u16>,
}

impl Debt {
    /// How many frames.
    pub(crate) fn len(&self) -> usize {
        self.run.len as usize + self.list.len()
    }

    /// Which, in their order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + Clone {
        // The log is shorter than the range of a half, so the distance from the first tells the whole.
        let first = self.run.first;
        let whole = move |low: &u16| first.wrapping_add(low.wrapping_sub(first as u16).into());
        self.run.numbers().chain(self.list.iter().map(whole))
    }
}

/// Numbers a list begins with room for; it doubles from there. Lists of powers of two would all have their ends in the
/// same few sets of the caches, and take a sixth to a half longer.
const LIST_FIRST: usize = 7;

/// Large lists that are paid, for whoever lists next: growing one costs more than filling it.
#[derive(Debug, Default)]
struct Spare {
    lists: Vec<Vec<u16>>,
    /// Numbers that they have room for.
    room: usize,
}

impl Spare {
    fn keep(&mut self, list: Vec<u16>) {
        if self.room + list.capacity() <= LISTED_SPARE {
            self.room += list.capacity();
            self.lists.push(list);
        }
    }

    /// Makes room in a list that is full: a new one begins as a spare one.
    #[cold]
    fn grow(&mut self, list: &mut Vec<u16>) {
        if list.capacity() == 0
            && let Some(spare) = self.lists.pop()
        {
            self.room -= spare.capacity();
            *list = spare;
        } else {
            list.reserve_exact(list.capacity().max(LIST_FIRST));
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    runs: Vec<Run>,
    lists: Vec<Vec<u16>>,
    /// Numbers in all lists together.
    listed: usize,
    spare: Spare,
    debtors: Vec<Slot>,
}

impl Debts {
    /// With memory set aside for so many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self { runs: Vec::with_capacity(slots), lists: Vec::with_capacity(slots), ..Self::default() }
    }

    /// Makes room for a slot, which owes nothing.
    pub(crate) fn admit(&mut self, slot: Slot) {
        let slot = slot as usize;
        if slot >= self.runs.len() {
            self.runs.resize(slot + 1, Run::default());
            self.lists.resize_with(slot + 1, Vec::new);
        }
    }

    /// One frame more for each of them. Frames come in the order of their numbers.
    pub(crate) fn owe(&mut self, slots: &[Slot], number: u32) {
        let Self { runs, lists, spare, debtors, .. } = self;
        let (runs, lists) = (&mut runs[..], &mut lists[..]);
        let mut listed = 0;
        for slot in slots {
            let run = &mut runs[*slot as usize];
            if run.len == 0 {
                *run = Run { first: number, len: 1 };
                debtors.push(*slot);
            } else if run.first.wrapping_add(run.len) == number {
                run.len += 1;
            } else {
                let list = &mut lists[*slot as usize];
                if list.len() == list.capacity() {
                    spare.grow(list);
                }
                list.push(number as u16);
                listed += 1;
            }
        }
        self.listed += listed;
    }

    /// True exactly when the slot owes something.
    pub(crate) fn owes(&self, slot: Slot) -> bool {
        self.runs[slot as usize].len > 0
    }

    /// True exactly when the debt is more than one run.
    pub(crate) fn has_list(&self, slot: Slot) -> bool {
        !self.lists[slot as usize].is_empty()
    }

    /// The debt of a slot without a list, which owes nothing afterwards.
    pub(crate) fn take_run(&mut self, slot: Slot) -> Run {
        std::mem::take(&mut self.runs[slot as usize])
    }

    /// The whole debt of a slot, which owes nothing afterwards.
    pub(crate) fn take(&mut self, slot: Slot) -> Debt {
        let list = std::mem::take(&mut self.lists[slot as usize]);
        self.listed -= list.len();
        Debt { run: self.take_run(slot), list }
    }

    /// Keeps a paid debt's memory: with its slot if it is small, among the spare as far as there is room.
    pub(crate) fn give_back(&mut self, slot: Slot, paid: Debt) {
        let mut list = paid.list;
        list.clear();
        if list.capacity() <= LISTED_KEPT {
            self.lists[slot as usize] = list;
        } else {
            self.spare.keep(list);
        }
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

    /// Numbers listed by all slots together.
    pub(crate) fn listed(&self) -> usize {
        self.listed
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
        assert_eq!(debts.listed(), 2);
        let debt = debts.take(2);
        assert_eq!(debt.run, Run { first: u32::MAX, len: 3 });
        assert_eq!(debt.numbers().collect::<Vec<_>>(), numbers);
        assert!(!debts.owes(2) && debts.listed() == 0);
        assert_eq!(debts.take_debtors(Vec::new()), [2]);
        debts.owe(&[2], 9);
        assert_eq!(debts.take_debtors(Vec::new()), [2], "in debt again, named again");
    }
}
