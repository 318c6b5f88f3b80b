//! Checks the sequence one subscriber received: what is missing, what came twice, what came late.
//!
//! Contract: [`Sequence::take`] is told every sequence in the order of arrival; the first expected is 0, since every
//! subscription stood before anything was published.
//!
//! 1. `received = unique + duplicates`, and a message that arrives late is unique: it leaves the gaps and counts as reordered.
//! 2. Memory is bounded: beyond [`HOLES_KEPT`] ranges the oldest is forgotten, and what still arrives of it counts as a duplicate.

use crate::limits::HOLES_KEPT;
use std::ops::Range;

/// One subscriber's account.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    next: u64,
    received: u64,
    duplicates: u64,
    reordered: u64,
    gaps: u64,
    /// What is missing below `next`, in ascending order. Empty, and not allocated, as long as nothing was skipped.
    holes: Vec<Range<u64>>,
}

/// What one message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The first time this message came, in order or not.
    New,
    /// It had come before.
    Duplicate,
}

/// Sums over subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Messages that arrived, duplicates included.
    pub(crate) received: u64,
    /// Messages that were skipped before a later one arrived, and never came.
    pub(crate) gaps: u64,
    /// Messages that came again.
    pub(crate) duplicates: u64,
    /// Messages that came after a later one.
    pub(crate) reordered: u64,
}

impl Sequence {
    /// Notes the next message that arrived.
    pub(crate) fn take(&mut self, seq: u32) -> Arrival {
        let seq = u64::from(seq);
        self.received += 1;
        if seq == self.next {
            self.next += 1;
            return Arrival::New;
        }
        if seq > self.next {
            self.gaps += seq - self.next;
            if self.holes.len() == HOLES_KEPT {
                self.holes.remove(0);
            }
            self.holes.push(self.next..seq);
            self.next = seq + 1;
            return Arrival::New;
        }
        match self.holes.iter().position(|hole| hole.contains(&seq)) {
            Some(index) => {
                self.fill(index, seq);
                self.gaps -= 1;
                self.reordered += 1;
                Arrival::New
            }
            None => {
                self.duplicates += 1;
                Arrival::Duplicate
            }
        }
    }

    /// Messages that arrived at least once.
    pub(crate) fn unique(&self) -> u64 {
        self.received - self.duplicates
    }

    /// Adds this subscriber to the sums.
    pub(crate) fn add_to(&self, sums: &mut Account) {
        sums.received += self.received;
        sums.gaps += self.gaps;
        sums.duplicates += self.duplicates;
        sums.reordered += self.reordered;
    }

    /// Takes `seq` out of the hole it lies in, which may leave none, one or two.
    fn fill(&mut self, index: usize, seq: u64) {
        let hole = self.holes[index].clone();
        let parts = [hole.start..seq, seq + 1..hole.end].into_iter().filter(|part| !part.is_empty());
        self.holes.splice(index..=index, parts);
        if self.holes.len() > HOLES_KEPT {
            self.holes.remove(0);
        }
    }
}

impl Account {
    /// Adds another account.
    pub(crate) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.gaps += other.gaps;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrivals: &[u32]) -> Account {
        let mut sequence = Sequence::default();
        for &seq in arrivals {
            sequence.take(seq);
        }
        let mut account = Account::default();
        sequence.add_to(&mut account);
        account
    }

    #[test]
    fn in_order_from_zero_is_clean() {
        assert_eq!(check(&[0, 1, 2]), Account { received: 3, ..Account::default() });
    }

    #[test]
    fn a_first_message_that_is_not_zero_is_a_gap() {
        assert_eq!(check(&[3]), Account { received: 1, gaps: 3, ..Account::default() });
    }

    #[test]
    fn a_repeated_message_is_a_duplicate_and_not_reordered() {
        assert_eq!(check(&[0, 1, 1, 0, 2]), Account { received: 5, duplicates: 2, ..Account::default() });
    }

    #[test]
    fn a_late_message_leaves_the_gap_and_counts_as_reordered_once() {
        let account = check(&[0, 4, 2, 2, 1, 5]);
        assert_eq!(account, Account { received: 6, gaps: 1, duplicates: 1, reordered: 2 });
    }

    /// The oracle remembers everything; the checker must agree as long as its holes suffice.
    #[test]
    fn any_order_gives_what_a_full_memory_gives() {
        let mut state = 1u64;
        for _ in 0..500 {
            let mut sequence = Sequence::default();
            let (mut seen, mut highest, mut late) = (std::collections::BTreeSet::new(), None, 0);
            for _ in 0..40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let seq = (state >> 33) as u32 % 50;
                let new = seen.insert(seq);
                assert_eq!(sequence.take(seq) == Arrival::New, new);
                late += u64::from(new && Some(seq) < highest);
                highest = highest.max(Some(seq));
            }
            let mut account = Account::default();
            sequence.add_to(&mut account);
            assert_eq!(sequence.unique(), seen.len() as u64);
            assert_eq!(account.reordered, late);
            assert_eq!(account.gaps, u64::from(highest.unwrap()) + 1 - seen.len() as u64);
        }
    }

    #[test]
    fn memory_stays_bounded_when_every_second_message_is_lost() {
        let mut sequence = Sequence::default();
        for seq in (0..100_000).step_by(2) {
            sequence.take(seq);
        }
        assert_eq!(sequence.holes.len(), HOLES_KEPT);
        assert_eq!(sequence.gaps, 49_999);
        assert_eq!(sequence.take(99_997), Arrival::New);
        assert_eq!(sequence.take(1), Arrival::Duplicate);
    }
}
