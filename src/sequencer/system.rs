//! What the server says of itself, as topics: published only while somebody listens, and kept nowhere.

use super::core::{Outbox, Sequencer};
use super::request::{Busy, Now};
use crate::message::Payload;
use crate::protocol::topic::TopicName;
use std::cmp::Reverse;

impl Sequencer {
    /// Publishes to one of the server's own topics, if somebody listens.
    pub(super) fn announce(&mut self, topic: &TopicName, payload: Payload, now: Now, out: &mut Outbox) {
        if self.topics.is_wanted(topic.as_str())
            && let Some(id) = self.topics.id(topic.as_str())
        {
            self.place(id, payload, false, now, out);
        }
    }

    /// The topics with the most messages since this was last asked, at most so many: those without any are left out.
    pub(super) fn busiest(&mut self, limit: usize) -> Vec<Busy> {
        let mut busy = self.topics.take_busy();
        if limit < busy.len() {
            busy.select_nth_unstable_by_key(limit, |(messages, _)| Reverse(*messages));
            busy.truncate(limit);
        }
        busy.sort_unstable_by_key(|(messages, id)| (Reverse(*messages), *id));
        let report = |(messages, id)| Some(Busy { report: self.report(id)?, messages });
        busy.into_iter().filter_map(report).collect()
    }
}
