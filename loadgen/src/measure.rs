//! Readings at the two ends of the measured time, and the rates and costs between them.
//!
//! Contract: pure arithmetic; what one of the two readings lacks is absent from the result.

use crate::cost::ThreadTime;
use crate::tally::Received;

/// Everything that counts up, read at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) at_ns: u64,
    pub(crate) received: Received,
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) own_cpu_ns: Option<u64>,
    pub(crate) stolen_ns: Option<u64>,
    pub(crate) receivers: Vec<Option<ThreadTime>>,
}

/// What happened between two readings.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    from: Reading,
    to: Reading,
}

impl Window {
    /// `to` was read after `from`.
    pub(crate) fn new(from: Reading, to: Reading) -> Self {
        Self { from, to }
    }

    /// Its length.
    pub(crate) fn seconds(&self) -> f64 {
        seconds_between(self.from.at_ns, self.to.at_ns)
    }

    /// Messages delivered in it, duplicates included.
    pub(crate) fn deliveries(&self) -> u64 {
        self.to.received.deliveries - self.from.received.deliveries
    }

    /// Bytes that came from the subscribers' sockets in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.to.received.bytes - self.from.received.bytes
    }

    /// The server's processor time for each delivery, in microseconds.
    pub(crate) fn server_us_per_delivery(&self) -> Option<f64> {
        let deliveries = self.deliveries();
        let cpu_ns = difference(self.from.server_cpu_ns, self.to.server_cpu_ns)?;
        (deliveries > 0).then(|| cpu_ns as f64 / 1e3 / deliveries as f64)
    }

    /// Cores the server kept busy.
    pub(crate) fn server_cores(&self) -> Option<f64> {
        Some(self.part(difference(self.from.server_cpu_ns, self.to.server_cpu_ns)?))
    }

    /// Cores the generator kept busy.
    pub(crate) fn own_cores(&self) -> Option<f64> {
        Some(self.part(difference(self.from.own_cpu_ns, self.to.own_cpu_ns)?))
    }

    /// Cores that were wanted here and that a hypervisor gave to others.
    pub(crate) fn stolen_cores(&self) -> Option<f64> {
        Some(self.part(difference(self.from.stolen_ns, self.to.stolen_ns)?))
    }

    /// Of the busiest receiver thread: the part of the time it ran, and the part it ran or waited for a core.
    pub(crate) fn busiest_receiver(&self) -> (Option<f64>, Option<f64>) {
        let threads = || {
            self.from.receivers.iter().zip(&self.to.receivers).filter_map(|(from, to)| {
                let (from, to) = (from.as_ref()?, to.as_ref()?);
                Some((to.ran_ns.checked_sub(from.ran_ns)?, to.waited_ns.checked_sub(from.waited_ns)?))
            })
        };
        let ran = threads().map(|(ran, _)| ran).max().map(|ns| self.part(ns));
        let wanted = threads().map(|(ran, waited)| ran + waited).max().map(|ns| self.part(ns));
        (ran, wanted)
    }

    fn part(&self, ns: u64) -> f64 {
        ns as f64 / 1e9 / self.seconds()
    }
}

/// Never 0, so that it may divide.
pub(crate) fn seconds_between(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns).max(1) as f64 / 1e9
}

/// A sum over threads may shrink when one of them ends: then it is not known.
fn difference(from: Option<u64>, to: Option<u64>) -> Option<u64> {
    to?.checked_sub(from?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_costs_are_what_happened_between() {
        let thread = |ran_ns, waited_ns| Some(ThreadTime { ran_ns, waited_ns });
        let from = Reading {
            at_ns: 1_000_000_000,
            received: Received { deliveries: 100, bytes: 1_000, ..Received::default() },
            server_cpu_ns: Some(5),
            own_cpu_ns: None,
            stolen_ns: Some(7),
            receivers: vec![thread(0, 0), thread(0, 0), None],
        };
        let to = Reading {
            at_ns: 3_000_000_000,
            received: Received { deliveries: 1_100, bytes: 5_000, ..Received::default() },
            server_cpu_ns: Some(1_000_000_005),
            own_cpu_ns: Some(1),
            stolen_ns: Some(500_000_007),
            receivers: vec![thread(1_000_000_000, 100_000_000), thread(500_000_000, 1_000_000_000), None],
        };
        let window = Window::new(from, to);
        assert_eq!(window.seconds(), 2.0);
        assert_eq!((window.deliveries(), window.bytes()), (1_000, 4_000));
        assert_eq!(window.server_us_per_delivery(), Some(1_000.0));
        assert_eq!((window.server_cores(), window.own_cores()), (Some(0.5), None));
        assert_eq!(window.stolen_cores(), Some(0.25));
        assert_eq!(window.busiest_receiver(), (Some(0.5), Some(0.75)));
    }
}
