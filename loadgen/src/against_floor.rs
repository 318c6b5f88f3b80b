//! A run as a multiple of the floor's.
//!
//! Contract: pure. The floor ran right before, with the same parameters, on the same machine; above 1 is dearer or slower than it.

use serde::Serialize;

use crate::report::{Report, ratio};

/// The ratios, and what they were made from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgainstFloor {
    /// Of the server's processor time per delivery. Null without a process to watch.
    pub(crate) cpu_per_delivery_ratio: Option<f64>,
    pub(crate) p50_ratio: Option<f64>,
    pub(crate) p99_ratio: Option<f64>,
    pub(crate) coalesced: bool,
    pub(crate) floor: Box<Report>,
}

impl AgainstFloor {
    /// `report` against `floor`.
    pub(crate) fn new(report: &Report, floor: Report, coalesced: bool) -> Self {
        let cpu = |report: &Report| report.server.and_then(|server| server.cpu_us_per_delivery);
        let us = |percentile: Option<u64>| percentile.map(|us| us as f64);
        let (own, base) = (&report.latency_us, &floor.latency_us);
        Self {
            cpu_per_delivery_ratio: ratio(cpu(report), cpu(&floor)),
            p50_ratio: ratio(us(own.p50), us(base.p50)),
            p99_ratio: ratio(us(own.p99), us(base.p99)),
            coalesced,
            floor: Box::new(floor),
        }
    }

    /// Why the ratios mean nothing, where they do not.
    pub(crate) fn unusable(&self) -> Option<String> {
        let reason = self.floor.failure().or_else(|| self.floor.invalid_reason.clone())?;
        Some(format!("the floor's own run: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::clean;
    use crate::report::{Latency, ServerCost};

    fn run(cpu_us_per_delivery: f64, p50: u64, p99: u64) -> Report {
        let server = ServerCost { cpu_us_per_delivery: Some(cpu_us_per_delivery), ..ServerCost::default() };
        let latency_us = Latency { p50: Some(p50), p99: Some(p99), ..Latency::default() };
        Report { server: Some(server), latency_us, ..clean().judge() }
    }

    #[test]
    fn ratios_are_ours_by_the_floors() {
        let against = AgainstFloor::new(&run(3.0, 100, 900), run(2.0, 200, 300), false);
        assert_eq!(
            (against.cpu_per_delivery_ratio, against.p50_ratio, against.p99_ratio),
            (Some(1.5), Some(0.5), Some(3.0))
        );
        let against = AgainstFloor::new(&clean(), run(2.0, 200, 300), false);
        assert_eq!((against.cpu_per_delivery_ratio, against.p50_ratio), (None, None));
    }

    #[test]
    fn a_floor_that_lost_messages_makes_the_comparison_invalid_and_not_the_run_unverified() {
        let floor = Report { missing: 3, ..run(2.0, 200, 300) }.judge();
        let mut report = run(3.0, 100, 900);
        report.against_floor = Some(AgainstFloor::new(&report, floor, false));
        let report = report.judge();
        assert!(report.verified && !report.valid);
        assert!(report.invalid_reason.unwrap().contains("floor"));
    }
}
