//! Which session has which identity, where only one may. Pure.
//!
//! Contract: an identity has at most one owner, and only that very session can give it up: the late end of one that
//! was replaced changes nothing.

use super::core::{Outbox, Sequencer};
use super::request::{Delivery, Farewell, Now};
use crate::config::SecondSession;
use crate::ids::ConnectionId;
use crate::protocol::close::Reason;
use crate::protocol::operation::Wish;
use crate::protocol::pattern::Subject;
use crate::protocol::reply::Tag;
use crate::protocol::topic::TopicName;
use std::collections::HashMap;

/// See the module. Identities go by their topics.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    second: SecondSession,
    owners: HashMap<TopicName, ConnectionId>,
}

const REPLACED: &str = "replaced by a newer session of the same identity";
const TAKEN: &str = "another session has this identity";

/// What becomes of a session that wants an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It has it.
    Granted,
    /// It has it, and another has it no more.
    Replaces(ConnectionId),
    /// Another has it.
    Refused,
}

impl Identities {
    pub(crate) fn new(second: SecondSession) -> Self {
        Self { second, owners: HashMap::new() }
    }

    pub(crate) fn claim(&mut self, identity: &TopicName, session: ConnectionId) -> Claim {
        let owner = self.owners.get(identity).copied();
        match (self.second, owner) {
            (SecondSession::Allow, _) => return Claim::Granted,
            (SecondSession::Refuse, Some(_)) => return Claim::Refused,
            _ => {}
        }
        self.owners.insert(identity.clone(), session);
        owner.map_or(Claim::Granted, Claim::Replaces)
    }

    /// The session has ended.
    pub(crate) fn release(&mut self, identity: &TopicName, session: ConnectionId) {
        if self.owners.get(identity) == Some(&session) {
            self.owners.remove(identity);
        }
    }
}

impl Sequencer {
    /// The same, where this becomes of a second session with the same identity.
    pub(crate) fn with_second(mut self, second: SecondSession) -> Self {
        self.identities = Identities::new(second);
        self
    }

    /// A session with an identity comes in: the topic of that is the first it has.
    pub(super) fn enter(
        &mut self,
        connection: ConnectionId,
        identity: TopicName,
        mut wishes: Vec<Wish>,
        now: Now,
        out: &mut Outbox,
    ) {
        let evict = |connection: ConnectionId, reason: Reason, text| {
            (connection.shard, Delivery::Close(Farewell { connection, reason, code: reason.code(), text }))
        };
        match self.identities.claim(&identity, connection) {
            Claim::Granted => {}
            Claim::Replaces(other) => out.push_back(evict(other, Reason::Replaced, REPLACED)),
            Claim::Refused => return out.push_back(evict(connection, Reason::IdentityTaken, TAKEN)),
        }
        wishes.insert(0, Wish { subject: Subject::Topic(identity), since: None });
        self.subscribe(connection, Tag::Silent, wishes, now, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(generation: u32) -> ConnectionId {
        ConnectionId { shard: 0, slot: 7, generation }
    }

    fn identity() -> TopicName {
        TopicName::of_client("a").unwrap()
    }

    #[test]
    fn the_late_end_of_a_replaced_session_changes_nothing() {
        let mut identities = Identities::new(SecondSession::Replace);
        assert_eq!(identities.claim(&identity(), session(1)), Claim::Granted);
        assert_eq!(identities.claim(&identity(), session(2)), Claim::Replaces(session(1)));
        identities.release(&identity(), session(1));
        assert_eq!(identities.claim(&identity(), session(3)), Claim::Replaces(session(2)));
        identities.release(&identity(), session(3));
        assert_eq!(identities.claim(&identity(), session(4)), Claim::Granted);
    }

    #[test]
    fn a_second_is_refused_until_the_first_has_ended() {
        let mut identities = Identities::new(SecondSession::Refuse);
        assert_eq!(identities.claim(&identity(), session(1)), Claim::Granted);
        assert_eq!(identities.claim(&identity(), session(2)), Claim::Refused);
        identities.release(&identity(), session(2));
        assert_eq!(identities.claim(&identity(), session(3)), Claim::Refused);
        identities.release(&identity(), session(1));
        assert_eq!(identities.claim(&identity(), session(3)), Claim::Granted);
    }

    #[test]
    fn where_all_are_allowed_nothing_is_kept() {
        let mut identities = Identities::new(SecondSession::Allow);
        assert_eq!(identities.claim(&identity(), session(1)), Claim::Granted);
        assert_eq!(identities.claim(&identity(), session(2)), Claim::Granted);
        assert!(identities.owners.is_empty());
    }
}
