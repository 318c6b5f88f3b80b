//! The search for the highest rate that holds.
//!
//! Contract: pure. [`Search::next`] says which rate to try, [`Search::note`] is told how it went. The rate doubles until one fails,
//! then the distance is halved (on a logarithmic scale) until the two differ by [`KNEE_PRECISION`] at most. Where the first
//! rate fails it is halved first, [`KNEE_HALVINGS`] times at most.

use crate::limits::{KNEE_HALVINGS, KNEE_PRECISION};

/// What is known so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    first: f64,
    ceiling: f64,
    held: Option<f64>,
    failed: Option<f64>,
}

impl Search {
    /// Begins with the rate `first`; tries none above `ceiling`.
    pub(crate) fn new(first: f64, ceiling: f64) -> Self {
        Self { first, ceiling, held: None, failed: None }
    }

    /// The next rate to try; none when the knee is found.
    pub(crate) fn next(&self) -> Option<f64> {
        match (self.held, self.failed) {
            (None, None) => Some(self.first),
            (Some(held), None) => Some(held * 2.0).filter(|rate| *rate <= self.ceiling),
            (None, Some(failed)) => {
                let lowest = self.first / f64::from(1 << KNEE_HALVINGS);
                Some(failed / 2.0).filter(|rate| *rate >= lowest)
            }
            (Some(held), Some(failed)) => (failed / held > KNEE_PRECISION).then(|| (held * failed).sqrt()),
        }
    }

    /// The rate of [`Search::next`] held, or did not.
    pub(crate) fn note(&mut self, rate: f64, held: bool) {
        if held {
            self.held = Some(rate);
        } else {
            self.failed = Some(rate);
        }
    }

    /// The highest rate that held.
    pub(crate) fn held(&self) -> Option<f64> {
        self.held
    }

    /// The lowest that did not.
    pub(crate) fn failed(&self) -> Option<f64> {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where everything up to `knee` holds; gives the search and the number of rates tried.
    fn search(first: f64, knee: f64) -> (Search, usize) {
        let mut search = Search::new(first, 1e6);
        let mut tried = 0;
        while let Some(rate) = search.next() {
            search.note(rate, rate <= knee);
            tried += 1;
            assert!(tried < 40, "{search:?}");
        }
        (search, tried)
    }

    #[test]
    fn the_knee_is_found_to_the_precision_from_either_side() {
        for knee in [100.0, 123.0, 199.9, 3_777.0, 51_000.0, 99.0, 4.0] {
            let (search, tried) = search(100.0, knee);
            let (held, failed) = (search.held().unwrap(), search.failed().unwrap());
            assert!(held <= knee && knee < failed && failed / held <= KNEE_PRECISION, "{search:?}");
            assert!(tried <= 16, "{tried} for {knee}");
        }
    }

    #[test]
    fn a_search_ends_where_nothing_holds_and_where_everything_does() {
        let (nothing, tried) = search(100.0, 0.0);
        assert_eq!((nothing.held(), tried), (None, 6));
        let (all, _) = search(100.0, f64::INFINITY);
        assert!(all.held().unwrap() > 5e5 && all.failed().is_none());
    }
}
