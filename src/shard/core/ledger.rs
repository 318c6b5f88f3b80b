//! What became of each topic's deliveries on a shard, and of all together: plain numbers, booked where a delivery is
//! made or let go.
//!
//! Contract:
//! 1. One call books a topic's ledger and the shard's own account, so the ledgers together always are that account.
//! 2. A ledger is kept from its topic's first routed message on, whoever leaves, until the topic retires.
//! 3. Then what it says is [`DEPARTED`]'s, and whoever still holds a delivery of it books it there: the id may be
//!    another topic's next.
//!
//! It knows nothing of queues: that what a ledger calls pending waits somewhere is for others to keep true.

use crate::ids::TopicId;

/// Whose the deliveries of retired topics are. No topic has this id.
pub(crate) const DEPARTED: TopicId = TopicId::MAX;

/// `routed = delivered + conflated + skipped + abandoned + pending`. Totals since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Ledger {
    /// Subscribers at each message's place in the FIFO.
    pub(crate) routed: u64,
    /// Deliveries whose last byte the kernel took.
    pub(crate) delivered: u64,
    /// Deliveries whose place a newer message of their topic took.
    pub(crate) conflated: u64,
    /// Deliveries taken back or left out behind a full socket, told by a gap.
    pub(crate) skipped: u64,
    /// Deliveries that died with their connection.
    pub(crate) abandoned: u64,
}

impl Ledger {
    /// Deliveries in the log or in queues now.
    pub(crate) fn pending(&self) -> u64 {
        self.routed - self.delivered - self.conflated - self.skipped - self.abandoned
    }

    /// Takes over what another says.
    pub(crate) fn add(&mut self, other: &Self) {
        self.routed += other.routed;
        self.delivered += other.delivered;
        self.conflated += other.conflated;
        self.skipped += other.skipped;
        self.abandoned += other.abandoned;
    }
}

/// See the module. Indexed by topic id: booking hashes nothing.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    all: Ledger,
    by_topic: Vec<Ledger>,
    departed: Ledger,
}

impl Ledgers {
    /// The shard's own account.
    pub(crate) fn all(&self) -> Ledger {
        self.all
    }

    /// What a topic's ledger says; nothing before its first message, and after its last.
    pub(crate) fn of(&self, topic: TopicId) -> Ledger {
        if topic == DEPARTED {
            return self.departed;
        }
        self.by_topic.get(topic as usize).copied().unwrap_or_default()
    }

    /// Books what `entry` says of a topic's deliveries.
    #[inline]
    pub(crate) fn book(&mut self, topic: TopicId, entry: impl Fn(&mut Ledger)) {
        entry(&mut self.all);
        match self.by_topic.get_mut(topic as usize) {
            Some(ledger) => entry(ledger),
            None => entry(self.beyond(topic)),
        }
    }

    /// The topic has retired, and whoever holds a delivery of it knows.
    pub(crate) fn close(&mut self, topic: TopicId) {
        if let Some(ledger) = self.by_topic.get_mut(topic as usize) {
            self.departed.add(&std::mem::take(ledger));
        }
    }

    #[cold]
    fn beyond(&mut self, topic: TopicId) -> &mut Ledger {
        if topic == DEPARTED {
            return &mut self.departed;
        }
        self.by_topic.resize(topic as usize + 1, Ledger::default());
        &mut self.by_topic[topic as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: what is booked late, of a topic that has retired, is not the next owner's of its id.
    #[test]
    fn a_closed_ledger_is_the_departed_ones_and_its_id_begins_at_nothing() {
        let mut ledgers = Ledgers::default();
        ledgers.book(3, |of| of.routed += 5);
        ledgers.book(3, |of| of.skipped += 2);
        assert_eq!((ledgers.of(3).pending(), ledgers.of(2)), (3, Ledger::default()));
        ledgers.close(3);
        ledgers.close(9);
        ledgers.book(3, |of| of.routed += 1);
        ledgers.book(DEPARTED, |of| of.delivered += 3);
        assert_eq!(ledgers.of(3), Ledger { routed: 1, ..Ledger::default() });
        let departed = Ledger { routed: 5, delivered: 3, skipped: 2, ..Ledger::default() };
        assert_eq!(ledgers.of(DEPARTED), departed);
        let mut sum = departed;
        sum.add(&ledgers.of(3));
        assert_eq!(sum, ledgers.all());
    }
}
