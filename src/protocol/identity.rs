//! Identities: who a session says it is, where it is trusted. One is addressed by publishing to its topic.

use super::topic::TopicName;
use percent_encoding::percent_decode_str;
use std::fmt;

/// Who a session is; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity(TopicName);

/// Why a text is not an identity. The client's mistake; a retry does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "client: an identity has 1 to 192 bytes of UTF-8, no space, no control character, and no * at its end"
)]
pub(crate) struct IdentityError;

impl Identity {
    /// As it stands in a query, percent-encoded.
    pub(crate) fn parse(encoded: &str) -> Result<Self, IdentityError> {
        let id = percent_decode_str(encoded).decode_utf8().map_err(|_| IdentityError)?;
        if id.is_empty() {
            return Err(IdentityError);
        }
        TopicName::of_client(&id).map(Self).map_err(|_| IdentityError)
    }

    /// The topic that is its own: `$client.<ID>`.
    pub(crate) fn topic(&self) -> &TopicName {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.client().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_a_topic_of_its_own() {
        let identity = Identity::parse("desk%2F7").unwrap();
        assert_eq!((identity.to_string().as_str(), identity.topic().as_str()), ("desk/7", "$client.desk/7"));
        assert!(Identity::parse(&"x".repeat(192)).is_ok());
    }

    #[test]
    fn what_is_no_topic_is_no_identity() {
        for wrong in ["", "a%20b", "%ff", "a*", "%00", &"x".repeat(193)] {
            assert_eq!(Identity::parse(wrong), Err(IdentityError), "{wrong:?}");
        }
    }
}
