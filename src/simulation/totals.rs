//! What happened in schedules, so that a simulation cannot stop trying something unnoticed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// Everything there is to try, as it is counted.
const KINDS: [&str; 17] = [
    "abandoned",
    // Topics that came to a client by a pattern, before their first message and after it.
    "awaited by a pattern",
    "conflated",
    "delivered",
    // Told in an event, because the history that a client was reading was over.
    "epochs",
    "evicted",
    // Topics left by name, or with a pattern, that a client kept because of what else it asked for.
    "kept",
    "left out by the publisher",
    "matched by a pattern",
    "rejoined",
    "replayed",
    // Subscribers of `delta` topics that were sent a snapshot because they were behind.
    "restarted",
    "resumed",
    "skipped",
    "slow",
    "snapshots",
    "unsynced",
];
/// In one schedule of so many, at least, each of them is to happen.
const SCHEDULES_PER_KIND: u64 = 50;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Totals {
    /// By kind: how often, and in how many schedules.
    counts: BTreeMap<&'static str, (u64, u64)>,
    schedules: u64,
    operations: u64,
}

impl Totals {
    pub(super) fn count(&mut self, kind: &'static str, often: u64) {
        debug_assert!(KINDS.contains(&kind), "{kind} is not listed");
        if often > 0 {
            self.counts.entry(kind).or_default().0 += often;
        }
    }

    /// One schedule of so many operations is over.
    pub(super) fn finish(mut self, operations: u64) -> Self {
        (self.schedules, self.operations) = (1, operations);
        self.counts.values_mut().for_each(|(_, schedules)| *schedules = 1);
        self
    }

    /// What did not happen in enough of the schedules.
    pub(super) fn untried(&self) -> Vec<&'static str> {
        let schedules = |kind: &str| self.counts.get(kind).map_or(0, |(_, schedules)| *schedules);
        KINDS.into_iter().filter(|kind| schedules(kind) * SCHEDULES_PER_KIND < self.schedules).collect()
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.operations += other.operations;
        for (kind, (often, schedules)) in other.counts {
            let count = self.counts.entry(kind).or_default();
            *count = (count.0 + often, count.1 + schedules);
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} schedules, {} operations", self.schedules, self.operations)?;
        for (kind, (often, schedules)) in &self.counts {
            let percent = 100.0 * *schedules as f64 / self.schedules.max(1) as f64;
            write!(f, "\n{often:>12} {kind}, in {percent:.1} % of them")?;
        }
        Ok(())
    }
}

#[test]
fn what_happens_in_too_few_schedules_is_untried() {
    let mut totals = Totals::default();
    for schedule in 0..100 {
        let mut one = Totals::default();
        KINDS.iter().filter(|kind| **kind != "slow").for_each(|kind| one.count(kind, 1));
        one.count("slow", if schedule < 1 { 1_000 } else { 0 });
        totals += one.finish(10);
    }
    assert_eq!((totals.untried(), totals.operations), (vec!["slow"], 1_000));
}
