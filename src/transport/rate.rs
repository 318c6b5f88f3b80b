//! A token bucket: so many a second, so many at once. Pure. What it lets pass is told it anew each time: of those who
//! all have the same there may be a million.

use crate::clock::Moment;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Millionths of a token.
    level: u64,
    filled: Moment,
}

impl Rate {
    /// A full bucket.
    pub(crate) fn new(burst: u32, now: Moment) -> Self {
        Self { level: u64::from(burst) * 1_000_000, filled: now }
    }

    /// Takes one token; false when there is none.
    pub(crate) fn take(&mut self, per_s: u32, burst: u32, now: Moment) -> bool {
        let micros = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        self.filled = now;
        let more = micros.saturating_mul(u64::from(per_s));
        self.level = self.level.saturating_add(more).min(u64::from(burst) * 1_000_000);
        match self.level.checked_sub(1_000_000) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let at = |ms: u64| Moment::from_micros(ms * 1_000);
        let mut rate = Rate::new(5, at(0));
        assert!((0..5).all(|_| rate.take(100, 5, at(0))));
        assert!(!rate.take(100, 5, at(9)));
        assert!(rate.take(100, 5, at(10)));
        assert!(!rate.take(100, 5, at(10)));
        assert_eq!(
            (0..100).filter(|_| rate.take(100, 5, at(60_000))).count(),
            5,
            "never more than the burst"
        );
    }
}
