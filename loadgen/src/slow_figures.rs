//! What became of the slow subscribers of a run, and what they did to the healthy ones.
//!
//! Contract: pure. A slow subscriber may be closed, or be behind; what it got must be the beginning of what was published,
//! without a hole.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::receiver::Pace;
use crate::report::{Report, ratio, thousands};
use crate::scenario::fanout::{Beside, Slowness};
use crate::subscriber::Harvest;

/// Of all slow subscribers together.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SlowFigures {
    /// Never read before the end.
    pub(crate) stalled: u64,
    /// Read a little now and then.
    pub(crate) trickling: u64,
    /// Messages they got, those of the reading out at the end included.
    pub(crate) received: u64,
    /// Messages that those still connected at the end did not get.
    pub(crate) behind: u64,
    pub(crate) gaps: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) closed: u64,
    /// Those of them that trickled.
    pub(crate) trickling_closed: u64,
    /// What the server says of them; null without its operator port.
    pub(crate) backlog: Option<Backlog>,
    /// As for the healthy ones. A close frame that had no room in a full socket counts as `1006`.
    pub(crate) closed_by_code: BTreeMap<String, u64>,
    pub(crate) first_close_reason: Option<String>,
    /// Of the healthy ones: with the slow ones, by without them; medians of all rounds.
    pub(crate) p99_ratio: Option<f64>,
    /// What the medians are of.
    pub(crate) rounds: Vec<Round>,
    /// Why the first run of any round whose figures are not valid is not.
    pub(crate) invalid_round: Option<String>,
    /// A run without them.
    pub(crate) without: Option<Box<Report>>,
}

/// How far the server's connections were behind while messages were published.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Backlog {
    /// Behind a full socket, at most at a time.
    pub(crate) blocked_max: u64,
    /// In their queues, each frame once.
    pub(crate) queued_bytes_max: u64,
}

/// The p99 of the healthy ones in two runs that followed each other.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) without_p99_us: Option<u64>,
    pub(crate) with_p99_us: Option<u64>,
}

impl Beside for Option<Backlog> {}

impl SlowFigures {
    /// Of what they received.
    pub(crate) fn of(who: Slowness, harvests: Vec<(Pace, Harvest)>) -> Self {
        let (mut harvest, mut trickling_closed) = (Harvest::new(), 0);
        for (pace, kind) in harvests {
            if pace == Pace::Trickling {
                trickling_closed = kind.endings.values().sum();
            }
            harvest.add(kind);
        }
        Self {
            trickling_closed,
            backlog: None,
            rounds: Vec::new(),
            invalid_round: None,
            stalled: who.stalled as u64,
            trickling: who.trickling as u64,
            received: harvest.account.received,
            behind: harvest.missing,
            gaps: harvest.account.gaps,
            duplicates: harvest.account.duplicates,
            reordered: harvest.account.reordered,
            closed: harvest.endings.values().sum(),
            closed_by_code: harvest.closed_by_code(),
            first_close_reason: harvest.first_reason,
            p99_ratio: None,
            without: None,
        }
    }

    /// Adds the run without them, whose p99 becomes the base of `p99_us`.
    pub(crate) fn compare(&mut self, p99_us: Option<u64>, without: Report) {
        let us = |percentile: Option<u64>| percentile.map(|us| us as f64);
        self.p99_ratio = ratio(us(p99_us), us(without.latency_us.p99));
        self.without = Some(Box::new(without));
    }

    /// What the verification found.
    pub(crate) fn failure(&self) -> Option<String> {
        let broken = self.closed_by_code.get("violation").copied().unwrap_or_default();
        let found: Vec<String> = [
            (self.gaps, "skipped"),
            (self.duplicates, "duplicated"),
            (self.reordered, "reordered"),
            (broken, "connections with broken framing"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", thousands(count)))
        .collect();
        if !found.is_empty() {
            return Some(format!(
                "verification of the slow subscribers failed: {}; does the server drop instead of closing?",
                found.join(", ")
            ));
        }
        let without = self.without.as_ref()?.failure()?;
        Some(format!("without slow subscribers: {without}"))
    }

    /// Why the ratio means nothing, where it does not.
    pub(crate) fn unusable(&self) -> Option<String> {
        if let Some(Backlog { blocked_max: 0, .. }) = self.backlog {
            return Some(
                "no subscriber was ever behind a full socket, so that the slow ones disturbed nobody: use a longer --secs, or \
                 a higher --rate or --size"
                    .to_owned(),
            );
        }
        let reason = self.invalid_round.as_ref()?;
        Some(format!("in one of the rounds {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Latency;
    use crate::report::tests::clean;

    fn with_slow(spoil: impl FnOnce(&mut SlowFigures)) -> Report {
        let mut slow = SlowFigures::of(Slowness { stalled: 1, trickling: 2 }, Vec::new());
        spoil(&mut slow);
        Report { slow: Some(slow), ..clean() }.judge()
    }

    #[test]
    fn slow_ones_may_be_closed_and_behind_but_not_have_holes() {
        let closed = BTreeMap::from([("4001".to_owned(), 1)]);
        let report = with_slow(|slow| (slow.closed, slow.closed_by_code, slow.behind) = (1, closed, 70));
        assert!(report.verified && report.valid, "{report:?}");
        let broken = BTreeMap::from([("violation".to_owned(), 1)]);
        assert!(!with_slow(|slow| slow.closed_by_code = broken).verified);
        assert!(!with_slow(|slow| slow.gaps = 1).verified);
        assert!(!with_slow(|slow| slow.duplicates = 1).verified);
        assert!(!with_slow(|slow| slow.reordered = 1).verified);
    }

    #[test]
    fn a_run_in_which_nobody_was_behind_proves_nothing() {
        let behind = |blocked_max| Some(Backlog { blocked_max, ..Backlog::default() });
        assert!(with_slow(|slow| slow.backlog = behind(1)).valid);
        let report = with_slow(|slow| slow.backlog = behind(0));
        assert!(report.verified && report.invalid_reason.unwrap().contains("full socket"));
    }

    #[test]
    fn the_run_without_them_is_the_base_and_must_hold_too() {
        let base = || Report { latency_us: Latency { p99: Some(400), ..Latency::default() }, ..clean() };
        let report = with_slow(|slow| slow.compare(Some(500), base().judge()));
        assert_eq!(report.slow.as_ref().unwrap().p99_ratio, Some(1.25));
        assert!(report.verified && report.valid);
        let lost = Report { missing: 1, ..base() }.judge();
        assert!(!with_slow(|slow| slow.compare(Some(500), lost)).verified);
        assert!(!with_slow(|slow| slow.invalid_round = Some("the publisher was late".to_owned())).valid);
    }
}
