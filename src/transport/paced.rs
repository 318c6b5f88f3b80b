//! A queue that lets so many a second out, in order. Pure: whoever owns it comes back every [`STEP`] while some wait.

use super::rate::Rate;
use crate::clock::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// How often to look whose turn has come: the smallest step of tokio's timers.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// Steps whose turns are kept for an owner that comes late; what was missed beyond them is not made up for.
const STEPS_KEPT: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Paced<T> {
    waiting: VecDeque<T>,
    per_s: u32,
    burst: u32,
    rate: Rate,
}

impl<T> Paced<T> {
    pub(crate) fn new(per_s: u32, now: Moment) -> Self {
        let burst = per_s.div_ceil(1_000).saturating_mul(STEPS_KEPT);
        Self { waiting: VecDeque::new(), per_s, burst, rate: Rate::new(burst, now) }
    }

    pub(crate) fn push(&mut self, item: T) {
        self.waiting.push_back(item);
    }

    /// The first, if its turn has come.
    pub(crate) fn next(&mut self, now: Moment) -> Option<T> {
        let may_pass = !self.waiting.is_empty() && self.rate.take(self.per_s, self.burst, now);
        if may_pass { self.waiting.pop_front() } else { None }
    }

    /// The first, out of turn.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.waiting.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand at once, and an owner that comes every millisecond, and once 100 ms late.
    #[test]
    fn a_storm_is_let_out_in_order_at_the_pace_and_lateness_is_not_made_up_for() {
        let at = |ms: u64| Moment::from_micros(ms * 1_000);
        let mut paced = Paced::new(4_000, at(0));
        (0..10_000).for_each(|client| paced.push(client));
        let mut out = Vec::new();
        let mut most = 0;
        let mut ms = 0;
        while !paced.is_empty() {
            let before = out.len();
            out.extend(std::iter::from_fn(|| paced.next(at(ms))));
            most = most.max(out.len() - before);
            assert_eq!(paced.len(), 10_000 - out.len());
            ms += if ms == 1_000 { 100 } else { 1 };
        }
        assert_eq!(out, (0..10_000).collect::<Vec<_>>());
        assert_eq!(most, 16, "four steps of four, in the beginning and after the pause");
        // 16 at once and then 4 a step; the pause takes 100 steps of which 4 are kept.
        assert_eq!(ms, 1 + (10_000 - 16) / 4 + 96);
    }

    #[test]
    fn who_comes_alone_does_not_wait_and_whoever_must_not_wait_need_not() {
        let at = |ms: u64| Moment::from_micros(ms * 1_000);
        let mut paced = Paced::new(1, at(0));
        for client in 0..3 {
            paced.push(client);
            assert_eq!(paced.next(at(2_000 * client)), Some(client));
        }
        (0..9).for_each(|client| paced.push(client));
        assert!(std::iter::from_fn(|| paced.next(at(60_000))).count() < 9);
        assert!(std::iter::from_fn(|| paced.pop()).last() == Some(8) && paced.is_empty());
    }
}
