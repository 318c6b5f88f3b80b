//! What changes about a topic beside its messages: its numbering and class, as its publishers say, and its terms, as
//! the rules say; and that it is wanted no more. Shards that want it are told through their FIFO, so that subscribers hear of it in its place.

use super::core::{Outbox, Sequencer};
use super::request::{Change, Delivery, News, Now};
use super::rules::Rules;
use super::topics::Retired;
use crate::clock::Moment;
use crate::ids::{ShardId, TopicId};
use crate::limits::RETIRE_SCAN;
use crate::protocol::options::PublishOptions;
use crate::protocol::outcome::Refusal;

impl Sequencer {
    /// The same under these topic rules.
    pub(crate) fn under(mut self, rules: Rules) -> Self {
        self.topics.set_rules(rules, Moment::default());
        self
    }

    /// Puts other topic rules in force; shards are told of terms that changed.
    pub(crate) fn set_rules(&mut self, rules: Rules, now: Now, out: &mut Outbox) {
        for id in self.topics.set_rules(rules, now.moment) {
            self.tell_terms(id, out);
        }
    }

    /// Does what the options of the message that comes next ask, all of it or nothing.
    pub(super) fn prepare(
        &mut self,
        id: TopicId,
        options: &PublishOptions,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topics.get(id) else { return Err(Refusal::Topics) };
        let has = topic.charter.terms.class;
        let other_class = options.class.filter(|class| *class != has);
        if other_class.is_some() && (topic.has_begun || topic.charter.is_class_fixed) {
            self.counters.misclassed += 1;
            return Err(Refusal::Class { has });
        }
        let (head, now_in) = (topic.seq, topic.epoch);
        let epoch = options.epoch.unwrap_or(now_in);
        let is_anew = epoch != now_in;
        let seq = options.seq.unwrap_or(if is_anew { 1 } else { head + 1 });
        if (is_anew && topic.is_epoch_assigned && epoch < now_in) || (!is_anew && seq <= head) {
            self.counters.stale += 1;
            return Err(Refusal::Stale { epoch: now_in, seq: head });
        }
        if let Some(class) = other_class {
            self.topics.choose_class(id, class);
            self.tell_terms(id, out);
        }
        if is_anew {
            self.topics.begin_anew(id, epoch, seq - 1);
            self.tell(id, Change::Epoch { epoch, seq: seq - 1 }, out);
        } else if seq > head + 1 {
            self.tell(id, Change::Skip { from: head + 1, to: seq - 1 }, out);
        }
        if let Some(topic) = self.topics.get_mut(id) {
            topic.seq = seq - 1;
            topic.is_epoch_assigned |= options.epoch.is_some();
        }
        Ok(())
    }

    /// Subscriptions by name that have ended on a shard.
    pub(super) fn leave(&mut self, topic: TopicId, shard: ShardId, count: u32, now: Now, out: &mut Outbox) {
        let retired = self.topics.leave(topic, shard, count, now.moment);
        retired.into_iter().for_each(|retired| self.bury(retired, out));
    }

    /// Once a second or so: lets idle topics go.
    pub(crate) fn tick(&mut self, now: Moment, out: &mut Outbox) {
        for retired in self.topics.retire_idle(now, self.topic_idle, RETIRE_SCAN) {
            self.counters.retired += 1;
            self.bury(retired, out);
        }
    }

    /// The epoch of a topic, if there is one of that name.
    #[cfg(test)]
    pub(crate) fn epoch_of(&self, name: &str) -> Option<crate::ids::Epoch> {
        Some(self.topics.get(self.topics.id(name)?)?.epoch)
    }

    /// The id of a topic, if there is one of that name.
    #[cfg(test)]
    pub(crate) fn id_of(&self, name: &str) -> Option<TopicId> {
        self.topics.id(name)
    }

    /// Tells those who know of a topic that it is no more.
    fn bury(&self, retired: Retired, out: &mut Outbox) {
        let news = || Box::new(News { topic: retired.id, change: Change::Retired });
        out.extend(retired.tell.iter().map(|shard| (*shard, Delivery::News(news()))));
    }

    fn tell_terms(&self, id: TopicId, out: &mut Outbox) {
        if let Some(topic) = self.topics.get(id) {
            self.tell(id, Change::Terms(topic.charter.terms), out);
        }
    }

    fn tell(&self, topic: TopicId, change: Change, out: &mut Outbox) {
        let shards = self.topics.get(topic).into_iter().flat_map(|topic| topic.shards());
        out.extend(shards.map(|shard| (shard, Delivery::News(Box::new(News { topic, change })))));
    }
}
