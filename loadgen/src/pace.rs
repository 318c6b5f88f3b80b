//! The publisher's grid of intended send times, and how far it was left behind.
//!
//! Contract: the time of message `k` is `start + k / rate` and nothing moves it; a publisher that is late sends late, and the
//! latency of what it sends is still counted from the grid. [`Lag`] keeps apart what the server caused from what we did.

use crate::limits::ON_GRID_NS;

/// Intended times, in nanoseconds on the run's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    start_ns: u64,
    step_ns: f64,
}

impl Grid {
    /// Message 0 at `start_ns`, then `rate_per_s` messages a second (more than 0).
    pub(crate) fn new(start_ns: u64, rate_per_s: f64) -> Self {
        Self { start_ns, step_ns: 1e9 / rate_per_s }
    }

    /// When message `index` is to be sent. Exact to the nanosecond for 104 days, where an f64 ends.
    pub(crate) fn at(&self, index: u64) -> u64 {
        self.start_ns + (index as f64 * self.step_ns) as u64
    }
}

/// How late messages were handed to the socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    max_ns: u64,
    own_max_ns: u64,
    /// True exactly when the socket was full and the backlog of that time is not yet sent.
    pushed_back: bool,
}

impl Lag {
    /// The socket was full: what is late from here until we are back on the grid is the server's doing.
    pub(crate) fn push_back(&mut self) {
        self.pushed_back = true;
    }

    /// Notes that a message goes out `late_ns` after its time.
    pub(crate) fn note(&mut self, late_ns: u64) {
        self.max_ns = self.max_ns.max(late_ns);
        if late_ns < ON_GRID_NS {
            self.pushed_back = false;
        }
        if !self.pushed_back {
            self.own_max_ns = self.own_max_ns.max(late_ns);
        }
    }

    /// The worst lag, whoever caused it.
    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The worst lag that no full socket explains.
    pub(crate) fn own_max_ns(&self) -> u64 {
        self.own_max_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_does_not_drift() {
        let grid = Grid::new(1_000, 3.0);
        assert_eq!([grid.at(0), grid.at(1), grid.at(3)], [1_000, 333_334_333, 1_000_001_000]);
        let grid = Grid::new(0, 100_000.0);
        assert_eq!(grid.at(100_000 * 3_600), 3_600_000_000_000);
    }

    #[test]
    fn lag_after_a_push_back_is_not_our_own_until_we_are_back_on_the_grid() {
        let mut lag = Lag::default();
        lag.note(20_000);
        lag.push_back();
        lag.note(500_000_000);
        lag.note(30_000_000);
        assert_eq!((lag.max_ns(), lag.own_max_ns()), (500_000_000, 20_000));
        lag.note(10_000);
        lag.note(15_000_000);
        assert_eq!((lag.max_ns(), lag.own_max_ns()), (500_000_000, 15_000_000));
    }
}
