//! The one place that reads time: nanoseconds since the run began, on the system's monotonic clock; and the date.
//!
//! Contract: every thread of a run holds a copy of the same [`Clock`], so that a stamp made by the publisher can be
//! subtracted from a reading made by a receiver. Everything else takes time as an argument.

use std::time::{Duration, Instant};

/// Now, as RFC 3339 in UTC, to the second.
#[allow(clippy::disallowed_types)]
pub(crate) fn date() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// A copyable origin; two readings of copies of one `Clock` may be compared, others may not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Begins counting now.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since [`Clock::start`].
    pub(crate) fn now_ns(self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long it is until `at_ns`; zero when it has passed.
    pub(crate) fn until(self, at_ns: u64) -> Duration {
        Duration::from_nanos(at_ns.saturating_sub(self.now_ns()))
    }
}
