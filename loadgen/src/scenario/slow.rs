//! `slow`: a fan-out of which a part of the subscribers cannot keep up, and what that does to the others.
//!
//! Contract: two runs, first with the healthy subscribers alone, then with the slow ones beside them; both have the same
//! number of healthy ones. The slow ones stand before anything is published, and are read to their end after the drain.

use crate::report::Report;
use crate::scenario::Subject;
use crate::scenario::fanout::{Fanout, RunError, Slowness};

/// Runs `fanout` without its slow subscribers, then with them.
pub(crate) async fn run(fanout: &Fanout, subject: Subject<'_>) -> Result<Report, RunError> {
    subject.progress.part("without slow subscribers");
    let alone = Fanout { slow: Slowness::default(), ..fanout.clone() };
    let without = alone.run(subject).await?;
    subject.progress.part("with slow subscribers");
    let mut report = fanout.run(subject).await?;
    report.scenario = "slow";
    let p99_us = report.latency_us.p99;
    if let Some(slow) = &mut report.slow {
        slow.compare(p99_us, without);
    }
    Ok(report.judge())
}

/// Takes `stalled` and `trickling` percent of `connections`, at least one where it is not 0; gives the healthy rest, too.
pub(crate) fn divide(connections: usize, stalled: f64, trickling: f64) -> (usize, Slowness) {
    let part = |percent: f64| match (connections as f64 * percent / 100.0).round() as usize {
        0 if percent > 0.0 => 1,
        count => count,
    };
    let slow = Slowness { stalled: part(stalled), trickling: part(trickling) };
    (connections.saturating_sub(slow.stalled + slow.trickling), slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_become_connections() {
        let slow = |stalled, trickling| Slowness { stalled, trickling };
        assert_eq!(divide(10_000, 1.0, 1.0), (9_800, slow(100, 100)));
        assert_eq!(divide(10, 1.0, 0.0), (9, slow(1, 0)));
        assert_eq!(divide(2, 10.0, 10.0), (0, slow(1, 1)));
    }
}
