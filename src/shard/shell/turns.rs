//! Who is read next: those with something to say, and those who have hung up, by turns. Pure.
//!
//! When 10,000 clients go at once, a message that is published meanwhile waits behind one of them and not behind all.

use crate::ids::Slot;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    talking: VecDeque<Slot>,
    /// They may have said something before they went: they are read like the others.
    leaving: VecDeque<Slot>,
    /// True exactly when the last turn was one of those who leave.
    left_last: bool,
}

impl Turns {
    pub(super) fn push(&mut self, slot: Slot, has_hung_up: bool) {
        if has_hung_up { &mut self.leaving } else { &mut self.talking }.push_back(slot);
    }

    pub(super) fn next(&mut self) -> Option<Slot> {
        self.left_last = !self.left_last && !self.leaving.is_empty() || self.talking.is_empty();
        if self.left_last { &mut self.leaving } else { &mut self.talking }.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.talking.is_empty() && self.leaving.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_those_who_talk_nor_those_who_leave_wait_for_all_of_the_others() {
        let mut turns = Turns::default();
        (100..200).for_each(|slot| turns.push(slot, true));
        assert_eq!((turns.next(), turns.next()), (Some(100), Some(101)), "nobody talks: nobody waits");
        (0..3).for_each(|slot| turns.push(slot, false));
        let order: Vec<_> = std::iter::from_fn(|| turns.next()).take(7).collect();
        assert_eq!(order, [0, 102, 1, 103, 2, 104, 105]);
        assert_eq!(std::iter::from_fn(|| turns.next()).count(), 94);
        assert!(turns.is_empty());
        turns.push(7, false);
        assert_eq!((turns.next(), turns.next()), (Some(7), None));
    }
}
