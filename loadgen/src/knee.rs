//! The search for the highest rate that holds.
//!
//! Contract: pure. [`Search::next`] says which rate to try, [`Search::note`] is told how it went. The rate is multiplied by
//! [`KNEE_GALLOP`] until one fails, then the distance is halved (on a logarithmic scale) until the two differ by
//! [`KNEE_PRECISION`] at most. Where the first rate fails it is halved, [`KNEE_HALVINGS`] times at most. The first
//! rate that fails is tried again at once, and the one that the search comes to rest below is tried again then; if it holds, the
//! search goes on above it, [`KNEE_CHANCES`] times at most. A try that was disturbed says nothing, [`KNEE_EXCUSES`] times at
//! most.

use crate::limits::{KNEE_CHANCES, KNEE_EXCUSES, KNEE_GALLOP, KNEE_HALVINGS, KNEE_PRECISION};

/// What is known so far.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    first: f64,
    ceiling: f64,
    held: Option<f64>,
    /// All above `held`, the lowest last.
    failed: Vec<f64>,
    /// Present exactly when the first that failed is still to be tried again.
    doubtful: Option<f64>,
    /// Left.
    chances: u32,
    excuses: u32,
}

impl Search {
    /// Begins with the rate `first`; tries none above `ceiling`.
    pub(crate) fn new(first: f64, ceiling: f64) -> Self {
        Self {
            first,
            ceiling,
            held: None,
            failed: Vec::new(),
            doubtful: None,
            chances: KNEE_CHANCES,
            excuses: KNEE_EXCUSES,
        }
    }

    /// The next rate to try; none when the knee is found.
    pub(crate) fn next(&self) -> Option<f64> {
        let lowest = self.first / f64::from(1 << KNEE_HALVINGS);
        let closer = match (self.held, self.failed()) {
            (None, None) => Some(self.first),
            (Some(held), None) => Some(held * KNEE_GALLOP).filter(|rate| *rate <= self.ceiling),
            (None, Some(failed)) => Some(failed / 2.0).filter(|rate| *rate >= lowest),
            (Some(held), Some(failed)) => (failed / held > KNEE_PRECISION).then(|| (held * failed).sqrt()),
        };
        self.doubtful.or(closer).or_else(|| self.failed().filter(|_| self.chances > 0))
    }

    /// The rate of [`Search::next`] held, or did not.
    pub(crate) fn note(&mut self, rate: f64, held: bool) {
        let last_word = self.failed() == Some(rate) && self.doubtful.take().is_none();
        if held {
            self.held = Some(rate);
            self.failed.retain(|failed| *failed > rate);
            self.chances -= u32::from(last_word);
        } else if last_word {
            self.chances = 0;
        } else if self.failed() != Some(rate) {
            self.doubtful = self.failed.is_empty().then_some(rate);
            self.failed.push(rate);
        }
    }

    /// The rate of [`Search::next`] did not hold, but something else was in the way.
    pub(crate) fn excuse(&mut self, rate: f64) {
        match self.excuses {
            0 => self.note(rate, false),
            left => self.excuses = left - 1,
        }
    }

    /// The highest rate that held.
    pub(crate) fn held(&self) -> Option<f64> {
        self.held
    }

    /// The lowest above it that did not.
    pub(crate) fn failed(&self) -> Option<f64> {
        self.failed.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where everything up to `knee` holds, but for the tries that a hiccup spoils; gives the search and the number of
    /// rates tried.
    fn search(first: f64, knee: f64, hiccups: &[usize]) -> (Search, usize) {
        let mut search = Search::new(first, 1e6);
        let mut tried = 0;
        while let Some(rate) = search.next() {
            search.note(rate, rate <= knee && !hiccups.contains(&tried));
            tried += 1;
            assert!(tried < 40, "{search:?}");
        }
        (search, tried)
    }

    #[test]
    fn the_knee_is_found_to_the_precision_from_either_side() {
        for knee in [100.0, 123.0, 199.9, 3_777.0, 51_000.0, 99.0, 14.0] {
            let (search, tried) = search(100.0, knee, &[]);
            let (held, failed) = (search.held().unwrap(), search.failed().unwrap());
            assert!(held <= knee && knee < failed && failed / held <= KNEE_PRECISION, "{search:?}");
            assert!(tried <= 14, "{tried} for {knee}");
        }
    }

    #[test]
    fn one_hiccup_anywhere_does_not_move_the_knee() {
        let (_, tried) = search(100.0, 3_777.0, &[]);
        for hiccup in 0..tried {
            let (search, _) = search(100.0, 3_777.0, &[hiccup]);
            let (held, failed) = (search.held().unwrap(), search.failed().unwrap());
            assert!(
                held <= 3_777.0 && 3_777.0 < failed && failed / held <= KNEE_PRECISION,
                "{hiccup}: {search:?}"
            );
        }
    }

    #[test]
    fn what_was_disturbed_is_tried_again_and_a_search_ends_where_everything_is() {
        let mut search = Search::new(100.0, 1e6);
        search.excuse(100.0);
        assert_eq!((search.next(), search.failed()), (Some(100.0), None));
        let mut tried = 1;
        while let Some(rate) = search.next() {
            search.excuse(rate);
            tried += 1;
        }
        assert_eq!((search.held(), tried), (None, KNEE_EXCUSES + 6));
    }

    #[test]
    fn a_search_ends_where_nothing_holds_and_where_everything_does() {
        let (nothing, tried) = search(100.0, 0.0, &[]);
        assert_eq!((nothing.held(), nothing.failed(), tried), (None, Some(100.0 / 8.0), 6));
        let (all, _) = search(100.0, f64::INFINITY, &[]);
        assert!(all.held().unwrap() > 3e5 && all.failed().is_none());
    }
}
