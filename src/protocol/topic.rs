//! Topic names: opaque UTF-8, 1 to 200 bytes, no control characters, no space; nothing is parsed out of them.

use super::system;
use crate::limits::TOPIC_BYTES_MAX;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// What the topics of clients begin with.
const OF_CLIENT: &str = "$client.";

/// A valid topic name; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Why a text is not a topic name. The client's mistake; a retry does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// No bytes at all.
    #[error("a topic is empty; topic names have 1 to 200 bytes")]
    Empty,
    /// More than 200 bytes of UTF-8.
    #[error("a topic has more than 200 bytes")]
    TooLong,
    /// A control character or a space.
    #[error("a topic contains a space or a control character")]
    Character,
    /// Not UTF-8, as percent-decoding may find.
    #[error("a topic is not UTF-8")]
    NotUtf8,
    /// Ends in `*`: that would be a pattern.
    #[error("a name that ends in * is a pattern; only subscriptions may name patterns")]
    Pattern,
    /// A pattern of names that begin with `$`.
    #[error("patterns never match names that begin with $; name such topics one by one")]
    Unmatchable,
}

impl TopicName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True exactly when only the server may publish to it.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(system::PREFIX)
    }

    /// The identity a `$client.<ID>` topic belongs to.
    pub fn client(&self) -> Option<&str> {
        self.0.strip_prefix(OF_CLIENT)
    }

    /// The topic of the client with that identity.
    ///
    /// # Errors
    /// It is too long, ends in `*`, or has a space or a control character in it.
    pub fn of_client(identity: &str) -> Result<Self, TopicError> {
        Self::try_from(format!("{OF_CLIENT}{identity}"))
    }
}

impl TryFrom<&str> for TopicName {
    type Error = TopicError;

    fn try_from(name: &str) -> Result<Self, TopicError> {
        check(name)?;
        if name.ends_with('*') {
            return Err(TopicError::Pattern);
        }
        Ok(Self(name.into()))
    }
}

/// What holds for names and patterns alike.
pub(super) fn check(name: &str) -> Result<(), TopicError> {
    if name.is_empty() {
        Err(TopicError::Empty)
    } else if name.len() > TOPIC_BYTES_MAX {
        Err(TopicError::TooLong)
    } else if name.chars().any(|c| c.is_control() || c == ' ') {
        Err(TopicError::Character)
    } else {
        Ok(())
    }
}

impl TryFrom<String> for TopicName {
    type Error = TopicError;

    fn try_from(name: String) -> Result<Self, TopicError> {
        Self::try_from(name.as_str())
    }
}

impl From<&TopicName> for TopicName {
    fn from(name: &TopicName) -> Self {
        name.clone()
    }
}

impl From<std::convert::Infallible> for TopicError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for TopicName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_names_are_names() {
        for name in ["btcusdt@depth@100ms", "coinbase.level2.BAND-GBP", "a/b:c!d_e", "é", "$client.7", "x"] {
            assert!(TopicName::try_from(name).is_ok(), "{name}");
        }
        assert!(TopicName::try_from("t".repeat(200)).is_ok());
    }

    #[test]
    fn what_is_not_a_name_says_why() {
        let cases = [
            ("", TopicError::Empty),
            ("a b", TopicError::Character),
            ("a\nb", TopicError::Character),
            ("a\u{85}", TopicError::Character),
            ("trade.*", TopicError::Pattern),
        ];
        for (name, why) in cases {
            assert_eq!(TopicName::try_from(name), Err(why), "{name:?}");
        }
        assert_eq!(TopicName::try_from("t".repeat(201)), Err(TopicError::TooLong));
    }
}
