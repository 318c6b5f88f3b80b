//! The one home of clocks. Everything else is told the time.

use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A moment on the process's monotonic clock, in microseconds since the clock was first asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    micros: u64,
}

impl Moment {
    /// The moment so many microseconds after the clock's start; for tests that run in virtual time.
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
    }

    /// Whole seconds since the clock's start, for the hot arrays that keep four bytes a connection.
    pub fn secs(self) -> u32 {
        u32::try_from(self.micros / 1_000_000).unwrap_or(u32::MAX)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self { micros: self.micros.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)) }
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The monotonic clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment { micros: u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX) }
}

/// The wall clock: microseconds since 1970, for the `ts` of messages and the first epoch.
#[allow(clippy::disallowed_types)]
pub fn unix_micros() -> u64 {
    std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
