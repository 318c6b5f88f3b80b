//! What the churning connections of a run found.
//!
//! Contract: pure.

use serde::Serialize;

use crate::churner::{Broken, Found};
use crate::report::thousands;
use crate::scenario::fanout::Beside;

/// Of all of them together.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ChurnFigures {
    pub(crate) connections: u64,
    #[serde(flatten)]
    pub(crate) found: Found,
    /// Connections that ended before their time,
    pub(crate) broken: u64,
    /// and what ended the first of them.
    pub(crate) first_broken: Option<String>,
}

impl FromIterator<(Found, Option<Broken>)> for ChurnFigures {
    fn from_iter<I: IntoIterator<Item = (Found, Option<Broken>)>>(all: I) -> Self {
        let mut figures = Self::default();
        for (found, broken) in all {
            figures.connections += 1;
            figures.found.add(&found);
            figures.broken += u64::from(broken.is_some());
            figures.first_broken = figures.first_broken.or_else(|| Some(broken?.to_string()));
        }
        figures
    }
}

impl ChurnFigures {
    /// Adds those of another round.
    pub(crate) fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.found.add(&other.found);
        self.broken += other.broken;
        self.first_broken = self.first_broken.take().or(other.first_broken);
    }

    /// What the verification found.
    pub(crate) fn failure(&self) -> Option<String> {
        let found = &self.found;
        let found: Vec<String> = [
            (found.missing, "missing"),
            (found.misplaced, "misplaced"),
            (found.stray, "behind the unsubscription"),
            (self.broken, "connections broken"),
            (u64::from(found.cycles == 0), "run without a whole subscription"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", thousands(count)))
        .collect();
        let why = self.first_broken.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        (!found.is_empty())
            .then(|| format!("verification of the churning connections failed: {}{why}", found.join(", ")))
    }
}

impl Beside for ChurnFigures {
    fn received(&self) -> u64 {
        self.found.received + self.found.stray
    }

    fn closed(&self) -> u64 {
        self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_fails() {
        let clean = || Found { cycles: 3, received: 9, ..Found::default() };
        let figures =
            |found, broken| [(clean(), None), (found, broken)].into_iter().collect::<ChurnFigures>();
        let two = figures(clean(), None);
        assert_eq!((two.failure(), two.found.cycles, two.received()), (None, 6, 18));
        for (found, broken, word) in [
            (Found { missing: 1, ..clean() }, None, "1 missing"),
            (Found { misplaced: 1, ..clean() }, None, "1 misplaced"),
            (Found { stray: 1, ..clean() }, None, "unsubscription"),
            (clean(), Some(Broken::Silent), "did not answer"),
        ] {
            let failure = figures(found, broken).failure().unwrap();
            assert!(failure.contains(word), "{failure}");
        }
        assert!(ChurnFigures::default().failure().unwrap().contains("without a whole subscription"));
    }
}
