//! `slow`: a fan-out of which a part of the subscribers cannot keep up, and what that does to the others.
//!
//! Contract: runs with the healthy subscribers alone and runs with the slow ones beside them take turns; all have the same number of
//! healthy ones, and medians are compared. The slow ones stand before anything is published, and are read to their end after the
//! drain. The server is asked as often in either kind of run, so that the asking tells nothing.

use std::time::Duration;

use serde::Serialize;

use crate::counters;
use crate::limits::BACKLOG_EVERY;
use crate::report::Report;
use crate::scenario::Subject;
use crate::scenario::fanout::{Fanout, RunError, Slowness};
use crate::slow_figures::{Backlog, Round};

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Slow {
    #[serde(flatten)]
    pub(crate) fanout: Fanout,
    /// Times that both runs are made.
    pub(crate) rounds: usize,
}

impl Slow {
    /// Runs it.
    pub(crate) async fn run(&self, subject: Subject<'_>) -> Result<Report, RunError> {
        let alone = Fanout { slow: Slowness::default(), ..self.fanout.clone() };
        let seats = match subject.target.operator() {
            Some(operator) => counters::read(operator).await?.seats,
            None => 0,
        };
        let (mut without, mut with, mut rounds) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            subject.progress.part(&format!("round {round} of {}: without slow subscribers", self.rounds));
            let base = watched(&alone, seats, subject).await?;
            subject.progress.part(&format!("round {round} of {}: with slow subscribers", self.rounds));
            let report = watched(&self.fanout, seats, subject).await?;
            rounds.push(Round { without_p99_us: base.latency_us.p99, with_p99_us: report.latency_us.p99 });
            without.push(base);
            with.push(report);
        }
        let invalid = without.iter().chain(&with).find_map(|run| run.invalid_reason.clone());
        let (base, mut report) = (median(without), median(with));
        report.scenario = "slow";
        let p99_us = report.latency_us.p99;
        if let Some(slow) = &mut report.slow {
            (slow.rounds, slow.invalid_round) = (rounds, invalid);
            slow.compare(p99_us, base);
        }
        Ok(report.judge())
    }
}

/// A run, once no more than `seats` are taken, and what the server says meanwhile of those that cannot keep up.
async fn watched(fanout: &Fanout, seats: u64, subject: Subject<'_>) -> Result<Report, RunError> {
    if let Some(operator) = subject.target.operator() {
        counters::until_vacated(operator, seats).await?;
    }
    let watch = async |start_ns: u64, _: &_| {
        let Some(operator) = subject.target.operator() else { return Ok(None) };
        let end_ns = start_ns + (fanout.timed_s() * 1e9) as u64;
        let mut backlog = Backlog::default();
        loop {
            let now = counters::read(operator).await?;
            backlog.blocked_max = backlog.blocked_max.max(now.blocked);
            backlog.queued_bytes_max = backlog.queued_bytes_max.max(now.queued_bytes);
            let rest = subject.clock.until(end_ns);
            if rest == Duration::ZERO {
                return Ok(Some(backlog));
            }
            tokio::time::sleep(rest.min(BACKLOG_EVERY)).await;
        }
    };
    let (mut report, backlog) = fanout.run_beside(subject, watch).await?;
    if let Some(slow) = &mut report.slow {
        slow.backlog = backlog;
    }
    Ok(report.judge())
}

/// One that failed, where there is one; else that of the median p99.
fn median(mut runs: Vec<Report>) -> Report {
    if let Some(failed) = runs.iter().position(|run| !run.verified) {
        return runs.swap_remove(failed);
    }
    runs.sort_by_key(|run| run.latency_us.p99);
    runs.swap_remove((runs.len() - 1) / 2)
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
    use crate::report::Latency;
    use crate::report::tests::clean;

    #[test]
    fn a_failed_run_comes_before_the_median() {
        let run = |p99| {
            let latency_us = Latency { p99: Some(p99), ..Latency::default() };
            Report { latency_us, ..clean() }.judge()
        };
        let p99 = |runs| median(runs).latency_us.p99;
        assert_eq!(p99(vec![run(30), run(10), run(20)]), Some(20));
        assert_eq!(p99(vec![run(7)]), Some(7));
        let lost = Report { missing: 1, ..run(90) }.judge();
        assert_eq!(p99(vec![run(10), lost, run(20)]), Some(90));
    }

    #[test]
    fn percentages_become_connections() {
        let slow = |stalled, trickling| Slowness { stalled, trickling };
        assert_eq!(divide(10_000, 1.0, 1.0), (9_800, slow(100, 100)));
        assert_eq!(divide(10, 1.0, 0.0), (9, slow(1, 0)));
        assert_eq!(divide(2, 10.0, 10.0), (0, slow(1, 1)));
    }
}
