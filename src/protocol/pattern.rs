//! Patterns: what a subscription may name instead of one topic. `*` as the last character matches any rest, and
//! nothing else is special; names that begin with `$` are matched by none.

use super::topic::{self, TopicError, TopicName};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A valid pattern, kept without its `*`; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pattern(Arc<str>);

impl Pattern {
    /// What a name must begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    /// True exactly when a topic of that name is meant.
    pub(crate) fn matches(&self, name: &str) -> bool {
        is_matchable(name) && name.starts_with(self.prefix())
    }
}

/// True exactly when a pattern may match the name.
pub(crate) fn is_matchable(name: &str) -> bool {
    !name.starts_with('$')
}

impl TryFrom<&str> for Pattern {
    type Error = TopicError;

    fn try_from(text: &str) -> Result<Self, TopicError> {
        topic::check(text)?;
        match text.strip_suffix('*') {
            Some(prefix) if is_matchable(prefix) => Ok(Self(prefix.into())),
            _ => Err(TopicError::Unmatchable),
        }
    }
}

impl Borrow<str> for Pattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.0)
    }
}

impl serde::Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a subscription names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Topic(TopicName),
    Pattern(Pattern),
}

impl Subject {
    /// Bytes of its name.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Topic(topic) => topic.as_str().len(),
            Self::Pattern(pattern) => pattern.prefix().len() + 1,
        }
    }
}

impl TryFrom<&str> for Subject {
    type Error = TopicError;

    fn try_from(text: &str) -> Result<Self, TopicError> {
        if text.ends_with('*') {
            Pattern::try_from(text).map(Self::Pattern)
        } else {
            TopicName::try_from(text).map(Self::Topic)
        }
    }
}

impl From<TopicName> for Subject {
    fn from(topic: TopicName) -> Self {
        Self::Topic(topic)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(topic) => topic.fmt(f),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_any_rest_and_nothing_of_the_servers() {
        let pattern = |text: &str| Pattern::try_from(text).unwrap();
        assert!(pattern("trade.*").matches("trade.BTC") && pattern("trade.*").matches("trade."));
        assert!(!pattern("trade.*").matches("trade") && !pattern("trade.*").matches("a.trade.BTC"));
        assert!(pattern("*").matches("x") && !pattern("*").matches("$sys.stats"));
        assert!(pattern("a*b*").matches("a*bc") && !pattern("a*b*").matches("axbc"));
        assert_eq!(pattern("a*").to_string(), "a*");
    }

    #[test]
    fn what_is_not_a_pattern_says_why() {
        let cases = [
            ("$sys.*", TopicError::Unmatchable),
            ("$*", TopicError::Unmatchable),
            ("a b*", TopicError::Character),
        ];
        for (text, why) in cases {
            assert_eq!(Subject::try_from(text), Err(why), "{text:?}");
        }
        let long = format!("{}*", "t".repeat(200));
        assert_eq!(Subject::try_from(long.as_str()), Err(TopicError::TooLong));
    }
}
