//! Which shards have which patterns, and so which topics they want beside those they asked for by name.
//!
//! Contract:
//! 1. From the moment a pattern is taken in, its shard wants every topic that it matches: those that exist, which are
//!    returned, and every one born later, from its birth.
//! 2. A birth looks up each prefix of its name, a new pattern walks the names that begin with it: no pattern is ever
//!    compared with a name that it does not match. Routing looks at nothing new.
//! 3. Patterns keep no topic alive.

use super::topics::Topics;
use crate::ids::{ShardId, TopicId};
use crate::protocol::pattern::{Pattern, is_matchable};
use crate::protocol::prefixes::Prefixes;
use crate::protocol::topic::TopicName;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wildcards {
    /// How many connections of each shard have the pattern.
    patterns: Prefixes<Box<[u32]>>,
    /// Every topic's name, in order.
    names: BTreeMap<TopicName, TopicId>,
}

impl Wildcards {
    /// A topic is born: returns how many of its shards' patterns match it, for each shard that has any.
    pub(super) fn enter(&mut self, name: &TopicName, id: TopicId) -> impl Iterator<Item = usize> {
        self.names.insert(name.clone(), id);
        self.patterns.matching(name.as_str()).flat_map(|counts| {
            counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(shard, _)| shard)
        })
    }

    pub(super) fn strike_out(&mut self, name: &TopicName) {
        self.names.remove(name);
    }

    /// The topics that a pattern matches, in the order of their names.
    fn matched(&self, pattern: &Pattern) -> impl Iterator<Item = TopicId> {
        let prefix = pattern.prefix();
        // Only the empty prefix has names with `$` among those that begin with it: they are stepped over.
        let (to, from) =
            if is_matchable(prefix) && prefix.is_empty() { ("$", "%") } else { (prefix, prefix) };
        let before = self.names.range::<str, _>((Included(prefix), Excluded(to)));
        let rest = self.names.range::<str, _>((Included(from), Unbounded));
        before.chain(rest).take_while(move |(name, _)| name.as_str().starts_with(prefix)).map(|(_, id)| *id)
    }
}

impl Topics {
    /// One more connection of that shard has the pattern: returns the topics that it matches. `None`, and nothing
    /// done, when they are more than `max`.
    pub(crate) fn watch(&mut self, pattern: &Pattern, shard: ShardId, max: usize) -> Option<Vec<TopicId>> {
        let matched: Vec<_> = self.wildcards.matched(pattern).take(max.saturating_add(1)).collect();
        if matched.len() > max {
            return None;
        }
        let none = || vec![0; self.shards].into_boxed_slice();
        let count = &mut self.wildcards.patterns.get_or_insert_with(pattern, none)[usize::from(shard)];
        *count += 1;
        if *count == 1 {
            for id in &matched {
                self.table[*id as usize].wants[usize::from(shard)].watch();
            }
        }
        Some(matched)
    }

    /// So many connections fewer of that shard have the pattern.
    pub(crate) fn unwatch(&mut self, pattern: &Pattern, shard: ShardId, count: u32) {
        let Some(counts) = self.wildcards.patterns.get_mut(pattern) else { return };
        let left = &mut counts[usize::from(shard)];
        let had_any = std::mem::replace(left, left.saturating_sub(count)) > 0;
        if *left > 0 || !had_any {
            return;
        }
        if counts.iter().all(|count| *count == 0) {
            self.wildcards.patterns.remove(pattern);
        }
        for id in self.wildcards.matched(pattern) {
            self.table[id as usize].wants[usize::from(shard)].unwatch();
        }
    }

    /// Connections that have a pattern which matches the name; one with several counts for each.
    pub(crate) fn watchers(&self, name: &TopicName) -> u64 {
        let matching = self.wildcards.patterns.matching(name.as_str());
        matching.flat_map(|counts| counts.iter()).map(|count| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::limits::Limits;
    use proptest::prelude::*;

    const NOW: Moment = Moment::from_micros(0);

    fn topics() -> Topics {
        Topics::new(2, &Limits::default(), 1)
    }

    fn name(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text).unwrap()
    }

    /// The names that shard wants.
    fn wanted(topics: &Topics, shard: ShardId) -> Vec<String> {
        let wanted = topics.iter().filter(|(_, topic)| topic.shards().any(|one| one == shard));
        let mut names: Vec<_> = wanted.map(|(_, topic)| topic.name.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_pattern_wants_what_exists_and_what_is_born_later() {
        let mut topics = topics();
        for text in ["$client.7", "a.1", "a.2", "b.1", "!"] {
            topics.touch(&name(text), NOW).unwrap();
        }
        assert_eq!(topics.watch(&pattern("a.*"), 1, 2).unwrap().len(), 2);
        assert_eq!(topics.watch(&pattern("*"), 0, 3), None, "more than it may match");
        assert_eq!(wanted(&topics, 0), [""; 0]);
        assert_eq!(topics.watch(&pattern("*"), 0, 4).unwrap().len(), 4);
        topics.touch(&name("a.3"), NOW).unwrap();
        topics.touch(&name("$client.8"), NOW).unwrap();
        assert_eq!(wanted(&topics, 1), ["a.1", "a.2", "a.3"]);
        assert_eq!(wanted(&topics, 0), ["!", "a.1", "a.2", "a.3", "b.1"]);
        assert_eq!(topics.watchers(&name("a.3")), 2);
        topics.watch(&pattern("a.*"), 1, 9).unwrap();
        topics.unwatch(&pattern("a.*"), 1, 1);
        assert_eq!(wanted(&topics, 1).len(), 3, "another connection of the shard has it still");
        topics.unwatch(&pattern("a.*"), 1, 1);
        assert_eq!(wanted(&topics, 1), [""; 0]);
    }

    proptest! {
        /// Proves: whatever patterns and topics come and go, a shard wants exactly what one of its patterns matches.
        #[test]
        fn a_shard_wants_what_its_patterns_match(
            steps in proptest::collection::vec((0..4u8, 0..2u16, "[ab]{0,2}"), 0..60),
        ) {
            let mut topics = topics();
            let mut model: Vec<(ShardId, String)> = Vec::new();
            for (what, shard, text) in steps {
                match what {
                    0 => {
                        topics.watch(&pattern(&format!("{text}*")), shard, usize::MAX).unwrap();
                        model.push((shard, text));
                    }
                    1 => if let Some(at) = model.iter().position(|one| *one == (shard, text.clone())) {
                        model.remove(at);
                        topics.unwatch(&pattern(&format!("{text}*")), shard, 1);
                    },
                    2 => _ = topics.touch(&name(&format!("{text}x")), NOW).unwrap(),
                    _ => if let Some(id) = topics.id(&format!("{text}x")) {
                        topics.join(id, shard);
                        topics.leave(id, shard, 1, NOW);
                        prop_assert!(topics.get(id).is_none(), "patterns keep no topic alive");
                    },
                }
                for shard in 0..2 {
                    let mut expected: Vec<_> = topics.iter().map(|(_, topic)| topic.name.to_string()).collect();
                    expected.retain(|name| model.iter().any(|(of, prefix)| *of == shard && name.starts_with(prefix)));
                    expected.sort();
                    prop_assert_eq!(wanted(&topics, shard), expected);
                }
            }
        }
    }
}
