//! An index of patterns: what is kept for each, found by the pattern or by a name that it matches.
//!
//! A name is looked up once for each length that some pattern has, at most 200 times, however many patterns there are.

use super::pattern::{Pattern, is_matchable};
use std::collections::{BTreeMap, HashMap};

/// See the module.
#[derive(Debug)]
pub(crate) struct Prefixes<V> {
    values: HashMap<Pattern, V>,
    /// How many patterns have a prefix of so many bytes.
    lengths: BTreeMap<usize, usize>,
}

impl<V> Default for Prefixes<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), lengths: BTreeMap::new() }
    }
}

impl<V> Prefixes<V> {
    /// What is kept for a pattern, made if need be.
    pub(crate) fn get_or_insert_with(&mut self, pattern: &Pattern, make: impl FnOnce() -> V) -> &mut V {
        self.values.entry(pattern.clone()).or_insert_with(|| {
            *self.lengths.entry(pattern.prefix().len()).or_default() += 1;
            make()
        })
    }

    pub(crate) fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut V> {
        self.values.get_mut(pattern)
    }

    pub(crate) fn remove(&mut self, pattern: &Pattern) {
        let len = pattern.prefix().len();
        if self.values.remove(pattern).is_some()
            && let Some(count) = self.lengths.get_mut(&len)
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&len);
            }
        }
    }

    /// What is kept for the patterns that match the name.
    pub(crate) fn matching(&self, name: &str) -> impl Iterator<Item = &V> {
        let lengths = is_matchable(name).then(|| self.lengths.range(..=name.len()));
        // A length that ends within a character of the name is that of no prefix of it.
        let prefixes = lengths.into_iter().flatten().filter_map(|(len, _)| name.get(..*len));
        prefixes.filter_map(|prefix| self.values.get(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn pattern(prefix: &str) -> Pattern {
        Pattern::try_from(format!("{prefix}*").as_str()).unwrap()
    }

    proptest! {
        /// Proves: the index finds what comparing with every pattern finds, whatever came and went before.
        #[test]
        fn a_name_finds_every_pattern_that_matches_it(
            changes in proptest::collection::vec((any::<bool>(), "[aé]{0,3}"), 0..40),
            name in "[$aé]{1,4}",
        ) {
            let mut index = Prefixes::default();
            let mut model = BTreeSet::new();
            for (comes, prefix) in changes {
                if comes {
                    index.get_or_insert_with(&pattern(&prefix), || prefix.clone());
                    model.insert(prefix);
                } else {
                    index.remove(&pattern(&prefix));
                    model.remove(&prefix);
                }
            }
            let found: BTreeSet<_> = index.matching(&name).cloned().collect();
            model.retain(|prefix| !name.starts_with('$') && name.starts_with(prefix.as_str()));
            prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn ten_thousand_patterns_are_looked_up_by_their_lengths() {
        let mut index = Prefixes::default();
        (0..10_000)
            .for_each(|number| _ = index.get_or_insert_with(&pattern(&format!("{number:05}.")), || number));
        assert_eq!(index.lengths.len(), 1);
        assert_eq!(index.matching("00042.x").collect::<Vec<_>>(), [&42]);
        (0..10_000).for_each(|number| index.remove(&pattern(&format!("{number:05}."))));
        assert!(index.values.is_empty() && index.lengths.is_empty());
    }
}
