//! How long to wait before the next attempt to connect. Pure: chance is an argument.

use std::time::Duration;

/// The bounds of the waits: the longest wait of the first attempt, and of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffBounds {
    /// The longest wait before the first attempt; each after it may take twice as long as the one before.
    pub first: Duration,
    /// The longest wait before any.
    pub most: Duration,
}

impl Default for BackoffBounds {
    /// 100 ms, doubling to 10 s.
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(10) }
    }
}

/// Exponential, with full jitter: anything from no wait at all to the longest one, so that those who were cut off
/// together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    bounds: BackoffBounds,
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(bounds: BackoffBounds) -> Self {
        Self { bounds, attempts: 0 }
    }

    /// The wait before the next attempt; `chance` is from 0 to 1, and `asked_for` comes before all of it.
    pub(super) fn next(&mut self, asked_for: Option<Duration>, chance: f64) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let longest = self.bounds.first.saturating_mul(factor).min(self.bounds.most);
        asked_for.unwrap_or_default().saturating_add(longest.mul_f64(chance.clamp(0.0, 1.0)))
    }

    /// It has worked: the next failure is the first again.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_and_any_may_be_none() {
        let mut backoff = Backoff::new(BackoffBounds::default());
        let longest: Vec<_> = (0..9).map(|_| backoff.next(None, 1.0).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        for _ in 0..100 {
            assert_eq!(backoff.next(None, 0.0), Duration::ZERO);
            assert_eq!(backoff.next(None, 1.0), Duration::from_secs(10), "however often");
        }
        backoff.reset();
        assert_eq!(backoff.next(None, 0.5), Duration::from_millis(50));
    }

    #[test]
    fn what_the_server_asks_for_is_waited_in_full() {
        let mut backoff = Backoff::new(BackoffBounds::default());
        let asked_for = Some(Duration::from_secs(3));
        assert_eq!(backoff.next(asked_for, 0.0), Duration::from_secs(3));
        assert_eq!(backoff.next(asked_for, 1.0), Duration::from_millis(3_200));
    }
}
