//! A list of numbers for every slot, all in one pool of cache lines.
//!
//! Routing adds to thousands of lists by turns. A list's end is one line, beside four bytes that say where it is; the
//! next line of whichever list fills one is the next of the pool, so that memory is written in order. With a `Vec` a
//! slot, which is three lines to touch, Zipf's topics took 2.5 times as long at 20,000 connections.
//! Tried and left out: the count in the line, so that it is read before it is written (slower for Zipf's).
//!
//! Invariants:
//! 1. A list's lines are a ring: its last, which `ends` points into, leads to its first.
//! 2. A list has no line that is empty, and all but its last are full.
//! 3. When all lists are empty, so is the pool.

use crate::ids::Slot;
use crate::limits::LINES_KEPT;

/// Numbers a line holds.
const NUMBERS: usize = 30;
/// A place in the pool is a line times this, and one of its numbers.
const STRIDE: u32 = 32;
/// The end of a list without a line: what it says is that the line is full, so that adding to it asks one question.
const NOWHERE: u32 = u32::MAX - (STRIDE - 1 - NUMBERS as u32);

/// Sixty-four bytes.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    numbers: [u16; NUMBERS],
    next: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// Of each slot's list the place of the next number.
    ends: Vec<u32>,
    pool: Vec<Line>,
    /// Lines of the pool that no list has.
    free: Vec<u32>,
}

impl Lists {
    /// With memory set aside for so many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self { ends: Vec::with_capacity(slots), pool: Vec::with_capacity(slots), free: Vec::new() }
    }

    /// An empty list for each of so many slots, beside those that are there.
    pub(crate) fn admit(&mut self, slots: usize) {
        self.ends.resize(slots.max(self.ends.len()), NOWHERE);
    }

    /// Adds a number to the list of each slot that is then named.
    pub(crate) fn adding(&mut self, number: u16) -> impl FnMut(Slot) {
        // A slice, because the compiler would look up anew where a vector lies after every call that may lengthen.
        let Self { ends, pool, free } = self;
        let ends = &mut ends[..];
        move |slot| {
            let end = &mut ends[slot as usize];
            if *end % STRIDE == NUMBERS as u32 {
                *end = lengthen(pool, free, *end);
            }
            pool[(*end / STRIDE) as usize].numbers[(*end % STRIDE) as usize] = number;
            *end += 1;
        }
    }

    /// Takes a list's first line away, whose numbers come in their order; false when there is none.
    pub(crate) fn take_line(&mut self, slot: Slot, numbers: impl FnOnce(&[u16])) -> bool {
        let end = self.ends[slot as usize];
        if end == NOWHERE {
            return false;
        }
        let last = end / STRIDE;
        let first = self.pool[last as usize].next;
        let line = &self.pool[first as usize];
        if first == last {
            numbers(&line.numbers[..(end % STRIDE) as usize]);
            self.ends[slot as usize] = NOWHERE;
        } else {
            numbers(&line.numbers);
            self.pool[last as usize].next = line.next;
        }
        self.free.push(first);
        if self.lines() == 0 {
            self.begin_anew();
        }
        true
    }

    pub(crate) fn is_empty(&self, slot: Slot) -> bool {
        self.ends[slot as usize] == NOWHERE
    }

    /// Lines that all lists have together.
    pub(crate) fn lines(&self) -> usize {
        self.pool.len() - self.free.len()
    }

    fn begin_anew(&mut self) {
        if self.pool.len() > LINES_KEPT {
            self.pool = Vec::with_capacity(self.pool.capacity());
            self.free = Vec::new();
        } else {
            self.pool.clear();
            self.free.clear();
        }
    }
}

/// One line more for the list that ends there; the place of its first number.
#[cold]
fn lengthen(pool: &mut Vec<Line>, free: &mut Vec<u32>, end: u32) -> u32 {
    let fresh = free.pop().unwrap_or_else(|| {
        pool.push(Line { numbers: [0; NUMBERS], next: 0 });
        (pool.len() - 1) as u32
    });
    let first = if end == NOWHERE {
        fresh
    } else {
        std::mem::replace(&mut pool[(end / STRIDE) as usize].next, fresh)
    };
    pool[fresh as usize].next = first;
    fresh * STRIDE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lists: &mut Lists, slot: Slot) -> Vec<u16> {
        let mut all = Vec::new();
        while lists.take_line(slot, |numbers| all.extend_from_slice(numbers)) {}
        all
    }

    #[test]
    fn lists_of_many_lines_share_the_pool_and_give_it_back() {
        let mut lists = Lists::default();
        lists.admit(3);
        for number in 0..100 {
            (0..3).for_each(|slot| lists.adding(number + 1_000 * slot as u16)(slot));
        }
        assert_eq!(taken(&mut lists, 1), (1_000..1_100).collect::<Vec<_>>());
        assert!(lists.is_empty(1) && lists.lines() == 8);
        let lines = lists.pool.len();
        (0..90).for_each(|number| lists.adding(number)(1));
        assert_eq!(lists.pool.len(), lines, "what was given back is used again");
        assert_eq!(taken(&mut lists, 1), (0..90).collect::<Vec<_>>());
        assert_eq!(taken(&mut lists, 0), (0..100).collect::<Vec<_>>());
        assert_eq!(taken(&mut lists, 2), (2_000..2_100).collect::<Vec<_>>());
        assert!(lists.pool.is_empty() && lists.free.is_empty());
        assert!(taken(&mut lists, 2).is_empty());
    }

    #[test]
    fn a_line_is_one_of_the_cache() {
        assert_eq!(size_of::<Line>(), 64);
        assert!(NOWHERE % STRIDE == NUMBERS as u32 && NUMBERS < STRIDE as usize);
    }
}
