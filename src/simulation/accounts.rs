//! What became of every delivery, by topic and shard, as it looks from outside: whom a message is routed to, and whose
//! socket took it whole. Held against what the shards' ledgers say.
//!
//! A shard counts what it paid out of its log only when it cuts it: until then its ledger calls it pending.

use super::view::{Verdict, ensure};
use crate::clock::Moment;
use crate::ids::TopicId;
use crate::protocol::class::Class;
use crate::shard::core::Shard;
use crate::shard::core::ledger::{DEPARTED, Ledger};
use crate::shard::core::writer::{Effect, Lost};
use std::collections::BTreeMap;

/// More than the topics that live at one time in any schedule.
const IDS: TopicId = 64;

/// Deliveries of one topic on one shard, for as long as the topic lives and after.
#[derive(Debug)]
struct Account {
    id: TopicId,
    class: Class,
    routed: u64,
    delivered: u64,
}

/// See the module. By shard, and there by a label that no two topics share, nor two lives of one.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    shards: [BTreeMap<String, Account>; 2],
}

impl Accounts {
    /// A message of the topic that has this id was routed to so many.
    pub(super) fn routed(
        &mut self,
        shard: usize,
        label: &str,
        (id, class): (TopicId, Class),
        to: usize,
    ) -> Verdict {
        let accounts = &mut self.shards[shard];
        let other = accounts.iter().find(|(other, account)| account.id == id && *other != label);
        ensure(other.is_none(), || format!("{label} has the id of {other:?}"))?;
        let fresh = Account { id, class, routed: 0, delivered: 0 };
        accounts.entry(label.to_owned()).or_insert(fresh).routed += to as u64;
        Ok(())
    }

    /// A socket has taken a message that was routed.
    pub(super) fn delivered(&mut self, shard: usize, label: &str) -> Verdict {
        let account = self.shards[shard].get_mut(label).ok_or_else(|| format!("{label} was never routed"))?;
        account.delivered += 1;
        Ok(())
    }

    /// The topic of that id is no more: what is still to come of it has nobody's id.
    pub(super) fn retired(&mut self, shard: usize, id: TopicId) {
        let of_it = self.shards[shard].values_mut().filter(|account| account.id == id);
        of_it.for_each(|account| account.id = DEPARTED);
    }

    /// Every topic's ledger says what was seen, and together they say what the shard does, and its connections.
    pub(super) fn check(&self, at: usize, shard: &Shard, now: Moment) -> Verdict {
        let (in_log, in_queues) = shard.waits();
        let of = |waits: &BTreeMap<TopicId, u64>, id| waits.get(&id).copied().unwrap_or_default();
        let mut sum = Ledger::default();
        for id in (0..IDS).chain([DEPARTED]) {
            let ledger = shard.ledgers.of(id);
            sum.add(&ledger);
            let accounts: Vec<_> = self.shards[at].iter().filter(|(_, account)| account.id == id).collect();
            let routed: u64 = accounts.iter().map(|(_, account)| account.routed).sum();
            let delivered: u64 = accounts.iter().map(|(_, account)| account.delivered).sum();
            let (in_log, in_queues) = (of(&in_log, id), of(&in_queues, id));
            let lost = ledger.conflated + ledger.skipped + ledger.abandoned;
            let is_whole = ledger.routed == routed
                && routed == ledger.delivered + lost + in_log + in_queues
                && (ledger.delivered..=ledger.delivered + in_log).contains(&delivered);
            let may_lose = accounts.iter().all(|(_, account)| {
                let may_skip = matches!(account.class, Class::BestEffort | Class::Delta);
                id == DEPARTED
                    || (ledger.conflated == 0 || account.class == Class::State)
                        && (ledger.skipped == 0 || may_skip)
            });
            ensure(is_whole && may_lose, || {
                format!(
                    "shard {at}, topic {id}: {ledger:?}, {in_log} in the log, {in_queues} in queues; seen {accounts:?}"
                )
            })?;
        }
        let all = shard.ledgers.all();
        ensure(sum == all, || format!("shard {at}: its ledgers are {sum:?} together, its own says {all:?}"))?;
        let (mut sent, mut lost) = (0, Lost::default());
        let here = shard.connections(now).map(|report| (report.sent_frames, report.lost));
        let gone = shard.effects.iter().filter_map(|effect| match effect {
            Effect::Ended(ended) => Some((ended.delivered, ended.lost)),
            _ => None,
        });
        for (delivered, of_one) in here.chain(gone) {
            sent += delivered;
            lost.conflated += of_one.conflated;
            lost.skipped += of_one.skipped;
            lost.abandoned += of_one.abandoned;
        }
        let uncut: u64 = in_log.values().sum();
        let booked = Lost { conflated: all.conflated, skipped: all.skipped, abandoned: all.abandoned };
        ensure(lost == booked && (all.delivered..=all.delivered + uncut).contains(&sent), || {
            format!("shard {at}: {all:?}, its connections were sent {sent} and lost {lost:?}")
        })
    }
}
